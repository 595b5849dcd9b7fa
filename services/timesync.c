/* SPDX-License-Identifier: MIT */

/*
 * Time synchronisation, guest's end.
 *
 * A message says what time it was at the host at one moment. What counts is how far the guest's clock
 * is off at one moment, so the age of the message comes first:
 *
 *     since 4.0, reference counter readable   counter now - counter in the message: exact
 *     since 4.0, otherwise                    how much longer than the quickest of the last messages
 *                                             this one took. Raw clock minus counter is a constant
 *                                             plus the delay, so the least of them has the least delay
 *     before 4.0                              none: taken as if it were from now
 *
 * What was learned of delays is forgotten when the host negotiates, and after a SYNC: after a restore or a
 * migration the two clocks may be others. The window is short, for their rates differ. A SYNC itself is
 * measured by what was known before it, so one that waited for a process which was stopped does not set
 * the clock back.
 *
 * Then the rules, the first that applies:
 *
 *     mode off                                      nothing
 *     older than 10 minutes, a sample 10 seconds    nothing: stale. Linux's limit for a step is the same
 *     the host wants a step (SYNC), and the guest   step, forwards or backwards
 *     the guest is 5 s behind, mode catch-up        step: SYNC is sometimes missing after a resume
 *     the host's clock is not synchronized          nothing
 *     no flags                                      nothing
 *     else                                          sample
 *
 * The clock is never set back but by SYNC. It is not set for less than a millisecond; not set back for less
 * than 100 ms if the age of the message is not known exactly, for its way makes every host look late; and if
 * the kernel says that somebody keeps the clock (chronyd, say) not for less than 5 s, which is no drift but
 * a resume. A step that is not made becomes a sample.
 *
 * Sources: Linux drivers/hv/hv_util.c (adj_guesttime, hv_set_host_time, the limits of 5 s and 600 s);
 * OpenVMM vm/devices/hyperv_ic/src/timesync.rs (when SYNC is sent).
 */

#include "services/timesync.h"

#include "base/bytes.h"

#define NS_PER_MS     INT64_C(1000000)
#define NS_PER_SECOND INT64_C(1000000000)

#define STEP_LEAST_NS  NS_PER_MS
#define STEP_BACK_NS   (100 * NS_PER_MS)
#define STEP_KEPT_NS   (5 * NS_PER_SECOND)
#define BEHIND_NS      (5 * NS_PER_SECOND)
#define STEP_AGE_MAX   (UINT64_C(600) * 10000000) /* 100 ns */
#define SAMPLE_AGE_MAX (UINT64_C(10) * 10000000)
#define AHEAD_MAX      10000 /* 100 ns that a counter may be ahead of ours: two processors, one moment */

#define YEAR_2000_SECONDS INT64_C(946684800)
#define YEAR_2200_SECONDS INT64_C(7258118400)

/* A message, decoded. */
struct sample {
	int64_t host_ns; /* since 1970 */
	bool has_reference;
	uint64_t reference; /* 100 ns */
	uint8_t flags;
	enum timesync_leap leap;
	uint8_t stratum;
};

void timesync_init(struct timesync *t, enum timesync_mode mode)
{
	*t = (struct timesync){.mode = mode};
}

void timesync_reset(struct timesync *t)
{
	t->n_spans = 0;
}

static int decode_time(uint64_t time_100ns, int64_t *ret_host_ns)
{
	uint64_t since_1970 = time_100ns - TIMESYNC_EPOCH;

	if (time_100ns < TIMESYNC_EPOCH || since_1970 / 10000000 < (uint64_t)YEAR_2000_SECONDS ||
	    since_1970 / 10000000 >= (uint64_t)YEAR_2200_SECONDS)
		return TIMESYNC_NO_TIME;
	*ret_host_ns = (int64_t)(since_1970 * 100);
	return 0;
}

