/* SPDX-License-Identifier: MIT */

/*
 * Going on with dynamic memory.
 *
 * Three things outlive hvguestd, each held by somebody else: the memory (by the keeper, or as
 * offline memory blocks), the record of the protocol's state, and the channel. The record says what
 * the host has; the memory says what is out of use. They differ by what the last hvguestd was just
 * doing when it was killed: a page that was taken and not yet recorded goes back into use; one that
 * the record has and nobody holds is lost, and then the host must be made to forget everything.
 */

#include "daemon/dynmem_session.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/journal.h"

#include <string.h>

/* A machine that knows nothing; recorded, if there is where. */
static int begin(const struct dynmem_config *config, void *area, size_t bytes,
		 struct dynmem_session *ret_session)
{
	const struct dynmem_positions positions = {0};
	int r;

	r = dynmem_new(config, &ret_session->core);
	if (r == 0 && area)
		dynmem_record_start(ret_session->core, area, bytes, &positions);
	return r;
}

static int restore(const struct dynmem_config *config, struct session *session,
		   struct dynmem_session *ret_session)
{
	struct dynmem_positions positions;
	size_t bytes = 0;
	void *area = session ? session_record(session, &bytes) : NULL;
	int r;

	if (!area)
		return begin(config, NULL, 0, ret_session);
	r = dynmem_restore(config, area, bytes, clock_monotonic_ns(), &ret_session->core,
			   &positions);
	if (r < 0)
		return r;
	if (r == DYNMEM_RECORD_BAD)
		log_error("memory: the record of the last hvguestd cannot be read: the host's channel is "
			  "closed, and what it had is kept for the next one");
	if (r)
		return begin(config, area, bytes, ret_session);
	ret_session->in = positions.in;
	ret_session->resumable = true;
	return 0;
}

/* With what is held now. */
static int list_and_compare(struct session *session, struct dynmem *core, uint64_t *ret_lost_pages)
{
	_cleanup_free_ struct page_range *held = NULL;
	size_t n;
	int r;

	r = memory_sources_list(session_sources(session), &held, &n);
	if (r)
		return r > 0 ? -ECHILD : r;
	return dynmem_reconcile(core, held, n, ret_lost_pages);
}

int dynmem_session_open(const struct dynmem_config *config, struct session *session,
			const struct page_range *held, size_t n_held,
			struct dynmem_session *ret_session)
{
	struct dynmem_session s = {0};
	struct dynmem_status status;
	uint64_t lost_pages = 0;
	int r;

	r = restore(config, session, &s);
	if (r == 0 && held)
		r = dynmem_reconcile(s.core, held, n_held, &lost_pages);
	else if (r == 0 && session)
		r = list_and_compare(session, s.core, &lost_pages);
	if (r) {
		(void)dynmem_free(s.core);
		return r;
	}
	if (lost_pages > 0)
		log_as(EVENT_MEMORY_MOVED, NULL,
		       "memory: %s that the host has are in use here: closing its channel, so that it "
		       "forgets them", size_format(lost_pages * DYNMEM_PAGE_SIZE).text);
	dynmem_get_status(s.core, &status);
	s.resumable &= lost_pages == 0 && status.state != DYNMEM_STATE_CLOSED;
	*ret_session = s;
	return 0;
}

uint64_t dynmem_session_missing(const struct rangeset *set, const struct page_range *held, size_t n)
{
	uint64_t missing = set->pages;
	size_t at = 0;

	for (size_t i = 0; i < set->n_ranges; i++) {
		uint64_t first = set->ranges[i].first, end = first + set->ranges[i].count;

		while (at < n && held[at].first + held[at].count <= first)
			at++;
		for (size_t j = at; j < n && held[j].first < end; j++) {
			uint64_t from = held[j].first > first ? held[j].first : first;
			uint64_t to = held[j].first + held[j].count;

			missing -= (to < end ? to : end) - from;
		}
	}
	return missing;
}
