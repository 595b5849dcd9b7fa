/* SPDX-License-Identifier: MIT */

/*
 * The integration services whose channel is taken away and offered again, between the guest's and the
 * host's real machines, over real framing and real rings, on virtual time. What a request is for is a
 * model: files, keys, a machine that goes down.
 *
 * Each conversation goes in steps: one message is read, or one thing is done. It is run again and again,
 * and each time the channel goes one step later, until it has gone at every step; then it is offered
 * again, at once or after a while, as after a restore, and the host wants what it wanted. Or the host only
 * negotiates anew, on the same channel, as OpenVMM does after a restore. What must hold: in the end all
 * is done, and nothing twice that must not be; no answer of the old channel is taken for one of the new.
 * Backup is in test-vss.c, dynamic memory in test-dynmem.c.
 */

#include "host/fcopy_host.h"
#include "host/heartbeat_host.h"
#include "host/kvp_host.h"
#include "host/shutdown_host.h"
#include "host/timesync_host.h"
#include "services/fcopy.h"
#include "services/heartbeat.h"
#include "services/kvp.h"
#include "services/shutdown.h"
#include "services/timesync.h"
#include "tests/unit/rings.h"
#include "vmbus/ic.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

enum {
	RING_SIZE = 8 * VMBUS_PAGE_SIZE,
	STEPS_MAX = 5000, /* more means that it does not end */
	BEATS = 4,
	SAMPLES = 3,
	JOBS = 7,
	FILE_SIZE = 2 * FCOPY_FRAGMENT_MAX + 100,
};

/* What the host does to the channel. */
enum how {
	AT_ONCE,     /* rescinded, and offered again */
	A_WHILE,     /* the same, but in between the guest has none */
	IN_PLACE,    /* negotiated anew */
	N_HOWS,
};

struct world {
	const struct talk *talk;
	uint64_t now_ns;
	bool connected;
	uint64_t offered_ns; /* not connected: when the channel is offered again */
	bool is_away;        /* and that is a while */
	struct rings rings;
	struct vmbus_channel guest_channel, host_channel;
	struct ic_guest guest;
	struct ic_host host;
	uint8_t buf[IC_PAYLOAD_MAX];
	uint64_t opened;     /* channels, or agreements on one */
};

/* A service: what its two binders do. Each function does one thing at most, and says whether it did. */
struct talk {
	const char *name;
	const struct ic_service *service;
	void (*begin)(void);
	void (*guest_asked)(struct world *w, uint8_t *message, size_t size);
	bool (*guest_works)(struct world *w);
	void (*guest_lost)(struct world *w);
	void (*host_ready)(struct world *w);
	void (*host_answered)(struct world *w, const struct ic_response *response);
	void (*host_lost)(struct world *w);
	bool (*host_works)(struct world *w);
	/* What holds when the guest has had no channel for a while. */
	void (*check_alone)(const struct world *w);
	bool (*is_done)(const struct world *w);
	void (*check)(const struct world *w);
};

/* As daemon/ic_channel.c: an answer to what is void goes nowhere. */
static void answer(struct world *w, uint32_t status)
{
	if (!w->guest.open)
		return;
	ic_guest_answer(&w->guest, status);
	cr_assert(eq(int, vmbus_channel_send(&w->guest_channel, w->guest.trans_id, w->guest.buf,
					     w->guest.size), 0));
}

/* As host/ic_client.c: false if the guest does not take it now. */
static bool ask(struct world *w, const void *message, size_t size)
{
	uint8_t packet[IC_PAYLOAD_MAX];
	size_t n;

	if (!w->connected || !w->host.negotiated)
		return false;
	cr_assert(eq(int, ic_host_request(&w->host, message, size, packet, sizeof(packet), &n), 0));
	cr_assert(eq(int, vmbus_channel_send(&w->host_channel, 0, packet, n), 0));
	return true;
}

