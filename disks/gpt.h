/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Whether a GPT is sound. It is changed by libfdisk; but that repairs what is damaged without being
 * asked, and a table that needs repair is not one to be extended.
 */

/* The condition of gpt_read_header() and gpt_check_entries(). */
enum {
	GPT_DAMAGED = 1,
};

enum {
	GPT_ENTRIES_MAX_BYTES = 128 * 1024, /* of the array: eight times the usual */
};

struct gpt_header {
	uint64_t this_lba;      /* in sectors, all four */
	uint64_t other_lba;     /* where its copy is */
	uint64_t last_usable_lba;
	uint64_t entries_lba;
	uint32_t entry_bytes;   /* of one entry, 128 or more */
	uint32_t entries_bytes; /* of the array; at most GPT_ENTRIES_MAX_BYTES */
	uint32_t entries_crc;
};

/* Reads the sector of @size bytes (512 or more) that is number @lba. GPT_DAMAGED. */
_must_check_ int gpt_read_header(const void *sector, size_t size, uint64_t lba,
				 struct gpt_header *ret_header);

/* Whether these are the entries that the header speaks of. GPT_DAMAGED. */
_must_check_ int gpt_check_entries(const struct gpt_header *header, const void *entries, size_t size);
