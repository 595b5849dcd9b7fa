/* SPDX-License-Identifier: MIT */

/*
 * The guests, and their channels.
 *
 * A channel can be taken from a guest and offered again at any time, as a real host does with a
 * machine that is saved and restored or moved. That it may come at any moment is the point of it:
 * every service of the guest has to get over it. So all of them can be taken at once, by a save; a
 * restore offers again what the save has taken.
 */

#include "host/api.h"

static json_t *host_status(struct host *h)
{
	json_t *guests = json_array();
	struct seat *seat;
	size_t at = 0;

	while ((seat = host_next_seat(h, &at)))
		json_array_append_new(guests, guest_status(seat->guest));
	qemu_vms_add_status(h->vms, guests);
	return json_pack("{s:s, s:s, s:o}", "program", "hvhost", "version", PACKAGE_VERSION,
			 "guests", guests);
}

static void get_status(struct httpd_request *request, void *user)
{
	api_reply(request, 200, host_status(user));
}

static void get_guest(struct httpd_request *request, void *user)
{
	struct qemu_vm *vm = api_vm(user, request);
	struct guest *g = vm ? NULL : api_guest(user, request);

	if (vm)
		api_reply(request, 200, qemu_vm_status(vm));
	else if (g)
		api_reply(request, 200, guest_status(g));
}

static void change_service(struct httpd_request *request, struct host *h,
			   int (*change)(struct guest *g, const char *service), const char *state)
{
	struct guest *g = api_guest(h, request);
	const char *service;

	if (!g)
		return; /* and the request is gone */
	service = json_string_value(json_object_get(httpd_request_body(request), "service"));
	switch (change(g, service ? service : "")) {
	case 0:
		api_reply(request, 200,
		      json_pack("{s:s, s:s}", "service", service, "state", state));
		break;
	case GUEST_NO_SERVICE:
		httpd_reply_error(request, 400, "there is no such service",
				  "heartbeat, dynmem, vss, shutdown, timesync, kvp and fcopy are");
		break;
	case GUEST_SAVED:
		(void)api_guest_awake(h, request);
		break;
	default:
		httpd_reply_error(request, 409, "the channel is not in a state for this",
				  "hvhost status --json shows it");
	}
}

static void post_rescind(struct httpd_request *request, void *user)
{
	change_service(request, user, guest_rescind, "rescinded");
}

static void post_offer(struct httpd_request *request, void *user)
{
	change_service(request, user, guest_offer, "offered");
}

static void change_guest(struct httpd_request *request, struct guest *g,
			 int (*change)(struct guest *g), const char *state)
{
	if (!g)
		return;
	if (change(g) == 0)
		api_reply(request, 200,
			  json_pack("{s:s, s:s}", "name", guest_name(g), "state", state));
	else if (guest_is_saved(g))
		httpd_reply_error(request, 409, "the guest is saved already", "hvhost restore is next");
	else
		httpd_reply_error(request, 409, "the guest is not saved", "hvhost save is first");
}

static void post_save(struct httpd_request *request, void *user)
{
	change_guest(request, api_guest(user, request), guest_save, "saved");
}

static void post_restore(struct httpd_request *request, void *user)
{
	change_guest(request, api_guest(user, request), guest_restore, "restored");
}

static void post_move(struct httpd_request *request, void *user)
{
	change_guest(request, api_guest(user, request), guest_move, "moved");
}

const struct api_route api_guest_routes[] = {
	{"GET", "/v1/status", get_status},
	{"GET", "/v1/guests/{name}", get_guest},
	{"POST", "/v1/guests/{name}/rescind", post_rescind},
	{"POST", "/v1/guests/{name}/offer", post_offer},
	{"POST", "/v1/guests/{name}/save", post_save},
	{"POST", "/v1/guests/{name}/restore", post_restore},
	{"POST", "/v1/guests/{name}/move", post_move},
	{0},
};
