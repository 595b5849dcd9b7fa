/* SPDX-License-Identifier: MIT */

/*
 * hvhost's API: what its subjects have in common.
 *
 * Each subject has its routes in a table of its own; here the tables are put together. Every answer
 * is made in the event loop from what the host holds in memory, so none of them waits: what takes
 * time is started by one request, and asked after by others.
 */

#include "host/api.h"

#include <stdio.h>

int api_add_routes(struct host *h)
{
	static const struct api_route *const subjects[] = {
		api_guest_routes,
		api_memory_routes,
		api_balance_routes,
		api_backup_routes,
		api_power_routes,
		api_kvp_routes,
		api_copy_routes,
		api_time_routes,
	};
	int r;

	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		for (const struct api_route *route = subjects[i]; route->method; route++) {
			r = httpd_route(h->httpd, route->method, route->pattern, route->handle, h);
			if (r)
				return r;
		}
	}
	return 0;
}

void api_reply(struct httpd_request *request, int status, json_t *take_body)
{
	json_t *answer = json_pack("{s:i}", "schema", 1);

	if (!take_body || json_object_update_missing(answer, take_body) < 0) {
		json_decref(answer);
		answer = NULL;
	}
	json_decref(take_body);
	httpd_reply_json(request, status, answer);
}

struct guest *api_guest(struct host *h, struct httpd_request *request)
{
	const char *name = httpd_request_param(request, "name");
	struct guest *g = host_find_guest(h, name);
	char message[160];

	if (!g) {
		snprintf(message, sizeof(message), "no guest '%s' is connected", name);
		httpd_reply_error(request, 404, message, "hvhost status lists the guests");
	}
	return g;
}

struct guest *api_guest_awake(struct host *h, struct httpd_request *request)
{
	struct guest *g = api_guest(h, request);

	if (!g || !guest_is_saved(g))
		return g;
	httpd_reply_error(request, 409, "the guest is saved", "hvhost restore offers its channels again");
	return NULL;
}

struct qemu_vm *api_vm(struct host *h, const struct httpd_request *request)
{
	const char *name = httpd_request_param(request, "name");

	return host_find_guest(h, name) ? NULL : qemu_vms_find(h->vms, name);
}
