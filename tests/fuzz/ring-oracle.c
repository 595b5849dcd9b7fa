/* SPDX-License-Identifier: MIT */

/*
 * What one end of a channel may do with shared memory, whatever the other end does meanwhile.
 *
 * The oracle sees each access of the code under test together with the value it got. From these it
 * knows what the code may touch next and what it must make of it, by docs/PROTOCOL-vmbus.md, of
 * which this is a second implementation:
 *
 *     bounds    Control words are accessed as atomics of four bytes, each by the side that may, and
 *               nothing else of the control page is. Data is read between the reader's index and
 *               the writer's index as it was last loaded; it is written only where it is free. The
 *               other side's index is loaded only when the last one is used up.
 *     one fetch No byte of a packet is fetched twice. So what comes out must be what a reader in a
 *               world that stands still would make of the bytes as they were fetched: the same
 *               condition, the same packet, the same payload.
 *     order     The other side's index is loaded with acquire, the own stored with release, and after
 *               everything that it announces; there is a full fence between a store and a load that
 *               decide together whether somebody sleeps.
 *     progress  A call makes a bounded number of accesses, and drops a bounded number of packets.
 *     counters  They say what happened, signals are asked for when they are due and never else, and
 *               a corrupt channel touches nothing any more.
 */

#include "tests/fuzz/ring-oracle.h"

#include "tests/fuzz/fuzz.h"

#include <stdatomic.h>

enum {
	DATA = ORACLE_DATA_SIZE,
	RESERVE = 8,
	PACKET_MIN = 24,
	PART = DATA / 4, /* given back, asked for and shown at the latest; vmbus/ring.c */
	DROPS_MAX = 64, /* vmbus/channel.c */
	ACCESSES_MAX = 20000,
};

/* The control words, by their offset. */
enum word {
	WRITE_INDEX = 0,
	READ_INDEX = 4,
	MASK = 8,
	PENDING = 12,
	FEATURES = 64,
};

/* What a packet turns out to be. */
enum verdict {
	GOOD,
	EMPTY,
	CORRUPT,
	OVERSIZE,
	WRONG_TYPE,
};

static bool index_is_good(uint32_t index)
{
	return index < DATA && index % 8 == 0;
}

static uint32_t from_to(uint32_t from, uint32_t to)
{
	return (to + DATA - from) % DATA;
}

/* Bytes free for a writer at @write_index whose reader is at @read_index. */
static uint32_t room(uint32_t write_index, uint32_t read_index)
{
	return DATA - RESERVE - from_to(read_index, write_index);
}

static bool is_acquire(const struct access *a)
{
	return a->order == memory_order_acquire || a->order == memory_order_seq_cst;
}

static bool is_release(const struct access *a)
{
	return a->order == memory_order_release || a->order == memory_order_seq_cst;
}

void oracle_init(struct oracle *o, const struct vmbus_channel *channel, const uint8_t *memory)
{
	*o = (struct oracle){.channel = channel, .memory = memory};
}

void oracle_begin(struct oracle *o, enum oracle_call call)
{
	o->call = call;
	o->accesses = 0;
	o->fenced = false;
	o->sleep = (struct oracle_sleep){0};
	o->publish = (struct oracle_publish){0};
}

void oracle_begin_receive(struct oracle *o, size_t size)
{
	oracle_begin(o, ORACLE_RECEIVE);
	o->buf_size = size;
	o->drops = 0;
	o->packet.under_way = o->packet.begun = false;
}

void oracle_begin_send(struct oracle *o, enum oracle_call call, uint64_t trans_id,
		       const uint8_t *payload, size_t size)
{
	oracle_begin(o, call);
	o->write = (struct oracle_write){
		.payload = payload,
		.payload_size = size,
		.ring_size = (16 + size + 7) / 8 * 8 + 8,
		.trans_id = trans_id,
		.start = o->write_index,
	};
}

/* --- giving back */

