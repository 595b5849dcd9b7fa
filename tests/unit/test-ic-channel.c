/* SPDX-License-Identifier: MIT */

/*
 * daemon/ic_channel.c over real rings and doorbells, with a host that negotiates late or never.
 */

#include "daemon/ic_channel.h"

#include "base/clock.h"
#include "tests/unit/logged.h"

#define PATIENCE_NS UINT64_C(20000000000)

enum {
	RING_SIZE = 128 * 1024,
};

static struct event_base *base;
static struct vmbus_port host;
static struct ic_channel channel;
static struct {
	int negotiated, corrupt, closed;
} seen;

static void on_request(void *self, uint8_t *message, size_t size)
{
	(void)self;
	(void)message;
	(void)size;
}

static void on_negotiated(void *self)
{
	(void)self;
	seen.negotiated++;
}

static void on_overtaken(void *self)
{
	(void)self;

}

static void on_closed(void *self)
{
	(void)self;
	seen.closed++;
}

/* A connection that closes what it is told to, as the real ones do. */
static void close_channel(struct connection *c, const void *self, bool again)
{
	(void)c;
	cr_expect(eq(ptr, (void *)(uintptr_t)self, &channel));
	cr_expect(again);
	seen.corrupt++;
	ic_channel_service(&channel).close(&channel, "corrupt");
}

static struct connection connection = {.ops = &(const struct connection_ops){
	.close_channel = close_channel,
}};
static struct connection *const the_connection = &connection;

static const struct ic_channel_user ops = {
	.on_request = on_request,
	.on_negotiated = on_negotiated,
	.on_overtaken = on_overtaken,
	.on_closed = on_closed,
};

static void open_channel(void)
{
	struct vmbus_port guest;
	int fds[3];

	cr_assert(eq(int, vmbus_port_create(RING_SIZE, &host, fds), 0));
	cr_assert(eq(int, vmbus_port_adopt(RING_SIZE, fds, &guest), 0));
	ic_channel_service(&channel).open(&channel, &guest);
	cr_assert(ne(ptr, channel.link, NULL));
}

static void set_up(void)
{
	logged_init(LOG_LEVEL_INFO);
	base = event_base_new();
	host = (struct vmbus_port)VMBUS_PORT_INIT;
	ic_channel_init(&channel, base, &the_connection, &ic_service_heartbeat, &ops, NULL);
	channel.patience_ns = 50 * UINT64_C(1000000);
}

static void tear_down(void)
{
	ic_channel_fini(&channel);
	vmbus_port_fini(&host);
	event_base_free(base);
}

TestSuite(ic_channel, .init = set_up, .fini = tear_down, .timeout = 60);

static void negotiate(void)
{
	static uint8_t message[IC_PAYLOAD_MAX];
	struct ic_host ic;
	size_t size;

	ic_host_init(&ic, &ic_service_heartbeat);
	cr_assert(eq(int, ic_host_negotiate(&ic, message, sizeof(message), &size), 0));
	cr_assert(eq(int, vmbus_channel_send(&host.channel, 0, message, size), 0));
	vmbus_port_flush(&host);
}

/* Runs the loop until @count has reached @n. */
static void wait_for(const int *count, int n)
{
	uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;

	while (*count < n && clock_monotonic_ns() < end_ns)
		(void)event_base_loop(base, EVLOOP_ONCE);
	cr_assert(eq(int, *count, n));
}

static void run_for(uint64_t ns)
{
	const struct timeval tv = {.tv_usec = (suseconds_t)(ns / 1000)};

	cr_assert(eq(int, event_base_loopexit(base, &tv), 0));
	(void)event_base_dispatch(base);
}

Test(ic_channel, a_host_that_never_asks_for_a_version_is_complained_of_once_and_waited_for)
{
	open_channel();
	run_for(300 * UINT64_C(1000000));
	cr_expect(eq(int, logged_lines("heartbeat: the channel has been open for"), 1));
	cr_expect(eq(int, seen.corrupt, 0), "the channel stays open");

	negotiate();
	wait_for(&seen.negotiated, 1);
	cr_expect(channel.ic.negotiated);
}

Test(ic_channel, a_host_that_asks_in_time_is_not_complained_of)
{
	open_channel();
	negotiate();
	wait_for(&seen.negotiated, 1);
	run_for(200 * UINT64_C(1000000));
	cr_expect(eq(int, logged_lines("has not asked"), 0));
}

Test(ic_channel, a_channel_that_is_opened_again_negotiates_anew)
{
	char version[16];

	open_channel();
	negotiate();
	wait_for(&seen.negotiated, 1);
	ic_channel_fini(&channel);
	cr_expect(eq(ptr, (void *)(uintptr_t)ic_channel_version(&channel, version), NULL));
	vmbus_port_fini(&host);

	open_channel();
	run_for(300 * UINT64_C(1000000));
	cr_expect(eq(int, logged_lines("has not asked"), 1), "and is waited for as the first time");
	negotiate();
	wait_for(&seen.negotiated, 2);
}

Test(ic_channel, a_corrupt_ring_is_told_to_the_connection_which_closes_the_channel)
{
	open_channel();
	negotiate();
	atomic_store(&host.channel.out.memory.header->write_index, 3);
	wait_for(&seen.corrupt, 1);
	cr_expect(eq(int, seen.closed, 1));
	cr_expect(eq(ptr, channel.link, NULL));
}
