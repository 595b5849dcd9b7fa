/* SPDX-License-Identifier: MIT */

/*
 * bench-kvp BUILD: key-value exchange with 100, 1000 and 10 000 keys, beside the stock
 * hv_kvp_daemon. Both run as they are, with a socket for the kernel's character device
 * (standin/hv_kvp_device.c); this process plays the driver and asks one request after the other,
 * as the kernel does. A driver has the answer within the daemon's write(), and wakes nobody for it; so
 * this process looks for the answer all the time before it sleeps. It is on the first processor, as
 * the host is on another than its guest, and the daemons with all their threads are on the second.
 *
 *   kvp_get_N        one value, of a key at random
 *   kvp_echo         a process that answers with what it was asked, and does nothing else;
 *                    kvp_get_N_echo and kvp_enumerate_N_echo are the same, of one and of N questions
 *   kvp_set_N        a new value for a key at random; hvguestd answers when it is on the disk, the
 *                    stock daemon never waits for one
 *   kvp_enumerate_N  all entries. The stock daemon reads the whole file for each of them, which takes a
 *                    minute with 10 000: there it is asked for every STEPth, and the time is multiplied
 *
 * The pools are on a disk (bench_make_dir()). Each round asks one daemon and then the
 * other, by turns the one first and the other.
 */

#include "base/clock.h"
#include "services/kvp_device.h"
#include "services/kvp_record.h"
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define STOCK "/usr/sbin/hv_kvp_daemon"

enum {
	PATIENCE_MS = 60000,
	LOOK_NS = 100000, /* for an answer, before this process sleeps */
	REGISTER1 = 100,     /* Linux include/uapi/linux/hyperv.h */
	GET_VALUE = 532,     /* where the kernel takes values from */
	VALUE_SIZE_AT = 12,
};

struct daemon {
	const char *name;
	pid_t pid;
	int fd;
	char dir[128];
};

static char work_dir[BENCH_PATH_MAX], run_dir[BENCH_PATH_MAX];
static const char *build;
static int cpus[2];
static uint64_t seed = 88172645463325252u;

static uint32_t below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 32) % n);
}

static void key_of(uint32_t number, char key[KVP_KEY_SIZE])
{
	snprintf(key, KVP_KEY_SIZE, "key-%06u", number);
}

/* --- the daemons --- */

static void fill_pool(const struct daemon *d, uint32_t n)
{
	uint8_t record[KVP_RECORD_SIZE];
	char path[256], key[KVP_KEY_SIZE];
	FILE *file;

	if (mkdir(d->dir, 0755) < 0 && errno != EEXIST)
		bench_die(d->dir, errno);
	snprintf(path, sizeof(path), "%s/.kvp_pool_0", d->dir);
	file = fopen(path, "we");
	if (!file)
		bench_die(path, errno);
	for (uint32_t i = 0; i < n; i++) {
		key_of(i, key);
		kvp_record_write(record, key, "a value as they are");
		if (fwrite(record, sizeof(record), 1, file) != 1)
			bench_die(path, errno);
	}
	if (fflush(file) || fsync(fileno(file)) || fclose(file))
		bench_die(path, errno);
}

static pid_t spawn(const struct daemon *d, const char *const *argv, int fd)
{
	char preload[512], log[256];
	pid_t pid;

	snprintf(log, sizeof(log), "%s.log", d->dir);
	snprintf(preload, sizeof(preload), "%s/tests/bench/hv_kvp_device.so", build);
	/* A daemon that is built with that sanitizer wants its library to be the first. */
	(void)setenv("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0", 1);
	(void)setenv("HV_KVP_FD", "9", 1);
	(void)setenv("HV_KVP_DIR", d->dir, 1);
	(void)setenv("LD_PRELOAD", preload, 1);
	pid = bench_spawn(argv, log, fd, SIGKILL);
	(void)unsetenv("LD_PRELOAD");
	return pid;
}

