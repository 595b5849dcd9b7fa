/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Messages of file copy: what follows the two headers of an integration service, or what the
 * kernel's device hands on. All integers are little-endian. docs/PROTOCOL-fcopy.md has the rules.
 * Source: Linux include/uapi/linux/hyperv.h (struct hv_fcopy_hdr, hv_start_fcopy, hv_do_fcopy).
 */

enum fcopy_operation {
	FCOPY_OP_START = 0,
	FCOPY_OP_WRITE = 1,
	FCOPY_OP_COMPLETE = 2,
	FCOPY_OP_CANCEL = 3,
};

/* Bits of START's flags. */
#define FCOPY_FLAG_OVERWRITE   0x1u /* an existing file is replaced */
#define FCOPY_FLAG_CREATE_PATH 0x2u /* missing directories are made */

enum {
	FCOPY_HEADER_SIZE = 36,  /* u32 operation and two GUIDs that nobody uses */
	FCOPY_NAME_SIZE = 520,   /* 260 units of UTF-16; of UTF-8 on the kernel's device */
	FCOPY_START_SIZE = FCOPY_HEADER_SIZE + 2 * FCOPY_NAME_SIZE + 4 + 8,
	FCOPY_DATA_OFFSET = 52,
	FCOPY_FRAGMENT_MAX = 6144, /* Linux: DATA_FRAGMENT */
	FCOPY_WRITE_SIZE = FCOPY_DATA_OFFSET + FCOPY_FRAGMENT_MAX,
	/* Linux 6.1 drivers/hv/hv_fcopy.c cuts names there, and does not say so. */
	FCOPY_DEVICE_NAME_MAX = 259,
	FCOPY_TEXT_SIZE = 260 * 3 + 1, /* a name as UTF-8, with its NUL */
};
static_assert(FCOPY_START_SIZE == 1088, "struct hv_start_fcopy");
static_assert(FCOPY_WRITE_SIZE == 6196, "struct hv_do_fcopy");

/* How names are written. */
enum fcopy_encoding {
	FCOPY_UTF16, /* on a ring */
	FCOPY_UTF8,  /* on the kernel's device, which has converted them */
};

/* The conditions of the decoders. */
enum {
	FCOPY_TOO_SHORT = 1, /* for what the message says it is */
	FCOPY_BAD_TEXT,      /* a name that is no text, has no end, or may have been cut */
	FCOPY_BAD_SIZE,      /* a fragment that is larger than it may be */
};

struct fcopy_start {
	char directory[FCOPY_TEXT_SIZE]; /* UTF-8 */
	char name[FCOPY_TEXT_SIZE];
	uint32_t flags;
	uint64_t size_bytes; /* of the file, as the host announces it */
};

struct fcopy_fragment {
	uint64_t offset; /* bytes */
	uint32_t size;
	const uint8_t *data; /* into the message */
};

/* The operation of a message of @size bytes. FCOPY_TOO_SHORT. */
_must_check_ int fcopy_decode_operation(const void *message, size_t size, uint32_t *ret_operation);

/* What a START asks for. FCOPY_TOO_SHORT, FCOPY_BAD_TEXT. */
_must_check_ int fcopy_decode_start(const void *message, size_t size, enum fcopy_encoding encoding,
				    struct fcopy_start *ret_start);

/* The data of a WRITE; a message may end behind its last byte. FCOPY_TOO_SHORT, FCOPY_BAD_SIZE. */
_must_check_ int fcopy_decode_write(const void *message, size_t size,
				    struct fcopy_fragment *ret_fragment);

/* Writes a START with names of at most 259 units. FCOPY_BAD_TEXT if they are longer or no UTF-8. */
_must_check_ int fcopy_encode_start(const char *directory, const char *name, uint32_t flags,
				    uint64_t size_bytes, uint8_t ret_message[FCOPY_START_SIZE]);

/* Writes a WRITE of @size (at most FCOPY_FRAGMENT_MAX) bytes, zeros behind them. */
void fcopy_encode_write(uint64_t offset, const void *data, uint32_t size,
			uint8_t ret_message[FCOPY_WRITE_SIZE]);

/* Writes a message that is nothing but its operation: COMPLETE, CANCEL. */
void fcopy_encode_operation(uint32_t operation, uint8_t ret_message[FCOPY_HEADER_SIZE]);
