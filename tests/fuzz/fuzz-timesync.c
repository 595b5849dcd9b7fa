/* SPDX-License-Identifier: MIT */

/*
 * services/timesync.c with any messages and any clocks.
 *
 * The input is a mode, then steps of a head and a message:
 *
 *     offset  size  meaning
 *          0     1  bit 0: the counter can be read; bit 1: somebody keeps the clock; bit 2: negotiated
 *                   before; bits 4 to 7: major version
 *          1     1  bytes of the message
 *          2     8  CLOCK_REALTIME, seconds: the lowest 33 bits count
 *         10     8  raw clock, nanoseconds
 *         18     8  reference counter
 *
 * What must hold: a message is counted once; the clock is set only in a mode that may, back only if the
 * host asked for it, never by less than a millisecond, back by an estimate never by less than 100 ms, and
 * never by less than 5 s if somebody keeps it.
 */

#include "base/bytes.h"
#include "services/timesync.h"
#include "tests/fuzz/fuzz.h"

#define SECOND INT64_C(1000000000)

static void check_step(const struct timesync *t, const struct timesync_reading *reading,
		       const struct timesync_action *action)
{
	int64_t least = reading->is_kept ? 5 * SECOND : SECOND / 1000;

	fuzz_require(t->mode >= TIMESYNC_MODE_STEP);
	fuzz_require(action->offset_ns >= least || action->offset_ns <= -least);
	fuzz_require(action->exact || action->offset_ns > 0 || action->offset_ns <= -SECOND / 10);
	fuzz_require(action->asked != action->caught_up);
	if (action->caught_up)
		fuzz_require(t->mode == TIMESYNC_MODE_CATCH_UP && action->offset_ns >= 5 * SECOND);
	fuzz_require(action->age_ns <= (uint64_t)(600 * SECOND));
}

static void step(struct timesync *t, uint8_t how, const struct timesync_reading *reading,
		 const uint8_t *message, size_t size)
{
	uint64_t counted = t->messages + t->malformed;
	uint8_t *copy = fuzz_copy(message, size);
	struct timesync_action action;
	int r;

	if (how & 4)
		timesync_reset(t);
	r = timesync_receive(t, copy, size, how >> 4, reading, &action);
	free(copy);
	fuzz_require(t->messages + t->malformed == counted + 1);
	fuzz_require(r == 0 || r == TIMESYNC_MALFORMED || r == TIMESYNC_NO_TIME);
	if (r)
		return;
	fuzz_require(timesync_why_text(action.why) && timesync_act_name(action.act));
	fuzz_require(t->mode != TIMESYNC_MODE_OFF || action.act == TIMESYNC_ACT_NOTHING);
	if (action.act == TIMESYNC_ACT_STEP)
		check_step(t, reading, &action);
	if (action.act == TIMESYNC_ACT_SAMPLE)
		fuzz_require(action.leap != TIMESYNC_LEAP_UNSYNCHRONIZED);
	fuzz_require(t->samples + t->steps <= t->messages && t->skipped <= t->messages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes_reader in;
	struct timesync t;

	bytes_reader_init(&in, data, size);
	timesync_init(&t, bytes_get_u8(&in) % TIMESYNC_N_MODES);
	while (bytes_left(&in) > 0) {
		uint8_t how = bytes_get_u8(&in);
		size_t len = bytes_get_u8(&in);
		struct timesync_reading reading = {
			.has_reference = how & 1,
			.is_kept = how & 2,
		};
		const uint8_t *message;

		reading.real_ns = (int64_t)(bytes_get_u64(&in) & UINT64_C(0x1ffffffff)) * SECOND;
		reading.raw_ns = bytes_get_u64(&in);
		reading.reference = bytes_get_u64(&in);
		message = bytes_get_direct(&in, len);
		if (!bytes_reader_ok(&in))
			break;
		step(&t, how, &reading, message, len);
	}
	return 0;
}
