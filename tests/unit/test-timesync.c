/* SPDX-License-Identifier: MIT */

/*
 * services/timesync.c: what a message means for the guest's clock. Messages live in heap buffers of
 * their exact size, so that a sanitizer sees each byte that is read behind the end.
 */

#include "base/bytes.h"
#include "services/timesync.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define MS     INT64_C(1000000)
#define SECOND INT64_C(1000000000)
#define NOW    (INT64_C(1800000000) * SECOND) /* of the guest's clock, since 1970 */
#define RAW    (1000 * SECOND)
#define COUNT  UINT64_C(50000000000) /* the reference counter then, 100 ns */

struct told {
	int64_t host_ns;    /* since 1970 */
	uint64_t reference; /* 100 ns */
	uint8_t flags, leap, stratum;
};

static uint64_t wire_time(int64_t host_ns)
{
	return TIMESYNC_EPOCH + (uint64_t)(host_ns / 100);
}

/* In a buffer of @size bytes exactly; the caller frees it. */
static uint8_t *make(const struct told *told, uint16_t major, size_t size)
{
	uint8_t whole[64] = {0}, *message = malloc(size ? size : 1);
	struct bytes_writer out;

	bytes_writer_init(&out, whole, sizeof(whole));
	bytes_put_u64(&out, wire_time(told->host_ns));
	bytes_put_u64(&out, told->reference);
	if (major < 4)
		bytes_put_u64(&out, 12345);
	bytes_put_u8(&out, told->flags);
	bytes_put_u8(&out, told->leap);
	bytes_put_u8(&out, told->stratum);
	memcpy(message, whole, size);
	return message;
}

static int take(struct timesync *t, const struct told *told, uint16_t major,
		const struct timesync_reading *reading, struct timesync_action *ret_action)
{
	size_t size = major < 4 ? TIMESYNC_OLD_SIZE : TIMESYNC_REF_SIZE;
	uint8_t *message = make(told, major, size);
	int r = timesync_receive(t, message, size, major, reading, ret_action);

	free(message);
	return r;
}

/* A clock that is right, of a machine whose reference counter can be read. */
static struct timesync_reading reading_now(void)
{
	return (struct timesync_reading){
		.real_ns = NOW, .raw_ns = RAW, .has_reference = true, .reference = COUNT};
}

