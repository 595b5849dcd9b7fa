/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/fcopy.h"

#include <sys/types.h>

/*
 * Where a copied file goes: beneath one of the allowed roots, under no name until it is complete.
 * It blocks, and is used by one thread at a time.
 */

enum {
	FCOPY_WHY_SIZE = 256,
	FCOPY_PATH_SIZE = 4096,
};

struct fcopy_place_config {
	char *const *roots; /* absolute paths of folders, without "." and ".." */
	size_t n_roots;
	mode_t mode;        /* of the files; 0777 at most */
	bool has_owner;     /* else they are the process's */
	uid_t uid;
	gid_t gid;
	const char *record; /* a file of the place's own, in a folder that exists */
	bool always_named;  /* as if no file system had files without a name; for tests */
};

struct fcopy_place {
	const struct fcopy_place_config *config;
	int root_fd;
	int folder_fd;
	int file_fd; /* to be written to; -1: none is open */
	bool overwrite;
	char path[FCOPY_PATH_SIZE];     /* the whole path of the file */
	char relative[FCOPY_PATH_SIZE]; /* its folder, from the root on; "." is the root */
	const char *root;               /* config's */
	const char *name;               /* in path */
	char temporary[32];             /* its name for now; "": it has none */
	size_t first_made;              /* bytes of `relative` in which nothing was made; SIZE_MAX: in all of it */
	char why[FCOPY_WHY_SIZE];       /* what stood in the way of the last call, for people */
};

/* A place without a file. @config must outlive it. */
void fcopy_place_init(struct fcopy_place *p, const struct fcopy_place_config *config);

/*
 * Removes what a killed predecessor had under a temporary name; only that, and only if it is still
 * the file it left. Returns true if there was something, or something may be left: see p->why.
 */
bool fcopy_place_sweep(struct fcopy_place *p);

/*
 * Finds the folder, makes what is missing of it if @start says so, and opens a new file at
 * p->file_fd. FCOPY_OK, FCOPY_EXISTS, FCOPY_REFUSED, FCOPY_DISK_FULL, FCOPY_FAILED; then nothing is
 * left of it.
 */
_must_check_ enum fcopy_result fcopy_place_open(struct fcopy_place *p,
						const struct fcopy_start *start);

/*
 * Gives the file, whose data is on disk, its owner, mode and name, for good, and closes it. The
 * same results; if it failed, fcopy_place_discard() has to follow.
 */
_must_check_ enum fcopy_result fcopy_place_publish(struct fcopy_place *p);

/* Leaves nothing of the file, nor of the folders that were made for it. */
void fcopy_place_discard(struct fcopy_place *p);

/* Notes @what and the errno @error as the reason, and tells which result it is. */
enum fcopy_result fcopy_place_fail(struct fcopy_place *p, const char *what, int error);

/* Whether @path may be a root: absolute, without "." and "..", not longer than it can be. */
bool fcopy_place_is_root(const char *path);
