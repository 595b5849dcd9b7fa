/* SPDX-License-Identifier: MIT */

/*
 * Backups between the guest's and the host's real machines, over real framing and real rings in
 * memory, on virtual time. Only the file system is a model: it is frozen or not, freezing and
 * thawing take a while, and it has a deadline of its own, as the freezer has.
 *
 * What must hold at the end of each run, whatever was done to it: nothing is frozen, each freeze
 * had one thaw, and a backup that the host calls done is of a file system that stood still all the
 * while. The seed is printed; HVGUEST_SEED repeats a run.
 */

#include "host/vss_host.h"
#include "tests/unit/rings.h"
#include "vmbus/ic.h"
#include "vss/vss.h"
#include "vss/vss_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS 1000000ull
#define S  (1000 * MS)

enum {
	ROUNDS = 400,
	STEPS_MAX = 4000, /* of one run; more means that it does not end */
};

enum fault {
	FAULT_NONE,
	FAULT_FREEZE_FAILS,
	FAULT_SLOW_FREEZE,   /* slower than the host waits */
	FAULT_SLOW_SNAPSHOT, /* slower than the guest's deadline */
	FAULT_NEGOTIATE,     /* the host starts over, at any time */
	FAULT_CLOSE,         /* the channel goes away, at any time */
	FAULT_GARBAGE,       /* bytes that are no message */
	FAULT_ROGUE,         /* requests nobody should send, in between */
	FAULTS,
};

enum model_state {
	MODEL_IDLE,
	MODEL_FREEZING,
	MODEL_FROZEN,
	MODEL_THAWING,
};

/* The file system and the freezer, as the daemon sees them. */
struct model {
	enum model_state state;
	bool frozen;
	bool fails;
	uint64_t freeze_takes_ns;
	uint64_t thaw_takes_ns;
	uint64_t limit_ns;
	uint64_t done_at_ns;
	uint64_t deadline_ns;
	uint64_t n_freezes;
	uint64_t n_thaws;
};

struct world {
	unsigned int seed;
	uint64_t now_ns;
	struct rings rings;
	struct vmbus_channel guest_channel, host_channel;
	struct ic_guest ic_guest;
	struct ic_host ic_host;
	struct vss vss;
	struct vss_host host;
	struct model model;
	bool start_wanted;
	uint64_t fault_at_ns;
	uint64_t steps;      /* of all runs */
	uint64_t fault_step; /* at which the fault comes; 0: it comes at its time */
	uint64_t snapshot_takes_ns;
	uint64_t snapshot_done_at_ns;
	uint64_t snapshot_freeze;   /* number of the freeze in which it began; 0 = was not frozen */
	bool snapshot_consistent;
	uint8_t buf[IC_PAYLOAD_MAX];
};

static unsigned int base_seed(void)
{
	const char *text = getenv("HVGUEST_SEED");
	unsigned int seed = text ? (unsigned int)strtoul(text, NULL, 10) : (unsigned int)time(NULL);

	fprintf(stderr, "HVGUEST_SEED=%u\n", seed);
	return seed;
}

static uint64_t random_below(struct world *w, uint64_t limit)
{
	return (((uint64_t)rand_r(&w->seed) << 31) ^ (uint64_t)rand_r(&w->seed)) % limit;
}

static void connect_ends(struct world *w)
{
	w->rings = rings_new(4 * VMBUS_PAGE_SIZE);
	rings_connect(&w->rings, &w->guest_channel, &w->host_channel);
	ic_guest_init(&w->ic_guest, &ic_service_vss);
	ic_host_init(&w->ic_host, &ic_service_vss);
}

static void model_freeze(struct world *w)
{
	struct model *m = &w->model;

	cr_assert(eq(int, m->state, MODEL_IDLE), "a freeze while another one is under way");
	m->state = MODEL_FREEZING;
	m->done_at_ns = w->now_ns + m->freeze_takes_ns;
	m->deadline_ns = w->now_ns + m->limit_ns;
}

static void model_thaw(struct world *w)
{
	struct model *m = &w->model;

	cr_assert(m->state == MODEL_FREEZING || m->state == MODEL_FROZEN, "a thaw of nothing");
	m->state = MODEL_THAWING;
	m->done_at_ns = w->now_ns + m->thaw_takes_ns;
}

static void model_end(struct model *m)
{
	if (m->frozen)
		m->n_thaws++;
	m->frozen = false;
	m->state = MODEL_IDLE;
	m->done_at_ns = m->deadline_ns = UINT64_MAX;
}

