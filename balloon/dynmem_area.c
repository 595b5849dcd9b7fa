/* SPDX-License-Identifier: MIT */

/*
 * Memory that survives its writer.
 *
 *     head 0 | head 1 | log 0 | log 1
 *
 * A head names one of the logs, how many of its entries count and their checksum, carries the
 * payload, and ends with a checksum over itself. The heads are written in turn; the valid one with
 * the higher sequence number is the state. So a writer that is killed
 *   - while it appends has written behind the entries that count;
 *   - while it fills a log that it has begun anew has written to the log that no valid head names,
 *     because a log is begun anew only after a head names the other one;
 *   - while it writes a head has spoilt the older head, and the newer one is valid still;
 * and what it did last is there completely, or not at all. The stores of a killed process are seen
 * in the order in which it made them; a fence keeps the compiler to that order, and a second one
 * the processor, in case that the next writer runs on another one.
 *
 * The checksum is no protection against malice; nobody but root can write here. Each step of it is
 * a bijection of the word that goes in and of the sum so far, so that no single changed word goes
 * unnoticed.
 */

#include "balloon/dynmem_area.h"

#include "base/bytes.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define MAGIC     UINT64_C(0x6d656d6e79647668) /* "hvdynmem" */
#define SUM_START UINT64_C(0xcbf29ce484222325)
#define SUM_PRIME UINT64_C(0x100000001b3)

enum {
	FORMAT_VERSION = 1, /* of the area and of all that lies in it */
	N_HEADS = 2,
	HEAD_SIZE = 6144, /* bytes, the payload included */
	HEAD_SUM_AT = HEAD_SIZE - 8,
	ENTRY_SIZE = 16, /* bytes */
	LOGS_AT = N_HEADS * HEAD_SIZE,
};

struct head {
	uint64_t seq;
	uint32_t log;
	uint64_t n;
	uint64_t sum;
	uint32_t size; /* of the payload */
	const uint8_t *payload;
};

static uint64_t add_to_sum(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * SUM_PRIME;
	return sum ^ sum >> 32;
}

static uint64_t sum_of(const uint8_t *bytes, size_t size)
{
	uint64_t sum = SUM_START;
	struct bytes_reader r;

	bytes_reader_init(&r, bytes, size);
	while (bytes_left(&r) >= 8)
		sum = add_to_sum(sum, bytes_get_u64(&r));
	return sum;
}

static size_t capacity_of(size_t bytes)
{
	return (bytes - LOGS_AT) / 2 / ENTRY_SIZE;
}

size_t dynmem_area_bytes(size_t capacity)
{
	return LOGS_AT + 2 * capacity * ENTRY_SIZE;
}

static uint8_t *head_at(uint8_t *base, uint64_t seq)
{
	return base + seq % N_HEADS * HEAD_SIZE;
}

static uint8_t *entry_at(const struct dynmem_area *area, size_t i)
{
	return area->base + LOGS_AT + (area->log * area->capacity + i) * ENTRY_SIZE;
}

void dynmem_area_init(struct dynmem_area *area, void *base, size_t bytes)
{
	assert((uintptr_t)base % 8 == 0 && bytes >= dynmem_area_bytes(1));

	memset(base, 0, LOGS_AT);
	*area = (struct dynmem_area){
		.base = base,
		.capacity = capacity_of(bytes),
		.sum = SUM_START,
	};
}

/* True if @copy, HEAD_SIZE bytes, is a whole head of this version. */
static bool decode_head(const uint8_t *copy, struct head *ret_head)
{
	struct head head;
	uint64_t magic;
	uint32_t version;
	struct bytes_reader r;

	bytes_reader_init(&r, copy, HEAD_SUM_AT);
	magic = bytes_get_u64(&r);
	version = bytes_get_u32(&r);
	head.log = bytes_get_u32(&r);
	head.seq = bytes_get_u64(&r);
	head.n = bytes_get_u64(&r);
	head.sum = bytes_get_u64(&r);
	head.size = bytes_get_u32(&r);
	bytes_skip(&r, 4);
	if (magic != MAGIC || version != FORMAT_VERSION || head.log > 1 ||
	    head.size > DYNMEM_AREA_PAYLOAD_MAX)
		return false;
	head.payload = bytes_get_direct(&r, head.size);

	bytes_reader_init(&r, copy + HEAD_SUM_AT, 8);
	if (bytes_get_u64(&r) != sum_of(copy, HEAD_SUM_AT))
		return false;
	*ret_head = head;
	return true;
}

