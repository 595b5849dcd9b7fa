/* SPDX-License-Identifier: MIT */
#pragma once

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A folder of ordinary files that stands for parts of sysfs, /dev and /proc.
 */

static char tree[] = "/tmp/hvguest-tree-XXXXXX";

/* The whole path of @path in the tree; valid until the fourth call after this one. */
static inline const char *tree_path(const char *path)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *buf = paths[next++ % 4];

	snprintf(buf, PATH_MAX, "%s/%s", tree, path);
	return buf;
}

static inline void tree_parents(const char *path)
{
	char *whole = strdup(tree_path(path));

	for (char *p = whole + strlen(tree) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		(void)mkdir(whole, 0755);
		*p = '/';
	}
	free(whole);
}

/* Makes a file with @text in it, or replaces what is there. */
static inline void tree_file(const char *path, const char *text)
{
	FILE *f;

	tree_parents(path);
	(void)unlink(tree_path(path));
	f = fopen(tree_path(path), "we");
	cr_assert(ne(ptr, f, NULL));
	fputs(text, f);
	fclose(f);
}

/* A file without content, but of a size. */
static inline void tree_sized(const char *path, off_t size)
{
	tree_file(path, "");
	cr_assert(eq(int, truncate(tree_path(path), size), 0));
}

static inline void tree_link(const char *path, const char *target)
{
	tree_parents(path);
	(void)unlink(tree_path(path));
	cr_assert(eq(int, symlink(target, tree_path(path)), 0));
}

/* What a file begins with, up to a NUL or to its end. */
static inline const char *tree_text(const char *path)
{
	static char text[256];
	FILE *f = fopen(tree_path(path), "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	text[n] = '\0';
	if (f)
		fclose(f);
	return text;
}

static inline int tree_remove_one(const char *path, const struct stat *st, int type,
				  struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

/* Removes a part of the tree, or all of it: "". */
static inline void tree_remove(const char *path)
{
	(void)nftw(*path ? tree_path(path) : tree, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void tree_init(void)
{
	cr_assert(ne(ptr, mkdtemp(tree), NULL));
}

static inline void tree_fini(void)
{
	tree_remove("");
}

static inline void tree_expect_text(int line, const char *got, const char *want)
{
	cr_expect(eq(int, strcmp(got, want), 0), "line %d: '%s' instead of '%s'", line, got, want);
}

/* Compares two texts. */
#define expect_text(got, want) tree_expect_text(__LINE__, got, want)
