/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem.h"

/*
 * The record of a session: all that a new daemon needs to go on with a channel that never closed.
 *
 * It lies in an area of memory that outlives the daemon, such as a memfd that the keeper holds and
 * the daemon maps shared. It is never written as a whole: a commit writes one of two heads of some
 * hundred bytes, and what has changed of the sets of pages as entries of a log. Whatever instant
 * the daemon is killed at, the area holds the state of the last commit, complete. Why that is
 * enough at any instant, however the kill falls between a page taken, recorded, told to the host
 * and answered, is argued in dynmem_record.c.
 *
 * The daemon, for as long as it runs:
 *
 *     dynmem_receive(dm, message...);
 *     dynmem_commit(dm, &{in: behind this message, out});
 *     ...only now may the in ring's read index pass the message...
 *
 *     dynmem_next_action(dm, &action);            which is a SEND
 *     dynmem_commit(dm, &{in, out: where this message will begin});
 *     ...only now may the message go into the out ring...
 *
 * Nothing else needs a commit; more of them do no harm. `in` is the reader's private position, the
 * one behind the last message that dynmem_receive() has seen, not the ring's published read index,
 * which may lag. `out` is the ring's write index, and everything that was put into the ring has
 * been published before the commit (a batch must not be longer than one message). A message that
 * waits for room has not been written: as long as dynmem_next_action() is not called again, the
 * position of the first commit after it counts. A commit after dynmem_open() saves a channel on
 * which nothing was said yet.
 *
 * A new daemon, when the keeper has handed it the area, the pages and perhaps the channel:
 *
 *     dynmem_restore(&config, area, bytes, now, &dm, &recorded);
 *     dynmem_reconcile(dm, held ranges, n, &lost_pages);     what is out of use in fact
 *     if (the channel is open, dynmem_get_status() does not say CLOSED, and lost_pages == 0)
 *             dynmem_resume(dm, write index of the out ring, now);
 *             ...read the in ring from recorded.in on, whatever its read index says...
 *     else
 *             ...close the channel, if it is open...
 *             dynmem_close(dm);
 *     ...and go on as ever: the first actions make up for what was cut off...
 *
 * What the keeper has to warrant:
 *   - pages that it has taken stay where they are until it is told to return them, whoever dies;
 *   - a request of a dead daemon has been finished or dropped before a new one is served;
 *   - a return of pages that it does not have, or has returned before, changes nothing.
 *
 * A message of the guest can be lost only with its channel; none is sent twice; no request of the
 * host is answered twice. A hot-add that was under way is asked for again: see
 * dynmem_action.again.
 */

/* The conditions of this object. */
enum {
	DYNMEM_RECORD_NONE = 1, /* restore: nothing was ever committed to this area */
	DYNMEM_RECORD_BAD,      /* restore: not a record, of another version, or contradictory */
};

/* Where the channel's rings stand, in bytes as the rings count them. */
struct dynmem_positions {
	uint32_t in;  /* next byte to be read, behind the last message that was received */
	uint32_t out; /* next byte to be written */
};

/*
 * The size of an area for sets of up to @ranges_max ranges each, in bytes. Large, but sparse: only
 * what is used of it is ever touched.
 */
size_t dynmem_record_bytes(size_t ranges_max);

/*
 * Begins to record @dm, in any state, in the @bytes at @area, which are aligned to 8 bytes, at
 * least dynmem_record_bytes() of the config's ranges_max, and borrowed until dynmem_free(). What
 * was in the area is overwritten by the first commit, which is made here.
 */
void dynmem_record_start(struct dynmem *dm, void *area, size_t bytes,
			 const struct dynmem_positions *positions);

/*
 * Records the state of now. Does nothing if no recording was started. Some ten microseconds, and in
 * addition a pass over the sets whenever the log is full.
 */
void dynmem_commit(struct dynmem *dm, const struct dynmem_positions *positions);

/*
 * Makes a machine of what was last committed to @area, and goes on recording there; the area must
 * be private to this process by now. The area's content is checked like a message of a stranger.
 * After an error it is untouched, and recording may start there anew.
 * DYNMEM_RECORD_NONE, DYNMEM_RECORD_BAD; -ENOMEM.
 */
_must_check_ int dynmem_restore(const struct dynmem_config *config, void *area, size_t bytes,
				uint64_t now_ns, struct dynmem **ret_dm,
				struct dynmem_positions *ret_positions);

/*
 * After dynmem_restore() or dynmem_new(), before any action: @held are the @n ranges, as
 * page_ranges_normalize() leaves them, that are out of use in fact, without pages that were given
 * back and only wait for the rest of their huge page. Held pages that the machine knows nothing of
 * were taken and never told to anybody: they are put back into use by a RETURN_PAGES, or become
 * unreported if the state is CLOSED. Pages that the machine believes to be out of use and that are
 * not held have been lost; they leave its sets, and their number is written: if it is not 0 the
 * host has memory that is in use, and only closing the channel makes it forget. -ENOMEM.
 */
_must_check_ int dynmem_reconcile(struct dynmem *dm, const struct page_range *held, size_t n,
				  uint64_t *ret_lost_pages);

/*
 * The channel that the record is about is still open, and its out ring's write index is @out: a
 * recorded message that is not in the ring will be sent first. The state must not be CLOSED.
 */
void dynmem_resume(struct dynmem *dm, uint32_t out, uint64_t now_ns);
