/* SPDX-License-Identifier: MIT */

/*
 * bench-daemon BUILD: what daemons cost when nothing happens. hvguestd has a host in the lab, all
 * services, and one memory report each second; beside it the three stock daemons together
 * (hv_daemons: hv_kvp_daemon, hv_vss_daemon and hv_fcopy_daemon, each registered with a stand-in for
 * its character device), and qemu-ga, which has answered one ping.
 *
 *   start_ready_ms        from exec until the service manager is told; of a stock daemon until it
 *                         registers, of the three the sum; of qemu-ga until it has answered
 *   idle_cpu_percent      of one processor
 *   idle_wakeups_per_s    times a thread went to sleep by itself
 *   idle_private_kib      memory that was written to and belongs to one process alone
 *   idle_pss_kib          all memory, what is shared divided by those who share it
 *
 * hvguestd's figures are those of the daemon, its freezer and its keeper together, and of each in
 * ..._hvguestd, ..._freezer and ..._keeper. A helper may leave the daemon, so this process adopts
 * whatever its children leave, and tells all of its descendants by their names.
 */

#include "base/clock.h"
#include "base/cleanup.h"
#include "tests/bench/bench.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
	READY_TIMEOUT_MS = 20000,
	SETTLE_S = 3, /* connecting, negotiating, the first report */
	PATHS = 16,
	DEVICE_MESSAGE_MAX = 8192,
	DEVICE_VERSION_SIZE = 4,
};

static char work_dir[BENCH_PATH_MAX];
static const char *build;
static pid_t host_pid;
static int notify_fd;

/* DIR/NAME, valid until PATHS more were asked for. */
static const char *path_of(const char *dir, const char *name)
{
	static char paths[PATHS][512];
	static size_t next;
	char *path = paths[next++ % PATHS];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static double ms_since(uint64_t begin_ns)
{
	return (double)(clock_monotonic_ns() - begin_ns) / 1e6;
}

static bool wait_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, READY_TIMEOUT_MS) == 1;
}

static void start_host(void)
{
	const char *socket_path = path_of(work_dir, "lab.sock");
	/* Nobody's memory is to be asked for while it is measured. */
	const char *const argv[] = {path_of(build, "host/hvhost"), "serve", "--run-dir", work_dir,
				    "--first-action", "3600", NULL};

	host_pid = bench_spawn(argv, path_of(work_dir, "hvhost.log"), -1, SIGTERM);
	for (int i = 0; i < READY_TIMEOUT_MS / 10; i++) {
		if (access(socket_path, F_OK) == 0)
			return;
		usleep(10000);
	}
	bench_die("hvhost does not start", ETIMEDOUT);
}

