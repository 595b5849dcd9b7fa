/* SPDX-License-Identifier: MIT */

/*
 * bench-fcopy BUILD: a file of 128 MiB from the host to the guest's disk, in the protocol's
 * fragments of 6 KiB.
 *
 *   hvguest          hvguestd with a lab host in this process, over a ring; the file is on disk, and
 *                    its SHA-256 known, when COMPLETE is answered
 *   hv_fcopy         what Linux tools/hv/hv_fcopy_uio_daemon.c does, over the same ring: it sleeps for
 *                    each packet, copies it out, writes the fragment with pwrite(), sends the packet
 *                    back and signals; nothing is synced
 *   hv_fcopy_daemon  the daemon of Debian's package, over a socket in place of its character device; the
 *                    kernel's part, ring and framing, is not in it
 *
 * The host is on the first processor, the guest with all its threads on the second, as a host is on
 * another than its guest. CPU is that of the guest's process, spinning included, for each fragment.
 * fcopy_cpu_sha256_alone is what SHA-256 costs of that, a limit for whoever makes a receipt, and
 * fcopy_cpu_less_sha256 the rest: the peers sum up nothing. fcopy_cpu_sha256_limit is what the rounds
 * of SHA-256 take in the processor's own instructions, with nothing around them: each needs what the
 * last one made, so no other code sums up one stream of bytes faster.
 */

#include "base/clock.h"
#include "base/sha256.h"
#include "host/ic_client.h"
#include "host/lab.h"
#include "services/fcopy_wire.h"
#include "tests/bench/bench.h"
#include "tests/bench/standin/hv_ring.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

enum {
	RING_SIZE = 20480,
	PATHS = 16,
	WAIT_S = 60,
};

static const char *build;
static char folder[BENCH_PATH_MAX], run_dir[BENCH_PATH_MAX];
static uint64_t n_fragments;
static uint8_t fragment[FCOPY_FRAGMENT_MAX];
static int cpus[2];

/* One run. */
struct sample {
	double mb_per_s;
	double cpu_us; /* for each fragment */
};