/* False: nothing has come, or what has is no message. */
static bool receive_from(int fd, uint8_t message[KVP_DEVICE_MESSAGE_SIZE])
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t end_ns = clock_monotonic_ns() + LOOK_NS;
	ssize_t n;

	do
		n = recv(fd, message, KVP_DEVICE_MESSAGE_SIZE, MSG_DONTWAIT);
	while (n < 0 && errno == EAGAIN && clock_monotonic_ns() < end_ns);
	if (n < 0 && errno == EAGAIN && poll(&p, 1, PATIENCE_MS) == 1)
		n = recv(fd, message, KVP_DEVICE_MESSAGE_SIZE, 0);
	return n == KVP_DEVICE_MESSAGE_SIZE;
}

static void receive(struct daemon *d, uint8_t message[KVP_DEVICE_MESSAGE_SIZE])
{
	if (!receive_from(d->fd, message))
		bench_die(d->name, errno ? errno : ETIMEDOUT);
}

static void send_message(struct daemon *d, const uint8_t message[KVP_DEVICE_MESSAGE_SIZE])
{
	if (send(d->fd, message, KVP_DEVICE_MESSAGE_SIZE, MSG_NOSIGNAL) != KVP_DEVICE_MESSAGE_SIZE)
		bench_die(d->name, errno);
}

/* As a daemon would that had nothing to do, and looked for the next request all the time. */
static _Noreturn void echo(int fd)
{
	uint8_t message[KVP_DEVICE_MESSAGE_SIZE] = {REGISTER1};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (send(fd, message, sizeof(message), MSG_NOSIGNAL) == sizeof(message)) {
		do {
			if (!receive_from(fd, message))
				_exit(1);
		} while (message[0] == REGISTER1); /* is not answered */
		memset(message, 0, 4);
	}
	_exit(0);
}

/* @argv NULL: the one that only answers. */
static void start(struct daemon *d, const char *const *argv)
{
	uint8_t message[KVP_DEVICE_MESSAGE_SIZE];
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		bench_die("socketpair", errno);
	d->fd = fds[0];
	bench_use_cpu(cpus[1]);
	d->pid = argv ? spawn(d, argv, fds[1]) : fork();
	if (d->pid < 0)
		bench_die("fork", errno);
	if (d->pid == 0)
		echo(fds[1]);
	bench_use_cpu(cpus[0]);
	(void)close(fds[1]);
	receive(d, message);
	if (message[0] != REGISTER1)
		bench_die(d->name, EPROTO);
	snprintf((char *)message + KVP_HEADER_SIZE, KVP_KEY_SIZE, "3.1");
	send_message(d, message);
}

static void start_ours(struct daemon *d)
{
	static char path[512], freezer[512], keeper[512];
	const char *const argv[] = {
		path, "--kvp-dir", d->dir, "--run-dir", run_dir, "--state-dir", run_dir,
		"--freezer", freezer, "--keeper", keeper, "--hotplug", "off", "--memory", "no", NULL,
	};

	snprintf(path, sizeof(path), "%s/daemon/hvguestd", build);
	snprintf(freezer, sizeof(freezer), "%s/fsfreeze/hvguest-freezer", build);
	snprintf(keeper, sizeof(keeper), "%s/balloon/hvguest-keeper", build);
	start(d, argv);
}

static void start_theirs(struct daemon *d)
{
	static const char *const argv[] = {STOCK, "-n", NULL};

	start(d, argv);
}

static void start_echo(struct daemon *d)
{
	start(d, NULL);
}

static void stop(struct daemon *d)
{
	bench_end(d->pid);
	(void)close(d->fd);
}

/* --- requests --- */

/* The answer is checked by its status, and whether there is something at @text_at (0: no matter). */
static void ask(struct daemon *d, uint8_t message[KVP_DEVICE_MESSAGE_SIZE], size_t text_at)
{
	uint32_t status;

	send_message(d, message);
	receive(d, message);
	memcpy(&status, message, sizeof(status));
	if (status != 0 || (text_at && message[text_at] == '\0'))
		bench_die(d->name, EPROTO);
}

static void put_u32(uint8_t *p, uint32_t value)
{
	memcpy(p, &value, sizeof(value));
}

