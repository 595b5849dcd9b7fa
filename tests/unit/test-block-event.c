/* SPDX-License-Identifier: MIT */

/*
 * disks/block_event.c: which messages of the kernel say that a disk has another size.
 */

#include "disks/block_event.h"
#include "tests/unit/tree.h"

#define SDA "change@/devices/x/block/sda\0ACTION=change\0DEVPATH=/devices/x/block/sda\0SUBSYSTEM=block"

static const char good[] = SDA "\0RESIZE=1\0MAJOR=8\0MINOR=0\0DEVNAME=sda\0DEVTYPE=disk\0SEQNUM=7";

Test(block_event, a_disk_that_was_resized_is_named)
{
	char name[BLOCK_EVENT_NAME_SIZE];

	cr_assert(eq(int, block_event_parse(good, sizeof(good), name), 0));
	expect_text(name, "sda");
}

Test(block_event, other_messages_are_passed_over)
{
#define ROW(text) {text, sizeof(text)}
	static const struct {
		const char *text;
		size_t size;
	} rows[] = {
		{"", 0},
		{"x", 1},
		ROW(SDA "\0DEVNAME=sda\0DEVTYPE=disk"),
		ROW(SDA "\0RESIZE=0\0DEVNAME=sda\0DEVTYPE=disk"),
		ROW(SDA "\0RESIZE=1\0DEVNAME=sda1\0DEVTYPE=partition"),
		ROW(SDA "\0RESIZE=1\0DEVTYPE=disk"),
		ROW(SDA "\0RESIZE=1\0DEVNAME=\0DEVTYPE=disk"),
		ROW(SDA "\0RESIZE=1\0DEVNAME=a-name-that-is-longer-than-any-disk\0DEVTYPE=disk"),
		ROW(SDA "\0RESIZE=1\0DEVNAME=sda\0DEVTYPE=disk\0ACTION=add"),
		ROW(SDA "\0RESIZE=1\0DEVNAME=sda\0DEVTYPE=disk\0SUBSYSTEM=scsi"),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[BLOCK_EVENT_NAME_SIZE] = "same";

		cr_expect(eq(int, block_event_parse(rows[i].text, rows[i].size, name),
			     BLOCK_EVENT_OTHER), "row %zu", i);
		expect_text(name, "same");
	}
}

Test(block_event, any_piece_of_a_message_does_no_harm)
{
	char name[BLOCK_EVENT_NAME_SIZE];

	for (size_t from = 1; from < sizeof(good); from++)
		for (size_t to = from; to < sizeof(good); to++) {
			char *copy = memcpy(malloc(to - from + 1), good + from, to - from);

			cr_expect(le(int, block_event_parse(copy, to - from, name), BLOCK_EVENT_OTHER));
			free(copy);
		}
}
