/* SPDX-License-Identifier: MIT */

/*
 * vss-device FILE: a stand-in for /dev/vmbus/hv_vss, with the kernel and the host behind it.
 *
 * It mounts itself on FILE, an existing file, by FUSE. So the other side opens, polls, reads and
 * writes it by the real system calls, and gets the errors that the driver gives: EBUSY for a second
 * one, EINVAL for a write of another size or out of turn, EBADF when the driver goes; a read that
 * blocks whatever O_NONBLOCK says; one message at a time, to be read at once.
 * Sources: Linux drivers/hv/hv_utils_transport.c and hv_snapshot.c, 6.12.
 *
 * Commands come on standard input, a line each; what happens is told on standard output:
 *
 *     hot, freeze, thaw, op N   a request of the host; "freeze ok", "freeze fail", by its answer
 *     hibernate    the kernel makes up a thaw, and drops what was pending
 *     timeout      the kernel waits no longer for the answer: "freeze timeout"
 *     remove       the driver goes; "removed" once nobody has the device open
 *     insert       and comes back
 *     quit
 *
 * Told besides: "open", "registered", "closed", and "refused" for a write that was out of turn.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	MESSAGE_SIZE = 12,
	OP_HOT_BACKUP = 2,
	OP_FREEZE = 5,
	OP_THAW = 6,
	OP_REGISTER = 128,
	OP_REGISTER1 = 129,
	REQUEST_MAX = 256 * 1024,
};

/* Linux drivers/hv/hyperv_vmbus.h, enum hvutil_device_state. */
enum state {
	DEVICE_INIT,
	READY,
	USERSPACE_REQ,
	DEVICE_DYING,
};

static struct {
	int fuse_fd;
	enum state state;
	bool is_open;
	uint8_t operation; /* of the request that waits for its answer */
	bool registering;  /* the slot holds the echo */
	size_t slot_size;  /* 0: the slot is empty */
	uint8_t slot[MESSAGE_SIZE];
	uint64_t reader; /* a read that waits for a message; 0: none */
	size_t reader_size;
	uint64_t poll_handle;
	bool poll_waits;
} device;

static void tell(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

static void tell(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void reply(uint64_t unique, int error, const void *data, size_t size)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + size),
		.error = error,
		.unique = unique,
	};
	struct iovec parts[] = {{&out, sizeof(out)}, {(void *)(uintptr_t)data, size}};

	/* The other side may be gone meanwhile; then there is nobody to tell. */
	if (writev(device.fuse_fd, parts, size ? 2 : 1) < 0 && errno != ENOENT)
		die("writing to /dev/fuse");
}

static void wake_poll(void)
{
	struct fuse_notify_poll_wakeup_out wakeup = {.kh = device.poll_handle};

	if (!device.poll_waits)
		return;
	device.poll_waits = false;
	reply(0, FUSE_NOTIFY_POLL, &wakeup, sizeof(wakeup));
}

static const char *name_of(uint8_t operation)
{
	static char other[16];

	switch (operation) {
	case OP_HOT_BACKUP:
		return "hot";
	case OP_FREEZE:
		return "freeze";
	case OP_THAW:
		return "thaw";
	default:
		snprintf(other, sizeof(other), "op %u", operation);
		return other;
	}
}

/* Answers the waiting read, if there is what it waits for. */
static void serve_reader(void)
{
	uint64_t unique = device.reader;
	size_t size = device.slot_size;

	if (!unique)
		return;
	if (device.state == DEVICE_DYING) {
		device.reader = 0;
		reply(unique, -EBADF, NULL, 0);
		return;
	}
	if (size == 0)
		return;
	device.reader = 0;
	if (device.reader_size < size) {
		reply(unique, -EINVAL, NULL, 0);
		return;
	}
	device.slot_size = 0;
	if (device.registering) {
		device.registering = false;
		device.state = READY;
		tell("registered");
	}
	reply(unique, 0, device.slot, size);
}

