/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How much memory each guest of a host should have. The balancer is told who is there, what they
 * report and what became of the operations; a pass decides for all of them at once and leaves
 * orders: take so much from this guest, give so much to that one. It does nothing itself. All
 * amounts are pages of 4 KiB; every now_ns is the same monotonic clock. docs/POLICY.md has the
 * rules and their numbers. Not safe for two threads at a time.
 *
 * The loop around it:
 *
 *     balancer_report(b, guest, &report, now);           whenever a guest reports
 *     if (now >= balancer_deadline_ns(b)) balancer_pass(b, now);
 *     while (balancer_next_order(b, &order) == 0) ...    each order is begun, or ended at once
 *     balancer_moved(b, guest, kind, pages, now);        as the guest's answers come
 *     balancer_ended(b, guest, now);                     once for each order, or _cancelled()
 *
 * What a guest is charged with is the most that it may use: what it has, and what is on its way to
 * it. Memory is given only while all charges, what is held for guests that are to start, and the
 * reserve are within the budget, so a promise is never made before somebody else has kept one.
 */

enum {
	BALANCER_BUFFER_PERCENT_MIN = 5,    /* these are Hyper-V's own bounds */
	BALANCER_BUFFER_PERCENT_MAX = 2000,
	BALANCER_WEIGHT_MAX = 10000,        /* WMI's Weight; PowerShell's -Priority is a hundredth */
	BALANCER_WEIGHT_DEFAULT = 5000,
	BALANCER_NAME_MAX = 63,             /* bytes of a guest's name */
};

#define BALANCER_PAGES_MAX (UINT64_C(1) << 34) /* of one guest: 64 TiB; more is not believed */
#define BALANCER_NO_GUEST  UINT32_MAX

/* The conditions of this object. */
enum {
	BALANCER_BAD_BUFFER = 1, /* buffer_percent is out of its range */
	BALANCER_BAD_ORDER,      /* not 0 < minimum <= startup <= maximum <= BALANCER_PAGES_MAX */
	BALANCER_BAD_WEIGHT,     /* weight is above BALANCER_WEIGHT_MAX */
	BALANCER_BAD_BUDGET,     /* less than the reserve and the minima of all guests */
	BALANCER_BAD_NAME,       /* empty, or too long */
	BALANCER_TWICE,          /* there is a guest, or a reservation, of this name */
	BALANCER_NO_ROOM,        /* the minima of all guests would not fit any more */
	BALANCER_NO_ROOM_NOW,    /* it fits, but others have to give first: reserve, and wait */
	BALANCER_UNKNOWN,        /* there is no such reservation */
	BALANCER_LIE,            /* the report cannot be true; it was counted and not used */
	BALANCER_STRAY,          /* an answer to nothing that was ordered; counted */
	BALANCER_IDLE,           /* next_order: there is none */
};

/* What an administrator says of a guest. The words are Hyper-V's. */
struct balancer_limits {
	uint64_t startup_pages; /* while it boots */
	uint64_t minimum_pages; /* never less */
	uint64_t maximum_pages; /* never more */
	uint32_t buffer_percent; /* of its demand, on top of it; 5 to 2000 */
	uint32_t weight;         /* 0 to 10000: its share when not all can have what they want; 0 is as 1 */
};

struct balancer_settings {
	uint64_t budget_pages;  /* the host's memory; 0 = as much as anybody wants */
	uint64_t reserve_pages; /* of it, for the host itself: no guest is ever given it */

	uint64_t pass_ns;           /* between passes */
	uint64_t urgent_pass_ns;    /* the same, when somebody is short or something has ended */
	uint64_t first_action_ns;   /* after balancer_add(): a guest that boots is left alone */
	uint64_t report_age_max_ns; /* an older report decides nothing */
	uint64_t smoothing_ns;      /* time constant at which falling demand is believed; 0 = at once */
	uint64_t short_smoothing_ns; /* the same, while memory is short */
	uint64_t shrink_spacing_ns; /* from the end of any operation to the next unhurried shrinking */
	uint64_t refused_hold_ns;   /* what a guest has refused it is not asked again for so long; to give,
				     * each time in a row twice as long, sixty times at most */
	uint64_t obey_ns;           /* an operation without progress for so long is not obeyed */
	uint64_t stalled_hold_ns;   /* after the last sign of a stall nothing is taken for so long */
	uint64_t frozen_figures_ns; /* figures that stay the same to the page are not believed any more */
	uint64_t operation_max_pages; /* of one order: nothing can break it off */

