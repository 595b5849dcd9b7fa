/* SPDX-License-Identifier: MIT */

/*
 * host/lab.c and vmbus/transport_shm.c: a lab host and its guests over real sockets, in one loop.
 */

#include "base/clock.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/unixsock.h"
#include "host/lab.h"
#include "vmbus/transport_shm.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static struct event_base *base;
static struct lab *lab;
static char folder[] = "/tmp/test-lab-XXXXXX";
static char path[64];

static struct {
	struct lab_guest *guest;
	char name[64];
	uint64_t memory_pages;
	int hellos, opens, closes, gone, released;
	struct vmbus_port port;
} seen;

static enum shm_status on_hello(void *user, struct lab_guest *guest, const char *name,
				uint64_t memory_pages, void **ret_context)
{
	(void)user;
	if (seen.guest)
		return SHM_NAME_TAKEN;
	seen.guest = guest;
	seen.memory_pages = memory_pages;
	seen.hellos++;
	snprintf(seen.name, sizeof(seen.name), "%s", name);
	*ret_context = &seen;
	return SHM_OK;
}

static void on_ready(void *context)
{
	(void)context;
	cr_assert(eq(int, lab_offer(seen.guest, &vmbus_class_vss), 0));
}

static void on_open(void *context, const struct vmbus_guid *class_id, struct vmbus_port *take_port)
{
	(void)context;
	cr_assert(vmbus_guid_equal(class_id, &vmbus_class_vss));
	seen.opens++;
	vmbus_port_fini(&seen.port);
	seen.port = *take_port;
}

static void on_close(void *context, const struct vmbus_guid *class_id)
{
	(void)context;
	(void)class_id;
	seen.closes++;
}

static void on_gone(void *context)
{
	(void)context;
	seen.gone++;
	seen.guest = NULL;
}

static void on_release(void *context)
{
	(void)context;
	seen.released++;
}

static const struct lab_ops ops = {
	.on_hello = on_hello,
	.on_ready = on_ready,
	.on_open = on_open,
	.on_close = on_close,
	.on_gone = on_gone,
	.on_release = on_release,
};

