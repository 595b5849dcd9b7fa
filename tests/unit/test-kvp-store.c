/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_store.c, with the files and the memory below it: real files in a folder of their
 * own.
 */

#include "services/kvp_store.h"

#include "base/clock.h"
#include "services/kvp_journal.h"
#include "services/kvp_record.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
	PATIENCE_S = 60,
	HOLD_FOR_GOOD_MS = 600000,
};

static char dir[64];
static struct event_base *base;
static struct kvp_store *store;
static char notes[4096];

static void on_note(void *self, const char *text)
{
	(void)self;
	snprintf(notes + strlen(notes), sizeof(notes) - strlen(notes), "%s\n", text);
}

static void open_store_as(const char *boot, const char *machine)
{
	const struct kvp_store_options options = {
		.dir = dir, .boot = boot, .machine = machine, .note = on_note};

	cr_assert(eq(int, kvp_store_new(base, &options, &store), 0));
}

static void open_store(void)
{
	open_store_as("boot", "machine");
}

static void set_up(void)
{
	snprintf(dir, sizeof(dir), "/tmp/hvguest-kvp.XXXXXX");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	base = event_base_new();
	cr_assert(ne(ptr, base, NULL));
	open_store();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void tear_down(void)
{
	store = kvp_store_free(store);
	event_base_free(base);
	(void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(kvp_store, .init = set_up, .fini = tear_down, .timeout = 300);

/* --- changes and what comes of them --- */

struct asked {
	struct kvp_change change;
	bool done;
	int result;
};

static void on_done(struct kvp_change *change, int r)
{
	struct asked *asked = (struct asked *)change;

	cr_assert(not(asked->done));
	asked->done = true;
	asked->result = r;
}

static struct asked asked_of(enum kvp_pool pool, const char *key, const char *value)
{
	struct asked asked = {.change = {.pool = pool, .remove = !value, .done = on_done}};

	snprintf(asked.change.entry.key, KVP_KEY_SIZE, "%s", key);
	snprintf(asked.change.entry.value, KVP_VALUE_SIZE, "%s", value ? value : "");
	return asked;
}

static void run_until(const bool *done)
{
	uint64_t end_ns = clock_monotonic_ns() + PATIENCE_S * UINT64_C(1000000000);

	while (!*done && clock_monotonic_ns() < end_ns) {
		const struct timeval moment = {.tv_usec = 20000};

		(void)event_base_loopexit(base, &moment);
		(void)event_base_loop(base, EVLOOP_ONCE);
	}
	cr_assert(eq(int, *done, true), "waited for too long");
}

static int change(enum kvp_pool pool, const char *key, const char *value)
{
	struct asked asked = asked_of(pool, key, value);

	kvp_store_submit(store, &asked.change);
	cr_assert(not(asked.done), "answered before submit has returned");
	run_until(&asked.done);
	return asked.result;
}

#define set(pool, key, value) cr_assert(eq(int, change(pool, key, value), 0))
#define expect_value(pool, key, expected) expect_value_at(__LINE__, pool, key, expected)

static void expect_value_at(int line, enum kvp_pool pool, const char *key, const char *expected)
{
	char value[KVP_VALUE_SIZE] = "";
	int r = kvp_store_get(store, pool, key, value);

	if (expected) {
		cr_expect(eq(int, r, 0), "line %d: %s is not there", line, key);
		cr_expect(eq(str, value, (char *)(uintptr_t)expected), "line %d", line);
	} else {
		cr_expect(eq(int, r, KVP_STORE_NONE), "line %d: %s is there", line, key);
	}
}

static void reopen(void)
{
	store = kvp_store_free(store);
	open_store();
}

/* All keys of @pool, separated by spaces, in a buffer that is used again. */
static char *keys_of(enum kvp_pool pool)
{
	static char text[8192];
	struct kvp_walk walk = {0};
	struct kvp_entry entry;

	text[0] = '\0';
	for (uint32_t i = 0; kvp_store_nth(store, pool, i, &walk, &entry) == 0; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			 entry.key);
	return text;
}

/* --- files as others see them --- */

static char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static char *pool_path(unsigned int pool)
{
	char name[32];

	snprintf(name, sizeof(name), ".kvp_pool_%u", pool);
	return path_of(name);
}

static long size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : (long)st.st_size;
}

/* As cloud-init does: O_APPEND under flock(), and the texts may fill their fields. */
static void append_record(unsigned int pool, const char *key, const char *value)
{
	uint8_t record[KVP_RECORD_SIZE] = {0};
	int fd = open(pool_path(pool), O_WRONLY | O_APPEND | O_CREAT, 0644);

	memcpy(record, key, strnlen(key, KVP_KEY_SIZE));
	memcpy(record + KVP_KEY_SIZE, value, strnlen(value, KVP_VALUE_SIZE));
	cr_assert(fd >= 0);
	cr_assert(eq(int, flock(fd, LOCK_EX), 0));
	cr_assert(eq(long, write(fd, record, sizeof(record)), (long)sizeof(record)));
	close(fd);
}

/* What the stock daemon would read: the value of the first record with this key; NULL: none. */
static const char *read_as_stock(unsigned int pool, const char *key)
{
	static uint8_t record[KVP_RECORD_SIZE];
	FILE *file = fopen(pool_path(pool), "r");
	const char *value = NULL;

	cr_assert(ne(ptr, file, NULL));
	while (!value && fread(record, sizeof(record), 1, file) == 1)
		if (strcmp((const char *)record, key) == 0)
			value = (const char *)record + KVP_KEY_SIZE;
	fclose(file);
	return value;
}

static bool changed;

static void on_change(void *self)
{
	(void)self;
	changed = true;
}

static void wait_for_change(void)
{
	cr_assert(kvp_store_watch(store, on_change, &changed));
	run_until(&changed);
	kvp_store_unwatch(store, &changed);
	changed = false;
}

/* --- */

Test(kvp_store, has_what_was_set_and_forgets_what_was_removed)
{
	set(0, "a", "1");
	set(0, "b", "");
	set(1, "a", "another pool's");
	expect_value(0, "a", "1");
	expect_value(0, "b", "");
	expect_value(1, "a", "another pool's");
	expect_value(0, "c", NULL);
	set(0, "a", "2");
	expect_value(0, "a", "2");
	cr_expect(eq(sz, kvp_store_count(store, 0), 2));
	set(0, "a", NULL);
	expect_value(0, "a", NULL);
	expect_value(1, "a", "another pool's");
	cr_expect(eq(int, change(0, "a", NULL), KVP_STORE_NONE));
	cr_expect(eq(sz, kvp_store_count(store, 0), 1));
}

Test(kvp_store, is_as_before_after_a_restart)
{
	char long_key[KVP_KEY_SIZE], long_value[KVP_VALUE_SIZE];

	memset(long_key, 'k', sizeof(long_key) - 1);
	memset(long_value, 'v', sizeof(long_value) - 1);
	long_key[sizeof(long_key) - 1] = long_value[sizeof(long_value) - 1] = '\0';
	set(4, long_key, long_value);
	set(4, "x", "y");
	set(4, "gone", "z");
	set(4, "gone", NULL);
	reopen();
	expect_value(4, long_key, long_value);
	expect_value(4, "x", "y");
	expect_value(4, "gone", NULL);
	cr_expect(eq(str, notes, (char *)""));
}

Test(kvp_store, writes_what_the_stock_daemon_reads)
{
	set(1, "first", "one");
	set(1, "second", "a longer value");
	set(1, "second", "two");
	set(1, "third", "three");
	set(1, "first", NULL);
	cr_expect(eq(long, size_of(pool_path(1)), 2L * KVP_RECORD_SIZE));
	cr_expect(eq(str, (char *)(uintptr_t)read_as_stock(1, "second"), (char *)"two"));
	cr_expect(eq(str, (char *)(uintptr_t)read_as_stock(1, "third"), (char *)"three"));
	cr_expect(eq(ptr, (void *)(uintptr_t)read_as_stock(1, "first"), NULL));
	for (unsigned int pool = 0; pool < KVP_POOLS; pool++)
		cr_expect(size_of(pool_path(pool)) >= 0, "pool %u has no file", pool);
}

Test(kvp_store, never_replaces_the_file)
{
	struct stat before, after;

	set(0, "a", "1");
	cr_assert(eq(int, stat(pool_path(0), &before), 0));
	for (int i = 0; i < 20; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%d", i);
		set(0, key, "v");
	}
	set(0, "a", NULL);
	cr_assert(eq(int, stat(pool_path(0), &after), 0));
	cr_expect(eq(ulong, before.st_ino, after.st_ino));
	cr_expect(eq(uint, after.st_mode & 0777, 0644));
}

Test(kvp_store, enumerates_each_entry_once_whatever_happens_meanwhile)
{
	struct kvp_walk walk = {0};
	struct kvp_entry entry;
	char seen[256] = "";

	for (char key[] = "a"; key[0] <= 'h'; key[0]++)
		set(0, key, "v");
	for (uint32_t i = 0; kvp_store_nth(store, 0, i, &walk, &entry) == 0; i++) {
		strcat(seen, entry.key);
		if (i == 1)
			set(0, "a", NULL); /* was given */
		if (i == 2)
			set(0, "f", NULL); /* was not */
		if (i == 3)
			set(0, "b", "changed");
		if (i == 4)
			set(0, "new", "v");
	}
	cr_expect(eq(str, seen, (char *)"abcdeghnew"));
	cr_expect(eq(str, keys_of(0), (char *)"b c d e g h new"));
}

Test(kvp_store, an_index_may_jump_or_be_asked_for_again)
{
	struct kvp_walk walk = {0};
	struct kvp_entry entry;
	static const struct {
		uint32_t index;
		const char *key;
	} rows[] = {{3, "d"}, {0, "a"}, {1, "b"}, {1, "b"}, {2, "c"}, {0, "a"}, {4, NULL}, {4294967295u, NULL},
		    {3, "d"}, {4, NULL}, {1, "b"}};

	for (char key[] = "a"; key[0] <= 'd'; key[0]++)
		set(0, key, "v");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r = kvp_store_nth(store, 0, rows[i].index, &walk, &entry);

		cr_expect(eq(int, r, rows[i].key ? 0 : KVP_STORE_NONE), "row %zu", i);
		if (rows[i].key)
			cr_expect(eq(str, entry.key, (char *)(uintptr_t)rows[i].key), "row %zu", i);
	}
}

Test(kvp_store, changes_that_come_together_are_made_in_order)
{
	enum { N = 100 };
	static struct asked asked[N];

	for (int i = 0; i < N; i++) {
		char key[16], value[16];

		snprintf(key, sizeof(key), "k%d", i % 7);
		snprintf(value, sizeof(value), "%d", i);
		asked[i] = asked_of(i % 3 == 2, key, i % 5 == 4 ? NULL : value);
		kvp_store_submit(store, &asked[i].change);
	}
	for (int i = 0; i < N; i++)
		run_until(&asked[i].done);
	for (int again = 0; again < 2; again++) {
		for (int pool = 0; pool < 2; pool++) {
			for (int k = 0; k < 7; k++) {
				char key[16], value[16];
				const char *expected = NULL;

				snprintf(key, sizeof(key), "k%d", k);
				for (int i = 0; i < N; i++) {
					if (i % 7 != k || (i % 3 == 2) != pool)
						continue;
					cr_expect(eq(int, asked[i].result,
						     i % 5 == 4 && !expected ? KVP_STORE_NONE : 0));
					snprintf(value, sizeof(value), "%d", i);
					expected = i % 5 == 4 ? NULL : value;
				}
				expect_value((enum kvp_pool)pool, key, expected);
			}
		}
		reopen();
	}
}

Test(kvp_store, a_change_that_was_withdrawn_is_not_made)
{
	struct asked a = asked_of(0, "a", "1"), b = asked_of(1, "b", "2"), c = asked_of(0, "c", "3");

	kvp_store_submit(store, &a.change);
	kvp_store_submit(store, &b.change);
	kvp_store_submit(store, &c.change);
	cr_expect(not(kvp_store_withdraw(store, &a.change)));
	cr_expect(kvp_store_withdraw(store, &c.change));
	cr_expect(not(kvp_store_withdraw(store, &c.change)));
	run_until(&b.done);
	set(0, "d", "4");
	cr_expect(a.done);
	cr_expect(not(c.done));
	cr_expect(eq(str, keys_of(0), (char *)"a d"));
}

Test(kvp_store, nothing_is_written_while_it_is_held)
{
	struct asked a = asked_of(0, "a", "1");
	const struct timeval moment = {.tv_usec = 100000};

	set(0, "before", "1");
	kvp_store_hold(store, true);
	while (!kvp_store_is_quiet(store))
		(void)event_base_loop(base, EVLOOP_ONCE);
	kvp_store_submit(store, &a.change);
	(void)event_base_loopexit(base, &moment);
	(void)event_base_dispatch(base);
	cr_expect(not(a.done));
	cr_expect(kvp_store_is_quiet(store));
	expect_value(0, "before", "1");
	expect_value(0, "a", NULL);
	cr_expect(eq(ptr, (void *)(uintptr_t)read_as_stock(0, "a"), NULL));
	kvp_store_hold(store, false);
	run_until(&a.done);
	expect_value(0, "a", "1");
}

Test(kvp_store, sees_within_a_second_what_others_append)
{
	set(1, "ours", "1");
	append_record(1, "theirs", "2");
	wait_for_change();
	expect_value(1, "theirs", "2");
	set(1, "ours", "3");
	cr_expect(eq(str, (char *)(uintptr_t)read_as_stock(1, "theirs"), (char *)"2"));
	cr_expect(eq(str, keys_of(1), (char *)"ours theirs"));
}

Test(kvp_store, a_text_without_a_terminator_is_read_to_its_field_s_end)
{
	char key[KVP_KEY_SIZE + 1], value[KVP_VALUE_SIZE + 1];

	memset(key, 'k', sizeof(key) - 1);
	memset(value, 'v', sizeof(value) - 1);
	key[sizeof(key) - 1] = value[sizeof(value) - 1] = '\0';
	append_record(1, key, value);
	wait_for_change();
	key[KVP_KEY_SIZE - 1] = value[KVP_VALUE_SIZE - 1] = '\0';
	expect_value(1, key, value);
}

Test(kvp_store, an_append_right_behind_one_of_ours_is_not_lost)
{
	for (int i = 0; i < 200; i++) {
		char ours[16], theirs[16];

		snprintf(ours, sizeof(ours), "o%d", i);
		snprintf(theirs, sizeof(theirs), "t%d", i);
		set(1, ours, "1");
		append_record(1, theirs, "2");
	}
	set(1, "last", "1");
	for (int again = 0; again < 2; again++) {
		cr_expect(eq(sz, kvp_store_count(store, 1), 401));
		for (int i = 0; i < 200; i++) {
			char key[16];

			snprintf(key, sizeof(key), "o%d", i);
			expect_value(1, key, "1");
			snprintf(key, sizeof(key), "t%d", i);
			expect_value(1, key, "2");
		}
		reopen();
	}
}

Test(kvp_store, an_edit_in_place_is_seen_even_if_nothing_but_its_bytes_tells)
{
	for (int i = 0; i < 100; i++) {
		char value[16];
		int fd;

		snprintf(value, sizeof(value), "%03d", i);
		set(1, "key", "abc");
		fd = open(pool_path(1), O_WRONLY);
		cr_assert(eq(long, pwrite(fd, value, 3, KVP_KEY_SIZE), 3L));
		close(fd);
		set(1, "other", "x");
		expect_value(1, "key", value);
	}
}

Test(kvp_store, a_file_that_the_stock_daemon_rewrites_is_followed)
{
	uint8_t record[KVP_RECORD_SIZE];
	FILE *file;

	set(0, "a", "1");
	set(0, "b", "2");
	set(0, "c", "3");
	file = fopen(pool_path(0), "w");
	kvp_record_write(record, "b", "2");
	fwrite(record, sizeof(record), 1, file);
	kvp_record_write(record, "c", "changed");
	fwrite(record, sizeof(record), 1, file);
	fclose(file);
	wait_for_change();
	while (kvp_store_count(store, 0) != 2) /* it may have been seen half written */
		wait_for_change();
	expect_value(0, "a", NULL);
	expect_value(0, "b", "2");
	expect_value(0, "c", "changed");
	set(0, "a", "new");
	cr_expect(eq(str, keys_of(0), (char *)"b c a"));
}

Test(kvp_store, a_file_that_is_replaced_or_removed_is_followed)
{
	char from[128];

	set(0, "a", "1");
	cr_assert(eq(int, unlink(pool_path(0)), 0));
	set(0, "b", "2");
	cr_expect(eq(str, keys_of(0), (char *)"b"));
	cr_expect(eq(long, size_of(pool_path(0)), (long)KVP_RECORD_SIZE));
	append_record(1, "c", "3");
	set(0, "d", "4");
	snprintf(from, sizeof(from), "%s", pool_path(1));
	cr_assert(eq(int, rename(from, pool_path(0)), 0));
	set(0, "e", "5");
	cr_expect(eq(str, keys_of(0), (char *)"c e"));
}

Test(kvp_store, a_key_that_others_wrote_several_times_is_listed_as_often_and_changed_as_one)
{
	append_record(1, "part", "1");
	append_record(1, "x", "x");
	append_record(1, "part", "2");
	for (int i = 3; i < 40; i++) {
		char value[16];

		snprintf(value, sizeof(value), "%d", i);
		append_record(1, "part", value);
	}
	append_record(1, "y", "y");
	reopen();
	cr_expect(eq(sz, kvp_store_count(store, 1), 41));
	expect_value(1, "part", "1");
	set(1, "part", "whole");
	cr_expect(eq(sz, kvp_store_count(store, 1), 3));
	expect_value(1, "part", "whole");
	expect_value(1, "x", "x");
	expect_value(1, "y", "y");
	append_record(1, "part", "1");
	set(1, "part", NULL);
	expect_value(1, "part", NULL);
	reopen();
	expect_value(1, "part", NULL);
	cr_expect(eq(sz, kvp_store_count(store, 1), 2));
}

Test(kvp_store, what_is_no_record_is_kept)
{
	uint8_t nothing[KVP_RECORD_SIZE] = {0};
	int fd;

	set(1, "a", "1");
	fd = open(pool_path(1), O_WRONLY | O_APPEND);
	memcpy(nothing + 1, "no key", 6);
	cr_assert(eq(long, write(fd, nothing, sizeof(nothing)), (long)sizeof(nothing)));
	cr_assert(eq(long, write(fd, "a fragment", 10), 10L));
	close(fd);
	set(1, "b", "2");
	cr_expect(eq(str, keys_of(1), (char *)"a b"));
	cr_expect(eq(long, size_of(pool_path(1)), 3L * KVP_RECORD_SIZE));
	cr_expect(eq(long, size_of(path_of(".kvp_pool_1.aside")), 10L));
	cr_expect(ne(ptr, strstr(notes, ".kvp_pool_1.aside"), NULL));
	cr_expect(ne(ptr, strstr(notes, "1 records without a key"), NULL));
	set(1, "a", NULL); /* "b" moves; the unreadable one stays as it is */
	fd = open(pool_path(1), O_RDONLY);
	{
		uint8_t record[KVP_RECORD_SIZE];

		cr_assert(eq(long, pread(fd, record, sizeof(record), KVP_RECORD_SIZE),
			     (long)sizeof(record)));
		cr_expect(eq(int, memcmp(record, nothing, sizeof(record)), 0));
	}
	close(fd);
}

static pid_t hold_lock_as(int open_mode, bool by_fcntl, unsigned int ms)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct flock whole = {.l_type = open_mode == O_RDWR ? F_WRLCK : F_RDLCK,
				      .l_whence = SEEK_SET};
		int fd;

		(void)close_range(3, ~0u, 0); /* the store has the file open, too */
		fd = open(pool_path(0), open_mode);
		if (by_fcntl ? fcntl(fd, F_SETLK, &whole) : flock(fd, LOCK_EX))
			_exit(1);
		(void)mknod(path_of("locked"), S_IFREG | 0600, 0);
		usleep(ms * 1000);
		_exit(0);
	}
	while (access(path_of("locked"), F_OK) != 0)
		usleep(1000);
	(void)unlink(path_of("locked"));
	return pid;
}

