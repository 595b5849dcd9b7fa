/* SPDX-License-Identifier: MIT */

/*
 * kvp-power CUTS [no-fsync|no-journal]: what a power cut may leave of the pools of key-value
 * exchange, and what becomes of it.
 *
 * Every write, truncation and sync of the store's files goes through here and is recorded, with
 * the moments at which changes were acknowledged. A power cut at any of these points leaves, of
 * each file, all that was done before its last completed sync, and of what was done since, of each
 * sector of 512 bytes, the new state or the old one, whatever the order. Such states are made at
 * random, written into another folder, and the store is opened there: all that was acknowledged
 * before the cut must be there, and nothing that cannot be. What the store does while it is opened
 * is recorded as well, and cut again, because power fails twice. One time in four only the process
 * ends at first: then everything that it has done is there for the next one, and the disk still has
 * what it has.
 *
 * With "no-fsync" no sync counts, with "no-journal" nothing is written to the journal: then it must
 * find something. Exit code 0: all is well; 1: it found something, and says what.
 */

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/system/kvp-model.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
	SECTOR = 512,
	FILES = 3,
	FILE_MAX = 1 << 20,
	CHANGES = 400,
	IN_FLIGHT = 8,
};

static const char *const file_names[FILES] = {".kvp_journal", ".kvp_pool_0", ".kvp_pool_1"};

enum kind {
	OP_WRITE,
	OP_CUT,
	OP_SYNC,
	OP_SUBMITTED,
	OP_ACKNOWLEDGED,
};

struct op {
	enum kind kind;
	unsigned int file;
	uint8_t *data;
	size_t len;
	off_t offset;
	struct model_change change;
};

struct trace {
	struct op *ops;
	size_t n;
	size_t capacity;
};

struct file {
	size_t size;
	uint8_t *bytes; /* FILE_MAX of them */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trace *recording; /* NULL: not now */
static bool no_fsync, no_journal;

/* --- the record --- */

static void record(struct op op)
{
	(void)pthread_mutex_lock(&lock);
	if (recording) {
		if (recording->n == recording->capacity) {
			recording->capacity = recording->capacity * 2 + 256;
			recording->ops = realloc(recording->ops,
						 recording->capacity * sizeof(recording->ops[0]));
			if (!recording->ops)
				abort();
		}
		if (op.len > 0) {
			const uint8_t *data = op.data;

			op.data = malloc(op.len);
			if (!op.data)
				abort();
			memcpy(op.data, data, op.len);
		}
		recording->ops[recording->n++] = op;
	}
	(void)pthread_mutex_unlock(&lock);
}

static void forget(struct trace *trace)
{
	for (size_t i = 0; i < trace->n; i++)
		free(trace->ops[i].len > 0 ? trace->ops[i].data : NULL);
	trace->n = 0;
}

/* The file that is open as @fd; FILES: none of these. */
static unsigned int file_of(int fd)
{
	char link[64], path[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	for (unsigned int i = 0; i < FILES; i++) {
		const char *end = strrchr(path, '/');

		if (end && strcmp(end + 1, file_names[i]) == 0)
			return i;
	}
	return FILES;
}

ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset);
int __real_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	union {
		const void *in;
		uint8_t *out;
	} pointer = {.in = data};
	unsigned int file = file_of(fd);

	if (file < FILES && !(no_journal && file == 0))
		record((struct op){.kind = OP_WRITE, .file = file, .data = pointer.out, .len = len,
				   .offset = offset});
	return __real_pwrite(fd, data, len, offset);
}

int __wrap_ftruncate(int fd, off_t size)
{
	unsigned int file = file_of(fd);

	if (file < FILES)
		record((struct op){.kind = OP_CUT, .file = file, .offset = size});
	return __real_ftruncate(fd, size);
}

/* The disk below is not of interest here, only what has been waited for. */
int __wrap_fdatasync(int fd)
{
	unsigned int file = file_of(fd);

	if (file < FILES && !no_fsync)
		record((struct op){.kind = OP_SYNC, .file = file});
	return 0;
}

