/* SPDX-License-Identifier: MIT */

/*
 * services/fcopy_place.c: where a host's file may go, on a file system of this machine.
 */

#include "base/cleanup.h"
#include "services/fcopy_place.h"
#include "tests/unit/tree.h"

#include <fcntl.h>
#include <stdint.h>

static char root[64], record[64];
static char *roots[] = {root};
static struct fcopy_place_config config = {.roots = roots, .n_roots = 1, .mode = 0640,
					   .record = record};
static struct fcopy_place place;

static void set_up(void)
{
	cr_assert(ne(ptr, mkdtemp(tree), NULL));
	snprintf(root, sizeof(root), "%s/root", tree);
	snprintf(record, sizeof(record), "%s/record", tree);
	cr_assert(eq(int, mkdir(root, 0755), 0));
	fcopy_place_init(&place, &config);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void tear_down(void)
{
	nftw(tree, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(fcopy_place, .init = set_up, .fini = tear_down);

static size_t n_found;
static char found[4096];

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)type;
	(void)ftw;
	if (!strcmp(path, tree) || !strcmp(path, root))
		return 0;
	snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s:%o ", path + strlen(tree) + 1,
		 st->st_mode & 07777);
	n_found++;
	return 0;
}

/* Everything in the tree but the root, with its mode. */
static const char *listing(void)
{
	found[0] = '\0';
	n_found = 0;
	nftw(tree, count_entry, 16, FTW_PHYS);
	return found;
}

static enum fcopy_result open_at(const char *directory, const char *name, uint32_t flags)
{
	static struct fcopy_start start;

	snprintf(start.directory, sizeof(start.directory), "%s%s", *directory == '/' ? "" : tree,
		 *directory == '/' ? directory : directory - 0);
	if (*directory != '/')
		snprintf(start.directory, sizeof(start.directory), "%s/%s", tree, directory);
	snprintf(start.name, sizeof(start.name), "%s", name);
	start.flags = flags;
	return fcopy_place_open(&place, &start);
}

static void put(const char *text)
{
	ssize_t n = write(place.file_fd, text, strlen(text));

	cr_assert(eq(int, (int)n, (int)strlen(text)));
}

static void content_is(const char *path, const char *wanted)
{
	char text[64] = "";
	FILE *f = fopen(tree_path(path), "re");

	cr_assert(ne(ptr, f, NULL), "%s", path);
	cr_assert(ne(ptr, fgets(text, sizeof(text), f), NULL));
	fclose(f);
	cr_expect(eq(str, text, (char *)(uintptr_t)wanted));
}

static void listing_is(const char *wanted)
{
	const char *got = listing();

	cr_expect(strcmp(got, wanted) == 0, "got '%s', wanted '%s'", got, wanted);
}

Test(fcopy_place, a_file_appears_when_it_is_complete)
{
	cr_assert(eq(int, open_at("root", "na\xc3\xafve", 0), FCOPY_OK));
	put("whole");
	listing_is("");
	cr_assert(eq(int, fcopy_place_publish(&place), FCOPY_OK));
	listing_is("root/na\xc3\xafve:640 ");
	content_is("root/na\xc3\xafve", "whole");
	cr_expect(eq(int, place.file_fd, -1));
}

Test(fcopy_place, a_discarded_file_leaves_nothing)
{
	cr_assert(eq(int, open_at("root/a/b/c", "file", FCOPY_FLAG_CREATE_PATH), FCOPY_OK));
	put("half");
	listing();
	cr_expect(eq(sz, n_found, 3));
	fcopy_place_discard(&place);
	listing_is("");
	fcopy_place_discard(&place);
}

Test(fcopy_place, folders_that_others_use_stay)
{
	tree_file("root/a/b/other", "x");
	cr_assert(eq(int, open_at("root/a/b/c/d", "file", FCOPY_FLAG_CREATE_PATH), FCOPY_OK));
	tree_file("root/a/b/c/mine", "x");
	fcopy_place_discard(&place);
	cr_expect(eq(int, access(tree_path("root/a/b/c/mine"), F_OK), 0));
	cr_expect(ne(int, access(tree_path("root/a/b/c/d"), F_OK), 0));
	cr_expect(eq(int, access(tree_path("root/a/b/other"), F_OK), 0));
}

Test(fcopy_place, folders_are_made_only_if_the_host_says_so)
{
	cr_expect(eq(int, open_at("root/a", "file", 0), FCOPY_REFUSED));
	listing_is("");
	cr_assert(eq(int, open_at("root/a//b/", "file", FCOPY_FLAG_CREATE_PATH), FCOPY_OK));
	put("x");
	cr_assert(eq(int, fcopy_place_publish(&place), FCOPY_OK));
	listing_is("root/a:755 root/a/b:755 root/a/b/file:640 ");
}

