/* SPDX-License-Identifier: MIT */

/*
 * services/fcopy_file.c, base/stream.c and base/sha256.c: bytes that arrive in fragments are on
 * disk, and their sum is known. On the file system of /var/tmp, and on a tmpfs, which has no
 * O_DIRECT.
 */

#include "services/fcopy_file.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64], record[80];
static char *roots[] = {root};
static struct fcopy_place_config config = {.roots = roots, .n_roots = 1, .mode = 0600,
					   .record = record};
static struct event_base *base;
static struct fcopy_file *file;

static struct {
	int opened, taken, failed, finished, discarded;
	enum fcopy_result result;
} told;

static void on_opened(void *self, enum fcopy_result result)
{
	(void)self;
	told.opened++;
	told.result = result;
}

static void on_taken(void *self)
{
	(void)self;
	told.taken++;
}

static void on_failed(void *self, enum fcopy_result result)
{
	(void)self;
	told.failed++;
	told.result = result;
}

static void on_finished(void *self, enum fcopy_result result)
{
	(void)self;
	told.finished++;
	told.result = result;
}

static void on_discarded(void *self)
{
	(void)self;
	told.discarded++;
}

static void on_swept(void *self, const char *what)
{
	(void)self;
	(void)what;
}

static const struct fcopy_file_user ops = {on_opened, on_taken, on_failed,
					   on_finished, on_discarded, on_swept};

static void begin_in(const char *folder)
{
	snprintf(root, sizeof(root), "%s/hvguest-test-XXXXXX", folder);
	cr_assert(ne(ptr, mkdtemp(root), NULL));
	snprintf(record, sizeof(record), "%s/.record", root);
	base = event_base_new();
	cr_assert(eq(int, fcopy_file_new(base, &config, &ops, NULL, &file), 0));
	memset(&told, 0, sizeof(told));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void end(void)
{
	file = fcopy_file_free(file);
	event_base_free(base);
	nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void until(const int *counter, int wanted)
{
	while (*counter < wanted)
		event_base_loop(base, EVLOOP_ONCE);
}

static void open_file(const char *name, uint64_t size)
{
	struct fcopy_start start = {.size_bytes = size};

	snprintf(start.directory, sizeof(start.directory), "%s", root);
	snprintf(start.name, sizeof(start.name), "%s", name);
	cr_assert(eq(int, fcopy_file_open(file, &start), 0));
	until(&told.opened, 1);
}

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)((offset * 2654435761u) >> 13);
}

/* Sends the bytes from @offset up to @end. */
static void send_bytes(uint64_t offset, uint64_t end_offset)
{
	uint8_t data[FCOPY_FRAGMENT_MAX];

	while (offset < end_offset) {
		size_t n = end_offset - offset < sizeof(data) ? end_offset - offset : sizeof(data);
		int taken = told.taken, r;

		for (size_t i = 0; i < n; i++)
			data[i] = byte_at(offset + i);
		r = fcopy_file_write(file, data, n);
		if (r == FCOPY_FILE_WAIT)
			until(&told.taken, taken + 1);
		else
			cr_assert(eq(int, r, 0));
		memset(data, 0xee, sizeof(data)); /* it is the caller's again */
		offset += n;
	}
}

static void check_file(const char *name, uint64_t size)
{
	const struct fcopy_receipt *receipt = fcopy_file_receipt(file);
	struct sha256 *sha;
	char path[128], text[SHA256_TEXT_SIZE];
	struct stat st;
	uint8_t *map;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(fd >= 0);
	cr_assert(eq(int, fstat(fd, &st), 0));
	cr_assert(eq(u64, (uint64_t)st.st_size, size));
	cr_assert(eq(int, sha256_new(&sha), 0));
	if (size > 0) {
		map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
		cr_assert(ne(ptr, map, MAP_FAILED));
		for (uint64_t i = 0; i < size; i++)
			if (map[i] != byte_at(i))
				cr_assert(false, "byte %llu differs", (unsigned long long)i);
		sha256_add(sha, map, size);
		munmap(map, size);
	}
	sha256_finish(sha, text);
	(void)sha256_free(sha);
	cr_expect(strcmp(text, receipt->sha256) == 0);
	cr_expect(strcmp(path, receipt->path) == 0);
	cr_expect(eq(u64, receipt->bytes, size));
	close(fd);
}

