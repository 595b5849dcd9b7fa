/* SPDX-License-Identifier: MIT */

/*
 * kvp-crash KILLS [no-journal]: changes the pools of key-value exchange in a process that is killed
 * again and again, at random instants, and looks after each kill whether anything that was
 * acknowledged is lost, or anything is there that cannot be.
 *
 * The process (this program again) opens the store of hvguestd, compares it with the model, which
 * is in shared memory and so survives it, and then keeps up to 20 changes on their way. It is
 * killed within a few milliseconds: of its start, so that what it redoes is interrupted as well,
 * or of its first change. Meanwhile, and while no process is there, records are appended to one of
 * the files as cloud-init does it, which must all stay.
 *
 * With "no-journal" what is to be written to the journal is thrown away, and each write to a pool
 * takes its time: then it must find something. Exit code 0: all is well; 1: it found something, and
 * says what.
 */

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/system/kvp-model.h"

#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum {
	IN_FLIGHT_MAX = 20,
	SHARED_FD = 3,
	RUN_US = 6000,
	START_US = 8000,
	PATIENCE_S = 60,
};

struct shared {
	struct model model;
	_Atomic uint32_t numbers; /* of changes */
	atomic_bool ready;        /* the process has looked and changes */
	_Atomic uint64_t acknowledged;
	_Atomic uint64_t looks;
	bool no_journal;
	char dir[64];
};

static struct shared *shared;

/* --- the planted mistake --- */

ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset);

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	char link[64], path[256] = "";

	if (!shared || !shared->no_journal)
		return __real_pwrite(fd, data, len, offset);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, path, sizeof(path) - 1) > 0 && strstr(path, ".kvp_journal"))
		return (ssize_t)len;
	usleep(300);
	return __real_pwrite(fd, data, len, offset);
}

/* --- the process that is killed --- */

struct asked {
	struct kvp_change change;
	struct model_change what;
	struct child *child;
};

struct child {
	struct kvp_store *store;
	uint64_t seed;
	struct asked asked[IN_FLIGHT_MAX];
	unsigned int n;
};

static void on_note(void *self, const char *text)
{
	(void)self;
	fprintf(stderr, "# %s\n", text);
}

static void submit(struct asked *asked)
{
	struct child *c = asked->child;

	asked->what = model_random(&c->seed, atomic_fetch_add(&shared->numbers, 1) + 1);
	model_entry(&asked->what, &asked->change.entry);
	asked->change.pool = asked->what.pool;
	asked->change.remove = asked->what.number & MODEL_REMOVED;
	model_submitted(&shared->model, &asked->what);
	kvp_store_submit(c->store, &asked->change);
}

static void on_done(struct kvp_change *change, int r)
{
	struct asked *asked = (struct asked *)change;

	if (r == 0 || r == KVP_STORE_NONE) {
		model_acknowledged(&shared->model, &asked->what);
		atomic_fetch_add(&shared->acknowledged, 1);
	} else {
		fprintf(stderr, "# a change failed: %s\n", strerror(-r));
	}
	submit(asked);
}

static int run_child(bool only_look)
{
	struct event_base *base = event_base_new();
	const struct kvp_store_options options = {.dir = shared->dir, .note = on_note};
	static struct child c;

	if (!base || kvp_store_new(base, &options, &c.store))
		return 2;
	if (!model_look(&shared->model, c.store))
		return 1;
	atomic_fetch_add(&shared->looks, 1);
	if (only_look) {
		kvp_store_free(c.store);
		event_base_free(base);
		return 0;
	}
	c.seed = clock_monotonic_ns() | 1;
	c.n = 1 + model_below(&c.seed, IN_FLIGHT_MAX);
	for (unsigned int i = 0; i < c.n; i++) {
		c.asked[i].child = &c;
		c.asked[i].change.done = on_done;
		submit(&c.asked[i]);
	}
	atomic_store(&shared->ready, true);
	event_base_dispatch(base);
	return 2;
}

/* --- the one who kills --- */

