/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem.h"
#include "balloon/dynmem_record.h"
#include "host/dynmem_host.h"
#include "tests/unit/rings.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * A world for dynamic memory: balloon/dynmem.c and host/dynmem_host.c talk over real channels, on
 * virtual time, about a simulated memory. After each step it is checked:
 *
 *   - what the guest says is out of use is exactly what is out of use;
 *   - the host has no page that is in use, ever;
 *   - no page is given twice;
 *   - whenever nothing is outstanding, both ends have the same set of pages;
 *   - whenever nothing is outstanding, memory was added as the host believes, if it was told;
 *   - without a channel, every page that is out of use is unreported, or on its way back;
 *   - while all is calm and the daemon lives, reports come at least every two periods.
 *
 * The guest's daemon can be killed at any instant, in the middle of a commit too. What is left then
 * is the record, the rings, and the memory in the hands of the keeper; a new daemon goes on.
 */

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

enum {
	FIRST_PFN = 0x10000,
	N_PAGES = 4096,
	UNIT_PAGES = 256,         /* in which memory is added: 1 MiB */
	WINDOW_PAGES = 20 * UNIT_PAGES,
	WINDOW_PFN = 0x100000,
	WORLD_ONCE_FAILED = 6, /* seeds that are run each time */
};

/* How often, in a thousand, each thing happens where it can. */
struct faults {
	unsigned int stall;     /* one end does not read for up to 3 s */
	unsigned int late;      /* memory work takes up to 3 s instead of some ms */
	unsigned int partial;   /* fewer pages than wanted */
	unsigned int malformed; /* a message with wrong lengths or an unknown type */
	unsigned int strange;   /* a message that is well-formed but out of place */
	unsigned int close;     /* the channel goes away */
	unsigned int release;   /* the administrator has unreported pages put back into use */
	unsigned int wrong;     /* the host does something of host/dynmem_fault.h */
	unsigned int kill;      /* the daemon dies, at each instant at which it can make a difference */
};

/* One end of the channel: a message that met a full ring, and a time before it does not read. */
struct end {
	struct vmbus_channel channel;
	bool unsent;
	struct dynmem_message message;
	uint64_t stalled_until_ns;
};

struct take_job {
	bool running;
	uint64_t left_pages;
	uint64_t due_ns;
};

/* The keeper's machine adds a unit at a time. */
struct add_job {
	bool running;
	struct page_range range; /* what is left of it */
	bool again;
	uint64_t done_pages;
	uint64_t due_ns;
};

struct return_job {
	bool running;
	const struct page_range *ranges; /* borrowed from the machine */
	size_t n_ranges;
	uint64_t due_ns;
};

struct world {
	unsigned int seed;
	struct faults faults;
	uint64_t now_ns;
	struct rings rings;
	bool connected;
	uint64_t steps;
	uint64_t close_at; /* the step at which the channel goes away; 0: by chance only */
	uint64_t away_ns;  /* for how long, whoever took it away */
	uint64_t offered_ns;

	/* the keeper's */
	bool out_of_use[N_PAGES];
	uint64_t added_pages; /* of the window, from its start */
	void *area;
	size_t area_bytes;

	/* the daemon's */
	struct dynmem_config config;
	struct dynmem *guest;
	struct end guest_end;
	struct take_job take;
	struct return_job give_back;
	struct add_job add;
	bool dead;
	bool settled; /* it has sent whatever there was to be sent since it lives */
	uint64_t instants; /* at which it could have died */
	uint64_t kill_at;  /* the instant at which it does; 0 = by chance only */
	uint64_t dead_until_ns; /* before this no new daemon is started */
	uint64_t alive_ns;      /* when the last one was started; 0 = the first one lives */

	struct dynmem_host *host;
	struct end host_end;

	uint64_t ready_ns; /* when the host last learned that the guest is set up */
	uint64_t operations;
	uint64_t closes;
	uint64_t deaths;
	uint64_t wrongs; /* that the host did */
};

extern const struct faults world_calm;

/* A world in which the channel has just been opened. */
void world_init(struct world *w, unsigned int seed, const struct faults *faults);
/* Ends it. */
void world_fini(struct world *w);

/* A number below @n, by chance. */
unsigned int world_below(struct world *w, unsigned int n);

/* True that often, by chance. */
bool world_happens(struct world *w, unsigned int in_a_thousand);

/* Lets some time pass and both ends act; then everything is checked. */
void world_step(struct world *w);

/* The host wants something, now and then. */
void world_want_something(struct world *w);

/* No faults any more; steps until nothing is outstanding. */
void world_come_to_rest(struct world *w);
void world_request_and_rest(struct world *w, enum dynmem_host_operation_kind kind, uint64_t pages);

/* The channel goes away. */
void world_disconnect(struct world *w);

/* What the guest's machine says of itself; its daemon must be alive. */
struct dynmem_status world_guest_status(const struct world *w);

/* What the host's machine says. */
struct dynmem_host_status world_host_status(const struct world *w);

/* From HVGUEST_SEED, which is set and printed before the tests begin. */
unsigned int world_first_seed(void);

/* The seed of a round: the first WORLD_ONCE_FAILED are known, the others count from the first seed on. */
unsigned int world_seed(unsigned int round);
