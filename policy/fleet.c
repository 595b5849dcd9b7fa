/* SPDX-License-Identifier: MIT */

/*
 * Fleets that are made up.
 *
 * Each machine has its own generator of random numbers (splitmix64), so that its life depends on the
 * fleet's seed and its own number only. There is no floating point: the same everywhere.
 *
 *     kind      private memory in use, of the maximum
 *     diurnal   a smooth wave of 24 hours between low (10 to 25 %) and high (45 to 75 %)
 *     bursty    low (10 to 20 %); bursts to high (40 to 75 %) of 30 s to 5 min, 20 min apart on average
 *     batch     low (8 to 15 %); runs at high (50 to 80 %) of half an hour to an hour and a half,
 *               about four a day
 *     leak      from low (15 to 25 %) to high (60 to 85 %) within 4 to 10 hours, then from the start
 *     idle      low (8 to 20 %)
 *
 * On top of that: noise of up to 1 %, cold private memory (2 to 10 %), files that are read again and
 * again (3 to 15 %), and files that are read once. A rise takes some seconds, as programs that fill
 * memory do (a tenth of the maximum each second); a fall comes at once, as with free().
 */

#include "policy/fleet.h"

#include <stdlib.h>
#include <string.h>

enum {
	MIB = 256, /* pages */
	DAY_S = 86400,
	HOUR_S = 3600,
	RISE_PERMILLE_PER_S = 100,
	NOISE_PERMILLE = 10,
};

static const char *const names[FLEET_N_KINDS] = {
	[FLEET_DIURNAL] = "diurnal",
	[FLEET_BURSTY] = "bursty",
	[FLEET_BATCH] = "batch",
	[FLEET_LEAK] = "leak",
	[FLEET_IDLE] = "idle",
};

void fleet_spec_init(struct fleet_spec *spec)
{
	*spec = (struct fleet_spec){
		.shares = {
			[FLEET_DIURNAL] = 35,
			[FLEET_BURSTY] = 20,
			[FLEET_BATCH] = 15,
			[FLEET_LEAK] = 10,
			[FLEET_IDLE] = 20,
		},
		.seed = 1,
	};
}

/* One KIND=NUMBER; where it ends, or NULL. */
static const char *parse_share(const char *text, struct fleet_spec *spec)
{
	for (int kind = 0; kind < FLEET_N_KINDS; kind++) {
		size_t length = strlen(names[kind]);
		unsigned long number;
		char *end;

		if (strncmp(text, names[kind], length) != 0 || text[length] != '=')
			continue;
		text += length + 1;
		if (*text < '0' || *text > '9')
			return NULL;
		number = strtoul(text, &end, 10);
		if (number > 1000000)
			return NULL;
		spec->shares[kind] = (uint32_t)number;
		return end;
	}
	return NULL;
}

int fleet_parse(const char *text, struct fleet_spec *ret_spec)
{
	struct fleet_spec spec = {.seed = 1};
	uint64_t sum = 0;

	for (;;) {
		text = parse_share(text, &spec);
		if (!text || (*text && *text != ','))
			return FLEET_MALFORMED;
		if (!*text)
			break;
		text++;
	}
	for (int kind = 0; kind < FLEET_N_KINDS; kind++)
		sum += spec.shares[kind];
	if (sum == 0)
		return FLEET_MALFORMED;
	*ret_spec = spec;
	return 0;
}

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* From @low to @high, both included. */
static uint32_t between(uint64_t *state, uint32_t low, uint32_t high)
{
	return low + (uint32_t)(next_random(state) % (high - low + 1));
}

static enum fleet_kind choose_kind(const struct fleet_spec *spec, uint64_t *state)
{
	uint64_t sum = 0, at;

	for (int kind = 0; kind < FLEET_N_KINDS; kind++)
		sum += spec->shares[kind];
	at = next_random(state) % sum;
	for (int kind = 0; kind < FLEET_N_KINDS; kind++) {
		if (at < spec->shares[kind])
			return (enum fleet_kind)kind;
		at -= spec->shares[kind];
	}
	return FLEET_IDLE;
}

static void choose_range(struct fleet_machine *m)
{
	static const struct {
		uint32_t low[2], high[2];
	} ranges[FLEET_N_KINDS] = {
		[FLEET_DIURNAL] = {{100, 250}, {450, 750}},
		[FLEET_BURSTY] = {{100, 200}, {400, 750}},
		[FLEET_BATCH] = {{80, 150}, {500, 800}},
		[FLEET_LEAK] = {{150, 250}, {600, 850}},
		[FLEET_IDLE] = {{80, 200}, {80, 200}},
	};

	m->low_permille = between(&m->random, ranges[m->kind].low[0], ranges[m->kind].low[1]);
	m->high_permille = between(&m->random, ranges[m->kind].high[0], ranges[m->kind].high[1]);
}