static void get_one(struct daemon *d, uint32_t n)
{
	uint8_t message[KVP_DEVICE_MESSAGE_SIZE] = {KVP_GET, 0};
	char key[KVP_KEY_SIZE];

	key_of(below(n), key);
	/* The kernel says 0 here, and then the stock daemon copies nothing. */
	put_u32(message + VALUE_SIZE_AT, KVP_VALUE_SIZE);
	put_u32(message + 8, (uint32_t)strlen(key) + 1);
	snprintf((char *)message + 16, KVP_KEY_SIZE, "%s", key);
	ask(d, message, 0);
}

static void set_one(struct daemon *d, uint32_t n)
{
	uint8_t message[KVP_DEVICE_MESSAGE_SIZE] = {KVP_SET, 0};
	char key[KVP_KEY_SIZE];
	int len;

	key_of(below(n), key);
	put_u32(message + 8, (uint32_t)strlen(key) + 1);
	snprintf((char *)message + 16, KVP_KEY_SIZE, "%s", key);
	len = snprintf((char *)message + 528, KVP_VALUE_SIZE, "value %u of many", below(1000000));
	put_u32(message + VALUE_SIZE_AT, (uint32_t)len + 1);
	ask(d, message, 0);
}

static void enumerate_one(struct daemon *d, uint32_t index)
{
	uint8_t message[KVP_DEVICE_MESSAGE_SIZE] = {KVP_ENUMERATE, 0};

	put_u32(message + KVP_HEADER_SIZE, index);
	ask(d, message, GET_VALUE);
}

/* --- figures --- */

/* Microseconds for each of @count calls. */
static double time_calls(struct daemon *d, void (*call)(struct daemon *d, uint32_t n), uint32_t n,
			 uint64_t count)
{
	uint64_t begin_ns = clock_monotonic_ns();

	for (uint64_t i = 0; i < count; i++)
		call(d, n);
	return (double)(clock_monotonic_ns() - begin_ns) / 1e3 / (double)count;
}

/* Milliseconds for all of @n entries, if each @step-th is asked for. */
static double time_all(struct daemon *d, uint32_t n, uint32_t step)
{
	uint64_t begin_ns = clock_monotonic_ns();

	for (uint32_t i = 0; i < n; i += step)
		enumerate_one(d, i);
	return (double)(clock_monotonic_ns() - begin_ns) / 1e6 * step;
}

/* The stock daemon is asked for each so many-th of @n entries. */
static uint32_t step_of(uint32_t n)
{
	return n < 10000 ? 1 : (uint32_t)bench_choose(500, 2000, 5000);
}

struct pair {
	struct bench_series ours, theirs;
};

static void print_pair(const char *what, uint32_t n, const struct pair *pair, const char *unit)
{
	char name[64];

	snprintf(name, sizeof(name), "kvp_%s_%u", what, n);
	bench_print(name, &pair->ours, unit, BENCH_SMALLER);
	snprintf(name, sizeof(name), "kvp_%s_%u_hv_kvp_daemon", what, n);
	bench_print(name, &pair->theirs, unit, BENCH_SMALLER);
	snprintf(name, sizeof(name), "kvp_%s_%u_vs_hv_kvp_daemon", what, n);
	bench_print_ratio(name, &pair->ours, &pair->theirs, BENCH_SMALLER);
}

static void measure_calls(struct daemon *ours, struct daemon *theirs, const char *what,
			  void (*call)(struct daemon *d, uint32_t n), uint32_t n, uint64_t count)
{
	static struct pair pair;

	pair = (struct pair){0};
	for (uint64_t round = bench_choose(9, 3, 1); round > 0; round--) {
		if (round % 2)
			bench_add(&pair.ours, time_calls(ours, call, n, count));
		bench_add(&pair.theirs, time_calls(theirs, call, n, count));
		if (round % 2 == 0)
			bench_add(&pair.ours, time_calls(ours, call, n, count));
	}
	print_pair(what, n, &pair, "us");
}

