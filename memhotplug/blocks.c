/* SPDX-License-Identifier: MIT */

/*
 * /sys/devices/system/memory.
 *
 * Each block is a directory memoryN. Blocks can come and go while they are listed; one that cannot
 * be read any more is unsettled. What the kernel answers to a write is turned into conditions that
 * can be explained: the same errno means different things for `online` and for `offline`. The
 * file `removable` is left alone: it is 1 for every block by now, and `valid_zones` is what tells.
 *
 * `valid_zones` is read of online blocks only. The kernel announces a block before it knows which
 * node it belongs to, and to read the possible zones of one in that state is a NULL pointer in the
 * kernel (seen in Linux 6.1, drivers/base/memory.c, valid_zones_show()). A write to `state` waits
 * until the adding has ended.
 *
 * Offlining is the one operation here that may never end: the kernel goes on for as long as there
 * are pages that look movable, holds its hotplug lock meanwhile, and listens only to signals of
 * the thread that writes (Linux mm/memory_hotplug.c, offline_pages()). So that thread has a timer
 * aimed at itself. It fires again and again, because a signal that arrives just before the write
 * begins would be wasted. The handler does nothing; that the write ends early is all there is to it.
 */

#include "memhotplug/blocks.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define NS_PER_S       UINT64_C(1000000000)
#define SIGNAL_AGAIN_NS 20000000

enum {
	TEXT_SIZE = 128,
	PATH_SIZE = 512,
};

static void cleanup_dirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Reads a short file below @dir_fd as a string without its newline. */
static int read_text(int dir_fd, const char *name, char *text)
{
	_cleanup_close_ int fd = -1;
	ssize_t n;

	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return negative_errno();
	n = read(fd, text, TEXT_SIZE - 1);
	if (n < 0)
		return negative_errno();
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

/* Reads the number that the kernel writes in hexadecimal without a prefix. */
static int read_block_bytes(int dir_fd, uint64_t *ret_bytes)
{
	char text[TEXT_SIZE], *end;
	uint64_t bytes;
	int r;

	r = read_text(dir_fd, "block_size_bytes", text);
	if (r)
		return r;
	errno = 0;
	bytes = strtoull(text, &end, 16);
	if (errno || end == text || *end || text[0] == '-' || bytes < 4096 ||
	    (bytes & (bytes - 1)) != 0)
		return BLOCKS_BAD;
	*ret_bytes = bytes;
	return 0;
}

int blocks_read_size(const char *dir, uint64_t *ret_block_bytes)
{
	_cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir_fd < 0)
		return negative_errno();
	return read_block_bytes(dir_fd, ret_block_bytes);
}

/* True for memoryN. */
static bool is_block(const char *name, uint64_t *ret_number)
{
	static const char prefix[] = "memory";
	const char *digits = name + sizeof(prefix) - 1;

	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0 || *digits == '\0' ||
	    digits[strspn(digits, "0123456789")] != '\0' || strlen(digits) > 15)
		return false;
	*ret_number = strtoull(digits, NULL, 10);
	return true;
}

static enum block_state parse_state(const char *text)
{
	/* A kernel says no more than "online"; what was written to a file may be more. */
	if (strncmp(text, "online", strlen("online")) == 0)
		return BLOCK_ONLINE;
	return strcmp(text, "offline") == 0 ? BLOCK_OFFLINE : BLOCK_UNSETTLED;
}

static enum block_zone parse_zone(const char *name)
{
	static const char *const names[] = {
		[BLOCK_ZONE_NONE] = "none",
		[BLOCK_ZONE_DMA32] = "DMA32",
		[BLOCK_ZONE_NORMAL] = "Normal",
		[BLOCK_ZONE_MOVABLE] = "Movable",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return strcmp(name, "DMA") == 0 ? BLOCK_ZONE_DMA32 : BLOCK_ZONE_OTHER;
}

/* What cannot be read is as little as can be said of a block. @name is not longer than is_block(). */
static struct block look_at(int dir_fd, const char *name, uint64_t number)
{
	struct block block = {
		.number = number,
		.state = BLOCK_UNSETTLED,
		.zone = BLOCK_ZONE_NONE,
	};
	char path[TEXT_SIZE], text[TEXT_SIZE];