	bool paused;  /* nothing is decided and nothing ordered; what runs goes on */
	bool dry_run; /* everything is decided and nothing ordered */
};

/* What a guest said last, and what its host knows of it. */
struct balancer_report {
	uint64_t committed_pages; /* its balloon is in it */
	uint64_t available_pages; /* that it could give up at once; UINT64_MAX = it does not say */
	uint64_t ballooned_pages; /* what it had given at that time, by the host's own books */
	uint64_t growable_pages;  /* what it could be given now (back, or added); UINT64_MAX = no limit */
	uint64_t swapped_pages;   /* written to its page file since its last report */
};

/* Reasons of the host's to leave a guest alone; a set. */
enum balancer_guard {
	BALANCER_GUARD_BOOTING = 1 << 0,  /* it starts or restarts: neither give nor take */
	BALANCER_GUARD_BACKUP = 1 << 1,   /* its file systems stand still: neither give nor take */
	BALANCER_GUARD_STALLING = 1 << 2, /* its tasks wait for memory: do not take */
	BALANCER_GUARD_NOT_READY = 1 << 3, /* no channel, or it is not set up: neither */
};

enum balancer_kind {
	BALANCER_NONE,
	BALANCER_GROW,   /* memory is given to the guest */
	BALANCER_SHRINK, /* memory is taken from it */
};

/* Why a guest gets what it gets. Only those marked (acts) lead to an order. */
enum balancer_reason {
	BALANCER_WHY_NEW,            /* no pass yet */
	BALANCER_WHY_PAUSED,
	BALANCER_WHY_BUSY,           /* an operation is running */
	BALANCER_WHY_NOT_OBEYING,    /* an operation is running, without progress for too long */
	BALANCER_WHY_NOT_READY,
	BALANCER_WHY_STARTING,
	BALANCER_WHY_BACKUP,
	BALANCER_WHY_NO_REPORT,      /* none, or too old */
	BALANCER_WHY_FROZEN_FIGURES, /* its figures have not changed by a page for too long */
	BALANCER_WHY_REPORT_BEFORE,  /* the last report is older than the last operation */
	BALANCER_WHY_AT_REST,
	BALANCER_WHY_SPARE_KEPT,     /* has more than it wants, and nobody needs it */
	BALANCER_WHY_AT_MINIMUM,
	BALANCER_WHY_AT_MAXIMUM,
	BALANCER_WHY_STALLING,       /* would be shrunk, but its tasks wait for memory */
	BALANCER_WHY_SPACING,        /* would be shrunk, but the last operation is too recent */
	BALANCER_WHY_REFUSED,        /* did less than it was asked last */
	BALANCER_WHY_SHORT,          /* wants more, and the host has none: others are asked */
	BALANCER_WHY_AT_SHARE,       /* wants more, and has its share of what there is */
	BALANCER_WHY_GROW,           /* (acts) */
	BALANCER_WHY_GROW_PART,      /* (acts) with what the host has now */
	BALANCER_WHY_SPARE,          /* (acts) gets of what nobody wants */
	BALANCER_WHY_SHRINK,         /* (acts) */
	BALANCER_WHY_TAKEN_FOR_OTHERS, /* (acts) the host is short, and others need it more */
	BALANCER_WHY_BELOW_MINIMUM,  /* (acts) */
	BALANCER_WHY_ABOVE_MAXIMUM,  /* (acts) */
	BALANCER_WHY_MANUAL,         /* (acts) */
	BALANCER_WHY_MANUAL_DONE,
	BALANCER_N_WHYS,
};