int __wrap_fsync(int fd)
{
	return __wrap_fdatasync(fd);
}

/* --- what a power cut leaves --- */

static void write_bytes(struct file *file, off_t offset, const uint8_t *data, size_t len)
{
	if ((size_t)offset + len > FILE_MAX)
		abort();
	if (file->size < (size_t)offset + len) {
		memset(file->bytes + file->size, 0, (size_t)offset + len - file->size);
		file->size = (size_t)offset + len;
	}
	memcpy(file->bytes + offset, data, len);
}

static void cut_bytes(struct file *file, size_t size)
{
	if (size > file->size)
		memset(file->bytes + file->size, 0, size - file->size);
	file->size = size;
}

static void do_op(struct file *file, const struct op *op)
{
	if (op->kind == OP_WRITE)
		write_bytes(file, op->offset, op->data, op->len);
	else if (op->kind == OP_CUT)
		cut_bytes(file, (size_t)op->offset);
}

/* How much of what was not synced arrives, in percent, differs from cut to cut. */
static const uint32_t shares[] = {0, 10, 50, 90, 100};

static void do_op_in_part(struct file *file, const struct op *op, uint64_t *seed, uint32_t share)
{
	off_t end = op->offset + (off_t)op->len;

	if (op->kind == OP_CUT && model_below(seed, 100) < share)
		cut_bytes(file, (size_t)op->offset);
	if (op->kind != OP_WRITE)
		return;
	/* A file may become longer without what is in it. */
	if (file->size < (size_t)end && model_below(seed, 200) < share)
		cut_bytes(file, (size_t)end);
	for (off_t at = op->offset; at < end;) {
		off_t next = (at / SECTOR + 1) * SECTOR;

		next = next < end ? next : end;
		if (model_below(seed, 100) < share)
			write_bytes(file, at, op->data + (at - op->offset), (size_t)(next - at));
		at = next;
	}
}

/* @files as they may be when power fails after the first @n operations. */
static void cut_power(const struct trace *trace, size_t n, struct file *files, uint64_t *seed)
{
	for (unsigned int f = 0; f < FILES; f++) {
		uint32_t share = shares[model_below(seed, sizeof(shares) / sizeof(shares[0]))];
		size_t synced = 0;

		for (size_t i = 0; i < n; i++)
			if (trace->ops[i].kind == OP_SYNC && trace->ops[i].file == f)
				synced = i;
		for (size_t i = 0; i < n; i++) {
			const struct op *op = &trace->ops[i];

			if (op->kind > OP_SYNC || op->file != f)
				continue;
			if (i < synced)
				do_op(&files[f], op);
			else
				do_op_in_part(&files[f], op, seed, share);
		}
	}
}

static void new_files(struct file *files)
{
	for (unsigned int f = 0; f < FILES; f++) {
		files[f].size = 0;
		files[f].bytes = calloc(1, FILE_MAX);
		if (!files[f].bytes)
			abort();
	}
}

static void copy_files(struct file *to, const struct file *from)
{
	for (unsigned int f = 0; f < FILES; f++) {
		to[f].size = from[f].size;
		memcpy(to[f].bytes, from[f].bytes, FILE_MAX);
	}
}

static void free_files(struct file *files)
{
	for (unsigned int f = 0; f < FILES; f++)
		free(files[f].bytes);
}

static void path_in(char *path, size_t size, const char *dir, const char *name)
{
	snprintf(path, size, "%s/%s", dir, name);
}

static void store_files(const char *dir, const struct file *files)
{
	for (unsigned int f = 0; f < FILES; f++) {
		char path[256];
		int fd;

		path_in(path, sizeof(path), dir, file_names[f]);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd < 0 || __real_pwrite(fd, files[f].bytes, files[f].size, 0) !=
				      (ssize_t)files[f].size)
			abort();
		(void)close(fd);
	}
}

