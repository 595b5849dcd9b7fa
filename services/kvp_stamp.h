/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_wire.h"

/*
 * Whose values are in the pools: which boot of which machine wrote there last.
 */

enum {
	KVP_STAMP_TEXT_SIZE = 64, /* of a boot or a machine, with its NUL */
	KVP_STAMP_SIZE = 160,     /* of a stamp */
};

struct kvp_stamp {
	char boot[KVP_STAMP_TEXT_SIZE]; /* "": not known */
	char machine[KVP_STAMP_TEXT_SIZE];
};

/* Either may be NULL. What is too long is cut, and line ends end it. */
struct kvp_stamp kvp_stamp_of(const char *boot, const char *machine);

/* What kvp_stamp_write() wrote; of anything else what there is of it. */
struct kvp_stamp kvp_stamp_read(const char *text);
void kvp_stamp_write(const struct kvp_stamp *stamp, char ret_text[KVP_STAMP_SIZE]);

/*
 * True if @pool has nothing to say any more, given who stamped it (@then) and who is here: what the
 * host says of itself is of one boot, because it says it again; what is of this machine is of no
 * other. What is not known is no reason.
 */
bool kvp_stamp_is_stale(const struct kvp_stamp *then, const struct kvp_stamp *now,
			enum kvp_pool pool);
