/* SPDX-License-Identifier: MIT */

/*
 * What the rogue does on its channels: messages that could be good, garbled ones, answers nobody
 * asked for, floods, and scribbling in the rings. Random numbers choose, weighted so that the other
 * side gets behind its handshakes more often than not.
 */

#include "tests/system/rogue.h"

#include "balloon/dynmem_wire.h"
#include "base/bytes.h"
#include "vmbus/guid.h"
#include "vss/vss_wire.h"

#include <string.h>
#include <unistd.h>

enum {
	FLOOD = 2000,         /* messages */
	BALLOON_PAGES = 2048, /* 8 MiB at a time */
	BALLOONS = 12,        /* per session */
};

static bool is_dynmem(const struct rogue_channel *ch)
{
	return ch->class_id == &vmbus_class_dynmem;
}

static void ring_doorbell(struct rogue_channel *ch)
{
	uint64_t one = 1;

	(void)!write(ch->port.signal_fd, &one, sizeof(one));
}

/*
 * What a garbled message must not ask of a guest: more memory than a little. The page count of a
 * balloon request is the u32 behind the header.
 */
static void defuse(struct rogue *r, const struct rogue_channel *ch, uint8_t *message, size_t size)
{
	if (!r->is_host || !is_dynmem(ch) || size < 4 || message[1] != 0 ||
	    message[0] != DYNMEM_BALLOON_REQUEST)
		return;
	if (r->balloons++ >= BALLOONS)
		message[0] = DYNMEM_INFO;
	for (size_t i = 8; i < size && i < 12; i++)
		message[i] = i == 9 ? message[i] % (BALLOON_PAGES >> 8) : i > 9 ? 0 : message[i];
}

static bool send_packet(struct rogue *r, struct rogue_channel *ch, uint16_t type, uint8_t *message,
			size_t size)
{
	const struct vmbus_packet packet = {
		.type = type,
		.trans_id = chance(r, 4) ? next_random(r) : 0,
		.payload_size = size,
	};
	bool signal;

	defuse(r, ch, message, size);
	if (vmbus_ring_out_write(&ch->port.channel.out, &packet, message, &signal))
		return false;
	r->messages++;
	return true;
}

/* Flips bits, or makes it shorter or longer. */
static size_t mutate(struct rogue *r, uint8_t *message, size_t size)
{
	if (chance(r, 3))
		return below(r, size + 1);
	if (chance(r, 6)) {
		size_t longer = size + below(r, 200);

		fill(r, message + size, longer - size);
		return longer;
	}
	for (uint64_t n = 1 + below(r, 8); n > 0; n--)
		message[below(r, chance(r, 2) && size > 40 ? 40 : size)] ^= 1u << below(r, 8);
	return size;
}

/* An integration-service message with a body of @size bytes, and headers that fit it. */
static size_t make_ic(uint8_t *message, uint16_t type, uint8_t flags, uint32_t status,
		      const uint8_t *body, size_t size)
{
	struct bytes_writer w;

	bytes_writer_init(&w, message, ROGUE_MESSAGE_MAX);
	bytes_put_u32(&w, IC_PIPE_TYPE_DATA);
	bytes_put_u32(&w, IC_HEADER_SIZE + size);
	bytes_put_u32(&w, 3);
	bytes_put_u16(&w, type);
	bytes_put_u32(&w, type == IC_VSS ? 5 : 3);
	bytes_put_u16(&w, size);
	bytes_put_u32(&w, status);
	bytes_put_u8(&w, 0);
	bytes_put_u8(&w, flags);
	bytes_put_zeros(&w, 2);
	bytes_put(&w, body, size);
	return bytes_written(&w);
}

