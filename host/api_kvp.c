/* SPDX-License-Identifier: MIT */

/*
 * Key-value exchange: {"do": what, "pool": name, "key": text, "value": text, "timeout_seconds": number}.
 *
 * "get", "set" and "delete" are about one key, "list" is about all of a pool. "get-ip" and "set-ip" are
 * about a network adapter of the guest: {"adapter": text} and, to set it, "addresses" (each with
 * "/PREFIX"), "gateways", "dns" and "dhcp". The reply comes when the guest has answered.
 *
 *     200  done; a list has "entries", each with "key" and "value"
 *     404  there is no such key
 *     409  the guest refuses, or cannot be asked
 *     502  it answers what is no answer
 *     504  it does not answer in time
 *
 * What a guest sends is bounded, so a reply is: a list that is larger than the limit is refused.
 */

#include "host/api.h"

#include "base/container.h"
#include "vmbus/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_SECOND UINT64_C(1000000000)

enum {
	TIMEOUT_S = 60, /* a real host waits about as long */
	TIMEOUT_MAX_S = 600,
	LIST_BYTES_MAX = 12 * 1024 * 1024,
};

struct asked {
	struct guest_kvp_wish wish;
	struct httpd_request *request;
	unsigned int timeout_s;
	json_t *entries;  /* of a list */
	size_t bytes;     /* in it */
	bool too_large;
};

