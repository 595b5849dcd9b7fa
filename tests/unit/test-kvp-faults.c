/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_files.c on a disk that fails: each call that can fail does so once, in each of its
 * ways, and then the change is made or it is not, in memory, in the file, and after a restart.
 */

#include "services/kvp_batch.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char dir[64];
static struct kvp_files *files;
static struct kvp_table *table;

/* The call number `fail_at` fails, and all that follow if `fail_on`; 0: none. */
static unsigned int calls, fail_at;
static bool fail_on;
static int fail_with;
static unsigned int records_written;

static bool fails(void)
{
	calls++;
	if (fail_at == 0 || (fail_on ? calls < fail_at : calls != fail_at))
		return false;
	errno = fail_with;
	return true;
}

ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset);
int __real_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);

/* Half of what is to be written gets there. */
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	records_written += len == KVP_RECORD_SIZE;
	if (!fails())
		return __real_pwrite(fd, data, len, offset);
	(void)!__real_pwrite(fd, data, len / 2, offset);
	errno = fail_with;
	return -1;
}

int __wrap_ftruncate(int fd, off_t size)
{
	return fails() ? -1 : __real_ftruncate(fd, size);
}

int __wrap_fdatasync(int fd)
{
	return fails() ? -1 : __real_fdatasync(fd);
}

int __wrap_fsync(int fd)
{
	return fails() ? -1 : __real_fsync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	return fails() ? -1 : __real_fallocate(fd, mode, offset, len);
}

static void open_all(void)
{
	cr_assert(eq(int, kvp_files_new(dir, &files), 0));
	cr_assert(eq(int, kvp_table_new(&table), 0));
	cr_assert(kvp_batch_refresh(files, table, 0, 1000) >= 0);
}

