/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A stand-in for a device under /dev/vmbus, with the kernel and the host behind it.
 *
 * It mounts itself on an existing file, by FUSE. So the other side opens, polls, reads and writes it by
 * the real system calls, and gets the errors that the driver gives: EBUSY for a second one, EINVAL for
 * a write of another size or out of turn, EBADF when the driver goes; a read that blocks whatever
 * O_NONBLOCK says; one message at a time, to be read at once.
 *
 * Commands come on standard input, a line each; what happens is told on standard output:
 *
 *     remove       the driver goes; "removed" once nobody has the device open
 *     insert       and comes back
 *     quit
 *
 * and those of the kind. Told besides: "open", "registered", "closed".
 */

enum {
	FUSE_DEVICE_MESSAGE_MAX = 8192,
};

/* Linux drivers/hv/hyperv_vmbus.h, enum hvutil_device_state. */
enum fuse_device_state {
	DEVICE_INIT,
	READY,
	USERSPACE_REQ,
	DEVICE_DYING,
};

struct fuse_device_kind {
	const char *name;
	/* What write(2) returns, or a negative errno; the driver is there. */
	int (*on_write)(const uint8_t *data, size_t size);
	/* The request under way has failed. */
	void (*on_failed)(const char *why);
	/* A command; false if it is none of its own. */
	bool (*obey)(char *line);
};

/* Runs until the end of the commands. The exit code. */
int fuse_device_main(const struct fuse_device_kind *kind, int argc, char **argv);

/* Says a line. */
void tell(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

/* The driver's. */
enum fuse_device_state fuse_device_state(void);

/* A request, which the daemon answers by a write; false, and why, if that is not possible now. */
bool fuse_device_ask(const uint8_t *message, size_t size, const char **ret_why);

/* A message that waits for no answer. */
void fuse_device_put(const uint8_t *message, size_t size);

/* The answer to a registration; when it is read, the state is READY. */
void fuse_device_register(const uint8_t *echo, size_t size);

/* The request is answered, or given up. */
void fuse_device_ready(void);
