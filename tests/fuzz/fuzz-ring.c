/* SPDX-License-Identifier: MIT */

/*
 * A ring whose control page and data are whatever the other side made of them.
 *
 * Input: u8 pages of data (1 to 4), u8 size of the receive buffer in units of 64 bytes, u8 payload
 * of a packet to write in units of 32 bytes, u8 unused, then the u32 words write_index, read_index,
 * interrupt_mask, pending_send_size and feature_bits, then the data area. The reader begins at
 * read_index, made valid, because it only ever trusts its own.
 *
 * Oracles: nothing outside of the ring or of the buffer is touched; a reader gets no more than what
 * was published, and ends; a writer neither believes an index that is out of range nor fills the
 * ring to the last byte, and what it wrote is read back as the same.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "vmbus/ring.h"

struct input {
	uint32_t data_size;
	size_t buf_size;
	size_t payload_size;
	uint32_t write_index;
	uint32_t read_index;
	uint32_t interrupt_mask;
	uint32_t pending_send_size;
	uint32_t feature_bits;
	const uint8_t *data;
	size_t data_given;
};

static bool parse(const uint8_t *data, size_t size, struct input *ret_input)
{
	struct bytes_reader r;

	bytes_reader_init(&r, data, size);
	ret_input->data_size = (1 + bytes_get_u8(&r) % 4) * (uint32_t)VMBUS_PAGE_SIZE;
	ret_input->buf_size = bytes_get_u8(&r) * (size_t)64;
	ret_input->payload_size = bytes_get_u8(&r) * (size_t)32;
	bytes_skip(&r, 1);
	ret_input->write_index = bytes_get_u32(&r);
	ret_input->read_index = bytes_get_u32(&r);
	ret_input->interrupt_mask = bytes_get_u32(&r);
	ret_input->pending_send_size = bytes_get_u32(&r);
	ret_input->feature_bits = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r))
		return false;

	ret_input->data_given = bytes_left(&r);
	if (ret_input->data_given > ret_input->data_size)
		ret_input->data_given = ret_input->data_size;
	ret_input->data = bytes_get_direct(&r, ret_input->data_given);
	return true;
}

/* Lays the ring out in a block of its own, which the caller frees. */
static void *make_ring(const struct input *input, struct vmbus_ring_memory *ret_memory)
{
	size_t size = VMBUS_PAGE_SIZE + (size_t)input->data_size;
	void *block = aligned_alloc(VMBUS_PAGE_SIZE, size);

	fuzz_require(block);
	memset(block, 0, size);
	fuzz_require(vmbus_ring_memory_init(ret_memory, block, size) == 0);
	atomic_store(&ret_memory->header->write_index, input->write_index);
	atomic_store(&ret_memory->header->read_index, input->read_index);
	atomic_store(&ret_memory->header->interrupt_mask, input->interrupt_mask);
	atomic_store(&ret_memory->header->pending_send_size, input->pending_send_size);
	atomic_store(&ret_memory->header->feature_bits, input->feature_bits);
	if (input->data_given > 0)
		memcpy(ret_memory->data, input->data, input->data_given);
	return block;
}

static uint32_t valid_index(uint32_t index, uint32_t data_size)
{
	return index % data_size & ~(uint32_t)(VMBUS_RING_ALIGN - 1);
}

/* Bytes from @from to @to around the ring. */
static size_t between(uint32_t from, uint32_t to, uint32_t data_size)
{
	return (to + data_size - from) % data_size;
}

/* Reads until the ring is empty or broken, and never past what was published. */
static void read_all(const struct input *input, const struct vmbus_ring_memory *memory)
{
	_cleanup_free_ uint8_t *buf = malloc(input->buf_size);
	struct vmbus_ring_in ring;
	uint32_t start = valid_index(input->read_index, input->data_size), before = start;
	struct vmbus_packet packet;
	size_t taken = 0;
	int r;

	vmbus_ring_in_init(&ring, memory);
	ring.read_index = ring.committed = ring.write_index = start;
	vmbus_ring_in_mask(&ring);
	while ((r = vmbus_ring_in_read(&ring, buf, input->buf_size, &packet)) == 0 ||
	       r == VMBUS_RING_OVERSIZE) {
		fuzz_require(r == VMBUS_RING_OVERSIZE || packet.payload_size <= input->buf_size);
		fuzz_require(ring.read_index == valid_index(ring.read_index, input->data_size));
		taken += between(before, ring.read_index, input->data_size);
		fuzz_require(taken <= between(start, input->write_index, input->data_size));
		before = ring.read_index;
	}
	fuzz_require(r == VMBUS_RING_EMPTY || r == VMBUS_RING_CORRUPT);
	if (vmbus_ring_in_commit(&ring))
		fuzz_require(input->pending_send_size > 0 && taken > 0);
	fuzz_require(atomic_load(&memory->header->read_index) == ring.read_index || taken == 0);
	fuzz_require(vmbus_ring_in_unmask(&ring) == (r == VMBUS_RING_CORRUPT));
}

/* The packet that was just written at @start comes out as it went in. */
static void read_back(const struct input *input, const struct vmbus_ring_memory *memory,
		      uint32_t start, const uint8_t *payload)
{
	_cleanup_free_ uint8_t *buf = malloc(input->payload_size);
	struct vmbus_ring_in ring;
	struct vmbus_packet packet;

	vmbus_ring_in_init(&ring, memory);
	ring.read_index = ring.committed = ring.write_index = start;
	fuzz_require(vmbus_ring_in_read(&ring, buf, input->payload_size, &packet) == 0);
	fuzz_require(packet.payload_size == input->payload_size);
	fuzz_require(packet.trans_id == 7 && packet.type == VMBUS_PACKET_INBAND);
	fuzz_require(packet.payload_size == 0 || !memcmp(buf, payload, packet.payload_size));
	fuzz_require(vmbus_ring_in_read(&ring, buf, input->payload_size, &packet) ==
		     VMBUS_RING_EMPTY);
}

/* Writes against a reader's index that may be anything. */
static void write_one(const struct input *input, const struct vmbus_ring_memory *memory)
{
	_cleanup_free_ uint8_t *payload = malloc(input->payload_size);
	struct vmbus_packet packet = {
		.type = VMBUS_PACKET_INBAND,
		.trans_id = 7,
		.payload_size = input->payload_size,
	};
	struct vmbus_ring_out ring;
	uint32_t start = valid_index(input->write_index, input->data_size);
	bool signal;
	int r;

	if (input->payload_size > 0)
		memset(payload, 0x5a, input->payload_size);
	vmbus_ring_out_init(&ring, memory);
	ring.write_index = ring.published = start;
	ring.read_index = (start + VMBUS_RING_ALIGN) % input->data_size; /* full, until it looks */
	r = vmbus_ring_out_write(&ring, &packet, payload, &signal);
	if (r == 0) {
		fuzz_require(input->read_index == valid_index(input->read_index, input->data_size));
		fuzz_require(input->read_index != ring.write_index);
		read_back(input, memory, start, payload);
	}
	if (r == VMBUS_RING_FULL)
		fuzz_require(!vmbus_ring_out_want_space(&ring, input->payload_size));
	fuzz_require(ring.write_index == valid_index(ring.write_index, input->data_size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmbus_ring_memory memory;
	_cleanup_free_ void *block = NULL;
	struct input input;

	if (!parse(data, size, &input))
		return 0;
	block = make_ring(&input, &memory);
	read_all(&input, &memory);

	free(block);
	block = make_ring(&input, &memory);
	write_one(&input, &memory);
	return 0;
}
