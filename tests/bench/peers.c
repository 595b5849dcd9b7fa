/* SPDX-License-Identifier: MIT */

/*
 * The peers of a freeze, as processes of their own, with the side that asks them played here.
 *
 *   hvguest        a lab host in this process: FREEZE and THAW over a ring
 *   hv_vss_daemon  the kernel's character device, played by a socket (standin/hv_vss_device.c)
 *   qemu-ga        guest-fsfreeze-freeze and -thaw over a Unix socket
 *   fsfreeze       one process for each file system, the newest mount first
 *   syncfs         one thread of this process for each file system; nothing is frozen
 *
 * A peer that does not answer ends the benchmark, at the latest when its watchdog thaws.
 */

#include "tests/bench/peers.h"

#include "base/cleanup.h"
#include "host/ic_client.h"
#include "host/lab.h"
#include "tests/bench/bench.h"
#include "vss/vss_wire.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define GA_SOCKET "/run/qemu-ga.sock"

enum {
	PATIENCE_S = 60,
	NOTHING_US = 20000,
	SYNCS_MAX = 128,
	VSS_REGISTER1 = 129, /* Linux include/uapi/linux/hyperv.h */
};

bool peer_exists(const struct peer_ops *peer)
{
	return access(peer->program, X_OK) == 0;
}

/* They end with this process: what is frozen then, its watchdog thaws. */
static pid_t spawn(const char *const *argv, const char *log, int fd)
{
	return bench_spawn(argv, log, fd, SIGKILL);
}

static void end_process(pid_t *pid)
{
	if (*pid > 0)
		bench_end(*pid);
	*pid = 0;
}

/* hvguestd, and its host: two of them, one that may have the kernel hurry and one that may not. */

static struct host {
	const char *name;
	const char *socket;
	const char *run_dir;
	const char *expedite;
	struct event_base *base;
	struct lab *lab;
	struct lab_guest *guest;
	struct ic_client channel;
	pid_t pid;
	bool ready;
	bool answered;
	uint32_t status;
} hosts[] = {
	{.name = "bench", .socket = "/run/lab.sock", .run_dir = "/run/guest", .expedite = "yes"},
	{.name = "plain", .socket = "/run/plain.sock", .run_dir = "/run/plain", .expedite = "no"},
};

static enum shm_status on_hello(void *user, struct lab_guest *guest, const char *name,
				uint64_t memory_pages, void **ret_context)
{
	struct host *host = user;

	(void)name;
	(void)memory_pages;
	*ret_context = host;
	host->guest = guest;
	return SHM_OK;
}

static void on_welcome(void *context)
{
	struct host *host = context;

	if (lab_offer(host->guest, &vmbus_class_vss))
		bench_die("offering VSS", EPROTO);
}

static void on_open(void *context, const struct vmbus_guid *class_id, struct vmbus_port *take_port)
{
	struct host *host = context;

	(void)class_id;
	if (ic_client_open(&host->channel, host->base, take_port))
		bench_die("VSS channel", EPROTO);
}

static void on_gone(void *context)
{
	struct host *host = context;

	ic_client_close(&host->channel);
	host->ready = false;
}

static void on_close(void *context, const struct vmbus_guid *class_id)
{
	(void)class_id;
	on_gone(context);
}

static void on_ready(void *self)
{
	struct host *host = self;

	host->ready = true;
	event_base_loopbreak(host->base);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct host *host = self;

	host->answered = true;
	host->status = response->status;
	event_base_loopbreak(host->base);
}

static void on_failure(void *self)
{
	(void)self;
	bench_die("VSS channel", EPROTO);
}

/* The watchdog of bench-freeze has the time limit. */
static void run_until(struct host *host, const bool *done, const char *what)
{
	while (!*done)
		if (event_base_loop(host->base, EVLOOP_ONCE) != 0)
			bench_die(what, EPROTO);
}

static void open_host(struct host *host)
{
	static const struct lab_ops lab_ops = {
		.on_hello = on_hello,
		.on_ready = on_welcome,
		.on_open = on_open,
		.on_close = on_close,
		.on_gone = on_gone,
	};
	static const struct ic_client_user user = {on_ready, on_failure, on_response, on_failure};

	host->base = event_base_new();
	if (!host->base || lab_new(host->base, host->socket, &lab_ops, host, &host->lab))
		bench_die("lab host", EPROTO);
	ic_client_init(&host->channel, &ic_service_vss, &user, host);
}

static void start_hvguest(struct host *host)
{
	/* The knob is the whole machine's: not in a test beside others. */
	const char *expedite = bench_mode() == BENCH_MINIMAL ? "no" : host->expedite;
	const char *const argv[] = {
		"/bin/hvguestd", "--lab", host->socket, "--name", host->name, "--run-dir",
		host->run_dir, "--freezer", "/bin/hvguest-freezer", "--freeze-roots",
		PEERS_MOUNTS, "--expedite", expedite, "--memory", "no", NULL,
	};

	open_host(host);
	host->pid = spawn(argv, "/run/hvguestd.log", -1);
	run_until(host, &host->ready, "hvguestd does not connect");
}

