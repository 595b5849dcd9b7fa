/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/guest_service.h"
#include "host/timesync_host.h"

/*
 * A guest's time synchronisation channel.
 */

struct guest_timesync;

/* The condition of guest_timesync_send(). */
enum {
	GUEST_TIMESYNC_NOT_READY = 1, /* no channel, or not through negotiating */
};

/* -ENOMEM. */
_must_check_ int guest_timesync_new(const struct guest_service_context *context,
				    struct guest_timesync **ret_timesync);

/* As the guest sees it; valid as long as @g is. */
struct guest_service guest_timesync_service(struct guest_timesync *g);

/* What the guest is told from now on, and how often: timesync_host_skew(), timesync_host_every(). */
const struct timesync_skew *guest_timesync_skew(const struct guest_timesync *g);
void guest_timesync_set_skew(struct guest_timesync *g, const struct timesync_skew *skew);
void guest_timesync_every(struct guest_timesync *g, uint64_t period_ns);

/* A message with @flags (enum timesync_flag), at once. GUEST_TIMESYNC_NOT_READY. */
_must_check_ int guest_timesync_send(struct guest_timesync *g, uint8_t flags);

/* {"version", what was sent and answered, what is told} */
json_t *guest_timesync_status(const struct guest_timesync *g);