static size_t make_ic_request(struct rogue *r, const struct rogue_channel *ch)
{
	bool is_vss = ch->class_id == &vmbus_class_vss;
	uint8_t flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST, body[VSS_FREEZE_SIZE] = {0};
	struct ic_host ic;
	size_t size;

	if (chance(r, 4)) {
		ic_host_init(&ic, is_vss ? &ic_service_vss : &ic_service_heartbeat);
		if (ic_host_negotiate(&ic, r->message, ROGUE_MESSAGE_MAX, &size) == 0)
			return size;
	}
	fill(r, body, 40);
	if (is_vss)
		body[0] = (uint8_t)below(r, VSS_OP_AUTO_RECOVER + 2);
	size = is_vss ? (chance(r, 2) ? (size_t)VSS_FREEZE_SIZE : (size_t)VSS_MESSAGE_MIN_SIZE)
		      : (chance(r, 2) ? 40 : 16);
	return make_ic(r->message, is_vss ? IC_VSS : IC_HEARTBEAT,
		       chance(r, 8) ? (uint8_t)next_random(r) : flags, 0, body, size);
}

/* What was asked last, with a status and the flags of an answer. */
static size_t make_ic_answer(struct rogue *r, const struct rogue_channel *ch)
{
	size_t size = ch->last_size;

	memcpy(r->message, ch->last, size);
	if (size >= IC_HEADERS_SIZE) {
		r->message[25] = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
		if (chance(r, 3))
			fill(r, r->message + 20, 4);
	}
	if (size == 0)
		size = make_ic(r->message, IC_HEARTBEAT, 5, 0, (const uint8_t *)"answer", 6);
	return size;
}

static size_t make_ranges(struct rogue *r, struct page_range *ranges)
{
	size_t n = below(r, chance(r, 4) ? DYNMEM_RANGES_MAX : 8);

	for (size_t i = 0; i < n; i++) {
		ranges[i].first = below(r, UINT64_C(1) << (chance(r, 2) ? 23 : 39));
		ranges[i].count = below(r, chance(r, 4) ? 65536 : 600);
	}
	return n;
}

/* The ranges that the guest gave last; else some. */
static size_t take_ranges(struct rogue *r, const struct rogue_channel *ch,
			  struct page_range *ranges)
{
	struct dynmem_ranges given;
	struct dynmem_frame frame;

	if (chance(r, 3) || dynmem_decode_frame(ch->last, ch->last_size, &frame) ||
	    frame.type != DYNMEM_BALLOON_RESPONSE || dynmem_decode_balloon_response(&frame, &given))
		return make_ranges(r, ranges);
	for (uint32_t i = 0; i < given.n; i++)
		ranges[i] = dynmem_range_at(&given, i);
	return given.n;
}

/* A header of a random type, and a body that may even be long enough. */
static void make_dynmem_garbage(struct rogue *r, struct dynmem_message *m)
{
	m->size = 8 + below(r, 80);
	fill(r, m->bytes, m->size);
	m->bytes[0] = (uint8_t)below(r, DYNMEM_INFO + 3);
	m->bytes[1] = 0;
	if (!chance(r, 4)) {
		m->bytes[2] = (uint8_t)m->size;
		m->bytes[3] = 0;
	}
}

static void make_host_dynmem(struct rogue *r, const struct rogue_channel *ch,
			     struct dynmem_message *m)
{
	struct dynmem_version_response version = {.accepted = !chance(r, 4)};
	struct dynmem_capabilities_response capabilities = {
		.accepted = !chance(r, 4),
		.suppress_reports = chance(r, 2),
	};
	struct page_range ranges[DYNMEM_RANGES_MAX];
	struct dynmem_hot_add_request hot_add = {.range = {below(r, 1 << 30), below(r, 1 << 20)}};
	uint32_t id = (uint32_t)next_random(r);

	switch (below(r, 8)) {
	case 0:
		dynmem_encode_version_response(m, id, &version);
		break;
	case 1:
		dynmem_encode_capabilities_response(m, id, &capabilities);
		break;
	case 2:
	case 3:
		dynmem_encode_balloon_request(m, id, below(r, BALLOON_PAGES));
		break;
	case 4:
	case 5:
		dynmem_encode_unballoon_request(m, id, chance(r, 4), ranges,
						take_ranges(r, ch, ranges));
		break;
	case 6:
		dynmem_encode_hot_add_request(m, id, &hot_add);
		break;
	default:
		make_dynmem_garbage(r, m);
	}
}

