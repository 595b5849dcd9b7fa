/* SPDX-License-Identifier: MIT */

/*
 * File copies between the guest's and the host's real machines, over real framing and real rings in
 * memory, on virtual time. Only the file is a model: it is opened, takes data at once or later, may
 * fail at any moment, and is put in its place or discarded.
 *
 * What must hold at the end of each run, whatever was done to it: both ends are at rest, no file is
 * half there, a file that the host calls done is in its place with the bytes that were sent, and
 * one that is in its place has all of its bytes. The seed is printed; HVGUEST_SEED repeats a run.
 */

#include "host/fcopy_host.h"

#include "base/amount.h"
#include "services/fcopy.h"
#include "tests/unit/rings.h"
#include "vmbus/ic.h"

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
	STEPS_MAX = 4000,
	FILE_MAX = 20 * FCOPY_FRAGMENT_MAX,
};

enum trouble {
	TROUBLE_NONE,
	TROUBLE_OPEN_FAILS,
	TROUBLE_DISK_FULL,  /* behind an answer, at any time */
	TROUBLE_FINISH_FAILS,
	TROUBLE_HOLD,       /* file systems are frozen for a while, at any time */
	TROUBLE_LONG_HOLD,  /* for longer than anybody waits */
	TROUBLE_NEGOTIATE,  /* the host starts over, at any time */
	TROUBLE_CLOSE,      /* the channel goes away, at any time */
	TROUBLE_CANCEL,     /* at any time */
	TROUBLE_GARBAGE,    /* bytes that are no message */
	TROUBLES,
};

/* The file, as the daemon sees it. */
struct model {
	bool opening, is_open, taking, finishing, discarding;
	uint64_t done_at_ns;
	uint64_t n_bytes;
	uint8_t bytes[FILE_MAX];
	uint64_t n_published, n_wrong;
};

struct world {
	unsigned int seed;
	uint64_t now_ns;
	struct rings rings;
	struct vmbus_channel guest_channel, host_channel;
	struct ic_guest ic_guest;
	struct ic_host ic_host;
	struct fcopy guest;
	struct fcopy_host host;
	struct model model;
	enum trouble trouble;
	uint64_t trouble_at_ns, hold_ends_ns;
	bool start_wanted, host_ended, answered_all;
	enum fcopy_host_result result;
	uint64_t size;
	enum fcopy_host_fault fault;
	uint64_t fault_at;
	uint8_t source[FILE_MAX];
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
	w->rings = rings_new(5 * VMBUS_PAGE_SIZE);
	rings_connect(&w->rings, &w->guest_channel, &w->host_channel);
	ic_guest_init(&w->ic_guest, &ic_service_fcopy);
	ic_host_init(&w->ic_host, &ic_service_fcopy);
}

/* The model. */

static void later(struct world *w)
{
	w->model.done_at_ns = w->now_ns + random_below(w, 20 * MS);
}

static void model_take(struct world *w)
{
	struct model *m = &w->model;

	cr_assert(m->is_open && m->n_bytes + w->guest.data.size <= w->size);
	memcpy(m->bytes + m->n_bytes, w->guest.data.data, w->guest.data.size);
	m->n_bytes += w->guest.data.size;
	m->taking = false;
	fcopy_taken(&w->guest, w->now_ns);
}

static void model_publish(struct world *w)
{
	struct model *m = &w->model;

	m->finishing = m->is_open = false;
	m->n_published++;
	m->n_wrong += m->n_bytes != w->size || memcmp(m->bytes, w->source, w->size) != 0;
	fcopy_finished(&w->guest, FCOPY_OK, w->now_ns);
}

