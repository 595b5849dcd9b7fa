/* SPDX-License-Identifier: MIT */

/*
 * The world of the scenarios of dynamic memory. What is checked in it is in the header.
 *
 * Chance decides what happens; the same seed makes the same world. The daemon commits at the two
 * instants that balloon/dynmem_record.h names, and at no other, so that a commit too few would show.
 */

#include "tests/scenario/dynmem-world.h"

#include "balloon/dynmem_area.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum {
	RING_SIZE = 3 * VMBUS_PAGE_SIZE, /* one largest message fits, two do not */
	BUFFER_SIZE = 2 * VMBUS_PAGE_SIZE,
	QUIET_STEPS = 5000, /* enough for everything to come to rest */
};

const struct faults world_calm = {0};

unsigned int world_below(struct world *w, unsigned int n)
{
	return rand_r(&w->seed) % n;
}

bool world_happens(struct world *w, unsigned int in_a_thousand)
{
	return world_below(w, 1000) < in_a_thousand;
}

struct dynmem_status world_guest_status(const struct world *w)
{
	struct dynmem_status status;

	dynmem_get_status(w->guest, &status);
	return status;
}

struct dynmem_host_status world_host_status(const struct world *w)
{
	struct dynmem_host_status status;

	dynmem_host_get_status(w->host, &status);
	return status;
}

/* What was queued is published first; without that, a successor could not tell what is there. */
static struct dynmem_positions positions_of(struct world *w)
{
	vmbus_channel_publish(&w->guest_end.channel);
	return (struct dynmem_positions){
		.in = w->guest_end.channel.in.read_index,
		.out = w->guest_end.channel.out.write_index,
	};
}

/* True if the daemon is dead, or dies at this instant. */
static bool dies(struct world *w)
{
	if (w->dead)
		return true;
	w->instants++;
	w->dead = w->instants == w->kill_at || world_happens(w, w->faults.kill);
	w->deaths += w->dead;
	w->settled &= !w->dead;
	return w->dead;
}

/*
 * Of a commit that led from @before to what is in the area now only the first stores are done: some
 * of the log, or all of it and some of the head. No store is done twice, so bytes will do.
 */
static void tear(struct world *w, const uint8_t *before)
{
	const size_t heads = dynmem_area_bytes(0);
	uint8_t *area = w->area;
	size_t cut;

	if (world_below(w, 2)) {
		cut = heads + world_below(w, w->area_bytes - heads);
		memcpy(area, before, heads);
		memcpy(area + cut, before + cut, w->area_bytes - cut);
	} else {
		for (size_t head = 0; head < 2; head++) {
			cut = world_below(w, heads / 2);
			memcpy(area + head * heads / 2 + cut, before + head * heads / 2 + cut,
			       heads / 2 - cut);
		}
	}
}

static void commit(struct world *w)
{
	struct dynmem_positions positions;
	uint8_t *before;

	if (w->dead)
		return;
	positions = w->connected ? positions_of(w) : (struct dynmem_positions){0};
	if (!dies(w)) {
		dynmem_commit(w->guest, &positions);
		return;
	}
	before = malloc(w->area_bytes);
	cr_assert(ne(ptr, before, NULL));
	memcpy(before, w->area, w->area_bytes);
	dynmem_commit(w->guest, &positions);
	tear(w, before);
	free(before);
}

static void connect(struct world *w)
{
	struct dynmem_positions positions;

	for (int i = 0; i < 2; i++)
		vmbus_ring_format(&w->rings.memory[i]);
	rings_connect(&w->rings, &w->guest_end.channel, &w->host_end.channel);
	w->guest_end.unsent = w->host_end.unsent = false;
	dynmem_host_open(w->host);
	w->connected = true;
	positions = positions_of(w);
	dynmem_commit(w->guest, &positions);
}

/* The host has forgotten everything, before the guest uses any of it. */
void world_disconnect(struct world *w)
{
	dynmem_host_close(w->host, w->now_ns);
	w->connected = false;
	w->ready_ns = 0;
	w->offered_ns = w->now_ns + w->away_ns;
	w->closes++;
	if (dies(w))
		return;
	dynmem_close(w->guest);
	commit(w);
}