static void make_guest_dynmem(struct rogue *r, struct dynmem_message *m)
{
	struct dynmem_version_request version = {
		.version = chance(r, 4) ? (uint32_t)next_random(r) : DYNMEM_VERSION_2_0,
		.last = chance(r, 2),
	};
	struct dynmem_capabilities capabilities = {.balloon = !chance(r, 8), .hot_add_alignment = 7};
	struct page_range ranges[DYNMEM_RANGES_MAX];
	struct dynmem_status_report report;
	uint32_t id = (uint32_t)next_random(r);

	switch (below(r, 8)) {
	case 0:
		dynmem_encode_version_request(m, id, &version);
		break;
	case 1:
		dynmem_encode_capabilities(m, id, &capabilities);
		break;
	case 2:
		fill(r, &report, sizeof(report));
		dynmem_encode_status_report(m, id, &report);
		break;
	case 3:
	case 4:
	case 5:
		dynmem_encode_balloon_response(m, id, chance(r, 2), ranges, make_ranges(r, ranges));
		break;
	case 6:
		dynmem_encode_unballoon_response(m, id);
		break;
	default:
		make_dynmem_garbage(r, m);
	}
}

/* A message that could be good, in r->message; its size. */
static size_t make_message(struct rogue *r, const struct rogue_channel *ch)
{
	struct dynmem_message m;

	if (!is_dynmem(ch))
		return r->is_host ? make_ic_request(r, ch) : make_ic_answer(r, ch);
	if (r->is_host)
		make_host_dynmem(r, ch, &m);
	else
		make_guest_dynmem(r, &m);
	memcpy(r->message, m.bytes, m.size);
	return m.size;
}

/* What a good host or guest would say to the message that has just come, so that it goes on. */
static void answer_politely(struct rogue *r, struct rogue_channel *ch)
{
	static const struct dynmem_version_response accepted = {.accepted = true};
	static const struct dynmem_capabilities_response capable = {.accepted = true};
	static const struct dynmem_capabilities capabilities = {.balloon = true};
	struct dynmem_message m = {.size = 0};
	struct dynmem_frame frame;

	if (!is_dynmem(ch)) {
		if (!r->is_host && ic_guest_receive(&ch->ic, ch->last, ch->last_size, 0) == IC_ANSWER)
			(void)send_packet(r, ch, VMBUS_PACKET_INBAND, ch->ic.buf, ch->ic.size);
		return;
	}
	if (dynmem_decode_frame(ch->last, ch->last_size, &frame))
		return;
	if (frame.type == DYNMEM_VERSION_REQUEST)
		dynmem_encode_version_response(&m, frame.trans_id, &accepted);
	else if (frame.type == DYNMEM_CAPABILITIES_REPORT)
		dynmem_encode_capabilities_response(&m, frame.trans_id, &capable);
	else if (frame.type == DYNMEM_VERSION_RESPONSE)
		dynmem_encode_capabilities(&m, 2, &capabilities);
	if (m.size > 0)
		(void)send_packet(r, ch, VMBUS_PACKET_INBAND, m.bytes, m.size);
}

static void read_all(struct rogue *r, struct rogue_channel *ch)
{
	struct vmbus_message message;

	for (int i = 0; i < 200; i++) {
		if (vmbus_channel_receive(&ch->port.channel, ch->last, sizeof(ch->last), &message))
			break;
		ch->last_size = message.size;
		if (!chance(r, 8))
			answer_politely(r, ch);
	}
	(void)!vmbus_channel_sleep(&ch->port.channel);
}

void rogue_refuse_version(struct rogue *r, struct rogue_channel *ch)
{
	const struct dynmem_version_response refused = {.accepted = false};
	struct vmbus_message message;
	struct dynmem_frame frame;
	struct dynmem_message m;

	if (vmbus_channel_receive(&ch->port.channel, r->message, sizeof(r->message), &message) ||
	    dynmem_decode_frame(r->message, message.size, &frame) ||
	    frame.type != DYNMEM_VERSION_REQUEST)
		return;
	dynmem_encode_version_response(&m, frame.trans_id, &refused);
	(void)!vmbus_channel_send(&ch->port.channel, 0, m.bytes, m.size);
	ring_doorbell(ch);
	r->messages++;
}

