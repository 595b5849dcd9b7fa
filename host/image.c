/* SPDX-License-Identifier: MIT */

/*
 * One image of a backup.
 *
 * The guest should stand still for as short as can be. If the file systems can share blocks the
 * copy itself is made at once, or else a snapshot beside the source, from which the data is moved
 * when the guest goes on again. Only where there is neither is the data moved while it is frozen.
 *
 *     target on the same file system      FICLONE to the target; thaw
 *     shared beside the source            FICLONE to .NAME.snapshot-...; thaw; copy from there
 *     a logical volume                    lvcreate (host/lvm); thaw; copy from there; lvremove
 *     none of them                        copy; thaw
 *
 * A snapshot that is kept is the base of the next backup: where the next snapshot has the same
 * blocks nothing has changed, and that part is taken from the earlier copy. Base and copy belong
 * together by a random tag that both carry as an extended attribute; a copy without the base's tag
 * is of another time, and then all is copied, and it is said why.
 *
 * Files of a backup under way have hidden names with the number of this process. Those that a
 * process left which is no more are removed when the next backup of that image begins.
 */

#include "host/image.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TAG_ATTRIBUTE "user.hvguest.backup"

/* A file of this backup under way: .NAME.KIND-PROCESS-ID */
static int hidden_name(char **ret_path, const char *directory, const char *name, const char *kind,
		       unsigned int id)
{
	if (asprintf(ret_path, "%s/.%s.%s-%d-%u", directory, name, kind, getpid(), id) >= 0)
		return 0;
	*ret_path = NULL;
	return -ENOMEM;
}

static int plain_name(char **ret_path, const char *directory, const char *prefix, const char *name,
		      const char *suffix)
{
	if (asprintf(ret_path, "%s/%s%s%s", directory, prefix, name, suffix) >= 0)
		return 0;
	*ret_path = NULL;
	return -ENOMEM;
}

int image_init(struct image *image, const char *source, const char *directory, const char *since,
	       unsigned int id)
{
	_cleanup_free_ char *for_name = strdup(source), *for_folder = strdup(source);
	const char *name, *folder;
	int r;

	*image = (struct image){.source = strdup(source)};
	if (!image->source || !for_name || !for_folder)
		return -ENOMEM;
	name = basename(for_name);
	folder = dirname(for_folder);
	r = hidden_name(&image->snapshot, folder, name, "snapshot", id);
	if (r)
		return r;
	r = hidden_name(&image->unpublished, directory, name, "unfinished", id);
	if (r)
		return r;
	r = plain_name(&image->base, folder, ".", name, ".hvguest-base");
	if (r)
		return r;
	if (since)
		r = plain_name(&image->earlier, since, "", name, "");
	return r ? r : plain_name(&image->target, directory, "", name, "");
}

void image_fini(struct image *image)
{
	free(image->source);
	free(image->snapshot);
	free(image->base);
	free(image->unpublished);
	free(image->target);
	free(image->earlier);
	copy_sums_fini(&image->sums);
	*image = (struct image){0};
}

const char *image_error_text(const struct image *image, int r)
{
	switch (r) {
	case IMAGE_SNAPSHOT_FAILED:
		return image->why;
	case COPY_EXISTS:
		return "the target exists already";
	case COPY_CANCELLED:
		return "the backup was broken off";
	case COPY_NOT_A_FILE:
		return "it is neither a file nor a disk";
	case COPY_NOT_SHARED:
		return "the blocks cannot be shared";
	case COPY_DIFFERS:
		return "what is in the copy is not what was read: check the disk it is on";
	default:
		return strerror(-r);
	}
}

/*
 * Whether @entry is a file of a backup of @prefix, made by a process that is no more. One that
 * copy_file() had not finished has a dot more in front of it.
 */