static void model_tick(struct world *w)
{
	struct model *m = &w->model;

	if (w->now_ns < m->done_at_ns)
		return;
	m->done_at_ns = UINT64_MAX;
	if (m->opening) {
		m->opening = false;
		m->is_open = w->trouble != TROUBLE_OPEN_FAILS;
		m->n_bytes = 0;
		fcopy_opened(&w->guest, m->is_open ? FCOPY_OK : FCOPY_DISK_FULL, w->now_ns);
	} else if (m->discarding) {
		m->discarding = m->is_open = false;
		fcopy_discarded(&w->guest, w->now_ns);
	} else if (m->taking) {
		model_take(w);
	} else if (m->finishing && w->trouble == TROUBLE_FINISH_FAILS) {
		m->finishing = false;
		fcopy_finished(&w->guest, FCOPY_DISK_FULL, w->now_ns);
	} else if (m->finishing) {
		model_publish(w);
	}
}

/* The guest. */

static void guest_send(struct world *w)
{
	cr_assert(eq(int, vmbus_channel_send(&w->guest_channel, w->ic_guest.trans_id,
					     w->ic_guest.buf, w->ic_guest.size), 0));
}

static void guest_perform(struct world *w, const struct fcopy_action *action)
{
	struct model *m = &w->model;

	switch (action->type) {
	case FCOPY_ACTION_OPEN:
		cr_assert(not(m->opening || m->is_open || m->discarding));
		m->opening = true;
		later(w);
		break;
	case FCOPY_ACTION_DATA:
		cr_assert(not(w->guest.held));
		m->taking = true;
		if (random_below(w, 3) == 0)
			later(w);
		else
			model_take(w);
		break;
	case FCOPY_ACTION_FINISH:
		m->finishing = true;
		later(w);
		break;
	case FCOPY_ACTION_DISCARD:
		m->opening = m->taking = m->finishing = false;
		m->discarding = true;
		later(w);
		break;
	case FCOPY_ACTION_ANSWER:
		cr_assert(w->ic_guest.open, "an answer to nothing");
		ic_guest_answer(&w->ic_guest, action->status);
		guest_send(w);
		break;
	case FCOPY_ACTION_NOTE:
		break;
	}
}

static void guest_receive(struct world *w, const struct vmbus_message *message)
{
	uint64_t negotiations = w->ic_guest.stats.negotiations;
	uint8_t *data;
	size_t size;
	int r;

	r = ic_guest_receive(&w->ic_guest, w->buf, message->size, message->trans_id);
	if (r == 0) {
		data = ic_guest_data(&w->ic_guest, &size);
		fcopy_receive(&w->guest, data, size, w->now_ns);
	} else if (r == IC_ANSWER) {
		guest_send(w);
		if (w->ic_guest.stats.negotiations != negotiations)
			fcopy_abort(&w->guest, FCOPY_LOST, w->now_ns);
	}
}

static bool guest_run(struct world *w)
{
	struct vmbus_message message;
	struct fcopy_action action;
	bool did = false;

	while (fcopy_next_action(&w->guest, &action)) {
		guest_perform(w, &action);
		did = true;
	}
	if (vmbus_channel_receive(&w->guest_channel, w->buf, sizeof(w->buf), &message) == 0) {
		guest_receive(w, &message);
		did = true;
	}
	(void)!vmbus_channel_sleep(&w->guest_channel);
	return did;
}

/* The host. */

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

static void host_perform(struct world *w, const struct fcopy_host_action *action)
{
	uint8_t message[FCOPY_WRITE_SIZE];
	size_t size;

	switch (action->type) {
	case FCOPY_HOST_SEND:
		size = fcopy_host_message(&w->host, action, w->source + action->offset, message);
		cr_assert(eq(int, ic_host_request(&w->ic_host, message, size, w->buf, sizeof(w->buf),
						  &size), 0));
		host_send(w, w->buf, size);
		break;
	case FCOPY_HOST_RESET:
		host_negotiate(w);
		break;
	case FCOPY_HOST_ENDED:
		cr_assert(not(w->host_ended));
		w->host_ended = true;
		w->result = action->result;
		break;
	}
}