static void stop_hvguest(struct host *host)
{
	end_process(&host->pid);
	ic_client_close(&host->channel);
	host->lab = lab_free(host->lab);
	event_base_free(host->base);
	host->base = NULL;
	host->ready = false;
}

static bool ask_hvguest(struct host *host, enum vss_operation operation)
{
	uint8_t message[VSS_MESSAGE_MIN_SIZE] = {operation};

	host->answered = false;
	if (!ic_client_request(&host->channel, message, sizeof(message)))
		bench_die("hvguestd takes no request", EPROTO);
	run_until(host, &host->answered, "hvguestd does not answer");
	return host->status == IC_S_OK;
}

static void start_expedited(void)
{
	start_hvguest(&hosts[0]);
}

static void stop_expedited(void)
{
	stop_hvguest(&hosts[0]);
}

static bool freeze_expedited(size_t n)
{
	(void)n;
	return ask_hvguest(&hosts[0], VSS_OP_FREEZE);
}

static bool thaw_expedited(size_t n)
{
	(void)n;
	return ask_hvguest(&hosts[0], VSS_OP_THAW);
}

void peers_kill_hvguestd(void)
{
	(void)kill(hosts[0].pid, SIGKILL);
}

const struct peer_ops peer_hvguest = {
	.name = "hvguest",
	.program = "/bin/hvguestd",
	.start = start_expedited,
	.stop = stop_expedited,
	.freeze = freeze_expedited,
	.thaw = thaw_expedited,
};

static void start_plain(void)
{
	start_hvguest(&hosts[1]);
}

static void stop_plain(void)
{
	stop_hvguest(&hosts[1]);
}

static bool freeze_plain(size_t n)
{
	(void)n;
	return ask_hvguest(&hosts[1], VSS_OP_FREEZE);
}

static bool thaw_plain(size_t n)
{
	(void)n;
	return ask_hvguest(&hosts[1], VSS_OP_THAW);
}

const struct peer_ops peer_hvguest_plain = {
	.name = "no_expedite",
	.program = "/bin/hvguestd",
	.start = start_plain,
	.stop = stop_plain,
	.freeze = freeze_plain,
	.thaw = thaw_plain,
};

/* Peers behind a socket. */

static void wait_readable(int fd, const char *what)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (poll(&p, 1, PATIENCE_S * 1000) != 1)
		bench_die(what, ETIMEDOUT);
}

static struct {
	int fd;
	pid_t pid;
} vss;

static ssize_t vss_receive(uint32_t words[3])
{
	wait_readable(vss.fd, "hv_vss_daemon does not answer");
	return recv(vss.fd, words, 3 * sizeof(words[0]), 0);
}

/* Linux drivers/hv/hv_snapshot.c: the daemon registers, and is told 129 in four bytes. */
static void start_hv_vss(void)
{
	static const char *const argv[] = {"/usr/sbin/hv_vss_daemon", "-n", NULL};
	const uint32_t registered = VSS_REGISTER1;
	uint32_t words[3];
	int pair[2];
	char fd[8];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		bench_die("socketpair", errno);
	vss.fd = pair[0];
	snprintf(fd, sizeof(fd), "%d", BENCH_DEVICE_FD);
	(void)setenv("HV_VSS_FD", fd, 1);
	(void)setenv("LD_PRELOAD", "/bin/hv_vss_device.so", 1);
	vss.pid = spawn(argv, "/run/hv_vss_daemon.log", pair[1]);
	(void)unsetenv("LD_PRELOAD");
	(void)close(pair[1]);
	if (vss_receive(words) != sizeof(words) || (words[0] & 0xff) != VSS_REGISTER1 ||
	    send(vss.fd, &registered, sizeof(registered), 0) != sizeof(registered))
		bench_die("hv_vss_daemon does not register", EPROTO);
}

static void stop_hv_vss(void)
{
	end_process(&vss.pid);
	vss.fd = close_fd(vss.fd);
}

static bool ask_hv_vss(enum vss_operation operation)
{
	uint32_t words[3] = {operation};

	if (send(vss.fd, words, sizeof(words), 0) != sizeof(words) ||
	    vss_receive(words) != sizeof(words))
		bench_die("hv_vss_daemon", EPROTO);
	return words[0] == 0;
}

static bool freeze_hv_vss(size_t n)
{
	(void)n;
	return ask_hv_vss(VSS_OP_FREEZE);
}

static bool thaw_hv_vss(size_t n)
{
	(void)n;
	return ask_hv_vss(VSS_OP_THAW);
}

const struct peer_ops peer_hv_vss = {
	.name = "hv_vss_daemon",
	.program = "/usr/sbin/hv_vss_daemon",
	.start = start_hv_vss,
	.stop = stop_hv_vss,
	.freeze = freeze_hv_vss,
	.thaw = thaw_hv_vss,
	.skips_loops = true,
};

