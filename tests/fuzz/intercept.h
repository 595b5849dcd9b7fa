/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Every access that code compiled with -fsanitize=thread makes to one piece of memory, before it is
 * made. tests/fuzz/local.mk compiles vmbus/ring.c and vmbus/channel.c that way.
 */

enum access_kind {
	ACCESS_LOAD,
	ACCESS_STORE,
	ACCESS_FENCE,
};

struct access {
	enum access_kind kind;
	bool is_atomic;
	int order;      /* of an atomic access or a fence: as in <stdatomic.h> */
	size_t offset;  /* bytes from the start of the memory */
	size_t size;    /* bytes; a copy is made in pieces of at most 8 */
	uint32_t value; /* of an atomic access: what is loaded, or about to be stored */
};

/* Who is told; @user is what intercept_start() was given. What they access is not intercepted. */
struct intercept_ops {
	/* Something is about to be accessed: the last moment to change it. */
	void (*before)(void *user);
	/* What the access is. */
	void (*note)(void *user, const struct access *access);
};

/* Watches @size bytes at @memory until intercept_stop(). One at a time. */
void intercept_start(void *memory, size_t size, const struct intercept_ops *ops, void *user);
void intercept_stop(void);