Test(timesync, what_is_done_follows_from_mode_flags_offset_and_who_keeps_the_clock)
{
	static const struct {
		enum timesync_mode mode;
		uint8_t flags;
		int64_t offset_ns;
		bool is_kept;
		enum timesync_act act;
		enum timesync_why why;
	} rows[] = {
		{TIMESYNC_MODE_OFF, 1, 3600 * SECOND, false, TIMESYNC_ACT_NOTHING, TIMESYNC_WHY_OFF},
		{TIMESYNC_MODE_OFF, 2, 0, false, TIMESYNC_ACT_NOTHING, TIMESYNC_WHY_OFF},
		{TIMESYNC_MODE_SAMPLE, 2, 5 * MS, false, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_SAMPLE, 2, 3600 * SECOND, true, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_SAMPLE, 1, 3600 * SECOND, false, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_NOT_STEPPED},
		{TIMESYNC_MODE_SAMPLE, 0, SECOND, false, TIMESYNC_ACT_NOTHING, TIMESYNC_WHY_PROBE},
		{TIMESYNC_MODE_STEP, 1, 3600 * SECOND, false, TIMESYNC_ACT_STEP, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_STEP, 3, -3600 * SECOND, false, TIMESYNC_ACT_STEP, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_STEP, 1, MS - 1, false, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_CLOSE},
		{TIMESYNC_MODE_STEP, 1, -MS + 100, false, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_CLOSE},
		{TIMESYNC_MODE_STEP, 1, MS, false, TIMESYNC_ACT_STEP, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_STEP, 1, 5 * SECOND - 100, true, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_KEPT},
		{TIMESYNC_MODE_STEP, 1, -5 * SECOND + 100, true, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_KEPT},
		{TIMESYNC_MODE_STEP, 1, 5 * SECOND, true, TIMESYNC_ACT_STEP, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_STEP, 1, -5 * SECOND, true, TIMESYNC_ACT_STEP, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_STEP, 2, 3600 * SECOND, false, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_STEP, 2, -3600 * SECOND, false, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_CATCH_UP, 2, 5 * SECOND, false, TIMESYNC_ACT_STEP, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_CATCH_UP, 0, 5 * SECOND, true, TIMESYNC_ACT_STEP, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_CATCH_UP, 2, 5 * SECOND - 100, false, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_CATCH_UP, 2, -3600 * SECOND, false, TIMESYNC_ACT_SAMPLE, TIMESYNC_WHY_NONE},
		{TIMESYNC_MODE_CATCH_UP, 0, -3600 * SECOND, false, TIMESYNC_ACT_NOTHING, TIMESYNC_WHY_PROBE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static const uint16_t majors[] = {1, 3, 4};

		for (size_t v = 0; v < 3; v++) {
			const struct told told = {
				.host_ns = NOW + rows[i].offset_ns, .reference = COUNT, .flags = rows[i].flags};
			struct timesync_reading reading = reading_now();
			struct timesync_action action;
			struct timesync t;

			timesync_init(&t, rows[i].mode);
			reading.is_kept = rows[i].is_kept;
			cr_assert(eq(int, take(&t, &told, majors[v], &reading, &action), 0));
			cr_expect(eq(int, (int)action.act, (int)rows[i].act), "row %zu", i);
			cr_expect(eq(int, (int)action.why, (int)rows[i].why), "row %zu", i);
			cr_expect(eq(i64, action.offset_ns, rows[i].offset_ns / 100 * 100), "row %zu", i);
			cr_expect(eq(int, action.asked,
				     rows[i].mode != TIMESYNC_MODE_OFF && (rows[i].flags & 1)));
			cr_expect(eq(u64, t.steps, rows[i].act == TIMESYNC_ACT_STEP));
			cr_expect(eq(u64, t.samples, rows[i].act == TIMESYNC_ACT_SAMPLE));
		}
	}
}

Test(timesync, the_clock_is_set_back_by_less_than_100_ms_only_if_the_age_is_measured)
{
	static const struct {
		int64_t offset_ns;
		uint16_t major;
		bool reads_counter;
		enum timesync_act act;
	} rows[] = {
		{-MS, 4, true, TIMESYNC_ACT_STEP},
		{-MS, 4, false, TIMESYNC_ACT_SAMPLE},
		{-MS, 3, true, TIMESYNC_ACT_SAMPLE},
		{-100 * MS + 100, 4, false, TIMESYNC_ACT_SAMPLE},
		{-100 * MS + 100, 1, true, TIMESYNC_ACT_SAMPLE},
		{-100 * MS, 4, false, TIMESYNC_ACT_STEP},
		{-100 * MS, 1, false, TIMESYNC_ACT_STEP},
		{MS, 1, false, TIMESYNC_ACT_STEP},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct told told = {NOW + rows[i].offset_ns, COUNT, 1, 0, 0};
		struct timesync_reading reading = reading_now();
		struct timesync_action action;
		struct timesync t;

		timesync_init(&t, TIMESYNC_MODE_STEP);
		reading.has_reference = rows[i].reads_counter;
		cr_assert(eq(int, take(&t, &told, rows[i].major, &reading, &action), 0));
		cr_expect(eq(int, (int)action.act, (int)rows[i].act), "row %zu", i);
		cr_expect(eq(int, action.exact, rows[i].major >= 4 && rows[i].reads_counter));
		if (action.act == TIMESYNC_ACT_SAMPLE)
			cr_expect(eq(int, (int)action.why, (int)TIMESYNC_WHY_CLOSE), "row %zu", i);
	}
}

Test(timesync, a_counter_that_can_be_read_takes_the_age_of_the_message_out)
{
	static const struct {
		int64_t age_100ns;
		uint8_t flags;
		enum timesync_act act;
		int64_t counted_ns;
	} rows[] = {
		{0, 2, TIMESYNC_ACT_SAMPLE, 0},
		{25000, 2, TIMESYNC_ACT_SAMPLE, 2500000},
		{100000000, 2, TIMESYNC_ACT_SAMPLE, 10 * SECOND},
		{100000001, 2, TIMESYNC_ACT_NOTHING, 10 * SECOND + 100},
		{-10000, 2, TIMESYNC_ACT_SAMPLE, 0}, /* two processors */
		{-10001, 2, TIMESYNC_ACT_NOTHING, INT64_MAX},
		{6000000000, 1, TIMESYNC_ACT_STEP, 600 * SECOND},
		{6000000001, 1, TIMESYNC_ACT_NOTHING, 600 * SECOND + 100},
		{-10001, 1, TIMESYNC_ACT_NOTHING, INT64_MAX},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* What the host said was right when it said it: the guest is an hour behind. */
		struct told told = {.host_ns = NOW + 3600 * SECOND - rows[i].counted_ns,
				    .reference = COUNT - (uint64_t)rows[i].age_100ns,
				    .flags = rows[i].flags};
		const struct timesync_reading reading = reading_now();
		struct timesync_action action;
		struct timesync t;

		if (rows[i].counted_ns == INT64_MAX)
			told.host_ns = NOW;
		timesync_init(&t, TIMESYNC_MODE_STEP);
		cr_assert(eq(int, take(&t, &told, 4, &reading, &action), 0));
		cr_expect(eq(int, (int)action.act, (int)rows[i].act), "row %zu", i);
		cr_expect(eq(u64, action.age_ns, (uint64_t)rows[i].counted_ns), "row %zu", i);
		cr_expect(eq(u64, t.stale, action.act == TIMESYNC_ACT_NOTHING));
		if (action.act != TIMESYNC_ACT_NOTHING)
			cr_expect(eq(i64, action.offset_ns, 3600 * SECOND), "row %zu", i);
	}
}

/* A message that took @delay_ns, of a host that is 7 ms ahead and whose counter began long ago. */
static struct timesync_action deliver(struct timesync *t, int64_t sent_ns, int64_t delay_ns, uint8_t flags)
{
	const struct told told = {.host_ns = NOW + sent_ns + 7 * MS,
				  .reference = COUNT + (uint64_t)sent_ns / 100,
				  .flags = flags};
	const struct timesync_reading reading = {.real_ns = NOW + sent_ns + delay_ns,
						 .raw_ns = (uint64_t)(RAW + sent_ns + delay_ns)};
	struct timesync_action action;

	cr_assert(eq(int, take(t, &told, 4, &reading, &action), 0));
	return action;
}

Test(timesync, without_a_counter_what_a_message_took_longer_than_the_quickest_is_taken_out)
{
	static const int64_t delays[] = {3 * MS, MS, 40 * MS, MS + 100, 9 * SECOND, MS};
	struct timesync_action action;
	struct timesync t;

	timesync_init(&t, TIMESYNC_MODE_SAMPLE);
	for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		int64_t least = i == 0 ? 3 * MS : MS;

		action = deliver(&t, (int64_t)i * 5 * SECOND, delays[i], 2);
		cr_expect(eq(u64, action.age_ns, (uint64_t)(delays[i] - least)), "row %zu", i);
		cr_expect(eq(i64, action.offset_ns, 7 * MS - least), "row %zu", i);
	}
	action = deliver(&t, 60 * SECOND, 12 * SECOND, 2);
	cr_expect(eq(int, (int)action.why, (int)TIMESYNC_WHY_STALE));
}

