/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Threads made in advance that do one thing together, round after round. For the freezer: nothing
 * here allocates, maps or opens anything once the crew stands.
 */

struct crew {
	void (*act)(void *self); /* what each member that is called does, once for each call */
	void *self;
	uint32_t n_members;
	_Atomic uint32_t round;  /* counts calls; the members wait for it to change */
	_Atomic uint32_t places; /* members that may still join this round */
	_Atomic uint32_t busy;   /* members of this round that are not done */
};

/*
 * Makes @n_members threads, in the caller's descriptor table, with small stacks that have been
 * touched. They live as long as the process. @crew must, too. Negative errno.
 */
_must_check_ int crew_start(struct crew *crew, uint32_t n_members, void (*act)(void *self),
			    void *self);

/*
 * Calls @n members, at most all of them, who act at the same time; returns at once. One that is
 * still busy with an earlier call does not come, and another one may come in its place.
 */
void crew_call(struct crew *crew, size_t n);

/* Waits until all that were called are done. For crews whose members all come back. */
void crew_await(struct crew *crew);

/* Starts one detached thread with a small stack. Negative errno. */
_must_check_ int crew_spawn(void *(*run)(void *arg), void *arg);

/*
 * Waits until *@word is not @seen any more, @timeout_ns at most; 0 = as long as it takes. May
 * return early.
 */
void crew_wait_word(_Atomic uint32_t *word, uint32_t seen, uint64_t timeout_ns);

/* Wakes @n of those who wait for @word. */
void crew_wake_word(_Atomic uint32_t *word, uint32_t n);