static void negotiate(struct world *w)
{
	uint8_t packet[1024];
	size_t n;

	cr_assert(eq(int, ic_host_negotiate(&w->host, packet, sizeof(packet), &n), 0));
	cr_assert(eq(int, vmbus_channel_send(&w->host_channel, 0, packet, n), 0));
}

static void offer(struct world *w)
{
	w->rings = rings_new(RING_SIZE);
	rings_connect(&w->rings, &w->guest_channel, &w->host_channel);
	ic_guest_init(&w->guest, w->talk->service);
	ic_host_init(&w->host, w->talk->service);
	w->connected = true;
	negotiate(w);
}

static void take_away(struct world *w)
{
	cr_expect(eq(u64, w->host.stats.unexpected + w->host.stats.malformed, 0), "%s", w->talk->name);
	cr_expect(eq(u64, w->guest.stats.unexpected + w->guest.stats.malformed, 0), "%s", w->talk->name);
	rings_free(&w->rings);
	w->connected = false;
	w->guest.open = w->guest.negotiated = false;
	w->host.waiting = w->host.negotiated = false;
	w->talk->host_lost(w);
	w->talk->guest_lost(w);
}

static void disturb(struct world *w, enum how how)
{
	switch (how) {
	case AT_ONCE:
	case A_WHILE:
		if (!w->connected)
			return;
		take_away(w);
		w->is_away = how == A_WHILE;
		w->offered_ns = w->now_ns + (w->is_away ? 100 * S : 0);
		break;
	case IN_PLACE:
		w->talk->host_lost(w);
		negotiate(w);
		break;
	case N_HOWS:
		break;
	}
}

static bool guest_reads(struct world *w)
{
	uint64_t negotiations = w->guest.stats.negotiations;
	struct vmbus_message message;
	uint8_t *data;
	size_t size;
	int r;

	if (!w->connected ||
	    vmbus_channel_receive(&w->guest_channel, w->buf, sizeof(w->buf), &message))
		return false;
	r = ic_guest_receive(&w->guest, w->buf, message.size, message.trans_id);
	if (r == 0) {
		data = ic_guest_data(&w->guest, &size);
		w->talk->guest_asked(w, data, size);
		return true;
	}
	cr_assert(eq(int, r, IC_ANSWER));
	cr_assert(eq(int, vmbus_channel_send(&w->guest_channel, w->guest.trans_id, w->guest.buf,
					     w->guest.size), 0));
	if (w->guest.stats.negotiations != negotiations)
		w->talk->guest_lost(w);
	return true;
}

static bool host_reads(struct world *w)
{
	struct ic_response response;
	struct vmbus_message message;

	if (!w->connected ||
	    vmbus_channel_receive(&w->host_channel, w->buf, sizeof(w->buf), &message))
		return false;
	switch (ic_host_receive(&w->host, w->buf, message.size, &response)) {
	case 0:
		w->talk->host_answered(w, &response);
		break;
	case IC_NEGOTIATED:
		w->opened++;
		w->talk->host_ready(w);
		break;
	case IC_UNEXPECTED: /* the answer to what was asked before a negotiation */
		break;
	default:
		cr_assert(false, "%s: the host does not understand the guest", w->talk->name);
	}
	return true;
}

static bool is_offered(struct world *w)
{
	if (w->connected || w->now_ns < w->offered_ns)
		return false;
	if (w->is_away)
		w->talk->check_alone(w);
	w->is_away = false;
	offer(w);
	return true;
}

/* One thing happens; if there is nothing to do, time passes. */
static void step(struct world *w)
{
	if (is_offered(w) || guest_reads(w) || w->talk->guest_works(w) || host_reads(w) ||
	    w->talk->host_works(w))
		return;
	w->now_ns += S / 4;
}