static void model_tick(struct world *w)
{
	struct model *m = &w->model;

	if (w->now_ns >= m->deadline_ns) {
		model_end(m);
		vss_thawed_early(&w->vss, VSS_REASON_DEADLINE, w->now_ns);
		return;
	}
	if (w->now_ns < m->done_at_ns)
		return;
	if (m->state == MODEL_THAWING) {
		model_end(m);
		vss_complete_thaw(&w->vss, true, w->now_ns);
	} else if (m->fails) {
		model_end(m);
		vss_complete_freeze(&w->vss, false, w->now_ns);
	} else {
		m->state = MODEL_FROZEN;
		m->frozen = true;
		m->n_freezes++;
		m->done_at_ns = UINT64_MAX;
		vss_complete_freeze(&w->vss, true, w->now_ns);
	}
}

static void guest_send(struct world *w)
{
	cr_assert(eq(int, vmbus_channel_send(&w->guest_channel, w->ic_guest.trans_id,
					     w->ic_guest.buf, w->ic_guest.size), 0));
}

static void guest_perform(struct world *w, const struct vss_action *action)
{
	uint8_t *msg;
	size_t size;

	switch (action->type) {
	case VSS_ACTION_FREEZE:
		model_freeze(w);
		break;
	case VSS_ACTION_THAW:
		model_thaw(w);
		break;
	case VSS_ACTION_ANSWER:
		cr_assert(w->ic_guest.open, "an answer to nothing");
		msg = ic_guest_data(&w->ic_guest, &size);
		vss_apply_answer(action, msg, size);
		ic_guest_answer(&w->ic_guest, action->status);
		guest_send(w);
		break;
	case VSS_ACTION_NOTE:
		break;
	}
}

static void guest_receive(struct world *w, const struct vmbus_message *message)
{
	uint64_t negotiations = w->ic_guest.stats.negotiations;
	uint8_t *msg;
	size_t size;
	int r;

	r = ic_guest_receive(&w->ic_guest, w->buf, message->size, message->trans_id);
	if (r == 0) {
		msg = ic_guest_data(&w->ic_guest, &size);
		vss_receive(&w->vss, msg, size, w->now_ns);
	} else if (r == IC_ANSWER) {
		guest_send(w);
		if (w->ic_guest.stats.negotiations != negotiations)
			vss_abort(&w->vss, VSS_REASON_NEGOTIATE, w->now_ns);
		else if (w->vss.answer_due)
			vss_abort(&w->vss, VSS_REASON_OVERTAKEN, w->now_ns);
	}
}

/* The binders do this after each call of their machine. Returns true if there was anything. */
static bool guest_drain(struct world *w)
{
	struct vss_action action;
	bool did = false;

	while (vss_next_action(&w->vss, &action)) {
		guest_perform(w, &action);
		did = true;
	}
	return did;
}

/* Returns true if it did anything. */
static bool guest_run(struct world *w)
{
	bool did = guest_drain(w);
	struct vmbus_message message;

	if (vmbus_channel_receive(&w->guest_channel, w->buf, sizeof(w->buf), &message) == 0) {
		guest_receive(w, &message);
		did = true;
	}
	(void)!vmbus_channel_sleep(&w->guest_channel);
	return did;
}

static void host_send(struct world *w, const void *payload, size_t size)
{
	cr_assert(eq(int, vmbus_channel_send(&w->host_channel, 1, payload, size), 0));
}

static void host_negotiate(struct world *w)
{
	uint8_t payload[256];
	size_t size;

	cr_assert(eq(int, ic_host_negotiate(&w->ic_host, payload, sizeof(payload), &size), 0));
	host_send(w, payload, size);
}

static void host_request(struct world *w, const struct vss_host_action *action)
{
	uint8_t message[VSS_FREEZE_SIZE];
	size_t size;

	cr_assert(eq(int, vss_host_message(action, message, sizeof(message), &size), 0));
	cr_assert(eq(int, ic_host_request(&w->ic_host, message, size, w->buf, sizeof(w->buf),
					  &size), 0));
	host_send(w, w->buf, size);
}

static void host_perform(struct world *w, const struct vss_host_action *action)
{
	switch (action->type) {
	case VSS_HOST_SEND:
		host_request(w, action);
		break;
	case VSS_HOST_SNAPSHOT:
		w->snapshot_freeze = w->model.frozen ? w->model.n_freezes : 0;
		w->snapshot_done_at_ns = w->now_ns + w->snapshot_takes_ns;
		break;
	case VSS_HOST_RESET:
		host_negotiate(w);
		break;
	case VSS_HOST_FINISHED:
		w->snapshot_done_at_ns = UINT64_MAX;
		break;
	}
}

static void host_receive(struct world *w, const struct vmbus_message *message)
{
	struct ic_response response;
	int r;

	r = ic_host_receive(&w->ic_host, w->buf, message->size, &response);
	if (r == 0) {
		vss_host_receive(&w->host, response.status, response.data, response.size,
				 w->now_ns);
	} else if (r == IC_NEGOTIATED && w->start_wanted) {
		w->start_wanted = false;
		cr_assert(eq(int, vss_host_start(&w->host, w->now_ns), 0));
	}
}