/* Did the writer wait for room, and has it just got enough? */
static bool writer_is_due(const struct oracle *o)
{
	const struct oracle_sleep *s = &o->sleep;
	int64_t now, before;

	if (!(s->features & VMBUS_RING_FEATURE_PENDING_SEND_SIZE))
		return false;
	fuzz_require(s->pending_loaded && s->room_loaded);
	if (s->pending == 0 || !index_is_good(s->room_index))
		return false;
	now = room(s->room_index, o->read_index);
	before = now - (int64_t)from_to(o->committed, o->read_index);
	return now >= s->pending && before < s->pending;
}

/* What was read is given back if it @is_due, and else not. */
static void expect_given_back(struct oracle *o, bool is_due)
{
	fuzz_require(o->sleep.committed == is_due);
	if (is_due)
		o->signal |= writer_is_due(o);
	if (is_due)
		o->committed = o->read_index;
}

/* --- reading */

/* From the bytes as they were fetched; what decides must have been fetched. */
static enum verdict judge_packet(struct oracle *o)
{
	struct oracle_packet *p = &o->packet;
	uint32_t readable = from_to(o->read_index, p->write_index), length;
	uint8_t raw[sizeof(p->descriptor)];

	if (!index_is_good(p->write_index))
		return CORRUPT;
	if (readable == 0)
		return EMPTY;
	if (readable < PACKET_MIN)
		return CORRUPT;
	for (uint32_t i = 0; i < sizeof(raw); i++) {
		fuzz_require(p->fetched[(o->read_index + i) % DATA]);
		raw[i] = p->bytes[(o->read_index + i) % DATA];
	}
	memcpy(&p->descriptor, raw, sizeof(raw));
	length = p->descriptor.len8 * 8u;
	if (p->descriptor.offset8 < 2 || p->descriptor.len8 < p->descriptor.offset8 ||
	    length + 8 > readable)
		return CORRUPT;

	p->payload_at = (o->read_index + p->descriptor.offset8 * 8u) % DATA;
	p->payload_size = length - p->descriptor.offset8 * 8u;
	o->read_index = (o->read_index + length + 8) % DATA;
	if (p->payload_size > o->buf_size)
		return OVERSIZE;
	return p->descriptor.type == VMBUS_PACKET_INBAND ? GOOD : WRONG_TYPE;
}

static enum verdict end_packet(struct oracle *o)
{
	enum verdict verdict = judge_packet(o);

	o->packet.under_way = false;
	o->drops += verdict == OVERSIZE || verdict == WRONG_TYPE;
	o->stats.dropped_size += verdict == OVERSIZE;
	o->stats.dropped_type += verdict == WRONG_TYPE;
	fuzz_require(o->drops <= DROPS_MAX);
	return verdict;
}

/* The packet under way is over. Only one that was dropped is followed by another. */
static void end_dropped(struct oracle *o)
{
	enum verdict verdict = end_packet(o);

	fuzz_require(verdict == OVERSIZE || verdict == WRONG_TYPE);
}

static void begin_packet(struct oracle *o)
{
	o->packet.under_way = true;
	o->packet.write_index = o->seen_write_index;
	memset(o->packet.fetched, 0, sizeof(o->packet.fetched));
}

/* What earlier calls have read is given back before the first packet, if it is much. */
static void begin_packets(struct oracle *o)
{
	if (!o->packet.begun)
		expect_given_back(o, from_to(o->committed, o->read_index) >= PART);
	o->packet.begun = true;
}

static void load_writer(struct oracle *o, const struct access *a)
{
	begin_packets(o);
	if (o->packet.under_way)
		end_dropped(o);
	fuzz_require(is_acquire(a) && o->read_index == o->seen_write_index);
	begin_packet(o);
	o->packet.write_index = a->value;
	if (index_is_good(a->value))
		o->seen_write_index = a->value;
}

/* True if @at lies behind the packet under way, whose descriptor has been fetched. */
static bool is_behind_packet(const struct oracle *o, uint32_t at)
{
	const struct oracle_packet *p = &o->packet;
	struct vmbus_packet_descriptor d;
	uint8_t raw[sizeof(d)];

	for (uint32_t i = 0; i < sizeof(raw); i++) {
		if (!p->fetched[(o->read_index + i) % DATA])
			return false;
		raw[i] = p->bytes[(o->read_index + i) % DATA];
	}
	memcpy(&d, raw, sizeof(d));
	return from_to(o->read_index, at) >= d.len8 * 8u + 8;
}

