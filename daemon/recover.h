/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"
#include "fsfreeze/freezer_proto.h"

/*
 * Thawing what a predecessor left frozen.
 */

/*
 * Thaws it, before anything else is opened: the first act of main(). @config may be NULL: it could
 * not be read. *ret_results (to be freed, may be NULL) are for recover_tell(), when there is a log.
 * What goes wrong here the freezer's client meets again, and tells.
 */
void recover_first(const struct config *config, struct freezer_result **ret_results,
		   size_t *ret_n);

/* Says what was left frozen, and what became of it. */
void recover_tell(const struct freezer_result *results, size_t n);
