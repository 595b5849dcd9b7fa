/* SPDX-License-Identifier: MIT */

/*
 * The guest's end of dynamic memory, under a host that says anything at any time.
 *
 * Input: steps of u8 kind, u8 argument, u16 length, and that many bytes. Kinds modulo 8: 0 the
 * bytes are received; 1 `length` milliseconds pass; 2 up to 16 actions are done; 3 a slice of at
 * most `argument` pages is taken, the last one if the length is odd; 4 pages are back in use, or
 * memory was added, or was not if `argument` is odd; 5 the channel closes; 6 it opens; 7 what is
 * unreported is released. A step that has no place is passed over.
 *
 * Oracles, against a record of all pages that are out of use, and one of what the host has been
 * told and has not given back: the machine knows each page once; it reports only pages that are
 * out of use; what the host has is in the balloon, at any time, and never returned to use; all
 * messages are well-formed; the deadline is never in the past after a tick.
 */

#include "tests/fuzz/fuzz.h"

#include "balloon/dynmem.h"
#include "base/bytes.h"

enum {
	N_KINDS = 8,
	ACTIONS_PER_STEP = 16,
	RANGES_LIMIT = 1 << 16,
	RANGES_OF_MACHINE = 64, /* small, so that the limit is met */
	RANGES_PER_MESSAGE = 4,
};

#define FIRST_PFN    UINT64_C(0x1000)
#define NS_PER_MS    UINT64_C(1000000)

struct guest {
	struct dynmem *dm;
	struct rangeset out_of_use;
	struct rangeset told; /* what the host has, as far as it can know */
	struct rangeset returning;
	uint64_t next_pfn;
	uint64_t now_ns;
	uint64_t wanted; /* pages; 0 = no pages are being taken */
	uint64_t taken;
	bool is_returning;
	bool is_adding;
	struct page_range add;
};

static bool machine_has(const struct guest *g, struct page_range range)
{
	struct page_range part;

	return rangeset_overlap(dynmem_ballooned(g->dm), range, &part) ||
	       rangeset_overlap(dynmem_unreported(g->dm), range, &part);
}

static void tell_range(struct guest *g, struct page_range range)
{
	fuzz_require(rangeset_contains(&g->out_of_use, range));
	fuzz_require(rangeset_add(&g->told, &range, 1) == 0);
}

static void tell_pages(struct guest *g, const struct dynmem_frame *frame)
{
	struct dynmem_ranges ranges;

	fuzz_require(dynmem_decode_balloon_response(frame, &ranges) == 0);
	fuzz_require(ranges.n == ranges.n_claimed && ranges.n <= RANGES_PER_MESSAGE);
	for (uint32_t i = 0; i < ranges.n; i++)
		tell_range(g, dynmem_range_at(&ranges, i));
}

static void on_send(struct guest *g, const struct dynmem_message *message)
{
	struct dynmem_frame frame;

	fuzz_require(message->size <= DYNMEM_MESSAGE_MAX);
	fuzz_require(dynmem_decode_frame(message->bytes, message->size, &frame) == 0);
	fuzz_require(frame.body_size + DYNMEM_HEADER_SIZE == message->size);
	if (frame.type == DYNMEM_BALLOON_RESPONSE)
		tell_pages(g, &frame);
}

static void on_return(struct guest *g, const struct dynmem_action *action)
{
	fuzz_require(!g->is_returning && action->n_ranges > 0);
	g->is_returning = true;
	for (size_t i = 0; i < action->n_ranges; i++) {
		fuzz_require(rangeset_contains(&g->out_of_use, action->ranges[i]));
		fuzz_require(!machine_has(g, action->ranges[i]));
		fuzz_require(rangeset_add(&g->returning, &action->ranges[i], 1) == 0);
	}
}

static void act(struct guest *g)
{
	const struct dynmem_status_report figures = {.available_pages = 1, .committed_pages = 2};
	struct dynmem_action action;

	for (int i = 0; i < ACTIONS_PER_STEP && dynmem_next_action(g->dm, &action) == 0; i++) {
		switch (action.type) {
		case DYNMEM_ACTION_SEND:
			on_send(g, action.message);
			break;
		case DYNMEM_ACTION_TAKE_PAGES:
			fuzz_require(g->wanted == 0 && action.pages > 0);
			g->wanted = action.pages;
			g->taken = 0;
			break;
		case DYNMEM_ACTION_RETURN_PAGES:
			on_return(g, &action);
			break;
		case DYNMEM_ACTION_HOT_ADD:
			fuzz_require(!g->is_adding && action.hot_add.range.count > 0);
			g->is_adding = true;
			g->add = action.hot_add.range;
			break;
		case DYNMEM_ACTION_SAMPLE:
			dynmem_set_figures(g->dm, &figures);
			break;
		case DYNMEM_ACTION_CLOSE_CHANNEL:
			rangeset_clear(&g->told);
			dynmem_close(g->dm);
			break;
		case DYNMEM_ACTION_NOTE:
			fuzz_require(dynmem_note_text(action.note) != NULL);
			break;
		}
	}
}

