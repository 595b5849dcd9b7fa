/* SPDX-License-Identifier: MIT */

/*
 * vmbus/transport_uio.c, and uio ports in vmbus/port.c and vmbus/link.c.
 *
 * A pseudo-terminal in raw mode stands for the descriptor: it is read and written by fours, does
 * not block, and gives EIO for ever once its other end is closed, as a rescinded device does. What
 * is written to it arrives a moment later, so it is waited for. The rings are a memfd, whose other
 * end is a host's channel.
 */

#include "vmbus/transport_uio.h"

#include "tests/unit/tree.h"
#include "vmbus/link.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/mman.h>
#include <termios.h>

enum {
	RING_SIZE = 8192,
	PATIENCE_MS = 10000, /* for what must come */
	QUIET_MS = 30,       /* in which nothing must come */
};

static struct vmbus_port guest = VMBUS_PORT_INIT;
static struct vmbus_channel host;
static uint8_t *rings;
static int host_fd;

static void set_up(void)
{
	struct vmbus_ring_memory out, in;
	int fd, memory_fd = memfd_create("rings", MFD_CLOEXEC);
	struct termios raw;

	cr_assert(memory_fd >= 0 && ftruncate(memory_fd, 2 * RING_SIZE) == 0);
	rings = mmap(NULL, 2 * RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	cr_assert(rings != MAP_FAILED);
	cr_assert(vmbus_ring_memory_init(&in, rings, RING_SIZE) == 0 &&
		  vmbus_ring_memory_init(&out, rings + RING_SIZE, RING_SIZE) == 0);
	vmbus_ring_format(&in);
	vmbus_ring_format(&out);
	vmbus_channel_init(&host, &out, &in);

	cr_assert(eq(int, openpty(&fd, &host_fd, NULL, NULL, NULL), 0));
	cr_assert(eq(int, tcgetattr(host_fd, &raw), 0));
	cfmakeraw(&raw);
	cr_assert(eq(int, tcsetattr(host_fd, TCSANOW, &raw), 0));
	cr_assert(fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(host_fd, F_SETFL, O_NONBLOCK) == 0);
	cr_assert(eq(int, vmbus_port_adopt_uio(2 * RING_SIZE, memory_fd, fd, &guest), 0));
	close(memory_fd);
}

static void tear_down(void)
{
	vmbus_port_fini(&guest);
	close_fd(host_fd);
	munmap(rings, 2 * RING_SIZE);
}

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

/* The host sends, and interrupts if it has to. */
static void host_sends(const char *text)
{
	uint32_t count = 1;

	cr_assert(eq(int, vmbus_channel_send(&host, 7, text, strlen(text)), 0));
	if (!vmbus_channel_take_signal(&host))
		return;
	cr_assert(eq(i64, write(host_fd, &count, sizeof(count)), sizeof(count)));
	cr_assert(is_readable(guest.wait_fd, PATIENCE_MS));
}

static void host_goes(void)
{
	close(host_fd);
	host_fd = -1;
	cr_assert(is_readable(guest.wait_fd, PATIENCE_MS));
}

/* The host was signalled this many times, and no more. */
static void expect_signals(int n)
{
	uint32_t value;

	for (; n > 0; n--) {
		cr_assert(is_readable(host_fd, PATIENCE_MS));
		cr_assert(eq(i64, read(host_fd, &value, sizeof(value)), sizeof(value)));
		cr_expect(eq(u32, value, 1), "0 would mask our own interrupts");
	}
	cr_expect(not(is_readable(host_fd, QUIET_MS)));
}

TestSuite(uio_port, .init = set_up, .fini = tear_down);

Test(uio_port, a_batch_of_messages_costs_one_signal)
{
	cr_assert(vmbus_channel_sleep(&host));
	for (int i = 0; i < 3; i++)
		cr_assert(eq(int, vmbus_channel_send(&guest.channel, 0, "x", 1), 0));
	vmbus_port_flush(&guest);
	vmbus_port_flush(&guest);
	expect_signals(1);
}

Test(uio_port, a_host_that_is_awake_is_not_signalled)
{
	vmbus_channel_wake(&host);
	cr_assert(eq(int, vmbus_channel_send(&guest.channel, 0, "x", 1), 0));
	vmbus_port_flush(&guest);
	expect_signals(0);
}

Test(uio_port, an_interrupt_is_read_by_four_bytes_and_none_is_no_trouble)
{
	struct vmbus_message message;
	uint8_t buf[64];
	uint32_t left;

	cr_expect(eq(int, vmbus_port_wake(&guest), 0), "nothing to read");
	cr_assert(vmbus_channel_sleep(&guest.channel));
	host_sends("hello");
	cr_expect(eq(int, vmbus_port_wake(&guest), 0));
	cr_assert(eq(int, vmbus_channel_receive(&guest.channel, buf, sizeof(buf), &message), 0));
	cr_expect(eq(int, memcmp(buf, "hello", 5), 0));
	cr_expect(lt(i64, read(guest.wait_fd, &left, sizeof(left)), 0), "all of it was read");
}

Test(uio_port, a_channel_that_is_gone_is_unmapped_and_never_touched_again)
{
	struct vmbus_message message;
	uint8_t buf[64];

	host_goes();
	cr_expect(eq(int, vmbus_port_wake(&guest), VMBUS_PORT_GONE));
	cr_expect(eq(ptr, guest.map, NULL));
	cr_expect(eq(int, vmbus_channel_send(&guest.channel, 0, "x", 1), VMBUS_CHANNEL_CORRUPT));
	cr_expect(eq(int, vmbus_channel_receive(&guest.channel, buf, sizeof(buf), &message),
		     VMBUS_CHANNEL_CORRUPT));
	cr_expect(vmbus_channel_sleep(&guest.channel));
	vmbus_port_flush(&guest);
	cr_expect(eq(int, vmbus_port_wake(&guest), VMBUS_PORT_GONE), "for ever");
}

Test(uio_port, maps_of_an_odd_size_are_refused_and_the_descriptor_is_taken)
{
	static const size_t sizes[] = {0, 4096, 8192, 12288, 16383, 16384 + 4096, 24575, SIZE_MAX};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct vmbus_port port = VMBUS_PORT_INIT;
		int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

		cr_expect(eq(int, vmbus_port_adopt_uio(sizes[i], fd, fd, &port),
			     VMBUS_PORT_BAD_MEMORY), "%zu", sizes[i]);
		cr_expect(lt(int, fcntl(fd, F_GETFD), 0));
	}
}