/* What of a guest's report was changed, or why it was not used; a set. */
enum balancer_lie {
	BALANCER_LIE_NOTHING_COMMITTED = 1 << 0, /* a machine that runs has committed something */
	BALANCER_LIE_IMPOSSIBLE = 1 << 1,        /* more than BALANCER_PAGES_MAX, or below zero */
	BALANCER_LIE_LESS_THAN_BALLOON = 1 << 2, /* used as no demand at all */
	BALANCER_LIE_AVAILABLE = 1 << 3,         /* more available than it can have: not used */
	BALANCER_LIE_STANDING_STILL = 1 << 4,    /* see frozen_figures_ns */
};

/* One decision, with what it was made from and what would have changed it. */
struct balancer_decision {
	enum balancer_reason reason;
	enum balancer_reason target_reason; /* of the order that made target_pages what it is, whatever
					     * was decided since; WHY_NEW: no order did */
	uint64_t at_ns;
	bool dry_run;              /* nothing was ordered */

	uint64_t assigned_pages;   /* the inputs */
	uint64_t demand_pages;     /* as reported */
	uint64_t believed_pages;   /* demand, falling slowly */
	uint64_t free_pages;       /* of the host, that it could give at that moment; UINT64_MAX = no limit */
	uint64_t floor_pages;      /* it keeps this much, whoever needs it */
	uint64_t ceiling_pages;    /* it can have this much */

	uint64_t wanted_pages;     /* demand and buffer, within its bounds; 0 = unknown */
	uint64_t goal_pages;       /* its share: wanted and spare, or less if the host is short */
	uint64_t target_pages;     /* assigned, and what is ordered now */
	uint32_t pressure_percent; /* demand / assigned, up to 9999; 0 = unknown */
	uint32_t rest_percent;     /* the pressure at which demand and buffer just fit */

	/* What would have changed the outcome; 0 = this would not. */
	uint64_t grow_above_pages;   /* a demand above this */
	uint64_t shrink_below_pages; /* a demand that stays below this */
	uint64_t missing_pages;      /* that much more free memory of the host */
	uint64_t until_ns;           /* waiting until then */
};

/* Changed by the functions below only; reading is free, until the next call of one of them. */
struct balancer_guest {
	char *name; /* NULL: there is no guest of this id */
	struct balancer_limits limits;
	uint64_t start_ns;
	unsigned int guards; /* of enum balancer_guard */

	uint64_t assigned_pages; /* what it has */
	uint64_t charged_pages;  /* what it may use at most: more than assigned while it grows */

	bool has_report;
	uint64_t report_ns;
	struct balancer_report report;
	uint64_t changed_ns;      /* when a figure last changed */
	uint64_t demand_pages;    /* what of the committed it needs */
	uint64_t smoothed_pages;  /* demand, falling with smoothing_ns */
	uint64_t recent_pages;    /* demand, falling with short_smoothing_ns */
	uint64_t stalled_ns;      /* the last sign of a stall; 0 = never */
	unsigned int lies;        /* in its last report, of enum balancer_lie */

	bool manual;
	uint64_t manual_pages;

	enum balancer_kind running; /* NONE: no operation is */
	uint64_t asked_pages;
	uint64_t moved_pages;       /* of the running operation, or the last one */
	uint64_t started_ns;
	uint64_t progress_ns;
	bool is_disturbed; /* it was to be left alone at some time of the operation */
	enum balancer_kind last;
	uint64_t last_end_ns;
	uint64_t refused_hold_ns; /* how long after last_end_ns it is left alone; 0: it did as it was asked */
	uint64_t refused_available_pages; /* what it had available after that; UINT64_MAX: not known */
	uint64_t grow_pages_per_s;  /* measured; 0 = not yet */
	uint64_t shrink_pages_per_s;
	bool obeying;               /* false: an operation makes no progress */

	struct balancer_decision decision;

	struct {
		uint64_t reports;
		uint64_t lies;      /* reports that were not used, or not in full */
		uint64_t grown_pages;
		uint64_t shrunk_pages;
		uint64_t refusals;  /* operations that moved nothing */
		uint64_t disobeyed; /* operations that made no progress for too long */
		uint64_t turns;     /* grown after it was shrunk, or the other way round */
	} stats;
};

struct balancer_order {
	uint32_t guest;
	enum balancer_kind kind; /* GROW or SHRINK */
	uint64_t pages;
	enum balancer_reason reason;
};