/* True if there was a step @at; the channel goes there. */
static bool converse(const struct talk *talk, int at, enum how how)
{
	static struct world w;
	int n = 0;

	w = (struct world){.talk = talk, .now_ns = S};
	talk->begin();
	offer(&w);
	while (!talk->is_done(&w) && n < STEPS_MAX) {
		if (n++ == at)
			disturb(&w, how);
		step(&w);
	}
	cr_assert(lt(int, n, STEPS_MAX), "%s: it does not end; taken away at step %d", talk->name, at);
	talk->check(&w);
	if (w.connected)
		rings_free(&w.rings);
	return at < n;
}

static void take_away_at_each_step(const struct talk *talk)
{
	for (enum how how = AT_ONCE; how < N_HOWS; how++) {
		int at = 0;

		while (converse(talk, at, how))
			at++;
		cr_expect(gt(int, at, 12), "%s has more steps than %d", talk->name, at);
	}
}

static void ignore(struct world *w)
{
	(void)w;
}

static void check_nothing(const struct world *w)
{
	(void)w;
}

static bool rests(struct world *w)
{
	(void)w;
	return false;
}

/* --- heartbeat */

static struct {
	struct heartbeat guest;
	struct heartbeat_host host;
} beat;

static void beat_begin(void)
{
	heartbeat_init(&beat.guest);
	heartbeat_host_init(&beat.host);
}

static void beat_asked(struct world *w, uint8_t *message, size_t size)
{
	cr_expect(eq(int, heartbeat_answer(&beat.guest, message, size, w->now_ns), 0));
	answer(w, IC_S_OK);
}

static void beat_ready(struct world *w)
{
	heartbeat_host_start(&beat.host, w->now_ns);
}

static void beat_answered(struct world *w, const struct ic_response *response)
{
	cr_expect(eq(int, heartbeat_host_receive(&beat.host, response->data, response->size, w->now_ns), 0));
}

static void beat_lost(struct world *w)
{
	(void)w;
	heartbeat_host_stop(&beat.host);
}

static bool beat_works(struct world *w)
{
	struct heartbeat_host_action action;

	heartbeat_host_tick(&beat.host, w->now_ns);
	return heartbeat_host_next_action(&beat.host, w->now_ns, &action) == 0 &&
	       ask(w, action.message, sizeof(action.message));
}

static void beat_alone(const struct world *w)
{
	(void)w;
	cr_expect(eq(u64, beat.host.missed, 0), "nobody is missed who cannot be asked");
}

static bool beat_done(const struct world *w)
{
	(void)w;
	return beat.host.answered >= BEATS;
}

static void beat_check(const struct world *w)
{
	(void)w;
	cr_expect(eq(u64, beat.host.wrong + beat.host.malformed + beat.host.unexpected, 0));
	cr_expect(eq(u64, beat.guest.malformed, 0));
}

Test(reoffer, heartbeats_go_on_wherever_the_channel_went)
{
	static const struct talk talk = {
		"heartbeat", &ic_service_heartbeat, beat_begin, beat_asked, rests, ignore, beat_ready,
		beat_answered, beat_lost, beat_works, beat_alone, beat_done, beat_check,
	};

	take_away_at_each_step(&talk);
}

/* --- shutdown: what was accepted goes on, whatever becomes of the channel */

static struct {
	struct shutdown guest;
	struct shutdown_host host;
	bool due;
	int went_down;
} down;

static void down_begin(void)
{
	shutdown_init(&down.guest, true);
	shutdown_host_init(&down.host);
	down.due = false;
	down.went_down = 0;
}

static void down_asked(struct world *w, uint8_t *message, size_t size)
{
	int r = shutdown_receive(&down.guest, message, size, w->guest.version.major,
				 w->guest.version.minor);

	cr_expect(r == 0 || r == SHUTDOWN_REPEATED);
	answer(w, IC_S_OK);
	down.due |= r == 0;
}

static bool down_guest_works(struct world *w)
{
	bool did = down.due;

	(void)w;
	down.went_down += down.due;
	down.due = false;
	return did;
}

static void down_answered(struct world *w, const struct ic_response *response)
{
	(void)w;
	shutdown_host_receive(&down.host, response->status);
}

