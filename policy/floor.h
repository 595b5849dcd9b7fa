/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "policy/figures.h"

#include <stdint.h>

/*
 * The floor: what must stay available to this machine, whatever the host asks for.
 */

/* The condition of floor_parse(). */
enum {
	FLOOR_MALFORMED = 1,
};

enum floor_kind {
	FLOOR_KERNEL,     /* what Linux's own driver keeps: a share of the memory in use */
	FLOOR_WORKINGSET, /* the same, and the page cache that is in use */
	FLOOR_ABSOLUTE,   /* a number of pages */
	FLOOR_PERCENT,    /* of the memory in use */
};

struct floor_rule {
	enum floor_kind kind;
	uint64_t pages;   /* FLOOR_ABSOLUTE */
	uint32_t percent; /* FLOOR_PERCENT, 1 to 99 */
};

/* Reads "kernel", "workingset", "20%" or a size as "512M". FLOOR_MALFORMED. */
_must_check_ int floor_parse(const char *text, struct floor_rule *ret_rule);

/*
 * The floor of a machine that has @in_use_pages of memory, MemTotal less what the host has, and
 * these figures.
 */
uint64_t floor_pages(const struct floor_rule *rule, const struct memory_figures *figures,
		     uint64_t in_use_pages);

/* "kernel", "workingset", "absolute" or "percent", and what it means, for status. */
const char *floor_kind_name(enum floor_kind kind);
const char *floor_kind_text(enum floor_kind kind);