static bool host_drain(struct world *w)
{
	struct vss_host_action action;
	bool did = false;

	while (vss_host_next_action(&w->host, &action)) {
		host_perform(w, &action);
		did = true;
	}
	return did;
}

static bool host_run(struct world *w)
{
	bool did = host_drain(w);
	struct vmbus_message message;

	if (vmbus_channel_receive(&w->host_channel, w->buf, sizeof(w->buf), &message) == 0) {
		host_receive(w, &message);
		did = true;
	}
	(void)!vmbus_channel_sleep(&w->host_channel);
	return did;
}

/* A well-framed request that no backup would send now, with a body of any length. */
static void host_send_rogue(struct world *w)
{
	uint8_t payload[128], msg[40];
	struct ic_host rogue = w->ic_host;
	size_t size;

	if (!rogue.negotiated)
		return;
	for (size_t i = 0; i < sizeof(msg); i++)
		msg[i] = (uint8_t)random_below(w, 10);
	cr_assert(eq(int, ic_host_request(&rogue, msg, random_below(w, sizeof(msg)), payload,
					  sizeof(payload), &size), 0));
	host_send(w, payload, size);
}

static void host_send_garbage(struct world *w)
{
	uint8_t payload[100];

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)random_below(w, i % 3 ? 3 : 256);
	host_send(w, payload, 1 + random_below(w, sizeof(payload)));
}

static void close_channel(struct world *w)
{
	vss_abort(&w->vss, VSS_REASON_CHANNEL, w->now_ns);
	vss_host_lost(&w->host, w->now_ns);
	rings_free(&w->rings);
	connect_ends(w);
}