static pid_t hold_lock(bool by_fcntl, unsigned int ms)
{
	return hold_lock_as(O_RDWR, by_fcntl, ms);
}

Test(kvp_store, does_not_wait_without_end_for_who_can_only_read)
{
	int status;

	set(0, "a", "1");
	for (int by_fcntl = 0; by_fcntl < 2; by_fcntl++) {
		pid_t pid = hold_lock_as(O_RDONLY, by_fcntl, HOLD_FOR_GOOD_MS);
		const char *value = by_fcntl ? "2" : "3";

		notes[0] = '\0';
		cr_expect(eq(int, change(0, "a", value), 0), "fcntl %d", by_fcntl);
		expect_value(0, "a", value);
		cr_expect(ne(ptr, (char *)strstr(notes, "can only read"), NULL), "fcntl %d: %s", by_fcntl,
			  notes);
		kill(pid, SIGKILL);
		cr_assert(eq(int, waitpid(pid, &status, 0), pid));
		set(0, "b", value);
		reopen();
		expect_value(0, "a", value);
	}
}

Test(kvp_store, waits_for_both_kinds_of_locks_and_not_without_end)
{
	int status;
	pid_t pid;

	set(0, "a", "1");
	for (int by_fcntl = 0; by_fcntl < 2; by_fcntl++) {
		pid = hold_lock(by_fcntl, 100);
		cr_expect(eq(int, change(0, "a", "2"), 0), "fcntl %d", by_fcntl);
		cr_assert(eq(int, waitpid(pid, &status, 0), pid));
		cr_assert(eq(int, status, 0));
	}
	pid = hold_lock(false, HOLD_FOR_GOOD_MS);
	cr_expect(eq(int, change(0, "a", "3"), -EBUSY));
	expect_value(0, "a", "2");
	cr_expect(ne(ptr, (char *)strstr(kvp_store_trouble(store), "/proc/locks"), NULL));
	set(1, "another", "pool");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	set(0, "a", "3");
	cr_expect(eq(str, (char *)(uintptr_t)kvp_store_trouble(store), (char *)""));
}