/* The whole host. */
struct balancer_totals {
	size_t n_guests;
	size_t n_reservations;
	uint64_t budget_pages;   /* 0 = no limit */
	uint64_t reserve_pages;
	uint64_t assigned_pages; /* of all guests */
	uint64_t charged_pages;
	uint64_t held_pages;     /* for guests that are to start */
	uint64_t free_pages;     /* that can be given now; UINT64_MAX = no limit */
	uint64_t over_pages;     /* that guests have beyond the budget, by no order of ours */
	uint64_t minimum_pages;  /* of all guests */
	uint64_t demand_pages;
	uint64_t wanted_pages;
	uint64_t missing_pages;  /* in the last pass, that goals could not be met with at once */
	bool is_short;           /* in the last pass, not all could have what they want */
	size_t n_not_obeying;
	size_t n_starving;       /* with less than their demand */
	uint64_t passes;
	uint64_t orders;
	uint64_t last_pass_ns;
	uint64_t last_effect_ns; /* when memory was last moved; 0 = never */
	uint64_t strays;
	uint64_t clock_jumps;    /* times at which the clock went back, or a minute forward */
};

struct balancer;

/* The usual times, no budget, 1 GiB at most in one order. */
void balancer_settings_init(struct balancer_settings *settings);

/* 20 % buffer and the usual weight; the three amounts are 0 and must be set. */
void balancer_limits_init(struct balancer_limits *limits);

/* BALANCER_BAD_BUFFER, BALANCER_BAD_ORDER, BALANCER_BAD_WEIGHT; 0 if they make sense. */
_must_check_ int balancer_limits_check(const struct balancer_limits *limits);

/* Without guests. BALANCER_BAD_BUDGET (the reserve is above the budget), -ENOMEM. */
_must_check_ int balancer_new(const struct balancer_settings *settings, uint64_t now_ns,
			      struct balancer **ret_balancer);
struct balancer *balancer_free(struct balancer *b);
DEFINE_CLEANUP(balancer)

/* New settings at any time; all else is kept. BALANCER_BAD_BUDGET, and nothing is changed. */
_must_check_ int balancer_configure(struct balancer *b, const struct balancer_settings *settings);
const struct balancer_settings *balancer_get_settings(const struct balancer *b);

/*
 * A guest starts with its startup memory, which is charged at once; if a reservation of its name is
 * complete it takes that. BALANCER_BAD_* of the limits and the name, BALANCER_TWICE,
 * BALANCER_NO_ROOM, BALANCER_NO_ROOM_NOW, -ENOMEM. The id is the guest's until balancer_remove(),
 * and small: below the greatest number of guests that there ever was at a time.
 */
_must_check_ int balancer_add(struct balancer *b, const char *name,
			      const struct balancer_limits *limits, uint64_t now_ns,
			      uint32_t *ret_guest);

/*
 * The same for a guest that runs already and has @assigned_pages, whatever that does to the budget:
 * what is over it is shown, and taken from whom the rules say. No BALANCER_NO_ROOM*.
 */
_must_check_ int balancer_add_running(struct balancer *b, const char *name,
				      const struct balancer_limits *limits,
				      uint64_t assigned_pages, uint64_t now_ns,
				      uint32_t *ret_guest);

/* The guest is gone, and what it had is free. Orders for it that were not fetched are dropped. */
void balancer_remove(struct balancer *b, uint32_t guest, uint64_t now_ns);

/* New limits while it runs, in any direction. BALANCER_BAD_*, BALANCER_NO_ROOM; then unchanged. */
_must_check_ int balancer_limit(struct balancer *b, uint32_t guest,
				const struct balancer_limits *limits, uint64_t now_ns);

/*
 * Has @pages set aside for a guest @name that is to start: others are asked for what is missing.
 * Given up at @until_ns unless it has started by then. BALANCER_BAD_NAME, BALANCER_TWICE,
 * BALANCER_NO_ROOM, -ENOMEM.
 */
_must_check_ int balancer_reserve(struct balancer *b, const char *name, uint64_t pages,
				  uint64_t until_ns, uint64_t now_ns);

