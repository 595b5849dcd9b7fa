/* SPDX-License-Identifier: MIT */

/*
 * The IP configuration of this machine's adapters, for a host.
 *
 * Showing it takes a few questions to the kernel and small files in /run, and is done at once. Setting
 * it (a host does so when it has started a replica in another network) waits for programs, so a thread
 * does it, which is there only as long as there is something to do. The host gives us 30 seconds for an
 * answer; the change and its taking back have limits that add up to less.
 *
 * It is off unless configured: it rewrites the configuration of another service, on behalf of somebody
 * outside; the stock daemon, too, does nothing unless a distribution has put its scripts there.
 */

#include "daemon/ip_injection.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/log.h"
#include "daemon/journal.h"
#include "daemon/ip_apply.h"
#include "services/adapters.h"
#include "services/addresses.h"

#include <stdio.h>
#include <string.h>

struct ip_injection {
	struct event_base *base;
	bool allowed;
	char record[256];
	struct ip_apply_system system;

	/* The change that is under way. */
	struct jobs *jobs; /* NULL: none is */
	struct event *end; /* ends the thread, outside of its own call */
	struct job job;
	bool recovering;
	struct adapter adapter;
	struct kvp_ip_info info;
	int result;
	bool recovered;
	char problem[IP_APPLY_PROBLEM_SIZE];
	void (*done)(void *self, int r);
	void *self;

	uint64_t changes;
	uint64_t failures;
	bool told_off;     /* said once, for a host may ask as often as it likes */
	bool told_invalid;
	uint64_t last_ns; /* when it ended; meaningless before the first */
};

static void run(struct worker_job *work)
{
	struct ip_injection *i = container_of(work, struct ip_injection, job.work);

	if (i->recovering)
		i->recovered = ip_apply_recover(&i->system, i->problem);
	else
		i->result = ip_apply(&i->system, &i->adapter, &i->info, i->problem);
}

static void on_end(evutil_socket_t fd, short what, void *user)
{
	struct ip_injection *i = user;

	(void)fd;
	(void)what;
	i->jobs = jobs_free(i->jobs);
}

static void tell_recovered(const struct ip_injection *i)
{
	if (i->problem[0])
		log_error("network: an interrupted change of addresses: %s", i->problem);
	else if (i->recovered)
		log_notice("network: an interrupted change of addresses was taken back");
}

static int tell_changed(struct ip_injection *i)
{
	i->changes++;
	i->last_ns = clock_monotonic_ns();
	if (i->result == 0) {
		log_as(EVENT_ADDRESSES_SET, i->adapter.name, "network: %s has the addresses that the host has set",
		       i->adapter.name);
		return 0;
	}
	i->failures++;
	log_as(EVENT_ADDRESSES_NOT_SET, i->adapter.name,
	       "network: %s does not get the addresses that the host has set, and is as it was: %s",
	       i->adapter.name, i->result < 0 ? strerror(-i->result) : i->problem);
	if (i->result < 0)
		return i->result;
	return i->result == IP_APPLY_UNMANAGED ? IP_INJECTION_UNMANAGED : IP_INJECTION_FAILED;
}

static void on_done(struct job *job)
{
	struct ip_injection *i = container_of(job, struct ip_injection, job);
	void (*done)(void *self, int r) = i->done;
	int r = 0;

	if (i->recovering)
		tell_recovered(i);
	else
		r = tell_changed(i);
	event_active(i->end, 0, 0);
	i->done = NULL;
	if (done)
		done(i->self, r);
}

static int start(struct ip_injection *i, bool recovering)
{
	int r = jobs_new(i->base, &i->jobs);

	if (r)
		return r;
	i->recovering = recovering;
	i->problem[0] = '\0';
	r = jobs_submit(i->jobs, &i->job);
	if (r)
		i->jobs = jobs_free(i->jobs);
	return r;
}

int ip_injection_new(struct event_base *base, const struct config *config,
		     struct ip_injection **ret_injection)
{
	_cleanup_(cleanup_ip_injectionp) struct ip_injection *i = calloc(1, sizeof(*i));

	if (!i)
		return -ENOMEM;
	i->base = base;
	i->allowed = config->ip_injection;
	if (snprintf(i->record, sizeof(i->record), "%s/network-change.json", config->state_dir) >=
	    (int)sizeof(i->record))
		return -ENAMETOOLONG;
	i->system = (struct ip_apply_system){
		.adapters = {.net = "/sys/class/net", .root = ""},
		.record = i->record,
	};
	i->job = (struct job){.work.run = run, .done = on_done};
	i->end = event_new(base, -1, 0, on_end, i);
	if (!i->end)
		return -ENOMEM;
	if (access(i->record, F_OK) == 0) {
		int r = start(i, true);

		if (r)
			return r;
	}
	*ret_injection = steal_ptr(i);
	return 0;
}