static struct {
	int fd;
	pid_t pid;
} ga;

static int connect_ga(void)
{
	const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = GA_SOCKET};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (int i = 0; i < PATIENCE_S * 100; i++) {
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		usleep(10000);
	}
	bench_die("qemu-ga does not listen", ETIMEDOUT);
}

/* True if the answer is not an error; it is one line. */
static bool ask_ga(const char *command)
{
	char request[64], answer[512];
	size_t n = 0;

	snprintf(request, sizeof(request), "{\"execute\":\"%s\"}\n", command);
	if (write(ga.fd, request, strlen(request)) != (ssize_t)strlen(request))
		bench_die("qemu-ga", errno);
	do {
		ssize_t got;

		wait_readable(ga.fd, "qemu-ga does not answer");
		got = read(ga.fd, answer + n, sizeof(answer) - 1 - n);
		if (got <= 0)
			bench_die("qemu-ga", EPROTO);
		n += (size_t)got;
	} while (answer[n - 1] != '\n' && n < sizeof(answer) - 1);
	answer[n] = '\0';
	return strstr(answer, "\"return\"") != NULL;
}

static void start_ga(void)
{
	static const char *const argv[] = {"/usr/sbin/qemu-ga", "-m", "unix-listen", "-p", GA_SOCKET,
					   "-t", "/run", "-f", "/run/qemu-ga.pid", NULL};

	(void)unlink(GA_SOCKET);
	ga.pid = spawn(argv, "/run/qemu-ga.log", -1);
	ga.fd = connect_ga();
	if (!ask_ga("guest-ping"))
		bench_die("qemu-ga", EPROTO);
}

static void stop_ga(void)
{
	ga.fd = close_fd(ga.fd);
	end_process(&ga.pid);
}

static bool freeze_ga(size_t n)
{
	(void)n;
	return ask_ga("guest-fsfreeze-freeze");
}

static bool thaw_ga(size_t n)
{
	(void)n;
	return ask_ga("guest-fsfreeze-thaw");
}

const struct peer_ops peer_qemu_ga = {
	.name = "qemu_ga",
	.program = "/usr/sbin/qemu-ga",
	.start = start_ga,
	.stop = stop_ga,
	.freeze = freeze_ga,
	.thaw = thaw_ga,
};

/* fsfreeze. */

static void nothing(void)
{
}

static bool run_fsfreeze(const char *option, size_t i)
{
	char folder[32];
	const char *const argv[] = {"/usr/sbin/fsfreeze", option, folder, NULL};
	int status;

	snprintf(folder, sizeof(folder), PEERS_MOUNTS "/%zu", i);
	return waitpid(spawn(argv, "/run/fsfreeze.log", -1), &status, 0) > 0 && status == 0;
}

static bool freeze_fsfreeze(size_t n)
{
	bool ok = true;

	while (n-- > 0)
		ok &= run_fsfreeze("--freeze", n);
	return ok;
}

static bool thaw_fsfreeze(size_t n)
{
	bool ok = true;

	for (size_t i = 0; i < n; i++)
		ok &= run_fsfreeze("--unfreeze", i);
	return ok;
}

const struct peer_ops peer_fsfreeze = {
	.name = "fsfreeze",
	.program = "/usr/sbin/fsfreeze",
	.start = nothing,
	.stop = nothing,
	.freeze = freeze_fsfreeze,
	.thaw = thaw_fsfreeze,
};

/* Who only writes back, and nobody. */

static bool thaw_nothing(size_t n)
{
	(void)n;
	return true;
}

static void *sync_main(void *user)
{
	_cleanup_close_ int fd = -1;
	char folder[32];

	snprintf(folder, sizeof(folder), PEERS_MOUNTS "/%zu", (size_t)(uintptr_t)user);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		bench_die(folder, errno);
	return NULL;
}

static bool sync_all(size_t n)
{
	pthread_t threads[SYNCS_MAX];

	if (n > SYNCS_MAX)
		bench_die("syncfs", E2BIG);
	for (size_t i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, sync_main, (void *)(uintptr_t)i))
			bench_die("syncfs", EAGAIN);
	for (size_t i = 0; i < n; i++)
		(void)pthread_join(threads[i], NULL);
	return true;
}

const struct peer_ops peer_syncfs = {
	.name = "syncfs",
	.program = "/bin/hvguestd",
	.start = nothing,
	.stop = nothing,
	.freeze = sync_all,
	.thaw = thaw_nothing,
};

static bool freeze_nothing(size_t n)
{
	(void)n;
	usleep(NOTHING_US);
	return true;
}

const struct peer_ops peer_nobody = {
	.name = "nobody",
	.program = "/bin/hvguestd",
	.start = nothing,
	.stop = nothing,
	.freeze = freeze_nothing,
	.thaw = thaw_nothing,
};
