/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem_record.h"
#include "daemon/session.h"

/*
 * The machine of dynamic memory, as the last hvguestd left it.
 */

/* What became of it. */
struct dynmem_session {
	struct dynmem *core;
	uint32_t in;    /* where to go on reading, if the channel is still open */
	bool resumable; /* it can be gone on with over that channel */
};

/*
 * Makes the machine of the session's record and compares it with the memory that is out of use in
 * fact; or makes a new one, whose record begins here. @session may be NULL, or have a problem: then
 * nothing is recorded. What is out of use are the @n_held ranges at @held, in order; if that is NULL it
 * is asked for, which waits for the keeper. If the machine cannot be resumed and is not CLOSED, dynmem_close() has to follow
 * before anything else, and the channel must be closed, too. Negative errno.
 */
_must_check_ int dynmem_session_open(const struct dynmem_config *config, struct session *session,
				     const struct page_range *held, size_t n_held,
				     struct dynmem_session *ret_session);

/* Pages of @set that are not among the @n ranges at @held, in order. */
uint64_t dynmem_session_missing(const struct rangeset *set, const struct page_range *held, size_t n);