Test(kvp_store, a_second_store_may_read_and_not_write)
{
	struct kvp_store *first = store;

	set(0, "a", "1");
	open_store();
	expect_value(0, "a", "1");
	cr_expect(eq(int, change(0, "a", "2"), -EBUSY));
	cr_expect(ne(ptr, strstr(notes, ".kvp_journal"), NULL));
	kvp_store_free(store);
	store = first;
	set(0, "a", "3");
	expect_value(0, "a", "3");
}

Test(kvp_store, what_the_service_says_of_itself_is_in_memory_only)
{
	cr_assert(eq(int, kvp_store_put(store, KVP_POOL_AUTO, "OSName", "Debian"), 0));
	cr_assert(eq(int, kvp_store_put(store, KVP_POOL_AUTO, "OSVersion", "6.1"), 0));
	cr_assert(eq(int, kvp_store_put(store, KVP_POOL_AUTO, "OSName", "Other"), 0));
	wait_for_change();
	expect_value(KVP_POOL_AUTO, "OSName", "Other");
	cr_expect(eq(str, keys_of(KVP_POOL_AUTO), (char *)"OSName OSVersion"));
	cr_assert(eq(int, kvp_store_put(store, KVP_POOL_AUTO, "OSName", NULL), 0));
	cr_assert(eq(int, kvp_store_put(store, KVP_POOL_AUTO, "OSName", NULL), 0));
	cr_expect(eq(str, keys_of(KVP_POOL_AUTO), (char *)"OSVersion"));
	cr_expect(eq(long, size_of(pool_path(KVP_POOL_AUTO)), 0L));
	cr_expect(eq(int, change(KVP_POOL_AUTO, "a", "1"), -EPERM));
	cr_expect(eq(int, change(KVP_POOL_GUEST, "", "1"), -EPERM));
	cr_expect(eq(str, (char *)(uintptr_t)kvp_store_trouble(store), (char *)""));
}