static int decode(const void *message, size_t len, uint16_t major, struct sample *ret_sample)
{
	struct sample sample = {.has_reference = major >= 4};
	struct bytes_reader in;
	uint64_t time_100ns;
	int r;

	bytes_reader_init(&in, message, len);
	time_100ns = bytes_get_u64(&in);
	sample.reference = bytes_get_u64(&in);
	if (!sample.has_reference)
		bytes_skip(&in, 8);
	sample.flags = bytes_get_u8(&in);
	if (sample.has_reference) {
		sample.leap = bytes_get_u8(&in) & 3;
		sample.stratum = bytes_get_u8(&in);
		bytes_skip(&in, TIMESYNC_REF_SIZE - 19);
	}
	if (!bytes_reader_ok(&in))
		return TIMESYNC_MALFORMED;
	r = decode_time(time_100ns, &sample.host_ns);
	if (r)
		return r;
	*ret_sample = sample;
	return 0;
}

/* Enters how far the raw clock is ahead of the message, and returns by how much that is more than least. */
static uint64_t age_by_delay(struct timesync *t, uint64_t raw_ns, uint64_t reference)
{
	int64_t span = (int64_t)(raw_ns / 100 - reference), least = span;
	size_t n;

	t->spans[t->n_spans++ % TIMESYNC_WINDOW] = span;
	n = t->n_spans < TIMESYNC_WINDOW ? t->n_spans : TIMESYNC_WINDOW;
	for (size_t i = 0; i < n; i++)
		if (t->spans[i] < least)
			least = t->spans[i];
	return (uint64_t)span - (uint64_t)least;
}

/* In 100 ns. UINT64_MAX: the message is from the future, so the two counters are not the same. */
static uint64_t age_of(struct timesync *t, const struct sample *sample,
		       const struct timesync_reading *reading)
{
	uint64_t age;

	if (!sample->has_reference)
		return 0;
	if (!reading->has_reference)
		return age_by_delay(t, reading->raw_ns, sample->reference);
	age = reading->reference - sample->reference;
	if (age > INT64_MAX)
		return -age <= AHEAD_MAX ? 0 : UINT64_MAX;
	return age;
}

static uint64_t absolute(int64_t value)
{
	return value < 0 ? -(uint64_t)value : (uint64_t)value;
}

/* Why a step that the host wants is not made. */
static enum timesync_why objection(const struct timesync *t, const struct timesync_action *action,
				   bool is_kept)
{
	int64_t offset_ns = action->offset_ns;

	if (t->mode < TIMESYNC_MODE_STEP)
		return TIMESYNC_WHY_NOT_STEPPED;
	if (absolute(offset_ns) < STEP_LEAST_NS || (!action->exact && offset_ns < 0 && offset_ns > -STEP_BACK_NS))
		return TIMESYNC_WHY_CLOSE;
	if (is_kept && absolute(offset_ns) < STEP_KEPT_NS)
		return TIMESYNC_WHY_KEPT;
	return TIMESYNC_WHY_NONE;
}

static bool is_unsynchronized(const struct sample *sample)
{
	return sample->leap == TIMESYNC_LEAP_UNSYNCHRONIZED ||
	       sample->stratum >= TIMESYNC_STRATUM_UNSYNCHRONIZED;
}

/* The rules at the top, once the offset is known. */
static void decide(const struct timesync *t, const struct sample *sample, bool is_kept,
		   struct timesync_action *action)
{
	action->asked = sample->flags & TIMESYNC_FLAG_SYNC;
	if (action->asked) {
		action->why = objection(t, action, is_kept);
		action->act = action->why == TIMESYNC_WHY_NONE ? TIMESYNC_ACT_STEP : TIMESYNC_ACT_SAMPLE;
	} else if (t->mode == TIMESYNC_MODE_CATCH_UP && action->offset_ns >= BEHIND_NS) {
		action->act = TIMESYNC_ACT_STEP;
		action->caught_up = true;
	} else if (sample->flags & TIMESYNC_FLAG_SAMPLE) {
		action->act = TIMESYNC_ACT_SAMPLE;
	} else {
		action->why = TIMESYNC_WHY_PROBE;
	}
	if (action->act == TIMESYNC_ACT_SAMPLE && is_unsynchronized(sample)) {
		action->act = TIMESYNC_ACT_NOTHING;
		action->why = TIMESYNC_WHY_UNSYNCHRONIZED;
	}
}