Test(fcopy_place, an_existing_file_is_replaced_only_if_the_host_says_so)
{
	tree_file("root/file", "old");
	cr_expect(eq(int, open_at("root", "file", 0), FCOPY_EXISTS));
	content_is("root/file", "old");
	cr_assert(eq(int, open_at("root", "file", FCOPY_FLAG_OVERWRITE), FCOPY_OK));
	put("new");
	content_is("root/file", "old");
	cr_assert(eq(int, fcopy_place_publish(&place), FCOPY_OK));
	content_is("root/file", "new");
	listing_is("root/file:640 ");
}

Test(fcopy_place, a_file_that_came_meanwhile_is_not_replaced)
{
	cr_assert(eq(int, open_at("root", "file", 0), FCOPY_OK));
	put("ours");
	tree_file("root/file", "theirs");
	cr_expect(eq(int, fcopy_place_publish(&place), FCOPY_EXISTS));
	fcopy_place_discard(&place);
	content_is("root/file", "theirs");
	listing_is("root/file:644 ");
}

Test(fcopy_place, what_is_no_regular_file_is_never_replaced_nor_opened)
{
	tree_file("victim", "untouched");
	cr_assert(eq(int, mkfifo(tree_path("root/fifo"), 0600), 0));
	cr_assert(eq(int, mkdir(tree_path("root/folder"), 0700), 0));
	cr_assert(eq(int, symlink("../victim", tree_path("root/link")), 0));
	cr_assert(eq(int, symlink("nowhere", tree_path("root/dangling")), 0));
	for (uint32_t flags = 0; flags <= FCOPY_FLAG_OVERWRITE; flags++) {
		enum fcopy_result wanted = flags ? FCOPY_REFUSED : FCOPY_EXISTS;

		cr_expect(eq(int, open_at("root", "fifo", flags), wanted));
		cr_expect(eq(int, open_at("root", "folder", flags), wanted));
		cr_expect(eq(int, open_at("root", "link", flags), wanted));
		cr_expect(eq(int, open_at("root", "dangling", flags), wanted));
	}
	/* A link that appears behind the look. */
	cr_assert(eq(int, open_at("root", "late", FCOPY_FLAG_OVERWRITE), FCOPY_OK));
	cr_assert(eq(int, symlink("../victim", tree_path("root/late")), 0));
	cr_expect(eq(int, fcopy_place_publish(&place), FCOPY_REFUSED));
	fcopy_place_discard(&place);
	content_is("victim", "untouched");
}

Test(fcopy_place, paths_outside_of_the_roots_are_refused)
{
	char outside[80], climbing[80], beside[80];
	static const char *const wrong[] = {
		"", "relative/path", "/", "/etc", "/proc/self/root", "/proc/self/cwd", "/dev",
	};
	static const char *const names[] = {
		"", ".", "..", "a/b", "/etc/passwd", "../x", "new\nline", "tab\t", "\x7f",
		".hvguest-copy-0123456789abcdef",
	};

	snprintf(outside, sizeof(outside), "%s", tree);
	snprintf(climbing, sizeof(climbing), "%s/../root/..", root);
	snprintf(beside, sizeof(beside), "%s-not", root);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		static struct fcopy_start start = {.name = "file", .flags = 3};

		snprintf(start.directory, sizeof(start.directory), "%s", wrong[i]);
		cr_expect(eq(int, fcopy_place_open(&place, &start), FCOPY_REFUSED), "%s", wrong[i]);
	}
	cr_expect(eq(int, open_at(outside, "file", 3), FCOPY_REFUSED));
	cr_expect(eq(int, open_at(climbing, "file", 3), FCOPY_REFUSED));
	cr_expect(eq(int, open_at(beside, "file", 3), FCOPY_REFUSED));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_expect(eq(int, open_at("root", names[i], 3), FCOPY_REFUSED), "%s", names[i]);
	listing_is("");
}

Test(fcopy_place, no_link_is_followed_on_the_way)
{
	cr_assert(eq(int, mkdir(tree_path("outside"), 0755), 0));
	cr_assert(eq(int, symlink("../outside", tree_path("root/link")), 0));
	cr_assert(eq(int, symlink(tree, tree_path("root/absolute")), 0));
	cr_assert(eq(int, symlink(".", tree_path("root/self")), 0));
	cr_assert(eq(int, symlink("/proc/self/root", tree_path("root/magic")), 0));
	for (uint32_t flags = 0; flags <= 3; flags++) {
		cr_expect(eq(int, open_at("root/link", "file", flags), FCOPY_REFUSED));
		cr_expect(eq(int, open_at("root/link/deeper", "file", flags), FCOPY_REFUSED));
		cr_expect(eq(int, open_at("root/absolute/outside", "file", flags), FCOPY_REFUSED));
		cr_expect(eq(int, open_at("root/self", "file", flags), FCOPY_REFUSED));
		cr_expect(eq(int, open_at("root/magic/tmp", "file", flags), FCOPY_REFUSED));
	}
	cr_expect(eq(int, rmdir(tree_path("outside")), 0));
}

