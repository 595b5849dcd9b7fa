/* SPDX-License-Identifier: MIT */

/*
 * GUIDs and the device classes.
 *
 * The text of a GUID and its bytes differ in order: the groups of 8, 4 and 4 digits are
 * little-endian integers in memory, the rest is bytes in the order of the text. The constants are
 * written in the order of the text, so that they can be compared with the documents by eye.
 */

#include "vmbus/guid.h"

#include <string.h>

#define GUID(a, b, c, d0, d1, d2, d3, d4, d5, d6, d7) \
	{{(a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff, (b) & 0xff, \
	  (b) >> 8 & 0xff, (c) & 0xff, (c) >> 8 & 0xff, d0, d1, d2, d3, d4, d5, d6, d7}}

const struct vmbus_guid vmbus_class_heartbeat =
	GUID(0x57164f39u, 0x9115, 0x4e78, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d);
const struct vmbus_guid vmbus_class_vss =
	GUID(0x35fa2e29u, 0xea23, 0x4236, 0x96, 0xae, 0x3a, 0x6e, 0xba, 0xcb, 0xa4, 0x40);
const struct vmbus_guid vmbus_class_dynmem =
	GUID(0x525074dcu, 0x8985, 0x46e2, 0x80, 0x57, 0xa3, 0x07, 0xdc, 0x18, 0xa5, 0x02);

bool vmbus_guid_equal(const struct vmbus_guid *a, const struct vmbus_guid *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void vmbus_guid_format(const struct vmbus_guid *guid, char ret_text[VMBUS_GUID_TEXT_SIZE])
{
	static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	static const char digits[] = "0123456789abcdef";
	char *p = ret_text;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[guid->bytes[order[i]] >> 4];
		*p++ = digits[guid->bytes[order[i]] & 0xf];
	}
	*p = '\0';
}

const char *vmbus_class_name(const struct vmbus_guid *class_id)
{
	if (vmbus_guid_equal(class_id, &vmbus_class_heartbeat))
		return "heartbeat";
	if (vmbus_guid_equal(class_id, &vmbus_class_vss))
		return "vss";
	if (vmbus_guid_equal(class_id, &vmbus_class_dynmem))
		return "dynmem";
	return "unknown";
}