static json_t *addresses_json(const struct kvp_address *addresses, size_t n)
{
	char text[KVP_ADDRESS_TEXT_SIZE];
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		kvp_address_format(&addresses[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *ip_json(const struct kvp_ip_info *ip)
{
	json_t *addresses = json_array();
	char text[KVP_ADDRESS_TEXT_SIZE];

	for (size_t i = 0; i < ip->n_addresses; i++) {
		kvp_address_format(&ip->addresses[i].address, text);
		json_array_append_new(addresses,
				      json_sprintf("%s/%u", text, ip->addresses[i].prefix));
	}
	return json_pack("{s:s, s:o, s:o, s:o, s:b}", "adapter", ip->adapter, "addresses", addresses,
			 "gateways", addresses_json(ip->gateways, ip->n_gateways), "dns",
			 addresses_json(ip->dns, ip->n_dns), "dhcp", ip->dhcp);
}

static void reply_done(struct asked *a)
{
	const struct kvp_host_job *job = &a->wish.job;

	if (job->list)
		api_reply(a->request, 200,
			  json_pack("{s:s, s:O}", "pool", kvp_pool_name(job->request.pool), "entries",
				    a->entries));
	else if (job->request.operation == KVP_GET)
		api_reply(a->request, 200,
			  json_pack("{s:s, s:s, s:s}", "pool", kvp_pool_name(job->request.pool), "key",
				    job->request.key, "value", job->answer.value));
	else if (job->request.operation == KVP_GET_IP)
		api_reply(a->request, 200, ip_json(&job->answer.ip));
	else
		api_reply(a->request, 200, json_pack("{s:s}", "state", "done"));
}

/* What is said only of addresses that were to be set; false: nothing is. */
static bool reply_addresses_refused(struct asked *a)
{
	if (a->wish.job.request.operation != KVP_SET_IP)
		return false;
	switch (a->wish.job.status) {
	case IC_E_NOT_SUPPORTED:
		httpd_reply_error(a->request, 409, "the guest's addresses cannot be set",
				  "ip_injection = yes in section [kvp] of hvguestd allows it, for an "
				  "adapter that a network manager has");
		return true;
	case IC_E_INVALID_ARGUMENT:
		httpd_reply_error(a->request, 409, "no machine can have such addresses",
				  "hvguestd's log says what is wrong with them");
		return true;
	case IC_E_FAIL:
		httpd_reply_error(a->request, 409,
				  "the guest does not get these addresses, and keeps those it had",
				  "hvguestd's log says why");
		return true;
	}
	return false;
}

static void reply_refused(struct asked *a)
{
	char message[160];

	if (reply_addresses_refused(a))
		return;
	switch (a->wish.job.status) {
	case KVP_E_LOCKED:
		httpd_reply_error(a->request, 409, "the guest is frozen for a backup",
				  "try again when that is over");
		return;
	case KVP_E_DISK_FULL:
		httpd_reply_error(a->request, 409, "the guest has no room for more keys",
				  "delete some, or make room on its disk");
		return;
	case KVP_E_NO_ADAPTER:
		httpd_reply_error(a->request, 404, "the guest has no such adapter",
				  "get-ip takes a MAC address, set-ip the GUID of the VMBus device");
		return;
	case IC_E_NOT_SUPPORTED:
		httpd_reply_error(a->request, 409, "the guest has no such request", NULL);
		return;
	case IC_E_INVALID_ARGUMENT:
		httpd_reply_error(a->request, 409, "the guest finds something wrong with the request",
				  "a key is at most 511, a value 2047 bytes of UTF-8");
		return;
	}
	snprintf(message, sizeof(message), "the guest refuses (status 0x%08x)", a->wish.job.status);
	httpd_reply_error(a->request, 409, message,
			  "hosts may change the pools external and auto-external only; hvguestd's log "
			  "tells more");
}

static void reply_silent(struct asked *a)
{
	char message[80];

	snprintf(message, sizeof(message), "the guest has not answered within %u s", a->timeout_s);
	httpd_reply_error(a->request, 504, message, "hvhost status shows its heartbeat");
}

static void reply_outcome(struct asked *a)
{
	switch (a->wish.job.outcome) {
	case KVP_HOST_DONE:
		reply_done(a);
		break;
	case KVP_HOST_NONE:
		httpd_reply_error(a->request, 404, "there is no such key in this pool",
				  "hvhost kvp list shows those that there are");
		break;
	case KVP_HOST_REFUSED:
		reply_refused(a);
		break;
	case KVP_HOST_UNABLE:
		httpd_reply_error(a->request, 409,
				  "the guest's version has no room for so many addresses", NULL);
		break;
	case KVP_HOST_LOST:
		httpd_reply_error(a->request, 409, "the guest takes no part in key-value exchange",
				  "hvguestctl status in the guest says why");
		break;
	case KVP_HOST_NONSENSE:
		httpd_reply_error(a->request, 502, "what the guest answers is no answer", NULL);
		break;
	case KVP_HOST_ENDLESS:
		httpd_reply_error(a->request, 502, "the guest's list has no end", NULL);
		break;
	case KVP_HOST_SILENT:
	case KVP_HOST_WAITING:
	case KVP_HOST_OUTCOMES:
		reply_silent(a);
		break;
	}
}

static void on_done(struct guest_kvp_wish *wish)
{
	struct asked *a = container_of(wish, struct asked, wish);

	if (a->too_large)
		httpd_reply_error(a->request, 502, "the guest's list is larger than can be shown", NULL);
	else
		reply_outcome(a);
	json_decref(a->entries);
	free(a);
}

static void on_entry(struct guest_kvp_wish *wish)
{
	struct asked *a = container_of(wish, struct asked, wish);
	const struct kvp_request *answer = &wish->job.answer;

	if (!wish->job.list)
		return;
	a->bytes += strlen(answer->key) + strlen(answer->value) + 32;
	if (a->bytes > LIST_BYTES_MAX)
		a->too_large = true;
	else
		json_array_append_new(a->entries, json_pack("{s:s, s:s}", "key", answer->key, "value",
							    answer->value));
}

/* Copies a member that must be text and fit; one that is not there is "" if @optional. */
static bool take_text(const json_t *body, const char *name, bool optional, char *ret_text, size_t size)
{
	const json_t *text = json_object_get(body, name);

	if (!text && optional)
		return true;
	if (!json_is_string(text) || json_string_length(text) >= size ||
	    strlen(json_string_value(text)) != json_string_length(text))
		return false;
	strcpy(ret_text, json_string_value(text));
	return true;
}

static bool take_addresses(const json_t *body, const char *name, struct kvp_address *ret, size_t max,
			   size_t *ret_n)
{
	const json_t *list = json_object_get(body, name), *text;
	size_t i;

	if (json_array_size(list) > max)
		return false;
	json_array_foreach(list, i, text)
		if (!json_is_string(text) || kvp_address_parse(json_string_value(text), &ret[i]))
			return false;
	*ret_n = json_array_size(list);
	return true;
}

static bool take_nets(const json_t *body, struct kvp_ip_info *ip)
{
	const json_t *list = json_object_get(body, "addresses"), *text;
	struct kvp_ip_texts texts = {0};
	struct kvp_ip_info one;
	size_t i;

	json_array_foreach(list, i, text) {
		const char *slash = json_is_string(text) ? strchr(json_string_value(text), '/') : NULL;

		if (!slash || i == KVP_IP_ADDRESSES_MAX || strlen(slash) >= 8)
			return false;
		snprintf(texts.addresses, sizeof(texts.addresses), "%.*s",
			 (int)(slash - json_string_value(text)), json_string_value(text));
		snprintf(texts.subnets, sizeof(texts.subnets), "%s", slash);
		if (kvp_ip_parse(&texts, &one) || one.n_addresses != 1)
			return false;
		ip->addresses[i] = one.addresses[0];
		ip->addresses[i].origin = KVP_ORIGIN_STATIC;
		ip->n_addresses = i + 1;
		ip->family |= one.addresses[0].address.family;
	}
	return true;
}

static bool take_ip(const json_t *body, struct kvp_ip_info *ip)
{
	ip->dhcp = json_is_true(json_object_get(body, "dhcp"));
	return take_nets(body, ip) &&
	       take_addresses(body, "gateways", ip->gateways, KVP_IP_GATEWAYS_MAX, &ip->n_gateways) &&
	       take_addresses(body, "dns", ip->dns, KVP_IP_DNS_MAX, &ip->n_dns);
}

/* What is wrong with the question; NULL: nothing, and it is in @a. */
static const char *take_question(const json_t *body, struct asked *a)
{
	static const char *const names[] = {"get", "set", "delete", "list", "get-ip", "set-ip"};
	const char *what = json_string_value(json_object_get(body, "do"));
	const char *pool = json_string_value(json_object_get(body, "pool"));
	struct kvp_request *q = &a->wish.job.request;
	int operation = KVP_GET;

	while (what && operation < KVP_OPERATIONS && strcmp(names[operation], what) != 0)
		operation++;
	if (!what || operation == KVP_OPERATIONS)
		return "'do' must be get, set, delete, list, get-ip or set-ip";
	q->operation = operation;
	a->wish.job.list = operation == KVP_ENUMERATE;
	if (operation == KVP_GET_IP || operation == KVP_SET_IP) {
		q->pool = KVP_POOL_GUEST; /* as OpenVMM has it; nobody looks at it */
		if (!take_text(body, "adapter", false, q->ip.adapter, sizeof(q->ip.adapter)))
			return "'adapter' must name an adapter: a MAC address or a GUID";
		return operation == KVP_GET_IP || take_ip(body, &q->ip)
			       ? NULL
			       : "'addresses' must be like 192.0.2.7/24, 'gateways' and 'dns' like "
				 "192.0.2.1";
	}
	if (!pool || kvp_pool_named(pool, &q->pool))
		return "'pool' must be external, guest, auto, auto-external or auto-internal";
	if (operation != KVP_ENUMERATE && !take_text(body, "key", false, q->key, sizeof(q->key)))
		return "'key' must be a text of 1 to 255 characters and 511 bytes";
	if (operation == KVP_SET && !take_text(body, "value", false, q->value, sizeof(q->value)))
		return "'value' must be a text of up to 1023 characters and 2047 bytes";
	return NULL;
}

static bool take_timeout(const json_t *body, struct asked *a)
{
	const json_t *seconds = json_object_get(body, "timeout_seconds");

	if (seconds && (!json_is_integer(seconds) || json_integer_value(seconds) < 1 ||
			json_integer_value(seconds) > TIMEOUT_MAX_S))
		return false;
	a->timeout_s = seconds ? (unsigned int)json_integer_value(seconds) : TIMEOUT_S;
	a->wish.timeout_ns = a->timeout_s * NS_PER_SECOND;
	return true;
}

static const char *text_of_fault(int fault)
{
	switch (fault) {
	case KVP_FAULT_KEY:
		return "'key' must be a text of 1 to 255 characters and 511 bytes";
	case KVP_FAULT_VALUE:
		return "'value' must be a text of up to 1023 characters and 2047 bytes";
	default:
		return "the adapter's name or the number of addresses is not possible";
	}
}

static void post_kvp(struct httpd_request *request, void *user)
{
	struct guest *g = api_guest_awake(user, request);
	const char *problem;
	struct asked *a;
	int fault;

	if (!g)
		return;
	a = calloc(1, sizeof(*a));
	if (!a || !(a->entries = json_array())) {
		free(a);
		httpd_reply_json(request, 500, NULL);
		return;
	}
	a->request = request;
	a->wish.entry = on_entry;
	a->wish.done = on_done;
	problem = take_question(httpd_request_body(request), a);
	if (!problem && !take_timeout(httpd_request_body(request), a))
		problem = "'timeout_seconds' must be 1 to 600";
	if (!problem && (fault = guest_kvp_ask(guest_kvp_of(g), &a->wish)))
		problem = text_of_fault(fault);
	if (!problem)
		return;
	httpd_reply_error(request, 400, problem, NULL);
	json_decref(a->entries);
	free(a);
}

const struct api_route api_kvp_routes[] = {
	{"POST", "/v1/guests/{name}/kvp", post_kvp},
	{0},
};
