/* SPDX-License-Identifier: MIT */

/*
 * The pools, as the API shows and changes them.
 *
 * What is shown comes from memory, at any time. A change is answered when it is durable: while file
 * systems are frozen it waits for the thaw, and so does who asked for it.
 *
 * Who may change anything at all is settled by the socket, which is root's. Which pool may be
 * changed is settled here: what the host has said (external, auto-external) and what this service
 * says (auto) are not the administrator's.
 *
 * Who watches is told a number that grows with each change, and looks himself at what has changed:
 * then nothing can be missed, and nothing has to be kept for anybody.
 *
 * Other programs may have written bytes into a pool that are no text. They are shown as U+FFFD.
 */

#include "daemon/api_kvp.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/utf16.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#define WATCH_NS UINT64_C(25000000000) /* shorter than clients wait */

enum {
	WATCHES_MAX = 16,
};

/* A change that somebody waits for. */
struct put {
	struct kvp_change change;
	struct api_kvp *api;
	struct put *next;
	struct httpd_request *request;
};

struct api_kvp {
	struct kvp_store *store;
	json_int_t version;
	struct put *puts;
	struct event *timer;
	struct {
		struct httpd_request *request; /* NULL: free */
		uint64_t until_ns;
	} watches[WATCHES_MAX];
};

/* --- texts --- */

static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	uint8_t units[2 * KVP_VALUE_SIZE + 2];
	char clean[3 * KVP_VALUE_SIZE];
	size_t size;

	if (json)
		return json;
	if (utf8_to_utf16(text, UTF16_REPLACE | UTF16_CUT, units, sizeof(units), &size) ||
	    utf16_to_utf8(units, size, UTF16_REPLACE | UTF16_CUT, clean, sizeof(clean)))
		return json_string("");
	return json_string(clean);
}

static json_t *entry_json(const struct kvp_entry *entry)
{
	return json_pack("{s:o, s:o}", "key", text_json(entry->key), "value", text_json(entry->value));
}

static json_t *pool_json(const struct api_kvp *api, enum kvp_pool pool)
{
	json_t *entries = json_array();
	struct kvp_walk walk = {0};
	struct kvp_entry entry;

	for (uint32_t i = 0; kvp_store_nth(api->store, pool, i, &walk, &entry) == 0; i++)
		json_array_append_new(entries, entry_json(&entry));
	return json_pack("{s:s, s:i, s:o}", "pool", kvp_pool_name(pool), "number", pool, "entries",
			 entries);
}

/* The pool that the path names; false: there is none, and that is answered. */
static bool find_pool(struct httpd_request *request, enum kvp_pool *ret_pool)
{
	const char *name = httpd_request_param(request, "pool");

	if (name[0] >= '0' && name[0] < '0' + KVP_POOLS && name[1] == '\0') {
		*ret_pool = (enum kvp_pool)(name[0] - '0');
		return true;
	}
	if (kvp_pool_named(name, ret_pool) == 0)
		return true;
	httpd_reply_error(request, 404, "there is no such pool",
			  "external, guest, auto, auto-external and auto-internal are, or 0 to 4");
	return false;
}

/* --- looking --- */

/* With what every answer has; nothing if that is not known. */
static void reply(struct httpd_request *request, const struct api_kvp *api, json_t *take_body)
{
	const char *trouble = kvp_store_trouble(api->store);

	json_object_set_new(take_body, "schema", json_integer(1));
	json_object_set_new(take_body, "version", json_integer(api->version));
	json_object_set_new(take_body, "trouble", *trouble ? text_json(trouble) : json_null());
	httpd_reply_json(request, 200, take_body);
}

static void get_all(struct httpd_request *request, void *user)
{
	json_t *pools = json_array();
	struct api_kvp *api = user;

	for (unsigned int pool = 0; pool < KVP_POOLS; pool++)
		json_array_append_new(pools, pool_json(api, pool));
	reply(request, api, json_pack("{s:o}", "pools", pools));
}

static void get_pool(struct httpd_request *request, void *user)
{
	struct api_kvp *api = user;
	enum kvp_pool pool;

	if (find_pool(request, &pool))
		reply(request, api, pool_json(api, pool));
}

