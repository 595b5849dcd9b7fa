/* SPDX-License-Identifier: MIT */

/*
 * Messages about block devices.
 *
 * A message is a line "change@/devices/..." and then strings "KEY=value", each with its NUL. One with
 * RESIZE=1 says that the capacity of a disk has changed while it was in use; whether it has become
 * larger is to be seen.
 * Source: Linux block/genhd.c, set_capacity_and_notify().
 */

#include "disks/block_event.h"

#include <stdbool.h>
#include <string.h>

/* The value if @text is "KEY=value" with this key. */
static const char *value_of(const char *text, const char *key)
{
	size_t length = strlen(key);

	return strncmp(text, key, length) == 0 && text[length] == '=' ? text + length + 1 : NULL;
}

int block_event_parse(const char *message, size_t size, char ret_name[BLOCK_EVENT_NAME_SIZE])
{
	bool is_block = false, is_disk = false, is_change = false, is_resize = false;
	const char *end = message + size, *name = NULL, *value;

	if (size == 0 || end[-1] != '\0')
		return BLOCK_EVENT_OTHER;
	for (const char *p = message; p < end; p += strlen(p) + 1) {
		if ((value = value_of(p, "SUBSYSTEM")))
			is_block = strcmp(value, "block") == 0;
		else if ((value = value_of(p, "ACTION")))
			is_change = strcmp(value, "change") == 0;
		else if ((value = value_of(p, "DEVTYPE")))
			is_disk = strcmp(value, "disk") == 0;
		else if ((value = value_of(p, "RESIZE")))
			is_resize = strcmp(value, "1") == 0;
		else if ((value = value_of(p, "DEVNAME")))
			name = value;
	}
	if (!is_block || !is_disk || !is_change || !is_resize || !name || !*name ||
	    strlen(name) >= BLOCK_EVENT_NAME_SIZE)
		return BLOCK_EVENT_OTHER;
	strcpy(ret_name, name);
	return 0;
}
