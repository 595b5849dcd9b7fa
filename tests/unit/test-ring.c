/* SPDX-License-Identifier: MIT */

/*
 * vmbus/ring.c: the layout byte by byte, the signalling rules, what a hostile peer can do, and two
 * threads that would hang on a lost wake-up.
 */

#include "tests/unit/rings.h"
#include "vmbus/ring.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	SMALL = 2 * VMBUS_PAGE_SIZE, /* 4096 bytes of data */
};

static int write_bytes(struct vmbus_ring_out *out, const void *payload, size_t n, bool *ret_signal)
{
	const struct vmbus_packet packet = {
		.type = VMBUS_PACKET_INBAND,
		.trans_id = 0x1122334455667788,
		.payload_size = n,
	};

	return vmbus_ring_out_write(out, &packet, payload, ret_signal);
}

Test(ring, the_memory_must_be_whole_pages_with_room_for_data)
{
	static uint8_t mem[3 * VMBUS_PAGE_SIZE];
	static const size_t bad[] = {0, 1, 4095, 4096, 8191, 8193, (size_t)1 << 31, SIZE_MAX};
	struct vmbus_ring_memory memory;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect(eq(int, vmbus_ring_memory_init(&memory, mem, bad[i]), -EINVAL));
	cr_assert(eq(int, vmbus_ring_memory_init(&memory, mem, sizeof(mem)), 0));
	cr_expect(eq(u32, memory.data_size, 2 * VMBUS_PAGE_SIZE));
	cr_expect(memory.data == mem + VMBUS_PAGE_SIZE);
}

Test(ring, a_packet_has_the_documented_bytes)
{
	/* Host asks for versions: the worked example of docs/PROTOCOL-vmbus.md, section 2. */
	static const uint8_t payload[] = {
		0x01, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1c, 0, 0, 0, 0, 0,
		0, 3, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0,
		4, 0, 0, 0, 5, 0, 0, 0};
	static const uint8_t head[] = {6, 0, 2, 0, 9, 0, 0, 0};
	struct rings rings = rings_new(SMALL);
	const struct vmbus_packet packet = {.type = VMBUS_PACKET_INBAND, .payload_size = 56};
	struct vmbus_ring_out out;
	bool signal;

	vmbus_ring_out_init(&out, &rings.memory[0]);
	cr_assert(eq(int, vmbus_ring_out_write(&out, &packet, payload, &signal), 0));
	cr_expect(signal);
	cr_expect(eq(u32, rings.memory[0].header->write_index, 80));
	cr_expect(eq(int, memcmp(rings.memory[0].data, head, 8), 0));
	cr_expect(eq(int, memcmp(rings.memory[0].data + 16, payload, 56), 0));
	for (int i = 72; i < 80; i++)
		cr_expect(eq(u8, rings.memory[0].data[i], 0), "the trailer names offset 0");

	cr_assert(eq(int, vmbus_ring_out_write(&out, &packet, payload, &signal), 0));
	cr_expect(not(signal), "the ring was not empty");
	cr_expect(eq(u8, rings.memory[0].data[80 + 76], 80), "the trailer names the packet's start");
	rings_free(&rings);
}

Test(ring, payloads_of_every_size_come_out_as_they_went_in_around_the_end)
{
	struct rings rings = rings_new(SMALL);
	uint8_t in[512], out[512];
	struct vmbus_ring_out writer;
	struct vmbus_ring_in reader;
	struct vmbus_packet packet;
	bool signal;

	vmbus_ring_out_init(&writer, &rings.memory[0]);
	vmbus_ring_in_init(&reader, &rings.memory[0]);
	for (size_t n = 0; n < 5000; n++) {
		size_t size = n % (sizeof(in) + 1);

		memset(in, (int)n, sizeof(in));
		memset(out, 0xee, sizeof(out));
		cr_assert(eq(int, write_bytes(&writer, in, size, &signal), 0));
		cr_assert(signal);
		cr_assert(eq(int, vmbus_ring_in_read(&reader, out, sizeof(out), &packet), 0));
		cr_assert(eq(sz, packet.payload_size, (size + 7) / 8 * 8));
		cr_assert(eq(u64, packet.trans_id, 0x1122334455667788));
		cr_assert(eq(int, memcmp(in, out, size), 0));
		for (size_t i = size; i < packet.payload_size; i++)
			cr_assert(eq(u8, out[i], 0), "padding is zero");
		cr_assert(not(vmbus_ring_in_commit(&reader)));
		cr_assert(eq(int, vmbus_ring_in_read(&reader, out, sizeof(out), &packet),
			     VMBUS_RING_EMPTY));
	}
	rings_free(&rings);
}