	snprintf(path, sizeof(path), "%s/state", name);
	if (read_text(dir_fd, path, text) == 0)
		block.state = parse_state(text);
	snprintf(path, sizeof(path), "%s/valid_zones", name);
	if (block.state == BLOCK_ONLINE && read_text(dir_fd, path, text) == 0)
		block.zone = parse_zone(text);
	return block;
}

static int add_block(struct blocks *blocks, size_t *capacity, struct block block)
{
	if (blocks->n == *capacity) {
		size_t more = *capacity ? 2 * *capacity : 64;
		struct block *list = reallocarray(blocks->list, more, sizeof(*list));

		if (!list)
			return -ENOMEM;
		blocks->list = list;
		*capacity = more;
	}
	blocks->list[blocks->n++] = block;
	return 0;
}

static int by_number(const void *left, const void *right)
{
	const struct block *a = left, *b = right;

	return (a->number > b->number) - (a->number < b->number);
}

static int read_list(DIR *stream, struct blocks *blocks)
{
	struct dirent *entry;
	size_t capacity = 0;
	uint64_t number;
	int r;

	r = read_block_bytes(dirfd(stream), &blocks->block_bytes);
	if (r)
		return r;
	while ((errno = 0, entry = readdir(stream))) {
		if (!is_block(entry->d_name, &number))
			continue;
		r = add_block(blocks, &capacity, look_at(dirfd(stream), entry->d_name, number));
		if (r)
			return r;
	}
	if (errno)
		return negative_errno();
	if (blocks->n > 0)
		qsort(blocks->list, blocks->n, sizeof(blocks->list[0]), by_number);
	return 0;
}

int blocks_read(const char *dir, struct blocks *ret_blocks)
{
	_cleanup_(cleanup_dirp) DIR *stream = opendir(dir);
	struct blocks blocks = {0};
	int r;

	if (!stream)
		return negative_errno();
	r = read_list(stream, &blocks);
	if (r) {
		blocks_fini(&blocks);
		return r;
	}
	*ret_blocks = blocks;
	return 0;
}

void blocks_fini(struct blocks *blocks)
{
	free(blocks->list);
	*blocks = (struct blocks){0};
}

size_t blocks_count(const struct blocks *blocks, enum block_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < blocks->n; i++)
		n += blocks->list[i].state == state;
	return n;
}

const struct block *blocks_find(const struct blocks *blocks, uint64_t number)
{
	const struct block key = {.number = number};

	return blocks->n == 0 ? NULL
			      : bsearch(&key, blocks->list, blocks->n, sizeof(key), by_number);
}

int block_read(const char *dir, uint64_t number, struct block *ret_block)
{
	_cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[TEXT_SIZE];

	if (dir_fd < 0)
		return negative_errno();
	snprintf(name, sizeof(name), "memory%llu", (unsigned long long)number);
	if (faccessat(dir_fd, name, F_OK, 0) < 0)
		return BLOCKS_GONE;
	*ret_block = look_at(dir_fd, name, number);
	return 0;
}

bool block_read_choices(const char *dir, uint64_t number, bool *ret_kernel, bool *ret_movable)
{
	_cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[TEXT_SIZE], text[TEXT_SIZE], *save = NULL;

	snprintf(path, sizeof(path), "memory%llu/valid_zones", (unsigned long long)number);
	if (dir_fd < 0 || read_text(dir_fd, path, text))
		return false;
	*ret_kernel = *ret_movable = false;
	/* "Normal Movable" or one of them, the default first. */
	for (char *p = strtok_r(text, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		*ret_movable |= strcmp(p, "Movable") == 0;
		*ret_kernel |= strcmp(p, "Movable") != 0 && strcmp(p, "none") != 0;
	}
	return true;
}

/* What sysfs says to a write, where it means the same for both directions; else 0. */
static int plain_condition(int error)
{
	switch (error) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return BLOCKS_GONE;
	case EACCES:
	case EPERM:
	case EROFS:
		return BLOCKS_DENIED;
	case EINTR:
		return BLOCKS_TIMED_OUT;
	default:
		return 0;
	}
}