/* Where the daemon says that it is ready; sd_notify(3). */
static void open_notify(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", work_dir);
	if (notify_fd < 0 || bind(notify_fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setenv("NOTIFY_SOCKET", address.sun_path, 1) < 0)
		bench_die("notify socket", errno);
}

/* Who is measured. Each start() sets the pid, and gives the milliseconds until it is ready. */

struct subject;

typedef double start_fn(struct subject *s);

static start_fn start_hvguestd, start_stock, start_ga;

static struct subject {
	const char *program; /* NULL: our own */
	start_fn *start;
	const char *device; /* of a stock daemon, as in the names of its stand-in */
	pid_t pid;
	int fd; /* what it is registered with */
} subjects[] = {
	{NULL, start_hvguestd, NULL, 0, -1},
	{"/usr/sbin/hv_kvp_daemon", start_stock, "KVP", 0, -1},
	{"/usr/sbin/hv_vss_daemon", start_stock, "VSS", 0, -1},
	{"/usr/sbin/hv_fcopy_daemon", start_stock, "FCOPY", 0, -1},
	{"/usr/sbin/qemu-ga", start_ga, NULL, 0, -1},
};

/* 0 if the daemon does not tell. */
static double start_hvguestd(struct subject *s)
{
	const char *const argv[] = {
		path_of(build, "daemon/hvguestd"), "--lab", path_of(work_dir, "lab.sock"), "--name",
		"bench", "--run-dir", path_of(work_dir, "guest"), "--freezer",
		path_of(build, "fsfreeze/hvguest-freezer"), "--keeper",
		path_of(build, "balloon/hvguest-keeper"), NULL,
	};
	uint64_t begin_ns = clock_monotonic_ns();
	char message[256];

	s->pid = bench_spawn(argv, path_of(work_dir, "hvguestd.log"), -1, SIGTERM);
	while (wait_readable(notify_fd)) {
		ssize_t n = recv(notify_fd, message, sizeof(message) - 1, 0);

		message[n > 0 ? n : 0] = '\0';
		if (strstr(message, "READY=1"))
			return ms_since(begin_ns);
	}
	return 0;
}

static void set_number(const char *name, int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	(void)setenv(name, text, 1);
}

/*
 * It registers, and is answered: hv_kvp_daemon with a message like its own, the others with four
 * bytes (Linux drivers/hv/hv_{kvp,snapshot,fcopy}.c). hv_kvp_daemon's pools are in the work folder.
 */
static double start_stock(struct subject *s)
{
	const char *const argv[] = {s->program, "-n", NULL};
	uint8_t message[DEVICE_MESSAGE_MAX];
	char variable[32], library[64];
	uint64_t begin_ns;
	int pair[2];
	ssize_t n;
	double ms;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		bench_die("socketpair", errno);
	snprintf(variable, sizeof(variable), "HV_%s_FD", s->device);
	snprintf(library, sizeof(library), "tests/bench/hv_%s_device.so", s->device);
	for (char *p = library; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	set_number(variable, BENCH_DEVICE_FD);
	(void)setenv("HV_KVP_DIR", path_of(work_dir, "pools"), 1);
	(void)setenv("LD_PRELOAD", path_of(build, library), 1);
	begin_ns = clock_monotonic_ns();
	s->pid = bench_spawn(argv, path_of(work_dir, "stock.log"), pair[1], SIGTERM);
	(void)unsetenv("LD_PRELOAD");
	(void)close(pair[1]);
	s->fd = pair[0];
	n = wait_readable(s->fd) ? recv(s->fd, message, sizeof(message), 0) : -1;
	ms = ms_since(begin_ns);
	if (strcmp(s->device, "KVP") != 0)
		n = n < DEVICE_VERSION_SIZE ? -1 : DEVICE_VERSION_SIZE;
	if (n <= 0 || send(s->fd, message, (size_t)n, MSG_NOSIGNAL) != n)
		bench_die(s->program, EPROTO);
	return ms;
}

static double start_ga(struct subject *s)
{
	static const char ping[] = "{\"execute\":\"guest-ping\"}\n";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *const argv[] = {
		s->program, "-m", "unix-listen", "-p", address.sun_path, "-t", work_dir, "-f",
		path_of(work_dir, "qemu-ga.pid"), NULL,
	};
	uint64_t begin_ns = clock_monotonic_ns();
	char answer[64];

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/qemu-ga.sock", work_dir);
	(void)unlink(address.sun_path);
	s->pid = bench_spawn(argv, path_of(work_dir, "qemu-ga.log"), -1, SIGTERM);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (connect(s->fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		if (ms_since(begin_ns) > READY_TIMEOUT_MS)
			bench_die(s->program, ETIMEDOUT);
		usleep(100);
	}
	if (write(s->fd, ping, strlen(ping)) < 0 || !wait_readable(s->fd) ||
	    read(s->fd, answer, sizeof(answer)) <= 0)
		bench_die(s->program, EPROTO);
	return ms_since(begin_ns);
}

static void stop(struct subject *s)
{
	bench_end(s->pid);
	s->fd = close_fd(s->fd);
}

/* Groups of them, side by side. */

enum group {
	HVGUEST,
	HV_DAEMONS,
	QEMU_GA,
	GROUPS,
};

static const struct {
	const char *name;
	size_t first, n; /* of subjects */
} groups[GROUPS] = {
	[HVGUEST] = {"hvguest", 0, 1},
	[HV_DAEMONS] = {"hv_daemons", 1, 3},
	[QEMU_GA] = {"qemu_ga", 4, 1},
};

static bool is_there(enum group group)
{
	for (size_t i = 0; i < groups[group].n; i++) {
		const char *program = subjects[groups[group].first + i].program;

		if (program && access(program, X_OK) < 0)
			return false;
	}
	return true;
}

static double start_group(enum group group)
{
	double ms = 0;

	for (size_t i = 0; i < groups[group].n; i++) {
		struct subject *s = &subjects[groups[group].first + i];

		ms += s->start(s);
	}
	return ms;
}

static void stop_group(enum group group)
{
	for (size_t i = 0; i < groups[group].n; i++)
		stop(&subjects[groups[group].first + i]);
}

/* What processes have used so far, by the name of the program. */

enum measure {
	CPU,
	WAKEUPS,
	PRIVATE,
	PSS,
	MEASURES,
};

static const struct {
	const char *name, *unit;
	bool is_total; /* the difference of two looks counts */
} measures[MEASURES] = {
	[CPU] = {"idle_cpu_percent", "%", true},
	[WAKEUPS] = {"idle_wakeups_per_s", "/s", true},
	[PRIVATE] = {"idle_private_kib", "KiB", false},
	[PSS] = {"idle_pss_kib", "KiB", false},
};

static const struct {
	const char *comm; /* as the kernel cuts it */
	enum group group;
	const char *name; /* of a part that has its own lines */
} parts[] = {
	{"hvguestd", HVGUEST, "hvguestd"},
	{"hvguest-freezer", HVGUEST, "freezer"},
	{"hvguest-keeper", HVGUEST, "keeper"},
	{"hv_kvp_daemon", HV_DAEMONS, NULL},
	{"hv_vss_daemon", HV_DAEMONS, NULL},
	{"hv_fcopy_daemon", HV_DAEMONS, NULL},
	{"qemu-ga", QEMU_GA, NULL},
};

enum {
	PARTS = sizeof(parts) / sizeof(parts[0]),
};

struct usage {
	double of[PARTS][MEASURES];
};

/* The number behind @key in a file of /proc, the sum of all such lines. */
static uint64_t sum_of(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	uint64_t sum = 0, value;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0 &&
		    sscanf(line + strlen(key), " %" SCNu64, &value) == 1)
			sum += value;
	if (file)
		(void)fclose(file);
	return sum;
}

static void add_threads(pid_t pid, double usage[MEASURES])
{
	struct dirent *entry;
	char path[320];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", pid, entry->d_name);
		usage[CPU] += (double)sum_of(path, "") / 1e7; /* percent of a second */
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/status", pid, entry->d_name);
		usage[WAKEUPS] += (double)sum_of(path, "voluntary_ctxt_switches:");
	}
	if (dir)
		(void)closedir(dir);
}

/* Is it ours, directly or by those that it was started by? */
static bool is_descendant(pid_t pid)
{
	char path[64];

	for (int depth = 0; depth < 16 && pid > 1; depth++) {
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		pid = (pid_t)sum_of(path, "PPid:");
		if (pid == getpid())
			return true;
	}
	return false;
}

/* PARTS: none of those that are measured. */
static size_t part_of(pid_t pid)
{
	char path[64], comm[32] = "";
	size_t part = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (file) {
		if (!fgets(comm, sizeof(comm), file))
			comm[0] = '\0';
		(void)fclose(file);
	}
	comm[strcspn(comm, "\n")] = '\0';
	while (part < PARTS && strcmp(comm, parts[part].comm) != 0)
		part++;
	return part < PARTS && is_descendant(pid) ? part : PARTS;
}

static struct usage look(void)
{
	struct usage usage = {0};
	struct dirent *entry;
	char path[64];
	DIR *dir = opendir("/proc");

	while (dir && (entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		size_t part = pid > 0 ? part_of(pid) : PARTS;

		if (part == PARTS)
			continue;
		add_threads(pid, usage.of[part]);
		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
		usage.of[part][PRIVATE] += (double)sum_of(path, "Private_Dirty:");
		usage.of[part][PSS] += (double)sum_of(path, "Pss:");
	}
	if (dir)
		(void)closedir(dir);
	return usage;
}

static void measure_start(const bool *there)
{
	struct bench_series start[GROUPS] = {0};
	char name[64];

	for (uint64_t i = bench_choose(21, 5, 2); i > 0; i--)
		for (int g = 0; g < GROUPS; g++) {
			if (!there[g])
				continue;
			bench_add(&start[g], start_group((enum group)g));
			stop_group((enum group)g);
		}
	if (bench_median(&start[HVGUEST]) == 0) {
		bench_skip("start_ready_*", "built without systemd: nobody is told");
		return;
	}
	bench_print("start_ready_ms", &start[HVGUEST], "ms", BENCH_SMALLER);
	for (int g = HV_DAEMONS; g < GROUPS; g++) {
		snprintf(name, sizeof(name), "start_ready_ms_%s", groups[g].name);
		bench_print(name, &start[g], "ms", BENCH_SMALLER);
		snprintf(name, sizeof(name), "start_ready_vs_%s", groups[g].name);
		bench_print_ratio(name, &start[HVGUEST], &start[g], BENCH_SMALLER);
	}
}

/* @begin and @end: what was used until then, @s seconds from one to the other. */
static void add_sample(struct bench_series of_parts[PARTS][MEASURES],
		       struct bench_series of_groups[GROUPS][MEASURES], const struct usage *begin,
		       const struct usage *end, double s)
{
	for (int m = 0; m < MEASURES; m++) {
		double sums[GROUPS] = {0};

		for (size_t part = 0; part < PARTS; part++) {
			double value = end->of[part][m];

			if (measures[m].is_total)
				value = (value - begin->of[part][m]) / s;
			bench_add(&of_parts[part][m], value);
			sums[parts[part].group] += value;
		}
		for (int g = 0; g < GROUPS; g++)
			bench_add(&of_groups[g][m], sums[g]);
	}
}

static void print_measure(const bool *there, struct bench_series of_parts[PARTS][MEASURES],
			  struct bench_series of_groups[GROUPS][MEASURES], enum measure m)
{
	char name[96];

	bench_print(measures[m].name, &of_groups[HVGUEST][m], measures[m].unit, BENCH_SMALLER);
	for (size_t part = 0; part < PARTS; part++) {
		if (!parts[part].name)
			continue;
		snprintf(name, sizeof(name), "%s_%s", measures[m].name, parts[part].name);
		bench_print(name, &of_parts[part][m], measures[m].unit, BENCH_SMALLER);
	}
	for (int g = HV_DAEMONS; g < GROUPS; g++) {
		if (!there[g])
			continue;
		snprintf(name, sizeof(name), "%s_%s", measures[m].name, groups[g].name);
		bench_print(name, &of_groups[g][m], measures[m].unit, BENCH_SMALLER);
		if (measures[m].is_total)
			continue; /* theirs is 0 */
		snprintf(name, sizeof(name), "%s_vs_%s", measures[m].name, groups[g].name);
		bench_print_ratio(name, &of_groups[HVGUEST][m], &of_groups[g][m], BENCH_SMALLER);
	}
}

/* All of them at once: who does nothing disturbs nobody. */
static void measure_idle(const bool *there)
{
	static struct bench_series of_parts[PARTS][MEASURES], of_groups[GROUPS][MEASURES];
	/*
	 * Whole multiples of the time between what wakes: a report each second, a heartbeat each two. The
	 * host's time, each five, is within one window and not within the next.
	 */
	unsigned int window_s = (unsigned int)bench_choose(4, 2, 1);

	for (int g = 0; g < GROUPS; g++)
		if (there[g])
			(void)start_group((enum group)g);
	sleep((unsigned int)bench_choose(SETTLE_S, SETTLE_S, 1));
	for (uint64_t i = bench_choose(7, 3, 2); i > 0; i--) {
		uint64_t begin_ns = clock_monotonic_ns();
		struct usage begin = look(), end;

		sleep(window_s);
		end = look();
		add_sample(of_parts, of_groups, &begin, &end, ms_since(begin_ns) / 1e3);
	}
	for (int g = 0; g < GROUPS; g++)
		if (there[g])
			stop_group((enum group)g);
	for (int m = 0; m < MEASURES; m++)
		print_measure(there, of_parts, of_groups, (enum measure)m);
}

int main(int argc, char **argv)
{
	bool there[GROUPS];
	char name[64];

	if (argc != 2) {
		fputs("usage: bench-daemon BUILD\n", stderr);
		return 2;
	}
	if (geteuid() != 0) {
		bench_skip("idle_*", "needs root");
		bench_skip("start_ready_*", "needs root");
		return 0;
	}
	build = argv[1];
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int g = 0; g < GROUPS; g++) {
		there[g] = is_there((enum group)g);
		snprintf(name, sizeof(name), "*_%s*", groups[g].name);
		if (!there[g])
			bench_skip(name, "not installed");
	}
	bench_make_dir(true, work_dir);
	start_host(); /* before there is somebody that it could tell */
	open_notify();
	measure_start(there);
	measure_idle(there);
	bench_end(host_pid);
	(void)close(notify_fd);
	bench_remove_dir(work_dir);
	return 0;
}
