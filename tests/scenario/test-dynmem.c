/* SPDX-License-Identifier: MIT */

/*
 * Dynamic memory, both ends: balloon/dynmem.c and host/dynmem_host.c talk over real channels, on
 * virtual time, about a simulated memory. After each step the world is checked:
 *
 *   - what the guest says is out of use is exactly what is out of use;
 *   - the host has no page that is in use, ever;
 *   - no page is given twice;
 *   - whenever nothing is outstanding, both ends have the same set of pages;
 *   - while all is calm, reports come at least every two periods.
 *
 * Chance decides what happens. Its seed is printed; HVGUEST_SEED=n repeats a run.
 */

#include "balloon/dynmem.h"
#include "host/dynmem_host.h"
#include "tests/unit/rings.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

enum {
	FIRST_PFN = 0x10000,
	N_PAGES = 4096,
	RING_SIZE = 3 * VMBUS_PAGE_SIZE, /* one largest message fits, two do not */
	BUFFER_SIZE = 2 * VMBUS_PAGE_SIZE,
	ROUNDS = 20,
	STEPS = 3000,
	QUIET_STEPS = 5000, /* enough for everything to come to rest */
};

/* How often, in a thousand, each thing happens where it can. */
struct faults {
	unsigned int stall;     /* one end does not read for up to 3 s */
	unsigned int late;      /* memory work takes up to 3 s instead of some ms */
	unsigned int partial;   /* fewer pages than wanted */
	unsigned int malformed; /* a message with wrong lengths or an unknown type */
	unsigned int strange;   /* a message that is well-formed but out of place */
	unsigned int close;     /* the channel goes away */
};

static const struct faults calm = {0};
static const struct faults rough = {
	.stall = 20, .late = 100, .partial = 100, .malformed = 30, .strange = 30, .close = 4,
};

/* One end of the channel: a message that met a full ring, and a time before it does not read. */
struct end {
	struct vmbus_channel channel;
	bool unsent;
	struct dynmem_message message;
	uint64_t stalled_until_ns;
};

struct take_job {
	bool running;
	uint64_t left_pages;
	uint64_t due_ns;
};

struct return_job {
	bool running;
	const struct page_range *ranges; /* borrowed from the machine */
	size_t n_ranges;
	uint64_t due_ns;
};

struct world {
	unsigned int seed;
	struct faults faults;
	uint64_t now_ns;
	struct rings rings;
	bool connected;
	bool out_of_use[N_PAGES];
	struct take_job take;
	struct return_job give_back;

	struct dynmem *guest;
	struct dynmem_host *host;
	struct end guest_end;
	struct end host_end;

	uint64_t ready_ns; /* when the host last learned that the guest is set up */
	uint64_t operations;
	uint64_t closes;
};

static unsigned int below(struct world *w, unsigned int n)
{
	return rand_r(&w->seed) % n;
}

static bool happens(struct world *w, unsigned int in_a_thousand)
{
	return below(w, 1000) < in_a_thousand;
}

static struct dynmem_status guest_status(const struct world *w)
{
	struct dynmem_status status;

	dynmem_get_status(w->guest, &status);
	return status;
}

static struct dynmem_host_status host_status(const struct world *w)
{
	struct dynmem_host_status status;

	dynmem_host_get_status(w->host, &status);
	return status;
}

static void connect(struct world *w)
{
	for (int i = 0; i < 2; i++)
		vmbus_ring_format(&w->rings.memory[i]);
	rings_connect(&w->rings, &w->guest_end.channel, &w->host_end.channel);
	w->guest_end.unsent = w->host_end.unsent = false;
	cr_assert(eq(int, dynmem_open(w->guest, w->now_ns), 0));
	dynmem_host_open(w->host);
	w->connected = true;
}

static void disconnect(struct world *w)
{
	dynmem_close(w->guest);
	dynmem_host_close(w->host, w->now_ns);
	w->connected = false;
	w->closes++;
}

