/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/jobs.h"
#include "daemon/config.h"
#include "daemon/connection.h"
#include "daemon/session.h"

/*
 * Dynamic memory, bound to its channel, the memory figures and the pages.
 */

struct bind_dynmem;

/* What the binding works with; all borrowed. */
struct bind_dynmem_context {
	struct event_base *base;
	const struct config *config;
	struct connection *const *connection;
	struct jobs *jobs;
	struct session *session; /* NULL: memory is not served */
	/* While this says so, no memory is taken for the host: a backup holds the file systems. */
	bool (*is_holding)(const void *backup);
	const void *backup;
};

/* A machine that cannot give pages is no error: it reports, and gives none. Negative errno. */
_must_check_ int bind_dynmem_new(const struct bind_dynmem_context *context,
				 struct bind_dynmem **ret_binding);

/* After jobs_free(): no memory work may be running. The keeper has the memory still. */
struct bind_dynmem *bind_dynmem_free(struct bind_dynmem *b);
DEFINE_CLEANUP(bind_dynmem)

/* A memory block of this machine has come online: the host's must not stay so. */
void bind_dynmem_guard_blocks(struct bind_dynmem *b);

/*
 * The connection has had its chance to go on with a predecessor's channel. If it did not, the host
 * has forgotten what it had.
 */
void bind_dynmem_begin(struct bind_dynmem *b);

/* For the connection's table. */
struct service bind_dynmem_service(struct bind_dynmem *b);

/*
 * Has every frame that is out of use looked at again, and compared with what the host has; then calls
 * @done with the answer (NULL: it could not be found out). False: there is nothing to look at, or
 * somebody is looking already.
 */
bool bind_dynmem_verify(struct bind_dynmem *b, void (*done)(void *user, json_t *take_answer),
			void *user);

/*
 * Has everything put back into use that a host which is gone had, and answers how much that is.
 * NULL if there is no memory for it.
 */
json_t *bind_dynmem_release(struct bind_dynmem *b);

/* For status: the channel, the machine, the pages and the last figures. */
json_t *bind_dynmem_status(const struct bind_dynmem *b);

/* Why the last report and the last request were as they were. */
json_t *bind_dynmem_why(const struct bind_dynmem *b);