/* Takes @pages in two runs that do not touch, which is how a balloon falls to pieces. */
static void take_slice(struct guest *g, uint64_t pages, bool finished)
{
	struct page_range ranges[2] = {0};
	size_t n = 0;

	if (g->wanted == 0)
		return;
	if (pages > g->wanted - g->taken)
		pages = g->wanted - g->taken;
	while (pages > 0 && n < 2) {
		ranges[n].first = g->next_pfn;
		ranges[n].count = n == 0 ? (pages + 1) / 2 : pages;
		g->next_pfn += ranges[n].count + 1;
		pages -= ranges[n++].count;
	}

	if (dynmem_complete_take(g->dm, ranges, n, finished, g->now_ns) == 0 && n > 0) {
		fuzz_require(rangeset_add(&g->out_of_use, ranges, n) == 0);
		g->taken += page_ranges_count(ranges, n);
	}
	if (finished)
		g->wanted = 0;
}

static void complete_return(struct guest *g)
{
	uint64_t removed;

	if (!g->is_returning)
		return;
	g->is_returning = false;
	for (size_t i = 0; i < g->returning.n_ranges; i++) {
		fuzz_require(rangeset_remove(&g->out_of_use, g->returning.ranges[i], &removed) == 0);
		fuzz_require(removed == g->returning.ranges[i].count);
	}
	rangeset_clear(&g->returning);
	dynmem_complete_return(g->dm, g->now_ns);
}

static void complete_hot_add(struct guest *g, uint8_t argument)
{
	if (!g->is_adding)
		return;
	g->is_adding = false;
	dynmem_complete_hot_add(g->dm, argument % 2 ? 0 : g->add.count, argument & 2, g->now_ns);
}

static void complete_work(struct guest *g, uint8_t argument)
{
	complete_return(g);
	complete_hot_add(g, argument);
}

/* The host forgets what it has. */
static void close_channel(struct guest *g)
{
	rangeset_clear(&g->told);
	dynmem_close(g->dm);
}

static void open_channel(struct guest *g)
{
	struct dynmem_status status;
	bool busy;

	dynmem_get_status(g->dm, &status);
	busy = g->wanted > 0 || g->is_adding || status.returning_pages > 0;
	if (status.state == DYNMEM_STATE_CLOSED)
		fuzz_require(dynmem_open(g->dm, g->now_ns) == (busy ? DYNMEM_BUSY : 0));
}

static void let_time_pass(struct guest *g, uint64_t ms)
{
	g->now_ns += ms * NS_PER_MS;
	dynmem_tick(g->dm, g->now_ns);
	fuzz_require(dynmem_deadline_ns(g->dm) > g->now_ns);
}

/* What the host gave back by an accepted message, it has no more. */
static void take_back(struct guest *g, const uint8_t *message, size_t size)
{
	struct dynmem_ranges ranges;
	struct dynmem_frame frame;
	uint64_t removed;

	if (dynmem_decode_frame(message, size, &frame) != 0 ||
	    frame.type != DYNMEM_UNBALLOON_REQUEST)
		return;
	fuzz_require(dynmem_decode_unballoon_request(&frame, &ranges) == 0);
	for (uint32_t i = 0; i < ranges.n; i++)
		fuzz_require(rangeset_remove(&g->told, dynmem_range_at(&ranges, i), &removed) == 0);
}

static void receive(struct guest *g, const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	int r = dynmem_receive(g->dm, copy, size, g->now_ns);

	fuzz_require(r == 0 || r == DYNMEM_MALFORMED || r == DYNMEM_UNEXPECTED);
	if (r == 0)
		take_back(g, copy, size);
	free(copy);
}

static void step(struct guest *g, uint8_t kind, uint8_t argument, const uint8_t *data, size_t size)
{
	struct dynmem_status status;

	if (kind == 0)
		receive(g, data, size);
	else if (kind == 1)
		let_time_pass(g, size);
	else if (kind == 2)
		act(g);
	else if (kind == 3)
		take_slice(g, argument, size % 2);
	else if (kind == 4)
		complete_work(g, argument);
	else if (kind == 5)
		close_channel(g);
	else if (kind == 6)
		open_channel(g);
	else
		fuzz_require(dynmem_release(g->dm) == 0);

	for (size_t i = 0; i < g->told.n_ranges; i++)
		fuzz_require(rangeset_contains(dynmem_ballooned(g->dm), g->told.ranges[i]));
	dynmem_get_status(g->dm, &status);
	fuzz_require(status.ballooned_pages == dynmem_ballooned(g->dm)->pages);
	fuzz_require(status.ballooned_pages + status.unreported_pages + status.returning_pages == g->out_of_use.pages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest g = {.next_pfn = FIRST_PFN};
	struct dynmem_config config;
	struct bytes_reader r;

	dynmem_config_init(&config);
	config.can_hot_add = true;
	config.ranges_max = RANGES_OF_MACHINE;
	config.ranges_per_message = RANGES_PER_MESSAGE;
	fuzz_require(dynmem_new(&config, &g.dm) == 0);
	rangeset_init(&g.out_of_use, RANGES_LIMIT);
	rangeset_init(&g.returning, RANGES_LIMIT);
	rangeset_init(&g.told, RANGES_LIMIT);

	bytes_reader_init(&r, data, size);
	while (bytes_left(&r) > 0) {
		uint8_t kind = bytes_get_u8(&r) % N_KINDS;
		uint8_t argument = bytes_get_u8(&r);
		size_t n = bytes_get_u16(&r);

		if (kind == 1 || kind == 3) {
			step(&g, kind, argument, NULL, n);
			continue;
		}
		if (n > bytes_left(&r))
			n = bytes_left(&r);
		step(&g, kind, argument, bytes_get_direct(&r, n), n);
	}

	rangeset_fini(&g.told);
	rangeset_fini(&g.returning);
	rangeset_fini(&g.out_of_use);
	dynmem_free(g.dm);
	return 0;
}
