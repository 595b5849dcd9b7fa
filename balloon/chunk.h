/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/frames.h"
#include "balloon/ledger.h"
#include "balloon/pin.h"

/*
 * A chunk: one mapping of a slice of memory that is out of use, and its pins. The inside of
 * balloon/pages.c, which says what the rules are.
 */

/* What all chunks share; borrowed by each of them. */
struct chunk_context {
	struct pin *pin; /* NULL: lock only */
	int pagemap_fd;
	int memfds[PAGES_N_SOURCES]; /* -1: this source has none */
};

/* A unit's slot when it has no pin: it is free, or it is only locked, or about to be freed. */
#define CHUNK_SLOT_NONE UINT32_MAX

struct chunk {
	const struct chunk_context *context;
	struct ledger_chunk *ledger;
	uint32_t number;  /* its place in the ledger */
	uint8_t *address; /* NULL before it is mapped */
	uint32_t mapped_units;
	uint32_t live_units; /* not freed */
	bool dirty;          /* pages were given back and may have made units free */
	uint32_t slots[];    /* per unit: its pin; equal neighbours are one pin */
};

/* The conditions. */
enum {
	CHUNK_EXHAUSTED = 1, /* fill: there is no memory of this kind */
	CHUNK_HIDDEN,        /* the kernel shows us no frame numbers */
};

/* A chunk at an empty place, with room for @n_units; nothing is mapped. -ENOMEM. */
_must_check_ int chunk_new(const struct chunk_context *context, struct ledger_chunk *ledger,
			   uint32_t number, enum pages_source source, uint32_t n_units,
			   struct chunk **ret_chunk);

/* Lets go of the mapping and its pins, frees what is left of the memory, and empties the place. */
struct chunk *chunk_free(struct chunk *chunk);
DEFINE_CLEANUP(chunk)

/* Lets go of the mapping and its pins only: the memory stays where it is, for a successor. */
struct chunk *chunk_forget(struct chunk *chunk);

/*
 * Populates, pins and looks: afterwards the chunk is held, of as many units as there was memory
 * for. CHUNK_EXHAUSTED, CHUNK_HIDDEN, negative errno.
 */
_must_check_ int chunk_fill(struct chunk *chunk);

/*
 * The same for a place that a dead predecessor held: maps and pins what is there. Units whose frame
 * is another one by now are freed, and their pages counted as lost. Negative errno, CHUNK_HIDDEN.
 */
_must_check_ int chunk_adopt(const struct chunk_context *context, struct ledger_chunk *ledger,
			     uint32_t number, uint64_t *ret_lost_pages, struct chunk **ret_chunk);

/* Frees what is at the place that a dead predecessor was about to fill. */
void chunk_discard(const struct chunk_context *context, struct ledger_chunk *ledger,
		   uint32_t number);

/* Frees all units whose pages are all back. The chunk stays dirty if it has to be tried again. */
_must_check_ int chunk_release(struct chunk *chunk);

/* Reads the frames anew; how many pages are held, and how many of them are elsewhere by now. */
_must_check_ int chunk_verify(const struct chunk *chunk, uint64_t *ret_pages,
			      uint64_t *ret_moved_pages);

/* Bytes of a unit. */
uint64_t chunk_unit_bytes(const struct chunk *chunk);

/* 0; -EPERM if the kernel shows this process no page frame numbers. */
_must_check_ int chunk_check_pagemap(int pagemap_fd);