static void copy_sizes(const char *folder)
{
	static const uint64_t sizes[] = {
		0, 1, FCOPY_FRAGMENT_MAX, FCOPY_FRAGMENT_MAX + 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1,
		(3 << 20) + 4096, (3 << 20) + 4097, (40 << 20) + 12345,
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char name[32];

		begin_in(folder);
		snprintf(name, sizeof(name), "file-%zu", i);
		open_file(name, sizes[i]);
		cr_assert(eq(int, (int)told.result, (int)FCOPY_OK), "%s", fcopy_file_why(file));
		send_bytes(0, sizes[i]);
		cr_assert(eq(int, fcopy_file_finish(file), 0));
		until(&told.finished, 1);
		cr_assert(eq(int, (int)told.result, (int)FCOPY_OK), "%s", fcopy_file_why(file));
		check_file(name, sizes[i]);
		cr_expect(eq(int, told.failed, 0));
		end();
	}
}

Test(fcopy_file, files_of_every_kind_of_size_arrive_past_the_page_cache)
{
	copy_sizes("/var/tmp");
}

Test(fcopy_file, and_through_it)
{
	if (access("/dev/shm", W_OK) == 0)
		copy_sizes("/dev/shm");
}

static int count_files(void)
{
	char command[128];
	FILE *pipe;
	int n = -1;

	snprintf(command, sizeof(command), "find %s -mindepth 1 | wc -l", root);
	pipe = popen(command, "re");
	cr_assert(ne(ptr, pipe, NULL));
	cr_assert(eq(int, fscanf(pipe, "%d", &n), 1));
	pclose(pipe);
	return n;
}

Test(fcopy_file, a_discard_at_any_moment_leaves_nothing)
{
	static const uint64_t moments[] = {0, 1, 5000, 1 << 20, 9 << 20, 20 << 20};

	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
		begin_in("/var/tmp");
		open_file("file", 20 << 20);
		send_bytes(0, moments[i]);
		cr_assert(eq(int, fcopy_file_discard(file), 0));
		until(&told.discarded, 1);
		cr_expect(eq(int, count_files(), 0));
		/* And the next one can be copied at once. */
		memset(&told, 0, sizeof(told));
		open_file("file", 7);
		send_bytes(0, 7);
		cr_assert(eq(int, fcopy_file_finish(file), 0));
		until(&told.finished, 1);
		check_file("file", 7);
		end();
	}
}

Test(fcopy_file, a_discard_while_it_is_being_opened_leaves_nothing)
{
	struct fcopy_start start = {.size_bytes = 1 << 20, .name = "file"};

	begin_in("/var/tmp");
	snprintf(start.directory, sizeof(start.directory), "%s", root);
	cr_assert(eq(int, fcopy_file_open(file, &start), 0));
	cr_assert(eq(int, fcopy_file_discard(file), 0));
	until(&told.discarded, 1);
	cr_expect(eq(int, count_files(), 0));
	end();
}

Test(fcopy_file, ending_in_the_middle_leaves_nothing)
{
	begin_in("/var/tmp");
	open_file("file", 20 << 20);
	send_bytes(0, 12 << 20);
	file = fcopy_file_free(file);
	cr_expect(eq(int, count_files(), 0));
	end();
}

Test(fcopy_file, a_file_that_cannot_fit_is_refused_at_the_beginning)
{
	static const uint64_t sizes[] = {UINT64_MAX, INT64_MAX, UINT64_C(1) << 60};

	for (size_t i = 0; i < 3; i++) {
		begin_in("/var/tmp");
		open_file("file", sizes[i]);
		cr_expect(eq(int, (int)told.result, (int)FCOPY_DISK_FULL), "%s", fcopy_file_why(file));
		cr_expect(eq(int, count_files(), 0));
		end();
	}
}

Test(sha256, sums_are_those_of_the_standard)
{
	struct sha256 *sha;
	char text[SHA256_TEXT_SIZE];

	cr_assert(eq(int, sha256_new(&sha), 0));
	sha256_add(sha, "a", 1);
	sha256_add(sha, "bc", 2);
	sha256_finish(sha, text);
	(void)sha256_free(sha);
	cr_expect(strcmp(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0);
}