static void fetch(struct oracle *o, uint32_t at, const struct access *a)
{
	struct oracle_packet *p = &o->packet;

	fuzz_require(o->call == ORACLE_RECEIVE && a->kind == ACCESS_LOAD);
	begin_packets(o);
	if (p->under_way && is_behind_packet(o, at))
		end_dropped(o);
	if (!p->under_way)
		begin_packet(o);
	fuzz_require(index_is_good(p->write_index));
	fuzz_require(from_to(o->read_index, at) + a->size <= from_to(o->read_index, p->write_index));
	for (size_t i = 0; i < a->size; i++) {
		fuzz_require(!p->fetched[at + i]);
		p->fetched[at + i] = true;
		p->bytes[at + i] = o->memory[a->offset + i];
	}
}

static void expect_message(struct oracle *o, const uint8_t *buf, const struct vmbus_message *message)
{
	const struct oracle_packet *p = &o->packet;

	fuzz_require(message->size == p->payload_size && message->size <= o->buf_size);
	fuzz_require(message->trans_id == p->descriptor.trans_id);
	for (uint32_t i = 0; i < p->payload_size; i++) {
		uint32_t at = (p->payload_at + i) % DATA;

		fuzz_require(p->fetched[at] && buf[i] == p->bytes[at]);
	}
	o->stats.packets_in++;
	o->stats.bytes_in += message->size;
}

/* --- after each call */

static void end_call(struct oracle *o)
{
	const struct vmbus_channel *ch = o->channel;

	o->call = ORACLE_NONE;
	fuzz_require(ch->corrupt == o->corrupt);
	fuzz_require(ch->signal == o->signal);
	fuzz_require(memcmp(&ch->stats, &o->stats, sizeof(o->stats)) == 0);
	fuzz_require(ch->out.write_index == o->write_index);
	fuzz_require(ch->out.published == o->published);
	fuzz_require(ch->in.read_index == o->read_index || o->corrupt);
}

/* What the call ended with; a packet that is too short for a descriptor is never fetched. */
static enum verdict end_last_packet(struct oracle *o)
{
	enum verdict verdict;

	do {
		if (!o->packet.under_way) {
			fuzz_require(o->read_index != o->seen_write_index);
			begin_packet(o);
		}
		verdict = end_packet(o);
	} while ((verdict == OVERSIZE || verdict == WRONG_TYPE) && o->drops < DROPS_MAX);
	return verdict;
}

void oracle_end_receive(struct oracle *o, int result, const uint8_t *buf,
			const struct vmbus_message *message)
{
	enum verdict verdict;

	if (!o->corrupt) {
		begin_packets(o);
		verdict = end_last_packet(o);
		if (verdict == GOOD)
			expect_message(o, buf, message);
		else if (verdict == OVERSIZE || verdict == WRONG_TYPE)
			fuzz_require(o->drops == DROPS_MAX);
		o->corrupt = verdict == CORRUPT;
		fuzz_require((result == 0) == (verdict == GOOD));
	}
	if (result != 0)
		fuzz_require(result == (o->corrupt ? VMBUS_CHANNEL_CORRUPT : VMBUS_CHANNEL_EMPTY));
	end_call(o);
}

/* --- writing */

static bool fits(const struct oracle *o, uint32_t read_index)
{
	return room(o->write.start, read_index) >= o->write.ring_size;
}

static bool is_putting(const struct oracle *o)
{
	return (o->call == ORACLE_SEND || o->call == ORACLE_QUEUE) && !o->corrupt;
}

static void end_publish(struct oracle *o)
{
	struct oracle_publish *p = &o->publish;

	if (p->under_way) {
		fuzz_require(p->mask_loaded && p->index_loaded == (p->mask == 0));
		o->signal |= p->mask == 0 && p->read_index == p->before;
	}
	*p = (struct oracle_publish){0};
}