/* What of it is there. BALANCER_UNKNOWN: none of this name (any more). */
_must_check_ int balancer_reserved(const struct balancer *b, const char *name,
				   uint64_t *ret_pages, uint64_t *ret_held_pages);

/* BALANCER_UNKNOWN. */
_must_check_ int balancer_unreserve(struct balancer *b, const char *name, uint64_t now_ns);

/*
 * The guest has reported. BALANCER_LIE: it cannot be true, and is as if it had not come; what is
 * merely odd is clamped. Either way balancer_guest.lies says what.
 */
int balancer_report(struct balancer *b, uint32_t guest, const struct balancer_report *report,
		    uint64_t now_ns);

/*
 * From now on these reasons hold for leaving it alone. What an operation moved that they came into says
 * nothing of what the guest has to give; so say it before the operation's end.
 */
void balancer_guard(struct balancer *b, uint32_t guest, unsigned int guards, uint64_t now_ns);

/*
 * It has restarted, or its channel has been opened anew: it is left alone for first_action_ns, and
 * all that was known of its demand is forgotten.
 */
void balancer_restarted(struct balancer *b, uint32_t guest, uint64_t now_ns);

/* It has this much by the host's own books, whatever was agreed: its channel closed, for instance. */
void balancer_set_assigned(struct balancer *b, uint32_t guest, uint64_t pages, uint64_t now_ns);

/*
 * From now on it gets @pages, within its bounds and its share, whatever it needs; or what it needs. To
 * set an amount is to ask anew, whatever the guest has refused before.
 */
void balancer_set_manual(struct balancer *b, uint32_t guest, uint64_t pages);
void balancer_set_automatic(struct balancer *b, uint32_t guest);

/* When to call balancer_pass() at the latest; UINT64_MAX = there is no need. */
uint64_t balancer_deadline_ns(const struct balancer *b);

/* Has the next pass made at once. */
void balancer_hurry(struct balancer *b);

/* Decides for all guests. Takes no memory from the heap. n log n at most. */
void balancer_pass(struct balancer *b, uint64_t now_ns);

/*
 * The next order. It counts as begun: balancer_ended() must follow, or balancer_cancelled() at once.
 * BALANCER_IDLE.
 */
_must_check_ int balancer_next_order(struct balancer *b, struct balancer_order *ret_order);

/*
 * @pages more of the running operation are done: taken from the guest for good, or the guest's now.
 * BALANCER_STRAY if none runs (what was moved is booked all the same if @kind says how).
 */
int balancer_moved(struct balancer *b, uint32_t guest, enum balancer_kind kind, uint64_t pages,
		   uint64_t now_ns);

/* The running operation is over: what was not moved will not be. BALANCER_STRAY. */
int balancer_ended(struct balancer *b, uint32_t guest, uint64_t now_ns);

/* The order could not be begun; it is as if there had been none. BALANCER_STRAY. */
int balancer_cancelled(struct balancer *b, uint32_t guest, uint64_t now_ns);

/* NULL if there is none of this id or name. */
const struct balancer_guest *balancer_get(const struct balancer *b, uint32_t guest);
uint32_t balancer_find(const struct balancer *b, const char *name); /* or BALANCER_NO_GUEST */

/* Ids are below this; some may be of no guest. */
uint32_t balancer_ids(const struct balancer *b);

/* A snapshot of the whole; it looks at every guest. */
void balancer_get_totals(const struct balancer *b, struct balancer_totals *ret_totals);

/* 100 * demand / assigned, up to 9999; 0 if nothing is assigned. */
uint32_t balancer_pressure_percent(uint64_t demand_pages, uint64_t assigned_pages);

/* One sentence without its full stop. */
const char *balancer_reason_text(enum balancer_reason reason);
/* What a condition of balancer_add() and the like says, without its full stop. */
const char *balancer_condition_text(int condition);
/* For one bit of enum balancer_lie. */
const char *balancer_lie_text(enum balancer_lie lie);

/*
 * What would have changed the outcome, for people: "a demand above 1.2 GiB", ... Writes at most
 * @size bytes, with an end; an empty text if nothing would. Returns @text.
 */
const char *balancer_decision_would(const struct balancer_decision *decision, uint64_t now_ns,
				    char *text, size_t size);
