/* SPDX-License-Identifier: MIT */

/*
 * kvp-device FILE: a stand-in for /dev/vmbus/hv_kvp (fuse-device.h).
 * Source: Linux drivers/hv/hv_kvp.c, include/uapi/linux/hyperv.h (struct hv_kvp_msg), 6.12.
 *
 * Commands, whose words are separated by tabs:
 *
 *     get POOL KEY, set POOL KEY VALUE, delete POOL KEY, list POOL INDEX, get-ip MAC, op N
 *                  a request of the host; "get ok VALUE", "list ok KEY=VALUE", "set ok", or
 *                  "get 80070103", by its answer
 *     timeout      the kernel waits no longer for the answer: "set timeout"
 *     hibernate    what was pending is dropped: "set fail: suspended"
 *
 * Told besides: "refused" for a write that was out of turn.
 */

#include "tests/system/fuse-device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MESSAGE_SIZE = 7432,
	OP_GET = 0,
	OP_SET = 1,
	OP_DELETE = 2,
	OP_ENUMERATE = 3,
	OP_GET_IP = 4,
	OP_REGISTER = 4, /* before there is a daemon */
	OP_REGISTER1 = 100,
	KEY_MAX = 511,
	VALUE_MAX = 2047,
	/* Offsets. */
	GET_KEY = 16,
	GET_VALUE = 528,
	DELETE_KEY = 8,
	ENUMERATE_KEY = 20,
	ENUMERATE_VALUE = 532,
	IP_ADAPTER = 4,
	IP_ADDRESSES = 262,
};

static uint8_t asked; /* the operation of the request that waits for its answer */

static const char *name_of(uint8_t operation)
{
	static const char *const names[] = {"get", "set", "delete", "list", "get-ip"};
	static char other[16];

	if (operation < 5)
		return names[operation];
	snprintf(other, sizeof(other), "op %u", operation);
	return other;
}

static void put_text(uint8_t *field, const char *text, size_t max)
{
	memcpy(field, text, strnlen(text, max));
}

/* The words of a command; what is missing is "". */
static void make_request(uint8_t *message, uint8_t operation, const char *pool, const char *first,
			 const char *second)
{
	message[0] = operation;
	message[1] = (uint8_t)atoi(pool);
	switch (operation) {
	case OP_SET:
		put_text(message + GET_VALUE, second, VALUE_MAX);
		/* fall through */
	case OP_GET:
		put_text(message + GET_KEY, first, KEY_MAX);
		break;
	case OP_DELETE:
		put_text(message + DELETE_KEY, first, KEY_MAX);
		break;
	case OP_ENUMERATE:
		message[4] = (uint8_t)atoi(first);
		break;
	case OP_GET_IP:
		message[1] = 0;
		put_text(message + IP_ADAPTER, pool, 255);
		break;
	}
}

static void ask(uint8_t operation, char *words)
{
	uint8_t message[MESSAGE_SIZE] = {0};
	const char *word[3] = {"", "", ""}, *why;

	for (size_t i = 0; i < 3 && words; i++) {
		char *next = strchr(words, '\t');

		if (next)
			*next++ = '\0';
		word[i] = words;
		words = next;
	}
	make_request(message, operation, word[0], word[1], word[2]);
	if (fuse_device_state() == READY)
		asked = operation;
	if (!fuse_device_ask(message, sizeof(message), &why))
		tell("%s %s", name_of(operation), why);
}

static void on_failed(const char *why)
{
	tell("%s fail: %s", name_of(asked), why);
}

/* What the kernel would make of the answer: it looks for the value where a list has it. */
static void tell_answer(const uint8_t *data)
{
	const char *text = (const char *)data;
	uint32_t error;

	memcpy(&error, data, sizeof(error));
	if (error)
		tell("%s %08x", name_of(asked), error);
	else if (asked == OP_GET)
		tell("get ok %s", text + ENUMERATE_VALUE);
	else if (asked == OP_ENUMERATE)
		tell("list ok %s=%s", text + ENUMERATE_KEY, text + ENUMERATE_VALUE);
	else if (asked == OP_GET_IP)
		tell("get-ip ok %s", text + IP_ADDRESSES);
	else
		tell("%s ok", name_of(asked));
}

static int on_write(const uint8_t *data, size_t size)
{
	uint8_t echo[MESSAGE_SIZE] = {OP_REGISTER1, 0, 0, 0, '3', '.', '1'};

	if (size < MESSAGE_SIZE)
		return -EINVAL;
	if (fuse_device_state() == DEVICE_INIT) {
		if (data[0] != OP_REGISTER1)
			return -EINVAL;
		fuse_device_register(echo, sizeof(echo));
		return (int)size;
	}
	if (fuse_device_state() != USERSPACE_REQ) {
		tell("refused");
		return -EINVAL;
	}
	fuse_device_ready();
	tell_answer(data);
	return (int)size;
}

static void give_up(const char *why)
{
	if (fuse_device_state() != USERSPACE_REQ)
		return;
	fuse_device_ready();
	tell("%s %s", name_of(asked), why);
}

static bool obey(char *line)
{
	char *words = strchr(line, '\t');

	if (words)
		*words++ = '\0';
	for (uint8_t operation = 0; operation < 5; operation++) {
		if (!strcmp(line, name_of(operation))) {
			ask(operation, words);
			return true;
		}
	}
	if (!strcmp(line, "op") && words)
		ask((uint8_t)atoi(words), NULL);
	else if (!strcmp(line, "timeout"))
		give_up("timeout");
	else if (!strcmp(line, "hibernate"))
		give_up("fail: suspended");
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	static const struct fuse_device_kind kind = {
		.name = "kvp-device",
		.on_write = on_write,
		.on_failed = on_failed,
		.obey = obey,
	};

	return fuse_device_main(&kind, argc, argv);
}
