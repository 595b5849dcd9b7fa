/* SPDX-License-Identifier: MIT */

/*
 * Key-value exchange between the guest's and the host's real machines, over real framing and real
 * rings in memory, in every version, on virtual time. Only the disk is a model: what is written to it
 * takes a while and is there all at once; while it is frozen it must be left alone.
 *
 * What must hold, whatever is done to it: each job of the host ends, once, and in its time; what the
 * guest has acknowledged is there and stays; what it has refused for the freeze is not; a key that is
 * read has a value that it may have by all that the host was told; and when all is calm again, the
 * host's list is what is on the disk. The seed is printed; HVGUEST_SEED repeats a run.
 */

#include "host/kvp_host.h"
#include "services/kvp.h"
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
	ROUNDS = 40,
	JOBS = 60,         /* of one round */
	KEYS = 6,
	STEPS_MAX = 60000, /* of one round; more means that it does not end */
	PATIENCE_S = 60,
	NOTHING = 0,       /* the number of a value that is not there */
};

enum fault {
	FAULT_NONE,
	FAULT_SLOW_DISK, /* slower than the guest lets its host wait, at times */
	FAULT_FREEZE,    /* for up to 40 s, at any time */
	FAULT_NEGOTIATE, /* the host starts over, at any time */
	FAULT_CLOSE,     /* the channel goes away and comes back, at any time */
	FAULT_SILENT,    /* the guest stands still for up to 90 s, at any time */
	FAULT_GARBAGE,   /* bytes that are no message, both ways */
	FAULTS,
};

/* A change on its way to the disk. */
struct change {
	bool used;
	uint64_t serial;
	uint64_t done_at_ns;
	size_t key;
	unsigned int value;
};

