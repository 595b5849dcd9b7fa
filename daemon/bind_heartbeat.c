/* SPDX-License-Identifier: MIT */

/*
 * Heartbeat, bound to its channel.
 *
 * Each request is answered in the call that brings it, so an answer is late only if the event loop
 * is, which is what a heartbeat is there to show. Nothing here waits, allocates or logs on the way.
 */

#include "daemon/bind_heartbeat.h"

#include "base/clock.h"
#include "daemon/ic_channel.h"
#include "services/heartbeat.h"

struct bind_heartbeat {
	struct ic_channel channel;
	struct heartbeat core;
};

static void on_request(void *self, uint8_t *message, size_t size)
{
	struct bind_heartbeat *b = self;
	int r = heartbeat_answer(&b->core, message, size, clock_monotonic_ns());

	ic_channel_answer(&b->channel, r ? IC_E_FAIL : IC_S_OK);
}

static const struct ic_channel_user channel_ops = {
	.on_request = on_request,
};

int bind_heartbeat_new(struct event_base *base, struct connection *const *connection,
		       struct bind_heartbeat **ret_binding)
{
	struct bind_heartbeat *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	ic_channel_init(&b->channel, base, connection, &ic_service_heartbeat, &channel_ops, b);
	heartbeat_init(&b->core);
	heartbeat_set_application(&b->core, HEARTBEAT_APPLICATION_HEALTHY);
	*ret_binding = b;
	return 0;
}

struct bind_heartbeat *bind_heartbeat_free(struct bind_heartbeat *b)
{
	if (b) {
		ic_channel_fini(&b->channel);
		free(b);
	}
	return NULL;
}

struct service bind_heartbeat_service(struct bind_heartbeat *b)
{
	return ic_channel_service(&b->channel);
}

json_t *bind_heartbeat_status(const struct bind_heartbeat *b)
{
	char version[16];

	return json_pack("{s:s, s:s*, s:I, s:I, s:s}", "channel",
			 ic_channel_state(&b->channel), "version",
			 ic_channel_version(&b->channel, version), "answered",
			 (json_int_t)b->core.answered, "malformed",
			 (json_int_t)(b->core.malformed + b->channel.ic.stats.malformed),
			 "application", heartbeat_application_name(b->core.application));
}
