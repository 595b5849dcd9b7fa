/* SPDX-License-Identifier: MIT */

/*
 * vmbus/port.c and vmbus/link.c: two ends over real shared memory and doorbells, in one event loop.
 */

#include "base/cleanup.h"
#include "vmbus/link.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

enum {
	RING_SIZE = 8192,
};

struct end {
	struct link *link;
	struct end *peer;
	size_t received;
	size_t to_send;
	size_t message_size;
	bool echo; /* answers each message; what it owes waits in to_send */
	bool free_on_message;
	bool corrupt;
	uint64_t last_trans_id;
};

static struct event_base *base;
static struct end host, guest;

static void send_more(struct end *end)
{
	uint8_t message[LINK_MESSAGE_MAX] = {0};

	while (end->to_send > 0) {
		memcpy(message, &end->to_send, sizeof(end->to_send));
		if (link_send(end->link, end->to_send, message, end->message_size))
			return;
		end->to_send--;
	}
}

static void on_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct end *end = user;

	(void)message;
	cr_assert(ge(sz, size, 1));

	end->received++;
	end->last_trans_id = trans_id;
	if (end->free_on_message) {
		end->link = link_free(end->link);
		return;
	}
	if (end->echo) {
		end->to_send++;
		send_more(end);
	}
}

static void on_room(void *user)
{
	send_more(user);
}

static void on_corrupt(void *user)
{
	struct end *end = user;

	end->corrupt = true;
	end->link = link_free(end->link);
}

static const struct link_user ops = {
	.on_message = on_message,
	.on_room = on_room,
	.on_corrupt = on_corrupt,
};

static void set_up(void)
{
	struct vmbus_port host_port, guest_port;
	int fds[3];

	base = event_base_new();
	host = (struct end){.peer = &guest, .message_size = 64};
	guest = (struct end){.peer = &host, .message_size = 64};
	cr_assert(eq(int, vmbus_port_create(RING_SIZE, &host_port, fds), 0));
	cr_assert(eq(int, vmbus_port_adopt(RING_SIZE, fds, &guest_port), 0));
	cr_assert(eq(int, link_new(base, &host_port, &ops, &host, &host.link), 0));
	cr_assert(eq(int, link_new(base, &guest_port, &ops, &guest, &guest.link), 0));
}

static void tear_down(void)
{
	(void)link_free(host.link);
	(void)link_free(guest.link);
	event_base_free(base);
}

TestSuite(link, .init = set_up, .fini = tear_down);

/* Runs the loop until nothing is left to do. */
static void run(void)
{
	for (int i = 0; i < 100000; i++)
		if (event_base_loop(base, EVLOOP_NONBLOCK) != 0)
			return;
}

static void run_until(const size_t *count, size_t n)
{
	for (int i = 0; i < 1000000 && *count < n; i++)
		cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	cr_assert(eq(sz, *count, n));
}

Test(link, a_message_and_its_echo_arrive)
{
	guest.echo = true;
	cr_assert(eq(int, link_send(host.link, 42, "hello", 5), 0));
	run_until(&host.received, 1);
	cr_expect(eq(u64, guest.last_trans_id, 42));
	cr_expect(eq(u64, link_stats(guest.link)->packets_out, 1));
}

Test(link, ten_thousand_messages_pass_through_a_ring_that_holds_a_few)
{
	guest.echo = true;
	host.message_size = 1000;
	host.to_send = 10000;
	send_more(&host);
	cr_expect(link_is_busy(host.link));
	cr_expect(eq(int, link_send(host.link, 0, "x", 1), LINK_BUSY));
	run_until(&host.received, 10000);
	cr_expect(eq(sz, guest.received, 10000));
	cr_expect(link_stats(host.link)->full > 0);
	cr_expect(not(link_is_busy(host.link)));
}

Test(link, after_an_active_exchange_both_sides_sleep_and_nothing_wakes_them)
{
	const struct timeval idle = {.tv_usec = 200000};
	uint64_t wakeups;
	int turns = 0;

	guest.echo = true;
	host.to_send = 1000;
	send_more(&host);
	run_until(&host.received, 1000);
	run();

	wakeups = link_stats(host.link)->wakeups + link_stats(guest.link)->wakeups;
	cr_assert(eq(int, event_base_loopexit(base, &idle), 0));
	while (!event_base_got_exit(base) && turns < 10 && event_base_loop(base, EVLOOP_ONCE) == 0)
		turns++;
	cr_expect(eq(int, turns, 1), "the loop wakes once, at its end");
	cr_expect(eq(u64, link_stats(host.link)->wakeups + link_stats(guest.link)->wakeups,
		     wakeups));
}

Test(link, both_sides_at_once_do_not_block_each_other)
{
	host.message_size = guest.message_size = 1500;
	host.to_send = guest.to_send = 5000;
	send_more(&host);
	send_more(&guest);
	run_until(&host.received, 5000);
	run_until(&guest.received, 5000);
}

Test(link, the_user_may_free_the_link_from_inside_its_own_call)
{
	guest.free_on_message = true;
	for (int i = 0; i < 3; i++)
		cr_assert(eq(int, link_send(host.link, 0, "x", 1), 0));
	run_until(&guest.received, 1);
	run();
	cr_expect(eq(sz, guest.received, 1));
}

