/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/qemu_vm.h"

/*
 * The QEMU VMs of this machine: sockets that are named, and folders in which sockets come and go.
 */

struct qemu_vms;

/* Without any. The context is copied. -ENOMEM. */
_must_check_ int qemu_vms_new(const struct qemu_vm_context *context, struct qemu_vms **ret_vms);
struct qemu_vms *qemu_vms_free(struct qemu_vms *vms);
DEFINE_CLEANUP(qemu_vms)

/*
 * A folder is watched from now on, and every socket in it is a VM's. Anything else is a socket of one
 * VM, whether it is there yet or not. @path is absolute. Negative errno.
 */
_must_check_ int qemu_vms_add(struct qemu_vms *vms, const char *path);

/* The VM of this name, borrowed; NULL if there is none. */
struct qemu_vm *qemu_vms_find(const struct qemu_vms *vms, const char *name);

/* Appends the status of each to @array. */
void qemu_vms_add_status(const struct qemu_vms *vms, json_t *array);