static void host_receive(struct world *w, const struct vmbus_message *message)
{
	struct ic_response response;
	int r = ic_host_receive(&w->ic_host, w->buf, message->size, &response);

	if (r == 0) {
		fcopy_host_receive(&w->host, response.status, w->now_ns);
	} else if (r == IC_NEGOTIATED && w->start_wanted) {
		w->start_wanted = false;
		cr_assert(eq(int, fcopy_host_start(&w->host, "/srv", "f\xc3\xa4", 0, w->size, w->fault,
						   w->fault_at, w->now_ns), 0));
	}
}

static bool host_run(struct world *w)
{
	struct fcopy_host_action action;
	struct vmbus_message message;
	bool did = false;

	while (fcopy_host_next_action(&w->host, &action)) {
		host_perform(w, &action);
		did = true;
	}
	if (vmbus_channel_receive(&w->host_channel, w->buf, sizeof(w->buf), &message) == 0) {
		host_receive(w, &message);
		did = true;
	}
	(void)!vmbus_channel_sleep(&w->host_channel);
	return did;
}

/* What befalls them. */

static void close_channel(struct world *w)
{
	fcopy_abort(&w->guest, FCOPY_LOST, w->now_ns);
	fcopy_host_close(&w->host);
	rings_free(&w->rings);
	connect_ends(w);
	host_negotiate(w);
}

static void send_garbage(struct world *w)
{
	uint8_t bytes[64];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random_below(w, 256);
	host_send(w, bytes, sizeof(bytes));
}

static void befall(struct world *w)
{
	w->trouble_at_ns = UINT64_MAX;
	switch (w->trouble) {
	case TROUBLE_DISK_FULL:
		if (w->model.is_open && !w->model.discarding) {
			w->model.taking = w->model.finishing = false;
			fcopy_failed(&w->guest, FCOPY_DISK_FULL, w->now_ns);
		}
		break;
	case TROUBLE_HOLD:
	case TROUBLE_LONG_HOLD:
		fcopy_hold(&w->guest, true, w->now_ns);
		w->hold_ends_ns = w->now_ns + (w->trouble == TROUBLE_HOLD ? 5 * S : 40 * S);
		break;
	case TROUBLE_NEGOTIATE:
		fcopy_host_close(&w->host);
		host_negotiate(w);
		break;
	case TROUBLE_CLOSE:
		close_channel(w);
		break;
	case TROUBLE_CANCEL:
		fcopy_host_cancel(&w->host, w->now_ns);
		break;
	case TROUBLE_GARBAGE:
		send_garbage(w);
		break;
	case TROUBLE_NONE:
	case TROUBLE_OPEN_FAILS:
	case TROUBLE_FINISH_FAILS:
	case TROUBLES:
		break;
	}
}

static uint64_t next_ns(const struct world *w)
{
	uint64_t next = min_u64(w->model.done_at_ns, w->trouble_at_ns);

	next = min_u64(next, w->hold_ends_ns);
	next = min_u64(next, fcopy_deadline_ns(&w->guest));
	return min_u64(next, fcopy_host_deadline_ns(&w->host));
}

/* Lets time pass to where the next thing is due; false: nothing is. */
static bool pass_time(struct world *w)
{
	uint64_t next = next_ns(w);

	if (next == UINT64_MAX)
		return false;
	w->now_ns = next > w->now_ns ? next : w->now_ns;
	if (w->now_ns >= w->trouble_at_ns)
		befall(w);
	if (w->now_ns >= w->hold_ends_ns) {
		w->hold_ends_ns = UINT64_MAX;
		fcopy_hold(&w->guest, false, w->now_ns);
	}
	model_tick(w);
	fcopy_tick(&w->guest, w->now_ns);
	fcopy_host_tick(&w->host, w->now_ns);
	return true;
}

static void run(struct world *w)
{
	for (int i = 0; i < STEPS_MAX; i++) {
		bool did = guest_run(w);

		did |= host_run(w);
		/* A message takes a moment. */
		w->now_ns += 10000;
		if (!did && !pass_time(w))
			return;
	}
	cr_assert(false, "it does not end");
}

