/* SPDX-License-Identifier: MIT */

/*
 * What status says of dynamic memory.
 *
 * Plain translations of figures that others keep. Amounts are in bytes, whatever the wire counts in,
 * and keys keep their meaning: schema 1 of the API.
 */

#include "daemon/dynmem_status.h"

#include "daemon/dynmem_binding.h"

#include "base/clock.h"

#include <string.h>

static json_int_t bytes(uint64_t pages)
{
	return pages * DYNMEM_PAGE_SIZE;
}

/* Where the memory that is out of use comes from. */
static json_t *pages_status(const struct memory_sources_stats *sources)
{
	const struct block_source_stats *blocks = &sources->blocks;
	const struct pages_stats *s = &sources->pages;

	return json_pack("{s:I, s:I, s:I, s:I, s:b, s:I}", "huge_bytes",
			 (json_int_t)s->source[PAGES_HUGE].bytes, "small_bytes",
			 (json_int_t)s->source[PAGES_SMALL].bytes, "block_bytes",
			 bytes(blocks->blocks * blocks->block_pages), "remembered_bytes",
			 bytes(s->source[PAGES_HUGE].remembered_pages +
			       s->source[PAGES_SMALL].remembered_pages + blocks->remembered_pages),
			 "pinned", s->pinned, "foreign_pages", (json_int_t)s->foreign_pages);
}

/* The running operation of the host's, or the last one. */
static json_t *operation_status(const struct dynmem_operation *o)
{
	static const char *const names[] = {
		[DYNMEM_OPERATION_NONE] = "none",
		[DYNMEM_OPERATION_BALLOON] = "balloon",
		[DYNMEM_OPERATION_UNBALLOON] = "unballoon",
		[DYNMEM_OPERATION_HOT_ADD] = "hot-add",
	};

	return json_pack("{s:s, s:I, s:I, s:b}", "kind", names[o->kind], "asked_bytes",
			 bytes(o->asked_pages), "done_bytes", bytes(o->done_pages), "running",
			 o->kind != DYNMEM_OPERATION_NONE && o->ended_ns == 0);
}

/* What was counted since the daemon started. */
static json_t *counters_status(const struct dynmem_stats *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "status_reports",
			 (json_int_t)s->status_reports, "balloon_requests",
			 (json_int_t)s->balloon_requests, "unballoon_requests",
			 (json_int_t)s->unballoon_requests, "hot_add_requests",
			 (json_int_t)s->hot_add_requests, "malformed", (json_int_t)s->malformed,
			 "unexpected", (json_int_t)(s->unexpected + s->unknown), "foreign_pages",
			 (json_int_t)s->foreign_pages, "clipped", (json_int_t)s->clipped, "overlaps",
			 (json_int_t)s->overlaps, "hot_add_bad", (json_int_t)s->hot_add_bad);
}

json_t *dynmem_status_verified(const struct dynmem *core, const struct memory_work *done)
{
	const struct rangeset *host = dynmem_ballooned(core);
	const struct rangeset *unreported = dynmem_unreported(core);
	uint64_t missing = dynmem_session_missing(host, done->held, done->n_held) +
			   dynmem_session_missing(unreported, done->held, done->n_held);

	return json_pack("{s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "schema", 1, "ours",
			 missing == 0 && done->moved_pages == 0, "ballooned_bytes",
			 bytes(host->pages), "unreported_bytes", bytes(unreported->pages),
			 "held_bytes", bytes(page_ranges_count(done->held, done->n_held)),
			 "looked_at_bytes", bytes(done->done_pages), "moved_bytes",
			 bytes(done->moved_pages), "missing_bytes", bytes(missing));
}

/* How often each state was entered. */
static json_t *states_status(const struct dynmem_stats *s)
{
	json_t *states = json_object();

	for (int i = 0; i < DYNMEM_N_STATES; i++)
		json_object_set_new(states, dynmem_state_name(i), json_integer((json_int_t)s->entered[i]));
	return states;
}

json_t *dynmem_status_traffic(const void *binding)
{
	const struct bind_dynmem *b = binding;
	const struct dynmem_stats *stats;
	struct dynmem_status s;
	json_t *traffic;

	dynmem_get_status(b->core, &s);
	stats = &s.stats;
	traffic = json_pack("{s:I, s:I, s:I, s:I}", "opens",
			    (json_int_t)stats->entered[DYNMEM_STATE_VERSION], "requests",
			    (json_int_t)(stats->balloon_requests + stats->unballoon_requests +
					 stats->hot_add_requests),
			    "negotiations", (json_int_t)stats->entered[DYNMEM_STATE_CAPABILITIES], "errors",
			    (json_int_t)(stats->malformed + stats->unexpected + stats->unknown +
					 stats->clipped));
	if (traffic && s.operation.kind != DYNMEM_OPERATION_NONE)
		json_object_set_new(traffic, "quiet_seconds",
				    json_real((clock_monotonic_ns() - s.operation.started_ns) / 1e9));
	return traffic;
}

/* Seconds since memory was last moved, 0 while it is; @o is not NONE. */
static double effect_age_s(const struct dynmem_operation *o)
{
	return o->ended_ns ? (clock_monotonic_ns() - o->ended_ns) / 1e9 : 0;
}

static json_t *keeper_status(const struct bind_dynmem *b)
{
	return json_pack("{s:I, s:I}", "pid", (json_int_t)keeper_client_pid(b->work.keeper),
			 "overcommit_pages", (json_int_t)b->stats.pages.overcommit_pages);
}

json_t *bind_dynmem_status(const struct bind_dynmem *b)
{
	const char *channel = connection_channel_state(*b->context.connection, b);
	bool has_channel = strcmp(channel, "none") != 0;
	struct dynmem_status s;
	char version[16];
	json_t *status;

	dynmem_get_status(b->core, &s);
	snprintf(version, sizeof(version), "%u.%u", s.version >> 16, s.version & 0xffff);
	status = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:s*, s:I, s:I, s:o, s:o, s:o, s:o}", "channel",
			   channel, "state", dynmem_state_name(s.state), "version",
			   s.version ? version : NULL, "problem", b->problem, "given_up",
			   has_channel ? b->given_up : NULL, "unanswered",
			   has_channel && s.unanswered > 0 ? b->unanswered : NULL,
			   "ballooned_bytes", bytes(s.ballooned_pages),
			   "unreported_bytes", bytes(s.unreported_pages),
			   "pages", pages_status(&b->stats), "blocks",
			   memory_sources_blocks_status(&b->stats), "operation",
			   operation_status(&s.operation), "counters", counters_status(&s.stats));
	if (status)
		json_object_set_new(status, "states", states_status(&s.stats));
	if (status && s.operation.kind != DYNMEM_OPERATION_NONE)
		json_object_set_new(status, "effect_age_seconds", json_real(effect_age_s(&s.operation)));
	if (status && b->work.keeper)
		json_object_set_new(status, "keeper", keeper_status(b));
	if (status && b->work.hot_add)
		json_object_set_new(status, "hot_add", hot_add_status(b->work.hot_add));
	memory_guard_add_status(b->guard, status);
	return status;
}

json_t *bind_dynmem_why(const struct bind_dynmem *b)
{
	json_t *why = memory_guard_why(b->guard);

	if (why)
		json_object_set_new(why, "blocks", memory_sources_blocks_status(&b->stats));
	return why;
}