Test(timesync, a_step_that_waited_for_the_guest_does_not_set_the_clock_back)
{
	struct timesync_action action;
	struct timesync t;

	timesync_init(&t, TIMESYNC_MODE_STEP);
	(void)deliver(&t, 0, MS, 2);
	action = deliver(&t, 5 * SECOND, 60 * SECOND, 1);
	cr_expect(eq(int, (int)action.act, (int)TIMESYNC_ACT_STEP));
	cr_expect(eq(i64, action.offset_ns, 6 * MS));
	(void)deliver(&t, 70 * SECOND, MS, 2);
	action = deliver(&t, 75 * SECOND, 700 * SECOND, 1);
	cr_expect(eq(int, (int)action.act, (int)TIMESYNC_ACT_NOTHING));
	cr_expect(eq(int, (int)action.why, (int)TIMESYNC_WHY_STALE));
}

Test(timesync, what_was_learned_of_delays_ends_with_the_window_a_step_or_a_negotiation)
{
	struct timesync_action action;
	struct timesync t;

	timesync_init(&t, TIMESYNC_MODE_SAMPLE);
	(void)deliver(&t, 0, MS, 2);
	for (int i = 1; i < TIMESYNC_WINDOW; i++)
		cr_expect(eq(u64, deliver(&t, i * SECOND, 9 * MS, 2).age_ns, (uint64_t)(8 * MS)));
	cr_expect(eq(u64, deliver(&t, 20 * SECOND, 9 * MS, 2).age_ns, 0));

	(void)deliver(&t, 21 * SECOND, MS, 2);
	timesync_reset(&t);
	cr_expect(eq(u64, deliver(&t, 22 * SECOND, 9 * MS, 2).age_ns, 0));

	(void)deliver(&t, 23 * SECOND, MS, 1);
	action = deliver(&t, 24 * SECOND, 9 * MS, 2);
	cr_expect(eq(u64, action.age_ns, 0));
}