static struct world *world_new(unsigned int seed, enum trouble trouble, enum fcopy_host_fault fault)
{
	struct world *w = calloc(1, sizeof(*w));

	w->seed = seed;
	w->trouble = trouble;
	w->fault = fault;
	w->size = random_below(w, 4) ? random_below(w, FILE_MAX) : random_below(w, 3) * FCOPY_FRAGMENT_MAX;
	w->fault_at = random_below(w, w->size / FCOPY_FRAGMENT_MAX + 2);
	for (uint64_t i = 0; i < w->size; i++)
		w->source[i] = (uint8_t)random_below(w, 256);
	w->model.done_at_ns = w->hold_ends_ns = UINT64_MAX;
	w->trouble_at_ns = random_below(w, 150 * MS);
	w->start_wanted = true;
	fcopy_init(&w->guest, FCOPY_UTF16);
	fcopy_host_init(&w->host);
	connect_ends(w);
	host_negotiate(w);
	return w;
}

static void check_rest(const struct world *w, unsigned int seed)
{
	cr_assert(eq(int, (int)w->guest.state, (int)FCOPY_IDLE), "seed %u", seed);
	cr_assert(not(w->model.opening || w->model.is_open || w->model.discarding), "seed %u", seed);
	cr_assert(eq(u64, w->model.n_wrong, 0), "a file that is not what was sent, seed %u", seed);
	if (w->host_ended && w->result == FCOPY_HOST_DONE)
		cr_assert(eq(u64, w->model.n_published, 1), "seed %u", seed);
	cr_assert(eq(u64, w->guest.stats.started, w->guest.stats.finished + w->guest.stats.discarded +
			     w->guest.stats.refused), "seed %u", seed);
}

static void world_free(struct world *w)
{
	rings_free(&w->rings);
	free(w);
}

Test(fcopy, a_calm_copy_is_done)
{
	unsigned int seed = base_seed();

	for (int i = 0; i < ROUNDS / 4; i++, seed++) {
		struct world *w = world_new(seed, TROUBLE_NONE, FCOPY_FAULT_NONE);

		run(w);
		check_rest(w, seed);
		cr_assert(w->host_ended, "seed %u", seed);
		cr_assert(eq(int, (int)w->result, (int)FCOPY_HOST_DONE), "seed %u", seed);
		world_free(w);
	}
}

Test(fcopy, whatever_befalls_them_nothing_is_half_there)
{
	unsigned int seed = base_seed();

	for (int i = 0; i < ROUNDS; i++, seed++) {
		struct world *w = world_new(seed, i % TROUBLES, FCOPY_FAULT_NONE);

		run(w);
		check_rest(w, seed);
		if (w->trouble == TROUBLE_HOLD || w->trouble == TROUBLE_GARBAGE)
			cr_assert(eq(int, (int)w->result, (int)FCOPY_HOST_DONE), "seed %u", seed);
		if (w->trouble == TROUBLE_OPEN_FAILS || w->trouble == TROUBLE_FINISH_FAILS) {
			cr_assert(eq(int, (int)w->result, (int)FCOPY_HOST_REFUSED), "seed %u", seed);
			cr_assert(eq(u32, w->host.status, IC_E_DISK_FULL), "seed %u", seed);
		}
		world_free(w);
	}
}

Test(fcopy, whatever_the_host_gets_wrong_nothing_is_half_there)
{
	unsigned int seed = base_seed();

	for (int i = 0; i < ROUNDS; i++, seed++) {
		enum fcopy_host_fault fault = i % FCOPY_FAULTS;
		struct world *w = world_new(seed, i % 3 ? TROUBLE_NONE : i % TROUBLES, fault);

		run(w);
		check_rest(w, seed);
		if (fault == FCOPY_FAULT_SURROGATE || fault == FCOPY_FAULT_ENDLESS)
			cr_assert(eq(u64, w->model.n_published, 0), "seed %u", seed);
		world_free(w);
	}
}
