/* SPDX-License-Identifier: MIT */

/*
 * vmbus/channel.c: two ends joined in memory.
 */

#include "tests/unit/rings.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static struct rings rings;
static struct vmbus_channel guest, host;

static void connect_ends(void)
{
	rings = rings_new(2 * VMBUS_PAGE_SIZE);
	rings_connect(&rings, &guest, &host);
}

static void free_rings(void)
{
	rings_free(&rings);
}

TestSuite(channel, .init = connect_ends, .fini = free_rings);

Test(channel, a_message_arrives_with_its_transaction_id_and_is_counted)
{
	struct vmbus_message message;
	char buf[64];

	cr_assert(eq(int, vmbus_channel_send(&host, 77, "question", 8), 0));
	cr_expect(vmbus_channel_take_signal(&host));
	cr_expect(not(vmbus_channel_take_signal(&host)), "taken once");

	vmbus_channel_wake(&guest);
	cr_assert(eq(int, vmbus_channel_receive(&guest, buf, sizeof(buf), &message), 0));
	cr_expect(eq(u64, message.trans_id, 77));
	cr_expect(eq(sz, message.size, 8));
	cr_expect(eq(int, memcmp(buf, "question", 8), 0));
	cr_expect(eq(int, vmbus_channel_receive(&guest, buf, sizeof(buf), &message),
		     VMBUS_CHANNEL_EMPTY));
	cr_expect(vmbus_channel_sleep(&guest));

	cr_expect(eq(u64, guest.stats.packets_in, 1));
	cr_expect(eq(u64, guest.stats.bytes_in, 8));
	cr_expect(eq(u64, guest.stats.wakeups, 1));
	cr_expect(eq(u64, host.stats.packets_out, 1));
	cr_expect(eq(u64, host.stats.signals, 1));
}

Test(channel, a_batch_of_sends_asks_for_one_signal)
{
	for (int i = 0; i < 5; i++)
		cr_assert(eq(int, vmbus_channel_send(&guest, 0, "x", 1), 0));
	cr_expect(vmbus_channel_take_signal(&guest));
	cr_expect(eq(u64, guest.stats.signals, 1));
}

Test(channel, what_comes_between_the_last_read_and_sleeping_is_not_missed)
{
	struct vmbus_message message;
	char buf[8];

	vmbus_channel_wake(&guest);
	cr_assert(eq(int, vmbus_channel_receive(&guest, buf, 8, &message), VMBUS_CHANNEL_EMPTY));
	cr_assert(eq(int, vmbus_channel_send(&host, 0, "late", 4), 0));
	cr_expect(not(vmbus_channel_take_signal(&host)), "the guest had masked it");
	cr_expect(not(vmbus_channel_sleep(&guest)));
	cr_expect(eq(int, vmbus_channel_receive(&guest, buf, 8, &message), 0));
	cr_expect(vmbus_channel_sleep(&guest));
}

Test(channel, what_is_queued_arrives_at_the_latest_with_the_signal)
{
	struct vmbus_message message;
	char buf[64];

	for (int i = 0; i < 3; i++)
		cr_assert(eq(int, vmbus_channel_queue(&host, i, "queued", 6), 0));
	cr_expect(eq(int, vmbus_channel_receive(&guest, buf, 64, &message), VMBUS_CHANNEL_EMPTY));
	cr_expect(vmbus_channel_take_signal(&host));
	for (int i = 0; i < 3; i++) {
		cr_assert(eq(int, vmbus_channel_receive(&guest, buf, 64, &message), 0));
		cr_expect(eq(u64, message.trans_id, i));
	}
	cr_assert(eq(int, vmbus_channel_queue(&host, 3, "queued", 6), 0));
	cr_expect(vmbus_channel_sleep(&host), "sleeping shows it, too");
	cr_expect(vmbus_channel_poll(&guest));
	cr_expect(eq(int, vmbus_channel_receive(&guest, buf, 64, &message), 0));
	cr_expect(not(vmbus_channel_poll(&guest)));
}

