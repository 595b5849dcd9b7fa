/* SPDX-License-Identifier: MIT */

/*
 * The header of a GPT. All integers are little-endian.
 *
 *     offset  size  meaning
 *          0     8  "EFI PART"
 *          8     4  revision
 *         12     4  size of the header in bytes, 92 or more
 *         16     4  CRC-32 of the header, with these four bytes as 0
 *         24     8  number of this sector
 *         32     8  number of the sector of the copy
 *         40     8  first usable sector
 *         48     8  last usable sector
 *         56    16  GUID of the disk
 *         72     8  first sector of the array of entries
 *         80     4  number of entries
 *         84     4  size of an entry in bytes
 *         88     4  CRC-32 of the array
 *
 * Source: UEFI specification 2.10, 5.3.2.
 */

#include "disks/gpt.h"

#include "base/bytes.h"

#include <string.h>

enum {
	HEADER_SIZE = 92,
	CRC_OFFSET = 16,
	GUID_SIZE = 16,
};

static uint32_t crc32_add(uint32_t crc, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return crc;
}

/* Of the header, whose own CRC counts as zeros. */
static uint32_t header_crc(const uint8_t *sector, size_t size)
{
	static const uint8_t zeros[4];
	uint32_t crc = crc32_add(UINT32_MAX, sector, CRC_OFFSET);

	crc = crc32_add(crc, zeros, sizeof(zeros));
	return ~crc32_add(crc, sector + CRC_OFFSET + 4, size - CRC_OFFSET - 4);
}

int gpt_read_header(const void *sector, size_t size, uint64_t lba, struct gpt_header *ret_header)
{
	struct gpt_header h;
	struct bytes_reader in;
	const uint8_t *magic;
	uint32_t header_size, crc, n, entry_size;

	bytes_reader_init(&in, sector, size);
	magic = bytes_get_direct(&in, 8);
	bytes_skip(&in, 4);
	header_size = bytes_get_u32(&in);
	crc = bytes_get_u32(&in);
	bytes_skip(&in, 4);
	h.this_lba = bytes_get_u64(&in);
	h.other_lba = bytes_get_u64(&in);
	bytes_skip(&in, 8);
	h.last_usable_lba = bytes_get_u64(&in);
	bytes_skip(&in, GUID_SIZE);
	h.entries_lba = bytes_get_u64(&in);
	n = bytes_get_u32(&in);
	entry_size = bytes_get_u32(&in);
	h.entries_crc = bytes_get_u32(&in);
	if (!bytes_reader_ok(&in) || memcmp(magic, "EFI PART", 8) != 0 || header_size < HEADER_SIZE ||
	    header_size > size || header_crc(sector, header_size) != crc || h.this_lba != lba)
		return GPT_DAMAGED;
	if (entry_size < 128 || n == 0 || n > GPT_ENTRIES_MAX_BYTES / entry_size)
		return GPT_DAMAGED;
	h.entry_bytes = entry_size;
	h.entries_bytes = n * entry_size;
	*ret_header = h;
	return 0;
}

int gpt_check_entries(const struct gpt_header *header, const void *entries, size_t size)
{
	if (size < header->entries_bytes ||
	    ~crc32_add(UINT32_MAX, entries, header->entries_bytes) != header->entries_crc)
		return GPT_DAMAGED;
	return 0;
}