static void down_lost(struct world *w)
{
	(void)w;
	shutdown_host_close(&down.host);
}

/* The administrator asks for a power off, some seconds after the start, until it is accepted. */
static bool down_works(struct world *w)
{
	uint8_t message[SHUTDOWN_MESSAGE_SIZE];

	shutdown_host_tick(&down.host, w->now_ns);
	if (down.host.state == SHUTDOWN_HOST_ACCEPTED || !w->host.negotiated || w->now_ns < 3 * S ||
	    shutdown_host_ask(&down.host, 0, "power", w->host.version.major, w->host.version.minor,
			      w->now_ns, message))
		return false;
	return ask(w, message, sizeof(message));
}

static bool down_done(const struct world *w)
{
	return down.host.state == SHUTDOWN_HOST_ACCEPTED && !down.due && w->connected;
}

static void down_check(const struct world *w)
{
	(void)w;
	cr_expect(eq(int, down.went_down, 1), "asked twice, done once");
}

Test(reoffer, a_machine_goes_down_once_wherever_the_channel_went)
{
	static const struct talk talk = {
		"shutdown", &ic_service_shutdown, down_begin, down_asked, down_guest_works, ignore,
		ignore, down_answered, down_lost, down_works, check_nothing, down_done, down_check,
	};

	take_away_at_each_step(&talk);
}

/* --- time */

static struct {
	struct timesync guest;
	struct timesync_host host;
	uint64_t steps_asked; /* that the guest has heard */
	uint64_t opened;      /* the agreement on which the last one came */
	uint64_t samples;     /* since */
} clocks;

static void time_begin(void)
{
	timesync_init(&clocks.guest, TIMESYNC_MODE_STEP);
	timesync_host_init(&clocks.host);
	clocks.steps_asked = clocks.opened = clocks.samples = 0;
}

static void time_asked(struct world *w, uint8_t *message, size_t size)
{
	const struct timesync_reading reading = {
		.real_ns = INT64_C(1800000000000000000) + (int64_t)w->now_ns,
		.raw_ns = w->now_ns,
	};
	struct timesync_action action;
	int r = timesync_receive(&clocks.guest, message, size, w->guest.version.major, &reading, &action);

	cr_expect(eq(int, r, 0));
	clocks.steps_asked += action.asked;
	answer(w, IC_S_OK);
}

static void time_guest_lost(struct world *w)
{
	(void)w;
	timesync_reset(&clocks.guest);
}

static void time_ready(struct world *w)
{
	clocks.samples = 0;
	timesync_host_start(&clocks.host, w->now_ns);
}

static void time_answered(struct world *w, const struct ic_response *response)
{
	timesync_host_receive(&clocks.host, response->status, w->now_ns);
	clocks.samples++;
	clocks.opened = w->opened;
}

static void time_host_lost(struct world *w)
{
	(void)w;
	timesync_host_stop(&clocks.host);
}

static bool time_works(struct world *w)
{
	const struct timesync_host_clock clock = {
		.now_ns = w->now_ns,
		.real_ns = INT64_C(1800000000000000000) + (int64_t)w->now_ns,
		.reference = w->now_ns / 100,
	};
	struct timesync_host_action action;

	timesync_host_tick(&clocks.host, w->now_ns);
	return timesync_host_next_action(&clocks.host, w->host.version.major, &clock, &action) == 0 &&
	       ask(w, action.message, action.size);
}

static bool time_done(const struct world *w)
{
	return clocks.opened == w->opened && clocks.samples >= SAMPLES;
}

/* Of each agreement on which anything was answered, the first message asked for a step. */
static void time_check(const struct world *w)
{
	cr_expect(ge(u64, clocks.steps_asked, 1));
	cr_expect(le(u64, clocks.steps_asked, w->opened));
	cr_expect(eq(u64, clocks.host.refused + clocks.host.unexpected, 0));
	cr_expect(eq(u64, clocks.guest.malformed, 0));
}