/* After a close: once nobody works on the memory any more, all of it is used again. */
static void try_to_reconnect(struct world *w)
{
	if (w->connected || w->take.running || w->give_back.running)
		return;
	memset(w->out_of_use, 0, sizeof(w->out_of_use));
	dynmem_forget(w->guest);
	connect(w);
}

static void send_message(struct end *end, const struct dynmem_message *message)
{
	int r = vmbus_channel_send(&end->channel, 0, message->bytes, message->size);

	cr_assert(r == 0 || r == VMBUS_CHANNEL_FULL);
	end->unsent = r == VMBUS_CHANNEL_FULL;
	if (end->unsent && message != &end->message)
		end->message = *message;
}

static uint64_t work_time_ns(struct world *w)
{
	return (1 + below(w, happens(w, w->faults.late) ? 3000 : 20)) * MS;
}

static void guest_acts(struct world *w, const struct dynmem_action *action)
{
	struct dynmem_status_report figures = {
		.available_pages = N_PAGES - guest_status(w).ballooned_pages,
		.committed_pages = guest_status(w).ballooned_pages,
	};

	switch (action->type) {
	case DYNMEM_ACTION_SEND:
		send_message(&w->guest_end, action->message);
		break;
	case DYNMEM_ACTION_TAKE_PAGES:
		cr_assert(not(w->take.running));
		w->take = (struct take_job){
			true, action->pages, w->now_ns + work_time_ns(w),
		};
		break;
	case DYNMEM_ACTION_RETURN_PAGES:
		cr_assert(not(w->give_back.running));
		w->give_back = (struct return_job){
			true, action->ranges, action->n_ranges, w->now_ns + work_time_ns(w),
		};
		break;
	case DYNMEM_ACTION_SAMPLE:
		dynmem_set_figures(w->guest, &figures);
		break;
	case DYNMEM_ACTION_CLOSE_CHANNEL:
		disconnect(w);
		break;
	case DYNMEM_ACTION_NOTE:
		cr_assert(gt(sz, strlen(dynmem_note_text(action->note)), 0));
		break;
	}
}

static void host_acts(struct world *w, const struct dynmem_host_action *action)
{
	switch (action->type) {
	case DYNMEM_HOST_ACTION_SEND:
		send_message(&w->host_end, action->message);
		break;
	case DYNMEM_HOST_ACTION_READY:
		w->ready_ns = w->now_ns;
		break;
	case DYNMEM_HOST_ACTION_ENDED:
		w->operations++;
		break;
	case DYNMEM_HOST_ACTION_OVERDUE:
		break;
	}
}

/* Reads what is there, a random number of messages at most. Returns false if one was fatal. */
static void read_messages(struct world *w, struct end *end, bool is_guest)
{
	uint8_t buffer[BUFFER_SIZE];
	struct vmbus_message message;
	unsigned int most = 1 + below(w, 8);
	int r;

	if (w->now_ns < end->stalled_until_ns)
		return;
	vmbus_channel_wake(&end->channel);
	while (most-- > 0 &&
	       vmbus_channel_receive(&end->channel, buffer, sizeof(buffer), &message) == 0) {
		r = is_guest ? dynmem_receive(w->guest, buffer, message.size, w->now_ns) :
			       dynmem_host_receive(w->host, buffer, message.size, w->now_ns);
		cr_assert(ge(int, r, 0));
	}
	cr_assert(not(end->channel.corrupt));
	if (vmbus_channel_sleep(&end->channel))
		(void)!vmbus_channel_take_signal(&end->channel);
}

static void run_guest(struct world *w)
{
	struct dynmem_action action;

	if (w->connected)
		read_messages(w, &w->guest_end, true);
	dynmem_tick(w->guest, w->now_ns);
	if (w->connected && w->guest_end.unsent)
		send_message(&w->guest_end, &w->guest_end.message);
	while (!(w->connected && w->guest_end.unsent) &&
	       dynmem_next_action(w->guest, &action) == 0)
		guest_acts(w, &action);
}

static void run_host(struct world *w)
{
	struct dynmem_host_action action;

	if (w->connected)
		read_messages(w, &w->host_end, false);
	dynmem_host_tick(w->host, w->now_ns);
	if (w->connected && w->host_end.unsent)
		send_message(&w->host_end, &w->host_end.message);
	while (!(w->connected && w->host_end.unsent) &&
	       dynmem_host_next_action(w->host, &action) == 0)
		host_acts(w, &action);
}

