/* SPDX-License-Identifier: MIT */

/*
 * The board as JSON: for the dashboard, and for programs that look and change nothing.
 *
 * A guest's line in the whole board is short, because there may be thousands; asked for by its name
 * a guest comes with the last decision about it: from what, why, and what would have changed it.
 */

#include "host/show.h"

#include "base/clock.h"

static json_int_t bytes(uint64_t pages)
{
	return (json_int_t)(pages * 4096);
}

static json_t *line_of(const char *name, const struct board_guest *g)
{
	json_t *line = json_pack(
		"{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:s, s:s, s:s}", "name", name,
		"pressure_percent", (int)balancer_pressure_percent(g->demand_pages, g->assigned_pages),
		"assigned_bytes", bytes(g->assigned_pages), "demand_bytes", bytes(g->demand_pages),
		"target_bytes", bytes(g->decision.target_pages), "minimum_bytes",
		bytes(g->minimum_pages), "maximum_bytes", bytes(g->maximum_pages), "obeying",
		(int)g->obeying, "by_hand", (int)g->manual, "why",
		balancer_reason_text(g->decision.reason), "heartbeat", g->services.heartbeat, "backup",
		g->services.backup);

	if (line && g->available_pages != UINT64_MAX)
		json_object_set_new(line, "available_bytes", json_integer(bytes(g->available_pages)));
	if (line && g->services.stall_centipercent != BOARD_UNKNOWN)
		json_object_set_new(line, "stall_percent",
				    json_real((double)g->services.stall_centipercent / 100));
	if (line && g->report_ns > 0)
		json_object_set_new(line, "report_age_seconds",
				    json_real((double)(clock_monotonic_ns() - g->report_ns) / 1e9));
	return line;
}

static void add_line(void *user, const char *name, const struct board_guest *g)
{
	json_array_append_new(user, line_of(name, g));
}

static json_t *host_of(const struct board_host *h)
{
	const struct balancer_totals *t = &h->totals;

	return json_pack("{s:b, s:b, s:b, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "paused",
			 (int)h->paused, "dry_run", (int)h->dry_run, "short", t->is_short, "guests",
			 (json_int_t)t->n_guests, "budget_bytes",
			 t->budget_pages ? json_integer(bytes(t->budget_pages)) : json_null(),
			 "free_bytes",
			 t->free_pages == UINT64_MAX ? json_null() : json_integer(bytes(t->free_pages)),
			 "assigned_bytes", bytes(t->assigned_pages), "demand_bytes",
			 bytes(t->demand_pages), "missing_bytes", bytes(t->missing_pages), "starving",
			 (json_int_t)t->n_starving, "not_obeying", (json_int_t)t->n_not_obeying);
}

json_t *show_board(const struct board *board)
{
	json_t *guests = json_array();
	struct board_host host;

	board_get_host(board, &host);
	board_each(board, add_line, guests);
	return json_pack("{s:i, s:s, s:s, s:o, s:o}", "schema", 1, "program", "hvhost", "version",
			 PACKAGE_VERSION, "host", host_of(&host), "guests", guests);
}

json_t *show_guest(const struct board *board, const char *name)
{
	struct board_guest g;
	const struct balancer_decision *d = &g.decision;
	uint64_t now = clock_monotonic_ns();
	char would[240];
	json_t *guest;

	if (!board_get(board, name, &g))
		return NULL;
	guest = line_of(name, &g);
	json_object_set_new(guest, "schema", json_integer(1));
	json_object_set_new(
		guest, "decision",
		json_pack("{s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:i}", "why",
			  balancer_reason_text(d->reason), "would_change",
			  balancer_decision_would(d, now, would, sizeof(would)), "age_seconds",
			  now > d->at_ns ? (double)(now - d->at_ns) / 1e9 : 0.0, "believed_bytes",
			  bytes(d->believed_pages), "wanted_bytes", bytes(d->wanted_pages), "goal_bytes",
			  bytes(d->goal_pages), "floor_bytes", bytes(d->floor_pages), "ceiling_bytes",
			  bytes(d->ceiling_pages), "target_bytes", bytes(d->target_pages),
			  "pressure_percent", (int)d->pressure_percent));
	json_object_set_new(
		guest, "counters",
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "reports", (json_int_t)g.reports,
			  "odd_reports", (json_int_t)g.lies, "refusals", (json_int_t)g.refusals, "turns",
			  (json_int_t)g.turns, "grown_bytes", bytes(g.grown_pages), "shrunk_bytes",
			  bytes(g.shrunk_pages)));
	return guest;
}
