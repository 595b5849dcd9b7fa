/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * How much memory one guest should have. It is told the guest's reports and what became of the
 * operations, and says the target and why. All amounts are pages of 4 KiB; every _now_ns is the
 * same monotonic clock.
 */

enum {
	BALANCER_BUFFER_PERCENT_MIN = 5,
	BALANCER_BUFFER_PERCENT_MAX = 2000,
};

/* The conditions of balancer_init() and balancer_configure(). */
enum {
	BALANCER_BAD_BUFFER = 1, /* buffer_percent is out of its range */
	BALANCER_BAD_ORDER,      /* not 0 < minimum <= startup <= maximum */
};

struct balancer_settings {
	uint64_t minimum_pages;
	uint64_t startup_pages;
	uint64_t maximum_pages;
	uint32_t buffer_percent; /* of the demand, on top of it; 5 to 2000 */

	uint64_t first_action_ns;   /* after balancer_init(): leave a guest that boots alone */
	uint64_t report_age_max_ns; /* an older report decides nothing */
	uint64_t smoothing_ns;      /* time constant at which falling demand is believed; 0 = at once */
	uint64_t shrink_spacing_ns; /* from the end of any operation to the next shrinking */
	uint64_t refused_hold_ns;   /* after an operation that moved nothing, until the next like it */
};

enum balancer_operation {
	BALANCER_OPERATION_NONE,
	BALANCER_OPERATION_GROW,   /* memory was given to the guest */
	BALANCER_OPERATION_SHRINK, /* memory was taken from it */
};

/* Why the target is what it is. Only those marked (acts) have a target other than assigned. */
enum balancer_reason {
	BALANCER_BUSY,
	BALANCER_STARTING,
	BALANCER_NO_REPORT,     /* none, or too old */
	BALANCER_REPORT_BEFORE, /* the last report is older than the last operation */
	BALANCER_AT_REST,
	BALANCER_AT_MINIMUM,
	BALANCER_AT_MAXIMUM,
	BALANCER_SPACING,
	BALANCER_REFUSED,
	BALANCER_GROW,          /* (acts) */
	BALANCER_SHRINK,        /* (acts) */
	BALANCER_BELOW_MINIMUM, /* (acts) */
	BALANCER_ABOVE_MAXIMUM, /* (acts) */
	BALANCER_MANUAL,        /* (acts) */
	BALANCER_MANUAL_DONE,
};

/* Changed by the functions below only; reading is free. */
struct balancer {
	struct balancer_settings settings;
	uint64_t start_ns;

	bool has_report;
	uint64_t report_ns;
	uint64_t committed_pages; /* as the guest reported it: its balloon is in it */
	uint64_t available_pages;
	uint64_t demand_pages;    /* what of it the guest needs */
	uint64_t smoothed_pages;  /* demand, falling slowly */

	bool manual;
	uint64_t manual_pages;

	bool busy;
	enum balancer_operation last_operation;
	uint64_t last_moved_pages;
	uint64_t last_end_ns;
};

struct balancer_decision {
	enum balancer_reason reason;
	uint64_t target_pages;     /* what the guest should have assigned */
	uint64_t wanted_pages;     /* where it is going, before steps and waiting; 0 = unknown */
	uint32_t pressure_percent; /* present demand / assigned; 0 = unknown */
	uint32_t rest_percent;     /* the pressure at which demand and buffer just fit */
};

/* The times of the project's lab host, 20 % buffer; the three amounts are 0 and must be set. */
void balancer_settings_init(struct balancer_settings *settings);

/* The guest has connected. BALANCER_BAD_BUFFER, BALANCER_BAD_ORDER; @b is then as it was. */
_must_check_ int balancer_init(struct balancer *b, const struct balancer_settings *settings,
			       uint64_t now_ns);

/* New settings, with everything else kept. Conditions as balancer_init(). */
_must_check_ int balancer_configure(struct balancer *b, const struct balancer_settings *settings);

/*
 * The guest has reported. @ballooned_pages is what it had given at that time, which its committed
 * figure contains.
 */
void balancer_report(struct balancer *b, uint64_t committed_pages, uint64_t available_pages,
		     uint64_t ballooned_pages, uint64_t now_ns);

/* An operation was sent to the guest; until balancer_operation_ended() nothing is decided. */
void balancer_operation_started(struct balancer *b);

/* It moved @moved_pages, maybe fewer than were asked for, maybe none. */
void balancer_operation_ended(struct balancer *b, enum balancer_operation operation,
			      uint64_t moved_pages, uint64_t now_ns);

/* From now on the guest gets @pages, within its minimum and maximum, whatever it needs. */
void balancer_set_manual(struct balancer *b, uint64_t pages);

/* From now on the guest gets what it needs. */
void balancer_set_automatic(struct balancer *b);

/*
 * What the guest should have now, when it has @assigned_pages, and could be given back or added
 * @growable_pages more (UINT64_MAX = no limit but its maximum). Changes nothing.
 */
struct balancer_decision balancer_decide(const struct balancer *b, uint64_t assigned_pages,
					 uint64_t growable_pages, uint64_t now_ns);

/* 100 * demand / assigned, up to 9999; 0 if nothing is assigned. */
uint32_t balancer_pressure_percent(uint64_t demand_pages, uint64_t assigned_pages);

/* One sentence without its full stop. */
const char *balancer_reason_text(enum balancer_reason reason);