static void close_all(void)
{
	files = kvp_files_free(files);
	table = kvp_table_free(table);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_dir(void)
{
	(void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int change(const char *key, const char *value)
{
	struct kvp_change c = {.pool = 0, .remove = !value};
	struct kvp_change *const all[] = {&c};
	int result;

	snprintf(c.entry.key, sizeof(c.entry.key), "%s", key);
	snprintf(c.entry.value, sizeof(c.entry.value), "%s", value ? value : "");
	(void)!kvp_batch_run(files, table, all, 1, &result);
	return result;
}

/* With @chain the last changes are in the journal and not settled. */
static void set_up(bool chain)
{
	snprintf(dir, sizeof(dir), "/tmp/hvguest-kvp.XXXXXX");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	open_all();
	for (char key[] = "a"; key[0] <= 'e'; key[0]++)
		cr_assert(eq(int, change(key, "old"), 0));
	cr_assert(eq(int, kvp_files_settle(files), 0));
	if (!chain)
		return;
	cr_assert(eq(int, change("a", "new"), 0));
	cr_assert(eq(int, change("a", "old"), 0));
	cr_assert(kvp_files_are_unsettled(files));
}

/* "a=old b=old ...", of the memory. */
static char *contents(void)
{
	static char text[256];
	char value[KVP_VALUE_SIZE];

	text[0] = '\0';
	for (char key[] = "a"; key[0] <= 'g'; key[0]++) {
		if (kvp_table_get(table, 0, key, value) == 0)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s=%.8s ", key, value);
	}
	return text;
}

static const struct {
	const char *key, *value;
	const char *made;
} rows[] = {
	{"c", "new", "a=old b=old c=new d=old e=old "},
	{"f", "new", "a=old b=old c=old d=old e=old f=new "},
	{"b", NULL, "a=old c=old d=old e=old "},
	{"e", NULL, "a=old b=old c=old d=old "},
};

static const char not_made[] = "a=old b=old c=old d=old e=old ";

/* One change with a failure; false: it did not come to that many calls. */
static bool try_failure(size_t row, unsigned int at, bool chain, bool restart, int error)
{
	const char *expected;
	bool happened;
	int r;

	set_up(chain);
	calls = 0;
	fail_at = at;
	fail_on = false;
	fail_with = error;
	r = change(rows[row].key, rows[row].value);
	(void)!kvp_files_settle(files);
	happened = calls >= at;
	fail_at = 0;

	cr_expect(r <= 0);
	expected = r == 0 ? rows[row].made : not_made;
	cr_expect(eq(str, contents(), (char *)(uintptr_t)expected), "row %zu, call %u: %d", row, at,
		  r);

	/* When the disk works again. */
	if (!restart) {
		cr_expect(eq(int, change("g", "1"), 0), "row %zu, call %u", row, at);
		cr_expect(eq(int, change("g", NULL), 0));
	}
	close_all();
	open_all();
	cr_expect(eq(str, contents(), (char *)(uintptr_t)expected), "row %zu, call %u, later", row, at);
	close_all();
	remove_dir();
	return happened;
}

static bool try_all(size_t row, unsigned int at, int error)
{
	bool happened = false;

	for (unsigned int i = 0; i < 4; i++)
		happened |= try_failure(row, at, i & 1, i & 2, error);
	return happened;
}

Test(kvp_faults, a_failure_leaves_the_old_state_or_the_new_one, .timeout = 300)
{
	static const int errors[] = {EIO, ENOSPC};

	for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
		for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
			unsigned int at = 1;

			while (try_all(row, at, errors[e]))
				at++;
			cr_expect(at > 4, "only %u calls can fail", at);
		}
	}
}

/* Nothing can be put back then; but it is not acknowledged, and what is there later is whole. */
Test(kvp_faults, a_disk_that_stays_broken_refuses_everything_and_loses_nothing, .timeout = 300)
{
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		for (unsigned int at = 1; at < 8; at++) {
			char expected[128];
			int r, again;

			set_up(at % 2);
			calls = 0;
			fail_at = at;
			fail_on = true;
			fail_with = EIO;
			r = change(rows[row].key, rows[row].value);
			again = change("d", "new");
			cr_expect(r < 0 || again < 0 || at >= 6, "row %zu, from call %u on", row, at);
			fail_at = 0;
			close_all();
			open_all();
			snprintf(expected, sizeof(expected), "%s", rows[row].made);
			/* What was refused in the middle may come to be. */
			if (again == 0 || (r == 0 && strstr(contents(), "d=new")))
				memcpy(strstr(expected, "d=old"), "d=new", 5);
			if (r == 0)
				cr_expect(eq(str, contents(), expected), "row %zu, from call %u on", row,
					  at);
			else
				cr_expect(strcmp(contents(), rows[row].made) == 0 ||
						  strcmp(contents(), not_made) == 0,
					  "row %zu, from call %u on: %s", row, at, contents());
			close_all();
			remove_dir();
		}
	}
}

/* After that a kernel takes for written what is not. */
Test(kvp_faults, what_a_disk_has_refused_once_is_written_again, .timeout = 300)
{
	for (int foreign = 0; foreign < 2; foreign++) {
		set_up(true);
		calls = 0;
		fail_at = 1;
		fail_on = false;
		fail_with = EIO;
		cr_assert(eq(int, kvp_files_settle(files), -EIO));
		fail_at = 0;
		cr_expect(kvp_files_are_unsettled(files));
		if (foreign) {
			uint8_t record[KVP_RECORD_SIZE];
			char path[128];
			int fd;

			snprintf(path, sizeof(path), "%s/.kvp_pool_0", dir);
			fd = open(path, O_WRONLY);
			kvp_record_write(record, "a", "theirs");
			cr_assert(eq(long, __real_pwrite(fd, record, sizeof(record), 0),
				     (long)sizeof(record)));
			close(fd);
		}
		records_written = 0;
		cr_expect(eq(int, kvp_files_settle(files), 0));
		cr_expect(eq(uint, records_written, foreign ? 0 : 1));
		cr_expect(not(kvp_files_are_unsettled(files)));
		cr_assert(kvp_batch_refresh(files, table, 0, 1000) >= 0);
		cr_expect(eq(str, contents(),
			     foreign ? "a=theirs b=old c=old d=old e=old " : (char *)(uintptr_t)not_made));
		close_all();
		remove_dir();
	}
}
