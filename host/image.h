/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/copy.h"
#include "base/error.h"
#include "host/lvm.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One image of a backup: what it is copied from, by which way, and the files that come and go with
 * it. All functions may wait for disks.
 */

/* Beside the conditions of copy_file() and copy_verify(). */
enum {
	IMAGE_SNAPSHOT_FAILED = 32, /* LVM's; image_error_text() has its words */
};

enum {
	IMAGE_TAG_SIZE = 33, /* 32 digits and the end */
};

struct image_options {
	bool no_snapshot; /* copy while the guest is frozen, even if a snapshot could be made */
	bool keep_base;   /* keep the snapshot, for the next backup with a since */
	bool verify;      /* read back what was written */
	uint64_t cow_bytes; /* room for a snapshot of a logical volume; 0: see lvm_choose_cow() */
};

struct image {
	char tag[IMAGE_TAG_SIZE];         /* of the copy; "": none */
	char earlier_tag[IMAGE_TAG_SIZE]; /* of the earlier one; "": none */
	char *source;
	char *snapshot;    /* shares the source's blocks, beside it */
	char *base;        /* the snapshot of an earlier backup, beside it too */
	char *unpublished; /* the copy's name before the backup is known to be good */
	char *target;
	char *earlier; /* the copy that belongs to the base, if there is one; or NULL */
	bool by_qemu; /* QEMU makes the copy */
	bool is_near; /* source and target are on one file system */
	bool is_volume; /* LVM makes the snapshot, which is this one's: */
	struct lvm_volume volume;
	bool has_snapshot;
	bool used_snapshot; /* the copy is made of one */
	bool copied;
	bool published;
	bool verified;
	bool is_incremental;
	const char *full_why; /* a since was given, and yet all is copied; NULL: it is not so */
	char why[LVM_WHY_SIZE]; /* LVM's words */
	struct copy_result result;
	struct copy_sums sums;
	uint64_t duration_ns; /* of the copy */
};

/* For a backup of this number to @directory. -ENOMEM; then image_fini() all the same. */
_must_check_ int image_init(struct image *image, const char *source, const char *directory,
			    const char *since, unsigned int id);
void image_fini(struct image *image);

/*
 * Before the guest is asked for anything: why no copy can be made in @directory, as far as can be
 * told without making it; NULL: nothing is known. Then files that a killed predecessor left have
 * been removed.
 */
const char *image_prepare(struct image *image, const char *directory);

/*
 * The last thing before the guest is asked for anything, for backup @id: what LVM has to tell of a
 * logical volume. IMAGE_SNAPSHOT_FAILED: there cannot be one.
 */
_must_check_ int image_look(struct image *image, const struct image_options *options, unsigned int id);

/*
 * For a copy by QEMU: chooses a tag for it if a base is to be kept, and finds that of the earlier
 * copy. Both are in image.
 */
void image_find_tags(struct image *image, const struct image_options *options);

/* Makes the copy what the earlier one is, for QEMU to write what has changed. Of copy_file(). */
_must_check_ int image_fill(struct image *image, const struct copy_options *copy);

/* Makes the copy an empty file, for QEMU to fill. NULL, or why that is not possible. */
const char *image_make_empty(struct image *image);

/*
 * While the guest stands still: shares the blocks with the target, else with a snapshot beside the
 * source, else copies. IMAGE_SNAPSHOT_FAILED; conditions and errors of copy_file(), @copy of which
 * has the progress.
 */
_must_check_ int image_hold(struct image *image, const struct image_options *options,
			    const struct copy_options *copy);

/* The guest goes on: copies from the snapshot, if there is one and no copy yet. As image_hold(). */
_must_check_ int image_copy_out(struct image *image, const struct image_options *options,
				const struct copy_options *copy);

/* Compares what was moved with what was read. COPY_DIFFERS and others of copy_verify(). */
_must_check_ int image_verify(struct image *image, const struct copy_options *copy);

/* Gives the copy its name, and the snapshot its future. COPY_EXISTS; negative errno. */
_must_check_ int image_publish(struct image *image, const struct image_options *options);

/* Removes copy and snapshot. NULL, or why one of them stays, which is *ret_path. */
const char *image_discard(struct image *image, const char **ret_path);

/* The text of a condition or negative errno of these functions; valid as long as @image is. */
const char *image_error_text(const struct image *image, int r);

/* For status. */
json_t *image_status(const struct image *image);
