/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_store.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What may be in the pools after a kill or a power cut: for each key the state that was
 * acknowledged last, or one that was asked for after it. And the traffic that tests make.
 */

enum {
	MODEL_KEYS = 40,      /* of each pool, changed at random */
	MODEL_POOLS = 2,      /* pools 0 and 1 */
	MODEL_STATES = 4096,  /* of one key, between two looks */
	MODEL_FOREIGN = 8192, /* records that another program has appended */
};

/* States are numbers of changes; that no such key is there is 0. */
struct model_key {
	uint32_t n;
	uint32_t acknowledged; /* index into states */
	uint32_t states[MODEL_STATES]; /* with MODEL_REMOVED set: removed by that change */
};

#define MODEL_REMOVED 0x80000000u

struct model {
	struct model_key keys[MODEL_POOLS][MODEL_KEYS];
	uint32_t n_foreign; /* in pool 1 */
	char complaint[512];
};

/* One change of a key. */
struct model_change {
	unsigned int pool;
	unsigned int key;
	uint32_t number; /* of the change, from 1 on; with MODEL_REMOVED: removes */
};

/* Nothing is there. */
void model_init(struct model *m);

/* A change at random: of *@seed comes the next one. */
struct model_change model_random(uint64_t *seed, uint32_t number);

/* The key's and the value's text, as the store takes them. */
void model_entry(const struct model_change *change, struct kvp_entry *ret_entry);

/* It was submitted; it was acknowledged. */
void model_submitted(struct model *m, const struct model_change *change);
void model_acknowledged(struct model *m, const struct model_change *change);

/* Another program's record number @number, from 0 on. */
void model_foreign(uint32_t number, struct kvp_entry *ret_entry);

/*
 * Compares what is there now, and takes it for what was there. False: something is lost, or is
 * there that cannot be; m->complaint says what.
 */
_must_check_ bool model_look(struct model *m, const struct kvp_store *store);

/* A number below @n; xorshift. */
uint32_t model_below(uint64_t *seed, uint32_t n);