/* After a close: once nobody works on the memory any more. */
static void try_to_reconnect(struct world *w)
{
	if (!w->connected && !w->dead && w->now_ns >= w->offered_ns && dynmem_open(w->guest, w->now_ns) == 0)
		connect(w);
}

static void send_message(struct end *end, const struct dynmem_message *message)
{
	int r = vmbus_channel_queue(&end->channel, 0, message->bytes, message->size);

	cr_assert(r == 0 || r == VMBUS_CHANNEL_FULL);
	end->unsent = r == VMBUS_CHANNEL_FULL;
	if (end->unsent && message != &end->message)
		end->message = *message;
}

static uint64_t work_time_ns(struct world *w)
{
	return (1 + world_below(w, world_happens(w, w->faults.late) ? 3000 : 20)) * MS;
}

static void guest_acts(struct world *w, const struct dynmem_action *action)
{
	struct dynmem_status_report figures = {
		.available_pages = N_PAGES - world_guest_status(w).ballooned_pages,
		.committed_pages = world_guest_status(w).ballooned_pages,
	};

	switch (action->type) {
	case DYNMEM_ACTION_SEND:
		commit(w);
		if (dies(w))
			break;
		send_message(&w->guest_end, action->message);
		(void)dies(w);
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
	case DYNMEM_ACTION_HOT_ADD:
		cr_assert(not(w->add.running));
		w->add = (struct add_job){
			true, action->hot_add.range, action->again, 0, w->now_ns + work_time_ns(w),
		};
		break;
	case DYNMEM_ACTION_SAMPLE:
		dynmem_set_figures(w->guest, &figures);
		break;
	case DYNMEM_ACTION_CLOSE_CHANNEL:
		world_disconnect(w);
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

/* Gives one message to its end. */
static void receive_message(struct world *w, bool is_guest, const uint8_t *message, size_t size)
{
	int r;

	if (!is_guest) {
		r = dynmem_host_receive(w->host, message, size, w->now_ns);
		cr_assert(ge(int, r, 0));
		return;
	}
	if (dies(w))
		return;
	r = dynmem_receive(w->guest, message, size, w->now_ns);
	cr_assert(ge(int, r, 0));
	commit(w);
	(void)dies(w);
}

/* Reads what is there, a random number of messages at most. */
static void read_messages(struct world *w, struct end *end, bool is_guest)
{
	uint8_t buffer[BUFFER_SIZE];
	struct vmbus_message message;
	unsigned int most = 1 + world_below(w, 8);

	if (w->now_ns < end->stalled_until_ns)
		return;
	vmbus_channel_wake(&end->channel);
	while (most-- > 0 && !(is_guest && w->dead) &&
	       vmbus_channel_receive(&end->channel, buffer, sizeof(buffer), &message) == 0)
		receive_message(w, is_guest, buffer, message.size);
	cr_assert(not(end->channel.corrupt));
	if (is_guest && w->dead)
		return;
	if (vmbus_channel_sleep(&end->channel))
		(void)!vmbus_channel_take_signal(&end->channel);
}

static void run_guest(struct world *w)
{
	struct dynmem_action action;

	if (w->connected && !w->dead)
		read_messages(w, &w->guest_end, true);
	if (w->dead)
		return;
	dynmem_tick(w->guest, w->now_ns);
	if (w->connected && w->guest_end.unsent)
		send_message(&w->guest_end, &w->guest_end.message);
	while (!w->dead && !(w->connected && w->guest_end.unsent) &&
	       dynmem_next_action(w->guest, &action) == 0)
		guest_acts(w, &action);
	if (w->dead)
		return;
	if (w->connected)
		vmbus_channel_publish(&w->guest_end.channel);
	w->settled = true;
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
	if (w->connected)
		vmbus_channel_publish(&w->host_end.channel);
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
	size_t n = 0, from = world_below(w, N_PAGES);
	int r;

	for (size_t i = 0; i < 2 * N_PAGES && n < want; i++) {
		size_t page = (from + i) % N_PAGES;

		if (w->out_of_use[page] || (i < N_PAGES && world_happens(w, 300)))
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
	uint64_t want = 1 + world_below(w, 1500), got;
	bool finished;
	size_t n;
	int r;

	if (want > w->take.left_pages)
		want = w->take.left_pages;
	n = take_slice(w, want, ranges);
	if (dies(w))
		return;
	got = page_ranges_count(ranges, n);
	w->take.left_pages -= got;
	finished = w->take.left_pages == 0 || got < want || world_happens(w, w->faults.partial);
	w->take.running = !finished;
	w->take.due_ns = w->now_ns + work_time_ns(w);

	r = dynmem_complete_take(w->guest, ranges, n, finished, w->now_ns);
	cr_assert(r == 0 || (r == DYNMEM_STALE && !w->connected), "a slice got %d", r);
	if (r)
		use_again(w, ranges, n);
}

static void work_on_return(struct world *w)
{
	size_t n = w->give_back.n_ranges;

	if (dies(w))
		n = world_below(w, n + 1); /* only so many are done */
	use_again(w, w->give_back.ranges, n);
	if (dies(w))
		return;
	w->give_back.running = false;
	dynmem_complete_return(w->guest, w->now_ns);
}

/* One unit of what is to be added; what is there already counts only if a dead daemon added it. */
static void work_on_add(struct world *w)
{
	struct add_job *add = &w->add;
	bool in_window = add->range.first >= WINDOW_PFN &&
			 add->range.first < WINDOW_PFN + WINDOW_PAGES;
	uint64_t at = add->range.first - WINDOW_PFN;
	bool is_there = in_window && at < w->added_pages;

	if (in_window && (is_there ? add->again : !world_happens(w, w->faults.partial))) {
		cr_assert(is_there || at == w->added_pages);
		w->added_pages += is_there ? 0 : UNIT_PAGES;
		add->done_pages += UNIT_PAGES;
		add->range.first += UNIT_PAGES;
		add->range.count -= UNIT_PAGES;
		if (dies(w))
			return;
		if (add->range.count > 0)
			return;
	}
	add->running = false;
	dynmem_complete_hot_add(w->guest, add->done_pages, false, w->now_ns);
}

static void run_memory(struct world *w)
{
	if (w->dead)
		return;
	if (w->take.running && w->now_ns >= w->take.due_ns)
		work_on_take(w);
	if (!w->dead && w->add.running && w->now_ns >= w->add.due_ns)
		work_on_add(w);
	if (!w->dead && w->give_back.running && w->now_ns >= w->give_back.due_ns)
		work_on_return(w);
}

/*
 * Puts @size bytes into the ring of @end, if there is room. Nobody writes to the ring of a daemon that is
 * dead; and a new one sends first what its predecessor had recorded.
 */
static void inject(struct world *w, struct end *end, const void *bytes, size_t size)
{
	if (end->unsent || (end == &w->guest_end && !w->settled))
		return;
	(void)!vmbus_channel_send(&end->channel, 0, bytes, size);
}

/* A message that both ends have to drop, whichever gets it. */
static void inject_malformed(struct world *w)
{
	struct end *end = world_below(w, 2) ? &w->guest_end : &w->host_end;
	struct page_range range = {FIRST_PFN, N_PAGES};
	struct dynmem_message m;

	dynmem_encode_unballoon_request(&m, 0, false, &range, 1);
	switch (world_below(w, 4)) {
	case 0: /* longer than it is */
		m.bytes[2] = 0xff;
		break;
	case 1: /* no type that there is */
		m.bytes[0] = 13 + world_below(w, 200);
		break;
	case 2: /* too short for a header */
		m.size = world_below(w, DYNMEM_HEADER_SIZE);
		break;
	case 3: /* truncated within its words */
		m.bytes[2] = m.size = DYNMEM_HEADER_SIZE + world_below(w, 8);
		break;
	}
	inject(w, end, m.bytes, m.size);
}

/* A message that is well-formed and changes nothing of what either end has or waits for. */
static void inject_strange(struct world *w)
{
	struct dynmem_status_report report = {.committed_pages = 1};
	struct page_range foreign = {FIRST_PFN + N_PAGES + world_below(w, 1000), 1 + world_below(w, 1000)};
	struct dynmem_message m;

	switch (world_below(w, 4)) {
	case 0:
		dynmem_encode_unballoon_request(&m, 0, false, &foreign, 1);
		inject(w, &w->host_end, m.bytes, m.size);
		break;
	case 1:
		dynmem_encode_info_max_pages(&m, 0, N_PAGES);
		inject(w, &w->host_end, m.bytes, m.size);
		break;
	case 2:
		dynmem_encode_status_report(&m, 0, &report);
		inject(w, &w->host_end, m.bytes, m.size);
		break;
	case 3:
		dynmem_encode_status_report(&m, 0, &report);
		inject(w, &w->guest_end, m.bytes, m.size);
		break;
	}
}

/* If the host has nothing else to do. */
static void do_wrong(struct world *w)
{
	enum dynmem_fault fault = DYNMEM_FAULT_LATE +
				  world_below(w, DYNMEM_FAULTS - DYNMEM_FAULT_LATE);

	w->wrongs += dynmem_host_inject(w->host, fault, w->now_ns) == 0;
}

static void run_faults(struct world *w)
{
	struct end *end = world_below(w, 2) ? &w->guest_end : &w->host_end;

	if (!w->dead && world_happens(w, w->faults.release))
		cr_assert(eq(int, dynmem_release(w->guest), 0));
	if (!w->connected)
		return;
	if (world_happens(w, w->faults.wrong))
		do_wrong(w);
	if (world_happens(w, w->faults.stall))
		end->stalled_until_ns = w->now_ns + world_below(w, 3000) * MS;
	if (world_happens(w, w->faults.malformed))
		inject_malformed(w);
	if (world_happens(w, w->faults.strange))
		inject_strange(w);
	if (!w->dead && world_happens(w, w->faults.close))
		world_disconnect(w);
}

/* Marks the pages of @set, all of which must be of the memory that there is. */
static void mark(const struct rangeset *set, bool *pages)
{
	memset(pages, 0, N_PAGES * sizeof(*pages));
	for (size_t i = 0; i < set->n_ranges; i++) {
		struct page_range range = set->ranges[i];

		cr_assert(range.first >= FIRST_PFN &&
			  range.first + range.count <= FIRST_PFN + N_PAGES);
		memset(pages + range.first - FIRST_PFN, true, range.count * sizeof(*pages));
	}
}

static bool ring_is_empty(const struct vmbus_ring_memory *memory)
{
	return atomic_load(&memory->header->write_index) ==
	       atomic_load(&memory->header->read_index);
}

/* Nothing is outstanding: no operation, no message under way, and the daemon lives. */
static bool at_rest(const struct world *w)
{
	return w->connected && !w->dead && world_guest_status(w).state == DYNMEM_STATE_READY &&
	       world_host_status(w).state == DYNMEM_HOST_STATE_READY && !w->guest_end.unsent &&
	       !w->host_end.unsent && ring_is_empty(&w->rings.memory[0]) &&
	       ring_is_empty(&w->rings.memory[1]);
}

static void check_pages(const struct world *w)
{
	static bool guest_has[N_PAGES], host_has[N_PAGES];
	struct dynmem_status guest = world_guest_status(w);
	bool resting = at_rest(w);
	uint64_t out_of_use = 0;

	mark(dynmem_ballooned(w->guest), guest_has);
	mark(dynmem_host_ballooned(w->host), host_has);
	for (uint64_t i = 0; i < N_PAGES; i++) {
		out_of_use += w->out_of_use[i];
		if (host_has[i] && !w->out_of_use[i])
			cr_fatal("the host has %#" PRIx64 ", which is used", FIRST_PFN + i);
		if (!w->dead && guest_has[i] && !w->out_of_use[i])
			cr_fatal("the guest lets %#" PRIx64 " be used", FIRST_PFN + i);
		if (resting && guest_has[i] != host_has[i])
			cr_fatal("only the %s has %#" PRIx64,
				       guest_has[i] ? "guest" : "host", FIRST_PFN + i);
	}
	if (!w->dead)
		cr_assert(eq(u64, out_of_use, guest.ballooned_pages + guest.unreported_pages +
						      guest.returning_pages));
	if (!w->dead && !w->connected)
		cr_assert(eq(u64, guest.ballooned_pages, 0));
	if (resting) {
		cr_assert(eq(u64, guest.ballooned_pages, world_host_status(w).ballooned_pages));
		cr_assert(ge(u64, w->added_pages, world_host_status(w).added_pages));
		if (w->closes == 0)
			cr_assert(eq(u64, w->added_pages, world_host_status(w).added_pages));
	}
}

static void check(const struct world *w)
{
	struct dynmem_host_status host = world_host_status(w);

	check_pages(w);
	cr_assert(eq(u64, host.stats.violations, 0));
	if (memcmp(&w->faults, &world_calm, sizeof(world_calm)) == 0 && w->ready_ns > 0 && !w->dead) {
		/* A report may be from before, by a stranger. */
		uint64_t last_ns = host.has_report ? host.report_ns : 0;

		if (last_ns < w->ready_ns)
			last_ns = w->ready_ns;
		if (last_ns < w->alive_ns)
			last_ns = w->alive_ns;
		cr_assert(le(u64, w->now_ns - last_ns, 2 * S));
	}
}

/* Lets some time pass, but not past the next thing that is due. */
static void pass_time(struct world *w)
{
	uint64_t next_ns = w->now_ns + (1 + world_below(w, 300)) * MS;
	uint64_t due_ns[] = {
		w->dead ? UINT64_MAX : dynmem_deadline_ns(w->guest),
		dynmem_host_deadline_ns(w->host),
		w->take.running ? w->take.due_ns : UINT64_MAX,
		w->give_back.running ? w->give_back.due_ns : UINT64_MAX,
		w->add.running ? w->add.due_ns : UINT64_MAX,
	};

	for (size_t i = 0; i < sizeof(due_ns) / sizeof(due_ns[0]); i++)
		if (due_ns[i] > w->now_ns && due_ns[i] < next_ns)
			next_ns = due_ns[i];
	w->now_ns = next_ns;
}

/* Writes all pages that are out of use. */
static size_t list_held(const struct world *w, struct page_range *ranges)
{
	size_t n = 0;
	int r;

	for (size_t i = 0; i < N_PAGES; i++)
		if (w->out_of_use[i])
			ranges[n++] = (struct page_range){FIRST_PFN + i, 1};
	r = page_ranges_normalize(ranges, n, &n);
	cr_assert(eq(int, r, 0));
	return n;
}

/* Goes on reading and writing where the last daemon stopped. */
static void resume_channel(struct world *w, const struct dynmem_positions *recorded)
{
	struct vmbus_channel *ch = &w->guest_end.channel;

	vmbus_channel_init(ch, &w->rings.memory[0], &w->rings.memory[1]);
	cr_assert(eq(int, vmbus_channel_resume(ch, recorded->in), 0));
	w->guest_end.unsent = false;
	dynmem_resume(w->guest, ch->out.write_index, w->now_ns);
}

/* A new daemon is started. */
static void resurrect(struct world *w)
{
	static struct page_range held[N_PAGES];
	struct dynmem_positions recorded;
	uint64_t lost_pages;
	size_t n = list_held(w, held);
	int r;

	w->guest = dynmem_free(w->guest);
	w->take.running = w->give_back.running = w->add.running = false;
	r = dynmem_restore(&w->config, w->area, w->area_bytes, w->now_ns, &w->guest, &recorded);
	cr_assert(eq(int, r, 0), "the record cannot be restored: %d", r);
	r = dynmem_reconcile(w->guest, held, n, &lost_pages);
	cr_assert(eq(int, r, 0));
	cr_assert(eq(u64, lost_pages, 0));
	w->dead = false;
	w->alive_ns = w->now_ns;
	if (!w->connected)
		dynmem_close(w->guest);
	else if (world_guest_status(w).state == DYNMEM_STATE_CLOSED)
		world_disconnect(w);
	else
		resume_channel(w, &recorded);
}

void world_step(struct world *w)
{
	pass_time(w);
	if (++w->steps == w->close_at && w->connected && !w->dead)
		world_disconnect(w);
	if (w->dead && w->now_ns >= w->dead_until_ns && world_below(w, 2))
		resurrect(w);
	run_faults(w);
	run_memory(w);
	try_to_reconnect(w);
	if (world_below(w, 2)) {
		run_guest(w);
		run_host(w);
	} else {
		run_host(w);
		run_guest(w);
	}
	check(w);
}

/* The host wants something, now and then. */
void world_want_something(struct world *w)
{
	static const enum dynmem_host_operation_kind kinds[] = {
		DYNMEM_HOST_BALLOON, DYNMEM_HOST_UNBALLOON, DYNMEM_HOST_BALLOON,
		DYNMEM_HOST_UNBALLOON, DYNMEM_HOST_HOT_ADD,
	};
	enum dynmem_host_operation_kind kind = kinds[world_below(w, 5)];
	int r;

	if (!world_happens(w, 100))
		return;
	r = dynmem_host_request(w->host, kind, 1 + world_below(w, N_PAGES), w->now_ns);
	cr_assert(r == 0 || r == DYNMEM_HOST_NOT_READY || r == DYNMEM_HOST_BUSY ||
		  r == DYNMEM_HOST_NOTHING);
}

/* What was released may still be on its way back when both ends have nothing more to say. */
static bool is_done(const struct world *w)
{
	return at_rest(w) && world_guest_status(w).returning_pages == 0;
}

void world_come_to_rest(struct world *w)
{
	w->faults = world_calm;
	w->ready_ns = 0; /* what went before was not calm */
	w->guest_end.stalled_until_ns = w->host_end.stalled_until_ns = 0;
	for (int i = 0; i < QUIET_STEPS && !is_done(w); i++)
		world_step(w);
	cr_assert(is_done(w), "guest %s, returning %" PRIu64 ", host %s",
		  dynmem_state_name(world_guest_status(w).state),
		  world_guest_status(w).returning_pages,
		  dynmem_host_state_name(world_host_status(w).state));
}

void world_request_and_rest(struct world *w, enum dynmem_host_operation_kind kind,
			     uint64_t pages)
{
	cr_assert(eq(int, dynmem_host_request(w->host, kind, pages, w->now_ns), 0));
	world_come_to_rest(w);
}

void world_init(struct world *w, unsigned int seed, const struct faults *faults)
{
	struct dynmem_positions nowhere = {0};
	struct dynmem_host_config host_config;

	*w = (struct world){.seed = seed, .faults = *faults, .now_ns = S};
	dynmem_config_init(&w->config);
	w->config.first_status_ns = 0;
	w->config.ranges_max = N_PAGES / 2;
	w->config.can_hot_add = true;
	w->config.capabilities.hot_add_alignment = 0;
	w->area_bytes = dynmem_record_bytes(w->config.ranges_max);
	w->area = calloc(1, w->area_bytes);
	cr_assert(ne(ptr, w->area, NULL));
	dynmem_host_config_init(&host_config);
	host_config.operation_timeout_ns = 5 * S;
	host_config.window = (struct page_range){WINDOW_PFN, WINDOW_PAGES};
	host_config.with_region = seed % 2;
	cr_assert(eq(int, dynmem_new(&w->config, &w->guest), 0));
	cr_assert(eq(int, dynmem_host_new(&host_config, &w->host), 0));
	dynmem_record_start(w->guest, w->area, w->area_bytes, &nowhere);
	w->rings = rings_new(RING_SIZE);
	try_to_reconnect(w);
}

void world_fini(struct world *w)
{
	dynmem_free(w->guest);
	dynmem_host_free(w->host);
	rings_free(&w->rings);
	free(w->area);
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

unsigned int world_first_seed(void)
{
	return strtoul(getenv("HVGUEST_SEED"), NULL, 10);
}

unsigned int world_seed(unsigned int round)
{
	static const unsigned int once_failed[WORLD_ONCE_FAILED] = {
		/* strange messages in the ring of a daemon that was dead, or had only just begun */
		3646423, 3934707, 3433400, 3124606, 3003233, 3004382,
	};

	if (round < WORLD_ONCE_FAILED)
		return once_failed[round];
	return world_first_seed() + round - WORLD_ONCE_FAILED;
}