static void load_reader(struct oracle *o, const struct access *a)
{
	struct oracle_publish *p = &o->publish;
	struct oracle_write *w = &o->write;

	if (p->under_way && p->mask_loaded && p->mask == 0 && !p->index_loaded) {
		p->index_loaded = true;
		p->read_index = a->value;
		return;
	}
	/* After the first look that found no room: ask for it, fence, look again. */
	fuzz_require(is_putting(o) && w->n_loads < ORACLE_LOADS_MAX && is_acquire(a));
	fuzz_require(!fits(o, o->seen_read_index));
	if (w->n_loads == 1)
		fuzz_require(w->wants_space && o->fenced);
	if (index_is_good(a->value))
		o->seen_read_index = a->value;
	w->loads[w->n_loads++] = a->value;
	w->stored = 0;
}

static void store_data(struct oracle *o, uint32_t at, const struct access *a)
{
	struct oracle_write *w = &o->write;
	uint32_t begin = from_to(w->start, at);

	fuzz_require(is_putting(o) && a->kind == ACCESS_STORE && !w->is_put);
	fuzz_require(w->n_loads == 0 || index_is_good(w->loads[w->n_loads - 1]));
	fuzz_require(begin + a->size <= room(w->start, o->seen_read_index));
	fuzz_require(begin + a->size <= w->ring_size);
	fuzz_require(begin == w->stored);
	w->stored += a->size;
}

/* The packet as it lies in the ring. */
static void expect_packet(const struct oracle *o)
{
	const struct oracle_write *w = &o->write;
	const struct vmbus_packet_descriptor d = {
		.type = VMBUS_PACKET_INBAND,
		.offset8 = 2,
		.len8 = w->ring_size / 8 - 1,
		.trans_id = w->trans_id,
	};
	const struct vmbus_packet_trailer trailer = {.start = o->write_index};
	uint8_t packet[ORACLE_DATA_SIZE] = {0};

	memcpy(packet, &d, sizeof(d));
	if (w->payload_size > 0)
		memcpy(packet + sizeof(d), w->payload, w->payload_size);
	memcpy(packet + w->ring_size - sizeof(trailer), &trailer, sizeof(trailer));
	for (size_t i = 0; i < w->ring_size; i++)
		fuzz_require(o->memory[ORACLE_OUT + VMBUS_PAGE_SIZE + (o->write_index + i) % DATA] ==
			     packet[i]);
}

/* The packet is in the ring as a whole: the next one goes behind it. */
static void end_put(struct oracle *o)
{
	struct oracle_write *w = &o->write;

	fuzz_require(w->stored == w->ring_size);
	expect_packet(o);
	o->write_index = (o->write_index + w->ring_size) % DATA;
	w->is_put = true;
}

static void publish(struct oracle *o, const struct access *a)
{
	end_publish(o);
	fuzz_require(is_release(a));
	if (is_putting(o) && o->write.stored > 0 && !o->write.is_put)
		end_put(o);
	fuzz_require(a->value == o->write_index && o->write_index != o->published);
	o->publish.under_way = true;
	o->publish.before = o->published;
	o->published = o->write_index;
}

static void store_pending(struct oracle *o, const struct access *a)
{
	struct oracle_write *w = &o->write;
	uint32_t wanted = w->ring_size > PART ? (uint32_t)w->ring_size : (uint32_t)PART;

	fuzz_require(is_putting(o));
	if (w->stored == w->ring_size) {
		fuzz_require(o->wants_space && a->value == 0);
		o->wants_space = false;
		return;
	}
	/* What waits for room must be seen, or nobody would make any. */
	fuzz_require(w->n_loads == 1 && a->value == wanted && o->published == o->write_index);
	w->wants_space = true;
	o->wants_space = true;
}