static void fetch_files(const char *dir, struct file *files)
{
	for (unsigned int f = 0; f < FILES; f++) {
		char path[256];
		ssize_t n;
		int fd;

		path_in(path, sizeof(path), dir, file_names[f]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? -1 : pread(fd, files[f].bytes, FILE_MAX, 0);
		if (n < 0)
			abort();
		files[f].size = (size_t)n;
		(void)close(fd);
	}
}

/* --- the traffic --- */

struct asked {
	struct kvp_change change;
	struct model_change what;
};

struct traffic {
	struct event_base *base;
	struct kvp_store *store;
	uint64_t seed;
	uint32_t submitted;
	uint32_t acknowledged;
	struct asked asked[IN_FLIGHT];
};

static struct traffic traffic;

static void on_note(void *self, const char *text)
{
	(void)self;
	printf("# %s\n", text);
}

static struct kvp_store *open_store(struct event_base *base, const char *dir)
{
	const struct kvp_store_options options = {.dir = dir, .note = on_note};
	struct kvp_store *store;

	return kvp_store_new(base, &options, &store) ? NULL : store;
}

static void submit(struct asked *asked)
{
	asked->what = model_random(&traffic.seed, ++traffic.submitted);
	model_entry(&asked->what, &asked->change.entry);
	asked->change.pool = asked->what.pool;
	asked->change.remove = asked->what.number & MODEL_REMOVED;
	record((struct op){.kind = OP_SUBMITTED, .change = asked->what});
	kvp_store_submit(traffic.store, &asked->change);
}

static void on_done(struct kvp_change *change, int r)
{
	struct asked *asked = (struct asked *)change;

	if (r != 0 && r != KVP_STORE_NONE)
		abort();
	record((struct op){.kind = OP_ACKNOWLEDGED, .change = asked->what});
	if (++traffic.acknowledged == CHANGES)
		event_base_loopbreak(traffic.base);
	/* In the second half one at a time, so that small transactions are cut as well. */
	else if (traffic.submitted < CHANGES && (traffic.submitted < CHANGES / 2 ||
						 traffic.acknowledged == traffic.submitted))
		submit(asked);
}

static void make_traffic(const char *dir, struct file *ret_before, struct trace *trace)
{
	traffic.base = event_base_new();
	traffic.store = open_store(traffic.base, dir);
	if (!traffic.store)
		abort();
	/* The journal is made by the first change. */
	traffic.asked[0].change = (struct kvp_change){.pool = 0, .done = on_done, .remove = true};
	snprintf(traffic.asked[0].change.entry.key, KVP_KEY_SIZE, "none");
	new_files(ret_before);
	{
		struct kvp_store *store = traffic.store;
		char path[256];
		int fd;

		path_in(path, sizeof(path), dir, file_names[0]);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		(void)close(fd);
		kvp_store_free(store);
		traffic.store = open_store(traffic.base, dir);
	}
	fetch_files(dir, ret_before);
	recording = trace;
	for (unsigned int i = 0; i < IN_FLIGHT; i++) {
		traffic.asked[i].change.done = on_done;
		submit(&traffic.asked[i]);
	}
	event_base_dispatch(traffic.base);
	recording = NULL;
	kvp_store_free(traffic.store);
}

/* What the model knows when power fails after the first @n operations. */
static void replay_model(const struct trace *trace, size_t n, struct model *m)
{
	model_init(m);
	for (size_t i = 0; i < n; i++) {
		if (trace->ops[i].kind == OP_SUBMITTED)
			model_submitted(m, &trace->ops[i].change);
		else if (trace->ops[i].kind == OP_ACKNOWLEDGED)
			model_acknowledged(m, &trace->ops[i].change);
	}
}

static bool open_and_look(struct event_base *base, const char *dir, const struct file *files,
			  struct model *m, struct trace *trace)
{
	struct kvp_store *store;
	bool good;

	store_files(dir, files);
	recording = trace;
	store = open_store(base, dir);
	recording = NULL;
	good = store && model_look(m, store);
	kvp_store_free(store);
	return good;
}

static bool try_cut(const char *dir, const struct file *before, const struct trace *trace, size_t n,
		    struct model *m, uint64_t *seed)
{
	static struct trace again;
	struct file files[FILES], twice[FILES];
	bool good;

	new_files(files);
	new_files(twice);
	copy_files(files, before);
	cut_power(trace, n, files, seed);
	replay_model(trace, n, m);
	good = open_and_look(traffic.base, dir, files, m, &again);
	for (int i = 0; good && again.n > 0 && i < 3; i++) {
		copy_files(twice, files);
		cut_power(&again, model_below(seed, (uint32_t)again.n + 1), twice, seed);
		replay_model(trace, n, m);
		good = open_and_look(traffic.base, dir, twice, m, NULL);
	}
	forget(&again);
	free_files(files);
	free_files(twice);
	return good;
}

/* What was done before a kill and after it; the data is borrowed. */
static void join(const struct trace *trace, size_t n, const struct trace *again, struct trace *ret_both)
{
	ret_both->n = n + again->n;
	ret_both->ops = calloc(ret_both->n + 1, sizeof(ret_both->ops[0]));
	if (!ret_both->ops)
		abort();
	if (n > 0)
		memcpy(ret_both->ops, trace->ops, n * sizeof(trace->ops[0]));
	if (again->n > 0)
		memcpy(ret_both->ops + n, again->ops, again->n * sizeof(again->ops[0]));
}

static bool try_kill(const char *dir, const struct file *before, const struct trace *trace, size_t n,
		     struct model *m, uint64_t *seed)
{
	static struct trace again;
	struct trace both = {0};
	struct file files[FILES];
	bool good;

	new_files(files);
	copy_files(files, before);
	for (size_t i = 0; i < n; i++)
		if (trace->ops[i].kind < OP_SYNC)
			do_op(&files[trace->ops[i].file], &trace->ops[i]);
	replay_model(trace, n, m);
	good = open_and_look(traffic.base, dir, files, m, &again);
	join(trace, n, &again, &both);
	for (int i = 0; good && again.n > 0 && i < 3; i++) {
		copy_files(files, before);
		cut_power(&both, n + model_below(seed, (uint32_t)again.n + 1), files, seed);
		replay_model(trace, n, m);
		good = open_and_look(traffic.base, dir, files, m, NULL);
	}
	free(both.ops);
	forget(&again);
	free_files(files);
	return good;
}

int main(int argc, char **argv)
{
	uint64_t seed = ((uint64_t)time(NULL) * 2654435761u + (uint64_t)getpid() * 40503u) | 1, start;
	char dir[] = "/dev/shm/hvguest-kvp.XXXXXX", cut_dir[64], command[128];
	struct trace trace = {0};
	struct file before[FILES];
	unsigned long cuts, n = 0;
	struct model *m = calloc(1, sizeof(*m));
	bool good = true;

	if (argc < 2 || !m || !mkdtemp(dir)) {
		fprintf(stderr, "usage: kvp-power CUTS [no-fsync|no-journal]\n");
		return 2;
	}
	cuts = strtoul(argv[1], NULL, 10);
	no_fsync = argc > 2 && strcmp(argv[2], "no-fsync") == 0;
	no_journal = argc > 2 && strcmp(argv[2], "no-journal") == 0;
	if (getenv("KVP_SEED"))
		seed = strtoull(getenv("KVP_SEED"), NULL, 10);
	start = traffic.seed = seed;
	snprintf(cut_dir, sizeof(cut_dir), "%s/cut", dir);
	if (mkdir(cut_dir, 0700) < 0)
		return 2;
	make_traffic(dir, before, &trace);
	while (good && n < cuts) {
		size_t at = model_below(&seed, (uint32_t)trace.n + 1);

		good = n % 4 == 3 ? try_kill(cut_dir, before, &trace, at, m, &seed)
				  : try_cut(cut_dir, before, &trace, at, m, &seed);
		n++;
	}
	printf("# seed %" PRIu64 ": %lu power cuts in %zu operations, %u changes acknowledged\n", start,
	       n, trace.n, traffic.acknowledged);
	if (!good)
		printf("# found: %s\n", m->complaint);
	forget(&trace);
	free(trace.ops);
	free_files(before);
	free(m);
	event_base_free(traffic.base);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	(void)!system(command);
	return good ? 0 : 1;
}