Test(ring, eight_bytes_always_stay_free)
{
	struct rings rings = rings_new(SMALL);
	uint8_t payload[4096] = {0};
	struct vmbus_ring_out out;
	bool signal;

	vmbus_ring_out_init(&out, &rings.memory[0]);
	cr_expect(eq(int, write_bytes(&out, payload, 4096 - 24, &signal), VMBUS_RING_TOO_BIG));
	cr_expect(eq(int, write_bytes(&out, payload, 4096 - 32, &signal), 0));
	cr_expect(eq(u32, rings.memory[0].header->write_index, 4096 - 8));
	cr_expect(eq(int, write_bytes(&out, payload, 0, &signal), VMBUS_RING_FULL));
	rings_free(&rings);
}

Test(ring, a_payload_beyond_the_sixteen_bit_length_is_refused)
{
	struct rings rings = rings_new(1024 * 1024);
	size_t n = VMBUS_PACKET_PAYLOAD_MAX;
	uint8_t *payload = calloc(1, n + 1);
	struct vmbus_ring_out out;
	bool signal;

	vmbus_ring_out_init(&out, &rings.memory[0]);
	cr_expect(eq(int, write_bytes(&out, payload, n + 1, &signal), VMBUS_RING_TOO_BIG));
	cr_expect(eq(int, write_bytes(&out, payload, n, &signal), 0));
	free(payload);
	rings_free(&rings);
}

Test(ring, a_masked_reader_is_not_signalled_and_finds_the_packet_when_it_unmasks)
{
	struct rings rings = rings_new(SMALL);
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	bool signal;

	vmbus_ring_out_init(&out, &rings.memory[0]);
	vmbus_ring_in_init(&in, &rings.memory[0]);
	vmbus_ring_in_mask(&in);
	cr_assert(eq(int, write_bytes(&out, "x", 1, &signal), 0));
	cr_expect(not(signal));
	cr_expect(vmbus_ring_in_unmask(&in), "the packet that was not signalled is found");
	rings_free(&rings);
}

Test(ring, the_writer_is_signalled_once_when_enough_room_appears)
{
	struct rings rings = rings_new(SMALL);
	uint8_t payload[1000] = {0}, buf[1000];
	struct vmbus_packet packet;
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	bool signal, signals[4];

	vmbus_ring_out_init(&out, &rings.memory[0]);
	vmbus_ring_in_init(&in, &rings.memory[0]);
	for (int i = 0; i < 3; i++)
		cr_assert(eq(int, write_bytes(&out, payload, 1000, &signal), 0));
	cr_assert(eq(int, write_bytes(&out, payload, 1000, &signal), VMBUS_RING_FULL));
	cr_assert(not(vmbus_ring_out_want_space(&out, 1000)));

	for (int i = 0; i < 3; i++) {
		cr_assert(eq(int, vmbus_ring_in_read(&in, buf, sizeof(buf), &packet), 0));
		signals[i] = vmbus_ring_in_commit(&in);
	}
	cr_expect(signals[0]);
	cr_expect(not(signals[1]), "there was room already");
	cr_expect(not(signals[2]));

	vmbus_ring_out_want_no_space(&out);
	cr_expect(vmbus_ring_out_want_space(&out, 1000), "room that is there needs no waiting");
	rings_free(&rings);
}

Test(ring, a_writer_without_the_feature_is_never_signalled_for_room)
{
	struct rings rings = rings_new(SMALL);
	uint8_t payload[4000] = {0}, buf[4000];
	struct vmbus_packet packet;
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	bool signal;

	vmbus_ring_out_init(&out, &rings.memory[0]);
	vmbus_ring_in_init(&in, &rings.memory[0]);
	cr_assert(eq(int, write_bytes(&out, payload, 4000, &signal), 0));
	cr_assert(not(vmbus_ring_out_want_space(&out, 4000)));
	atomic_store(&rings.memory[0].header->feature_bits, 0);
	cr_assert(eq(int, vmbus_ring_in_read(&in, buf, sizeof(buf), &packet), 0));
	cr_expect(not(vmbus_ring_in_commit(&in)));
	rings_free(&rings);
}

