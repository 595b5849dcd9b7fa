/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * GUIDs as VMBus carries them: 16 bytes, the first three groups of the text little-endian.
 */

struct vmbus_guid {
	uint8_t bytes[16];
};

enum {
	VMBUS_GUID_TEXT_SIZE = 37, /* 36 characters and the end */
};

/* The device classes that this project serves. Source: Linux include/linux/hyperv.h. */
extern const struct vmbus_guid vmbus_class_heartbeat;
extern const struct vmbus_guid vmbus_class_vss;
extern const struct vmbus_guid vmbus_class_dynmem;
extern const struct vmbus_guid vmbus_class_shutdown;
extern const struct vmbus_guid vmbus_class_fcopy;
extern const struct vmbus_guid vmbus_class_timesync;
extern const struct vmbus_guid vmbus_class_kvp;

/* True if all 16 bytes are the same. */
bool vmbus_guid_equal(const struct vmbus_guid *a, const struct vmbus_guid *b);

/* Writes "57164f39-9115-4e78-ab55-382f3bd5422d". */
void vmbus_guid_format(const struct vmbus_guid *guid, char ret_text[VMBUS_GUID_TEXT_SIZE]);

/* Reads it, in either case, with or without braces, and nothing else. False: it is no GUID. */
bool vmbus_guid_parse(const char *text, struct vmbus_guid *ret_guid);

/* "heartbeat", "vss", "dynmem", "shutdown", or what else is known by name; else "unknown". */
const char *vmbus_class_name(const struct vmbus_guid *class_id);
