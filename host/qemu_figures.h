/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What QEMU's answers say of a VM's memory. All pages have 4 KiB; values are as qmp_wire_parse() has
 * them, and may be NULL or of any type.
 */

enum qemu_balloon {
	QEMU_BALLOON_NONE,
	QEMU_BALLOON_VIRTIO, /* virtio-balloon: statistics of the guest, asked for */
	QEMU_BALLOON_HV,     /* hv-balloon: Hyper-V's reports, as events */
};

/* The condition of the functions below. */
enum {
	QEMU_FIGURES_BAD = 1, /* the figure is not there, or cannot be */
};

/* What a guest says of itself. */
struct qemu_report {
	uint64_t committed_pages; /* what it needs, and what it has given, as Hyper-V counts */
	uint64_t available_pages;
	uint64_t floor_pages;       /* it should keep so much; 0: it sees to that itself */
	uint64_t swapped_out_pages; /* since it has booted; 0 if it does not say */
	uint64_t updated; /* changes with each report of a device that is asked; 0: it never reported */
};

/*
 * Looks for a balloon among the members of a container of QEMU's (the answer to qom-list). The name is
 * borrowed. QEMU_FIGURES_BAD: there is none.
 */
_must_check_ int qemu_find_balloon(const json_t *list, enum qemu_balloon *ret_balloon,
				   const char **ret_name);

/* The name of the kind, for status and log. */
const char *qemu_balloon_name(enum qemu_balloon balloon);

/* The amount of bytes that member @key of @value is, in pages, at least one. QEMU_FIGURES_BAD. */
_must_check_ int qemu_pages(const json_t *value, const char *key, uint64_t *ret_pages);

/* Of hv-balloon: the data of HV_BALLOON_STATUS_REPORT. QEMU_FIGURES_BAD. */
_must_check_ int qemu_hv_report(const json_t *data, struct qemu_report *ret_report);

/*
 * Of virtio-balloon: its property guest-stats, for a guest that has given @ballooned_pages.
 * QEMU_FIGURES_BAD: it has said nothing yet, or too little.
 */
_must_check_ int qemu_virtio_report(const json_t *stats, uint64_t ballooned_pages,
				    struct qemu_report *ret_report);