Test(reoffer, the_guest_is_told_the_time_anew_wherever_the_channel_went)
{
	static const struct talk talk = {
		"timesync", &ic_service_timesync, time_begin, time_asked, rests, time_guest_lost, time_ready,
		time_answered, time_host_lost, time_works, check_nothing, time_done, time_check,
	};

	take_away_at_each_step(&talk);
}

/* --- keys and addresses: seven jobs, each of which the administrator repeats until it is done */

static struct {
	struct kvp guest;
	struct kvp_host host;
	char a[16], b[16];  /* the keys of the pool; empty: not there */
	bool busy;          /* something is written, whatever becomes of the channel: */
	struct kvp_request writing;
	uint64_t serial;
	bool setting_ip;    /* likewise */
	struct kvp_ip_info new_ip, ip; /* of the adapter */
	struct kvp_ip_info seen_ip;    /* as the host was told */
	uint64_t ip_serial;
	struct kvp_host_job job;
	bool has_job;
	int job_no;         /* of the present one; JOBS: all are done */
	unsigned int entries; /* of the list */
} keys;

static void keys_begin(void)
{
	memset(&keys, 0, sizeof(keys));
	kvp_init(&keys.guest);
	kvp_host_init(&keys.host);
	kvp_host_negotiating(&keys.host);
}

static char *value_of(const char *key)
{
	return strcmp(key, "a") == 0 ? keys.a : keys.b;
}

static enum kvp_result read_key(const struct kvp_request *q, struct kvp_request *ret_answer)
{
	const char *key = q->operation == KVP_GET ? q->key : (q->index == 0) == (keys.a[0] != '\0') ? "a" : "b";

	memset(ret_answer, 0, sizeof(*ret_answer));
	if (!value_of(key)[0] || (q->operation == KVP_ENUMERATE && q->index > (keys.a[0] != '\0')))
		return KVP_NONE;
	strcpy(ret_answer->key, key);
	strcpy(ret_answer->value, value_of(key));
	return KVP_DONE;
}

/* One change of addresses at a time, as daemon/ip_injection.c. */
static void set_ip(uint64_t serial)
{
	if (keys.setting_ip) {
		kvp_complete(&keys.guest, serial, KVP_FAILED, NULL);
		return;
	}
	keys.setting_ip = true;
	keys.new_ip = keys.guest.request.ip;
	keys.ip_serial = serial;
}

static void keys_perform(struct world *w)
{
	struct kvp_request found;
	struct kvp_action action;
	uint8_t *message;
	size_t size;

	while (kvp_next_action(&keys.guest, &action)) {
		switch (action.type) {
		case KVP_ACTION_READ:
			kvp_complete(&keys.guest, action.serial, read_key(&keys.guest.request, &found), &found);
			break;
		case KVP_ACTION_WRITE:
			cr_assert(not(keys.busy), "the store makes one change after the other");
			keys.busy = true;
			keys.writing = keys.guest.request;
			keys.serial = action.serial;
			break;
		case KVP_ACTION_ANSWER:
			message = ic_guest_data(&w->guest, &size);
			cr_assert(w->guest.open, "an answer to nothing");
			kvp_apply_answer(&keys.guest, &action, message, size);
			answer(w, action.status);
			break;
		case KVP_ACTION_GET_IP:
			memset(&found, 0, sizeof(found));
			found.ip = keys.ip;
			kvp_complete(&keys.guest, action.serial, KVP_DONE, &found);
			break;
		case KVP_ACTION_SET_IP:
			set_ip(action.serial);
			break;
		case KVP_ACTION_WITHDRAW:
		case KVP_ACTION_NOTE:
			cr_assert(false, "nothing of that was asked for");
		}
	}
}

