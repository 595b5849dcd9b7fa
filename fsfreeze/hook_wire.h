/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What hvguestd and a runner of hooks say to each other: datagrams over a connection that is for one
 * run of one hook. hvguestd sends RUN, with the descriptor that the output goes to, and may send
 * SIGNALs; it is answered by STARTED and then ENDED, or by NOT_STARTED alone.
 */

enum hook_wire_type {
	HOOK_WIRE_RUN = 1,
	HOOK_WIRE_SIGNAL,      /* its number, for the hook's process group */
	HOOK_WIRE_STARTED,     /* the hook's process, which leads its group */
	HOOK_WIRE_NOT_STARTED, /* errno: nothing was executed */
	HOOK_WIRE_ENDED,       /* exit status, or 128 and the signal's number */
	HOOK_WIRE_TYPES,
};

enum {
	HOOK_WIRE_VERSION = 1,
	HOOK_WIRE_WORDS_MAX = 32,       /* of a command, or of its environment */
	HOOK_WIRE_RUN_MAX = 128 * 1024, /* bytes of RUN */
	HOOK_WIRE_WORD_SIZE = 8,        /* bytes of any other */
};

/* The conditions of what is here. */
enum {
	HOOK_WIRE_MALFORMED = 1,
	HOOK_WIRE_TOO_LONG,
};

struct hook_wire_run {
	bool ends_with_caller; /* SIGKILL for the hook if the connection is closed before it has ended */
	char *argv[HOOK_WIRE_WORDS_MAX + 1]; /* argv[0] is a path from /; both end with NULL */
	char *envp[HOOK_WIRE_WORDS_MAX + 1];
};

/* Writes RUN into the @size bytes at @buf. HOOK_WIRE_TOO_LONG, also for too many words. */
_must_check_ int hook_wire_put_run(void *buf, size_t size, char *const argv[], char *const envp[],
				   bool ends_with_caller, size_t *ret_len);

/* Reads RUN, whose words are then those in @data. HOOK_WIRE_MALFORMED. */
_must_check_ int hook_wire_get_run(void *data, size_t len, struct hook_wire_run *ret_run);

/* Writes a message of another @type. */
void hook_wire_put(uint8_t ret_buf[HOOK_WIRE_WORD_SIZE], enum hook_wire_type type, uint32_t value);

/* Reads one; its value is one that its type can have. HOOK_WIRE_MALFORMED. */
_must_check_ int hook_wire_get(const void *data, size_t len, enum hook_wire_type *ret_type,
			       uint32_t *ret_value);
