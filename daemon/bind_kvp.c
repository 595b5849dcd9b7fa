/* SPDX-License-Identifier: MIT */

/*
 * Key-value exchange, bound to the world.
 *
 * The machine (services/kvp) says what a host may have; the store has the pools, ip_injection the
 * network; the channel, or the kernel's device in its place, carries what the host asks and what it is
 * answered. A change is answered when the store says that it is durable.
 *
 * While anything is frozen or about to be, the store writes nothing and the machine gives out nothing
 * that would: both are told by the snapshot. What the host reads is in memory, and goes on.
 *
 * A backup's receipt is published in short for the host, when it is there: that is after the thaw.
 */

#include "daemon/bind_kvp.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/log.h"
#include "daemon/bind_kvp_keys.h"
#include "daemon/device_link.h"
#include "daemon/ic_channel.h"
#include "daemon/ip_injection.h"
#include "services/kvp.h"
#include "services/kvp_device.h"

#include <stdio.h>
#include <string.h>

enum {
	/* The kernel waits for 30 s (HV_UTIL_TIMEOUT), the machine for less. */
	DEVICE_LIMIT_S = 28,
};

/* A change on its way to the disk. */
struct writing {
	struct kvp_change change;
	struct bind_kvp *binding;
	struct writing *next;
	uint64_t serial; /* of the host's request; 0: it is ours */
};

struct bind_kvp {
	struct event_base *base;
	const struct config *config;
	struct snapshot *snapshot;
	struct kvp_store *store;
	struct bind_kvp_keys *keys;
	struct ip_injection *ip;
	struct ic_channel channel;
	struct device_link *device; /* in place of the channel, with a stock kernel; or NULL */
	struct kvp core;
	struct kvp_walk walks[KVP_POOLS];
	struct event *timer;
	struct writing *writings;
	uint64_t ip_serial; /* of the request that sets addresses */
	uint64_t not_published;
};

static void perform(struct bind_kvp *b);

/* Changes. */

static void forget_writing(struct writing *w)
{
	struct writing **p = &w->binding->writings;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	free(w);
}

static struct writing *new_writing(struct bind_kvp *b)
{
	struct writing *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->binding = b;
	w->next = b->writings;
	b->writings = w;
	return w;
}

static enum kvp_result result_of_store(int r)
{
	switch (r) {
	case 0:
		return KVP_DONE;
	case KVP_STORE_NONE:
		return KVP_NONE;
	case KVP_STORE_FULL:
		return KVP_FULL;
	default:
		return KVP_FAILED;
	}
}

static void on_written(struct kvp_change *change, int r)
{
	struct writing *w = container_of(change, struct writing, change);
	struct bind_kvp *b = w->binding;

	kvp_complete(&b->core, w->serial, result_of_store(r), NULL);
	forget_writing(w);
	perform(b);
}

static void do_write(struct bind_kvp *b, uint64_t serial)
{
	const struct kvp_request *q = &b->core.request;
	struct writing *w = new_writing(b);

	if (!w) {
		kvp_complete(&b->core, serial, KVP_FAILED, NULL);
		return;
	}
	w->serial = serial;
	w->change.pool = q->pool;
	w->change.remove = q->operation == KVP_DELETE;
	memcpy(w->change.entry.key, q->key, sizeof(q->key));
	memcpy(w->change.entry.value, q->value, sizeof(q->value));
	w->change.done = on_written;
	kvp_store_submit(b->store, &w->change);
}

static void do_withdraw(struct bind_kvp *b, uint64_t serial)
{
	for (struct writing *w = b->writings; w; w = w->next) {
		if (w->serial != serial)
			continue;
		if (kvp_store_withdraw(b->store, &w->change))
			forget_writing(w);
		else
			log_warning("kvp: the disk is slow: the host was told that '%s' was not %s, and it "
				    "may still be",
				    w->change.entry.key, w->change.remove ? "deleted" : "set");
		return;
	}
}

/* Reading. */

static void do_read(struct bind_kvp *b, uint64_t serial)
{
	const struct kvp_request *q = &b->core.request;
	struct kvp_request answer;
	struct kvp_entry entry;
	int r;

	kvp_request_clear(&answer);
	if (q->operation == KVP_GET) {
		r = kvp_store_get(b->store, q->pool, q->key, answer.value);
	} else {
		r = kvp_store_nth(b->store, q->pool, q->index, &b->walks[q->pool], &entry);
		if (r == 0) {
			strcpy(answer.key, entry.key);
			strcpy(answer.value, entry.value);
		}
	}
	kvp_complete(&b->core, serial, result_of_store(r), &answer);
}

