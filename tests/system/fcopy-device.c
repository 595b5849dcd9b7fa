/* SPDX-License-Identifier: MIT */

/*
 * fcopy-device FILE: a stand-in for /dev/vmbus/hv_fcopy (fuse-device.h), as kernels before 6.10
 * have it. Source: Linux 6.1 drivers/hv/hv_fcopy.c, include/uapi/linux/hyperv.h.
 *
 * Commands, whose words are separated by tabs:
 *
 *     start FOLDER NAME SIZE FLAGS   a request of the host, with its names as the kernel hands them on
 *     write OFFSET TEXT              a fragment with these bytes
 *     complete, cancel, op N
 *     file PATH                      writes and all of a file, one after the other, then complete
 *     timeout                        the kernel waits no longer for the answer: "write timeout"
 *
 * Told for each: "start 0" and so on, the status of the answer in hexadecimal. Told besides:
 * "refused" for a write that was out of turn.
 */

#include "services/fcopy_wire.h"
#include "tests/system/fuse-device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FCOPY_DAEMON_VERSION = 1,
	/* What the driver hands on of a request that is nothing but its operation: the packet's payload. */
	SHORT_SIZE = 68,
	WORDS = 5,
};

static uint32_t asked;      /* the operation of the request that waits for its answer */
static FILE *file;          /* is being sent; NULL: none */
static uint64_t position;

static const char *name_of(uint32_t operation)
{
	static const char *const names[] = {"start", "write", "complete", "cancel"};
	static char other[16];

	if (operation < 4)
		return names[operation];
	snprintf(other, sizeof(other), "op %u", operation);
	return other;
}

static void ask(uint32_t operation, const uint8_t *message, size_t size)
{
	const char *why;

	if (fuse_device_state() == READY)
		asked = operation;
	if (!fuse_device_ask(message, size, &why))
		tell("%s %s", name_of(operation), why);
}

static void ask_start(char **word)
{
	uint8_t message[FCOPY_START_SIZE] = {FCOPY_OP_START};
	uint32_t flags = (uint32_t)atoi(word[4]);
	uint64_t size = strtoull(word[3], NULL, 10);

	/* Cut as the driver cuts them. */
	memcpy(message + FCOPY_HEADER_SIZE, word[2], strnlen(word[2], FCOPY_DEVICE_NAME_MAX));
	memcpy(message + FCOPY_HEADER_SIZE + FCOPY_NAME_SIZE, word[1],
	       strnlen(word[1], FCOPY_DEVICE_NAME_MAX));
	memcpy(message + FCOPY_HEADER_SIZE + 2 * FCOPY_NAME_SIZE, &flags, sizeof(flags));
	memcpy(message + FCOPY_HEADER_SIZE + 2 * FCOPY_NAME_SIZE + 4, &size, sizeof(size));
	ask(FCOPY_OP_START, message, sizeof(message));
}

static void ask_write(uint64_t offset, const void *data, size_t size)
{
	uint8_t message[FCOPY_WRITE_SIZE];

	fcopy_encode_write(offset, data, (uint32_t)size, message);
	ask(FCOPY_OP_WRITE, message, sizeof(message));
}

static void ask_short(uint32_t operation)
{
	uint8_t message[SHORT_SIZE] = {0};

	memcpy(message, &operation, sizeof(operation));
	ask(operation, message, sizeof(message));
}

/* The next fragment of the file, or the end. */
static void go_on(void)
{
	uint8_t data[FCOPY_FRAGMENT_MAX];
	size_t n = fread(data, 1, sizeof(data), file);

	if (n > 0) {
		ask_write(position, data, n);
		position += n;
		return;
	}
	fclose(file);
	file = NULL;
	ask_short(FCOPY_OP_COMPLETE);
}

static void on_failed(const char *why)
{
	tell("%s fail: %s", name_of(asked), why);
	if (file)
		fclose(file);
	file = NULL;
}

static int on_write(const uint8_t *data, size_t size)
{
	const uint32_t version = FCOPY_DAEMON_VERSION;
	uint32_t word;

	if (size != sizeof(word))
		return -EINVAL;
	memcpy(&word, data, sizeof(word));
	if (fuse_device_state() == DEVICE_INIT) {
		if (word != FCOPY_DAEMON_VERSION)
			return -EINVAL;
		fuse_device_register((const uint8_t *)&version, sizeof(version));
		return (int)size;
	}
	if (fuse_device_state() != USERSPACE_REQ) {
		tell("refused");
		return -EINVAL;
	}
	fuse_device_ready();
	if (file && word == 0)
		go_on();
	else
		tell("%s %x", name_of(asked), word);
	return (int)size;
}

static bool obey(char *line)
{
	char *word[WORDS] = {line, (char[]){""}, (char[]){""}, (char[]){"0"}, (char[]){"0"}};

	for (size_t i = 1; i < WORDS && line; i++) {
		line = strchr(line, '\t');
		if (line) {
			*line++ = '\0';
			word[i] = line;
		}
	}
	if (!strcmp(word[0], "start"))
		ask_start(word);
	else if (!strcmp(word[0], "write"))
		ask_write(strtoull(word[1], NULL, 10), word[2], strlen(word[2]));
	else if (!strcmp(word[0], "complete"))
		ask_short(FCOPY_OP_COMPLETE);
	else if (!strcmp(word[0], "cancel"))
		ask_short(FCOPY_OP_CANCEL);
	else if (!strcmp(word[0], "op"))
		ask_short((uint32_t)atoi(word[1]));
	else if (!strcmp(word[0], "file") && (file = fopen(word[1], "re"))) {
		position = 0;
		go_on();
	} else if (!strcmp(word[0], "timeout") && fuse_device_state() == USERSPACE_REQ) {
		fuse_device_ready();
		tell("%s timeout", name_of(asked));
	} else {
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static const struct fuse_device_kind kind = {
		.name = "fcopy-device",
		.on_write = on_write,
		.on_failed = on_failed,
		.obey = obey,
	};

	return fuse_device_main(&kind, argc, argv);
}