static void use_again(struct world *w, const struct page_range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (uint64_t pfn = ranges[i].first; pfn < ranges[i].first + ranges[i].count; pfn++) {
			cr_assert(w->out_of_use[pfn - FIRST_PFN]);
			w->out_of_use[pfn - FIRST_PFN] = false;
		}
	}
}

/* Takes @want pages if there are as many, from a random place on, at first with random gaps. */
static size_t take_slice(struct world *w, uint64_t want, struct page_range *ranges)
{
	size_t n = 0, from = below(w, N_PAGES);
	int r;

	for (size_t i = 0; i < 2 * N_PAGES && n < want; i++) {
		size_t page = (from + i) % N_PAGES;

		if (w->out_of_use[page] || (i < N_PAGES && happens(w, 300)))
			continue;
		w->out_of_use[page] = true;
		ranges[n++] = (struct page_range){FIRST_PFN + page, 1};
	}
	r = page_ranges_normalize(ranges, n, &n);
	cr_assert(eq(int, r, 0));
	return n;
}

static void work_on_take(struct world *w)
{
	static struct page_range ranges[N_PAGES];
	uint64_t want = 1 + below(w, 1500), got;
	bool finished;
	size_t n;
	int r;

	if (want > w->take.left_pages)
		want = w->take.left_pages;
	n = take_slice(w, want, ranges);
	got = page_ranges_count(ranges, n);
	w->take.left_pages -= got;
	finished = w->take.left_pages == 0 || got < want || happens(w, w->faults.partial);
	w->take.running = !finished;
	w->take.due_ns = w->now_ns + work_time_ns(w);

	r = dynmem_complete_take(w->guest, ranges, n, finished, w->now_ns);
	cr_assert(r == 0 || (r == DYNMEM_STALE && !w->connected), "a slice got %d", r);
	if (r)
		use_again(w, ranges, n);
}

static void work_on_return(struct world *w)
{
	w->give_back.running = false;
	use_again(w, w->give_back.ranges, w->give_back.n_ranges);
	dynmem_complete_return(w->guest, w->now_ns);
}

static void run_memory(struct world *w)
{
	if (w->take.running && w->now_ns >= w->take.due_ns)
		work_on_take(w);
	if (w->give_back.running && w->now_ns >= w->give_back.due_ns)
		work_on_return(w);
}

/* Puts @size bytes into the ring of @end, if there is room. */
static void inject(struct end *end, const void *bytes, size_t size)
{
	if (!end->unsent && vmbus_channel_send(&end->channel, 0, bytes, size) == VMBUS_CHANNEL_FULL)
		return;
}

/* A message that both ends have to drop, whichever gets it. */
static void inject_malformed(struct world *w)
{
	struct end *end = below(w, 2) ? &w->guest_end : &w->host_end;
	struct page_range range = {FIRST_PFN, N_PAGES};
	struct dynmem_message m;

	dynmem_encode_unballoon_request(&m, 0, false, &range, 1);
	switch (below(w, 4)) {
	case 0: /* longer than it is */
		m.bytes[2] = 0xff;
		break;
	case 1: /* no type that there is */
		m.bytes[0] = 13 + below(w, 200);
		break;
	case 2: /* too short for a header */
		m.size = below(w, DYNMEM_HEADER_SIZE);
		break;
	case 3: /* truncated within its words */
		m.bytes[2] = m.size = DYNMEM_HEADER_SIZE + below(w, 8);
		break;
	}
	inject(end, m.bytes, m.size);
}