struct told {
	struct link *link;
	int messages, corrupt, gone;
};

static void on_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct told *told = user;

	(void)message;
	(void)size;
	(void)trans_id;
	told->messages++;
}

static void on_room(void *user)
{
	(void)user;
}

static void on_corrupt(void *user)
{
	struct told *told = user;

	told->corrupt++;
}

static void on_gone(void *user)
{
	struct told *told = user;

	told->gone++;
	cr_expect(eq(int, link_send(told->link, 0, "x", 1), LINK_DEAD));
}

Test(uio_port, a_link_hands_on_messages_and_tells_once_that_its_channel_is_gone)
{
	static const struct link_user ops = {on_message, on_room, on_corrupt, on_gone};
	struct event_base *base = event_base_new();
	struct told told = {0};
	const int fd = guest.wait_fd;

	cr_assert(eq(int, link_new(base, &guest, &ops, &told, &told.link), 0));
	for (int i = 0; i < 5; i++)
		cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	guest.wait_fd = fd; /* to be waited for; the link has the port */
	host_sends("hello");
	for (int i = 0; i < 5; i++)
		cr_assert(event_base_loop(base, EVLOOP_NONBLOCK) == 0);
	cr_expect(eq(int, told.messages, 1));

	host_goes();
	guest.wait_fd = -1;
	for (int i = 0; i < 20; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	cr_expect(eq(int, told.gone, 1));
	cr_expect(eq(int, told.corrupt, 0));
	(void)link_free(told.link);
	event_base_free(base);
}

TestSuite(transport_uio, .init = tree_init, .fini = tree_fini);

Test(transport_uio, a_node_is_opened_once)
{
	struct vmbus_port first = VMBUS_PORT_INIT, second = VMBUS_PORT_INIT;

	tree_sized("uio0", 4 << 20);
	cr_assert(eq(int, transport_uio_open(tree_path("uio0"), 4 << 20, &first), 0));
	cr_expect(eq(sz, first.map_size, 4 << 20));
	cr_expect(eq(u32, first.channel.out.memory.data_size, (2 << 20) - 4096));
	cr_expect(eq(ptr, first.channel.in.memory.header, (uint8_t *)first.map + (2 << 20)));
	cr_expect(eq(int, transport_uio_open(tree_path("uio0"), 4 << 20, &second),
		     TRANSPORT_UIO_LOCKED));
	vmbus_port_fini(&first);
	cr_expect(eq(int, transport_uio_open(tree_path("uio0"), 4 << 20, &second), 0));
	vmbus_port_fini(&second);
}

Test(transport_uio, what_cannot_be_opened_or_mapped_is_told_apart)
{
	struct vmbus_port port;

	tree_sized("uio0", 4 << 20);
	cr_expect(lt(int, transport_uio_open(tree_path("uio1"), 4 << 20, &port), 0));
	cr_expect(eq(int, transport_uio_open(tree_path("uio0"), 4 << 10, &port),
		     TRANSPORT_UIO_BAD_RINGS));
	cr_expect(lt(int, transport_uio_open("/dev/null", 4 << 20, &port), 0), "no memory in it");
	for (int i = TRANSPORT_UIO_LOCKED; i <= TRANSPORT_UIO_PAGE_SIZE; i++)
		cr_expect(strcmp(transport_uio_text(i), "failed") != 0);
}