Test(channel, a_long_batch_is_shown_and_given_back_in_parts)
{
	struct vmbus_message message;
	uint8_t buf[504] = {0};
	int got = 0;

	/* Nobody takes a signal, nobody sleeps: eight times what fits into the ring goes through. */
	vmbus_channel_wake(&guest);
	for (int i = 0; i < 64; i++) {
		cr_assert(eq(int, vmbus_channel_queue(&host, 0, buf, sizeof(buf)), 0));
		while (vmbus_channel_receive(&guest, buf, sizeof(buf), &message) == 0)
			got++;
	}
	cr_expect(gt(int, got, 60));
}

Test(channel, a_full_ring_asks_for_a_signal_and_the_reader_gives_it)
{
	struct vmbus_message message;
	uint8_t big[1200] = {0};
	int sent = 0, r;

	while ((r = vmbus_channel_send(&guest, 0, big, sizeof(big))) == 0)
		sent++;
	cr_assert(eq(int, r, VMBUS_CHANNEL_FULL));
	cr_expect(eq(u64, guest.stats.full, 1));
	cr_assert(sent > 0);

	vmbus_channel_wake(&host);
	cr_assert(eq(int, vmbus_channel_receive(&host, big, sizeof(big), &message), 0));
	cr_assert(not(vmbus_channel_sleep(&host)), "more is waiting");
	cr_expect(vmbus_channel_take_signal(&host), "the guest waits for room");
	cr_expect(eq(int, vmbus_channel_send(&guest, 0, big, sizeof(big)), 0));
	cr_expect(eq(u32, rings.memory[0].header->pending_send_size, 0));
}

Test(channel, a_message_that_can_never_fit_is_said_to_be_too_big)
{
	uint8_t big[VMBUS_PAGE_SIZE] = {0};

	cr_expect(eq(int, vmbus_channel_send(&guest, 0, big, sizeof(big)), VMBUS_CHANNEL_TOO_BIG));
	cr_expect(eq(u32, rings.memory[0].header->pending_send_size, 0));
}

Test(channel, other_packet_types_and_oversized_packets_are_dropped_and_counted)
{
	const struct vmbus_packet completion = {.type = VMBUS_PACKET_COMPLETION};
	struct vmbus_message message;
	uint8_t buf[16] = {0}, big[64] = {0};
	bool signal;

	cr_assert(eq(int, vmbus_ring_out_write(&host.out, &completion, NULL, &signal), 0));
	cr_assert(eq(int, vmbus_channel_send(&host, 0, big, sizeof(big)), 0));
	cr_assert(eq(int, vmbus_channel_send(&host, 5, "fits", 4), 0));

	cr_assert(eq(int, vmbus_channel_receive(&guest, buf, sizeof(buf), &message), 0));
	cr_expect(eq(u64, message.trans_id, 5));
	cr_expect(eq(u64, guest.stats.dropped_type, 1));
	cr_expect(eq(u64, guest.stats.dropped_size, 1));
	cr_expect(eq(u64, guest.stats.packets_in, 1));
}

Test(channel, one_call_drops_a_bounded_number_of_packets_and_sleep_says_that_there_is_more)
{
	const struct vmbus_packet completion = {.type = VMBUS_PACKET_COMPLETION};
	struct vmbus_message message;
	uint8_t buf[16];
	bool signal;

	for (int i = 0; i < 100; i++)
		cr_assert(eq(int, vmbus_ring_out_write(&host.out, &completion, NULL, &signal), 0));
	cr_expect(eq(int, vmbus_channel_receive(&guest, buf, sizeof(buf), &message),
		     VMBUS_CHANNEL_EMPTY));
	cr_expect(lt(u64, guest.stats.dropped_type, 100));
	cr_expect(not(vmbus_channel_sleep(&guest)));
	cr_expect(eq(int, vmbus_channel_receive(&guest, buf, sizeof(buf), &message),
		     VMBUS_CHANNEL_EMPTY));
	cr_expect(eq(u64, guest.stats.dropped_type, 100));
	cr_expect(vmbus_channel_sleep(&guest));
}