static void encode_head(uint8_t *bytes, const struct head *head)
{
	struct bytes_writer w;

	bytes_writer_init(&w, bytes, HEAD_SIZE);
	bytes_put_u64(&w, MAGIC);
	bytes_put_u32(&w, FORMAT_VERSION);
	bytes_put_u32(&w, head->log);
	bytes_put_u64(&w, head->seq);
	bytes_put_u64(&w, head->n);
	bytes_put_u64(&w, head->sum);
	bytes_put_u32(&w, head->size);
	bytes_put_u32(&w, 0);
	bytes_put(&w, head->payload, head->size);
	bytes_put_zeros(&w, HEAD_SUM_AT - bytes_written(&w));
	bytes_put_u64(&w, sum_of(bytes, HEAD_SUM_AT));
	assert(bytes_writer_ok(&w) && bytes_written(&w) == HEAD_SIZE);
}

static bool is_blank(const uint8_t *bytes, size_t size)
{
	size_t i = 0;

	while (i < size && bytes[i] == 0)
		i++;
	return i == size;
}

/* Takes the newest whole head out of the area, and copies its payload. */
static int find_head(uint8_t *base, struct head *ret_head, uint8_t *ret_payload)
{
	uint8_t copy[HEAD_SIZE];
	struct head head;
	bool found = false, blank = true;

	for (unsigned int i = 0; i < N_HEADS; i++) {
		memcpy(copy, head_at(base, i), sizeof(copy));
		blank &= is_blank(copy, sizeof(copy));
		if (!decode_head(copy, &head) || head.seq % N_HEADS != i)
			continue;
		if (found && head.seq < ret_head->seq)
			continue;
		found = true;
		*ret_head = head;
		memset(ret_payload, 0, DYNMEM_AREA_PAYLOAD_MAX);
		memcpy(ret_payload, head.payload, head.size);
	}
	if (found)
		return 0;
	return blank ? DYNMEM_AREA_EMPTY : DYNMEM_AREA_BAD;
}

int dynmem_area_open(struct dynmem_area *area, void *base, size_t bytes, uint8_t *ret_payload)
{
	struct dynmem_area found = {.base = base, .sum = SUM_START};
	struct dynmem_entry entry;
	struct head head;
	int r;

	assert((uintptr_t)base % 8 == 0);
	if (bytes < dynmem_area_bytes(1))
		return DYNMEM_AREA_BAD;
	r = find_head(base, &head, ret_payload);
	if (r)
		return r;

	found.capacity = capacity_of(bytes);
	if (head.n > found.capacity)
		return DYNMEM_AREA_BAD;
	found.log = found.committed_log = head.log;
	found.seq = head.seq;
	found.n = head.n;
	for (size_t i = 0; i < found.n; i++) {
		entry = dynmem_area_entry(&found, i);
		found.sum = add_to_sum(add_to_sum(found.sum, entry.words[0]), entry.words[1]);
	}
	if (found.sum != head.sum)
		return DYNMEM_AREA_BAD;
	*area = found;
	return 0;
}

struct dynmem_entry dynmem_area_entry(const struct dynmem_area *area, size_t i)
{
	struct dynmem_entry entry;
	struct bytes_reader r;

	assert(i < area->n);
	bytes_reader_init(&r, entry_at(area, i), ENTRY_SIZE);
	entry.words[0] = bytes_get_u64(&r);
	entry.words[1] = bytes_get_u64(&r);
	return entry;
}

void dynmem_area_append(struct dynmem_area *area, struct dynmem_entry entry)
{
	struct bytes_writer w;

	if (area->n >= area->capacity)
		area->overflow = true;
	if (area->overflow)
		return;
	bytes_writer_init(&w, entry_at(area, area->n), ENTRY_SIZE);
	bytes_put_u64(&w, entry.words[0]);
	bytes_put_u64(&w, entry.words[1]);
	area->sum = add_to_sum(add_to_sum(area->sum, entry.words[0]), entry.words[1]);
	area->n++;
}

void dynmem_area_restart(struct dynmem_area *area)
{
	area->log = !area->committed_log;
	area->n = 0;
	area->sum = SUM_START;
	area->overflow = false;
}

void dynmem_area_commit(struct dynmem_area *area, const void *payload, size_t size)
{
	const struct head head = {
		.seq = area->seq + 1,
		.log = area->log,
		.n = area->n,
		.sum = area->sum,
		.size = size,
		.payload = payload,
	};

	assert(!area->overflow && size <= DYNMEM_AREA_PAYLOAD_MAX);
	atomic_thread_fence(memory_order_seq_cst);
	encode_head(head_at(area->base, head.seq), &head);
	atomic_thread_fence(memory_order_seq_cst);
	area->seq = head.seq;
	area->committed_log = head.log;
}