/* A message that is well-formed and changes nothing of what either end has. */
static void inject_strange(struct world *w)
{
	struct dynmem_hot_add_request hot_add = {.range = {0x100000, 32768}};
	struct dynmem_status_report report = {.committed_pages = 1};
	struct page_range foreign = {FIRST_PFN + N_PAGES + below(w, 1000), 1 + below(w, 1000)};
	struct dynmem_message m;

	switch (below(w, 5)) {
	case 0:
		dynmem_encode_unballoon_request(&m, 0, false, &foreign, 1);
		inject(&w->host_end, m.bytes, m.size);
		break;
	case 1:
		dynmem_encode_hot_add_request(&m, 0, &hot_add);
		inject(&w->host_end, m.bytes, m.size);
		break;
	case 2:
		dynmem_encode_info_max_pages(&m, 0, N_PAGES);
		inject(&w->host_end, m.bytes, m.size);
		break;
	case 3:
		dynmem_encode_status_report(&m, 0, &report);
		inject(&w->host_end, m.bytes, m.size);
		break;
	case 4:
		dynmem_encode_status_report(&m, 0, &report);
		inject(&w->guest_end, m.bytes, m.size);
		break;
	}
}

static void run_faults(struct world *w)
{
	struct end *end = below(w, 2) ? &w->guest_end : &w->host_end;

	if (!w->connected)
		return;
	if (happens(w, w->faults.stall))
		end->stalled_until_ns = w->now_ns + below(w, 3000) * MS;
	if (happens(w, w->faults.malformed))
		inject_malformed(w);
	if (happens(w, w->faults.strange))
		inject_strange(w);
	if (happens(w, w->faults.close))
		disconnect(w);
}

static bool guest_has(const struct world *w, uint64_t pfn)
{
	return rangeset_contains(dynmem_ballooned(w->guest), (struct page_range){pfn, 1});
}

static bool host_has(const struct world *w, uint64_t pfn)
{
	return rangeset_contains(dynmem_host_ballooned(w->host), (struct page_range){pfn, 1});
}

static bool ring_is_empty(const struct vmbus_ring_memory *memory)
{
	return atomic_load(&memory->header->write_index) ==
	       atomic_load(&memory->header->read_index);
}

/* Nothing is outstanding: no operation, no message under way. */
static bool at_rest(const struct world *w)
{
	return w->connected && guest_status(w).state == DYNMEM_STATE_READY &&
	       host_status(w).state == DYNMEM_HOST_STATE_READY && !w->guest_end.unsent &&
	       !w->host_end.unsent && ring_is_empty(&w->rings.memory[0]) &&
	       ring_is_empty(&w->rings.memory[1]);
}

static void check_pages(const struct world *w)
{
	struct dynmem_status guest = guest_status(w);
	bool resting = at_rest(w);
	uint64_t out_of_use = 0;

	for (uint64_t i = 0; i < N_PAGES; i++) {
		uint64_t pfn = FIRST_PFN + i;

		out_of_use += w->out_of_use[i];
		if (host_has(w, pfn))
			cr_assert(w->out_of_use[i], "the host has %#" PRIx64 ", which is used", pfn);
		if (guest_has(w, pfn))
			cr_assert(w->out_of_use[i]);
		if (resting)
			cr_assert(eq(int, guest_has(w, pfn), host_has(w, pfn)));
	}
	cr_assert(eq(u64, out_of_use, guest.ballooned_pages + guest.returning_pages));
	if (resting)
		cr_assert(eq(u64, guest.ballooned_pages, host_status(w).ballooned_pages));
}

static void check(const struct world *w)
{
	struct dynmem_host_status host = host_status(w);

	check_pages(w);
	cr_assert(eq(u64, host.stats.violations, 0));
	if (memcmp(&w->faults, &calm, sizeof(calm)) == 0 && w->ready_ns > 0) {
		uint64_t last_ns = host.has_report ? host.report_ns : w->ready_ns;

		cr_assert(le(u64, w->now_ns - last_ns, 2 * S));
	}
}

/* Lets some time pass, but not past the next thing that is due. */
static void pass_time(struct world *w)
{
	uint64_t next_ns = w->now_ns + (1 + below(w, 300)) * MS;
	uint64_t due_ns[] = {
		dynmem_deadline_ns(w->guest),
		dynmem_host_deadline_ns(w->host),
		w->take.running ? w->take.due_ns : UINT64_MAX,
		w->give_back.running ? w->give_back.due_ns : UINT64_MAX,
	};

	for (size_t i = 0; i < sizeof(due_ns) / sizeof(due_ns[0]); i++)
		if (due_ns[i] > w->now_ns && due_ns[i] < next_ns)
			next_ns = due_ns[i];
	w->now_ns = next_ns;
}