/* Addresses. */

static enum kvp_result result_of_ip(int r)
{
	switch (r) {
	case 0:
		return KVP_DONE;
	case IP_INJECTION_OFF:
	case IP_INJECTION_UNMANAGED:
		return KVP_UNABLE;
	case IP_INJECTION_NO_ADAPTER:
		return KVP_NO_ADAPTER;
	case IP_INJECTION_INVALID:
		return KVP_REFUSED;
	default:
		return KVP_FAILED;
	}
}

static void do_get_ip(struct bind_kvp *b, uint64_t serial)
{
	struct kvp_request answer = {0};
	int r = ip_injection_get(b->ip, b->core.request.ip.adapter, &answer.ip);

	kvp_complete(&b->core, serial, result_of_ip(r), &answer);
}

static void on_ip_set(void *self, int r)
{
	struct bind_kvp *b = self;

	kvp_complete(&b->core, b->ip_serial, result_of_ip(r), NULL);
	perform(b);
}

static void do_set_ip(struct bind_kvp *b, uint64_t serial)
{
	int r = ip_injection_set(b->ip, &b->core.request.ip, on_ip_set, b);

	if (r == 0)
		b->ip_serial = serial;
	else
		kvp_complete(&b->core, serial, result_of_ip(r), NULL);
}

/* The machine. */

static void do_answer(struct bind_kvp *b, const struct kvp_action *action)
{
	uint8_t answer[KVP_DEVICE_MESSAGE_SIZE];
	uint8_t *message;
	size_t size;

	if (b->device) {
		kvp_apply_answer(&b->core, action, answer, sizeof(answer));
		(void)!device_link_answer(b->device, answer, sizeof(answer));
		return;
	}
	message = ic_channel_request(&b->channel, &size);
	if (!message)
		return;
	kvp_apply_answer(&b->core, action, message, size);
	ic_channel_answer(&b->channel, action->status);
}

/* What a host could make us say as often as it likes is said once. */
static void tell_note(const struct bind_kvp *b, const struct kvp_action *action)
{
	const struct kvp_request *q = &b->core.request;

	if (b->core.stats.notes[action->note] != 1)
		return;
	switch (action->note) {
	case KVP_NOTE_FAULT:
		log_notice("kvp: the host's request (%s) is refused: %s",
			   kvp_operation_name(action->operation), kvp_fault_name(action->fault));
		break;
	case KVP_NOTE_DENIED:
		log_notice("kvp: the host may not change the pool %s: its own are external and "
			   "auto-external",
			   kvp_pool_name(q->pool));
		break;
	case KVP_NOTE_OVERTAKEN:
		log_notice("kvp: the host asks on without waiting for its answer");
		break;
	case KVP_NOTE_LATE:
		log_warning("kvp: the host was answered with failure because a request (%s) took so "
			    "long: see whether the disk of %s is slow",
			    kvp_operation_name(action->operation), b->config->kvp_dir);
		break;
	case KVP_NOTE_LOCKED:
		log_notice("kvp: the host's request (%s) is refused: file systems are frozen for so long",
			   kvp_operation_name(action->operation));
		break;
	case KVP_NOTES:
		break;
	}
}

static void perform_one(struct bind_kvp *b, const struct kvp_action *action)
{
	switch (action->type) {
	case KVP_ACTION_READ:
		do_read(b, action->serial);
		break;
	case KVP_ACTION_WRITE:
		do_write(b, action->serial);
		break;
	case KVP_ACTION_GET_IP:
		do_get_ip(b, action->serial);
		break;
	case KVP_ACTION_SET_IP:
		do_set_ip(b, action->serial);
		break;
	case KVP_ACTION_WITHDRAW:
		do_withdraw(b, action->serial);
		break;
	case KVP_ACTION_ANSWER:
		do_answer(b, action);
		break;
	case KVP_ACTION_NOTE:
		tell_note(b, action);
		break;
	}
}

static void perform(struct bind_kvp *b)
{
	struct kvp_action action;

	while (kvp_next_action(&b->core, &action))
		perform_one(b, &action);
	timer_set(b->timer, kvp_deadline_ns(&b->core));
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct bind_kvp *b = user;

	(void)fd;
	(void)what;
	kvp_tick(&b->core, clock_monotonic_ns());
	perform(b);
}

/* The ways to the host. */