static void make_old(unsigned int pool)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000}};

	cr_assert(eq(int, utimensat(AT_FDCWD, pool_path(pool), times, 0), 0));
}

Test(kvp_store, values_of_another_boot_or_machine_are_cleared)
{
	static const struct {
		const char *boot, *machine;
		bool old;
		const char *left; /* pools that still have something */
	} rows[] = {
		{"boot", "machine", true, "0134"},
		{"boot 2", "machine", true, "014"},
		{"boot 2", "machine", false, "0134"},
		{"boot 2", NULL, true, "014"},
		{NULL, NULL, true, "0134"},
		{"boot", "machine 2", true, ""},
		{"boot 2", "machine 2", false, "0134"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char left[8] = "";

		store = kvp_store_free(store);
		open_store_as("boot", "machine");
		for (unsigned int pool = 0; pool < KVP_POOLS; pool++)
			if (pool != KVP_POOL_AUTO)
				set(pool, "a", "1");
		store = kvp_store_free(store);
		for (unsigned int pool = 0; rows[i].old && pool < KVP_POOLS; pool++)
			make_old(pool);
		open_store_as(rows[i].boot, rows[i].machine);
		for (unsigned int pool = 0; pool < KVP_POOLS; pool++)
			if (kvp_store_count(store, pool) > 0)
				snprintf(left + strlen(left), sizeof(left) - strlen(left), "%u", pool);
		cr_expect(eq(str, left, (char *)(uintptr_t)rows[i].left), "row %zu", i);
	}
}

Test(kvp_store, a_change_at_a_time_leaves_room_for_ten_thousand_keys)
{
	enum { N = 10000 };
	uint8_t *image = malloc((size_t)N * KVP_RECORD_SIZE);
	struct kvp_walk walk = {0};
	struct kvp_entry entry;
	uint32_t n = 0;
	FILE *file;

	for (int i = 0; i < N; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key-%d", i);
		kvp_record_write(image + (size_t)i * KVP_RECORD_SIZE, key, "value");
	}
	file = fopen(pool_path(0), "w");
	cr_assert(eq(sz, fwrite(image, KVP_RECORD_SIZE, N, file), N));
	fclose(file);
	free(image);
	set(0, "key-77", "changed");
	while (kvp_store_nth(store, 0, n, &walk, &entry) == 0)
		n++;
	cr_expect(eq(uint, n, N));
	expect_value(0, "key-9999", "value");
	expect_value(0, "key-77", "changed");
	set(0, "key-77", NULL);
	cr_expect(eq(sz, kvp_store_count(store, 0), N - 1));
	cr_expect(eq(str, (char *)(uintptr_t)read_as_stock(0, "key-9999"), (char *)"value"));
}

Test(kvp_store, odd_things_in_place_of_files_are_in_the_way_of_their_pool_only)
{
	static const struct {
		const char *what;
		mode_t type;
	} rows[] = {
		{"a folder", S_IFDIR | 0755}, {"a pipe", S_IFIFO | 0644}, {"a link", S_IFLNK},
		{"a link to nowhere", S_IFLNK},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		store = kvp_store_free(store);
		(void)unlink(pool_path(0));
		if (rows[i].type == S_IFLNK)
			cr_assert(eq(int, symlink(i == 2 ? "/etc/passwd" : "nowhere", pool_path(0)), 0));
		else if (S_ISDIR(rows[i].type))
			cr_assert(eq(int, mkdir(pool_path(0), 0755), 0));
		else
			cr_assert(eq(int, mknod(pool_path(0), rows[i].type, 0), 0));
		open_store();
		cr_expect(lt(int, change(0, "a", "1"), 0), "%s", rows[i].what);
		expect_value(0, "a", NULL);
		cr_expect(ne(int, *kvp_store_trouble(store), 0), "%s", rows[i].what);
		set(1, "b", "2");
		cr_expect(eq(int, *kvp_store_trouble(store), 0), "%s", rows[i].what);
		cr_assert(eq(int, remove(pool_path(0)), 0));
		set(0, "a", "1");
		set(0, "a", NULL);
	}
}

Test(kvp_store, what_is_in_place_of_the_journal_is_moved_or_in_the_way)
{
	store = kvp_store_free(store);
	cr_assert(eq(int, mkdir(path_of(".kvp_journal"), 0755), 0));
	open_store();
	cr_expect(lt(int, change(0, "a", "1"), 0));
	cr_assert(eq(int, rmdir(path_of(".kvp_journal")), 0));
	set(0, "a", "1");
	store = kvp_store_free(store);
	cr_assert(eq(int, truncate(path_of(".kvp_journal"), 100000), 0)); /* cut off */
	open_store();
	set(0, "a", "2");
	reopen();
	expect_value(0, "a", "2");
}

/* The bytes of a file at random, of a seed; those of a pool with some keys among them. */
static void write_garbage(const char *path, size_t size, uint64_t seed)
{
	FILE *file = fopen(path, "w");

	cr_assert(ne(ptr, file, NULL));
	for (size_t i = 0; i < size; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		fputc(i % KVP_RECORD_SIZE < 4 && seed % 5 ? 'a' + (int)(seed % 3) : (int)(seed >> 56), file);
	}
	fclose(file);
}

Test(kvp_store, any_bytes_on_the_disk_are_survived_and_kept)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		size_t size = (size_t)(seed * 997 % 9) * KVP_RECORD_SIZE + (seed % 4 ? seed * 31 : 0);
		size_t tail = size % KVP_RECORD_SIZE;
		char aside_name[48];
		long aside;

		snprintf(aside_name, sizeof(aside_name), ".kvp_journal.unreadable");
		if (seed > 1)
			snprintf(aside_name, sizeof(aside_name), ".kvp_journal.unreadable.%u",
				 (unsigned int)seed - 1);

		store = kvp_store_free(store);
		(void)unlink(path_of(".kvp_pool_1.aside"));
		write_garbage(pool_path(1), size, seed);
		write_garbage(path_of(".kvp_journal"), (size_t)seed % 3 ? KVP_JOURNAL_SIZE : seed * 100, seed);
		open_store();
		set(1, "key of ours", "value");
		expect_value(1, "key of ours", "value");
		aside = size_of(path_of(".kvp_pool_1.aside"));
		cr_expect(eq(long, tail ? aside : 0, (long)tail), "seed %lu", (unsigned long)seed);
		cr_expect(eq(long, size_of(pool_path(1)), (long)(size - tail + KVP_RECORD_SIZE)));
		cr_expect(size_of(path_of(aside_name)) > 0, "%s", aside_name);
		reopen();
		expect_value(1, "key of ours", "value");
	}
}

Test(kvp_store, what_others_hold_a_lock_on_is_read_when_they_let_go)
{
	int status;
	pid_t pid;

	set(0, "a", "1");
	pid = hold_lock(false, HOLD_FOR_GOOD_MS);
	{
		uint8_t record[KVP_RECORD_SIZE];
		int fd = open(pool_path(0), O_WRONLY | O_APPEND);

		kvp_record_write(record, "b", "2");
		cr_assert(eq(long, write(fd, record, sizeof(record)), (long)sizeof(record)));
		close(fd);
	}
	while (*kvp_store_trouble(store) == '\0')
		(void)event_base_loop(base, EVLOOP_ONCE);
	expect_value(0, "b", NULL);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	wait_for_change();
	expect_value(0, "b", "2");
	cr_expect(eq(str, (char *)(uintptr_t)kvp_store_trouble(store), (char *)""));
}
