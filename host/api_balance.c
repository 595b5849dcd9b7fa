/* SPDX-License-Identifier: MIT */

/*
 * The balancer's part of the API: what it has decided and why, and holding it.
 *
 *     GET    /v1/guests/{name}/why   the last decision about a guest, with what it was made from
 *     GET    /v1/balance             the whole host
 *     POST   /v1/balance             {"paused": true|false} and {"dry_run": true|false}
 *     POST   /v1/reservations        {"name": ..., "bytes": ..., "seconds": ...}: memory for a start
 *     GET    /v1/reservations/{name} how much of it is there
 *     DELETE /v1/reservations/{name} it is not needed any more
 */

#include "host/api.h"

#include "base/clock.h"

#define NS_PER_SECOND UINT64_C(1000000000)

enum {
	RESERVE_SECONDS = 60,
	RESERVE_SECONDS_MAX = 3600,
};

static void get_why(struct httpd_request *request, void *user)
{
	struct host *h = user;
	struct qemu_vm *vm = api_vm(h, request);
	struct guest *g = vm ? NULL : api_guest(h, request);

	if (vm && qemu_vm_balance_id(vm) == BALANCER_NO_GUEST)
		httpd_reply_error(request, 409, "the VM cannot be reached, and has no memory in the books",
				  "hvhost status --json says why");
	else if (vm)
		api_reply(request, 200, balance_why(h->balance, qemu_vm_balance_id(vm)));
	else if (g)
		api_reply(request, 200,
			  balance_why(h->balance,
				      balancer_find(balance_core(h->balance), guest_name(g))));
}

static void get_balance(struct httpd_request *request, void *user)
{
	struct host *h = user;

	api_reply(request, 200, balance_status(h->balance));
}

static void post_balance(struct httpd_request *request, void *user)
{
	struct host *h = user;
	struct balancer *b = balance_core(h->balance);
	struct balancer_settings s = *balancer_get_settings(b);
	const json_t *body = httpd_request_body(request);
	const json_t *paused = json_object_get(body, "paused");
	const json_t *dry_run = json_object_get(body, "dry_run");

	if (!json_is_boolean(paused) && !json_is_boolean(dry_run)) {
		httpd_reply_error(request, 400, "neither 'paused' nor 'dry_run' is true or false",
				  NULL);
		return;
	}
	if (json_is_boolean(paused))
		s.paused = json_is_true(paused);
	if (json_is_boolean(dry_run))
		s.dry_run = json_is_true(dry_run);
	(void)!balancer_configure(b, &s); /* the budget is as it was, and good */
	balance_decide(h->balance);
	api_reply(request, 200, balance_status(h->balance));
}

static void reply_reservation(struct httpd_request *request, struct host *h, const char *name,
			      int status)
{
	uint64_t pages, held;

	if (balancer_reserved(balance_core(h->balance), name, &pages, &held)) {
		httpd_reply_error(request, 404, balancer_condition_text(BALANCER_UNKNOWN), NULL);
		return;
	}
	api_reply(request, status,
		  json_pack("{s:s, s:I, s:I, s:b}", "name", name, "bytes",
			    (json_int_t)(pages * VMBUS_PAGE_SIZE), "held_bytes",
			    (json_int_t)(held * VMBUS_PAGE_SIZE), "complete", held == pages));
}

static void post_reservation(struct httpd_request *request, void *user)
{
	struct host *h = user;
	const json_t *body = httpd_request_body(request);
	const char *name = json_string_value(json_object_get(body, "name"));
	json_int_t bytes = json_integer_value(json_object_get(body, "bytes"));
	json_int_t seconds = RESERVE_SECONDS;
	uint64_t now = clock_monotonic_ns();
	int r;

	if (json_object_get(body, "seconds"))
		seconds = json_integer_value(json_object_get(body, "seconds"));
	if (!name || bytes < VMBUS_PAGE_SIZE || seconds < 1 || seconds > RESERVE_SECONDS_MAX) {
		httpd_reply_error(request, 400,
				  "it takes a 'name', 'bytes', and 'seconds' from 1 to 3600", NULL);
		return;
	}
	r = balancer_reserve(balance_core(h->balance), name, (uint64_t)bytes / VMBUS_PAGE_SIZE,
			     now + (uint64_t)seconds * NS_PER_SECOND, now);
	if (r) {
		httpd_reply_error(request, 409, balancer_condition_text(r),
				  "hvhost balance status shows what there is");
		return;
	}
	balance_decide(h->balance);
	reply_reservation(request, h, name, 202);
}

static void get_reservation(struct httpd_request *request, void *user)
{
	reply_reservation(request, user, httpd_request_param(request, "name"), 200);
}

static void delete_reservation(struct httpd_request *request, void *user)
{
	struct host *h = user;
	const char *name = httpd_request_param(request, "name");

	if (balancer_unreserve(balance_core(h->balance), name, clock_monotonic_ns())) {
		httpd_reply_error(request, 404, balancer_condition_text(BALANCER_UNKNOWN), NULL);
		return;
	}
	balance_kick(h->balance);
	api_reply(request, 200, json_object());
}

const struct api_route api_balance_routes[] = {
	{"GET", "/v1/guests/{name}/why", get_why},
	{"GET", "/v1/balance", get_balance},
	{"POST", "/v1/balance", post_balance},
	{"POST", "/v1/reservations", post_reservation},
	{"GET", "/v1/reservations/{name}", get_reservation},
	{"DELETE", "/v1/reservations/{name}", delete_reservation},
	{0},
};