static void on_request(void *self, uint8_t *message, size_t size)
{
	struct bind_kvp *b = self;

	kvp_receive(&b->core, b->channel.ic.version.major >= 5 ? KVP_FORM_BINARY : KVP_FORM_TEXT,
		    message, size, clock_monotonic_ns());
	perform(b);
}

static void on_void(void *self)
{
	struct bind_kvp *b = self;

	kvp_void(&b->core);
	memset(b->walks, 0, sizeof(b->walks));
	perform(b);
}

static const struct ic_channel_user channel_ops = {
	.on_request = on_request,
	.on_negotiated = on_void,
	.on_overtaken = on_void,
	.on_closed = on_void,
};

static size_t put_registration(uint8_t ret_message[DEVICE_MESSAGE_MAX])
{
	kvp_device_register(ret_message);
	return KVP_DEVICE_MESSAGE_SIZE;
}

static enum device_event event_of(const void *message, size_t size)
{
	switch (kvp_device_event(message, size)) {
	case KVP_DEVICE_REGISTERED:
		return DEVICE_REGISTERED;
	case KVP_DEVICE_REQUEST:
		return DEVICE_REQUEST;
	case KVP_DEVICE_UNKNOWN:
		break;
	}
	return DEVICE_UNKNOWN;
}

static unsigned int limit_of(const void *message, size_t size)
{
	(void)message;
	(void)size;
	return DEVICE_LIMIT_S;
}

static const struct device_kind device_kind = {
	.service = "kvp",
	.daemon = "hv_kvp_daemon; its service is hv-kvp-daemon, hypervkvpd or hv_kvp_daemon",
	.offer = "data exchange",
	.put_registration = put_registration,
	.event = event_of,
	.limit_s = limit_of,
};

static void on_device_request(void *self, const void *message, size_t size)
{
	struct bind_kvp *b = self;

	kvp_receive(&b->core, KVP_FORM_DEVICE, message, size, clock_monotonic_ns());
	perform(b);
}

static void on_device_open(void *self, const void *message, size_t size)
{
	struct bind_kvp *b = self;
	char version[KVP_KEY_SIZE];

	kvp_device_version(message, size, version);
	if (*version)
		bind_kvp_keys_set_version(b->keys, version);
}

static const struct device_link_user device_ops = {
	.on_open = on_device_open,
	.on_request = on_device_request,
	.on_closed = on_void,
};

int bind_kvp_use_device(struct bind_kvp *b)
{
	return device_link_new(b->base, &device_kind, b->config->kvp_device,
			       &device_ops, b, &b->device);
}

bool bind_kvp_has_host(const void *binding)
{
	const struct bind_kvp *b = binding;

	return b->device && device_link_is_open(b->device);
}

struct service bind_kvp_service(struct bind_kvp *b)
{
	return ic_channel_service(&b->channel);
}

/* The snapshot. */

static void on_snapshot_change(void *self)
{
	struct bind_kvp *b = self;
	bool frozen = snapshot_is_holding(b->snapshot);

	kvp_store_hold(b->store, frozen);
	kvp_set_frozen(&b->core, frozen);
	perform(b);
}

static void on_published(struct kvp_change *change, int r)
{
	struct writing *w = container_of(change, struct writing, change);

	if (r && w->binding->not_published++ == 0)
		log_warning("kvp: the last backup's receipt cannot be published for the host: %s",
			    r < 0 ? strerror(-r) : "the pool is full: delete some keys");
	forget_writing(w);
}

void bind_kvp_publish(struct bind_kvp *b, json_t *keys)
{
	const char *key;
	json_t *value;

	json_object_foreach(keys, key, value) {
		struct writing *w = new_writing(b);

		if (!w)
			return;
		w->change.pool = KVP_POOL_GUEST;
		snprintf(w->change.entry.key, sizeof(w->change.entry.key), "%s", key);
		snprintf(w->change.entry.value, sizeof(w->change.entry.value), "%s",
			 json_string_value(value));
		w->change.done = on_published;
		kvp_store_submit(b->store, &w->change);
	}
}

/* The whole. */

static void on_store_note(void *self, const char *text)
{
	(void)self;
	log_warning("kvp: %s", text);
}