/* What the looks at the reader's index lead to; *ret_n: how many of them it takes. */
static int judge_looks(const struct oracle *o, size_t *ret_n)
{
	const struct oracle_write *w = &o->write;

	for (size_t i = 0; i < w->n_loads; i++) {
		bool is_good = index_is_good(w->loads[i]), is_enough = is_good && fits(o, w->loads[i]);

		*ret_n = i + 1;
		if (is_enough)
			return 0;
		/* The second look is only whether to wait: a broken index is found by the third. */
		if (i == 1 && is_good)
			return VMBUS_CHANNEL_FULL;
		if (i != 1 && !is_good)
			return VMBUS_CHANNEL_CORRUPT;
	}
	return w->n_loads == 0 ? 0 : VMBUS_CHANNEL_FULL;
}

static int expected_send(const struct oracle *o)
{
	size_t n = 0;
	int r = VMBUS_CHANNEL_TOO_BIG;

	if (o->write.ring_size <= DATA - RESERVE)
		r = judge_looks(o, &n);
	fuzz_require(o->write.n_loads == n);
	return r;
}

static void end_good_send(struct oracle *o)
{
	bool must_show = o->call == ORACLE_SEND || from_to(o->published, o->write_index) >= PART;

	fuzz_require(!o->wants_space && (!must_show || o->published == o->write_index));
	o->stats.packets_out++;
	o->stats.bytes_out += o->write.payload_size;
}

void oracle_end_send(struct oracle *o, int result)
{
	fuzz_require(result == (o->corrupt ? VMBUS_CHANNEL_CORRUPT : expected_send(o)));
	end_publish(o);
	if (result == 0 && !o->write.is_put)
		end_put(o);
	if (result == 0)
		end_good_send(o);
	else
		fuzz_require(!o->write.is_put && o->write.stored == 0);
	o->stats.full += result == VMBUS_CHANNEL_FULL;
	o->corrupt |= result == VMBUS_CHANNEL_CORRUPT;
	end_call(o);
}

/* --- going to sleep */

static void store_read_index(struct oracle *o, const struct access *a)
{
	fuzz_require(!o->sleep.committed && is_release(a));
	fuzz_require((o->call == ORACLE_RECEIVE && !o->packet.begun) || o->call == ORACLE_SLEEP ||
		     o->call == ORACLE_POLL);
	fuzz_require(!o->sleep.looked && a->value == o->read_index && o->read_index != o->committed);
	o->sleep.committed = true;
}

static void store_mask(struct oracle *o, const struct access *a)
{
	struct oracle_sleep *s = &o->sleep;

	if (o->call == ORACLE_WAKE) {
		fuzz_require(a->value == 1);
		s->masked = true;
		return;
	}
	fuzz_require(o->call == ORACLE_SLEEP);
	if (s->unmasked) {
		fuzz_require(a->value == 1 && s->looked && s->write_index != o->read_index);
		s->masked = true;
	} else {
		fuzz_require(a->value == 0);
		s->unmasked = true;
	}
}

static void load_before_sleep(struct oracle *o, enum word word, const struct access *a)
{
	struct oracle_sleep *s = &o->sleep;

	if (o->call == ORACLE_POLL && word == WRITE_INDEX && s->pending_loaded == s->room_loaded) {
		fuzz_require(!s->looked && is_acquire(a) && o->read_index == o->seen_write_index);
		s->looked = true;
		s->write_index = a->value;
		return;
	}
	fuzz_require(o->call == ORACLE_SLEEP || o->call == ORACLE_POLL ||
		     (o->call == ORACLE_RECEIVE && s->committed));
	if (s->unmasked) {
		fuzz_require(word == WRITE_INDEX && !s->looked && o->fenced && is_acquire(a));
		s->looked = true;
		s->write_index = a->value;
		return;
	}
	fuzz_require(s->committed);
	if (word == FEATURES) {
		s->features_loaded = true;
		s->features = a->value;
	} else if (word == PENDING) {
		fuzz_require(s->features_loaded && o->fenced && is_acquire(a));
		s->pending_loaded = true;
		s->pending = a->value / 8 * 8;
	} else {
		fuzz_require(s->pending_loaded);
		s->room_loaded = true;
		s->room_index = a->value;
	}
}

