/* SPDX-License-Identifier: MIT */

/*
 * vss-device FILE: a stand-in for /dev/vmbus/hv_vss (fuse-device.h).
 * Source: Linux drivers/hv/hv_snapshot.c, 6.12.
 *
 * Commands:
 *
 *     hot, freeze, thaw, op N   a request of the host; "freeze ok", "freeze fail", by its answer
 *     hibernate    the kernel makes up a thaw, and drops what was pending
 *     timeout      the kernel waits no longer for the answer: "freeze timeout"
 *
 * Told besides: "refused" for a write that was out of turn.
 */

#include "tests/system/fuse-device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	MESSAGE_SIZE = 12,
	OP_HOT_BACKUP = 2,
	OP_FREEZE = 5,
	OP_THAW = 6,
	OP_REGISTER = 128,
	OP_REGISTER1 = 129,
};

static uint8_t asked; /* the operation of the request that waits for its answer */

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

/* A request of the host. */
static void ask(uint8_t operation)
{
	uint8_t message[MESSAGE_SIZE] = {operation};
	const char *why;

	if (fuse_device_state() == READY)
		asked = operation;
	if (!fuse_device_ask(message, sizeof(message), &why))
		tell("%s %s", name_of(operation), why);
}

static void on_failed(const char *why)
{
	tell("%s fail: %s", name_of(asked), why);
}

static int on_write(const uint8_t *data, size_t size)
{
	static const uint8_t echo[4] = {OP_REGISTER1};
	uint32_t error;

	if (size != MESSAGE_SIZE)
		return -EINVAL;
	memcpy(&error, data, sizeof(error));
	if (data[0] == OP_REGISTER || data[0] == OP_REGISTER1) {
		if (fuse_device_state() == USERSPACE_REQ)
			return -EINVAL;
		if (data[0] == OP_REGISTER1)
			fuse_device_register(echo, sizeof(echo));
		return (int)size;
	}
	if (fuse_device_state() != USERSPACE_REQ) {
		tell("refused");
		return -EINVAL;
	}
	fuse_device_ready();
	tell("%s %s", name_of(asked), error == 0 ? "ok" : "fail");
	return (int)size;
}

static void hibernate(void)
{
	static const uint8_t thaw[MESSAGE_SIZE] = {OP_THAW};

	if (fuse_device_state() == USERSPACE_REQ)
		tell("%s fail: suspended", name_of(asked));
	if (fuse_device_state() == USERSPACE_REQ || fuse_device_state() == READY) {
		fuse_device_ready();
		fuse_device_put(thaw, sizeof(thaw));
	}
}

static bool obey(char *line)
{
	unsigned int operation;

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
	else if (!strcmp(line, "timeout") && fuse_device_state() == USERSPACE_REQ) {
		fuse_device_ready();
		tell("%s timeout", name_of(asked));
	} else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	static const struct fuse_device_kind kind = {
		.name = "vss-device",
		.on_write = on_write,
		.on_failed = on_failed,
		.obey = obey,
	};

	return fuse_device_main(&kind, argc, argv);
}