static const char *path_of(const char *dir, const char *name)
{
	static char paths[PATHS][512];
	static size_t next;
	char *path = paths[next++ % PATHS];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static double cpu_seconds(pid_t pid)
{
	struct timespec t = {0};
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
		bench_die("clock of a process", ESRCH);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* On the guest's processor. */
static pid_t spawn(const char *const *argv, const char *log, int fd)
{
	pid_t pid;

	bench_use_cpu(cpus[1]);
	pid = bench_spawn(argv, log, fd, SIGTERM);
	bench_use_cpu(cpus[0]);
	return pid;
}

static struct sample sample_of(uint64_t begin_ns, double cpu)
{
	double seconds = (double)(clock_monotonic_ns() - begin_ns) / 1e9;

	return (struct sample){
		.mb_per_s = (double)n_fragments * sizeof(fragment) / 1e6 / seconds,
		.cpu_us = cpu * 1e6 / (double)n_fragments,
	};
}

/* The host's end of a channel: START, fragments, COMPLETE, each after the answer to the last. */

static struct host {
	struct event_base *base;
	struct lab *lab;
	struct lab_guest *guest;
	struct ic_client channel;
	bool ready, ended;
	uint64_t next; /* 0: START; then fragments; then COMPLETE */
} host;

static void send_next(void)
{
	uint8_t message[FCOPY_WRITE_SIZE];
	size_t n = FCOPY_HEADER_SIZE;
	uint64_t number = host.next++;

	if (number == 0) {
		n = FCOPY_START_SIZE;
		if (fcopy_encode_start(folder, "file", FCOPY_FLAG_OVERWRITE,
				       n_fragments * sizeof(fragment), message))
			bench_die("the folder's name", EINVAL);
	} else if (number <= n_fragments) {
		n = FCOPY_WRITE_SIZE;
		fcopy_encode_write((number - 1) * sizeof(fragment), fragment, sizeof(fragment), message);
	} else {
		fcopy_encode_operation(FCOPY_OP_COMPLETE, message);
	}
	if (!ic_client_request(&host.channel, message, n))
		bench_die("the guest takes no request", EPROTO);
}

static void on_channel_ready(void *self)
{
	(void)self;
	host.ready = true;
	event_base_loopbreak(host.base);
}

static void on_response(void *self, const struct ic_response *response)
{
	(void)self;
	if (response->status != IC_S_OK)
		bench_die("the guest refuses", EPROTO);
	host.ended = host.next == n_fragments + 2;
	if (host.ended)
		event_base_loopbreak(host.base);
	else
		send_next();
}

static void on_failure(void *self)
{
	(void)self;
	bench_die("the channel", EPROTO);
}

static const struct ic_client_user channel_ops = {on_channel_ready, on_failure, on_response,
						  on_failure};

static void run_until(const bool *done)
{
	while (!*done)
		if (event_base_loop(host.base, EVLOOP_ONCE) != 0)
			bench_die("event loop", EPROTO);
}

static struct sample copy_over_ring(pid_t pid)
{
	double cpu = cpu_seconds(pid);
	uint64_t begin_ns = clock_monotonic_ns();

	host.next = 0;
	host.ended = false;
	send_next();
	run_until(&host.ended);
	return sample_of(begin_ns, cpu_seconds(pid) - cpu);
}

/* hvguest. */

static enum shm_status on_hello(void *user, struct lab_guest *guest, const char *name,
				uint64_t memory_pages, void **ret_context)
{
	(void)name;
	(void)memory_pages;
	host.guest = guest;
	*ret_context = user;
	return SHM_OK;
}

static void on_welcome(void *context)
{
	(void)context;
	if (lab_offer(host.guest, &vmbus_class_fcopy))
		bench_die("offering file copy", EPROTO);
}

static void on_open(void *context, const struct vmbus_guid *class_id, struct vmbus_port *take_port)
{
	(void)context;
	(void)class_id;
	if (ic_client_open(&host.channel, host.base, take_port))
		bench_die("file copy channel", EPROTO);
}

static void on_close(void *context, const struct vmbus_guid *class_id)
{
	(void)context;
	(void)class_id;
}

static void on_gone(void *context)
{
	(void)context;
	ic_client_close(&host.channel);
}

static struct sample run_hvguest(void)
{
	static const struct lab_ops lab_ops = {
		.on_hello = on_hello,
		.on_ready = on_welcome,
		.on_open = on_open,
		.on_close = on_close,
		.on_gone = on_gone,
	};
	const char *const argv[] = {
		path_of(build, "daemon/hvguestd"), "--lab", path_of(run_dir, "lab.sock"), "--name",
		"bench", "--run-dir", path_of(run_dir, "guest"), "--freezer",
		path_of(build, "fsfreeze/hvguest-freezer"), "--memory", "no", "--fcopy-roots", folder,
		NULL,
	};
	struct sample sample;
	pid_t pid;

	memset(&host, 0, sizeof(host));
	host.base = event_base_new();
	if (!host.base || lab_new(host.base, path_of(run_dir, "lab.sock"), &lab_ops, &host, &host.lab))
		bench_die("lab host", EPROTO);
	ic_client_init(&host.channel, &ic_service_fcopy, &channel_ops, &host);
	pid = spawn(argv, path_of(run_dir, "hvguestd.log"), -1);
	run_until(&host.ready);
	sample = copy_over_ring(pid);
	bench_end(pid);
	ic_client_close(&host.channel);
	host.lab = lab_free(host.lab);
	event_base_free(host.base);
	return sample;
}

/* hv_fcopy_uio_daemon's way. */

static uint32_t word_at(const uint8_t *bytes)
{
	uint32_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

/* What the service does with a message, behind the two headers. */
static void serve(const uint8_t *message, const char *path, int *fd)
{
	uint64_t offset;

	switch (word_at(message)) {
	case FCOPY_OP_START:
		*fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0744);
		break;
	case FCOPY_OP_WRITE:
		memcpy(&offset, message + 40, sizeof(offset));
		if (pwrite(*fd, message + FCOPY_DATA_OFFSET, word_at(message + 48), (off_t)offset) < 0)
			_exit(1);
		break;
	case FCOPY_OP_COMPLETE:
		*fd = close_fd(*fd);
		break;
	}
}

static void answer(uint8_t *payload, size_t *size, const char *path, int *fd)
{
	static struct ic_guest negotiator;
	uint32_t ok = IC_S_OK;

	if ((word_at(payload + IC_PIPE_HEADER_SIZE + 4) & 0xffff) == IC_NEGOTIATE) {
		ic_guest_init(&negotiator, &ic_service_fcopy);
		if (ic_guest_receive(&negotiator, payload, *size, 0) != IC_ANSWER)
			_exit(1);
		*size = (negotiator.size + 7) & ~(size_t)7;
		memcpy(payload, negotiator.buf, *size);
		return;
	}
	serve(payload + IC_HEADERS_SIZE, path, fd);
	memcpy(payload + IC_PIPE_HEADER_SIZE + 12, &ok, sizeof(ok));
	payload[IC_PIPE_HEADER_SIZE + 17] = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
}

static _Noreturn void standin_main(int fds[3])
{
	static _Alignas(8) uint8_t packet[16384];
	const char *path = path_of(folder, "file");
	struct vmbus_port port;
	struct hv_ring in, out;
	uint64_t count, one = 1;
	int fd = -1;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	bench_use_cpu(cpus[1]);
	if (vmbus_port_adopt(RING_SIZE, fds, &port) || fcntl(port.wait_fd, F_SETFL, 0) < 0)
		_exit(1);
	hv_ring_init(&out, port.map, RING_SIZE);
	hv_ring_init(&in, (uint8_t *)port.map + RING_SIZE, RING_SIZE);
	in.header->interrupt_mask = 0;
	for (;;) {
		uint32_t n;

		if (read(port.wait_fd, &count, sizeof(count)) != sizeof(count))
			_exit(1);
		while ((n = hv_ring_read(&in, packet, sizeof(packet))) > 0) {
			size_t size = n - sizeof(struct vmbus_packet_descriptor);

			answer(packet + sizeof(struct vmbus_packet_descriptor), &size, path, &fd);
			if (!hv_ring_write(&out, packet + sizeof(struct vmbus_packet_descriptor),
					   (uint32_t)size) ||
			    write(port.signal_fd, &one, sizeof(one)) != sizeof(one))
				_exit(1);
		}
	}
}

static struct sample run_standin(void)
{
	struct vmbus_port port;
	struct sample sample;
	int fds[3], r;
	pid_t pid;

	memset(&host, 0, sizeof(host));
	host.base = event_base_new();
	r = vmbus_port_create(RING_SIZE, &port, fds);
	if (!host.base || r)
		bench_die("rings", r);
	pid = fork();
	if (pid < 0)
		bench_die("fork", errno);
	if (pid == 0)
		standin_main(fds);
	for (int i = 0; i < 3; i++)
		close_fd(fds[i]);
	ic_client_init(&host.channel, &ic_service_fcopy, &channel_ops, &host);
	if (ic_client_open(&host.channel, host.base, &port))
		bench_die("file copy channel", EPROTO);
	run_until(&host.ready);
	sample = copy_over_ring(pid);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	ic_client_close(&host.channel);
	event_base_free(host.base);
	return sample;
}

/* Debian's daemon. */

static void ask_daemon(int fd, const void *message, size_t size)
{
	uint32_t status = 1;

	if (send(fd, message, size, 0) != (ssize_t)size ||
	    recv(fd, &status, sizeof(status), 0) != sizeof(status) || status != 0)
		bench_die("hv_fcopy_daemon", EPROTO);
}

static struct sample run_daemon(void)
{
	static const char *const argv[] = {"/usr/sbin/hv_fcopy_daemon", "-n", NULL};
	const struct timeval patience = {.tv_sec = WAIT_S};
	uint8_t message[FCOPY_WRITE_SIZE] = {FCOPY_OP_START};
	struct sample sample;
	uint64_t begin_ns;
	uint32_t version;
	double cpu;
	char fd[8];
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		bench_die("socketpair", errno);
	(void)setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	snprintf(fd, sizeof(fd), "%d", BENCH_DEVICE_FD);
	(void)setenv("HV_FCOPY_FD", fd, 1);
	(void)setenv("LD_PRELOAD", path_of(build, "tests/bench/hv_fcopy_device.so"), 1);
	pid = spawn(argv, path_of(run_dir, "hv_fcopy_daemon.log"), pair[1]);
	(void)unsetenv("LD_PRELOAD");
	(void)unsetenv("HV_FCOPY_FD");
	(void)close(pair[1]);
	if (recv(pair[0], &version, sizeof(version), 0) != sizeof(version) ||
	    send(pair[0], &version, sizeof(version), 0) != sizeof(version))
		bench_die("hv_fcopy_daemon does not register", EPROTO);

	snprintf((char *)message + FCOPY_HEADER_SIZE, FCOPY_NAME_SIZE, "file");
	snprintf((char *)message + FCOPY_HEADER_SIZE + FCOPY_NAME_SIZE, FCOPY_NAME_SIZE, "%s/", folder);
	message[FCOPY_START_SIZE - 12] = FCOPY_FLAG_OVERWRITE;
	cpu = cpu_seconds(pid);
	begin_ns = clock_monotonic_ns();
	ask_daemon(pair[0], message, FCOPY_START_SIZE);
	for (uint64_t i = 0; i < n_fragments; i++) {
		fcopy_encode_write(i * sizeof(fragment), fragment, sizeof(fragment), message);
		ask_daemon(pair[0], message, FCOPY_WRITE_SIZE);
	}
	fcopy_encode_operation(FCOPY_OP_COMPLETE, message);
	ask_daemon(pair[0], message, FCOPY_HEADER_SIZE);
	sample = sample_of(begin_ns, cpu_seconds(pid) - cpu);
	bench_end(pid);
	close_fd(pair[0]);
	return sample;
}

/* SHA-256 alone: what no guest that makes a receipt can go below. */
static double sha_us(void)
{
	char text[SHA256_TEXT_SIZE];
	struct sha256 *sha;
	double cpu;
	int r = sha256_new(&sha);

	if (r)
		bench_die("SHA-256", r);
	cpu = cpu_seconds(getpid());
	for (uint64_t i = 0; i < n_fragments; i++)
		sha256_add(sha, fragment, sizeof(fragment));
	cpu = cpu_seconds(getpid()) - cpu;
	sha256_finish(sha, text);
	(void)sha256_free(sha);
	return cpu * 1e6 / (double)n_fragments;
}

#if defined(__x86_64__)

static bool has_sha_instructions(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* The 64 rounds of each block, two by each instruction. */
__attribute__((target("sha,sse4.1"))) static void run_rounds(uint64_t blocks)
{
	__m128i even = _mm_set1_epi32(1), odd = _mm_set1_epi32(2), words = _mm_set1_epi32(3);

	for (uint64_t i = 0; i < blocks * 16; i++) {
		odd = _mm_sha256rnds2_epu32(odd, even, words);
		even = _mm_sha256rnds2_epu32(even, odd, words);
	}
	__asm__ volatile("" : : "x"(even), "x"(odd)); /* they are needed */
}

#else

static bool has_sha_instructions(void)
{
	return false;
}

static void run_rounds(uint64_t blocks)
{
	(void)blocks;
}

#endif

static double sha_limit_us(void)
{
	double cpu = cpu_seconds(getpid());

	run_rounds(n_fragments * sizeof(fragment) / 64);
	return (cpu_seconds(getpid()) - cpu) * 1e6 / (double)n_fragments;
}

/* What is measured. */

static struct peer {
	const char *name; /* NULL: hvguest */
	const char *program;
	struct sample (*run)(void);
	struct bench_series throughput, cpu;
} peers[] = {
	{NULL, NULL, run_hvguest, {0}, {0}},
	{"hv_fcopy", NULL, run_standin, {0}, {0}},
	{"hv_fcopy_daemon", "/usr/sbin/hv_fcopy_daemon", run_daemon, {0}, {0}},
};

enum {
	PEERS = sizeof(peers) / sizeof(peers[0]),
};

static bool is_there(const struct peer *p)
{
	return !p->program || access(p->program, X_OK) == 0;
}

static void check_file(void)
{
	struct stat st;

	if (stat(path_of(folder, "file"), &st) < 0 ||
	    (uint64_t)st.st_size != n_fragments * sizeof(fragment))
		bench_die("the file did not arrive", EPROTO);
	/* With that, what a peer has left in the page cache is not for the next one to write. */
	(void)unlink(path_of(folder, "file"));
}

static void print_pair(const char *what, const struct peer *p, const struct bench_series *ours,
		       const struct bench_series *theirs, const char *unit, enum bench_better better)
{
	char line[96];

	snprintf(line, sizeof(line), "%s_%s", what, p->name);
	bench_print(line, theirs, unit, better);
	snprintf(line, sizeof(line), "%s_vs_%s", what, p->name);
	bench_print_ratio(line, ours, theirs, better);
}

int main(int argc, char **argv)
{
	uint64_t rounds = bench_choose(7, 3, 1);
	struct bench_series sha = {0}, sha_limit = {0}, rest = {0};

	if (argc != 2)
		bench_die("usage: bench-fcopy BUILD", EINVAL);
	if (!bench_find_cpus(cpus)) {
		bench_skip("fcopy_*", "needs two processors");
		return 0;
	}
	build = argv[1];
	bench_make_dir(false, folder);
	bench_make_dir(true, run_dir);
	(void)signal(SIGPIPE, SIG_IGN);
	n_fragments = bench_choose(21845, 5461, 500);
	for (size_t i = 0; i < sizeof(fragment); i++)
		fragment[i] = (uint8_t)(i * 2654435761u >> 11);

	bench_use_cpu(cpus[0]);
	for (uint64_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < PEERS; i++) {
			struct sample s;

			if (!is_there(&peers[i]))
				continue;
			s = peers[i].run();
			check_file();
			bench_add(&peers[i].throughput, s.mb_per_s);
			bench_add(&peers[i].cpu, s.cpu_us);
		}
		bench_add(&sha, sha_us());
		if (has_sha_instructions())
			bench_add(&sha_limit, sha_limit_us());
		bench_add(&rest, peers[0].cpu.samples[round] - sha.samples[round]);
	}

	bench_print("fcopy_throughput", &peers[0].throughput, "MB/s", BENCH_LARGER);
	bench_print("fcopy_cpu", &peers[0].cpu, "us", BENCH_SMALLER);
	bench_print("fcopy_cpu_sha256_alone", &sha, "us", BENCH_SMALLER);
	if (has_sha_instructions())
		bench_print("fcopy_cpu_sha256_limit", &sha_limit, "us", BENCH_SMALLER);
	else
		bench_skip("fcopy_cpu_sha256_limit", "the processor has no instructions for it");
	bench_print("fcopy_cpu_less_sha256", &rest, "us", BENCH_SMALLER);
	for (size_t i = 1; i < PEERS; i++) {
		const struct peer *p = &peers[i];
		char line[96];

		if (!is_there(p)) {
			snprintf(line, sizeof(line), "fcopy_*_%s*", p->name);
			bench_skip(line, "needs the package hyperv-daemons");
			continue;
		}
		print_pair("fcopy_throughput", p, &peers[0].throughput, &p->throughput, "MB/s",
			   BENCH_LARGER);
		print_pair("fcopy_cpu", p, &peers[0].cpu, &p->cpu, "us", BENCH_SMALLER);
		snprintf(line, sizeof(line), "fcopy_cpu_sha256_alone_vs_%s", p->name);
		bench_print_ratio(line, &sha, &p->cpu, BENCH_SMALLER);
		snprintf(line, sizeof(line), "fcopy_cpu_less_sha256_vs_%s", p->name);
		bench_print_ratio(line, &rest, &p->cpu, BENCH_SMALLER);
	}
	bench_remove_dir(folder);
	bench_remove_dir(run_dir);
	return 0;
}