Test(timesync, a_host_that_is_not_synchronized_may_set_the_clock_but_gives_no_samples)
{
	static const struct {
		uint8_t leap, stratum, flags;
		enum timesync_act act;
	} rows[] = {
		{0, 0, 2, TIMESYNC_ACT_SAMPLE},   {1, 3, 2, TIMESYNC_ACT_SAMPLE},
		{2, 15, 2, TIMESYNC_ACT_SAMPLE},  {3, 0, 2, TIMESYNC_ACT_NOTHING},
		{0, 16, 2, TIMESYNC_ACT_NOTHING}, {0, 255, 2, TIMESYNC_ACT_NOTHING},
		{3, 16, 1, TIMESYNC_ACT_STEP},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct told told = {NOW + SECOND, COUNT, rows[i].flags, rows[i].leap, rows[i].stratum};
		const struct timesync_reading reading = reading_now();
		struct timesync_action action;
		struct timesync t;

		timesync_init(&t, TIMESYNC_MODE_STEP);
		cr_assert(eq(int, take(&t, &told, 4, &reading, &action), 0));
		cr_expect(eq(int, (int)action.act, (int)rows[i].act), "row %zu", i);
		cr_expect(eq(int, (int)action.leap, rows[i].leap));
		cr_expect(eq(int, action.stratum, rows[i].stratum));
		if (action.act == TIMESYNC_ACT_NOTHING)
			cr_expect(eq(int, (int)action.why, (int)TIMESYNC_WHY_UNSYNCHRONIZED));

		/* Before 4.0 there is neither. */
		cr_assert(eq(int, take(&t, &told, 3, &reading, &action), 0));
		cr_expect(eq(int, (int)action.leap, 0));
		cr_expect(eq(int, action.stratum, 0));
	}
}

