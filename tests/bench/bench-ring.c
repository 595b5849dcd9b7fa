/* SPDX-License-Identifier: MIT */

/*
 * The ring between two processes, each on a processor of its own: ours (vmbus/ring.c, channel.c and
 * link.c, each packet copied out before it is used) beside a stand-in for the one of Linux tools/hv.
 *
 *   ring_oneway_SIZE             one side writes, one reads, nobody ever sleeps or signals
 *   ring_oneway_SIZE_eventfd     as they are used: the stand-in signals each packet, as that code's
 *                                users do; ours is a link in an event loop at both ends
 *   ring_roundtrip_SIZE          question and answer, both sides always looking
 *   ring_roundtrip_SIZE_active   ours is a link, which looks for a moment and then sleeps; the
 *                                stand-in sleeps and is woken by eventfd each time
 *   ring_idle_wakeups            of a link in the second after such an exchange
 *
 * The parent writes or asks, on the first processor; the child reads or answers, on the second. Each
 * run has fresh rings. `bench-ring NAME` measures that pair only. What arrives is compared with what was sent by its first 8 bytes.
 */

#include "base/clock.h"
#include "tests/bench/bench.h"
#include "tests/bench/standin/hv_ring.h"
#include "vmbus/link.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
	RING_SIZE = 20480, /* control page and four pages of data, as utility services have */
	IDLE_MS = 1000,
};

/* What both processes see. */
struct shared {
	_Atomic bool ready;
	_Atomic bool go;
	_Atomic uint64_t end_ns; /* when the last message was read */
	_Atomic uint64_t idle_wakeups;
};

/* One end of one run. */
struct end {
	struct shared *shared;
	bool is_child;
	size_t size; /* bytes of a message */
	uint64_t n;  /* messages one way */

	struct vmbus_port port;
	struct hv_ring hv_out, hv_in;
	struct event_base *base;
	struct link *link;
	uint64_t sent;
	uint64_t received;
	_Alignas(8) uint8_t message[LINK_MESSAGE_MAX];
};

typedef void run_fn(struct end *end);

static int cpus[2]; /* the first two that this process may use */

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static void check(bool ok, const char *what)
{
	if (!ok)
		bench_die(what, EPROTO);
}

static void stamp(struct end *end)
{
	memcpy(end->message, &end->sent, sizeof(end->sent));
	end->sent++;
}

static void take(struct end *end, const uint8_t *message)
{
	uint64_t number;

	memcpy(&number, message, sizeof(number));
	check(number == end->received, "a message is not the one that was sent");
	end->received++;
}

/* Ours, nobody sleeps. */

static void channel_queue(struct end *end)
{
	int r;

	stamp(end);
	while ((r = vmbus_channel_queue(&end->port.channel, 0, end->message, end->size)) != 0) {
		check(r == VMBUS_CHANNEL_FULL, "a message could not be sent");
		relax();
	}
}

static void channel_send(struct end *end)
{
	channel_queue(end);
	(void)!vmbus_channel_take_signal(&end->port.channel);
}

static void channel_receive(struct end *end)
{
	struct vmbus_message message;
	uint8_t buf[LINK_MESSAGE_MAX];

	while (vmbus_channel_receive(&end->port.channel, buf, sizeof(buf), &message) != 0)
		while (!vmbus_channel_poll(&end->port.channel))
			relax();
	take(end, buf);
}

static void channel_oneway(struct end *end)
{
	vmbus_channel_wake(&end->port.channel);
	for (uint64_t i = 0; i < end->n; i++)
		end->is_child ? channel_receive(end) : channel_queue(end);
	(void)!vmbus_channel_take_signal(&end->port.channel);
}

static void channel_roundtrip(struct end *end)
{
	vmbus_channel_wake(&end->port.channel);
	for (uint64_t i = 0; i < end->n; i++) {
		if (!end->is_child)
			channel_send(end);
		channel_receive(end);
		if (end->is_child)
			channel_send(end);
	}
}

/* The stand-in, nobody sleeps. */

static void hv_send(struct end *end)
{
	stamp(end);
	while (!hv_ring_write(&end->hv_out, end->message, (uint32_t)end->size))
		relax();
}

static bool hv_try_receive(struct end *end)
{
	uint8_t buf[LINK_MESSAGE_MAX];

	if (hv_ring_read(&end->hv_in, buf, sizeof(buf)) == 0)
		return false;
	take(end, buf + sizeof(struct vmbus_packet_descriptor));
	return true;
}

static void hv_receive(struct end *end)
{
	while (!hv_try_receive(end))
		relax();
}

static void hv_oneway(struct end *end)
{
	for (uint64_t i = 0; i < end->n; i++)
		end->is_child ? hv_receive(end) : hv_send(end);
}

static void hv_roundtrip(struct end *end)
{
	for (uint64_t i = 0; i < end->n; i++) {
		if (!end->is_child)
			hv_send(end);
		hv_receive(end);
		if (end->is_child)
			hv_send(end);
	}
}

/* The stand-in, signalling each packet. */

