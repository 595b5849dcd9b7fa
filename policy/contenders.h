/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "policy/simguest.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * The policies that a simulation compares: this project's balancer, and models of others from the
 * rules that they publish. Each is asked once a second, and says what each guest should have.
 */

enum contender_kind {
	CONTENDER_HVGUEST,        /* this balancer, guests that report by the rule "workingset" */
	CONTENDER_HVGUEST_COMPAT, /* this balancer, guests that report as the kernel's driver does */
	CONTENDER_STATIC,         /* each guest has its maximum, or less in proportion */
	CONTENDER_FORESIGHT,      /* fixed amounts, in proportion to each guest's highest need ever */
	CONTENDER_MOM,            /* oVirt MOM */
	CONTENDER_PROXMOX,        /* Proxmox VE auto-ballooning */
	CONTENDER_SQUEEZED,       /* XAPI squeezed */
	CONTENDER_N_KINDS,
};

/* A guest as all policies have it. */
struct contender_guest {
	uint64_t minimum_pages;
	uint64_t maximum_pages;
	uint64_t highest_pages;  /* what it will ever need: for CONTENDER_FORESIGHT only */
	struct simguest *memory; /* borrowed */
	uint64_t target_pages;   /* the result */
};

struct contender;

/*
 * For @n guests, borrowed until it is freed, each having what its memory says, on a host with
 * @host_pages. -ENOMEM.
 */
_must_check_ int contender_new(enum contender_kind kind, struct contender_guest *guests, size_t n,
			       uint64_t host_pages, struct contender **ret_contender);
struct contender *contender_free(struct contender *c);
DEFINE_CLEANUP(contender)

/*
 * It is @second. Sets the targets, and moves memory by what one second allows. Returns how much was
 * moved.
 */
uint64_t contender_step(struct contender *c, uint64_t second);

/* "hvguest", "mom", ...; one sentence on what it is and where its rules come from. */
const char *contender_name(enum contender_kind kind);
const char *contender_text(enum contender_kind kind);
/* The kind called so, or CONTENDER_N_KINDS. */
enum contender_kind contender_named(const char *name);