struct world {
	unsigned int seed;
	uint64_t now_ns;
	struct rings rings;
	struct vmbus_channel guest_channel, host_channel;
	struct ic_service service; /* the host's, with one version */
	struct ic_guest ic_guest;
	struct ic_host ic_host;
	struct kvp kvp;
	struct kvp_host host;
	enum fault fault;
	/* The guest. */
	unsigned int disk[KEYS]; /* numbers of values; NOTHING */
	struct change change;    /* one at a time, as the host asks */
	struct change late;      /* which nobody waits for any more, and which cannot be stopped */
	uint64_t frozen_until_ns;
	uint64_t silent_until_ns;
	/* What the host was told. */
	struct kvp_host_job job;
	bool job_runs;
	unsigned int n_jobs, n_done, n_values, n_listed;
	size_t key;                /* of the job */
	unsigned int value;
	bool possible[KEYS][JOBS + 1]; /* by number of value */
	uint64_t fault_at_ns;
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

/* Text of every kind: the number is in the middle of it. */
static void format_key(size_t key, char text[KVP_KEY_SIZE])
{
	snprintf(text, KVP_KEY_SIZE, "k\xc3\xa9y \xf0\x9f\x97\x9d %zu", key);
}

static void format_value(unsigned int value, char text[KVP_VALUE_SIZE])
{
	snprintf(text, KVP_VALUE_SIZE, "%u \xf0\x9d\x84\x9e", value);
}

static unsigned int parse_value(const char *text)
{
	char again[KVP_VALUE_SIZE];
	unsigned int value = (unsigned int)strtoul(text, NULL, 10);

	format_value(value, again);
	cr_assert(eq(int, strcmp(text, again), 0), "'%s'", text);
	return value;
}

/* The guest. */

static void guest_send(struct world *w)
{
	/* A host that does not read its answers loses them. */
	(void)!vmbus_channel_send(&w->guest_channel, w->ic_guest.trans_id, w->ic_guest.buf,
				  w->ic_guest.size);
}

static void read_key(struct world *w, uint64_t serial)
{
	struct kvp_request answer = {0};
	char key[KVP_KEY_SIZE];
	size_t n = 0;

	for (size_t i = 0; i < KEYS; i++) {
		format_key(i, key);
		if (w->disk[i] == NOTHING)
			continue;
		if (w->kvp.request.operation == KVP_GET ? !strcmp(key, w->kvp.request.key)
							: n++ == w->kvp.request.index) {
			memcpy(answer.key, key, sizeof(key));
			format_value(w->disk[i], answer.value);
			kvp_complete(&w->kvp, serial, KVP_DONE, &answer);
			return;
		}
	}
	kvp_complete(&w->kvp, serial, KVP_NONE, NULL);
}

static void begin_write(struct world *w, uint64_t serial)
{
	struct change *c = &w->change;
	char key[KVP_KEY_SIZE];

	cr_assert(w->now_ns >= w->frozen_until_ns, "written while frozen, seed %u", w->seed);
	/* The disk makes one change after the other. */
	if (c->used)
		w->late = *c;
	*c = (struct change){.used = true, .serial = serial};
	for (format_key(c->key, key); strcmp(key, w->kvp.request.key) != 0; format_key(c->key, key))
		cr_assert(lt(sz, ++c->key, KEYS));
	c->value = w->kvp.request.operation == KVP_SET ? parse_value(w->kvp.request.value) : NOTHING;
	c->done_at_ns = w->now_ns + random_below(w, w->fault == FAULT_SLOW_DISK ? 40 * S : 5 * MS);
	if (w->late.used && c->done_at_ns < w->late.done_at_ns)
		c->done_at_ns = w->late.done_at_ns;
}

static void end_write(struct world *w, struct change *c)
{
	bool was_there = w->disk[c->key] != NOTHING;

	w->disk[c->key] = c->value;
	c->used = false;
	kvp_complete(&w->kvp, c->serial, c->value == NOTHING && !was_there ? KVP_NONE : KVP_DONE, NULL);
}

static void guest_perform(struct world *w, const struct kvp_action *action)
{
	uint8_t *message;
	size_t size;

	switch (action->type) {
	case KVP_ACTION_READ:
		read_key(w, action->serial);
		break;
	case KVP_ACTION_WRITE:
		begin_write(w, action->serial);
		break;
	case KVP_ACTION_WITHDRAW:
		if (w->change.serial == action->serial && random_below(w, 2))
			w->change.used = false;
		break;
	case KVP_ACTION_ANSWER:
		cr_assert(w->ic_guest.open, "an answer to nothing");
		message = ic_guest_data(&w->ic_guest, &size);
		kvp_apply_answer(&w->kvp, action, message, size);
		ic_guest_answer(&w->ic_guest, action->status);
		guest_send(w);
		break;
	case KVP_ACTION_GET_IP:
	case KVP_ACTION_SET_IP:
		cr_assert(false, "nobody asked for addresses");
		break;
	case KVP_ACTION_NOTE:
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
		kvp_receive(&w->kvp, w->ic_guest.version.major >= 5 ? KVP_FORM_BINARY : KVP_FORM_TEXT,
			    data, size, w->now_ns);
	} else if (r == IC_ANSWER) {
		guest_send(w);
		if (w->ic_guest.stats.negotiations != negotiations)
			kvp_void(&w->kvp);
	}
}

/* Returns true if it did anything. */
static bool guest_run(struct world *w)
{
	struct vmbus_message message;
	struct kvp_action action;
	bool did = false;

	if (w->now_ns < w->silent_until_ns)
		return false;
	while (kvp_next_action(&w->kvp, &action)) {
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

static void guest_tick(struct world *w)
{
	if (w->now_ns < w->silent_until_ns)
		return;
	if (w->late.used && w->now_ns >= w->late.done_at_ns)
		end_write(w, &w->late);
	if (w->change.used && w->now_ns >= w->change.done_at_ns)
		end_write(w, &w->change);
	kvp_set_frozen(&w->kvp, w->now_ns < w->frozen_until_ns);
	kvp_tick(&w->kvp, w->now_ns);
}

/* The host. */

static void host_send(struct world *w, const void *payload, size_t size)
{
	if (vmbus_channel_send(&w->host_channel, 1, payload, size))
		kvp_host_not_sent(&w->host);
}

static void host_negotiate(struct world *w)
{
	uint8_t payload[256];
	size_t size;

	cr_assert(eq(int, ic_host_negotiate(&w->ic_host, payload, sizeof(payload), &size), 0));
	host_send(w, payload, size);
	kvp_host_negotiating(&w->host);
}

static void host_request(struct world *w)
{
	uint8_t message[KVP_IP_MESSAGE_SIZE];
	size_t size;

	kvp_host_write(&w->host, message, &size);
	cr_assert(eq(int, ic_host_request(&w->ic_host, message, size, w->buf, sizeof(w->buf), &size),
		     0));
	host_send(w, w->buf, size);
}

/* What the outcome says about the key. */
static void learn(struct world *w)
{
	enum kvp_operation operation = w->job.request.operation;
	bool *possible = w->possible[w->key];
	unsigned int wanted = operation == KVP_SET ? w->value : NOTHING;

	if (operation == KVP_GET) {
		if (w->job.outcome == KVP_HOST_NONE)
			cr_assert(possible[NOTHING], "key %zu is gone, seed %u", w->key, w->seed);
		return;
	}
	switch (w->job.outcome) {
	case KVP_HOST_DONE:
	case KVP_HOST_NONE: /* a delete of what is not there */
		memset(possible, 0, sizeof(w->possible[0]));
		possible[wanted] = true;
		break;
	case KVP_HOST_REFUSED:
		if (w->job.status == KVP_E_LOCKED)
			break;
		/* fall through */
	case KVP_HOST_SILENT:
	case KVP_HOST_LOST:
		possible[wanted] = true;
		break;
	case KVP_HOST_WAITING:
	case KVP_HOST_UNABLE:
	case KVP_HOST_NONSENSE:
	case KVP_HOST_ENDLESS:
	case KVP_HOST_OUTCOMES:
		cr_assert(false, "%s, seed %u", kvp_host_outcome_name(w->job.outcome), w->seed);
	}
	/* A change that the guest could not stop may still come. */
	if (w->late.used)
		w->possible[w->late.key][w->late.value] = true;
	if (w->change.used)
		w->possible[w->change.key][w->change.value] = true;
}

static void on_entry(struct world *w)
{
	unsigned int value = parse_value(w->job.answer.value);

	if (w->job.list) {
		w->n_listed++;
		return;
	}
	cr_assert(value <= JOBS && w->possible[w->key][value], "key %zu has %u, seed %u", w->key, value,
		  w->seed);
}

static void host_perform(struct world *w, const struct kvp_host_action *action)
{
	switch (action->type) {
	case KVP_HOST_ACTION_SEND:
		host_request(w);
		break;
	case KVP_HOST_ACTION_NEGOTIATE:
		host_negotiate(w);
		break;
	case KVP_HOST_ACTION_ENTRY:
		on_entry(w);
		break;
	case KVP_HOST_ACTION_FINISHED:
		cr_assert(w->job_runs, "a job ended twice");
		w->job_runs = false;
		w->n_done += w->job.outcome == KVP_HOST_DONE || w->job.outcome == KVP_HOST_NONE;
		if (!w->job.list)
			learn(w);
		break;
	}
}

static bool host_run(struct world *w)
{
	struct vmbus_message message;
	struct kvp_host_action action;
	struct ic_response response;
	bool did = false;
	int r;

	while (kvp_host_next_action(&w->host, &action)) {
		host_perform(w, &action);
		did = true;
	}
	if (vmbus_channel_receive(&w->host_channel, w->buf, sizeof(w->buf), &message) == 0) {
		r = ic_host_receive(&w->ic_host, w->buf, message.size, &response);
		if (r == 0)
			kvp_host_receive(&w->host, response.status, response.data, response.size);
		else if (r == IC_NEGOTIATED)
			kvp_host_open(&w->host, w->ic_host.version.major);
		did = true;
	}
	(void)!vmbus_channel_sleep(&w->host_channel);
	return did;
}

static void add_job(struct world *w, enum kvp_operation operation)
{
	struct kvp_request *q = &w->job.request;

	w->job = (struct kvp_host_job){.done_by_ns = w->now_ns + PATIENCE_S * S};
	w->job.list = operation == KVP_ENUMERATE;
	q->operation = operation;
	q->pool = KVP_POOL_EXTERNAL;
	w->key = random_below(w, KEYS);
	format_key(w->key, q->key);
	if (operation == KVP_SET) {
		w->value = ++w->n_values;
		format_value(w->value, q->value);
	}
	w->job_runs = true;
	w->n_jobs++;
	cr_assert(eq(int, kvp_host_add(&w->host, &w->job), 0));
}

static void next_job(struct world *w)
{
	static const enum kvp_operation operations[] = {KVP_SET, KVP_SET, KVP_SET, KVP_GET, KVP_GET,
							KVP_DELETE, KVP_ENUMERATE};

	add_job(w, operations[random_below(w, 7)]);
}

/* The whole. */

static void connect_ends(struct world *w)
{
	w->rings = rings_new(4 * VMBUS_PAGE_SIZE);
	rings_connect(&w->rings, &w->guest_channel, &w->host_channel);
	ic_guest_init(&w->ic_guest, &ic_service_kvp);
	ic_host_init(&w->ic_host, &w->service);
	host_negotiate(w);
}

static void close_channel(struct world *w)
{
	kvp_void(&w->kvp);
	kvp_host_close(&w->host);
	rings_free(&w->rings);
	connect_ends(w);
}

static void send_garbage(struct world *w, struct vmbus_channel *channel)
{
	uint8_t payload[100];

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)random_below(w, i % 3 ? 3 : 256);
	(void)!vmbus_channel_send(channel, 0, payload, 1 + random_below(w, sizeof(payload)));
}

static void inject(struct world *w)
{
	w->fault_at_ns = w->now_ns + random_below(w, 60 * S);
	switch (w->fault) {
	case FAULT_FREEZE:
		/* What is on its way to the disk is waited for. */
		if (!w->change.used && !w->late.used)
			w->frozen_until_ns = w->now_ns + random_below(w, 40 * S);
		break;
	case FAULT_NEGOTIATE:
		host_negotiate(w);
		break;
	case FAULT_CLOSE:
		close_channel(w);
		break;
	case FAULT_SILENT:
		w->silent_until_ns = w->now_ns + random_below(w, 90 * S);
		break;
	case FAULT_GARBAGE:
		send_garbage(w, &w->host_channel);
		send_garbage(w, &w->guest_channel);
		break;
	case FAULT_NONE:
	case FAULT_SLOW_DISK:
	case FAULTS:
		break;
	}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A time that is not over yet. */
static uint64_t later_than(const struct world *w, uint64_t t)
{
	return t > w->now_ns ? t : UINT64_MAX;
}

static uint64_t next_time(const struct world *w)
{
	uint64_t next = earlier(kvp_host_deadline_ns(&w->host), w->fault_at_ns);

	next = earlier(next, later_than(w, w->frozen_until_ns));
	next = earlier(next, later_than(w, w->silent_until_ns));
	if (w->now_ns < w->silent_until_ns)
		return next;
	next = earlier(next, kvp_deadline_ns(&w->kvp));
	next = earlier(next, w->change.used ? w->change.done_at_ns : UINT64_MAX);
	return earlier(next, w->late.used ? w->late.done_at_ns : UINT64_MAX);
}

/* Lets everything happen that is due until the job has ended. */
static void run_job(struct world *w)
{
	uint64_t limit_ns = w->job.done_by_ns;

	for (int step = 0; step < STEPS_MAX; step++) {
		uint64_t next;

		if (guest_run(w) || host_run(w))
			continue;
		if (!w->job_runs)
			return;
		next = earlier(next_time(w), limit_ns);
		w->now_ns = next > w->now_ns ? next : w->now_ns;
		if (w->now_ns >= w->fault_at_ns)
			inject(w);
		guest_tick(w);
		kvp_host_tick(&w->host, w->now_ns);
		cr_assert(le(u64, w->now_ns, limit_ns), "a job is late, seed %u", w->seed);
	}
	cr_assert(false, "the run does not end, seed %u", w->seed);
}

/* Time passes until nothing is under way. */
static void calm_down(struct world *w)
{
	w->fault_at_ns = UINT64_MAX;
	w->now_ns += 200 * S;
	guest_tick(w);
	while (guest_run(w) || host_run(w))
		;
	guest_tick(w);
}

static void check_list(struct world *w)
{
	unsigned int n = 0;

	for (size_t i = 0; i < KEYS; i++)
		n += w->disk[i] != NOTHING;
	w->n_listed = 0;
	add_job(w, KVP_ENUMERATE);
	run_job(w);
	cr_assert(eq(int, w->job.outcome, KVP_HOST_DONE), "seed %u", w->seed);
	cr_assert(eq(uint, w->n_listed, n), "seed %u", w->seed);
}

/* Returns how many of the jobs were done. */
static unsigned int exchange_round(unsigned int seed, enum fault fault)
{
	static const struct ic_version versions[] = {{5, 0}, {4, 0}, {3, 0}, {1, 0}};
	static struct world w;
	unsigned int n_done;

	w = (struct world){.seed = seed, .now_ns = S, .fault = fault, .service = ic_service_kvp};
	w.service.versions = &versions[seed % 4];
	w.service.n_versions = 1;
	w.fault_at_ns = fault == FAULT_NONE ? UINT64_MAX : w.now_ns + random_below(&w, 10 * S);
	for (size_t i = 0; i < KEYS; i++)
		w.possible[i][NOTHING] = true;
	kvp_init(&w.kvp);
	kvp_host_init(&w.host);
	connect_ends(&w);
	while (w.n_jobs < JOBS - 10) {
		next_job(&w);
		run_job(&w);
		w.now_ns += random_below(&w, S);
		if (w.now_ns >= w.fault_at_ns)
			inject(&w);
		guest_tick(&w);
	}
	n_done = w.n_done;
	calm_down(&w);
	for (size_t i = 0; i < KEYS; i++)
		cr_assert(w.possible[i][w.disk[i]], "key %zu has %u, seed %u", i, w.disk[i], seed);
	w.fault = FAULT_NONE;
	check_list(&w);
	rings_free(&w.rings);
	return n_done;
}

static unsigned int exchange_rounds(enum fault fault)
{
	unsigned int seed = base_seed(), n_done = 0;

	for (unsigned int i = 0; i < ROUNDS; i++)
		n_done += exchange_round(seed + i, fault);
	return n_done;
}

enum {
	ALL = ROUNDS * (JOBS - 10),
};

Test(kvp, everything_is_done_in_calm)
{
	cr_expect(eq(uint, exchange_rounds(FAULT_NONE), ALL));
}

Test(kvp, a_slow_disk_loses_nothing_that_was_acknowledged)
{
	cr_expect(lt(uint, exchange_rounds(FAULT_SLOW_DISK), ALL), "it was never too slow");
}

Test(kvp, nothing_is_written_while_frozen_and_what_was_refused_is_not_made)
{
	cr_expect(lt(uint, exchange_rounds(FAULT_FREEZE), ALL), "it was never frozen for too long");
}

Test(kvp, a_negotiation_at_any_time_is_got_over)
{
	cr_expect(eq(uint, exchange_rounds(FAULT_NEGOTIATE), ALL));
}

Test(kvp, a_channel_that_closes_at_any_time_loses_only_what_was_under_way)
{
	cr_expect(gt(uint, exchange_rounds(FAULT_CLOSE), ALL / 2));
}

Test(kvp, a_guest_that_stands_still_gives_no_answer_to_another_question)
{
	cr_expect(gt(uint, exchange_rounds(FAULT_SILENT), ALL / 2));
}

Test(kvp, garbage_between_the_messages_does_no_harm)
{
	cr_expect(eq(uint, exchange_rounds(FAULT_GARBAGE), ALL));
}
