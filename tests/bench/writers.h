/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Who suffers from a freeze: on each file system a thread that appends 512 bytes with fsync, and one
 * that rewrites 64 bytes without. What is measured is how long a write took, from its call to its
 * return, not how long it waited for its turn.
 */

struct writers;

/* Starts two threads on each of the @n folders. */
struct writers *writers_new(const char *const *folders, size_t n);

/* Ends the threads, which must not be blocked. Takes NULL; returns NULL. */
struct writers *writers_free(struct writers *writers);

/* Forgets what was measured; a write under way counts. */
void writers_reset(struct writers *writers);

/* The longest write since then, in ns; and the longest of those without fsync. */
uint64_t writers_longest_ns(const struct writers *writers);
uint64_t writers_longest_buffered_ns(const struct writers *writers);

/* When the last of those writes ended that had begun before @ns (CLOCK_MONOTONIC). */
uint64_t writers_last_end_ns(const struct writers *writers, uint64_t ns);
