/* SPDX-License-Identifier: MIT */

/*
 * A witness for backups: writes records that say of themselves whether they are intact, and
 * remembers, outside of the file system they are written to, which of them were acknowledged when.
 *
 * `recorder write` appends one record after another to DIR/records. A record counts as acknowledged
 * once fdatasync() has returned; only then does the next one begin. Acknowledgements go into a small
 * file that is mapped shared and has to be on another file system (tmpfs), so that they can be read
 * while the writer is blocked. All times are CLOCK_MONOTONIC, the clock that freezers report in.
 *
 * A backup taken while the file system was frozen at time T is good if each record acknowledged
 * before T is in it, intact and in its place. `recorder verify` checks exactly that. What was written
 * but not acknowledged may be missing or torn. It may not have a successor, though: the next record
 * is written only after the one before is safe.
 *
 * One process writes and any number may look. The writer ends at SIGTERM, after the time given by
 * --for, or with the process that started it. It cannot end while the file system is frozen: a
 * blocked write waits uninterruptibly until the thaw, even for SIGKILL.
 */

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/error.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#define RECORD_MAGIC UINT64_C(0x3144524f43455248)
#define STATE_MAGIC  UINT64_C(0x3145544154534852)

enum {
	RECORD_SIZE = 512,
	RECORD_CHECKED = RECORD_SIZE - 4, /* bytes under the checksum, which comes last */
	N_ACKS = 65536,
	DEFAULT_INTERVAL_US = 1000,
	DEFAULT_SECONDS = 600,
	EXIT_USAGE = 2,
};

#define NS_PER_SECOND UINT64_C(1000000000)

/* One acknowledged record. `sequence` is 0 while the entry is being replaced. */
struct ack {
	_Atomic uint64_t sequence;
	_Atomic uint64_t began_ns; /* before write() */
	_Atomic uint64_t ended_ns; /* after fdatasync(): when it was acknowledged */
};

/* The shared file. `magic` is stored last, when everything else is there. */
struct state {
	_Atomic uint64_t magic;
	uint64_t stream;
	_Atomic uint64_t last_sequence; /* acknowledged; sequences begin with 1 */
	_Atomic uint64_t last_ns;
	_Atomic uint64_t pending_ns; /* since when a record is being written; 0 = none is */
	_Atomic uint64_t stall_began_ns; /* of the longest stall of all */
	_Atomic uint64_t stall_ended_ns;
	struct ack acks[N_ACKS]; /* record n is in entry n % N_ACKS */
};

struct record {
	uint64_t sequence;
	uint64_t time_ns;
	uint64_t stream;
};

static volatile sig_atomic_t stop;

