/* SPDX-License-Identifier: MIT */

/*
 * daemon/lab_host.c with a host of this test's own at the other end of the socket, which offers,
 * refuses and repeats what it likes.
 */

#include "daemon/lab_host.h"

#include "base/clock.h"
#include "base/fdpass.h"
#include "base/unixsock.h"
#include "tests/unit/logged.h"
#include "vmbus/shm_wire.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#define PATIENCE_NS UINT64_C(20000000000)

static struct event_base *base;
static struct connection *connection;
static struct service service;
static struct unixsock sock;
static char folder[] = "/tmp/test-lab-host-XXXXXX";
static char path[64];
static int host_fd = -1; /* the host's end of the connection */
static struct vmbus_port host_port = VMBUS_PORT_INIT;

/* The service of the test; struct service's functions are below. */
static struct {
	int opened, closed;
	struct vmbus_port port;
} seen;

static void open_port(void *self, struct vmbus_port *take_port)
{
	(void)self;
	seen.port = *take_port;
	seen.opened++;
}

static void close_port(void *self, const char *why)
{
	(void)self;
	(void)why;
	vmbus_port_fini(&seen.port);
	seen.closed++;
}

/* Runs the loop until there is something to read at @fd. */
static void wait_at(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;

	while (poll(&p, 1, 10) == 0 && clock_monotonic_ns() < end_ns)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	cr_assert(p.revents & POLLIN);
}

/* What the guest says next must be of this type. */
static struct shm_message hear(enum shm_type type)
{
	uint8_t wire[SHM_MESSAGE_SIZE];
	struct shm_message m;
	size_t size, n;

	wait_at(host_fd);
	cr_assert(eq(int, fdpass_receive(host_fd, wire, sizeof(wire), NULL, 0, &size, &n), 0));
	cr_assert(eq(int, shm_decode(wire, size, &m), 0));
	cr_assert(eq(u32, m.type, type));
	return m;
}

static void say(const struct shm_message *m, const int *fds, size_t n)
{
	uint8_t wire[SHM_MESSAGE_SIZE];

	shm_encode(m, wire);
	cr_assert(eq(int, fdpass_send(host_fd, wire, sizeof(wire), fds, n), 0));
}