/* EINVAL is the answer to what cannot be done, and to what is done already. */
static int explain(const char *dir, uint64_t number, enum block_state wanted, int error)
{
	int condition = plain_condition(error);
	struct block block;

	if (condition)
		return condition;
	if (error == EBUSY && wanted == BLOCK_OFFLINE)
		return BLOCKS_BUSY;
	if (error != EINVAL)
		return BLOCKS_REFUSED;
	if (block_read(dir, number, &block))
		return BLOCKS_GONE;
	return block.state == wanted ? BLOCKS_ALREADY : BLOCKS_UNFIT;
}

/* Writes to the block's state; 0 or the errno. */
static int write_state(const char *dir, uint64_t number, const char *word)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_SIZE];
	ssize_t n;

	if (snprintf(path, sizeof(path), "%s/memory%llu/state", dir,
		     (unsigned long long)number) >= (int)sizeof(path))
		return ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return errno;
	n = write(fd, word, strlen(word));
	return n < 0 ? errno : 0;
}

int block_online(const char *dir, uint64_t number, enum block_online how)
{
	int error = write_state(dir, number, block_online_name(how));

	return error ? explain(dir, number, BLOCK_ONLINE, error) : 0;
}

static void on_signal(int number)
{
	(void)number;
}

/* Lets the signal through to this thread, and nothing restart what it interrupts. */
static int accept_signal(sigset_t *ret_before)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t mine;

	if (sigaction(SIGRTMAX, &action, NULL) < 0)
		return negative_errno();
	sigemptyset(&mine);
	sigaddset(&mine, SIGRTMAX);
	return -pthread_sigmask(SIG_UNBLOCK, &mine, ret_before);
}

/* A timer that interrupts this thread after @limit_ns, and again and again. */
static int arm_timer(uint64_t limit_ns, timer_t *ret_timer)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = SIGRTMAX,
		.sigev_notify_thread_id = gettid(),
	};
	const struct itimerspec when = {
		.it_value = {.tv_sec = limit_ns / NS_PER_S, .tv_nsec = limit_ns % NS_PER_S},
		.it_interval = {.tv_nsec = SIGNAL_AGAIN_NS},
	};
	timer_t timer;

	if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
		return negative_errno();
	if (timer_settime(timer, 0, &when, NULL) < 0) {
		int r = negative_errno();

		timer_delete(timer);
		return r;
	}
	*ret_timer = timer;
	return 0;
}

int block_offline(const char *dir, uint64_t number, uint64_t limit_ns)
{
	sigset_t before;
	timer_t timer;
	int r, error;

	r = accept_signal(&before);
	if (r)
		return r;
	r = arm_timer(limit_ns, &timer);
	if (r == 0) {
		error = write_state(dir, number, "offline");
		timer_delete(timer);
		r = error ? explain(dir, number, BLOCK_OFFLINE, error) : 0;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

const char *blocks_condition_text(int condition)
{
	static const char *const texts[] = {
		[0] = "done",
		[BLOCKS_BAD] = "the kernel's block size is not a power of two",
		[BLOCKS_GONE] = "there is no such block",
		[BLOCKS_ALREADY] = "it is in that state already",
		[BLOCKS_UNFIT] = "it has holes, lies in more than one zone, or does not fit that zone",
		[BLOCKS_BUSY] = "it holds memory of the kernel, or pinned pages",
		[BLOCKS_TIMED_OUT] = "its pages could not be moved in time",
		[BLOCKS_DENIED] = "not permitted: become root, with a writable /sys",
		[BLOCKS_REFUSED] = "a driver refuses, or there is no memory to manage it",
	};

	if (condition < 0)
		return strerror(-condition);
	return (size_t)condition < sizeof(texts) / sizeof(texts[0]) ? texts[condition] : "unknown";
}

const char *block_zone_name(enum block_zone zone)
{
	static const char *const names[BLOCK_N_ZONES] = {
		[BLOCK_ZONE_NONE] = "none",	  [BLOCK_ZONE_DMA32] = "DMA32",
		[BLOCK_ZONE_NORMAL] = "Normal",	  [BLOCK_ZONE_MOVABLE] = "Movable",
		[BLOCK_ZONE_OTHER] = "other",
	};

	return names[zone];
}

const char *block_online_name(enum block_online how)
{
	static const char *const names[] = {
		[BLOCK_ONLINE_DEFAULT] = "online",
		[BLOCK_ONLINE_KERNEL] = "online_kernel",
		[BLOCK_ONLINE_MOVABLE] = "online_movable",
	};

	return names[how];
}