Test(ring, an_oversized_packet_is_skipped_and_the_next_one_is_read)
{
	struct rings rings = rings_new(SMALL);
	uint8_t payload[256] = {0}, buf[64];
	struct vmbus_packet packet;
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	bool signal;

	vmbus_ring_out_init(&out, &rings.memory[0]);
	vmbus_ring_in_init(&in, &rings.memory[0]);
	cr_assert(eq(int, write_bytes(&out, payload, 256, &signal), 0));
	cr_assert(eq(int, write_bytes(&out, "next", 4, &signal), 0));
	cr_expect(eq(int, vmbus_ring_in_read(&in, buf, sizeof(buf), &packet), VMBUS_RING_OVERSIZE));
	cr_assert(eq(int, vmbus_ring_in_read(&in, buf, sizeof(buf), &packet), 0));
	cr_expect(eq(int, memcmp(buf, "next", 4), 0));
	rings_free(&rings);
}

Test(ring, a_broken_index_or_descriptor_is_corruption)
{
	static const struct {
		const char *what;
		uint32_t write_index;
		uint16_t offset8, len8;
	} rows[] = {
		{"write index past the end", 4096, 2, 3},
		{"write index far past the end", UINT32_MAX - 7, 2, 3},
		{"write index unaligned", 33, 2, 3},
		{"fewer bytes than a descriptor and trailer", 16, 2, 2},
		{"payload begins inside the descriptor", 32, 1, 3},
		{"payload begins behind the packet", 32, 4, 3},
		{"length 0", 32, 2, 0},
		{"packet longer than what was published", 32, 2, 4},
		{"packet longer than the ring", 32, 2, UINT16_MAX},
	};
	uint8_t buf[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rings rings = rings_new(SMALL);
		struct vmbus_packet_descriptor d = {VMBUS_PACKET_INBAND, rows[i].offset8,
						    rows[i].len8, 0, 0};
		struct vmbus_packet packet;
		struct vmbus_ring_in in;

		vmbus_ring_in_init(&in, &rings.memory[0]);
		memcpy(rings.memory[0].data, &d, sizeof(d));
		atomic_store(&rings.memory[0].header->write_index, rows[i].write_index);
		cr_expect(eq(int, vmbus_ring_in_read(&in, buf, sizeof(buf), &packet),
			     VMBUS_RING_CORRUPT),
			  "%s", rows[i].what);
		rings_free(&rings);
	}
}

Test(ring, a_writer_checks_the_reader_s_index)
{
	static const uint32_t bad[] = {4096, 4, UINT32_MAX, 0x80000000};
	struct rings rings = rings_new(SMALL);
	struct vmbus_ring_out out;
	bool signal;

	/* It looks only when it needs room. */
	vmbus_ring_out_init(&out, &rings.memory[0]);
	while (write_bytes(&out, "x", 1, &signal) == 0)
		;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		atomic_store(&rings.memory[0].header->read_index, bad[i]);
		cr_expect(eq(int, write_bytes(&out, "x", 1, &signal), VMBUS_RING_CORRUPT));
		cr_expect(vmbus_ring_out_want_space(&out, 1), "no use in waiting");
	}
	rings_free(&rings);
}

Test(ring, a_batch_is_published_at_once_and_asks_for_one_signal)
{
	const struct vmbus_packet one = {.type = VMBUS_PACKET_INBAND, .payload_size = 8};
	struct rings rings = rings_new(SMALL);
	struct vmbus_packet packet;
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	uint8_t buf[8];

	vmbus_ring_out_init(&out, &rings.memory[0]);
	vmbus_ring_in_init(&in, &rings.memory[0]);
	for (int i = 0; i < 3; i++)
		cr_assert(eq(int, vmbus_ring_out_put(&out, &one, "12345678"), 0));
	cr_expect(not(vmbus_ring_in_has_more(&in)), "nothing is to be seen yet");
	cr_expect(vmbus_ring_out_publish(&out), "the ring was empty before the first of them");
	cr_expect(not(vmbus_ring_out_publish(&out)), "there is nothing to publish any more");
	for (int i = 0; i < 3; i++) {
		cr_expect(vmbus_ring_in_has_more(&in));
		cr_assert(eq(int, vmbus_ring_in_read(&in, buf, sizeof(buf), &packet), 0));
	}
	cr_expect(not(vmbus_ring_in_has_more(&in)));
	cr_expect(not(vmbus_ring_in_commit(&in)));

	cr_assert(eq(int, vmbus_ring_out_put(&out, &one, "12345678"), 0));
	vmbus_ring_in_mask(&in);
	cr_expect(not(vmbus_ring_out_publish(&out)), "the reader is awake");
	rings_free(&rings);
}