static void step(struct world *w)
{
	pass_time(w);
	run_faults(w);
	run_memory(w);
	try_to_reconnect(w);
	if (below(w, 2)) {
		run_guest(w);
		run_host(w);
	} else {
		run_host(w);
		run_guest(w);
	}
	check(w);
}

/* The host wants something, now and then. */
static void want_something(struct world *w)
{
	enum dynmem_host_operation_kind kind = below(w, 2) ? DYNMEM_HOST_BALLOON :
							     DYNMEM_HOST_UNBALLOON;
	int r;

	if (!happens(w, 100))
		return;
	r = dynmem_host_request(w->host, kind, 1 + below(w, N_PAGES), w->now_ns);
	cr_assert(r == 0 || r == DYNMEM_HOST_NOT_READY || r == DYNMEM_HOST_BUSY ||
		  r == DYNMEM_HOST_NOTHING);
}

static void come_to_rest(struct world *w)
{
	w->faults = calm;
	w->ready_ns = 0; /* what went before was not calm */
	w->guest_end.stalled_until_ns = w->host_end.stalled_until_ns = 0;
	for (int i = 0; i < QUIET_STEPS && !at_rest(w); i++)
		step(w);
	cr_assert(at_rest(w), "guest %s, host %s", dynmem_state_name(guest_status(w).state),
		  dynmem_host_state_name(host_status(w).state));
}

static void request_and_rest(struct world *w, enum dynmem_host_operation_kind kind,
			     uint64_t pages)
{
	cr_assert(eq(int, dynmem_host_request(w->host, kind, pages, w->now_ns), 0));
	come_to_rest(w);
}

static void world_init(struct world *w, unsigned int seed, const struct faults *faults)
{
	struct dynmem_host_config host_config;
	struct dynmem_config guest_config;

	*w = (struct world){.seed = seed, .faults = *faults, .now_ns = S};
	dynmem_config_init(&guest_config);
	guest_config.first_status_ns = 0;
	dynmem_host_config_init(&host_config);
	host_config.operation_timeout_ns = 5 * S;
	cr_assert(eq(int, dynmem_new(&guest_config, &w->guest), 0));
	cr_assert(eq(int, dynmem_host_new(&host_config, &w->host), 0));
	w->rings = rings_new(RING_SIZE);
	connect(w);
}

static void world_fini(struct world *w)
{
	dynmem_free(w->guest);
	dynmem_host_free(w->host);
	rings_free(&w->rings);
}

/*
 * The seed is chosen and printed before Criterion begins, because Criterion drops what tests print;
 * they inherit it.
 */
__attribute__((constructor)) static void choose_seed(void)
{
	char seed[32];

	snprintf(seed, sizeof(seed), "%lu", (unsigned long)time(NULL));
	setenv("HVGUEST_SEED", seed, 0);
	printf("# HVGUEST_SEED=%s\n", getenv("HVGUEST_SEED"));
	fflush(stdout);
}

static unsigned int first_seed(void)
{
	return strtoul(getenv("HVGUEST_SEED"), NULL, 10);
}

static struct world the_world;