static void fill_slot(const uint8_t *message, size_t size)
{
	memset(device.slot, 0, sizeof(device.slot));
	memcpy(device.slot, message, size);
	device.slot_size = size;
	serve_reader();
	wake_poll();
}

/* A request of the host. */
static void ask(uint8_t operation)
{
	uint8_t message[MESSAGE_SIZE] = {operation};

	if (device.state == DEVICE_INIT || device.state == DEVICE_DYING) {
		tell("%s fail: no daemon", name_of(operation));
		return;
	}
	if (device.state == USERSPACE_REQ) {
		tell("%s waits", name_of(operation));
		return;
	}
	if (device.slot_size > 0) {
		tell("%s fail: the slot is full", name_of(operation));
		return;
	}
	device.operation = operation;
	device.state = USERSPACE_REQ;
	fill_slot(message, sizeof(message));
}

static void reset(const char *why)
{
	if (device.state == USERSPACE_REQ)
		tell("%s fail: %s", name_of(device.operation), why);
	device.state = DEVICE_INIT;
	device.slot_size = 0;
	device.registering = false;
}

/* Returns what write(2) returns, or a negative errno. */
static int on_write(const uint8_t *data, size_t size)
{
	static const uint8_t echo[4] = {OP_REGISTER1};
	uint32_t error;

	if (device.state == DEVICE_DYING)
		return -EBADF;
	if (size != MESSAGE_SIZE)
		return -EINVAL;
	memcpy(&error, data, sizeof(error));
	if (data[0] == OP_REGISTER || data[0] == OP_REGISTER1) {
		if (device.state == USERSPACE_REQ)
			return -EINVAL;
		if (data[0] == OP_REGISTER1) {
			device.registering = true;
			fill_slot(echo, sizeof(echo));
		}
		return (int)size;
	}
	if (device.state != USERSPACE_REQ) {
		tell("refused");
		return -EINVAL;
	}
	device.state = READY;
	tell("%s %s", name_of(device.operation), error == 0 ? "ok" : "fail");
	return (int)size;
}

static void on_init(const struct fuse_in_header *in)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = 31,
		.max_readahead = 0,
		.max_write = 4096,
		.max_background = 8,
		.congestion_threshold = 8,
	};

	reply(in->unique, 0, &out, sizeof(out));
}

static void on_getattr(const struct fuse_in_header *in)
{
	struct fuse_attr_out out = {
		.attr = {.ino = 1, .mode = S_IFREG | 0600, .nlink = 1, .blksize = 4096},
	};

	reply(in->unique, 0, &out, sizeof(out));
}

static void on_open(const struct fuse_in_header *in)
{
	struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE};

	if (device.is_open || device.state == DEVICE_DYING) {
		reply(in->unique, device.is_open ? -EBUSY : -EBADF, NULL, 0);
		return;
	}
	device.is_open = true;
	tell("open");
	reply(in->unique, 0, &out, sizeof(out));
}

static void on_release(const struct fuse_in_header *in)
{
	bool dying = device.state == DEVICE_DYING;

	device.is_open = device.poll_waits = false;
	reset("the daemon has closed the device");
	tell("closed");
	if (dying) {
		device.state = DEVICE_DYING;
		tell("removed");
	}
	reply(in->unique, 0, NULL, 0);
}

static void on_poll(const struct fuse_in_header *in, const struct fuse_poll_in *body)
{
	struct fuse_poll_out out = {.revents = device.slot_size > 0 ? POLLIN | POLLRDNORM : 0};

	if (device.state == DEVICE_DYING)
		out.revents = POLLERR | POLLHUP;
	if (body->flags & FUSE_POLL_SCHEDULE_NOTIFY) {
		device.poll_handle = body->kh;
		device.poll_waits = true;
	}
	reply(in->unique, 0, &out, sizeof(out));
}

static void on_read(const struct fuse_in_header *in, const struct fuse_read_in *body)
{
	device.reader = in->unique;
	device.reader_size = body->size;
	serve_reader();
}