/* They did not start together. */
static uint64_t first_change(struct fleet_machine *m)
{
	switch (m->kind) {
	case FLEET_BURSTY:
		return between(&m->random, 60, 2340);
	case FLEET_BATCH:
		return between(&m->random, 60, 6 * HOUR_S);
	case FLEET_LEAK:
		return between(&m->random, HOUR_S, 8 * HOUR_S);
	case FLEET_DIURNAL:
	case FLEET_IDLE:
	case FLEET_N_KINDS:
		break;
	}
	return UINT64_MAX;
}

void fleet_machine_init(struct fleet_machine *machine, const struct fleet_spec *spec,
			uint32_t index)
{
	static const uint32_t sizes_mib[] = {2048, 2048, 4096, 4096, 4096, 8192, 8192, 16384};
	uint64_t state = spec->seed * UINT64_C(0xd1342543de82ef95) + index;
	struct fleet_machine m = {.random = next_random(&state)};

	m.kind = choose_kind(spec, &m.random);
	m.maximum_pages = (uint64_t)sizes_mib[next_random(&m.random) % 8] * MIB;
	m.minimum_pages = m.maximum_pages / 8;
	choose_range(&m);
	m.cold_permille = between(&m.random, 20, 100);
	m.file_permille = between(&m.random, 30, 150);
	m.promised_percent = between(&m.random, 105, 150);
	/* One of three time zones, give or take an hour and a half. */
	m.phase_s = (uint32_t)((next_random(&m.random) % 3 * (DAY_S / 3) +
				between(&m.random, 0, 3 * HOUR_S)) %
			       DAY_S);
	m.read_pages = between(&m.random, 0, 2 * MIB);
	m.from_permille = m.to_permille = m.low_permille;
	m.until_s = first_change(&m);
	*machine = m;
}

/* 0 to 1000 and back within a day: a parabola for each half of the wave, near enough to a sine. */
static uint32_t wave_permille(uint64_t second)
{
	int64_t at = (int64_t)(second % DAY_S) * 4000 / DAY_S - 2000; /* -2000 .. 1999 */
	int64_t sine = at * (2000 - (at < 0 ? -at : at)) / 1000;      /* -1000 .. 1000 */

	return (uint32_t)((sine + 1000) / 2);
}

static void begin(struct fleet_machine *m, uint64_t second, uint32_t to_permille, uint32_t for_s)
{
	m->from_permille = m->to_permille;
	m->to_permille = to_permille;
	m->since_s = second;
	m->until_s = second + for_s;
}

/* What it does next, when what it did is over. */
static void choose_next(struct fleet_machine *m, uint64_t second)
{
	bool at_low = m->to_permille == m->low_permille;

	switch (m->kind) {
	case FLEET_BURSTY:
		if (at_low)
			begin(m, second, between(&m->random, m->low_permille, m->high_permille),
			      between(&m->random, 30, 300));
		else
			begin(m, second, m->low_permille, between(&m->random, 60, 2340));
		break;
	case FLEET_BATCH:
		if (at_low)
			begin(m, second, m->high_permille, between(&m->random, 1800, 5400));
		else
			begin(m, second, m->low_permille, between(&m->random, 3 * HOUR_S / 2, 7 * HOUR_S));
		break;
	case FLEET_LEAK:
		begin(m, second, m->low_permille, between(&m->random, 4 * HOUR_S, 10 * HOUR_S));
		break;
	case FLEET_DIURNAL:
	case FLEET_IDLE:
	case FLEET_N_KINDS:
		m->until_s = UINT64_MAX;
		break;
	}
}

/* Private memory, hot, of the maximum. */
static uint32_t hot_permille(const struct fleet_machine *m, uint64_t second)
{
	uint32_t range = m->high_permille - m->low_permille;
	uint64_t risen;

	switch (m->kind) {
	case FLEET_DIURNAL:
		return m->low_permille + range * wave_permille(second + m->phase_s) / 1000;
	case FLEET_LEAK:
		return m->low_permille +
		       (uint32_t)(range * (second - m->since_s) / (m->until_s - m->since_s));
	case FLEET_BURSTY:
	case FLEET_BATCH:
		risen = m->from_permille + RISE_PERMILLE_PER_S * (second - m->since_s);
		return risen < m->to_permille ? (uint32_t)risen : m->to_permille;
	case FLEET_IDLE:
	case FLEET_N_KINDS:
		break;
	}
	return m->low_permille;
}

struct fleet_load fleet_load_at(struct fleet_machine *m, uint64_t second)
{
	struct fleet_load load;

	if (second >= m->until_s)
		choose_next(m, second);
	if (second % 4 == 0)
		m->noise_permille = between(&m->random, 0, NOISE_PERMILLE);
	load.hot_pages = m->maximum_pages * (hot_permille(m, second) + m->noise_permille) / 1000 +
			 (next_random(&m->random) & 63);
	load.cold_pages = m->maximum_pages * m->cold_permille / 1000;
	load.file_pages = m->maximum_pages * m->file_permille / 1000;
	load.committed_pages = (load.hot_pages + load.cold_pages) * m->promised_percent / 100;
	load.read_pages = m->read_pages;
	return load;
}