/* The first line of a file; "": there is none. */
static void read_line(const char *path, char text[64])
{
	FILE *file = fopen(path, "re");

	if (!file || !fgets(text, 64, file))
		text[0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (file)
		(void)fclose(file);
}

static int open_store(struct bind_kvp *b)
{
	char boot[64], machine[64];
	const struct kvp_store_options options = {
		.dir = b->config->kvp_dir,
		.boot = boot,
		.machine = machine,
		.note = on_store_note,
	};

	read_line("/proc/sys/kernel/random/boot_id", boot);
	/* Copies of a disk may have the same machine-id, and the machines they are in another UUID. */
	read_line("/sys/class/dmi/id/product_uuid", machine);
	if (!machine[0])
		read_line("/etc/machine-id", machine);
	return kvp_store_new(b->base, &options, &b->store);
}

static int open_parts(struct bind_kvp *b)
{
	int r;

	b->timer = event_new(b->base, -1, 0, on_timer, b);
	if (!b->timer)
		return -ENOMEM;
	r = open_store(b);
	if (r)
		return r;
	r = bind_kvp_keys_new(b->base, b->store, &b->keys);
	if (r)
		return r;
	r = ip_injection_new(b->base, b->config, &b->ip);
	if (r)
		return r;
	snapshot_watch(b->snapshot, on_snapshot_change, b);
	on_snapshot_change(b);
	return 0;
}

int bind_kvp_new(struct event_base *base, const struct config *config,
		 struct connection *const *connection, struct snapshot *snapshot,
		 struct bind_kvp **ret_binding)
{
	_cleanup_(cleanup_bind_kvpp) struct bind_kvp *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->base = base;
	b->config = config;
	b->snapshot = snapshot;
	kvp_init(&b->core);
	ic_channel_init(&b->channel, base, connection, &ic_service_kvp, &channel_ops, b);
	r = open_parts(b);
	if (r)
		return r;
	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_kvp *bind_kvp_free(struct bind_kvp *b)
{
	if (!b)
		return NULL;
	ic_channel_fini(&b->channel);
	b->device = device_link_free(b->device);
	snapshot_unwatch(b->snapshot, b);
	if (b->ip)
		ip_injection_forget(b->ip);
	b->ip = ip_injection_free(b->ip);
	b->keys = bind_kvp_keys_free(b->keys);
	/* It may have changes of ours, which are freed only after it. */
	b->store = kvp_store_free(b->store);
	while (b->writings)
		forget_writing(b->writings);
	if (b->timer)
		event_free(b->timer);
	free(b);
	return NULL;
}

struct kvp_store *bind_kvp_store(struct bind_kvp *b)
{
	return b->store;
}

static json_t *count_pools(const struct bind_kvp *b)
{
	json_t *pools = json_object();

	for (int i = 0; i < KVP_POOLS; i++)
		json_object_set_new(pools, kvp_pool_name(i),
				    json_integer((json_int_t)kvp_store_count(b->store, i)));
	return pools;
}

static json_t *count_requests(const struct kvp_stats *stats)
{
	json_t *requests = json_object();

	for (unsigned int i = 0; i <= KVP_OPERATIONS; i++)
		json_object_set_new(requests, kvp_operation_name(i),
				    json_integer((json_int_t)stats->requests[i]));
	return requests;
}

/* How often each state was entered. */
static json_t *count_states(const struct kvp_stats *s)
{
	json_t *states = json_object();

	for (int i = 0; i < KVP_STATES; i++)
		json_object_set_new(states, kvp_state_name(i), json_integer((json_int_t)s->entered[i]));
	return states;
}

json_t *bind_kvp_status(const struct bind_kvp *b)
{
	const char *trouble = kvp_store_trouble(b->store);
	char version[16];
	json_t *status = json_pack(
		"{s:s, s:s*, s:s, s:o, s:o, s:o, s:I, s:I}", "channel",
		b->device ? device_link_state(b->device) : ic_channel_state(&b->channel), "version",
		b->device ? NULL : ic_channel_version(&b->channel, version), "state",
		kvp_state_name(b->core.state), "keys", count_pools(b), "requests",
		count_requests(&b->core.stats), "states", count_states(&b->core.stats), "answered", (json_int_t)b->core.stats.answered_ok,
		"refused", (json_int_t)b->core.stats.answered_fail);

	if (status && *trouble)
		json_object_set_new(status, "problem", json_string(trouble));
	if (status && b->device) {
		json_object_set_new(status, "device", json_string(b->config->kvp_device));
		if (device_link_problem(b->device))
			json_object_set_new(status, "device_problem",
					    json_string(device_link_problem(b->device)));
	}
	if (status) {
		json_object_set_new(status, "automatic", bind_kvp_keys_status(b->keys));
		json_object_set_new(status, "ip_injection", ip_injection_status(b->ip));
	}
	return status;
}