static void measure_all(struct daemon *ours, struct daemon *theirs, uint32_t n)
{
	static struct pair pair;
	uint32_t step = step_of(n);

	pair = (struct pair){0};
	for (uint64_t round = bench_choose(7, 3, 1); round > 0; round--) {
		if (round % 2)
			bench_add(&pair.ours, time_all(ours, n, 1));
		bench_add(&pair.theirs, time_all(theirs, n, step));
		if (round % 2 == 0)
			bench_add(&pair.ours, time_all(ours, n, 1));
	}
	print_pair("enumerate", n, &pair, "ms");
}

/* So small a part of the stock daemon's time does it take to ask and be answered at all. */
static void measure_echo(struct daemon *theirs, uint32_t n, uint64_t count)
{
	struct daemon nobody = {.name = "echo"};
	static struct pair get, all;
	char name[64];

	get = all = (struct pair){0};
	start_echo(&nobody);
	for (uint64_t round = bench_choose(9, 3, 1); round > 0; round--) {
		double echo_us = time_calls(&nobody, get_one, n, bench_choose(200, 200, 3));

		bench_add(&get.ours, echo_us);
		bench_add(&get.theirs, time_calls(theirs, get_one, n, count));
		bench_add(&all.ours, echo_us * n / 1e3);
		bench_add(&all.theirs, time_all(theirs, n, step_of(n)));
	}
	if (n == 100)
		bench_print("kvp_echo", &get.ours, "us", BENCH_SMALLER);
	snprintf(name, sizeof(name), "kvp_get_%u_echo", n);
	bench_print(name, &get.ours, "us", BENCH_SMALLER);
	snprintf(name, sizeof(name), "kvp_enumerate_%u_echo", n);
	bench_print(name, &all.ours, "ms", BENCH_SMALLER);
	snprintf(name, sizeof(name), "kvp_echo_%u_vs_hv_kvp_daemon_get", n);
	bench_print_ratio(name, &get.ours, &get.theirs, BENCH_SMALLER);
	snprintf(name, sizeof(name), "kvp_echo_%u_vs_hv_kvp_daemon_enumerate", n);
	bench_print_ratio(name, &all.ours, &all.theirs, BENCH_SMALLER);
	stop(&nobody);
}

static void measure(uint32_t n)
{
	struct daemon ours = {.name = "hvguestd"}, theirs = {.name = "hv_kvp_daemon"};
	uint64_t count = n < 1000 ? 200 : n < 10000 ? 50 : 25;

	snprintf(ours.dir, sizeof(ours.dir), "%.100s/ours-%u", work_dir, n);
	snprintf(theirs.dir, sizeof(theirs.dir), "%.100s/theirs-%u", work_dir, n);
	fill_pool(&ours, n);
	fill_pool(&theirs, n);
	start_ours(&ours);
	start_theirs(&theirs);
	measure_echo(&theirs, n, bench_choose(count, count / 3, 3));
	measure_calls(&ours, &theirs, "get", get_one, n, bench_choose(count, count / 3, 3));
	measure_calls(&ours, &theirs, "set", set_one, n, bench_choose(count, count / 3, 3));
	measure_all(&ours, &theirs, n);
	stop(&ours);
	stop(&theirs);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: bench-kvp BUILD\n", stderr);
		return 2;
	}
	build = argv[1];
	if (geteuid() != 0 || access(STOCK, X_OK) != 0) {
		bench_skip("kvp_*", geteuid() != 0 ? "needs root" : "needs hv_kvp_daemon (hyperv-daemons)");
		return 0;
	}
	if (!bench_find_cpus(cpus)) {
		bench_skip("kvp_*", "needs two processors");
		return 0;
	}
	bench_use_cpu(cpus[0]);
	bench_make_dir(false, work_dir);
	bench_make_dir(true, run_dir);
	measure(100);
	if (bench_mode() != BENCH_MINIMAL)
		measure(1000);
	measure(10000);
	if (bench_mode() == BENCH_MINIMAL)
		bench_skip("kvp_*_1000*", "left out in a minimal run");
	bench_remove_dir(work_dir);
	bench_remove_dir(run_dir);
	return 0;
}
