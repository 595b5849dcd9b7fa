/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/balance.h"
#include "host/qmp.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

/*
 * A VM of QEMU's, by its QMP socket: connected to and looked at, again and again if need be, and its
 * memory driven by the host's balancer.
 */

struct qemu_vm;

/* What every VM is given; borrowed. */
struct qemu_vm_context {
	struct event_base *base;
	struct balance *balance;
	uint64_t limit_ns; /* for each answer of QEMU */
	/* The limits of the VM @name, which was started with @boot_pages and can have @most_pages. */
	struct balancer_limits (*limits_for)(const void *user, const char *name,
					     uint64_t boot_pages, uint64_t most_pages);
	/* True while the guest of this name is being backed up. */
	bool (*backup_runs)(const void *user, const char *name);
	const void *user;
};

/* A VM called @name at the socket @path, both copied. -ENOMEM. */
_must_check_ int qemu_vm_new(const struct qemu_vm_context *context, const char *name,
			     const char *path, struct qemu_vm **ret_vm);
struct qemu_vm *qemu_vm_free(struct qemu_vm *vm);
DEFINE_CLEANUP(qemu_vm)

/* Its name and its socket, borrowed. */
const char *qemu_vm_name(const struct qemu_vm *vm);
const char *qemu_vm_path(const struct qemu_vm *vm);

/* Its place at the balancer; BALANCER_NO_GUEST while it has none. */
uint32_t qemu_vm_balance_id(const struct qemu_vm *vm);

/* Something is new at its socket: does not wait for the next attempt. */
void qemu_vm_hurry(struct qemu_vm *vm);

/* Its QMP, for a command of somebody else's; NULL while it is not connected. */
struct qmp *qemu_vm_qmp(struct qemu_vm *vm);

/* For status: with the members of a lab guest, as far as it has them. */
json_t *qemu_vm_status(const struct qemu_vm *vm);