static void on_signal(int signal_number)
{
	(void)signal_number;
	stop = 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

/* CRC-32C (Castagnoli), bit by bit: 512 bytes at a time need no table. */
static uint32_t crc32c(const uint8_t *data, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

static void record_encode(const struct record *record, uint8_t *buf)
{
	uint64_t pattern = record->sequence ^ record->stream;
	struct bytes_writer w;

	bytes_writer_init(&w, buf, RECORD_SIZE);
	bytes_put_u64(&w, RECORD_MAGIC);
	bytes_put_u64(&w, record->sequence);
	bytes_put_u64(&w, record->time_ns);
	bytes_put_u64(&w, record->stream);
	while (bytes_written(&w) + sizeof(pattern) <= RECORD_CHECKED) {
		pattern = pattern * UINT64_C(6364136223846793005) + 1442695040888963407;
		bytes_put_u64(&w, pattern);
	}
	bytes_put_zeros(&w, RECORD_CHECKED - bytes_written(&w));
	bytes_put_u32(&w, crc32c(buf, RECORD_CHECKED));
}

/* Why @buf is not a record, or NULL and *ret_record. */
static const char *record_decode(const uint8_t *buf, struct record *ret_record)
{
	struct bytes_reader r;
	uint64_t magic;
	struct record record;

	bytes_reader_init(&r, buf, RECORD_SIZE);
	magic = bytes_get_u64(&r);
	record.sequence = bytes_get_u64(&r);
	record.time_ns = bytes_get_u64(&r);
	record.stream = bytes_get_u64(&r);
	bytes_skip(&r, RECORD_CHECKED - 32);
	if (bytes_get_u32(&r) != crc32c(buf, RECORD_CHECKED))
		return "its checksum is wrong";
	if (magic != RECORD_MAGIC)
		return "it is not a record";

	*ret_record = record;
	return NULL;
}

/* Maps the state file, a fresh one for the writer. */
static int state_map(const char *path, bool writer, struct state **ret_state)
{
	_cleanup_close_ int fd = -1;
	struct state *state;
	struct stat st;

	fd = open(path, writer ? O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		return negative_errno();
	if (writer && ftruncate(fd, sizeof(*state)) < 0)
		return negative_errno();
	if (fstat(fd, &st) < 0)
		return negative_errno();
	if (st.st_size != sizeof(*state))
		return -EINVAL;

	state = mmap(NULL, sizeof(*state), writer ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
		     fd, 0);
	if (state == MAP_FAILED)
		return negative_errno();
	if (!writer && atomic_load(&state->magic) != STATE_MAGIC) {
		munmap(state, sizeof(*state));
		return -EINVAL;
	}

	*ret_state = state;
	return 0;
}

static void acknowledge(struct state *state, uint64_t sequence, uint64_t began_ns, uint64_t ended_ns)
{
	struct ack *ack = &state->acks[sequence % N_ACKS];

	atomic_store(&ack->sequence, 0);
	atomic_store(&ack->began_ns, began_ns);
	atomic_store(&ack->ended_ns, ended_ns);
	atomic_store(&ack->sequence, sequence);
	atomic_store(&state->last_ns, ended_ns);
	atomic_store(&state->last_sequence, sequence);
	atomic_store(&state->pending_ns, 0);
	if (ended_ns - began_ns > state->stall_ended_ns - state->stall_began_ns) {
		atomic_store(&state->stall_began_ns, began_ns);
		atomic_store(&state->stall_ended_ns, ended_ns);
	}
}

/* A consistent copy of the acknowledgement of @sequence; false if it is not there any more. */
static bool ack_read(const struct state *state, uint64_t sequence, uint64_t *ret_began_ns,
		     uint64_t *ret_ended_ns)
{
	const struct ack *ack = &state->acks[sequence % N_ACKS];
	uint64_t began_ns, ended_ns;

	if (atomic_load(&ack->sequence) != sequence)
		return false;
	began_ns = atomic_load(&ack->began_ns);
	ended_ns = atomic_load(&ack->ended_ns);
	if (atomic_load(&ack->sequence) != sequence)
		return false;

	*ret_began_ns = began_ns;
	*ret_ended_ns = ended_ns;
	return true;
}

/* The file has to exist for good before its first record is acknowledged. */
static int records_create(const char *dir, int *ret_fd)
{
	_cleanup_close_ int dir_fd = -1, fd = -1;

	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return negative_errno();
	fd = openat(dir_fd, "records", O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return negative_errno();
	if (fsync(fd) < 0 || fsync(dir_fd) < 0)
		return negative_errno();

	*ret_fd = steal_fd(fd);
	return 0;
}

static int write_one(int fd, struct state *state, uint64_t sequence)
{
	struct record record = {.sequence = sequence, .stream = state->stream};
	uint8_t buf[RECORD_SIZE];
	ssize_t n;

	record.time_ns = now_ns();
	record_encode(&record, buf);
	atomic_store(&state->pending_ns, record.time_ns);
	n = write(fd, buf, sizeof(buf));
	if (n < 0)
		return negative_errno();
	if (n != sizeof(buf))
		return -ENOSPC;
	if (fdatasync(fd) < 0)
		return negative_errno();

	acknowledge(state, sequence, record.time_ns, now_ns());
	return 0;
}

static int write_records(int fd, struct state *state, uint64_t interval_us, uint64_t seconds)
{
	struct timespec pause = {.tv_sec = (time_t)(interval_us / 1000000),
				 .tv_nsec = (long)(interval_us % 1000000 * 1000)};
	uint64_t end_ns = now_ns() + seconds * NS_PER_SECOND;

	for (uint64_t sequence = 1; !stop && now_ns() < end_ns; sequence++) {
		int r = write_one(fd, state, sequence);

		if (r < 0)
			return r;
		if (interval_us > 0)
			(void)nanosleep(&pause, NULL);
	}
	return 0;
}

struct options {
	const char *dir;
	const char *state;
	uint64_t interval_us;
	uint64_t seconds;
	uint64_t acked_before_ns;
	uint64_t since_ns;
	bool json;
};

static int fail(const char *what, int r)
{
	fprintf(stderr, "recorder: %s: %s\n", what, strerror(-r));
	return EXIT_FAILURE;
}

static int command_write(const struct options *options)
{
	struct sigaction action = {.sa_handler = on_signal};
	_cleanup_close_ int fd = -1;
	struct state *state;
	int r;

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);

	r = records_create(options->dir, &fd);
	if (r < 0)
		return fail(options->dir, r);
	r = state_map(options->state, true, &state);
	if (r < 0)
		return fail(options->state, r);
	state->stream = now_ns() ^ (uint64_t)getpid() << 48;
	atomic_store(&state->magic, STATE_MAGIC);

	r = write_records(fd, state, options->interval_us, options->seconds);
	munmap(state, sizeof(*state));
	return r < 0 ? fail(options->dir, r) : EXIT_SUCCESS;
}

/*
 * The last record that was acknowledged before @before_ns; 0 if none was. Acknowledgements are in
 * order, so it is the first hit from the back. -ESTALE: that is too long ago to be known.
 */
static int last_acked_before(const struct state *state, uint64_t before_ns, uint64_t *ret_sequence)
{
	uint64_t sequence = atomic_load(&state->last_sequence);

	for (; sequence > 0; sequence--) {
		uint64_t began_ns, ended_ns;

		if (!ack_read(state, sequence, &began_ns, &ended_ns))
			return -ESTALE;
		if (ended_ns < before_ns)
			break;
	}
	*ret_sequence = sequence;
	return 0;
}

/* What is wrong with the record in @buf, which is to be number @sequence; NULL if it is right. */
static const char *judge(const uint8_t *buf, const struct state *state, uint64_t sequence,
			 struct record *ret_record)
{
	const char *damage = record_decode(buf, ret_record);

	if (damage)
		return damage;
	if (ret_record->stream != state->stream)
		return "it is of another run";
	return ret_record->sequence == sequence ? NULL : "another record is in its place";
}

static int damaged(uint64_t sequence, const char *why)
{
	printf("damaged: record %" PRIu64 ": %s\n", sequence, why);
	return EXIT_FAILURE;
}

/* Walks the file; the first @acked records have to be there, the rest may end torn. */
static int verify_records(FILE *file, const struct state *state, uint64_t acked,
			  uint64_t *ret_intact)
{
	uint64_t intact = 0, place = 0;
	uint8_t buf[RECORD_SIZE];
	const char *first_damage = NULL;

	while (fread(buf, sizeof(buf), 1, file) == 1) {
		struct record record;
		const char *damage = judge(buf, state, ++place, &record);

		if (damage && place <= acked)
			return damaged(place, damage);
		if (damage && !first_damage)
			first_damage = damage;
		if (!damage && first_damage)
			return damaged(intact + 1, "a later record is there, but it is not");
		if (!damage)
			intact++;
	}
	if (ferror(file))
		return fail("records", negative_errno());
	if (intact < acked)
		return damaged(intact + 1, "it was acknowledged, but the file ends before it");

	*ret_intact = intact;
	return EXIT_SUCCESS;
}

static int command_verify(const struct options *options)
{
	_cleanup_free_ char *path = NULL;
	struct state *state;
	uint64_t acked, intact = 0;
	FILE *file;
	int r;

	r = state_map(options->state, false, &state);
	if (r < 0)
		return fail(options->state, r);
	r = last_acked_before(state, options->acked_before_ns, &acked);
	if (r < 0)
		return fail("acknowledgements of that time", r);
	if (asprintf(&path, "%s/records", options->dir) < 0)
		return fail(options->dir, -ENOMEM);
	file = fopen(path, "re");
	if (!file)
		return fail(path, negative_errno());

	r = verify_records(file, state, acked, &intact);
	if (r == EXIT_SUCCESS)
		printf("ok: %" PRIu64 " records, %" PRIu64 " acknowledged before %" PRIu64 "\n",
		       intact, acked, options->acked_before_ns);
	fclose(file);
	munmap(state, sizeof(*state));
	return r;
}

struct stall {
	uint64_t began_ns;
	uint64_t ended_ns;
};

static void longer(struct stall *longest, uint64_t began_ns, uint64_t ended_ns)
{
	if (ended_ns - began_ns > longest->ended_ns - longest->began_ns)
		*longest = (struct stall){began_ns, ended_ns};
}

/* The longest time that a record took which ended at @since_ns or later, or has not ended yet. */
static struct stall longest_stall(const struct state *state, uint64_t since_ns)
{
	uint64_t sequence = atomic_load(&state->last_sequence);
	uint64_t pending_ns = atomic_load(&state->pending_ns);
	uint64_t now = now_ns(), began_ns, ended_ns;
	struct stall longest = {0, 0};

	if (state->stall_ended_ns >= since_ns)
		longer(&longest, state->stall_began_ns, state->stall_ended_ns);
	for (; sequence > 0 && ack_read(state, sequence, &began_ns, &ended_ns); sequence--) {
		if (ended_ns < since_ns)
			break;
		longer(&longest, began_ns, ended_ns);
	}
	if (pending_ns > 0 && pending_ns < now)
		longer(&longest, pending_ns, now);
	return longest;
}

static int command_show(const struct options *options)
{
	struct state *state;
	struct stall stall;
	uint64_t last, last_ns;
	double stall_ms;
	int r;

	r = state_map(options->state, false, &state);
	if (r < 0)
		return fail(options->state, r);
	last = atomic_load(&state->last_sequence);
	last_ns = atomic_load(&state->last_ns);
	stall = longest_stall(state, options->since_ns);
	stall_ms = (double)(stall.ended_ns - stall.began_ns) / 1e6;

	if (options->json)
		printf("{\"records\": %" PRIu64 ", \"last_ns\": %" PRIu64
		       ", \"longest_stall_ms\": %.3f, \"stall_began_ns\": %" PRIu64
		       ", \"stall_ended_ns\": %" PRIu64 "}\n",
		       last, last_ns, stall_ms, stall.began_ns, stall.ended_ns);
	else
		printf("%" PRIu64 " records, the last at %" PRIu64 ", longest stall %.3f ms\n",
		       last, last_ns, stall_ms);
	munmap(state, sizeof(*state));
	return EXIT_SUCCESS;
}

static int usage(void)
{
	fputs("usage: recorder write DIR --state FILE [--interval-us N] [--for SECONDS]\n"
	      "       recorder verify DIR --state FILE --acked-before NS\n"
	      "       recorder show --state FILE [--json] [--since NS]\n"
	      "       recorder now\n"
	      "Times are CLOCK_MONOTONIC. FILE has to be on another file system than DIR.\n",
	      stderr);
	return EXIT_USAGE;
}

static bool parse_number(const char *text, uint64_t *ret_number)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || *end || text[0] < '0' || text[0] > '9')
		return false;
	*ret_number = number;
	return true;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{"state", required_argument, NULL, 's'},
		{"interval-us", required_argument, NULL, 'i'},
		{"for", required_argument, NULL, 'f'},
		{"acked-before", required_argument, NULL, 'a'},
		{"since", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	bool good = true;
	int c;

	while (good && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's')
			options->state = optarg;
		else if (c == 'i')
			good = parse_number(optarg, &options->interval_us);
		else if (c == 'f')
			good = parse_number(optarg, &options->seconds);
		else if (c == 'a')
			good = parse_number(optarg, &options->acked_before_ns);
		else if (c == 'n')
			good = parse_number(optarg, &options->since_ns);
		else if (c == 'j')
			options->json = true;
		else
			good = false;
	}
	if (good && optind < argc)
		options->dir = argv[optind++];
	return good && optind == argc && options->state;
}

int main(int argc, char **argv)
{
	struct options options = {.interval_us = DEFAULT_INTERVAL_US, .seconds = DEFAULT_SECONDS};
	const char *command = argc > 1 ? argv[1] : "";

	if (argc == 2 && !strcmp(command, "now"))
		return printf("%" PRIu64 "\n", now_ns()) > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	if (argc < 2 || !parse_options(argc - 1, argv + 1, &options))
		return usage();
	if (!strcmp(command, "write") && options.dir)
		return command_write(&options);
	if (!strcmp(command, "verify") && options.dir && options.acked_before_ns > 0)
		return command_verify(&options);
	if (!strcmp(command, "show") && !options.dir)
		return command_show(&options);
	return usage();
}
