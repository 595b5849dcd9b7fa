/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>

/*
 * The kernel's message that a disk has another size.
 */

/* The condition of block_event_parse(). */
enum {
	BLOCK_EVENT_OTHER = 1, /* it is about something else */
};

enum {
	BLOCK_EVENT_NAME_SIZE = 32,
};

/* Reads one kobject message of @size bytes; the name is the disk's, as "sda". BLOCK_EVENT_OTHER. */
_must_check_ int block_event_parse(const char *message, size_t size,
				   char ret_name[BLOCK_EVENT_NAME_SIZE]);
