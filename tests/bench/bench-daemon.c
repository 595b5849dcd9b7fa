/* SPDX-License-Identifier: MIT */

/*
 * bench-daemon BUILD: what hvguestd costs when nothing happens: a host in the lab, all services, one
 * memory report each second.
 *
 *   start_ready_ms        from exec to readiness as the service manager is told it
 *   idle_cpu_percent      of one processor: the daemon, its freezer and its keeper together
 *   idle_wakeups_per_s    times a thread of theirs went to sleep by itself
 *   idle_private_kib      memory that belongs to none but them
 *
 * A helper may leave the daemon; so this process adopts whatever its children leave, and counts all
 * of its descendants but the host.
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
};

static char work_dir[] = "/dev/shm/hvguest-bench.XXXXXX";
static const char *build;
static pid_t host_pid, daemon_pid;

/* DIR/NAME, valid until PATHS more were asked for. */
static const char *path_of(const char *dir, const char *name)
{
	static char paths[PATHS][512];
	static size_t next;
	char *path = paths[next++ % PATHS];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static pid_t spawn(const char *const *argv, const char *log)
{
	union {
		const char *const *in;
		char *const *out;
	} arguments = {.in = argv};
	pid_t pid = fork();
	int fd;

	if (pid < 0)
		bench_die("fork", errno);
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	(void)dup2(fd, STDOUT_FILENO);
	(void)dup2(fd, STDERR_FILENO);
	execv(argv[0], arguments.out);
	_exit(127);
}

static void end_process(pid_t pid)
{
	(void)kill(pid, SIGTERM);
	(void)waitpid(pid, NULL, 0);
}

static void start_host(void)
{
	const char *socket_path = path_of(work_dir, "lab.sock");
	/* Nobody's memory is to be asked for while it is measured. */
	const char *const argv[] = {path_of(build, "host/hvhost"), "serve", "--run-dir", work_dir,
				    "--first-action", "3600", NULL};

	host_pid = spawn(argv, path_of(work_dir, "hvhost.log"));
	for (int i = 0; i < READY_TIMEOUT_MS / 10; i++) {
		if (access(socket_path, F_OK) == 0)
			return;
		usleep(10000);
	}
	bench_die("hvhost does not start", ETIMEDOUT);
}

/* Where the daemon says that it is ready; sd_notify(3). */
static int open_notify(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", work_dir);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setenv("NOTIFY_SOCKET", address.sun_path, 1) < 0)
		bench_die("notify socket", errno);
	return fd;
}

/* Milliseconds from exec to readiness; 0 if the daemon does not tell. */
static double start_daemon(int notify_fd)
{
	const char *const argv[] = {
		path_of(build, "daemon/hvguestd"), "--lab", path_of(work_dir, "lab.sock"), "--name",
		"bench", "--run-dir", path_of(work_dir, "guest"), "--freezer",
		path_of(build, "fsfreeze/hvguest-freezer"), "--keeper",
		path_of(build, "balloon/hvguest-keeper"), NULL,
	};
	struct pollfd p = {.fd = notify_fd, .events = POLLIN};
	uint64_t begin_ns = clock_monotonic_ns();
	char message[256];

	daemon_pid = spawn(argv, path_of(work_dir, "hvguestd.log"));
	while (poll(&p, 1, READY_TIMEOUT_MS) == 1) {
		ssize_t n = recv(notify_fd, message, sizeof(message) - 1, 0);

		message[n > 0 ? n : 0] = '\0';
		if (strstr(message, "READY=1"))
			return (double)(clock_monotonic_ns() - begin_ns) / 1e6;
	}
	return 0;
}

/* What the processes have used so far. */
struct usage {
	uint64_t cpu_ns;
	uint64_t sleeps;
	uint64_t private_kib;
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

static void add_threads(pid_t pid, struct usage *usage)
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
		usage->cpu_ns += sum_of(path, "");
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/status", pid, entry->d_name);
		usage->sleeps += sum_of(path, "voluntary_ctxt_switches:");
	}
	if (dir)
		(void)closedir(dir);
}

static pid_t parent_of(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return (pid_t)sum_of(path, "PPid:");
}

/* True for the daemon and what it or its helpers have started. */
static bool is_counted(pid_t pid)
{
	pid_t self = getpid();

	for (int depth = 0; depth < 16 && pid > 1; depth++) {
		if (pid == host_pid)
			return false;
		if (parent_of(pid) == self)
			return true;
		pid = parent_of(pid);
	}
	return false;
}

static struct usage look(void)
{
	struct usage usage = {0};
	struct dirent *entry;
	char path[64];
	DIR *dir = opendir("/proc");

	while (dir && (entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid <= 0 || !is_counted(pid))
			continue;
		add_threads(pid, &usage);
		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
		usage.private_kib += sum_of(path, "Private_Clean:") + sum_of(path, "Private_Dirty:");
	}
	if (dir)
		(void)closedir(dir);
	return usage;
}

static void measure_start(int notify_fd)
{
	struct bench_series start = {0};

	for (uint64_t i = bench_choose(21, 9, 2); i > 0; i--) {
		double ms = start_daemon(notify_fd);

		end_process(daemon_pid);
		if (ms == 0) {
			bench_skip("start_ready_ms", "built without systemd: nobody is told");
			return;
		}
		bench_add(&start, ms);
	}
	bench_print("start_ready_ms", &start, "ms", BENCH_SMALLER);
}

static void measure_idle(int notify_fd)
{
	struct bench_series cpu = {0}, sleeps = {0}, private = {0};
	uint64_t seconds = bench_choose(30, 10, 2);

	(void)start_daemon(notify_fd);
	sleep(bench_choose(SETTLE_S, SETTLE_S, 1));
	for (uint64_t i = 0; i < seconds; i++) {
		uint64_t begin_ns = clock_monotonic_ns();
		struct usage before = look(), after;
		double s;

		sleep(1);
		after = look();
		s = (double)(clock_monotonic_ns() - begin_ns) / 1e9;
		bench_add(&cpu, (double)(after.cpu_ns - before.cpu_ns) / 1e7 / s);
		bench_add(&sleeps, (double)(after.sleeps - before.sleeps) / s);
		bench_add(&private, (double)after.private_kib);
	}
	end_process(daemon_pid);
	bench_print("idle_cpu_percent", &cpu, "%", BENCH_SMALLER);
	bench_print("idle_wakeups_per_s", &sleeps, "/s", BENCH_SMALLER);
	bench_print("idle_private_kib", &private, "KiB", BENCH_SMALLER);
}

static void remove_work_dir(void)
{
	char command[sizeof(work_dir) + 16];

	snprintf(command, sizeof(command), "rm -rf %s", work_dir);
	(void)!system(command);
}

int main(int argc, char **argv)
{
	int notify_fd;

	if (argc != 2) {
		fputs("usage: bench-daemon BUILD\n", stderr);
		return 2;
	}
	if (geteuid() != 0) {
		bench_skip("idle_*", "needs root");
		bench_skip("start_ready_ms", "needs root");
		return 0;
	}
	build = argv[1];
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!mkdtemp(work_dir))
		bench_die(work_dir, errno);
	notify_fd = open_notify();
	start_host();
	measure_start(notify_fd);
	measure_idle(notify_fd);
	end_process(host_pid);
	(void)close(notify_fd);
	remove_work_dir();
	return 0;
}