static void inject(struct world *w, enum fault fault)
{
	w->fault_at_ns = UINT64_MAX;
	switch (fault) {
	case FAULT_NEGOTIATE:
		host_negotiate(w);
		break;
	case FAULT_CLOSE:
		close_channel(w);
		break;
	case FAULT_GARBAGE:
		host_send_garbage(w);
		w->fault_at_ns = w->now_ns + random_below(w, S);
		break;
	case FAULT_ROGUE:
		host_send_rogue(w);
		w->fault_at_ns = w->now_ns + random_below(w, S);
		break;
	case FAULT_NONE:
	case FAULT_FREEZE_FAILS:
	case FAULT_SLOW_FREEZE:
	case FAULT_SLOW_SNAPSHOT:
	case FAULTS:
		break;
	}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Lets everything happen that is due, in one place, and then in the order of time. */
static void run(struct world *w, enum fault fault)
{
	for (int step = 0; step < STEPS_MAX; step++) {
		uint64_t next;

		if (++w->steps == w->fault_step) {
			(void)guest_drain(w);
			(void)host_drain(w);
			inject(w, fault);
		}
		if (guest_run(w) || host_run(w))
			continue;
		/* The fault must not outlive the backup that it is meant for. */
		if (!vss_host_is_running(&w->host) && w->model.state == MODEL_IDLE)
			return;

		next = earlier(w->model.done_at_ns, w->model.deadline_ns);
		next = earlier(next, vss_host_deadline_ns(&w->host));
		next = earlier(next, earlier(w->snapshot_done_at_ns, w->fault_at_ns));
		cr_assert(ne(u64, next, UINT64_MAX), "everybody waits for somebody else");
		w->now_ns = next > w->now_ns ? next : w->now_ns;

		if (w->now_ns >= w->fault_at_ns)
			inject(w, fault);
		if (w->now_ns >= w->snapshot_done_at_ns) {
			w->snapshot_consistent = w->snapshot_freeze > 0 && w->model.frozen &&
						 w->snapshot_freeze == w->model.n_freezes;
			w->snapshot_done_at_ns = UINT64_MAX;
			vss_host_snapshot_done(&w->host, true, w->now_ns);
		}
		vss_host_tick(&w->host, w->now_ns);
		model_tick(w);
	}
	cr_assert(false, "the run does not end");
}

static void set_up_backup(struct world *w, enum fault fault)
{
	struct model *m = &w->model;

	m->fails = fault == FAULT_FREEZE_FAILS;
	m->freeze_takes_ns = 1 + random_below(w, 2 * S);
	m->thaw_takes_ns = 1 + random_below(w, S);
	m->limit_ns = 20 * S;
	w->snapshot_takes_ns = 1 + random_below(w, 5 * S);
	w->snapshot_consistent = false;
	w->fault_at_ns = fault >= FAULT_NEGOTIATE ? w->now_ns + random_below(w, 9 * S) : UINT64_MAX;
	if (fault == FAULT_SLOW_FREEZE)
		m->freeze_takes_ns = 61 * S, m->limit_ns = 100 * S;
	if (fault == FAULT_SLOW_SNAPSHOT)
		w->snapshot_takes_ns = 30 * S;
	w->start_wanted = true;
	host_negotiate(w);
}

static void expect_thawed(const struct world *w, unsigned int seed)
{
	cr_assert(not(w->model.frozen), "still frozen, seed %u", seed);
	cr_assert(eq(u64, w->model.n_freezes, w->model.n_thaws), "seed %u", seed);
	cr_assert(eq(int, w->vss.state, VSS_IDLE), "seed %u", seed);
}

/*
 * One backup with the fault (at a step, or by chance if that is 0) and one without; the second must
 * always be good. Writes how many steps the first one had.
 */
static enum vss_host_state backup_round(unsigned int seed, enum fault fault, uint64_t fault_step,
					uint64_t *ret_steps)
{
	static struct world w;
	enum vss_host_state ended;

	w = (struct world){
		.seed = seed,
		.now_ns = S,
		.snapshot_done_at_ns = UINT64_MAX,
		.fault_step = fault_step,
	};
	w.model.done_at_ns = w.model.deadline_ns = UINT64_MAX;
	connect_ends(&w);
	vss_init(&w.vss);
	vss_host_init(&w.host, &(struct vss_host_config){0});

	set_up_backup(&w, fault);
	if (fault_step > 0)
		w.fault_at_ns = UINT64_MAX;
	run(&w, fault);
	*ret_steps = w.steps;
	w.fault_step = 0;
	expect_thawed(&w, seed);
	ended = w.host.state;
	/* A host that talks out of turn may take one answer for another. */
	if (ended == VSS_HOST_DONE && fault != FAULT_ROGUE)
		cr_assert(w.snapshot_consistent, "done, but not consistent; seed %u", seed);

	set_up_backup(&w, FAULT_NONE);
	run(&w, FAULT_NONE);
	expect_thawed(&w, seed);
	cr_assert(eq(int, w.host.state, VSS_HOST_DONE), "the next backup: %s, seed %u",
		  vss_host_failure_text(w.host.failure), seed);
	cr_assert(w.snapshot_consistent, "seed %u", seed);
	rings_free(&w.rings);
	return ended;
}

/* Runs many rounds; returns how many of the faulty backups were done nevertheless. */
static int backup_rounds(enum fault fault)
{
	unsigned int seed = base_seed();
	uint64_t steps;
	int n_done = 0;

	for (unsigned int i = 0; i < ROUNDS; i++)
		n_done += backup_round(seed + i, fault, 0, &steps) == VSS_HOST_DONE;
	return n_done;
}

/* The fault comes at each step of a backup, one after the other. */
static void expect_at_each_step(enum fault fault)
{
	unsigned int seed = base_seed();
	uint64_t at = 0, steps;

	do {
		(void)backup_round(seed, fault, ++at, &steps);
	} while (at <= steps);
	cr_expect(gt(u64, at, 12), "a backup has more steps than that");
}

Test(vss, calm_backups_are_all_done)
{
	cr_expect(eq(int, backup_rounds(FAULT_NONE), ROUNDS));
}

Test(vss, a_freeze_that_fails_fails_the_backup)
{
	cr_expect(eq(int, backup_rounds(FAULT_FREEZE_FAILS), 0));
}

Test(vss, a_freeze_slower_than_the_host_waits_is_given_up)
{
	cr_expect(eq(int, backup_rounds(FAULT_SLOW_FREEZE), 0));
}

Test(vss, a_snapshot_slower_than_the_guests_deadline_is_never_called_good)
{
	cr_expect(eq(int, backup_rounds(FAULT_SLOW_SNAPSHOT), 0));
}

Test(vss, a_negotiation_at_any_time_leaves_nothing_frozen)
{
	int n_done = backup_rounds(FAULT_NEGOTIATE);

	cr_expect(n_done < ROUNDS, "it never came in the middle");
}

Test(vss, a_channel_that_closes_at_any_time_leaves_nothing_frozen)
{
	int n_done = backup_rounds(FAULT_CLOSE);

	cr_expect(n_done < ROUNDS, "it never came in the middle");
}

Test(vss, a_channel_that_is_taken_away_at_each_step_leaves_nothing_frozen)
{
	expect_at_each_step(FAULT_CLOSE);
}

Test(vss, a_host_that_begins_anew_at_each_step_leaves_nothing_frozen)
{
	expect_at_each_step(FAULT_NEGOTIATE);
}

Test(vss, garbage_between_the_messages_does_no_harm)
{
	cr_expect(eq(int, backup_rounds(FAULT_GARBAGE), ROUNDS));
}

Test(vss, requests_out_of_turn_leave_nothing_frozen)
{
	(void)backup_rounds(FAULT_ROGUE);
}