Test(fcopy_place, magic_links_beneath_a_root_are_refused)
{
	static char proc[] = "/proc";
	char *proc_roots[] = {proc};
	struct fcopy_place_config other = config;

	other.roots = proc_roots;
	fcopy_place_init(&place, &other);
	cr_expect(eq(int, open_at("/proc/self/root/tmp", "file", 0), FCOPY_REFUSED));
	cr_expect(eq(int, open_at("/proc/self/cwd", "file", 0), FCOPY_REFUSED));
}

Test(fcopy_place, the_longest_root_counts_and_the_root_of_all_can_be_one)
{
	static char all[] = "/";
	char *both[] = {all, root};
	struct fcopy_place_config other = config;

	other.roots = both;
	other.n_roots = 2;
	fcopy_place_init(&place, &other);
	cr_assert(eq(int, open_at("root", "file", 0), FCOPY_OK));
	cr_expect(eq(ptr, (void *)(uintptr_t)place.root, root));
	fcopy_place_discard(&place);
	cr_assert(eq(int, open_at("root/..", "file", 0), FCOPY_REFUSED));
	other.n_roots = 1;
	cr_assert(eq(int, open_at("root", "file", 0), FCOPY_OK));
	fcopy_place_discard(&place);
	listing_is("");
}

Test(fcopy_place, what_may_be_a_root)
{
	cr_expect(fcopy_place_is_root("/"));
	cr_expect(fcopy_place_is_root("/srv/in/"));
	cr_expect(not(fcopy_place_is_root("srv")));
	cr_expect(not(fcopy_place_is_root("")));
	cr_expect(not(fcopy_place_is_root("/srv/../etc")));
}

/* What a daemon leaves that is killed between the two names of a file that replaces another. */
static void leave_stale(const char *temporary, const char *text)
{
	char path[128], line[256];

	snprintf(path, sizeof(path), "root/sub/%s", temporary);
	tree_file(path, text);
	snprintf(line, sizeof(line), "%s\nsub\n%s\n", root, temporary);
	tree_file("record", line);
}

Test(fcopy_place, what_a_killed_predecessor_left_is_removed)
{
	leave_stale(".hvguest-copy-0123456789abcdef", "half");
	tree_file("root/sub/.hvguest-copy-ffffffffffffffff", "somebody's own");
	cr_expect(fcopy_place_sweep(&place));
	listing_is("root/sub:755 root/sub/.hvguest-copy-ffffffffffffffff:644 ");
	cr_expect(not(fcopy_place_sweep(&place)));
}

Test(fcopy_place, what_is_not_what_was_left_stays)
{
	static const char *const names[] = {
		"file", ".hvguest-copy-0123456789abcde", ".hvguest-copy-0123456789abcdeg",
		".hvguest-copy-0123456789ABCDEF", "../sub/x", ".hvguest-copy-012345678/abcdef",
	};
	char record_text[256];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		tree_file("root/sub/file", "x");
		snprintf(record_text, sizeof(record_text), "%s\nsub\n%s\n", root, names[i]);
		tree_file("record", record_text);
		(void)fcopy_place_sweep(&place);
		cr_expect(eq(int, access(tree_path("root/sub/file"), F_OK), 0), "%s", names[i]);
	}
	/* A second link, another kind, a folder that is a link, a root that is none. */
	leave_stale(".hvguest-copy-0123456789abcdef", "x");
	cr_assert(eq(int, link(tree_path("root/sub/.hvguest-copy-0123456789abcdef"),
			       tree_path("root/second")), 0));
	cr_expect(fcopy_place_sweep(&place));
	cr_expect(eq(int, access(tree_path("root/sub/.hvguest-copy-0123456789abcdef"), F_OK), 0));
	cr_assert(eq(int, unlink(tree_path("root/second")), 0));
	cr_assert(eq(int, rename(tree_path("root/sub"), tree_path("outside")), 0));
	cr_assert(eq(int, symlink("../outside", tree_path("root/sub")), 0));
	snprintf(record_text, sizeof(record_text), "%s\nsub\n.hvguest-copy-0123456789abcdef\n", root);
	tree_file("record", record_text);
	cr_expect(fcopy_place_sweep(&place));
	cr_expect(eq(int, access(tree_path("outside/.hvguest-copy-0123456789abcdef"), F_OK), 0));
	snprintf(record_text, sizeof(record_text), "%s\noutside\n.hvguest-copy-0123456789abcdef\n", tree);
	tree_file("record", record_text);
	cr_expect(fcopy_place_sweep(&place));
	cr_expect(eq(int, access(tree_path("outside/.hvguest-copy-0123456789abcdef"), F_OK), 0));
}