static void hv_signal(struct end *end)
{
	uint64_t one = 1;

	check(write(end->port.signal_fd, &one, sizeof(one)) == sizeof(one), "eventfd");
}

static void hv_wait(struct end *end)
{
	uint64_t rings;

	check(read(end->port.wait_fd, &rings, sizeof(rings)) == sizeof(rings), "eventfd");
}

/* The same eventfds, but they let their reader sleep. */
static void hv_may_sleep(struct end *end)
{
	check(fcntl(end->port.wait_fd, F_SETFL, 0) == 0, "eventfd");
}

static void hv_oneway_eventfd(struct end *end)
{
	hv_may_sleep(end);
	while (!end->is_child && end->sent < end->n) {
		hv_send(end);
		hv_signal(end);
	}
	while (end->is_child && end->received < end->n) {
		hv_wait(end);
		while (hv_try_receive(end))
			;
	}
}

static void hv_roundtrip_eventfd(struct end *end)
{
	hv_may_sleep(end);
	if (!end->is_child) {
		hv_send(end);
		hv_signal(end);
	}
	while (end->received < end->n) {
		hv_wait(end);
		while (hv_try_receive(end) && end->sent < end->n) {
			hv_send(end);
			hv_signal(end);
		}
	}
}

/* Ours as it is used: links in an event loop. */

static void end_loop_when_done(struct end *end)
{
	if (end->received == end->n)
		event_base_loopbreak(end->base);
}

static void fill_ring(void *user)
{
	struct end *end = user;

	while (end->sent < end->n && !link_is_busy(end->link)) {
		stamp(end);
		check(link_send(end->link, 0, end->message, end->size) == 0, "link_send()");
	}
	if (end->sent == end->n && !link_is_busy(end->link) && !end->is_child)
		event_base_loopbreak(end->base);
}

static void count_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	(void)size;
	(void)trans_id;
	take(user, message);
	end_loop_when_done(user);
}

static void send_next(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct end *end = user;

	count_message(user, message, size, trans_id);
	if (end->sent == end->n)
		return;
	stamp(end);
	check(link_send(end->link, 0, end->message, end->size) == 0, "link_send()");
}

static void on_nothing(void *user)
{
	(void)user;
}

static void on_corrupt(void *user)
{
	(void)user;
	check(false, "the ring is said to be broken");
}

static void open_link(struct end *end, const struct link_user *ops)
{
	int r;

	end->base = event_base_new();
	if (!end->base)
		bench_die("event loop", ENOMEM);
	r = link_new(end->base, &end->port, ops, end, &end->link);
	if (r)
		bench_die("link", r);
}

static void close_link(struct end *end)
{
	end->link = link_free(end->link);
	event_base_free(end->base);
}

static void link_oneway(struct end *end)
{
	static const struct link_user ops = {count_message, fill_ring, on_corrupt, NULL};

	open_link(end, &ops);
	if (!end->is_child)
		fill_ring(end);
	if (end->is_child || end->sent < end->n || link_is_busy(end->link))
		event_base_dispatch(end->base);
	if (end->is_child)
		close_link(end);
}

static const struct link_user roundtrip_ops = {send_next, on_nothing, on_corrupt, NULL};

static void link_exchange(struct end *end)
{
	open_link(end, &roundtrip_ops);
	if (!end->is_child) {
		stamp(end);
		check(link_send(end->link, 0, end->message, end->size) == 0, "link_send()");
	}
	event_base_dispatch(end->base);
}

static void link_roundtrip(struct end *end)
{
	link_exchange(end);
	close_link(end);
}

/* Both ends stay open; what the answering one counts from then on is what it woke for nothing. */
static void link_idle(struct end *end)
{
	const struct timeval idle = {.tv_sec = IDLE_MS / 1000, .tv_usec = IDLE_MS % 1000 * 1000};
	uint64_t wakeups;

	link_exchange(end);
	/* The end of the exchange itself is not idleness. */
	event_base_loopexit(end->base, &(struct timeval){.tv_usec = 10000});
	event_base_dispatch(end->base);
	wakeups = link_stats(end->link)->wakeups;
	event_base_loopexit(end->base, &idle);
	event_base_dispatch(end->base);
	atomic_fetch_add(&end->shared->idle_wakeups, link_stats(end->link)->wakeups - wakeups);
	close_link(end);
}

/* One run. */

/* The stand-in uses the same memory: the guest's outbound ring comes first. */
static void map_standin(struct end *end)
{
	uint8_t *map = end->port.map;

	hv_ring_init(end->is_child ? &end->hv_out : &end->hv_in, map, RING_SIZE);
	hv_ring_init(end->is_child ? &end->hv_in : &end->hv_out, map + RING_SIZE, RING_SIZE);
}

static _Noreturn void child_main(struct end *end, run_fn *run, int fds[3])
{
	int r;

	end->is_child = true;
	vmbus_port_fini(&end->port);
	bench_use_cpu(cpus[1]);
	r = vmbus_port_adopt(RING_SIZE, fds, &end->port);
	if (r)
		bench_die("the guest's end of the rings", r);
	map_standin(end);
	atomic_store(&end->shared->ready, true);
	while (!atomic_load(&end->shared->go))
		relax();
	run(end);
	atomic_store(&end->shared->end_ns, clock_monotonic_ns());
	_exit(0);
}

