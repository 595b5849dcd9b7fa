/* SPDX-License-Identifier: MIT */

/*
 * services/health.c: reports of several programs, their ends, and what the host is told.
 */

#include "services/health.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static struct health h;

/* @seconds 0: there is no end. */
static int say(const char *source, bool is_critical, unsigned seconds, bool then_critical, uint64_t now_s)
{
	return health_report(&h, source, is_critical, "a text", seconds * SECOND, then_critical,
			     now_s * SECOND);
}

static bool critical_at(uint64_t now_s)
{
	health_tick(&h, now_s * SECOND);
	return health_is_critical(&h);
}

Test(health, one_that_is_critical_makes_the_guest_critical_until_it_is_well_itself)
{
	health_init(&h);
	cr_expect(eq(int, critical_at(0), false));
	cr_assert(eq(int, say("database", true, 0, false, 1), 0));
	cr_assert(eq(int, say("web", true, 0, false, 1), 0));
	cr_expect(eq(int, critical_at(1000000), true));
	cr_assert(eq(int, say("web", false, 0, false, 1000001), 0));
	cr_expect(eq(int, critical_at(1000002), true));
	cr_expect(eq(sz, h.n_reports, 1));
	cr_expect(eq(str, h.reports[0].source, "database"));
	cr_assert(eq(int, say("database", false, 0, false, 1000003), 0));
	cr_expect(eq(int, critical_at(1000003), false));
	cr_expect(eq(sz, h.n_reports, 0));
	cr_expect(eq(u64, h.changes, 2));
}

Test(health, a_report_ends_by_itself)
{
	health_init(&h);
	cr_assert(eq(int, say("disk", true, 10, false, 100), 0));
	cr_expect(eq(int, critical_at(109), true));
	cr_expect(eq(int, critical_at(110), false));
	cr_expect(eq(sz, h.n_reports, 0));
	cr_assert(eq(int, say("disk", true, 10, false, 200), 0));
	cr_assert(eq(int, say("disk", true, 10, false, 205), 0));
	cr_expect(eq(int, critical_at(214), true));
	cr_expect(eq(int, critical_at(215), false));
}

Test(health, silence_is_trouble_where_it_was_said_to_be)
{
	health_init(&h);
	cr_assert(eq(int, say("job", false, 30, true, 0), 0));
	cr_expect(eq(int, critical_at(29), false));
	cr_assert(eq(int, say("job", false, 30, true, 29), 0));
	cr_expect(eq(int, critical_at(58), false));
	cr_expect(eq(int, critical_at(70), true));
	cr_expect(eq(int, h.reports[0].has_expired, true));
	cr_expect(eq(u64, h.reports[0].since_ns, 59 * SECOND));
	cr_expect(eq(int, critical_at(1000000), true));
	cr_assert(eq(int, say("job", false, 30, true, 1000000), 0));
	cr_expect(eq(int, critical_at(1000001), false));
}

Test(health, two_ends_at_once_are_both_seen)
{
	health_init(&h);
	cr_assert(eq(int, say("a", true, 5, false, 0), 0));
	cr_assert(eq(int, say("b", true, 5, false, 0), 0));
	cr_assert(eq(int, say("c", true, 9, false, 0), 0));
	cr_expect(eq(int, critical_at(6), true));
	cr_expect(eq(sz, h.n_reports, 1));
	cr_expect(eq(str, h.reports[0].source, "c"));
}

Test(health, only_so_many_have_a_place_and_those_can_still_speak)
{
	char name[24];

	health_init(&h);
	for (int i = 0; i < HEALTH_SOURCES_MAX; i++) {
		snprintf(name, sizeof(name), "program-%d", i);
		cr_assert(eq(int, say(name, true, 10, false, 0), 0));
	}
	cr_expect(eq(int, say("one.more", true, 0, false, 1), HEALTH_FULL));
	cr_expect(eq(int, say("one.more", false, 0, false, 1), 0), "it has nothing to say");
	cr_expect(eq(int, say("program-3", true, 0, false, 1), 0));
	cr_expect(eq(int, say("one.more", true, 0, false, 10), 0), "the others are over");
	cr_expect(eq(sz, h.n_reports, 2));
}

Test(health, names_and_texts_are_plain)
{
	static const char *const bad[] = {"", " ", "a b", "a/b", "\"", "\xc3\xa4", "a\n",
					  "123456789012345678901234567890123"};
	char text[HEALTH_TEXT_MAX + 2];

	health_init(&h);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect(eq(int, say(bad[i], true, 0, false, 0), HEALTH_BAD_NAME), "row %zu", i);
	cr_expect(eq(int, say("12345678901234567890123456789012", true, 0, false, 0), 0));
	memset(text, 'x', sizeof(text));
	text[HEALTH_TEXT_MAX + 1] = '\0';
	cr_expect(eq(int, health_report(&h, "a", true, text, 0, false, 0), HEALTH_BAD_TEXT));
	text[HEALTH_TEXT_MAX] = '\0';
	text[0] = '\n';
	text[1] = 0x7f;
	text[2] = '\xc3';
	cr_expect(eq(int, health_report(&h, "a", true, text, 0, false, 0), 0));
	cr_expect(eq(int, strncmp(h.reports[1].text, "?\?\xc3x", 4), 0));
	cr_expect(eq(sz, strlen(h.reports[1].text), HEALTH_TEXT_MAX));
}
