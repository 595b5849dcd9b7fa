/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * An area of memory that outlives its writer and holds, at any instant, the complete state of the
 * last commit: a head of some hundred bytes and a log of entries. Not safe for two writers.
 */

/* The conditions of dynmem_area_open(). */
enum {
	DYNMEM_AREA_EMPTY = 1, /* nothing was ever committed */
	DYNMEM_AREA_BAD,       /* no head is whole and of this version, or its log is not */
};

enum {
	DYNMEM_AREA_PAYLOAD_MAX = 6000, /* bytes that a head carries; a multiple of 8 */
};

/* An entry of the log; its two words have whatever meaning the owner gives them. */
struct dynmem_entry {
	uint64_t words[2];
};

struct dynmem_area {
	uint8_t *base;
	size_t capacity; /* entries of each of the two logs */
	unsigned int log; /* 0 or 1: the one that is in use */
	unsigned int committed_log; /* the one that the last commit names */
	uint64_t seq;    /* of the last commit */
	size_t n;        /* entries in the log, committed or not */
	uint64_t sum;    /* over these */
	bool overflow;   /* an entry had no room: only dynmem_area_restart() helps */
};

/* The size in bytes of an area with room for @capacity entries. */
size_t dynmem_area_bytes(size_t capacity);

/*
 * Starts to use the @bytes at @base, aligned to 8, at least dynmem_area_bytes(1), which are
 * borrowed. There is nothing in it until the first commit.
 */
void dynmem_area_init(struct dynmem_area *area, void *base, size_t bytes);

/*
 * Goes on with what was last committed to the @bytes at @base. The head's payload is copied to
 * @ret_payload, DYNMEM_AREA_PAYLOAD_MAX bytes, in which what was not committed is 0. The log is
 * checked, and is read by dynmem_area_entry(). DYNMEM_AREA_EMPTY, DYNMEM_AREA_BAD; then the area
 * is untouched.
 */
_must_check_ int dynmem_area_open(struct dynmem_area *area, void *base, size_t bytes,
				  uint8_t *ret_payload);

/* Entry number @i < area->n. */
struct dynmem_entry dynmem_area_entry(const struct dynmem_area *area, size_t i);

/* Adds an entry that the next commit makes valid; or sets area->overflow. */
void dynmem_area_append(struct dynmem_area *area, struct dynmem_entry entry);

/* Begins an empty log; until the next commit the old one stays valid. */
void dynmem_area_restart(struct dynmem_area *area);

/* Makes @size bytes at @payload, and all entries, the state of the area. No overflow. */
void dynmem_area_commit(struct dynmem_area *area, const void *payload, size_t size);