struct ip_injection *ip_injection_free(struct ip_injection *i)
{
	if (!i)
		return NULL;
	(void)jobs_free(i->jobs);
	if (i->end)
		event_free(i->end);
	free(i);
	return NULL;
}

static unsigned family_of(const struct kvp_ip_info *info)
{
	unsigned family = KVP_FAMILY_NONE;

	for (size_t i = 0; i < info->n_addresses; i++)
		family |= info->addresses[i].address.family;
	return family;
}

/* The addresses of one adapter, and whether one of them is by DHCP. */
static void take_addresses(const struct adapter *adapter, const struct adapter_address *list, size_t n,
			   struct kvp_ip_info *info)
{
	for (size_t i = 0; i < n && info->n_addresses < KVP_IP_ADDRESSES_MAX; i++) {
		if (list[i].adapter != adapter->index)
			continue;
		info->addresses[info->n_addresses++] = (struct kvp_ip_address){
			.address = list[i].address,
			.prefix = list[i].prefix,
			.origin = list[i].is_dynamic ? KVP_ORIGIN_OTHER : KVP_ORIGIN_STATIC,
		};
		info->dhcp |= list[i].is_dynamic && list[i].address.family == KVP_FAMILY_IPV4;
	}
}

int ip_injection_get(struct ip_injection *i, const char *id, struct kvp_ip_info *ret_info)
{
	_cleanup_free_ struct adapter_address *list = NULL;
	struct adapter adapter;
	size_t n = 0;
	int r;

	r = addresses_list(&list, &n);
	if (r)
		return r;
	r = adapters_find(&i->system.adapters, id, list, n, &adapter);
	if (r)
		return r == ADAPTERS_NONE ? IP_INJECTION_NO_ADAPTER : r;

	*ret_info = (struct kvp_ip_info){0};
	snprintf(ret_info->adapter, sizeof(ret_info->adapter), "%s", id);
	take_addresses(&adapter, list, n, ret_info);
	ret_info->family = family_of(ret_info);
	ret_info->dhcp |= adapters_has_lease(&i->system.adapters, &adapter);
	ret_info->n_dns = adapters_dns(&i->system.adapters, &adapter, ret_info->dns, KVP_IP_DNS_MAX);
	return addresses_gateways(adapter.index, ret_info->gateways, KVP_IP_GATEWAYS_MAX,
				  &ret_info->n_gateways);
}

int ip_injection_set(struct ip_injection *i, const struct kvp_ip_info *info,
		     void (*done)(void *self, int r), void *self)
{
	_cleanup_free_ struct adapter_address *list = NULL;
	const char *why;
	size_t n = 0;
	int r;

	if (!i->allowed) {
		if (!i->told_off)
			log_warning("network: the host sets addresses, and is refused: ip_injection = yes "
				    "in section [kvp] allows it");
		i->told_off = true;
		return IP_INJECTION_OFF;
	}
	if (i->jobs)
		return IP_INJECTION_BUSY;
	if (kvp_ip_check(info, &why)) {
		if (!i->told_invalid)
			log_warning("network: the host sets %s: nothing is changed", why);
		i->told_invalid = true;
		return IP_INJECTION_INVALID;
	}
	if (addresses_list(&list, &n))
		n = 0;
	r = adapters_find(&i->system.adapters, info->adapter, list, n, &i->adapter);
	if (r)
		return r == ADAPTERS_NONE ? IP_INJECTION_NO_ADAPTER : r;
	i->info = *info;
	i->done = done;
	i->self = self;
	return start(i, false);
}

void ip_injection_forget(struct ip_injection *i)
{
	i->done = NULL;
}

json_t *ip_injection_status(const struct ip_injection *i)
{
	bool any = i->changes > 0 && !i->jobs;

	return json_pack("{s:b, s:b, s:I, s:I, s:s*, s:s*, s:o}", "allowed", i->allowed, "running",
			 i->jobs != NULL, "changes", (json_int_t)i->changes, "failures",
			 (json_int_t)i->failures, "interface", any ? i->adapter.name : NULL, "problem",
			 any && i->problem[0] ? i->problem : NULL, "age_seconds",
			 any ? json_integer((json_int_t)((clock_monotonic_ns() - i->last_ns) / 1000000000))
			     : json_null());
}
