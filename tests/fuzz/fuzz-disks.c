/* SPDX-License-Identifier: MIT */

/*
 * What is read of a disk, which may be anybody's: the header of a GPT, the kernel's message, and the
 * plan that is made of a layout.
 *
 * Input: u8 what, modulo 3, and its bytes: 0 a sector (of 512 bytes or fewer) and behind it the entries;
 * 1 a message; 2 a layout: u8 table, u64 size, u64 usable end, and then for each part u64 start, u64
 * size, u64 in the table, u64 content, u8 flags.
 *
 * Oracles: a header that is taken has a matching number and entries of a bounded size; a name that is
 * taken fits and is in the message; what may grow stays in the disk, starts where it did, gets longer,
 * and touches no other part; what may not has a reason.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "disks/block_event.h"
#include "disks/gpt.h"
#include "disks/growth.h"

static void read_header(const uint8_t *data, size_t size)
{
	size_t sector = size < 512 ? size : 512;
	struct gpt_header h;

	if (gpt_read_header(data, sector, 1, &h))
		return;
	fuzz_require(h.this_lba == 1);
	fuzz_require(h.entry_bytes >= 128 && h.entries_bytes >= h.entry_bytes);
	fuzz_require(h.entries_bytes <= GPT_ENTRIES_MAX_BYTES);
	if (gpt_check_entries(&h, data + sector, size - sector) == 0)
		fuzz_require(size - sector >= h.entries_bytes);
}

static void read_message(const uint8_t *data, size_t size)
{
	char name[BLOCK_EVENT_NAME_SIZE];

	if (block_event_parse((const char *)data, size, name))
		return;
	fuzz_require(strlen(name) > 0);
	fuzz_require(memmem(data, size, name, strlen(name)) != NULL);
}

static void read_part(struct bytes_reader *in, struct disk_part *part, unsigned number)
{
	static const char *const contents[] = {"", "ext4", "xfs", "swap"};
	uint8_t flags;

	part->number = number;
	part->start_bytes = bytes_get_u64(in);
	part->size_bytes = bytes_get_u64(in);
	part->table_bytes = bytes_get_u64(in);
	part->content_bytes = bytes_get_u64(in);
	flags = bytes_get_u8(in);
	strcpy(part->content, contents[flags & 3]);
	part->is_nested = flags & 4;
	part->is_read_only = flags & 8;
	strcpy(part->mount, flags & 16 ? "/" : "");
	strcpy(part->holder, flags & 32 ? "dm-0" : "");
}

static void check_growth(const struct disk_layout *l, const struct disk_growth *g)
{
	const struct disk_part *part = &l->parts[g->part];

	if (g->verdict != DISK_CAN_GROW) {
		fuzz_require(g->reason[0] != '\0');
		return;
	}
	fuzz_require(g->part < l->n_parts && g->reason[0] == '\0' && g->unused_bytes > 0);
	fuzz_require(part->mount[0] && !part->is_read_only && !part->holder[0] && !part->is_nested);
	fuzz_require(disk_content_grows(part->content) && !l->is_read_only);
	if (g->partition_bytes == 0)
		return;
	fuzz_require(g->partition_bytes > part->size_bytes);
	fuzz_require(part->start_bytes + g->partition_bytes <= l->usable_end_bytes);
	for (size_t i = 0; i < l->n_parts; i++)
		fuzz_require(i == g->part || l->parts[i].start_bytes + l->parts[i].size_bytes <=
						     part->start_bytes);
}

static void make_plan(const uint8_t *data, size_t size)
{
	static struct disk_layout l;
	struct disk_growth g;
	struct bytes_reader in;

	l = (struct disk_layout){.name = "sda", .sector_bytes = 512};
	bytes_reader_init(&in, data, size);
	l.table = bytes_get_u8(&in) % 4;
	l.size_bytes = bytes_get_u64(&in);
	l.usable_end_bytes = bytes_get_u64(&in);
	if (l.usable_end_bytes > l.size_bytes)
		l.usable_end_bytes = l.size_bytes;
	while (bytes_left(&in) >= 33 && l.n_parts < DISK_PARTITIONS_MAX) {
		read_part(&in, &l.parts[l.n_parts], (unsigned)l.n_parts + 1);
		l.n_parts++;
	}
	disk_growth_plan(&l, &g);
	check_growth(&l, &g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(const uint8_t *data, size_t size) = {read_header, read_message,
									 make_plan};

	if (size > 0)
		what[data[0] % 3](data + 1, size - 1);
	return 0;
}