/* The store takes as long as it likes, but changes are made in order. */
static bool keys_guest_works(struct world *w)
{
	if (keys.setting_ip) {
		keys.setting_ip = false;
		keys.ip = keys.new_ip;
		kvp_complete(&keys.guest, keys.ip_serial, KVP_DONE, NULL);
		keys_perform(w);
		return true;
	}
	if (!keys.busy)
		return false;
	keys.busy = false;
	strcpy(value_of(keys.writing.key),
	       keys.writing.operation == KVP_DELETE ? "" : keys.writing.value);
	kvp_complete(&keys.guest, keys.serial, KVP_DONE, NULL);
	keys_perform(w);
	return true;
}

static void keys_asked(struct world *w, uint8_t *message, size_t size)
{
	if (keys.busy) /* of a channel that is gone */
		(void)keys_guest_works(w);
	kvp_receive(&keys.guest, KVP_FORM_BINARY, message, size, w->now_ns);
	keys_perform(w);
}

static void keys_guest_lost(struct world *w)
{
	kvp_void(&keys.guest);
	keys_perform(w);
}

static bool keys_host_perform(struct world *w)
{
	uint8_t message[KVP_IP_MESSAGE_SIZE];
	struct kvp_host_action action;
	bool did = false;
	size_t size;

	while (kvp_host_next_action(&keys.host, &action)) {
		did = true;
		switch (action.type) {
		case KVP_HOST_ACTION_SEND:
			kvp_host_write(&keys.host, message, &size);
			if (!ask(w, message, size))
				kvp_host_not_sent(&keys.host);
			break;
		case KVP_HOST_ACTION_NEGOTIATE:
			cr_assert(false, "a guest that answers is not asked to negotiate");
			break;
		case KVP_HOST_ACTION_ENTRY:
			if (action.job->request.operation == KVP_GET_IP)
				keys.seen_ip = action.job->answer.ip;
			else
				keys.entries++;
			break;
		case KVP_HOST_ACTION_FINISHED:
			keys.has_job = false;
			cr_expect(action.job->outcome == KVP_HOST_DONE ||
				  action.job->outcome == KVP_HOST_LOST ||
				  action.job->request.operation == KVP_SET_IP,
				  "%s", kvp_host_outcome_name(action.job->outcome));
			keys.job_no += action.job->outcome == KVP_HOST_DONE;
			break;
		}
	}
	return did;
}

static void keys_ready(struct world *w)
{
	kvp_host_open(&keys.host, w->host.version.major);
	(void)keys_host_perform(w);
}

static void keys_answered(struct world *w, const struct ic_response *response)
{
	kvp_host_receive(&keys.host, response->status, response->data, response->size);
	(void)keys_host_perform(w);
}

static void keys_host_lost(struct world *w)
{
	kvp_host_close(&keys.host);
	(void)keys_host_perform(w);
	kvp_host_negotiating(&keys.host);
}

static void give_address(struct kvp_ip_info *ip)
{
	ip->family = KVP_FAMILY_IPV4;
	ip->n_addresses = 1;
	ip->addresses[0].address.family = KVP_FAMILY_IPV4;
	memcpy(ip->addresses[0].address.bytes, (const uint8_t[]){192, 0, 2, 7}, 4);
	ip->addresses[0].prefix = 24;
}

static bool keys_works(struct world *w)
{
	static const struct {
		enum kvp_operation operation;
		const char *key, *value;
	} jobs[JOBS] = {
		{KVP_SET, "a", "1"},   {KVP_SET, "b", "2"}, {KVP_ENUMERATE, "", ""},
		{KVP_DELETE, "b", ""}, {KVP_GET, "a", ""}, {KVP_SET_IP, "", ""}, {KVP_GET_IP, "", ""},
	};

	if (keys.has_job || keys.job_no == JOBS || !w->host.negotiated)
		return false;
	keys.job = (struct kvp_host_job){
		.list = jobs[keys.job_no].operation == KVP_ENUMERATE,
		.request = {.operation = jobs[keys.job_no].operation, .pool = KVP_POOL_EXTERNAL},
		.done_by_ns = w->now_ns + 1000 * S,
	};
	strcpy(keys.job.request.key, jobs[keys.job_no].key);
	strcpy(keys.job.request.value, jobs[keys.job_no].value);
	strcpy(keys.job.request.ip.adapter, "00:15:5D:01:02:0A");
	if (jobs[keys.job_no].operation == KVP_SET_IP)
		give_address(&keys.job.request.ip);
	keys.entries = keys.job.list ? 0 : keys.entries;
	keys.has_job = true;
	cr_assert(eq(int, kvp_host_add(&keys.host, &keys.job), 0));
	return keys_host_perform(w);
}

