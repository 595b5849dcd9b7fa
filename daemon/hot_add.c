/* SPDX-License-Identifier: MIT */

/*
 * Hot-add, bound to the machine's ways of adding memory.
 *
 * The host is promised hot-add only where there is a way (memhotplug/adder). What is added is whole
 * blocks, so the answer is always a multiple of the alignment that the host was told. Where there
 * is no room to manage more memory the host may ask again; any other failure would be the same the
 * next time, and is final. To bring the blocks online is the business of daemon/bind_hotplug, which
 * hears of them as of all new blocks.
 */

#include "daemon/hot_add.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/module.h"
#include "base/size.h"
#include "daemon/journal.h"
#include "memhotplug/blocks.h"

#include <stdlib.h>

struct hot_add {
	struct adder *adder;
	struct hotadd_request request;
	bool again;
	struct adder_result result; /* of the last request */
	uint64_t added_pages;       /* ever */
};

int hot_add_new(struct hot_add **ret_hot_add)
{
	static const struct adder_config config = {
		.blocks_dir = BLOCKS_DIR,
		.dax_dir = "/sys/bus/dax",
		.iomem = "/proc/iomem",
		.modprobe = MODULE_MODPROBE,
	};
	_cleanup_(cleanup_hot_addp) struct hot_add *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	r = adder_new(&config, &h->adder);
	if (r)
		return r;
	log_debug("memory: hot-add by %s", adder_method_name(adder_method(h->adder)));
	*ret_hot_add = steal_ptr(h);
	return 0;
}

struct hot_add *hot_add_free(struct hot_add *h)
{
	if (!h)
		return NULL;
	(void)adder_free(h->adder);
	free(h);
	return NULL;
}

bool hot_add_is_possible(const struct hot_add *h)
{
	return adder_method(h->adder) != ADDER_NONE;
}

void hot_add_begin(struct hot_add *h, const struct dynmem_action *action)
{
	h->request.range = action->hot_add.range;
	h->request.region = (struct page_range){0};
	if (action->hot_add.has_region)
		h->request.region = action->hot_add.region;
	h->again = action->again;
}

void hot_add_run(struct hot_add *h)
{
	adder_add(h->adder, &h->request, h->again, &h->result);
}

void hot_add_finish(struct hot_add *h, struct dynmem *core)
{
	const struct adder_result *result = &h->result;
	struct size_text asked = size_format(h->request.range.count * DYNMEM_PAGE_SIZE);

	h->added_pages += result->pages;
	if (result->why)
		log_as(EVENT_MEMORY_NOT_ADDED, NULL,
		       "memory: of %s that the host adds at %#llx this machine takes %s: %s", asked.text,
		       (unsigned long long)(h->request.range.first * DYNMEM_PAGE_SIZE),
		       size_format(result->pages * DYNMEM_PAGE_SIZE).text, result->why);
	else
		log_as(EVENT_MEMORY_ADDED, NULL, "memory: the host has added %s at %#llx", asked.text,
		       (unsigned long long)(h->request.range.first * DYNMEM_PAGE_SIZE));
	dynmem_complete_hot_add(core, result->pages, !result->may_pass, clock_monotonic_ns());
}

json_t *hot_add_status(const struct hot_add *h)
{
	return json_pack("{s:s, s:I, s:s*}", "method", adder_method_name(adder_method(h->adder)),
			 "added_bytes", (json_int_t)(h->added_pages * DYNMEM_PAGE_SIZE), "problem",
			 h->result.why);
}
