/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/bind_dynmem.h"
#include "daemon/dynmem_session.h"
#include "daemon/memory_guard.h"
#include "daemon/memory_work.h"
#include "vmbus/link.h"

/*
 * The inside of the binding of dynamic memory, shared by bind_dynmem.c (what the machine wants),
 * dynmem_channel.c (its channel), dynmem_memory.c (its memory) and dynmem_status.c (what is said of it).
 */

struct bind_dynmem {
	struct bind_dynmem_context context;
	struct dynmem_config core_config;
	struct dynmem *core;
	uint32_t kept_in; /* where the last hvguestd stopped reading */
	bool resumable;   /* what it left can be gone on with, and that was not done yet */
	struct link *link;
	struct vmbus_port waiting; /* opened, but the last channel is still being drained */
	bool has_waiting;
	bool draining;
	struct event *timer;
	struct event *keeper_died;
	int keeper_fd; /* its pidfd; the client closes its own whenever it likes */
	bool revive_due;
	struct memory_guard *guard;

	const char *problem; /* why no pages can be given; NULL: they can */
	const char *given_up;   /* why the host's last channel was left for good; NULL: it was not */
	const char *unanswered; /* what the host did not answer in time, if the machine counts any */
	struct memory_work work;
	struct memory_sources_stats stats; /* after the last work */
	bool verify_due;
	void (*verified)(void *user, json_t *take_answer);
	void *verified_user;
	bool guard_due;  /* a block of the host's may be online */
	bool hot_add_due;
	bool take_due;   /* wanted_pages, of which taken_pages are had */
	uint64_t wanted_pages;
	uint64_t taken_pages;
	uint64_t slice_from_ns; /* the guard is in doubt: no slice before this */
	bool return_due; /* return_ranges, borrowed from the machine */
	const struct page_range *return_ranges;
	size_t n_return_ranges;
};

/* Whatever happened: does what follows from it. */
void bind_dynmem_step(struct bind_dynmem *b);

/* Records the state of now, for a successor: before the host can see anything that follows from it. */
void bind_dynmem_commit(struct bind_dynmem *b);

/* The last channel has been drained: the next one may start. */
void dynmem_channel_end_drain(struct bind_dynmem *b);

/* The handshake has failed: for good, or the host may only be slow. */
void dynmem_channel_fail(struct bind_dynmem *b, enum dynmem_close_reason reason);

/* Where the memory comes from, and who holds it. Negative errno. */
_must_check_ int dynmem_memory_open(struct bind_dynmem *b);
void dynmem_memory_close(struct bind_dynmem *b);

/* @pages are to be taken; or fewer, @why the host gets less than it wanted. NULL: it gets all. */
void dynmem_memory_begin_take(struct bind_dynmem *b, uint64_t pages);
void dynmem_memory_end_take(struct bind_dynmem *b, const char *why);

/* Gives the worker what is due. True if something ended at once, and the machine may go on. */
bool dynmem_memory_work(struct bind_dynmem *b);

/* What the host has: all that is out of use but for what is unreported, which is in the best pages. */
struct report_ballooned dynmem_memory_ballooned(const struct bind_dynmem *b);