static void keys_alone(const struct world *w)
{
	(void)w;
	cr_expect(eq(int, keys.guest.state, KVP_IDLE));
	cr_expect(not(keys.busy || keys.setting_ip), "what was begun is done");
}

static bool keys_done(const struct world *w)
{
	(void)w;
	return keys.job_no == JOBS;
}

static void keys_check(const struct world *w)
{
	(void)w;
	cr_expect(eq(str, keys.a, "1"));
	cr_expect(eq(str, keys.b, ""));
	cr_expect(ge(u32, keys.entries, 2));
	cr_expect(eq(sz, keys.seen_ip.n_addresses, 1));
	cr_expect(eq(int, memcmp(&keys.seen_ip.addresses[0].address, &keys.ip.addresses[0].address,
				 sizeof(keys.ip.addresses[0].address)), 0));
	cr_expect(eq(int, keys.seen_ip.addresses[0].prefix, 24));
	cr_expect(eq(u64, keys.host.stray_answers, 0));
	cr_expect(eq(u64, keys.host.renegotiations, 0));
}

Test(reoffer, keys_are_what_was_set_wherever_the_channel_went)
{
	static const struct talk talk = {
		"kvp", &ic_service_kvp, keys_begin, keys_asked, keys_guest_works, keys_guest_lost, keys_ready,
		keys_answered, keys_host_lost, keys_works, keys_alone, keys_done, keys_check,
	};

	take_away_at_each_step(&talk);
}

/* --- file copy: one file, which is copied again until it is there */

static struct {
	struct fcopy guest;
	struct fcopy_host host;
	enum fcopy_action_type due; /* if busy */
	bool busy;
	bool has_part, has_file;
	uint8_t part[FILE_SIZE], file[FILE_SIZE], source[FILE_SIZE];
	size_t part_bytes;
	bool is_copying, is_copied;
} copy;

static void copy_begin(void)
{
	memset(&copy, 0, sizeof(copy));
	for (size_t i = 0; i < FILE_SIZE; i++)
		copy.source[i] = (uint8_t)(i * 31 + i / 256);
	fcopy_init(&copy.guest, FCOPY_UTF16);
	fcopy_host_init(&copy.host);
}

static void copy_perform(struct world *w)
{
	struct fcopy_action action;

	while (fcopy_next_action(&copy.guest, &action)) {
		switch (action.type) {
		case FCOPY_ACTION_OPEN:
		case FCOPY_ACTION_FINISH:
		case FCOPY_ACTION_DISCARD:
			/* A discard may come while the opening or the end is still being worked on. */
			copy.due = action.type;
			copy.busy = true;
			break;
		case FCOPY_ACTION_DATA:
			cr_assert(copy.part_bytes + copy.guest.data.size <= FILE_SIZE);
			memcpy(copy.part + copy.part_bytes, copy.guest.data.data, copy.guest.data.size);
			copy.part_bytes += copy.guest.data.size;
			fcopy_taken(&copy.guest, w->now_ns);
			break;
		case FCOPY_ACTION_ANSWER:
			answer(w, action.status);
			break;
		case FCOPY_ACTION_NOTE:
			break;
		}
	}
}