static void turn(void)
{
	for (int i = 0; i < 20; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static void set_up(void)
{
	const struct shm_message welcome = {.type = SHM_WELCOME, .version = SHM_VERSION};

	logged_init(LOG_LEVEL_INFO);
	cr_assert(ne(ptr, mkdtemp(folder), NULL));
	snprintf(path, sizeof(path), "%s/lab.sock", folder);
	unixsock_init(&sock);
	cr_assert(eq(int, unixsock_listen(&sock, path, SOCK_SEQPACKET, 0600), 0));
	service = (struct service){.name = "vss", .class_id = &vmbus_class_vss, .self = &seen,
				   .open = open_port, .close = close_port};
	base = event_base_new();
	cr_assert(eq(int, lab_host_new(base, path, "one", &service, 1, NULL, &connection), 0));

	wait_at(sock.fd);
	host_fd = accept4(sock.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	cr_assert(ge(int, host_fd, 0));
	(void)hear(SHM_HELLO);
	say(&welcome, NULL, 0);
	turn();
}

static void tear_down(void)
{
	connection = connection_free(connection);
	vmbus_port_fini(&host_port);
	close(host_fd);
	unixsock_fini(&sock);
	event_base_free(base);
	(void)rmdir(folder);
}

TestSuite(lab_host, .init = set_up, .fini = tear_down, .timeout = 60);

static void offer(uint32_t id, const struct vmbus_guid *class_id)
{
	const struct shm_message m = {.type = SHM_OFFER, .channel_id = id, .class_id = *class_id};

	say(&m, NULL, 0);
}

static void refuse(const struct shm_message *open, enum shm_status status)
{
	const struct shm_message m = {
		.type = SHM_OPENED,
		.channel_id = open->channel_id,
		.ring_size = open->ring_size,
		.status = status,
	};

	say(&m, NULL, 0);
}

static void grant(const struct shm_message *open)
{
	const struct shm_message m = {
		.type = SHM_OPENED,
		.channel_id = open->channel_id,
		.ring_size = open->ring_size,
	};
	int fds[3];

	vmbus_port_fini(&host_port);
	cr_assert(eq(int, vmbus_port_create(open->ring_size, &host_port, fds), 0));
	say(&m, fds, 3);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	turn();
}

static void expect_state(const char *state)
{
	const char *is = connection_channel_state(connection, &seen);

	cr_expect(eq(int, strcmp(is, state), 0), "'%s' instead of '%s'", is, state);
}

Test(lab_host, a_channel_that_the_host_refuses_to_open_is_tried_again_and_said_once)
{
	struct shm_message open;

	offer(3, &vmbus_class_vss);
	for (int i = 0; i < 2; i++) {
		open = hear(SHM_OPEN);
		refuse(&open, SHM_NO_MEMORY);
		turn();
		expect_state("offered");
	}
	open = hear(SHM_OPEN);
	cr_expect(eq(int, logged_lines("vss: the host does not open channel 3"), 1));
	grant(&open);
	cr_expect(eq(int, seen.opened, 1));
	expect_state("open");
}

Test(lab_host, a_refused_channel_that_is_rescinded_is_not_tried_again)
{
	const struct shm_message rescind = {.type = SHM_RESCIND, .channel_id = 3};
	struct shm_message open;
	struct pollfd p = {.fd = host_fd, .events = POLLIN};
	const struct timeval two = {.tv_sec = 2};

	offer(3, &vmbus_class_vss);
	open = hear(SHM_OPEN);
	refuse(&open, SHM_NO_SUCH_CHANNEL);
	say(&rescind, NULL, 0);
	(void)hear(SHM_RELEASE);
	(void)event_base_loopexit(base, &two);
	(void)event_base_dispatch(base);
	cr_expect(eq(int, poll(&p, 1, 0), 0), "nothing more is said of it");
	expect_state("none");
}

Test(lab_host, a_channel_that_is_rescinded_while_it_is_being_opened_costs_nothing_else)
{
	const struct shm_message rescind = {.type = SHM_RESCIND, .channel_id = 3};
	struct shm_message open;

	offer(3, &vmbus_class_vss);
	say(&rescind, NULL, 0);
	open = hear(SHM_OPEN);
	(void)hear(SHM_RELEASE);
	refuse(&open, SHM_NO_SUCH_CHANNEL);
	turn();
	cr_expect(eq(int, logged_lines("is lost"), 0), "the connection stays");
	offer(4, &vmbus_class_vss);
	open = hear(SHM_OPEN);
	grant(&open);
	cr_expect(eq(int, seen.opened, 1));
}

Test(lab_host, a_channel_that_is_rescinded_and_offered_again_is_opened_again)
{
	const struct shm_message rescind = {.type = SHM_RESCIND, .channel_id = 3};
	struct shm_message open;

	for (uint32_t round = 1; round <= 3; round++) {
		offer(3, &vmbus_class_vss);
		open = hear(SHM_OPEN);
		grant(&open);
		cr_expect(eq(int, seen.opened, (int)round));
		say(&rescind, NULL, 0);
		cr_expect(eq(u32, hear(SHM_RELEASE).channel_id, 3));
		cr_expect(eq(int, seen.closed, (int)round));
	}
}

Test(lab_host, a_class_that_nothing_serves_is_logged_once_however_often_it_is_offered)
{
	struct vmbus_guid stranger = vmbus_class_vss;

	stranger.bytes[0] ^= 1;
	for (uint32_t i = 0; i < 10; i++)
		offer(10 + i, &stranger);
	turn();
	cr_expect(eq(int, logged_lines("which nothing here serves"), 1));
	stranger.bytes[0] ^= 2;
	offer(20, &stranger);
	turn();
	cr_expect(eq(int, logged_lines("which nothing here serves"), 2), "another one is news");

	/* Somebody who makes up classes does not fill the log. */
	for (uint32_t i = 0; i < 200; i++) {
		stranger.bytes[1] = (uint8_t)i;
		offer(30 + i, &stranger);
		turn();
	}
	cr_expect(lt(int, logged_lines("which nothing here serves"), 20));
	expect_state("none");
}