Test(channel, corruption_is_final)
{
	struct vmbus_message message;
	uint8_t buf[16];

	cr_assert(eq(int, vmbus_channel_send(&host, 0, "x", 1), 0));
	atomic_store(&rings.memory[1].header->write_index, 12);
	cr_expect(eq(int, vmbus_channel_receive(&guest, buf, 16, &message), VMBUS_CHANNEL_CORRUPT));
	atomic_store(&rings.memory[1].header->write_index, 32);
	cr_expect(eq(int, vmbus_channel_receive(&guest, buf, 16, &message), VMBUS_CHANNEL_CORRUPT));
	cr_expect(eq(int, vmbus_channel_send(&guest, 0, "x", 1), VMBUS_CHANNEL_CORRUPT));
	cr_expect(vmbus_channel_sleep(&guest), "nothing keeps the reader awake");
}

/* A reader that died: its successor has the memory, and the position of the last message it knows. */
Test(channel, a_successor_reads_on_where_the_last_message_was_dealt_with)
{
	struct vmbus_message message;
	struct vmbus_channel next;
	uint32_t known;
	char buf[64];

	for (uint64_t id = 1; id <= 3; id++)
		cr_assert(eq(int, vmbus_channel_send(&host, id, "request", 8), 0));
	cr_assert(eq(int, vmbus_channel_receive(&guest, buf, sizeof(buf), &message), 0));
	known = guest.in.read_index;
	cr_assert(eq(int, vmbus_channel_receive(&guest, buf, sizeof(buf), &message), 0));
	cr_assert(eq(u64, message.trans_id, 2));

	vmbus_channel_init(&next, &rings.memory[0], &rings.memory[1]);
	cr_assert(eq(int, vmbus_channel_resume(&next, known), 0));
	cr_assert(eq(int, vmbus_channel_receive(&next, buf, sizeof(buf), &message), 0));
	cr_expect(eq(u64, message.trans_id, 2));
	cr_assert(eq(int, vmbus_channel_receive(&next, buf, sizeof(buf), &message), 0));
	cr_expect(eq(u64, message.trans_id, 3));
	cr_expect(eq(int, vmbus_channel_receive(&next, buf, sizeof(buf), &message),
		     VMBUS_CHANNEL_EMPTY));
}

Test(channel, a_successor_writes_on_and_signals_in_any_case)
{
	struct vmbus_message message;
	struct vmbus_channel next;
	char buf[64];

	cr_assert(eq(int, vmbus_channel_send(&guest, 1, "answer", 7), 0));
	vmbus_channel_init(&next, &rings.memory[0], &rings.memory[1]);
	cr_assert(eq(int, vmbus_channel_resume(&next, 0), 0));
	cr_expect(vmbus_channel_take_signal(&next), "nobody knows whether the first one was");
	cr_assert(eq(int, vmbus_channel_send(&next, 2, "answer", 7), 0));
	for (uint64_t id = 1; id <= 2; id++) {
		cr_assert(eq(int, vmbus_channel_receive(&host, buf, sizeof(buf), &message), 0));
		cr_expect(eq(u64, message.trans_id, id));
	}
}

Test(channel, a_position_that_cannot_be_is_refused)
{
	static const uint32_t positions[] = {4, 8, 1u << 20, 80, UINT32_MAX & ~7u};
	struct vmbus_channel next;

	for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
		vmbus_channel_init(&next, &rings.memory[0], &rings.memory[1]);
		cr_expect(eq(int, vmbus_channel_resume(&next, positions[i]), VMBUS_CHANNEL_CORRUPT),
			  "nothing was written, so %u is beyond it", positions[i]);
		cr_expect(eq(int, vmbus_channel_send(&next, 1, "", 0), VMBUS_CHANNEL_CORRUPT));
	}
}