Test(fcopy_place, a_record_that_is_cut_at_any_byte_removes_nothing_else)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "%s\nsub\n.hvguest-copy-0123456789abcdef\n", root);

	for (int i = 0; i < n - 1; i++) {
		char cut[256];

		leave_stale(".hvguest-copy-0123456789abcdef", "x");
		snprintf(cut, sizeof(cut), "%.*s", i, text);
		tree_file("record", cut);
		(void)fcopy_place_sweep(&place);
		cr_expect(eq(int, access(tree_path("root/sub"), F_OK), 0));
	}
}

Test(fcopy_place, errors_are_told_as_what_they_are)
{
	static const struct {
		int error;
		enum fcopy_result result;
	} rows[] = {
		{ENOSPC, FCOPY_DISK_FULL}, {EDQUOT, FCOPY_DISK_FULL}, {EFBIG, FCOPY_DISK_FULL},
		{EEXIST, FCOPY_EXISTS},    {ELOOP, FCOPY_REFUSED},    {EIO, FCOPY_FAILED},
		{EROFS, FCOPY_FAILED},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_expect(eq(int, fcopy_place_fail(&place, "x", rows[i].error), (int)rows[i].result));
		cr_expect(eq(int, fcopy_place_fail(&place, "x", -rows[i].error), (int)rows[i].result));
		cr_expect(strlen(place.why) > 0);
	}
}

/* On a file system that has no files without a name. */
static struct fcopy_place_config named_config(void)
{
	struct fcopy_place_config named = config;

	named.always_named = true;
	return named;
}

Test(fcopy_place, with_a_temporary_name_it_is_the_same)
{
	struct fcopy_place_config named = named_config();

	fcopy_place_init(&place, &named);
	cr_assert(eq(int, open_at("root", "file", 0), FCOPY_OK));
	put("whole");
	listing();
	cr_expect(eq(sz, n_found, 2)); /* and the record */
	cr_expect(strstr(found, "root/.hvguest-copy-") != NULL);
	cr_assert(eq(int, fcopy_place_publish(&place), FCOPY_OK));
	listing_is("root/file:640 ");
	content_is("root/file", "whole");

	cr_expect(eq(int, open_at("root", "file", 0), FCOPY_EXISTS));
	cr_assert(eq(int, open_at("root", "file", FCOPY_FLAG_OVERWRITE), FCOPY_OK));
	put("new");
	cr_assert(eq(int, fcopy_place_publish(&place), FCOPY_OK));
	content_is("root/file", "new");
	listing_is("root/file:640 ");
}

Test(fcopy_place, with_a_temporary_name_nothing_is_left_or_replaced_either)
{
	struct fcopy_place_config named = named_config();

	fcopy_place_init(&place, &named);
	cr_assert(eq(int, open_at("root/a/b", "file", FCOPY_FLAG_CREATE_PATH), FCOPY_OK));
	put("half");
	fcopy_place_discard(&place);
	listing_is("");

	cr_assert(eq(int, open_at("root", "file", 0), FCOPY_OK));
	tree_file("root/file", "theirs");
	cr_expect(eq(int, fcopy_place_publish(&place), FCOPY_EXISTS));
	fcopy_place_discard(&place);
	content_is("root/file", "theirs");
	listing_is("root/file:644 ");
}

Test(fcopy_place, what_took_the_temporary_name_meanwhile_stays)
{
	struct fcopy_place_config named = named_config();
	char path[80];

	fcopy_place_init(&place, &named);
	cr_assert(eq(int, open_at("root", "file", 0), FCOPY_OK));
	snprintf(path, sizeof(path), "root/%s", place.temporary);
	tree_file(path, "theirs");
	fcopy_place_discard(&place);
	content_is(path, "theirs");
}

Test(fcopy_place, a_daemon_that_dies_with_a_temporary_name_is_cleaned_up_after)
{
	struct fcopy_place_config named = named_config();

	fcopy_place_init(&place, &named);
	cr_assert(eq(int, open_at("root/a", "file", FCOPY_FLAG_CREATE_PATH), FCOPY_OK));
	put("half");
	/* It is gone: nothing but descriptors is cleaned up. */
	close(place.file_fd);
	close(place.folder_fd);
	close(place.root_fd);
	fcopy_place_init(&place, &named);
	cr_expect(fcopy_place_sweep(&place));
	listing_is("root/a:755 ");
}

Test(fcopy_place, a_record_that_cannot_be_written_means_no_file)
{
	struct fcopy_place_config named = named_config();

	named.record = "/proc/nowhere";
	fcopy_place_init(&place, &named);
	cr_expect(eq(int, open_at("root", "file", 0), FCOPY_FAILED));
	listing_is("");
}