static bool copy_guest_works(struct world *w)
{
	if (!copy.busy)
		return false;
	copy.busy = false;
	switch (copy.due) {
	case FCOPY_ACTION_OPEN:
		copy.has_part = true;
		copy.part_bytes = 0;
		fcopy_opened(&copy.guest, FCOPY_OK, w->now_ns);
		break;
	case FCOPY_ACTION_FINISH:
		memcpy(copy.file, copy.part, FILE_SIZE);
		copy.has_part = false;
		copy.has_file = true;
		fcopy_finished(&copy.guest, FCOPY_OK, w->now_ns);
		break;
	case FCOPY_ACTION_DISCARD:
		copy.has_part = false;
		fcopy_discarded(&copy.guest, w->now_ns);
		break;
	case FCOPY_ACTION_DATA:
	case FCOPY_ACTION_ANSWER:
	case FCOPY_ACTION_NOTE:
		break;
	}
	copy_perform(w);
	return true;
}

static void copy_asked(struct world *w, uint8_t *message, size_t size)
{
	fcopy_receive(&copy.guest, message, size, w->now_ns);
	copy_perform(w);
}

static void copy_guest_lost(struct world *w)
{
	fcopy_abort(&copy.guest, FCOPY_LOST, w->now_ns);
	copy_perform(w);
}

static bool copy_host_perform(struct world *w)
{
	uint8_t message[FCOPY_WRITE_SIZE];
	struct fcopy_host_action action;
	bool did = false;

	while (fcopy_host_next_action(&copy.host, &action)) {
		did = true;
		switch (action.type) {
		case FCOPY_HOST_SEND:
			cr_assert(ask(w, message, fcopy_host_message(&copy.host, &action,
								     copy.source + action.offset, message)));
			break;
		case FCOPY_HOST_RESET:
			cr_assert(false, "a guest that answers is not asked to negotiate");
			break;
		case FCOPY_HOST_ENDED:
			copy.is_copying = false;
			copy.is_copied = action.result == FCOPY_HOST_DONE;
			cr_expect(copy.is_copied || action.result == FCOPY_HOST_LOST);
			break;
		}
	}
	return did;
}

static void copy_answered(struct world *w, const struct ic_response *response)
{
	fcopy_host_receive(&copy.host, response->status, w->now_ns);
	(void)copy_host_perform(w);
}

static void copy_host_lost(struct world *w)
{
	fcopy_host_close(&copy.host);
	(void)copy_host_perform(w);
}

static bool copy_works(struct world *w)
{
	if (copy.is_copying || copy.is_copied || !w->host.negotiated)
		return false;
	copy.is_copying = true;
	cr_assert(eq(int, fcopy_host_start(&copy.host, "/srv", "file", FCOPY_FLAG_OVERWRITE, FILE_SIZE,
					   FCOPY_FAULT_NONE, 0, w->now_ns), 0));
	return copy_host_perform(w);
}

static void copy_alone(const struct world *w)
{
	(void)w;
	cr_expect(not(copy.has_part), "nothing is left of a copy that was lost");
	cr_expect(eq(int, copy.guest.state, FCOPY_IDLE));
	cr_expect(not(copy.is_copying), "and the host knows it");
}

static bool copy_done(const struct world *w)
{
	(void)w;
	return copy.is_copied;
}

static void copy_check(const struct world *w)
{
	(void)w;
	cr_expect(copy.has_file);
	cr_expect(not(copy.has_part), "nothing is left of a copy that was lost");
	cr_expect(eq(int, memcmp(copy.file, copy.source, FILE_SIZE), 0));
	cr_expect(eq(u64, copy.guest.stats.stray_completions, 0));
}

Test(reoffer, a_file_arrives_whole_wherever_the_channel_went)
{
	static const struct talk talk = {
		"fcopy", &ic_service_fcopy, copy_begin, copy_asked, copy_guest_works, copy_guest_lost, ignore,
		copy_answered, copy_host_lost, copy_works, copy_alone, copy_done, copy_check,
	};

	take_away_at_each_step(&talk);
}