static void count(struct timesync *t, const struct timesync_action *action)
{
	t->messages++;
	t->samples += action->act == TIMESYNC_ACT_SAMPLE;
	t->steps += action->act == TIMESYNC_ACT_STEP;
	t->stale += action->why == TIMESYNC_WHY_STALE;
	t->skipped += action->why != TIMESYNC_WHY_NONE && action->why != TIMESYNC_WHY_PROBE;
}

static void judge(struct timesync *t, const struct sample *sample,
		  const struct timesync_reading *reading, struct timesync_action *action)
{
	uint64_t age, age_max = sample->flags & TIMESYNC_FLAG_SYNC ? STEP_AGE_MAX : SAMPLE_AGE_MAX;

	age = age_of(t, sample, reading);
	if (sample->flags & TIMESYNC_FLAG_SYNC)
		timesync_reset(t);
	if (age > age_max) {
		action->why = TIMESYNC_WHY_STALE;
		action->age_ns = age > INT64_MAX / 100 ? INT64_MAX : age * 100;
		return;
	}
	action->age_ns = age * 100;
	action->exact = sample->has_reference && reading->has_reference;
	action->offset_ns = sample->host_ns + (int64_t)action->age_ns - reading->real_ns;
	if (t->mode == TIMESYNC_MODE_OFF)
		action->why = TIMESYNC_WHY_OFF;
	else
		decide(t, sample, reading->is_kept, action);
}

int timesync_receive(struct timesync *t, const void *message, size_t len, uint16_t major,
		     const struct timesync_reading *reading, struct timesync_action *ret_action)
{
	struct timesync_action action = {.act = TIMESYNC_ACT_NOTHING};
	struct sample sample;
	int r = decode(message, len, major, &sample);

	if (r) {
		t->malformed++;
		return r;
	}
	action.leap = sample.leap;
	action.stratum = sample.stratum;
	judge(t, &sample, reading, &action);
	count(t, &action);
	t->last = action;
	t->last_raw_ns = reading->raw_ns;
	t->has_last = true;
	*ret_action = action;
	return 0;
}

const char *timesync_mode_name(enum timesync_mode mode)
{
	static const char *const names[] = {
		[TIMESYNC_MODE_OFF] = "off",
		[TIMESYNC_MODE_SAMPLE] = "sample",
		[TIMESYNC_MODE_STEP] = "step",
		[TIMESYNC_MODE_CATCH_UP] = "catch-up",
	};

	return names[mode];
}

const char *timesync_act_name(enum timesync_act act)
{
	static const char *const names[] = {
		[TIMESYNC_ACT_NOTHING] = "nothing",
		[TIMESYNC_ACT_SAMPLE] = "sample",
		[TIMESYNC_ACT_STEP] = "step",
	};

	return names[act];
}

const char *timesync_why_text(enum timesync_why why)
{
	static const char *const texts[] = {
		[TIMESYNC_WHY_NONE] = "nothing is in the way",
		[TIMESYNC_WHY_OFF] = "time synchronisation is off here",
		[TIMESYNC_WHY_NOT_STEPPED] = "the host may not set the clock here (sync = sample)",
		[TIMESYNC_WHY_CLOSE] = "the clock is as right as can be told",
		[TIMESYNC_WHY_KEPT] = "somebody else keeps the clock, and it is less than 5 s off",
		[TIMESYNC_WHY_STALE] = "the host's message was too long on its way",
		[TIMESYNC_WHY_UNSYNCHRONIZED] = "the host says that its own clock is not synchronized",
		[TIMESYNC_WHY_PROBE] = "the host asked for nothing",
	};

	return texts[why];
}