Test(ring, the_reader_trusts_its_own_index_only)
{
	struct rings rings = rings_new(SMALL);
	struct vmbus_packet packet;
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	uint8_t buf[8];
	bool signal;

	vmbus_ring_out_init(&out, &rings.memory[0]);
	vmbus_ring_in_init(&in, &rings.memory[0]);
	cr_assert(eq(int, write_bytes(&out, "12345678", 8, &signal), 0));
	atomic_store(&rings.memory[0].header->read_index, 24);
	cr_assert(eq(int, vmbus_ring_in_read(&in, buf, sizeof(buf), &packet), 0));
	cr_expect(eq(int, memcmp(buf, "12345678", 8), 0));
	cr_expect(not(vmbus_ring_in_commit(&in)));
	cr_expect(eq(u32, rings.memory[0].header->read_index, 32));
	rings_free(&rings);
}

Test(ring, random_memory_never_leads_outside_and_reading_ends)
{
	unsigned int seed = 1;
	uint8_t *buf = malloc(128);

	for (int round = 0; round < 3000; round++) {
		struct rings rings = rings_new(SMALL);
		uint32_t *words = (uint32_t *)(void *)rings.memory[0].data;
		struct vmbus_packet packet;
		struct vmbus_ring_in in;
		int reads = 0, r;

		vmbus_ring_in_init(&in, &rings.memory[0]);
		for (size_t i = 0; i < 4096 / 4; i++)
			words[i] = rand_r(&seed) % 3 ? 0x00020002u + rand_r(&seed) % 16
						     : (uint32_t)rand_r(&seed);
		atomic_store(&rings.memory[0].header->write_index, rand_r(&seed) % 520 * 8);
		do {
			r = vmbus_ring_in_read(&in, buf, 128, &packet);
			reads++;
			cr_assert(reads < 4096);
			(void)!vmbus_ring_in_commit(&in);
		} while (r == 0 || r == VMBUS_RING_OVERSIZE);
		rings_free(&rings);
	}
	free(buf);
}

enum {
	THREAD_PACKETS = 200000
};

struct link {
	struct vmbus_ring_memory memory;
	int data_bell, room_bell;
	uint64_t sleeps;
};

static void ring_bell(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

/* A bell that does not ring for ten seconds is a lost wake-up. */
static void wait_bell(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t n;

	if (poll(&p, 1, 10000) != 1 || read(fd, &n, sizeof(n)) != sizeof(n))
		abort();
}

static void *write_many(void *user)
{
	struct link *link = user;
	struct vmbus_ring_out out;

	vmbus_ring_out_init(&out, &link->memory);
	for (uint64_t i = 0; i < THREAD_PACKETS; i++) {
		uint64_t payload[16] = {i, ~i};
		size_t n = 16 + i % 112;
		bool signal;

		while (write_bytes(&out, payload, n, &signal) == VMBUS_RING_FULL)
			if (!vmbus_ring_out_want_space(&out, n))
				wait_bell(link->room_bell);
		vmbus_ring_out_want_no_space(&out);
		if (signal)
			ring_bell(link->data_bell);
	}
	return NULL;
}

Test(ring, two_threads_exchange_packets_and_neither_sleeps_for_ever, .timeout = 120)
{
	struct rings rings = rings_new(SMALL);
	struct link link = {
		.memory = rings.memory[0],
		.data_bell = eventfd(0, EFD_CLOEXEC),
		.room_bell = eventfd(0, EFD_CLOEXEC),
	};
	uint64_t expected = 0, payload[16];
	struct vmbus_packet packet;
	struct vmbus_ring_in in;
	pthread_t thread;

	vmbus_ring_in_init(&in, &link.memory);
	cr_assert(eq(int, pthread_create(&thread, NULL, write_many, &link), 0));
	while (expected < THREAD_PACKETS) {
		vmbus_ring_in_mask(&in);
		while (vmbus_ring_in_read(&in, payload, sizeof(payload), &packet) == 0) {
			cr_assert(eq(u64, payload[0], expected));
			cr_assert(eq(u64, payload[1], ~expected));
			expected++;
			if (vmbus_ring_in_commit(&in))
				ring_bell(link.room_bell);
		}
		if (!vmbus_ring_in_unmask(&in) && expected < THREAD_PACKETS) {
			wait_bell(link.data_bell);
			link.sleeps++;
		}
	}
	cr_assert(eq(int, pthread_join(thread, NULL), 0));
	close(link.data_bell);
	close(link.room_bell);
	rings_free(&rings);
}