Test(link, a_corrupt_ring_is_told_once_and_sending_ends)
{
	struct vmbus_port host_port, guest_port;
	struct end victim = {0};
	int fds[3];

	cr_assert(eq(int, vmbus_port_create(RING_SIZE, &host_port, fds), 0));
	cr_assert(eq(int, vmbus_port_adopt(RING_SIZE, fds, &guest_port), 0));
	atomic_store(&host_port.channel.out.memory.header->write_index, 3);
	cr_assert(eq(int, link_new(base, &guest_port, &ops, &victim, &victim.link), 0));
	for (int i = 0; i < 10; i++)
		cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	cr_expect(victim.corrupt);
	cr_expect(victim.link == NULL);
	vmbus_port_fini(&host_port);
}

Test(link, a_message_that_can_never_fit_kills_the_link_and_says_so)
{
	static uint8_t big[LINK_MESSAGE_MAX];

	cr_expect(eq(int, link_send(host.link, 0, big, sizeof(big)), LINK_DEAD));
	for (int i = 0; i < 10; i++)
		cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	cr_expect(host.corrupt);
}

/* The other side of a flood: a port without a link, refilled from inside the receiver's calls. */
static struct {
	struct vmbus_port port;
	struct link *link;
	size_t to_send, received;
	size_t received_at_timer;
} flood;

static void refill(void)
{
	while (flood.to_send > 0 && vmbus_channel_send(&flood.port.channel, 0, "flooding", 8) == 0)
		flood.to_send--;
	vmbus_port_flush(&flood.port);
}

static void on_flood_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	(void)user, (void)message, (void)size, (void)trans_id;
	flood.received++;
	refill();
}

static void on_flood_timer(evutil_socket_t fd, short what, void *user)
{
	(void)fd, (void)what, (void)user;
	flood.received_at_timer = flood.received;
}

Test(link, a_flood_does_not_keep_other_events_waiting)
{
	static const struct link_user flood_ops = {
		.on_message = on_flood_message,
		.on_room = on_room,
		.on_corrupt = on_corrupt,
	};
	static const struct timeval at_once = {0};
	struct vmbus_port port;
	int fds[3];

	cr_assert(eq(int, vmbus_port_create(65536, &flood.port, fds), 0));
	cr_assert(eq(int, vmbus_port_adopt(65536, fds, &port), 0));
	cr_assert(eq(int, link_new(base, &port, &flood_ops, NULL, &flood.link), 0));
	flood.to_send = 100000;
	refill();
	cr_assert(eq(int, event_base_loop(base, EVLOOP_ONCE), 0));
	cr_assert(eq(int, event_base_once(base, -1, EV_TIMEOUT, on_flood_timer, NULL, &at_once), 0));
	for (int i = 0; i < 10; i++)
		cr_assert(eq(int, event_base_loop(base, EVLOOP_NONBLOCK), 0));
	cr_expect(flood.received_at_timer > 0);
	cr_expect(lt(sz, flood.received_at_timer, 1000));
	(void)link_free(flood.link);
	vmbus_port_fini(&flood.port);
}

Test(link, a_doorbell_that_is_no_eventfd_is_corruption)
{
	struct vmbus_port host_port, guest_port;
	struct end victim = {0};
	int fds[3], ends[2];

	cr_assert(eq(int, vmbus_port_create(RING_SIZE, &host_port, fds), 0));
	cr_assert(eq(int, pipe(ends), 0));
	close_fd(ends[1]);
	close_fd(fds[1]);
	fds[1] = ends[0];
	cr_assert(eq(int, vmbus_port_adopt(RING_SIZE, fds, &guest_port), 0));
	cr_assert(eq(int, link_new(base, &guest_port, &ops, &victim, &victim.link), 0));
	for (int i = 0; i < 10; i++)
		cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	cr_expect(victim.corrupt);
	vmbus_port_fini(&host_port);
}

static int memory(size_t size, bool seal)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert(fd >= 0 && ftruncate(fd, size) == 0);
	if (seal)
		cr_assert(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	return fd;
}

Test(port, memory_that_could_be_resized_or_is_of_another_size_is_refused)
{
	static const struct {
		size_t size;
		bool seal;
		int r;
	} rows[] = {
		{2 * RING_SIZE, true, 0},
		{2 * RING_SIZE, false, VMBUS_PORT_BAD_MEMORY},
		{RING_SIZE, true, VMBUS_PORT_BAD_MEMORY},
		{0, true, VMBUS_PORT_BAD_MEMORY},
		{4 * RING_SIZE, true, VMBUS_PORT_BAD_MEMORY},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int fds[3] = {memory(rows[i].size, rows[i].seal), eventfd(0, 0), eventfd(0, 0)};
		struct vmbus_port port = VMBUS_PORT_INIT;

		cr_expect(eq(int, vmbus_port_adopt(RING_SIZE, fds, &port), rows[i].r));
		for (int j = 0; j < 3; j++)
			cr_expect(eq(int, fds[j], -1), "the descriptors are taken in any case");
		vmbus_port_fini(&port);
	}
}

Test(port, the_memory_handed_out_is_sealed)
{
	struct vmbus_port port;
	int fds[3];

	cr_assert(eq(int, vmbus_port_create(RING_SIZE, &port, fds), 0));
	cr_expect(lt(int, ftruncate(fds[0], 4096), 0));
	vmbus_port_fini(&port);
	vmbus_port_fini(&port);
	for (int j = 0; j < 3; j++)
		close_fd(fds[j]);
}