static void on_interrupt(const struct fuse_interrupt_in *body)
{
	if (device.reader != body->unique)
		return;
	device.reader = 0;
	reply(body->unique, -EINTR, NULL, 0);
}

static void on_written(const struct fuse_in_header *in, const struct fuse_write_in *body)
{
	struct fuse_write_out out = {0};
	int r = on_write((const uint8_t *)(body + 1), body->size);

	out.size = r > 0 ? (uint32_t)r : 0;
	if (r < 0)
		reply(in->unique, r, NULL, 0);
	else
		reply(in->unique, 0, &out, sizeof(out));
}

/* False: the file system has been unmounted. */
static bool serve_fuse(void)
{
	static _Alignas(8) uint8_t buf[REQUEST_MAX];
	const struct fuse_in_header *in = (const void *)buf;
	const void *body = buf + sizeof(*in);
	ssize_t n = read(device.fuse_fd, buf, sizeof(buf));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN || errno == ENOENT;
	switch (in->opcode) {
	case FUSE_INIT:
		on_init(in);
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		on_getattr(in);
		break;
	case FUSE_OPEN:
		on_open(in);
		break;
	case FUSE_RELEASE:
		on_release(in);
		break;
	case FUSE_READ:
		on_read(in, body);
		break;
	case FUSE_WRITE:
		on_written(in, body);
		break;
	case FUSE_POLL:
		on_poll(in, body);
		break;
	case FUSE_INTERRUPT:
		on_interrupt(body);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		reply(in->unique, -ENOSYS, NULL, 0);
		break;
	}
	return true;
}

static void hibernate(void)
{
	static const uint8_t thaw[MESSAGE_SIZE] = {OP_THAW};

	if (device.state == USERSPACE_REQ)
		tell("%s fail: suspended", name_of(device.operation));
	if (device.state == USERSPACE_REQ || device.state == READY) {
		device.state = READY;
		fill_slot(thaw, sizeof(thaw));
	}
}

static void remove_driver(void)
{
	reset("the driver goes");
	device.state = DEVICE_DYING;
	serve_reader();
	wake_poll();
	if (!device.is_open)
		tell("removed");
}

/* False: the end. */
static bool obey(char *line)
{
	unsigned int operation;

	line[strcspn(line, "\n")] = '\0';
	if (!strcmp(line, "hot"))
		ask(OP_HOT_BACKUP);
	else if (!strcmp(line, "freeze"))
		ask(OP_FREEZE);
	else if (!strcmp(line, "thaw"))
		ask(OP_THAW);
	else if (sscanf(line, "op %u", &operation) == 1)
		ask((uint8_t)operation);
	else if (!strcmp(line, "hibernate"))
		hibernate();
	else if (!strcmp(line, "timeout") && device.state == USERSPACE_REQ) {
		device.state = READY;
		tell("%s timeout", name_of(device.operation));
	} else if (!strcmp(line, "remove"))
		remove_driver();
	else if (!strcmp(line, "insert"))
		device.state = DEVICE_INIT;
	else
		return strcmp(line, "quit") != 0;
	return true;
}

int main(int argc, char **argv)
{
	char options[128], line[64];

	if (argc != 2) {
		fprintf(stderr, "usage: vss-device FILE\n");
		return 2;
	}
	device.fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device.fuse_fd < 0)
		die("/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0",
		 device.fuse_fd);
	if (mount("vss-device", argv[1], "fuse.vss-device", MS_NOSUID | MS_NODEV, options) < 0)
		die("mount");

	while (true) {
		struct pollfd p[] = {{device.fuse_fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if ((p[0].revents & (POLLIN | POLLERR)) && !serve_fuse())
			break;
		/* One line at a time: the shell writes each by itself. */
		if (p[1].revents) {
			ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);

			if (n <= 0)
				break;
			line[n] = '\0';
			if (!obey(line))
				break;
		}
	}
	(void)umount2(argv[1], MNT_DETACH);
	return 0;
}
