/* SPDX-License-Identifier: MIT */

/*
 * The other side, misbehaving: `rogue host SOCKET` for a real hvguestd, `rogue guest SOCKET` for a
 * real hvhost serve.
 *
 * It speaks the lab transport well enough to be let in, opens or offers channels, and answers a
 * handshake often enough to get behind it. In between it does whatever its random numbers say:
 * garbage, wrong lengths, requests and answers out of place, indices and data scribbled into the
 * rings, floods, descriptors that are none, closing in the middle. The seed decides all but the
 * moment at which the other side does its part, and is printed.
 *
 * It ends after SECONDS, and each session after a number of steps. A rogue host never asks for more
 * than a few MiB at a time, however its message was garbled: guests give real memory.
 */

#include "balloon/dynmem_wire.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/unixsock.h"
#include "vmbus/ic.h"
#include "vmbus/port.h"
#include "vmbus/shm_wire.h"
#include "vss/vss_wire.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum {
	CHANNELS = 8,
	STEPS = 3000,         /* per session */
	FLOOD = 2000,         /* messages */
	RING_SIZE = 128 * 1024,
	MESSAGE_MAX = 20000,  /* more than anybody accepts */
	BALLOON_PAGES = 2048, /* 8 MiB at a time */
	BALLOONS = 12,        /* per session */
	WELCOME_MS = 1000,
};

struct channel {
	uint32_t id; /* 0: none */
	const struct vmbus_guid *class_id;
	bool open;
	struct vmbus_port port;
	struct ic_guest ic; /* a rogue guest's honest half */
	_Alignas(8) uint8_t last[IC_PAYLOAD_MAX]; /* received */
	size_t last_size;
};

struct rogue {
	const char *socket;
	bool is_host;
	uint64_t seed;
	uint64_t random;
	uint64_t end_ns;
	int fd;
	struct channel channels[CHANNELS];
	unsigned int balloons;
	uint8_t message[MESSAGE_MAX];
	uint64_t sessions, opened, messages, controls;
};

static const struct vmbus_guid *const classes[] = {
	&vmbus_class_heartbeat,
	&vmbus_class_vss,
	&vmbus_class_dynmem,
};

/* xorshift64*: good enough to be unreasonable. */
static uint64_t next_random(struct rogue *r)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return r->random * UINT64_C(2685821657736338717);
}

static uint64_t below(struct rogue *r, uint64_t n)
{
	return next_random(r) % n;
}

static bool chance(struct rogue *r, unsigned int one_in)
{
	return below(r, one_in) == 0;
}

static void fill(struct rogue *r, void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)bytes)[i] = (uint8_t)next_random(r);
}

static bool is_dynmem(const struct channel *ch)
{
	return ch->class_id == &vmbus_class_dynmem;
}

static void close_channel(struct channel *ch)
{
	if (ch->open)
		vmbus_port_fini(&ch->port);
	ch->open = false;
}

static struct channel *find_channel(struct rogue *r, uint32_t id)
{
	for (size_t i = 0; i < CHANNELS; i++)
		if (r->channels[i].id == id && id != 0)
			return &r->channels[i];
	return NULL;
}

/* A channel in some state; NULL if the dice say so. */
static struct channel *any_channel(struct rogue *r)
{
	struct channel *ch = &r->channels[below(r, CHANNELS)];

	return ch->id != 0 ? ch : NULL;
}

static void ring_doorbell(struct channel *ch)
{
	uint64_t one = 1;

	(void)!write(ch->port.signal_fd, &one, sizeof(one));
}

/*
 * What a garbled message must not ask of a guest: more memory than a little. The page count of a
 * balloon request is the u32 behind the header.
 */
static void defuse(struct rogue *r, const struct channel *ch, uint8_t *message, size_t size)
{
	if (!r->is_host || !is_dynmem(ch) || size < 4 || message[1] != 0 ||
	    message[0] != DYNMEM_BALLOON_REQUEST)
		return;
	if (r->balloons++ >= BALLOONS)
		message[0] = DYNMEM_INFO;
	for (size_t i = 8; i < size && i < 12; i++)
		message[i] = i == 9 ? message[i] % (BALLOON_PAGES >> 8) : i > 9 ? 0 : message[i];
}