static struct shared *shared_new(void)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED)
		bench_die("shared memory", errno);
	return shared;
}

/* Nanoseconds for each of @n messages of @size bytes, or for each question with its answer. */
static double run_once(run_fn *run, size_t size, uint64_t n, uint64_t *ret_idle_wakeups)
{
	struct end end = {.shared = shared_new(), .size = size, .n = n};
	int fds[3], r, status;
	uint64_t begin_ns;
	double ns;
	pid_t pid;

	r = vmbus_port_create(RING_SIZE, &end.port, fds);
	if (r)
		bench_die("rings", r);
	pid = fork();
	if (pid < 0)
		bench_die("fork", errno);
	if (pid == 0)
		child_main(&end, run, fds);

	for (int i = 0; i < 3; i++)
		close_fd(fds[i]);
	map_standin(&end);
	while (!atomic_load(&end.shared->ready) && waitpid(pid, &status, WNOHANG) == 0)
		relax();
	begin_ns = clock_monotonic_ns();
	atomic_store(&end.shared->go, true);
	run(&end);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		bench_die("the other end", EPROTO);
	ns = (double)(atomic_load(&end.shared->end_ns) - begin_ns) / (double)n;
	if (ret_idle_wakeups)
		*ret_idle_wakeups = atomic_load(&end.shared->idle_wakeups);

	if (end.link)
		close_link(&end);
	vmbus_port_fini(&end.port);
	munmap(end.shared, sizeof(*end.shared));
	return ns;
}

/* What is measured. */

enum kind {
	ONEWAY,
	ROUNDTRIP,
};

static const struct {
	const char *name;
	enum kind kind;
	size_t size;
	uint64_t n; /* per sample, in a full run */
	run_fn *ours;
	run_fn *theirs;
} pairs[] = {
	{"ring_oneway_64", ONEWAY, 64, 500000, channel_oneway, hv_oneway},
	{"ring_oneway_4096", ONEWAY, 4096, 100000, channel_oneway, hv_oneway},
	{"ring_oneway_64_eventfd", ONEWAY, 64, 100000, link_oneway, hv_oneway_eventfd},
	{"ring_oneway_4096_eventfd", ONEWAY, 4096, 20000, link_oneway, hv_oneway_eventfd},
	{"ring_roundtrip_64", ROUNDTRIP, 64, 100000, channel_roundtrip, hv_roundtrip},
	{"ring_roundtrip_4096", ROUNDTRIP, 4096, 20000, channel_roundtrip, hv_roundtrip},
	{"ring_roundtrip_64_active", ROUNDTRIP, 64, 2000, link_roundtrip, hv_roundtrip_eventfd},
	{"ring_roundtrip_4096_active", ROUNDTRIP, 4096, 2000, link_roundtrip, hv_roundtrip_eventfd},
};

enum {
	PAIRS = sizeof(pairs) / sizeof(pairs[0]),
};

static double sample(size_t i, run_fn *run)
{
	uint64_t n = bench_choose(pairs[i].n, pairs[i].n, pairs[i].n / 100 + 10);
	double ns = run_once(run, pairs[i].size, n, NULL);

	return pairs[i].kind == ONEWAY ? 1000 / ns : ns / 1000;
}

static void measure_pairs(const char *only)
{
	static struct bench_series ours[PAIRS], theirs[PAIRS];
	uint64_t rounds = bench_choose(15, 7, 1);

	for (uint64_t round = 0; round < rounds; round++)
		for (size_t i = 0; i < PAIRS; i++) {
			if (only && strcmp(only, pairs[i].name) != 0)
				continue;
			bench_add(&ours[i], sample(i, pairs[i].ours));
			bench_add(&theirs[i], sample(i, pairs[i].theirs));
		}
	for (size_t i = 0; i < PAIRS; i++)
		bench_print_pair(pairs[i].name, "standin", &ours[i], &theirs[i],
				 pairs[i].kind == ONEWAY ? "Mmsg/s" : "us",
				 pairs[i].kind == ONEWAY ? BENCH_LARGER : BENCH_SMALLER);
}

static void measure_idle(void)
{
	struct bench_series idle = {0};
	uint64_t wakeups;

	for (uint64_t i = bench_choose(7, 1, 1); i > 0; i--) {
		(void)run_once(link_idle, 64, 1000, &wakeups);
		bench_add(&idle, (double)wakeups);
	}
	bench_print("ring_idle_wakeups", &idle, "wakeups", BENCH_SMALLER);
}

int main(int argc, char **argv)
{
	if (!bench_find_cpus(cpus)) {
		bench_skip("ring_*", "needs two processors");
		return 0;
	}
	bench_use_cpu(cpus[0]);
	measure_pairs(argc > 1 ? argv[1] : NULL);
	measure_idle();
	return 0;
}