Test(dynmem_scenario, a_calm_host_gets_what_it_asks_for_and_gives_it_back)
{
	struct world *w = &the_world;

	world_init(w, first_seed(), &calm);
	come_to_rest(w);
	request_and_rest(w, DYNMEM_HOST_BALLOON, 3000);
	cr_expect(eq(u64, host_status(w).operation.done_pages, 3000));
	request_and_rest(w, DYNMEM_HOST_UNBALLOON, 1000);
	cr_expect(eq(u64, host_status(w).ballooned_pages, 2000));

	/* More than there is: all there is, and no more. */
	request_and_rest(w, DYNMEM_HOST_BALLOON, 2 * N_PAGES);
	cr_expect(eq(u64, host_status(w).ballooned_pages, N_PAGES));
	request_and_rest(w, DYNMEM_HOST_BALLOON, 1);
	cr_expect(eq(u64, host_status(w).operation.done_pages, 0));
	request_and_rest(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
	cr_expect(eq(u64, guest_status(w).ballooned_pages, 0));
	cr_expect(eq(u64, w->operations, 5));
	world_fini(w);
}

Test(dynmem_scenario, calm_operations_leave_no_trace_of_trouble, .timeout = 120)
{
	struct world *w = &the_world;

	world_init(w, first_seed(), &calm);
	for (int i = 0; i < STEPS; i++) {
		want_something(w);
		step(w);
	}
	come_to_rest(w);
	cr_expect(gt(u64, w->operations, 10));
	cr_expect(eq(u64, guest_status(w).stats.malformed, 0));
	cr_expect(eq(u64, guest_status(w).stats.unexpected, 0));
	cr_expect(eq(u64, guest_status(w).stats.foreign_pages, 0));
	cr_expect(eq(u64, guest_status(w).stats.overlaps, 0));
	cr_expect(eq(u64, host_status(w).stats.malformed, 0));
	cr_expect(eq(u64, host_status(w).stats.unexpected, 0));
	world_fini(w);
}

Test(dynmem_scenario, whatever_goes_wrong_no_page_is_lost_or_in_use_twice, .timeout = 300)
{
	unsigned int seed = first_seed();
	uint64_t operations = 0, closes = 0, malformed = 0, foreign = 0, full = 0;
	struct world *w = &the_world;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		world_init(w, seed + round, &rough);
		for (int i = 0; i < STEPS / 4; i++) {
			want_something(w);
			step(w);
		}
		come_to_rest(w);
		if (host_status(w).ballooned_pages > 0)
			request_and_rest(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
		cr_assert(eq(u64, guest_status(w).ballooned_pages, 0));
		cr_assert(eq(u64, guest_status(w).returning_pages, 0));
		cr_assert(eq(u64, guest_status(w).stats.untracked_pages, 0));
		operations += w->operations;
		closes += w->closes;
		malformed += guest_status(w).stats.malformed + host_status(w).stats.malformed;
		foreign += guest_status(w).stats.foreign_pages;
		full += w->guest_end.channel.stats.full;
		world_fini(w);
	}

	/* The run was as rough as it was meant to be. */
	cr_expect(gt(u64, operations, ROUNDS));
	cr_expect(gt(u64, closes, 0));
	cr_expect(gt(u64, malformed, 0));
	cr_expect(gt(u64, foreign, 0));
	cr_expect(gt(u64, full, 0));
}

/* A host that accepts only old versions is asked for one after the other. */
Test(dynmem_scenario, an_old_host_and_a_new_guest_agree)
{
	static const struct {
		uint32_t min, max, agreed;
	} rows[] = {
		{DYNMEM_VERSION_0_3, DYNMEM_VERSION_2_0, DYNMEM_VERSION_2_0},
		{DYNMEM_VERSION_0_3, DYNMEM_VERSION_1_0, DYNMEM_VERSION_1_0},
		{DYNMEM_VERSION_0_3, DYNMEM_VERSION_0_3, DYNMEM_VERSION_0_3},
		{0x30000, 0x30000, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dynmem_host_config config;
		struct world *w = &the_world;

		world_init(w, first_seed(), &calm);
		dynmem_host_free(w->host);
		dynmem_host_config_init(&config);
		config.version_min = rows[i].min;
		config.version_max = rows[i].max;
		cr_assert(eq(int, dynmem_host_new(&config, &w->host), 0));
		dynmem_host_open(w->host);
		for (int j = 0; j < 100 && w->closes == 0; j++)
			step(w);
		if (rows[i].agreed) {
			come_to_rest(w);
			cr_expect(eq(u32, guest_status(w).version, rows[i].agreed));
			cr_expect(eq(u32, host_status(w).version, rows[i].agreed));
		} else {
			cr_expect(eq(u64, w->closes, 1));
		}
		world_fini(w);
	}
}
