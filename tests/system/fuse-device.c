/* SPDX-License-Identifier: MIT */

/*
 * The part of the stand-ins for devices under /dev/vmbus that is the same for all: the file, by FUSE,
 * with the real driver's behaviour. See fuse-device.h.
 * Source: Linux drivers/hv/hv_utils_transport.c, 6.12.
 */

#include "tests/system/fuse-device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	REQUEST_MAX = 256 * 1024,
};

static struct {
	const struct fuse_device_kind *kind;
	int fuse_fd;
	enum fuse_device_state state;
	bool is_open;
	bool registering;  /* the slot holds the echo */
	size_t slot_size;  /* 0: the slot is empty */
	uint8_t slot[FUSE_DEVICE_MESSAGE_MAX];
	uint64_t reader; /* a read that waits for a message; 0: none */
	size_t reader_size;
	uint64_t poll_handle;
	bool poll_waits;
} device;

void tell(const char *format, ...)
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

static void reset(const char *why)
{
	if (device.state == USERSPACE_REQ)
		device.kind->on_failed(why);
	device.state = DEVICE_INIT;
	device.slot_size = 0;
	device.registering = false;
}

enum fuse_device_state fuse_device_state(void)
{
	return device.state;
}

void fuse_device_ready(void)
{
	device.state = READY;
}

void fuse_device_register(const uint8_t *echo, size_t size)
{
	device.registering = true;
	fill_slot(echo, size);
}

bool fuse_device_ask(const uint8_t *message, size_t size, const char **ret_why)
{
	if (device.state == DEVICE_INIT || device.state == DEVICE_DYING)
		*ret_why = "fail: no daemon";
	else if (device.state == USERSPACE_REQ)
		*ret_why = "waits";
	else if (device.slot_size > 0)
		*ret_why = "fail: the slot is full";
	else {
		device.state = USERSPACE_REQ;
		fill_slot(message, size);
		return true;
	}
	return false;
}

void fuse_device_put(const uint8_t *message, size_t size)
{
	fill_slot(message, size);
}

static void on_init(const struct fuse_in_header *in)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = 31,
		.max_readahead = 0,
		.max_write = FUSE_DEVICE_MESSAGE_MAX,
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
	int r = device.state == DEVICE_DYING ? -EBADF
						 : device.kind->on_write((const uint8_t *)(body + 1),
									 body->size);

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
	line[strcspn(line, "\n")] = '\0';
	if (!strcmp(line, "remove"))
		remove_driver();
	else if (!strcmp(line, "insert"))
		device.state = DEVICE_INIT;
	else if (!device.kind->obey(line))
		return strcmp(line, "quit") != 0;
	return true;
}

int fuse_device_main(const struct fuse_device_kind *kind, int argc, char **argv)
{
	char options[128], type[64], line[4096];

	if (argc != 2) {
		fprintf(stderr, "usage: %s FILE\n", kind->name);
		return 2;
	}
	device.kind = kind;
	device.fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device.fuse_fd < 0)
		die("/dev/fuse");
	snprintf(type, sizeof(type), "fuse.%s", kind->name);
	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0",
		 device.fuse_fd);
	if (mount(kind->name, argv[1], type, MS_NOSUID | MS_NODEV, options) < 0)
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
