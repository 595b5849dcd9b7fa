/* SPDX-License-Identifier: MIT */

/*
 * QEMU's VMs at the host.
 *
 * They have the limits of their names, as the lab's guests do, but what a VM was started with is QEMU's
 * to say, and it cannot have more than that and what its balloon could add.
 */

#include "host/host.h"

#include "base/log.h"

#include <string.h>

static struct balancer_limits limits_for(const void *user, const char *name, uint64_t boot_pages,
					 uint64_t most_pages)
{
	const struct host *h = user;
	struct balancer_limits l =
		guest_limits_of(h->guest_limits, name, &h->limits, boot_pages);

	if (l.maximum_pages > most_pages)
		l.maximum_pages = most_pages;
	l.startup_pages = boot_pages < l.maximum_pages ? boot_pages : l.maximum_pages;
	if (l.minimum_pages > l.startup_pages)
		l.minimum_pages = l.startup_pages;
	return l;
}

static bool backup_runs(const void *user, const char *name)
{
	struct guest *g = host_find_guest(user, name);

	return g && guest_backup_is_running(guest_backup_of(g));
}

int host_open_vms(struct host *h)
{
	const struct qemu_vm_context context = {
		.base = h->base,
		.balance = h->balance,
		.limit_ns = h->qmp_limit_ns,
		.limits_for = limits_for,
		.backup_runs = backup_runs,
		.user = h,
	};
	int r = qemu_vms_new(&context, &h->vms);

	if (r)
		log_error("VMs of QEMU: %s", strerror(-r));
	for (size_t i = 0; r == 0 && i < h->n_qmp_paths; i++) {
		r = qemu_vms_add(h->vms, h->qmp_paths[i]);
		if (r)
			log_error("--qmp %s: %s", h->qmp_paths[i], strerror(-r));
	}
	return r;
}