/* The first words of a channel: so that the other side gets beyond them more often than not. */
void rogue_begin_channel(struct rogue *r, struct rogue_channel *ch)
{
	static const struct dynmem_version_request version = {.version = DYNMEM_VERSION_2_0};
	bool is_vss = ch->class_id == &vmbus_class_vss;
	struct dynmem_message m;
	struct ic_host ic;
	size_t size;

	r->opened++;
	ch->open = true;
	ch->last_size = 0;
	ic_guest_init(&ch->ic, is_vss ? &ic_service_vss : &ic_service_heartbeat);
	if (is_dynmem(ch) && !r->is_host) {
		dynmem_encode_version_request(&m, 1, &version);
		(void)send_packet(r, ch, VMBUS_PACKET_INBAND, m.bytes, m.size);
	} else if (!is_dynmem(ch) && r->is_host) {
		ic_host_init(&ic, ch->ic.service);
		if (ic_host_negotiate(&ic, r->message, ROGUE_MESSAGE_MAX, &size) == 0)
			(void)send_packet(r, ch, VMBUS_PACKET_INBAND, r->message, size);
	}
	ring_doorbell(ch);
}

static void flood(struct rogue *r, struct rogue_channel *ch)
{
	size_t size = make_message(r, ch);

	for (int i = 0; i < FLOOD && send_packet(r, ch, VMBUS_PACKET_INBAND, r->message, size); i++)
		if (i % 64 == 0)
			ring_doorbell(ch);
}

/* A word that belongs to either side, of either ring. */
static void scribble_index(struct rogue *r, struct rogue_channel *ch)
{
	struct vmbus_ring_header *header = chance(r, 2) ? ch->port.channel.out.memory.header
							: ch->port.channel.in.memory.header;
	_Atomic uint32_t *const words[] = {&header->write_index, &header->read_index,
					   &header->interrupt_mask, &header->pending_send_size,
					   &header->feature_bits};
	uint32_t value = (uint32_t)next_random(r);

	if (chance(r, 2))
		value = value % (ROGUE_RING_SIZE - VMBUS_PAGE_SIZE) & ~7u;
	atomic_store(words[below(r, 5)], value);
}

/* Bytes in the middle of packets that may be being read just now. */
static void scribble_data(struct rogue *r, struct rogue_channel *ch)
{
	struct vmbus_ring_memory *memory = chance(r, 4) ? &ch->port.channel.in.memory
							: &ch->port.channel.out.memory;

	for (int i = 0; i < 20; i++)
		memory->data[below(r, chance(r, 2) ? 4096 : memory->data_size)] ^=
			(uint8_t)next_random(r);
}

void rogue_act_on_channel(struct rogue *r, struct rogue_channel *ch)
{
	static const uint16_t types[] = {0, 7, VMBUS_PACKET_COMPLETION, 0xffff};
	size_t size;

	switch (below(r, 24)) {
	case 0:
		if (chance(r, 4))
			scribble_index(r, ch);
		break;
	case 1:
		if (chance(r, 4))
			scribble_data(r, ch);
		break;
	case 2:
		if (chance(r, 8))
			flood(r, ch);
		break;
	case 3:
		size = below(r, chance(r, 8) ? ROGUE_MESSAGE_MAX : 300);
		fill(r, r->message, size);
		(void)send_packet(r, ch, VMBUS_PACKET_INBAND, r->message, size);
		break;
	case 4:
		size = make_message(r, ch);
		(void)send_packet(r, ch, types[below(r, 4)], r->message, size);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		size = mutate(r, r->message, make_message(r, ch));
		(void)send_packet(r, ch, VMBUS_PACKET_INBAND, r->message, size);
		break;
	case 9:
	case 10:
	case 11:
	case 12:
	case 13:
		size = make_message(r, ch);
		(void)send_packet(r, ch, VMBUS_PACKET_INBAND, r->message, size);
		break;
	default:
		read_all(r, ch);
	}
	if (!chance(r, 16))
		ring_doorbell(ch);
}
