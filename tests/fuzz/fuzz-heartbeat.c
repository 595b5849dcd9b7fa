/* SPDX-License-Identifier: MIT */

/*
 * Both ends of the heartbeat, with any messages.
 *
 * Input: steps of u8 kind, u8 argument, u8 length, and that many bytes. Kinds modulo 5: 0 the bytes
 * are a request to the guest; 1 they are an answer to the host; 2 the host asks if it is due, the guest
 * answers, and the first of the bytes, if there are any, cut the answer to so many; 3 the guest's health and
 * what holds it are those of the argument; 4 the argument in tenths of a second pass, or (255) the
 * channel is opened anew.
 *
 * Oracles: a request that has a number is answered, by that number plus one; of the rest only what the
 * message has room for is changed, and what a backup does is told only to a host that asks for it. The
 * host takes no answer that it did not ask for, believes only the number that it waits for, and
 * understands what a guest of ours says.
 */

#include "base/bytes.h"
#include "base/cleanup.h"
#include "host/heartbeat_host.h"
#include "services/heartbeat.h"
#include "tests/fuzz/fuzz.h"

enum {
	N_KINDS = 5,
};

struct world {
	struct heartbeat guest;
	struct heartbeat_host host;
	uint64_t now_ns;
};

static uint64_t number_of(const uint8_t *message, size_t size)
{
	struct bytes_reader in;

	bytes_reader_init(&in, message, size);
	return bytes_get_u64(&in);
}

static bool asks_for_hold(const uint8_t *message, size_t size)
{
	return size >= HEARTBEAT_HOLD_SIZE && memcmp(message + HEARTBEAT_MAGIC_OFFSET, "HVG1", 4) == 0;
}

/* @message, in a block of its exact size, becomes its answer. */
static void guest_answers(struct world *w, uint8_t *message, size_t size)
{
	_cleanup_free_ uint8_t *before = fuzz_copy(message, size);
	uint64_t answered = w->guest.answered, malformed = w->guest.malformed;
	size_t same = HEARTBEAT_NUMBER_SIZE;
	int r = heartbeat_answer(&w->guest, message, size, w->now_ns);

	fuzz_require(w->guest.answered + w->guest.malformed == answered + malformed + 1);
	if (r) {
		fuzz_require(r == HEARTBEAT_MALFORMED && size < HEARTBEAT_NUMBER_SIZE);
		fuzz_require(size == 0 || memcmp(message, before, size) == 0);
		return;
	}
	fuzz_require(number_of(message, size) == number_of(before, size) + 1);
	if (size >= HEARTBEAT_STATE_SIZE)
		same = HEARTBEAT_MAGIC_OFFSET;
	if (asks_for_hold(before, size))
		same = size >= HEARTBEAT_STALL_SIZE && w->guest.stall_centipercent <= HEARTBEAT_STALL_MAX
			       ? HEARTBEAT_STALL_SIZE
			       : HEARTBEAT_HOLD_SIZE;
	fuzz_require(memcmp(message + same, before + same, size - same) == 0);
}

static void host_hears(struct world *w, const uint8_t *message, size_t size)
{
	const struct heartbeat_host before = w->host;
	int r = heartbeat_host_receive(&w->host, message, size, w->now_ns);

	fuzz_require(!w->host.waiting);
	fuzz_require((r == HEARTBEAT_HOST_UNEXPECTED) == !before.waiting);
	fuzz_require(w->host.answered == before.answered + (r == 0));
	if (r == 0)
		fuzz_require(number_of(message, size) == before.number + 1);
	else
		fuzz_require(w->host.application == before.application && w->host.hold == before.hold &&
			     w->host.stall_centipercent == before.stall_centipercent);
	fuzz_require(w->host.application <= HEARTBEAT_APPLICATION_STOPPED);
	fuzz_require(w->host.hold <= HEARTBEAT_HOLD_THAWING);
	fuzz_require(w->host.stall_centipercent <= HEARTBEAT_STALL_MAX ||
		     w->host.stall_centipercent == HEARTBEAT_STALL_UNKNOWN);
	fuzz_require(w->host.hold != HEARTBEAT_HOLD_NONE || w->host.hold_left_ms == UINT32_MAX);
}

/* One beat of both ends; the answer arrives in its first @size bytes. */
static void beat(struct world *w, size_t size)
{
	struct heartbeat_host_action action;
	_cleanup_free_ uint8_t *message = NULL, *arrived = NULL;
	uint64_t answered = w->host.answered;

	heartbeat_host_tick(&w->host, w->now_ns);
	if (heartbeat_host_next_action(&w->host, w->now_ns, &action))
		return;
	message = fuzz_copy(action.message, sizeof(action.message));
	guest_answers(w, message, sizeof(action.message));
	arrived = fuzz_copy(message, size);
	host_hears(w, arrived, size);
	if (size < sizeof(action.message))
		return;
	fuzz_require(w->host.answered == answered + 1);
	fuzz_require(w->host.application == w->guest.application);
	fuzz_require(w->host.hold == w->guest.hold);
	fuzz_require(w->host.stall_centipercent ==
		     (w->guest.stall_centipercent <= HEARTBEAT_STALL_MAX ? w->guest.stall_centipercent
									 : HEARTBEAT_STALL_UNKNOWN));
	if (w->guest.hold != HEARTBEAT_HOLD_NONE)
		fuzz_require(w->host.hold_left_ms == w->guest.hold_left_ms);
}

static void pass_time(struct world *w, uint8_t argument)
{
	if (argument == UINT8_MAX) {
		heartbeat_host_stop(&w->host);
		heartbeat_host_start(&w->host, w->now_ns);
		return;
	}
	w->now_ns += argument * UINT64_C(100000000);
	heartbeat_host_tick(&w->host, w->now_ns);
	fuzz_require(heartbeat_host_deadline_ns(&w->host) > w->now_ns);
}

static void step(struct world *w, uint8_t kind, uint8_t argument, const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *message = fuzz_copy(data, size);

	switch (kind % N_KINDS) {
	case 0:
		guest_answers(w, message, size);
		break;
	case 1:
		host_hears(w, message, size);
		break;
	case 2:
		beat(w, size == 0 ? HEARTBEAT_MESSAGE_SIZE : data[0] % (HEARTBEAT_MESSAGE_SIZE + 1));
		break;
	case 3:
		heartbeat_set_application(&w->guest, argument & 3);
		heartbeat_set_hold(&w->guest, argument >> 2 & 3, argument * 1000u);
		heartbeat_set_stall(&w->guest, argument & 16 ? HEARTBEAT_STALL_UNKNOWN : argument * 50u);
		break;
	case 4:
		pass_time(w, argument);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {.now_ns = 1};
	struct bytes_reader in;

	heartbeat_init(&w.guest);
	heartbeat_host_init(&w.host);
	heartbeat_host_start(&w.host, w.now_ns);
	bytes_reader_init(&in, data, size);
	while (bytes_left(&in) > 0) {
		uint8_t kind = bytes_get_u8(&in), argument = bytes_get_u8(&in);
		size_t len = bytes_get_u8(&in);
		const uint8_t *bytes = bytes_get_direct(&in, len);

		if (!bytes_reader_ok(&in))
			break;
		step(&w, kind, argument, bytes, len);
	}
	return 0;
}
