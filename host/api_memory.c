/* SPDX-License-Identifier: MIT */

/*
 * A guest's memory: {"assign": bytes or "auto"}, or {"fault": name}.
 *
 * What is assigned by hand stays so until "auto" gives the guest back to the balancer; its minimum
 * and maximum hold in any case. A fault makes the host do something wrong, at once or with its next
 * request: a guest has to be ready for hosts that are.
 */

#include "host/api.h"

#include <string.h>

static void post_fault(struct httpd_request *request, struct guest *g)
{
	const json_t *name = json_object_get(httpd_request_body(request), "fault");
	enum dynmem_fault fault = json_is_string(name) ? dynmem_fault_named(json_string_value(name))
						       : DYNMEM_FAULT_NONE;

	if (fault == DYNMEM_FAULT_NONE)
		httpd_reply_error(request, 400, "no fault of dynamic memory has this name",
				  "host/dynmem_fault.h lists them");
	else if (guest_memory_fault(guest_memory_of(g), fault))
		httpd_reply_error(request, 409, "the guest's memory is not ready, or being moved",
				  "try again in a moment");
	else
		api_reply(request, 200, guest_memory_status(guest_memory_of(g)));
}

/* A VM of QEMU's has no faults on purpose, but by hand it can be assigned memory like any other. */
static void post_vm_memory(struct httpd_request *request, struct host *h, struct qemu_vm *vm)
{
	const json_t *assign = json_object_get(httpd_request_body(request), "assign");
	uint32_t id = qemu_vm_balance_id(vm);
	json_t *status, *memory;

	if (id == BALANCER_NO_GUEST) {
		httpd_reply_error(request, 409, "the VM cannot be reached",
				  "hvhost status --json says why");
		return;
	}
	if (json_is_integer(assign) && json_integer_value(assign) > 0) {
		balancer_set_manual(balance_core(h->balance), id,
				    (uint64_t)json_integer_value(assign) / VMBUS_PAGE_SIZE);
	} else if (json_is_string(assign) && !strcmp(json_string_value(assign), "auto")) {
		balancer_set_automatic(balance_core(h->balance), id);
	} else {
		httpd_reply_error(request, 400, "'assign' is neither a number of bytes nor 'auto'",
				  NULL);
		return;
	}
	balance_kick(h->balance);
	status = qemu_vm_status(vm);
	memory = json_incref(json_object_get(status, "memory"));
	json_decref(status);
	api_reply(request, 200, memory);
}

static void post_memory(struct httpd_request *request, void *user)
{
	struct qemu_vm *vm = api_vm(user, request);
	struct guest *g;
	const json_t *assign;

	if (vm) {
		post_vm_memory(request, user, vm);
		return;
	}
	g = api_guest(user, request);
	if (!g)
		return;
	if (json_object_get(httpd_request_body(request), "fault")) {
		post_fault(request, g);
		return;
	}
	assign = json_object_get(httpd_request_body(request), "assign");
	if (json_is_integer(assign) && json_integer_value(assign) > 0) {
		guest_memory_assign(guest_memory_of(g),
				    (uint64_t)json_integer_value(assign) / VMBUS_PAGE_SIZE);
	} else if (json_is_string(assign) && !strcmp(json_string_value(assign), "auto")) {
		guest_memory_assign_by_demand(guest_memory_of(g));
	} else {
		httpd_reply_error(request, 400, "'assign' is neither a number of bytes nor 'auto'",
				  NULL);
		return;
	}
	api_reply(request, 200, guest_memory_status(guest_memory_of(g)));
}

const struct api_route api_memory_routes[] = {
	{"POST", "/v1/guests/{name}/memory", post_memory},
	{0},
};
