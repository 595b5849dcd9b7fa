/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Fleets of virtual machines, made up: how much memory the programs of each use, second by second.
 * The same seed gives the same fleet on every machine, and machine number i is the same whatever the
 * size of the fleet. All amounts are pages of 4 KiB.
 */

enum fleet_kind {
	FLEET_DIURNAL, /* follows the hours of its users, who live in one of three time zones */
	FLEET_BURSTY,  /* small, and now and then much for some minutes */
	FLEET_BATCH,   /* small, and large for an hour, some times a day */
	FLEET_LEAK,    /* grows for hours, and starts again */
	FLEET_IDLE,    /* hardly anything, ever */
	FLEET_N_KINDS,
};

struct fleet_spec {
	uint32_t shares[FLEET_N_KINDS]; /* of each kind, in any unit */
	uint64_t seed;
};

/* The condition of fleet_parse(). */
enum {
	FLEET_MALFORMED = 1, /* not KIND=NUMBER,..., or all numbers are 0 */
};

/* Reads "diurnal=40,idle=20"; kinds that are not named have none. FLEET_MALFORMED. */
_must_check_ int fleet_parse(const char *text, struct fleet_spec *ret_spec);

/* The mixture that is used unless another is asked for; the seed is 1. */
void fleet_spec_init(struct fleet_spec *spec);

/* What the programs of a machine use at some second. */
struct fleet_load {
	uint64_t hot_pages;       /* private memory that is in use */
	uint64_t cold_pages;      /* private memory that is hardly ever touched again */
	uint64_t file_pages;      /* of files that are read again and again */
	uint64_t committed_pages; /* what programs were promised: more than they use */
	uint64_t read_pages;      /* of files that are read once, in this second */
};

struct fleet_machine {
	enum fleet_kind kind;
	uint64_t maximum_pages;
	uint64_t minimum_pages;

	/* How it differs from others of its kind. */
	uint64_t random;      /* the state of its generator */
	uint32_t low_permille; /* of its maximum: private memory, hot */
	uint32_t high_permille;
	uint32_t cold_permille;
	uint32_t file_permille;
	uint32_t promised_percent; /* of what is used */
	uint32_t phase_s;     /* of its day */
	uint32_t read_pages;

	/* Where it is. */
	uint64_t until_s;     /* this goes on until then */
	uint64_t since_s;
	uint32_t from_permille; /* what it changes from and to */
	uint32_t to_permille;
	uint32_t noise_permille;
};

/* Machine number @index of the fleet, before its first second. */
void fleet_machine_init(struct fleet_machine *machine, const struct fleet_spec *spec,
			uint32_t index);

/* Its load at @second; to be asked second by second, from 0 on. */
struct fleet_load fleet_load_at(struct fleet_machine *machine, uint64_t second);