static void set_up(void)
{
	seen.port = (struct vmbus_port)VMBUS_PORT_INIT;
	base = event_base_new();
	cr_assert(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/lab.sock", folder);
	cr_assert(eq(int, lab_new(base, path, &ops, NULL, &lab), 0));
}

static void tear_down(void)
{
	vmbus_port_fini(&seen.port);
	lab = lab_free(lab);
	event_base_free(base);
	cr_expect(eq(int, rmdir(folder), 0), "the socket's file is removed");
}

TestSuite(lab, .init = set_up, .fini = tear_down);

static void turn(void)
{
	for (int i = 0; i < 20; i++)
		cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
}

/* The next event at the guest; fails the test if there is none. */
static struct transport_shm_event next(struct transport_shm *t)
{
	struct transport_shm_event e;

	turn();
	cr_assert(eq(int, transport_shm_dispatch(t, &e), 0));
	return e;
}

static struct transport_shm *join(const char *name)
{
	struct transport_shm *t;

	cr_assert(eq(int, transport_shm_new(path, name, 1000, &t), 0));
	return t;
}

/* Joins and opens the one channel; returns its id. */
static uint32_t join_and_open(struct transport_shm **ret_t, struct vmbus_port *ret_port)
{
	struct transport_shm *t = join("one");
	struct transport_shm_event e;

	cr_assert(eq(int, next(t).type, TRANSPORT_SHM_WELCOME));
	e = next(t);
	cr_assert(eq(int, e.type, TRANSPORT_SHM_OFFERED));
	cr_assert(eq(int, transport_shm_open(t, e.channel_id), 0));
	e = next(t);
	cr_assert(eq(int, e.type, TRANSPORT_SHM_OPENED));
	*ret_t = t;
	*ret_port = e.port;
	return e.channel_id;
}

Test(lab, a_guest_joins_opens_its_channel_and_talks)
{
	struct vmbus_message message;
	struct vmbus_port port;
	struct transport_shm *t;
	char buf[16];

	(void)join_and_open(&t, &port);
	cr_expect(eq(int, strcmp(seen.name, "one"), 0));
	cr_expect(eq(u64, seen.memory_pages, 1000));
	cr_expect(eq(int, seen.opens, 1));

	cr_assert(eq(int, vmbus_channel_send(&port.channel, 7, "to the host", 11), 0));
	vmbus_port_flush(&port);
	cr_assert(eq(int, vmbus_port_wake(&seen.port), 0));
	cr_assert(eq(int, vmbus_channel_receive(&seen.port.channel, buf, 16, &message), 0));
	cr_expect(eq(int, memcmp(buf, "to the host", 11), 0));

	vmbus_port_fini(&port);
	(void)transport_shm_free(t);
	turn();
	cr_expect(eq(int, seen.gone, 1));
}

Test(lab, a_channel_can_be_closed_and_opened_again_with_fresh_rings)
{
	struct transport_shm_event e;
	struct vmbus_message message;
	struct vmbus_port port;
	struct transport_shm *t;
	uint32_t id = join_and_open(&t, &port);
	char buf[16];

	cr_assert(eq(int, vmbus_channel_send(&port.channel, 0, "old", 3), 0));
	vmbus_port_fini(&port);
	cr_assert(eq(int, transport_shm_close(t, id), 0));
	turn();
	cr_expect(eq(int, seen.closes, 1));
	cr_assert(eq(int, transport_shm_open(t, id), 0));
	e = next(t);
	cr_assert(eq(int, e.type, TRANSPORT_SHM_OPENED));
	cr_expect(eq(int, vmbus_channel_receive(&seen.port.channel, buf, 16, &message),
		     VMBUS_CHANNEL_EMPTY));
	vmbus_port_fini(&e.port);
	(void)transport_shm_free(t);
}

Test(lab, a_rescinded_channel_is_released_and_can_be_offered_anew)
{
	struct transport_shm_event e;
	struct vmbus_port port;
	struct transport_shm *t;
	uint32_t id = join_and_open(&t, &port);

	cr_assert(eq(int, lab_rescind(seen.guest, &vmbus_class_vss), 0));
	cr_expect(eq(int, lab_rescind(seen.guest, &vmbus_class_vss), LAB_NOT_OFFERED));
	cr_expect(eq(int, seen.closes, 1), "the host does not wait for the guest");
	e = next(t);
	cr_assert(eq(int, e.type, TRANSPORT_SHM_RESCINDED));
	cr_expect(eq(u32, e.channel_id, id));
	vmbus_port_fini(&port);

	cr_assert(eq(int, transport_shm_open(t, id), 0));
	e = next(t);
	cr_expect(eq(int, e.type, TRANSPORT_SHM_REFUSED), "it is gone");
	cr_expect(eq(int, e.status, SHM_NO_SUCH_CHANNEL));

	cr_assert(eq(int, transport_shm_release(t, id), 0));
	turn();
	cr_expect(eq(int, seen.closes, 1));
	cr_assert(eq(int, lab_offer(seen.guest, &vmbus_class_vss), 0));
	e = next(t);
	cr_expect(eq(int, e.type, TRANSPORT_SHM_OFFERED));
	cr_expect(eq(u32, e.channel_id, id));
	(void)transport_shm_free(t);
}

/* As one that sleeps while it is saved and restored again and again. */
Test(lab, a_guest_that_keeps_what_was_taken_from_it_is_offered_more_when_it_lets_go)
{
	struct transport_shm_event e;
	struct vmbus_port port;
	struct transport_shm *t;
	uint32_t id = join_and_open(&t, &port);
	int offers = 0;

	vmbus_port_fini(&port);
	do {
		cr_assert(eq(int, lab_rescind(seen.guest, &vmbus_class_vss), 0));
	} while (lab_offer(seen.guest, &vmbus_class_vss) == 0 && ++offers < 1000);
	cr_expect(gt(int, offers, 1));
	cr_expect(lt(int, offers, 1000), "there are only so many");
	cr_expect(eq(int, seen.released, 0));

	e = next(t);
	cr_assert(eq(int, e.type, TRANSPORT_SHM_RESCINDED));
	cr_expect(eq(u32, e.channel_id, id));
	cr_assert(eq(int, transport_shm_release(t, id), 0));
	turn();
	cr_expect(eq(int, seen.released, 1), "the host is told");
	cr_expect(eq(int, lab_offer(seen.guest, &vmbus_class_vss), 0));
	(void)transport_shm_free(t);
}

Test(lab, a_late_release_does_not_close_the_channel_that_was_offered_instead)
{
	struct transport_shm_event e;
	struct vmbus_port port;
	struct transport_shm *t;
	uint32_t id = join_and_open(&t, &port);

	cr_assert(eq(int, lab_rescind(seen.guest, &vmbus_class_vss), 0));
	cr_assert(eq(int, lab_offer(seen.guest, &vmbus_class_vss), 0));
	cr_assert(eq(int, next(t).type, TRANSPORT_SHM_RESCINDED));
	e = next(t);
	cr_assert(eq(int, e.type, TRANSPORT_SHM_OFFERED));
	cr_expect(ne(u32, e.channel_id, id));
	cr_assert(eq(int, transport_shm_open(t, e.channel_id), 0));
	e = next(t);
	cr_assert(eq(int, e.type, TRANSPORT_SHM_OPENED));
	cr_assert(eq(int, transport_shm_release(t, id), 0));
	turn();
	cr_expect(eq(int, seen.opens, 2));
	cr_expect(eq(int, seen.closes, 1));
	vmbus_port_fini(&port);
	vmbus_port_fini(&e.port);
	(void)transport_shm_free(t);
}

Test(lab, opening_what_cannot_be_opened_is_refused_with_a_reason)
{
	struct transport_shm_event e;
	struct vmbus_port port;
	struct transport_shm *t;
	uint32_t id = join_and_open(&t, &port);

	cr_assert(eq(int, transport_shm_open(t, id), 0));
	e = next(t);
	cr_expect(eq(int, e.type, TRANSPORT_SHM_REFUSED));
	cr_expect(eq(int, e.status, SHM_ALREADY_OPEN));
	cr_assert(eq(int, transport_shm_open(t, 9999), 0));
	e = next(t);
	cr_expect(eq(int, e.status, SHM_NO_SUCH_CHANNEL));
	vmbus_port_fini(&port);
	(void)transport_shm_free(t);
}

Test(lab, a_second_guest_of_the_same_name_is_turned_away)
{
	struct transport_shm *one = join("one"), *two;
	struct transport_shm_event e;

	cr_assert(eq(int, next(one).type, TRANSPORT_SHM_WELCOME));
	two = join("one");
	e = next(two);
	cr_expect(eq(int, e.type, TRANSPORT_SHM_REFUSED));
	cr_expect(eq(int, e.status, SHM_NAME_TAKEN));
	turn();
	cr_expect(eq(int, transport_shm_dispatch(two, &e), TRANSPORT_SHM_LOST));
	cr_expect(eq(int, seen.gone, 0));
	(void)transport_shm_free(one);
	(void)transport_shm_free(two);
}

Test(lab, a_guest_with_a_bad_name_never_connects)
{
	struct transport_shm *t;

	cr_expect(eq(int, transport_shm_new(path, "a/b", 0, &t), -EINVAL));
}

Test(lab, nobody_listening_is_a_condition)
{
	struct transport_shm *t;

	cr_expect(eq(int, transport_shm_new("/tmp/no-such-socket", "x", 0, &t),
		     TRANSPORT_SHM_NO_HOST));
}

Test(lab, a_second_host_cannot_take_the_socket_away)
{
	struct lab *other;

	cr_expect(eq(int, lab_new(base, path, &ops, NULL, &other), LAB_IN_USE));
}

/* A raw connection, for what transport_shm would never send. */
static int connect_raw(void)
{
	int fd;

	cr_assert(eq(int, unixsock_connect(path, SOCK_SEQPACKET, 100, &fd), 0));
	return fd;
}

static void expect_dropped(int fd)
{
	ssize_t n;
	char c;

	turn();
	n = recv(fd, &c, 1, MSG_DONTWAIT);
	cr_expect(n == 0 || (n < 0 && errno == ECONNRESET), "the connection is closed");
	close(fd);
	cr_expect(eq(int, seen.hellos, 0));
}

Test(lab, a_guest_that_does_not_begin_with_hello_is_dropped)
{
	struct shm_message m = {.type = SHM_OPEN, .channel_id = 1, .ring_size = 8192};
	uint8_t wire[SHM_MESSAGE_SIZE];
	int fd = connect_raw();

	shm_encode(&m, wire);
	cr_assert(eq(int, fdpass_send(fd, wire, sizeof(wire), NULL, 0), 0));
	expect_dropped(fd);
}

Test(lab, a_guest_that_sends_garbage_or_descriptors_is_dropped)
{
	struct shm_message m = {.type = SHM_HELLO, .version = SHM_VERSION, .name = "x"};
	uint8_t wire[SHM_MESSAGE_SIZE];
	int fd = connect_raw();

	cr_assert(eq(int, fdpass_send(fd, "garbage", 7, NULL, 0), 0));
	expect_dropped(fd);

	fd = connect_raw();
	shm_encode(&m, wire);
	cr_assert(eq(int, fdpass_send(fd, wire, sizeof(wire), &fd, 1), 0));
	expect_dropped(fd);
}

Test(lab, another_version_is_refused_with_the_reason)
{
	struct shm_message m = {.type = SHM_HELLO, .version = SHM_VERSION + 1, .name = "x"};
	uint8_t wire[SHM_MESSAGE_SIZE];
	int fd = connect_raw();
	size_t size, n;

	shm_encode(&m, wire);
	cr_assert(eq(int, fdpass_send(fd, wire, sizeof(wire), NULL, 0), 0));
	turn();
	cr_assert(eq(int, fdpass_receive(fd, wire, sizeof(wire), NULL, 0, &size, &n), 0));
	cr_assert(eq(int, shm_decode(wire, size, &m), 0));
	cr_expect(eq(u32, m.type, SHM_WELCOME));
	cr_expect(eq(u32, m.status, SHM_BAD_VERSION));
	close(fd);
}

/* From now on this process can open nothing more. */
static void use_up_descriptors(void)
{
	int next = dup(0);
	struct rlimit limit;

	cr_assert(ge(int, next, 0));
	close(next);
	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
	limit.rlim_cur = next;
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &limit), 0));
}

static void free_descriptors(void)
{
	struct rlimit limit;

	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
	limit.rlim_cur = limit.rlim_max;
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &limit), 0));
}

Test(lab, a_guest_that_cannot_be_let_in_for_want_of_descriptors_waits_and_nothing_spins)
{
	struct transport_shm *t = join("one");
	uint64_t end_ns = clock_monotonic_ns() + 1200 * UINT64_C(1000000);
	int turns = 0;

	log_open("test", LOG_LEVEL_ERROR);
	use_up_descriptors();
	while (clock_monotonic_ns() < end_ns) {
		(void)event_base_loop(base, EVLOOP_ONCE);
		turns++;
	}
	cr_expect(lt(int, turns, 100), "the loop has slept");
	cr_expect(eq(int, seen.hellos, 0));

	free_descriptors();
	end_ns = clock_monotonic_ns() + UINT64_C(20000000000);
	while (seen.hellos == 0 && clock_monotonic_ns() < end_ns)
		(void)event_base_loop(base, EVLOOP_ONCE);
	cr_expect(eq(int, seen.hellos, 1), "and is let in later");
	(void)transport_shm_free(t);
}