static pid_t spawn(int fd, const char *what)
{
	char *argv[] = {(char[]){"kvp-crash"}, (char[]){"child"}, NULL, NULL};
	char text[16];
	pid_t pid;

	snprintf(text, sizeof(text), "%s", what);
	argv[2] = text;
	atomic_store(&shared->ready, false);
	pid = fork();
	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(fd, SHARED_FD) < 0)
		_exit(2);
	execv("/proc/self/exe", argv);
	_exit(2);
}

/* As cloud-init does it. */
static void append_foreign(void)
{
	uint8_t record[KVP_RECORD_SIZE] = {0};
	struct kvp_entry entry;
	char path[128];
	int fd;

	if (shared->model.n_foreign == MODEL_FOREIGN)
		return;
	model_foreign(shared->model.n_foreign, &entry);
	memcpy(record, entry.key, strlen(entry.key));
	memcpy(record + KVP_KEY_SIZE, entry.value, strlen(entry.value));
	snprintf(path, sizeof(path), "%s/.kvp_pool_1", shared->dir);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX) == 0 && write(fd, record, sizeof(record)) == sizeof(record))
		shared->model.n_foreign++;
	(void)close(fd);
}

static bool has_ended(pid_t pid, int *status)
{
	return waitpid(pid, status, WNOHANG) == pid;
}

/* False: it has ended by itself, which it does if it finds something. */
static bool wait_until_ready(pid_t pid, int *status)
{
	uint64_t end_ns = clock_monotonic_ns() + PATIENCE_S * UINT64_C(1000000000);

	while (!atomic_load(&shared->ready)) {
		if (has_ended(pid, status) || clock_monotonic_ns() > end_ns)
			return false;
		usleep(100);
	}
	return true;
}

/* False: something was found. */
static bool run_and_kill(int fd, uint64_t *seed)
{
	bool at_start = model_below(seed, 4) == 0;
	pid_t pid = spawn(fd, "run");
	int status = 0;

	if (!at_start && !wait_until_ready(pid, &status)) {
		(void)kill(pid, SIGKILL);
		return false;
	}
	if (!at_start && model_below(seed, 4) == 0)
		append_foreign();
	usleep(model_below(seed, at_start ? START_US : RUN_US));
	(void)kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		return false;
	if (model_below(seed, 4) == 0)
		append_foreign();
	return true;
}

static int run_parent(unsigned long kills, bool no_journal)
{
	_cleanup_close_ int fd = memfd_create("kvp-model", 0);
	uint64_t seed = (uint64_t)time(NULL) * 2654435761u + (uint64_t)getpid();
	char command[128];
	bool good = true;
	int status = 0;
	unsigned long n = 0;

	if (fd < 0 || ftruncate(fd, sizeof(*shared)) < 0)
		return 2;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return 2;
	model_init(&shared->model);
	shared->no_journal = no_journal;
	snprintf(shared->dir, sizeof(shared->dir), "%s", "/dev/shm/hvguest-kvp.XXXXXX");
	if (!mkdtemp(shared->dir))
		return 2;
	printf("# seed %" PRIu64 "\n", seed);
	while (good && n < kills) {
		good = run_and_kill(fd, &seed);
		n++;
	}
	good = good && waitpid(spawn(fd, "look"), &status, 0) > 0 && status == 0;
	printf("# %lu kills, %" PRIu64 " looks, %" PRIu64 " changes acknowledged, %u records of another "
	       "program\n", n, atomic_load(&shared->looks), atomic_load(&shared->acknowledged),
	       shared->model.n_foreign);
	if (!good)
		printf("# found: %s\n", shared->model.complaint);
	snprintf(command, sizeof(command), "rm -rf %s", shared->dir);
	(void)!system(command);
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "child") == 0) {
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, SHARED_FD, 0);
		return shared == MAP_FAILED ? 2 : run_child(strcmp(argv[2], "look") == 0);
	}
	if (argc < 2) {
		fprintf(stderr, "usage: kvp-crash KILLS [no-journal]\n");
		return 2;
	}
	return run_parent(strtoul(argv[1], NULL, 10), argc > 2);
}