static void reply_no_key(struct httpd_request *request)
{
	httpd_reply_error(request, 404, "there is no such key in this pool",
			  "hvguestctl kvp list shows those that there are");
}

static void get_key(struct httpd_request *request, void *user)
{
	const char *key = httpd_request_param(request, "key");
	struct api_kvp *api = user;
	char value[KVP_VALUE_SIZE];
	enum kvp_pool pool;

	if (!find_pool(request, &pool))
		return;
	if (kvp_store_get(api->store, pool, key, value))
		reply_no_key(request);
	else
		reply(request, api,
		      json_pack("{s:s, s:s, s:o}", "pool", kvp_pool_name(pool), "key", key, "value",
				text_json(value)));
}

/* --- changing --- */

static void forget_put(struct put *put)
{
	struct put **p = &put->api->puts;

	while (*p != put)
		p = &(*p)->next;
	*p = put->next;
	free(put);
}

static void reply_failed(struct put *put, int r)
{
	const char *trouble = kvp_store_trouble(put->api->store);

	httpd_reply_error(put->request, 500, *trouble ? trouble : strerror(-r),
			  "the pool is as it was; see the log of hvguestd");
}

static void on_done(struct kvp_change *change, int r)
{
	struct put *put = container_of(change, struct put, change);

	if (r == 0)
		reply(put->request, put->api,
		      json_pack("{s:s, s:s, s:s}", "state", "done", "pool", kvp_pool_name(change->pool),
				"key", change->entry.key));
	else if (r == KVP_STORE_NONE)
		reply_no_key(put->request);
	else if (r == KVP_STORE_FULL)
		httpd_reply_error(put->request, 409, "the pool has as many keys as are allowed",
				  "remove some by hvguestctl kvp del");
	else
		reply_failed(put, r);
	forget_put(put);
}

static bool may_change(struct httpd_request *request, enum kvp_pool pool)
{
	if (pool == KVP_POOL_GUEST)
		return true;
	httpd_reply_error(request, 403,
			  pool == KVP_POOL_AUTO || pool == KVP_POOL_AUTO_INTERNAL
				  ? "this pool is the service's own, and not to be changed"
				  : "this pool is the host's, and not to be changed here",
			  "pool guest is for what this machine tells its host");
	return false;
}

/* As it will be on the wire, with its NUL. */
static bool fits(const char *text, size_t text_size, size_t wire_size)
{
	uint8_t units[KVP_WIRE_VALUE_SIZE];
	size_t size;

	return strlen(text) < text_size && utf8_to_utf16(text, 0, units, wire_size, &size) == 0;
}

static void submit(struct httpd_request *request, struct api_kvp *api, enum kvp_pool pool,
		   const char *value)
{
	const char *key = httpd_request_param(request, "key");
	struct put *put;

	if (!may_change(request, pool))
		return;
	if (*key == '\0' || !fits(key, KVP_KEY_SIZE, KVP_WIRE_KEY_SIZE)) {
		httpd_reply_error(request, 400, "a key is text of 1 to 255 UTF-16 units", NULL);
		return;
	}
	put = calloc(1, sizeof(*put));
	if (!put) {
		httpd_reply_error(request, 500, "no memory", NULL);
		return;
	}
	put->api = api;
	put->request = request;
	put->next = api->puts;
	api->puts = put;
	put->change.pool = pool;
	put->change.remove = !value;
	put->change.done = on_done;
	snprintf(put->change.entry.key, KVP_KEY_SIZE, "%s", key);
	snprintf(put->change.entry.value, KVP_VALUE_SIZE, "%s", value ? value : "");
	kvp_store_submit(api->store, &put->change);
}

static void put_key(struct httpd_request *request, void *user)
{
	const json_t *value = json_object_get(httpd_request_body(request), "value");
	enum kvp_pool pool;

	if (!find_pool(request, &pool))
		return;
	if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value) ||
	    !fits(json_string_value(value), KVP_VALUE_SIZE, KVP_WIRE_VALUE_SIZE))
		httpd_reply_error(request, 400,
				  "the body is {\"value\": text}, of at most 1023 UTF-16 units", NULL);
	else
		submit(request, user, pool, json_string_value(value));
}

