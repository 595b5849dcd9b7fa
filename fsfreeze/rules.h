/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Rules that name file systems: "path:/srv/scratch*", "type:vfat", "label:BACKUP", "device:/dev/sdb?".
 */

enum freeze_rule_kind {
	FREEZE_RULE_PATH,   /* where it is mounted */
	FREEZE_RULE_TYPE,
	FREEZE_RULE_LABEL,
	FREEZE_RULE_DEVICE, /* what it was mounted from */
	FREEZE_RULE_KINDS,
};

struct freeze_rule {
	enum freeze_rule_kind kind;
	const char *pattern; /* '*' stands for any characters, '/' as well; '?' for one */
};

/* The condition of freeze_rule_parse(). */
enum {
	FREEZE_RULE_INVALID = 1, /* no known word before the colon, or nothing after it */
};

/* The pattern is a part of @text. FREEZE_RULE_INVALID. */
_must_check_ int freeze_rule_parse(const char *text, struct freeze_rule *ret_rule);

/* Does @text match @pattern from end to end? NULL matches nothing. */
bool freeze_rule_matches(const char *pattern, const char *text);