static bool send_packet(struct rogue *r, struct channel *ch, uint16_t type, uint8_t *message,
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

	bytes_writer_init(&w, message, MESSAGE_MAX);
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

static size_t make_ic_request(struct rogue *r, const struct channel *ch)
{
	bool is_vss = ch->class_id == &vmbus_class_vss;
	uint8_t flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST, body[VSS_FREEZE_SIZE] = {0};
	struct ic_host ic;
	size_t size;

	if (chance(r, 4)) {
		ic_host_init(&ic, is_vss ? &ic_service_vss : &ic_service_heartbeat);
		if (ic_host_negotiate(&ic, r->message, MESSAGE_MAX, &size) == 0)
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
static size_t make_ic_answer(struct rogue *r, const struct channel *ch)
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
static size_t take_ranges(struct rogue *r, const struct channel *ch, struct page_range *ranges)
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

static void make_host_dynmem(struct rogue *r, const struct channel *ch, struct dynmem_message *m)
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
static size_t make_message(struct rogue *r, const struct channel *ch)
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
static void answer_politely(struct rogue *r, struct channel *ch)
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

static void read_all(struct rogue *r, struct channel *ch)
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

/* The first words of a channel: so that the other side gets beyond them more often than not. */
static void begin_channel(struct rogue *r, struct channel *ch)
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
		if (ic_host_negotiate(&ic, r->message, MESSAGE_MAX, &size) == 0)
			(void)send_packet(r, ch, VMBUS_PACKET_INBAND, r->message, size);
	}
	ring_doorbell(ch);
}

static void flood(struct rogue *r, struct channel *ch)
{
	size_t size = make_message(r, ch);

	for (int i = 0; i < FLOOD && send_packet(r, ch, VMBUS_PACKET_INBAND, r->message, size); i++)
		if (i % 64 == 0)
			ring_doorbell(ch);
}

/* A word that belongs to either side, of either ring. */
static void scribble_index(struct rogue *r, struct channel *ch)
{
	struct vmbus_ring_header *header = chance(r, 2) ? ch->port.channel.out.memory.header
							: ch->port.channel.in.memory.header;
	_Atomic uint32_t *const words[] = {&header->write_index, &header->read_index,
					   &header->interrupt_mask, &header->pending_send_size,
					   &header->feature_bits};
	uint32_t value = (uint32_t)next_random(r);

	if (chance(r, 2))
		value = value % (RING_SIZE - VMBUS_PAGE_SIZE) & ~7u;
	atomic_store(words[below(r, 5)], value);
}

/* Bytes in the middle of packets that may be being read just now. */
static void scribble_data(struct rogue *r, struct channel *ch)
{
	struct vmbus_ring_memory *memory = chance(r, 4) ? &ch->port.channel.in.memory
							: &ch->port.channel.out.memory;

	for (int i = 0; i < 20; i++)
		memory->data[below(r, chance(r, 2) ? 4096 : memory->data_size)] ^=
			(uint8_t)next_random(r);
}

static void act_on_channel(struct rogue *r, struct channel *ch)
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
		size = below(r, chance(r, 8) ? MESSAGE_MAX : 300);
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

static void send_control(struct rogue *r, const struct shm_message *m, const int *fds, size_t n)
{
	uint8_t wire[SHM_MESSAGE_SIZE];

	shm_encode(m, wire);
	r->controls++;
	(void)!fdpass_send(r->fd, wire, sizeof(wire), fds, n);
}

/* A datagram that nothing expects: of any size, or well-formed, or with descriptors. */
static void send_surprise(struct rogue *r)
{
	struct shm_message m = {
		.type = (uint32_t)below(r, SHM_RELEASE + 2),
		.channel_id = (uint32_t)below(r, CHANNELS + 2),
		.version = (uint32_t)below(r, 3),
		.status = (uint32_t)below(r, SHM_NO_MEMORY + 2),
		.ring_size = chance(r, 2) ? RING_SIZE : (uint32_t)next_random(r),
		.memory_pages = next_random(r),
		.class_id = *classes[below(r, 3)],
	};
	int fds[8];

	r->controls++;
	if (chance(r, 6)) {
		fill(r, r->message, 300);
		(void)!fdpass_send(r->fd, r->message, 1 + below(r, 300), NULL, 0);
		return;
	}
	fill(r, m.name, sizeof(m.name));
	for (int i = 0; i < 8; i++)
		fds[i] = r->fd;
	send_control(r, &m, fds, chance(r, 3) ? below(r, 8) : 0);
}

/* Memory and doorbells of which something is wrong. */
static void send_bad_opened(struct rogue *r, const struct shm_message *opened)
{
	size_t size = 2 * RING_SIZE;
	unsigned int what = below(r, 6);
	int fds[3], ends[2] = {-1, -1};

	fds[0] = memfd_create("rogue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	(void)!ftruncate(fds[0], what == 0 ? size / 2 : size);
	if (what != 1)
		(void)fcntl(fds[0], F_ADD_SEALS,
			    F_SEAL_SHRINK | F_SEAL_GROW | (what == 2 ? F_SEAL_WRITE : 0));
	fds[1] = eventfd(0, EFD_CLOEXEC);
	fds[2] = eventfd(0, EFD_CLOEXEC);
	if (what == 3 && pipe2(ends, O_CLOEXEC) == 0) {
		close_fd(fds[1]);
		fds[1] = ends[0]; /* readable for ever, once the other end is closed */
		close_fd(ends[1]);
	}
	if (what == 4) {
		close_fd(fds[1]);
		fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
	}
	send_control(r, opened, fds, what == 5 ? 2 : 3);
	for (int i = 0; i < 3; i++)
		close_fd(fds[i]);
}

static void answer_open(struct rogue *r, const struct shm_message *m)
{
	struct channel *ch = find_channel(r, m->channel_id);
	struct shm_message opened = {
		.type = SHM_OPENED,
		.channel_id = m->channel_id,
		.ring_size = m->ring_size,
	};
	int fds[3];

	if (!ch || chance(r, 16))
		opened.status = (uint32_t)below(r, SHM_NO_MEMORY + 3);
	if (!ch || opened.status != SHM_OK) {
		send_control(r, &opened, NULL, 0);
		return;
	}
	if (chance(r, 32)) {
		send_bad_opened(r, &opened);
		return;
	}
	close_channel(ch);
	if (vmbus_port_create(RING_SIZE, &ch->port, fds))
		return;
	send_control(r, &opened, fds, 3);
	if (chance(r, 16))
		send_control(r, &opened, fds, 3);
	for (int i = 0; i < 3; i++)
		close_fd(fds[i]);
	begin_channel(r, ch);
}

/* Offers a class, mostly under a number that is free. */
static void send_offer(struct rogue *r, size_t class)
{
	struct channel *ch = &r->channels[below(r, CHANNELS)];
	struct shm_message m = {.type = SHM_OFFER, .class_id = *classes[class]};

	if (chance(r, 16))
		fill(r, &m.class_id, sizeof(m.class_id));
	if (ch->id == 0) {
		ch->id = ch - r->channels + 1;
		ch->class_id = classes[class];
	}
	m.channel_id = ch->id;
	send_control(r, &m, NULL, 0);
}

static void rescind_some(struct rogue *r)
{
	struct channel *ch = any_channel(r);
	struct shm_message m = {.type = SHM_RESCIND, .channel_id = (uint32_t)below(r, 20)};

	if (ch) {
		m.channel_id = ch->id;
		close_channel(ch);
		ch->id = 0;
	}
	send_control(r, &m, NULL, 0);
}

/* Refuses a channel that may be open already. */
static void refuse_late(struct rogue *r)
{
	const struct channel *ch = any_channel(r);
	const struct shm_message m = {
		.type = SHM_OPENED,
		.channel_id = ch ? ch->id : 0,
		.status = SHM_NO_MEMORY,
	};

	if (ch)
		send_control(r, &m, NULL, 0);
}

static void host_control(struct rogue *r)
{
	if (chance(r, 100)) {
		send_surprise(r);
		return;
	}
	switch (below(r, 6)) {
	case 0:
		refuse_late(r);
		break;
	case 1:
		rescind_some(r);
		break;
	default:
		send_offer(r, below(r, 3));
	}
}

static void host_hears(struct rogue *r, const struct shm_message *m)
{
	struct channel *ch = find_channel(r, m->channel_id);

	if (m->type == SHM_OPEN && !chance(r, 24))
		answer_open(r, m);
	if (m->type == SHM_CLOSE && ch)
		close_channel(ch);
}

static void send_open(struct rogue *r, const struct channel *ch)
{
	const struct shm_message m = {
		.type = SHM_OPEN,
		.channel_id = ch ? ch->id : (uint32_t)below(r, 20),
		.ring_size = chance(r, 8) ? (uint32_t)next_random(r) : RING_SIZE,
	};

	send_control(r, &m, NULL, 0);
}

static void guest_control(struct rogue *r)
{
	struct channel *ch = any_channel(r);
	struct shm_message m = {.type = SHM_CLOSE, .channel_id = ch ? ch->id : 3};

	if (chance(r, 100)) {
		send_surprise(r);
		return;
	}
	switch (below(r, 8)) {
	case 1:
		send_control(r, &m, NULL, 0);
		if (ch)
			close_channel(ch);
		break;
	case 2:
		m.type = SHM_RELEASE;
		send_control(r, &m, NULL, 0);
		break;
	default:
		if (!ch || !ch->open || chance(r, 8))
			send_open(r, ch);
	}
}

static void guest_opened(struct rogue *r, const struct shm_message *m, int fds[3], size_t n_fds)
{
	struct channel *ch = find_channel(r, m->channel_id);

	if (!ch || n_fds != 3)
		return;
	close_channel(ch);
	if (vmbus_port_adopt(m->ring_size, fds, &ch->port) == 0)
		begin_channel(r, ch);
}

static void guest_hears(struct rogue *r, const struct shm_message *m, int fds[3], size_t n_fds)
{
	struct channel *ch = &r->channels[m->channel_id % CHANNELS];
	const struct shm_message release = {.type = SHM_RELEASE, .channel_id = m->channel_id};

	if (m->type == SHM_OFFER) {
		close_channel(ch);
		ch->id = m->channel_id;
		for (size_t i = 0; i < 3; i++)
			if (vmbus_guid_equal(classes[i], &m->class_id))
				ch->class_id = classes[i];
		send_open(r, ch);
	}
	if (m->type == SHM_OPENED)
		guest_opened(r, m, fds, n_fds);
	if (m->type == SHM_RESCIND && !chance(r, 3)) {
		close_channel(ch);
		ch->id = 0;
		send_control(r, &release, NULL, 0);
	}
}

/* Hears what has come. False if the other side has had enough. */
static bool hear(struct rogue *r, int timeout_ms)
{
	struct pollfd p = {.fd = r->fd, .events = POLLIN};
	uint8_t wire[SHM_MESSAGE_SIZE];
	int fds[3] = {-1, -1, -1};
	struct shm_message m;
	size_t size, n_fds = 0;

	if (poll(&p, 1, timeout_ms) <= 0)
		return true;
	if (fdpass_receive(r->fd, wire, sizeof(wire), fds, 3, &size, &n_fds))
		return false;
	if (shm_decode(wire, size, &m) == 0) {
		if (r->is_host)
			host_hears(r, &m);
		else
			guest_hears(r, &m, fds, n_fds);
	}
	for (int i = 0; i < 3; i++)
		close_fd(fds[i]);
	return true;
}

/* The first words. False if they were bad enough for one session. */
static bool introduce(struct rogue *r)
{
	struct shm_message m = {
		.type = r->is_host ? SHM_WELCOME : SHM_HELLO,
		.version = SHM_VERSION,
		.status = SHM_OK,
		.memory_pages = chance(r, 8) ? next_random(r) : chance(r, 8) ? 0 : 1 << 20,
	};

	snprintf(m.name, sizeof(m.name), "rogue-%" PRIu64, r->seed);
	if (r->is_host && !hear(r, WELCOME_MS))
		return false;
	if (chance(r, 24))
		send_surprise(r);
	if (chance(r, 12))
		m.version = (uint32_t)next_random(r);
	if (chance(r, 12))
		m.status = (uint32_t)below(r, SHM_NO_MEMORY + 3);
	if (chance(r, 12))
		fill(r, m.name, sizeof(m.name));
	send_control(r, &m, NULL, 0);
	for (size_t i = 0; i < 3 && r->is_host; i++)
		send_offer(r, i);
	return true;
}

/* From the first words until the steps are used up or the other side hangs up. */
static void run_session(struct rogue *r)
{
	bool going = introduce(r);
	struct channel *ch;
	int steps = 0;

	r->sessions++;
	r->balloons = 0;
	while (going && steps++ < STEPS && clock_monotonic_ns() < r->end_ns) {
		going = hear(r, chance(r, 4) ? 1 : 0);
		ch = any_channel(r);
		if (ch && ch->open)
			act_on_channel(r, ch);
		else if (chance(r, 16) && r->is_host)
			host_control(r);
		else if (chance(r, 4) && !r->is_host)
			guest_control(r);
	}
	for (size_t i = 0; i < CHANNELS; i++) {
		close_channel(&r->channels[i]);
		r->channels[i].id = 0;
	}
	r->fd = close_fd(r->fd);
}

static void run_host(struct rogue *r)
{
	_cleanup_(unixsock_fini) struct unixsock sock;
	struct pollfd p;

	unixsock_init(&sock);
	if (unixsock_listen(&sock, r->socket, SOCK_SEQPACKET, 0600)) {
		fputs("rogue: cannot listen\n", stderr);
		return;
	}
	p = (struct pollfd){.fd = sock.fd, .events = POLLIN};
	while (clock_monotonic_ns() < r->end_ns) {
		if (poll(&p, 1, 100) <= 0)
			continue;
		r->fd = accept4(sock.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (r->fd >= 0)
			run_session(r);
	}
}

static void run_guest(struct rogue *r)
{
	while (clock_monotonic_ns() < r->end_ns) {
		if (unixsock_connect(r->socket, SOCK_SEQPACKET, 100, &r->fd)) {
			(void)poll(NULL, 0, 50);
			continue;
		}
		(void)fcntl(r->fd, F_SETFL, O_NONBLOCK);
		run_session(r);
	}
}

int main(int argc, char **argv)
{
	static struct rogue r;

	if (argc != 5 || (strcmp(argv[1], "host") != 0 && strcmp(argv[1], "guest") != 0)) {
		fputs("usage: rogue host|guest SOCKET SEED SECONDS\n", stderr);
		return 2;
	}
	r.is_host = !strcmp(argv[1], "host");
	r.socket = argv[2];
	r.seed = strtoull(argv[3], NULL, 10);
	r.random = r.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	r.end_ns = clock_monotonic_ns() + strtoull(argv[4], NULL, 10) * UINT64_C(1000000000);
	r.fd = -1;
	for (size_t i = 0; i < CHANNELS; i++)
		r.channels[i].port = (struct vmbus_port)VMBUS_PORT_INIT;

	if (r.is_host)
		run_host(&r);
	else
		run_guest(&r);
	printf("{\"seed\": %" PRIu64 ", \"sessions\": %" PRIu64 ", \"opened\": %" PRIu64
	       ", \"messages\": %" PRIu64 ", \"controls\": %" PRIu64 "}\n",
	       r.seed, r.sessions, r.opened, r.messages, r.controls);
	return 0;
}