static void delete_key(struct httpd_request *request, void *user)
{
	enum kvp_pool pool;

	if (find_pool(request, &pool))
		submit(request, user, pool, NULL);
}

/* --- watching --- */

/* Answers those whose time has come; all of them if there is something new. */
static void answer_watches(struct api_kvp *api, bool all)
{
	uint64_t now_ns = clock_monotonic_ns(), next_ns = UINT64_MAX;

	for (size_t i = 0; i < WATCHES_MAX; i++) {
		struct httpd_request *request = api->watches[i].request;

		if (!request)
			continue;
		if (all || api->watches[i].until_ns <= now_ns) {
			api->watches[i].request = NULL;
			reply(request, api, json_object());
		} else if (api->watches[i].until_ns < next_ns) {
			next_ns = api->watches[i].until_ns;
		}
	}
	timer_set(api->timer, next_ns);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	answer_watches(user, false);
}

static void on_change(void *self)
{
	struct api_kvp *api = self;

	api->version++;
	answer_watches(api, true);
}

static void get_changes(struct httpd_request *request, void *user)
{
	const char *text = httpd_request_param(request, "after");
	struct api_kvp *api = user;
	char *end;
	json_int_t after = strtoll(text, &end, 10);

	if (*end || *text < '0' || *text > '9') {
		httpd_reply_error(request, 400, "a version is a number, which GET /v1/kvp tells", NULL);
		return;
	}
	/* More than there ever were: they are another daemon's. */
	if (after != api->version) {
		reply(request, api, json_object());
		return;
	}
	for (size_t i = 0; i < WATCHES_MAX; i++) {
		if (api->watches[i].request)
			continue;
		api->watches[i].request = request;
		api->watches[i].until_ns = clock_monotonic_ns() + WATCH_NS;
		answer_watches(api, false);
		return;
	}
	httpd_reply_error(request, 503, "as many watch the pools as can", "end one of them");
}

static void reply_off(struct httpd_request *request, void *user)
{
	(void)user;
	httpd_reply_error(request, 409, "key-value exchange is off",
			  "say enabled = yes in section [kvp] of the configuration");
}

int api_kvp_add_routes(struct api_kvp *api, struct httpd *httpd)
{
	static const struct {
		const char *method;
		const char *path;
		void (*handle)(struct httpd_request *request, void *user);
	} routes[] = {
		{"GET", "/v1/kvp", get_all},
		{"GET", "/v1/kvp/{pool}", get_pool},
		{"GET", "/v1/kvp/{pool}/{key}", get_key},
		{"PUT", "/v1/kvp/{pool}/{key}", put_key},
		{"DELETE", "/v1/kvp/{pool}/{key}", delete_key},
		{"GET", "/v1/kvp-changes/{after}", get_changes},
	};

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		int r = httpd_route(httpd, routes[i].method, routes[i].path,
				    api->store ? routes[i].handle : reply_off, api);

		if (r)
			return r;
	}
	return 0;
}

int api_kvp_new(struct event_base *base, struct kvp_store *store, struct api_kvp **ret_api)
{
	_cleanup_(cleanup_api_kvpp) struct api_kvp *api = calloc(1, sizeof(*api));

	if (!api)
		return -ENOMEM;
	api->store = store;
	/* Not where one of our predecessors has been. */
	api->version = (json_int_t)(clock_monotonic_ns() / 1000);
	api->timer = evtimer_new(base, on_timer, api);
	if (!api->timer || (store && !kvp_store_watch(store, on_change, api)))
		return -ENOMEM;
	*ret_api = steal_ptr(api);
	return 0;
}

struct api_kvp *api_kvp_free(struct api_kvp *api)
{
	static const char ending[] = "hvguestd is ending";

	if (!api)
		return NULL;
	for (size_t i = 0; i < WATCHES_MAX; i++)
		if (api->watches[i].request)
			httpd_reply_error(api->watches[i].request, 503, ending, NULL);
	while (api->puts) {
		httpd_reply_error(api->puts->request, 503, ending, "whether it was changed is not known");
		forget_put(api->puts);
	}
	if (api->timer)
		event_free(api->timer);
	free(api);
	return NULL;
}