Test(timesync, a_time_that_no_clock_has_is_refused)
{
	static const struct {
		uint64_t time_100ns;
		int result;
	} rows[] = {
		{0, TIMESYNC_NO_TIME},
		{TIMESYNC_EPOCH - 1, TIMESYNC_NO_TIME},
		{TIMESYNC_EPOCH, TIMESYNC_NO_TIME},
		{TIMESYNC_EPOCH + UINT64_C(946684800) * 10000000 - 1, TIMESYNC_NO_TIME},
		{TIMESYNC_EPOCH + UINT64_C(946684800) * 10000000, 0},
		{TIMESYNC_EPOCH + UINT64_C(7258118400) * 10000000 - 1, 0},
		{TIMESYNC_EPOCH + UINT64_C(7258118400) * 10000000, TIMESYNC_NO_TIME},
		{UINT64_MAX, TIMESYNC_NO_TIME},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t message[TIMESYNC_REF_SIZE] = {0};
		const struct timesync_reading reading = reading_now();
		struct timesync_action action;
		struct bytes_writer out;
		struct timesync t;

		timesync_init(&t, TIMESYNC_MODE_STEP);
		bytes_writer_init(&out, message, sizeof(message));
		bytes_put_u64(&out, rows[i].time_100ns);
		bytes_put_u64(&out, COUNT);
		cr_expect(eq(int, timesync_receive(&t, message, sizeof(message), 4, &reading, &action),
			     rows[i].result), "row %zu", i);
		cr_expect(eq(u64, t.malformed, rows[i].result != 0));
		cr_expect(eq(int, t.has_last, rows[i].result == 0));
	}
}

Test(timesync, every_message_that_is_too_short_is_refused)
{
	static const struct {
		uint16_t major;
		size_t size;
	} rows[] = {{1, TIMESYNC_OLD_SIZE}, {3, TIMESYNC_OLD_SIZE}, {4, TIMESYNC_REF_SIZE}, {5, TIMESYNC_REF_SIZE}};
	const struct told told = {NOW, COUNT, 1, 0, 0};
	const struct timesync_reading reading = reading_now();
	struct timesync_action action;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t len = 0; len <= rows[i].size; len++) {
			uint8_t *message = make(&told, rows[i].major, len);
			struct timesync t;

			timesync_init(&t, TIMESYNC_MODE_STEP);
			cr_expect(eq(int, timesync_receive(&t, message, len, rows[i].major, &reading, &action),
				     len < rows[i].size ? TIMESYNC_MALFORMED : 0), "%zu bytes", len);
			cr_expect(eq(u64, t.messages + t.malformed, 1));
			free(message);
		}
	}
}

/* Whatever one bit makes of a good message, a clock is set only by the flag, and by what was said. */
Test(timesync, no_flipped_bit_sets_a_clock_that_is_right)
{
	static const uint16_t majors[] = {1, 4};

	for (size_t v = 0; v < 2; v++) {
		size_t size = majors[v] < 4 ? TIMESYNC_OLD_SIZE : TIMESYNC_REF_SIZE;

		for (size_t bit = 0; bit < size * 8; bit++) {
			const struct told told = {NOW, COUNT, 2, 0, 0};
			const struct timesync_reading reading = reading_now();
			uint8_t *message = make(&told, majors[v], size);
			struct timesync_action action = {0};
			struct timesync t;
			int r;

			timesync_init(&t, TIMESYNC_MODE_STEP);
			message[bit / 8] ^= 1 << bit % 8;
			r = timesync_receive(&t, message, size, majors[v], &reading, &action);
			cr_expect(r == 0 || r == TIMESYNC_NO_TIME, "bit %zu", bit);
			/* The one bit is either in the flags or in the time. */
			cr_expect(action.act != TIMESYNC_ACT_STEP, "bit %zu", bit);
			cr_expect(eq(u64, t.messages + t.malformed, 1));
			free(message);
		}
	}
}

Test(timesync, everything_has_a_name)
{
	for (int i = 0; i < TIMESYNC_N_MODES; i++)
		cr_expect(strlen(timesync_mode_name(i)) > 0);
	for (int i = 0; i < TIMESYNC_N_WHYS; i++)
		cr_expect(strlen(timesync_why_text(i)) > 0);
	for (int i = TIMESYNC_ACT_NOTHING; i <= TIMESYNC_ACT_STEP; i++)
		cr_expect(strlen(timesync_act_name(i)) > 0);
}
