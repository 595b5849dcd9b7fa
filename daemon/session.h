/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/keeper_client.h"
#include "daemon/config.h"
#include "daemon/kept.h"
#include "daemon/memory_sources.h"

/*
 * The session: what outlives hvguestd, in the hands of the keeper.
 */

struct session;

/*
 * Finds what a predecessor has left, or begins anew; says in the log what there was. A machine that
 * cannot give memory is no error: session_problem() tells. Waits some seconds at most. -ENOMEM.
 */
_must_check_ int session_new(const struct config *config, struct session **ret_session);

/* Lets go of the session, which goes on without us; or ends it in order. NULL is fine. */
struct session *session_free(struct session *s);
void session_end(struct session *s);
DEFINE_CLEANUP(session)

/* Why no memory can be given, for people; NULL: it can. */
const char *session_problem(const struct session *s);

/* Where memory comes from, the keeper's included; borrowed as long as the session. */
struct memory_sources *session_sources(const struct session *s);

/* NULL while there is a problem; borrowed as long as the session. */
struct keeper_client *session_keeper(const struct session *s);

/* The channel that outlives us; NULL for NULL, or while there is a problem; borrowed likewise. */
struct kept *session_kept(const struct session *s);

/* The place of the protocol's state, @ret_bytes large; NULL while there is a problem. */
void *session_record(const struct session *s, size_t *ret_bytes);
