/* SPDX-License-Identifier: MIT */

/*
 * GUIDs and the device classes.
 *
 * The text of a GUID and its bytes differ in order: the groups of 8, 4 and 4 digits are
 * little-endian integers in memory, the rest is bytes in the order of the text. The constants are
 * written in the order of the text, so that they can be compared with the documents by eye.
 */

#include "vmbus/guid.h"

#include <stddef.h>
#include <string.h>

enum {
	GUID_TEXT_LENGTH = VMBUS_GUID_TEXT_SIZE - 1,
};

/* Where the text has each byte, counted in pairs of digits. */
static const uint8_t text_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

#define GUID(a, b, c, d0, d1, d2, d3, d4, d5, d6, d7) \
	{{(a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff, (b) & 0xff, \
	  (b) >> 8 & 0xff, (c) & 0xff, (c) >> 8 & 0xff, d0, d1, d2, d3, d4, d5, d6, d7}}

const struct vmbus_guid vmbus_class_heartbeat =
	GUID(0x57164f39u, 0x9115, 0x4e78, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d);
const struct vmbus_guid vmbus_class_vss =
	GUID(0x35fa2e29u, 0xea23, 0x4236, 0x96, 0xae, 0x3a, 0x6e, 0xba, 0xcb, 0xa4, 0x40);
const struct vmbus_guid vmbus_class_dynmem =
	GUID(0x525074dcu, 0x8985, 0x46e2, 0x80, 0x57, 0xa3, 0x07, 0xdc, 0x18, 0xa5, 0x02);
const struct vmbus_guid vmbus_class_shutdown =
	GUID(0x0e0b6031u, 0x5213, 0x4934, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb);
const struct vmbus_guid vmbus_class_fcopy =
	GUID(0x34d14be3u, 0xdee4, 0x41c8, 0x9a, 0xe7, 0x6b, 0x17, 0x49, 0x77, 0xc1, 0x92);
const struct vmbus_guid vmbus_class_timesync =
	GUID(0x9527e630u, 0xd0ae, 0x497b, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf);
const struct vmbus_guid vmbus_class_kvp =
	GUID(0xa9a0f4e7u, 0x5a45, 0x4d96, 0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c, 0x03, 0xe6);

/* Sources: Linux include/linux/hyperv.h; the serial port: OpenVMM vm/devices/serial. */
static const struct {
	struct vmbus_guid id;
	const char *name;
} other_classes[] = {
	{GUID(0xf8615163u, 0xdf3e, 0x46c5, 0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e), "network"},
	{GUID(0xba6163d9u, 0x04a1, 0x4d29, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f), "scsi"},
	{GUID(0x32412632u, 0x86cb, 0x44a2, 0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5), "ide"},
	{GUID(0x2f9bcc4au, 0x0069, 0x4af3, 0xb7, 0x6b, 0x6f, 0xd0, 0xbe, 0x52, 0x8c, 0xda),
	 "fibre-channel"},
	{GUID(0x8c2eaf3du, 0x32a7, 0x4b09, 0xab, 0x99, 0xbd, 0x1f, 0x1c, 0x86, 0xb5, 0x01), "rdma"},
	{GUID(0x44c4f61du, 0x4444, 0x4400, 0x9d, 0x52, 0x80, 0x2e, 0x27, 0xed, 0xe1, 0x9f), "pci"},
	{GUID(0xf912ad6du, 0x2b17, 0x48ea, 0xbd, 0x65, 0xf9, 0x27, 0xa6, 0x1c, 0x76, 0x84), "keyboard"},
	{GUID(0xcfa8b69eu, 0x5b4a, 0x4cc0, 0xb9, 0x8b, 0x8b, 0xa1, 0xa1, 0xf3, 0xf9, 0x5a), "mouse"},
	{GUID(0xda0a7802u, 0xe377, 0x4aac, 0x8e, 0x77, 0x05, 0x58, 0xeb, 0x10, 0x73, 0xf8), "video"},
	{GUID(0x276aacf4u, 0xac15, 0x426c, 0x98, 0xdd, 0x75, 0x21, 0xad, 0x3f, 0x01, 0xfe),
	 "remote-desktop"},
	{GUID(0xf8e65716u, 0x3cb3, 0x4a06, 0x9a, 0x60, 0x18, 0x89, 0xc5, 0xcc, 0xca, 0xb5),
	 "activation"},
	{GUID(0x3375baf4u, 0x9e15, 0x4b30, 0xb7, 0x65, 0x67, 0xac, 0xb1, 0x0d, 0x60, 0x7b),
	 "activation-2"},
	{GUID(0xc376c1c3u, 0xd276, 0x48d2, 0x90, 0xa9, 0xc0, 0x47, 0x48, 0x07, 0x2c, 0x60),
	 "boot-files"},
	{GUID(0x8b60ccf6u, 0x709f, 0x4c11, 0x90, 0xb5, 0x22, 0x9c, 0x95, 0x9a, 0x9e, 0x6a), "serial"},
};

bool vmbus_guid_equal(const struct vmbus_guid *a, const struct vmbus_guid *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void vmbus_guid_format(const struct vmbus_guid *guid, char ret_text[VMBUS_GUID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	char *p = ret_text;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[guid->bytes[text_order[i]] >> 4];
		*p++ = digits[guid->bytes[text_order[i]] & 0xf];
	}
	*p = '\0';
}

/* The value of a hexadecimal digit, or -1. */
static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool vmbus_guid_parse(const char *text, struct vmbus_guid *ret_guid)
{
	size_t length = strlen(text);
	struct vmbus_guid guid;

	if (length == GUID_TEXT_LENGTH + 2 && text[0] == '{' && text[length - 1] == '}')
		text++;
	else if (length != GUID_TEXT_LENGTH)
		return false;

	for (int i = 0; i < 16; i++) {
		int high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return false;
		high = digit(*text++);
		low = digit(*text++);
		if (high < 0 || low < 0)
			return false;
		guid.bytes[text_order[i]] = high << 4 | low;
	}
	*ret_guid = guid;
	return true;
}

const char *vmbus_class_name(const struct vmbus_guid *class_id)
{
	if (vmbus_guid_equal(class_id, &vmbus_class_heartbeat))
		return "heartbeat";
	if (vmbus_guid_equal(class_id, &vmbus_class_vss))
		return "vss";
	if (vmbus_guid_equal(class_id, &vmbus_class_dynmem))
		return "dynmem";
	if (vmbus_guid_equal(class_id, &vmbus_class_shutdown))
		return "shutdown";
	if (vmbus_guid_equal(class_id, &vmbus_class_fcopy))
		return "fcopy";
	if (vmbus_guid_equal(class_id, &vmbus_class_timesync))
		return "timesync";
	if (vmbus_guid_equal(class_id, &vmbus_class_kvp))
		return "kvp";
	for (size_t i = 0; i < sizeof(other_classes) / sizeof(other_classes[0]); i++)
		if (vmbus_guid_equal(class_id, &other_classes[i].id))
			return other_classes[i].name;
	return "unknown";
}
