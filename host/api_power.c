/* SPDX-License-Identifier: MIT */

/*
 * Power: {"kind": "poweroff", "reboot" or "hibernate", "force": bool, "reason": text}.
 *
 * The request is sent and answered with 202; the guest's status tells what it said to it. A guest
 * that does not go down is nothing that is decided about here, and there is no verb that pulls the
 * plug: the machine belongs to whoever started it.
 */

#include "host/api.h"

#include "services/shutdown_wire.h"

#include <string.h>

static void reply_shutdown(struct httpd_request *request, struct guest *g, uint32_t flags,
			   const char *text)
{
	switch (guest_shutdown_ask(guest_shutdown_of(g), flags, text)) {
	case 0:
		api_reply(request, 202, guest_shutdown_status(guest_shutdown_of(g)));
		return;
	case GUEST_SHUTDOWN_RUNNING:
		httpd_reply_error(request, 409, "the guest has not answered the last request yet",
				  "wait for it, a minute at most");
		return;
	case GUEST_SHUTDOWN_UNKNOWN:
		httpd_reply_error(request, 409, "the guest's version of shutdown has no such request",
				  NULL);
		return;
	default:
		httpd_reply_error(request, 409, "the guest takes no requests to go down",
				  "hvguestctl status in the guest says why");
	}
}

static void post_shutdown(struct httpd_request *request, void *user)
{
	struct host *h = user;
	struct guest *g = api_guest_awake(h, request);
	const json_t *body;
	const char *kind, *text;
	uint32_t flags = 0;

	if (!g)
		return;
	body = httpd_request_body(request);
	kind = json_string_value(json_object_get(body, "kind"));
	text = json_string_value(json_object_get(body, "reason"));
	if (kind && !strcmp(kind, "reboot"))
		flags |= SHUTDOWN_FLAG_RESTART;
	else if (kind && !strcmp(kind, "hibernate"))
		flags |= SHUTDOWN_FLAG_HIBERNATE;
	else if (!kind || strcmp(kind, "poweroff") != 0) {
		httpd_reply_error(request, 400, "'kind' must be poweroff, reboot or hibernate", NULL);
		return;
	}
	if (json_is_true(json_object_get(body, "force")))
		flags |= SHUTDOWN_FLAG_FORCE;
	reply_shutdown(request, g, flags, text ? text : "");
}

const struct api_route api_power_routes[] = {
	{"POST", "/v1/guests/{name}/shutdown", post_shutdown},
	{0},
};