static bool is_left(const char *entry, const char *prefix)
{
	size_t length = strlen(prefix);
	char *end;
	long process;

	if (entry[0] == '.' && entry[1] == '.')
		entry++;
	if (strncmp(entry, prefix, length) != 0)
		return false;
	process = strtol(entry + length, &end, 10);
	return process > 0 && *end == '-' && kill((pid_t)process, 0) < 0 && errno == ESRCH;
}

/* Removes what a predecessor left of @path, a hidden name of this process. */
static void remove_left(const char *path)
{
	_cleanup_free_ char *folder = strdup(path), *prefix = strdup(path);
	struct dirent *entry;
	char *name;
	DIR *dir;

	if (!folder || !prefix)
		return;
	dir = opendir(dirname(folder));
	name = basename(prefix);
	*strrchr(name, '-') = '\0'; /* the id */
	*(strrchr(name, '-') + 1) = '\0'; /* the process */
	while (dir && (entry = readdir(dir)))
		if (is_left(entry->d_name, name))
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		(void)closedir(dir);
}

const char *image_prepare(struct image *image, const char *directory)
{
	struct stat st, directory_st;

	if (stat(image->source, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return image_error_text(image, COPY_NOT_A_FILE);
	image->is_volume = lvm_is_volume(image->source);
	if (stat(directory, &directory_st) < 0)
		return strerror(errno);
	image->is_near = S_ISREG(st.st_mode) && st.st_dev == directory_st.st_dev;
	if (lstat(image->target, &st) == 0)
		return image_error_text(image, COPY_EXISTS);
	remove_left(image->unpublished);
	remove_left(image->snapshot);
	return NULL;
}

int image_look(struct image *image, const struct image_options *options, unsigned int id)
{
	if (!image->is_volume || options->no_snapshot)
		return 0;
	return lvm_look(image->source, id, options->cow_bytes, &image->volume, image->why)
		       ? IMAGE_SNAPSHOT_FAILED
		       : 0;
}

const char *image_make_empty(struct image *image)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (stat(image->source, &st) < 0)
		return strerror(errno);
	(void)unlink(image->unpublished); /* what a predecessor of the same process id has left */
	fd = open(image->unpublished, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777);
	if (fd < 0)
		return strerror(errno);
	image->copied = true;
	image->by_qemu = true;
	return NULL;
}

static int share(const char *source, const char *target, const struct copy_options *copy,
		 struct copy_result *ret_result)
{
	struct copy_options options = *copy;

	options.replace = true; /* what a predecessor of the same process id has left */
	options.only_reflink = true;
	return copy_file(source, target, &options, ret_result);
}

/* Any refusal to share is followed by the next best way, which names the reason if it is one. */
static bool is_refusal(int r)
{
	return r != 0 && r != COPY_CANCELLED && r != COPY_NOT_A_FILE && r != IMAGE_SNAPSHOT_FAILED;
}

static int copy_now(struct image *image, const char *source, const struct image_options *options,
		    const struct copy_options *copy)
{
	struct copy_options all = *copy;

	all.replace = true;
	all.sums = options->verify ? &image->sums : NULL;
	return copy_file(source, image->unpublished, &all, &image->result);
}

/* A snapshot beside the source; COPY_NOT_SHARED and others if there can be none. */
static int make_snapshot(struct image *image, const struct copy_options *copy)
{
	struct copy_result ignored;
	int r;

	if (image->is_volume)
		r = lvm_snapshot(&image->volume, image->why) ? IMAGE_SNAPSHOT_FAILED : 0;
	else
		r = share(image->source, image->snapshot, copy, &ignored);
	image->has_snapshot = image->used_snapshot = r == 0;
	return r;
}

int image_hold(struct image *image, const struct image_options *options,
	       const struct copy_options *copy)
{
	uint64_t start = clock_monotonic_ns();
	int r = COPY_NOT_SHARED;

	if (image->is_near)
		r = share(image->source, image->unpublished, copy, &image->result);
	if (is_refusal(r) && !options->no_snapshot) {
		r = make_snapshot(image, copy);
		if (r == 0)
			return 0;
	}
	if (is_refusal(r)) {
		image->full_why = image->earlier ? "no snapshot could be made" : NULL;
		r = copy_now(image, image->source, options, copy);
	}
	image->duration_ns = clock_monotonic_ns() - start;
	image->copied = r == 0;
	return r;
}

static bool get_tag(const char *path, char *ret_tag)
{
	ssize_t size = getxattr(path, TAG_ATTRIBUTE, ret_tag, IMAGE_TAG_SIZE - 1);

	if (size != IMAGE_TAG_SIZE - 1)
		return false;
	ret_tag[size] = '\0';
	return true;
}

/* 128 random bits: no other copy has it. Without randomness there is none. */
static void make_tag(char tag[IMAGE_TAG_SIZE])
{
	uint64_t random[2];

	tag[0] = '\0';
	if (getrandom(random, sizeof(random), 0) == sizeof(random))
		snprintf(tag, IMAGE_TAG_SIZE, "%016llx%016llx", (unsigned long long)random[0],
			 (unsigned long long)random[1]);
}

/* Where a file cannot carry it there is no base, which the next backup finds. */
static bool set_tag(const char *path, const char *tag)
{
	return tag[0] && setxattr(path, TAG_ATTRIBUTE, tag, IMAGE_TAG_SIZE - 1, 0) == 0;
}

void image_find_tags(struct image *image, const struct image_options *options)
{
	if (options->keep_base)
		make_tag(image->tag);
	if (image->earlier && !get_tag(image->earlier, image->earlier_tag)) {
		image->earlier_tag[0] = '\0';
		image->full_why = "the earlier copy has no tag: it was made without --keep-base";
	}
}

int image_fill(struct image *image, const struct copy_options *copy)
{
	struct copy_options options = *copy;

	options.replace = true;
	return copy_file(image->earlier, image->unpublished, &options, &image->result);
}

/* NULL and what has changed since the earlier copy, or why that cannot be told. */
static const char *find_changes(const struct image *image, struct extent **ret_changed, size_t *ret_n)
{
	_cleanup_close_ int base_fd = open(image->base, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int snapshot_fd = open(image->snapshot, O_RDONLY | O_CLOEXEC);
	char base_tag[IMAGE_TAG_SIZE], earlier_tag[IMAGE_TAG_SIZE];
	struct stat st;

	if (image->is_volume)
		return "a logical volume does not tell what has changed";
	if (base_fd < 0)
		return "no snapshot of an earlier backup was kept";
	if (!get_tag(image->base, base_tag) || !get_tag(image->earlier, earlier_tag) ||
	    strcmp(base_tag, earlier_tag) != 0)
		return "the earlier copy is not that of the snapshot that was kept";
	if (snapshot_fd < 0 || fstat(snapshot_fd, &st) < 0 ||
	    extents_changed(base_fd, snapshot_fd, (uint64_t)st.st_size, ret_changed, ret_n))
		return "the file system does not tell what has changed";
	return NULL;
}

/*
 * The snapshot of a volume is not needed any more, and slows the volume down. If it stays the copy
 * is good all the same.
 */
static void remove_volume_snapshot(struct image *image)
{
	char why[LVM_WHY_SIZE];

	image->has_snapshot = false;
	if (lvm_remove(&image->volume, why))
		log_error("%s cannot be removed (%s): it slows down %s until you lvremove it",
			  image->volume.path, why, image->source);
}

static int copy_snapshot(struct image *image, const struct image_options *options,
			 const struct copy_options *copy)
{
	const struct lvm_volume *volume = &image->volume;
	int r;

	if (!image->is_volume)
		return copy_now(image, image->snapshot, options, copy);
	r = copy_now(image, volume->path, options, copy);
	if (r == 0)
		remove_volume_snapshot(image);
	if (r >= 0 || volume->is_thin || !lvm_is_full(volume))
		return r;
	snprintf(image->why, sizeof(image->why),
		 "more was written to the volume meanwhile than its snapshot holds (%s): allow more "
		 "(--cow), or copy while the guest is frozen (--no-snapshot)",
		 size_format(volume->cow_bytes).text);
	return IMAGE_SNAPSHOT_FAILED;
}

int image_copy_out(struct image *image, const struct image_options *options,
		   const struct copy_options *copy)
{
	_cleanup_free_ struct extent *changed = NULL;
	struct copy_options some = *copy;
	uint64_t start = clock_monotonic_ns();
	int r;

	if (image->copied)
		return 0;
	if (image->earlier)
		image->full_why = find_changes(image, &changed, &some.n_changed);
	image->is_incremental = image->earlier && !image->full_why;
	if (image->is_incremental) {
		some.base = image->earlier;
		some.changed = changed;
	}
	r = copy_snapshot(image, options, &some);
	image->duration_ns = clock_monotonic_ns() - start;
	image->copied = r == 0;
	return r;
}

int image_verify(struct image *image, const struct copy_options *copy)
{
	int r;

	if (image->result.method == COPY_REFLINK)
		return 0;
	r = copy_verify(image->unpublished, &image->sums, copy);
	image->verified = r == 0;
	return r;
}

static int keep_base(struct image *image)
{
	make_tag(image->tag);
	if (set_tag(image->target, image->tag))
		(void)set_tag(image->snapshot, image->tag);
	if (rename(image->snapshot, image->base) < 0)
		return negative_errno();
	image->has_snapshot = false;
	return 0;
}

/* What QEMU has written, for good. */
static int finish_by_qemu(const struct image *image)
{
	_cleanup_close_ int fd = open(image->unpublished, O_RDONLY | O_CLOEXEC);

	(void)set_tag(image->unpublished, image->tag);
	return fd < 0 || fsync(fd) < 0 ? negative_errno() : 0;
}

int image_publish(struct image *image, const struct image_options *options)
{
	int r = image->by_qemu ? finish_by_qemu(image) : 0;

	if (r)
		return r;
	if (renameat2(AT_FDCWD, image->unpublished, AT_FDCWD, image->target, RENAME_NOREPLACE) < 0)
		return errno == EEXIST ? COPY_EXISTS : negative_errno();
	image->published = true;
	if (!image->has_snapshot)
		return 0;
	if (options->keep_base)
		return keep_base(image);
	image->has_snapshot = false;
	return unlink(image->snapshot) < 0 ? negative_errno() : 0;
}

const char *image_discard(struct image *image, const char **ret_path)
{
	*ret_path = image->published ? image->target : image->unpublished;
	if (image->copied && unlink(*ret_path) < 0)
		return strerror(errno);
	image->copied = image->published = false;
	if (!image->has_snapshot)
		return NULL;
	*ret_path = image->is_volume ? image->volume.path : image->snapshot;
	if (image->is_volume && lvm_remove(&image->volume, image->why))
		return image->why;
	if (!image->is_volume && unlink(image->snapshot) < 0)
		return strerror(errno);
	image->has_snapshot = false;
	return NULL;
}

static const char *method_name(const struct image *image)
{
	return image->by_qemu ? "qemu" : copy_method_name(image->result.method);
}

/* By what the freeze was kept short; NULL: by nothing, or the copy itself. */
static const char *snapshot_name(const struct image *image)
{
	if (!image->used_snapshot)
		return NULL;
	if (!image->is_volume)
		return "reflink";
	return image->volume.is_thin ? "lvm-thin" : "lvm";
}

json_t *image_status(const struct image *image)
{
	return json_pack("{s:s, s:s, s:s, s:s*, s:I, s:I, s:b, s:b, s:s*, s:f}", "source",
			 image->source, "target", image->target, "method", method_name(image),
			 "snapshot", snapshot_name(image), "bytes",
			 (json_int_t)image->result.size_bytes, "data_bytes",
			 (json_int_t)image->result.data_bytes, "incremental",
			 image->is_incremental, "verified", image->verified, "full_why",
			 image->full_why, "seconds", image->duration_ns / 1e9);
}
