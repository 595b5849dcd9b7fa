/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/balance.h"
#include "host/qemu_figures.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * A VM's memory between the host's balancer and QEMU: what it has and reports goes to the one, what
 * the balloon is to be set to goes to the other. It speaks to no socket.
 */

struct qemu_memory;

/* A VM that runs; texts are borrowed for its life. */
struct qemu_memory_config {
	struct balance *balance;
	const char *name;
	enum qemu_balloon balloon;
	struct balancer_limits limits;
	uint64_t boot_pages;    /* that it was started with */
	uint64_t growable_pages; /* that could be added to that */
};

/*
 * A VM that has @actual_pages joins the balancer. The conditions of balancer_add_running(), which are
 * BALANCER_*; -ENOMEM.
 */
_must_check_ int qemu_memory_new(const struct qemu_memory_config *config, uint64_t actual_pages,
				 struct qemu_memory **ret_memory);
/* It leaves: what it had is free. */
struct qemu_memory *qemu_memory_free(struct qemu_memory *m);
DEFINE_CLEANUP(qemu_memory)

/* QEMU says that the VM has @pages now. */
void qemu_memory_has(struct qemu_memory *m, uint64_t pages, uint64_t now_ns);

/* The guest has reported; a report that is the last one once more is passed over. */
void qemu_memory_report(struct qemu_memory *m, const struct qemu_report *report, uint64_t now_ns);

/* Reasons to leave it alone, of enum balancer_guard. */
void qemu_memory_guard(struct qemu_memory *m, unsigned int guards, uint64_t now_ns);

/* It has restarted. */
void qemu_memory_restarted(struct qemu_memory *m, uint64_t now_ns);

/*
 * Ends an operation that makes no progress, and says whether QEMU is to be told a new size, in pages;
 * to be asked after everything above, and at least each second. With hv-balloon only where
 * @is_quiet: the guest has just reported, so it will be silent for a moment.
 */
_must_check_ bool qemu_memory_next(struct qemu_memory *m, bool is_quiet, uint64_t now_ns,
				   uint64_t *ret_pages);

/* True while memory is on its way, or short: QEMU should be asked often. */
bool qemu_memory_is_urgent(const struct qemu_memory *m);

/* Its place at the balancer. */
uint32_t qemu_memory_id(const struct qemu_memory *m);

/* For status, with the same members as a lab guest's memory, as far as they mean anything. */
json_t *qemu_memory_status(const struct qemu_memory *m);