void oracle_end_poll(struct oracle *o, bool result)
{
	const struct oracle_sleep *s = &o->sleep;

	if (o->corrupt) {
		fuzz_require(!result);
	} else {
		expect_given_back(o, o->committed != o->read_index);
		fuzz_require(s->looked == (o->read_index == o->seen_write_index));
		fuzz_require(result == (!s->looked || s->write_index != o->read_index));
	}
	end_call(o);
}

void oracle_end_sleep(struct oracle *o, bool result)
{
	const struct oracle_sleep *s = &o->sleep;

	if (o->corrupt) {
		fuzz_require(result);
	} else {
		end_publish(o);
		fuzz_require(o->published == o->write_index);
		expect_given_back(o, o->committed != o->read_index);
		fuzz_require(s->looked && result == (s->write_index == o->read_index));
		fuzz_require(s->masked == !result && (result || o->fenced));
	}
	end_call(o);
}

void oracle_end_wake(struct oracle *o)
{
	o->stats.wakeups++;
	fuzz_require(o->corrupt || (o->sleep.masked && o->fenced));
	end_call(o);
}

void oracle_end_take_signal(struct oracle *o, bool result)
{
	end_publish(o);
	fuzz_require(o->corrupt || o->published == o->write_index);
	fuzz_require(result == o->signal);
	o->signal = false;
	o->stats.signals += result;
	end_call(o);
}

/* --- one access */

static void note_out_word(struct oracle *o, enum word word, const struct access *a)
{
	bool is_store = a->kind == ACCESS_STORE;

	switch (word) {
	case WRITE_INDEX:
		fuzz_require(is_store);
		publish(o, a);
		break;
	case PENDING:
		fuzz_require(is_store);
		store_pending(o, a);
		break;
	case READ_INDEX:
		fuzz_require(!is_store);
		load_reader(o, a);
		break;
	case MASK:
		fuzz_require(!is_store && o->publish.under_way && !o->publish.mask_loaded);
		fuzz_require(o->fenced && is_acquire(a));
		o->publish.mask_loaded = true;
		o->publish.mask = a->value;
		break;
	case FEATURES:
		fuzz_require(!"touched after the start");
	}
}

static void note_in_word(struct oracle *o, enum word word, const struct access *a)
{
	bool is_store = a->kind == ACCESS_STORE;

	switch (word) {
	case READ_INDEX:
		fuzz_require(is_store);
		store_read_index(o, a);
		break;
	case MASK:
		fuzz_require(is_store);
		store_mask(o, a);
		break;
	case WRITE_INDEX:
	case PENDING:
	case FEATURES:
		fuzz_require(!is_store);
		if (o->call == ORACLE_RECEIVE && word == WRITE_INDEX &&
		    o->sleep.pending_loaded == o->sleep.room_loaded)
			load_writer(o, a);
		else
			load_before_sleep(o, word, a);
	}
}

void oracle_note(struct oracle *o, const struct access *a)
{
	size_t offset = a->offset >= ORACLE_IN ? a->offset - ORACLE_IN : a->offset;
	bool is_in = a->offset >= ORACLE_IN;

	if (a->kind == ACCESS_FENCE) {
		o->fenced |= a->order == memory_order_seq_cst;
		return;
	}
	fuzz_require(!o->corrupt && ++o->accesses <= ACCESSES_MAX);
	fuzz_require(offset + a->size <= ORACLE_RING_SIZE);
	if (offset >= VMBUS_PAGE_SIZE) {
		fuzz_require(!a->is_atomic);
		if (is_in)
			fetch(o, offset - VMBUS_PAGE_SIZE, a);
		else
			store_data(o, offset - VMBUS_PAGE_SIZE, a);
		return;
	}
	fuzz_require(a->is_atomic && (offset <= PENDING || offset == FEATURES) && offset % 4 == 0);
	if (a->kind == ACCESS_STORE)
		o->fenced = false;
	if (is_in)
		note_in_word(o, (enum word)offset, a);
	else
		note_out_word(o, (enum word)offset, a);
}
