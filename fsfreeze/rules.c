/* SPDX-License-Identifier: MIT */

/*
 * Rules.
 *
 * A rule is a word, a colon and a pattern. Patterns are those that everybody knows from the shell,
 * without classes and without an escape; a '*' also stands for slashes, so that "path:/srv/x*" is
 * all that is mounted below, too.
 */

#include "fsfreeze/rules.h"

#include <string.h>

static const char *const words[] = {
	[FREEZE_RULE_PATH] = "path:",
	[FREEZE_RULE_TYPE] = "type:",
	[FREEZE_RULE_LABEL] = "label:",
	[FREEZE_RULE_DEVICE] = "device:",
};
_Static_assert(sizeof(words) / sizeof(words[0]) == FREEZE_RULE_KINDS, "");

int freeze_rule_parse(const char *text, struct freeze_rule *ret_rule)
{
	for (unsigned int kind = 0; kind < FREEZE_RULE_KINDS; kind++) {
		size_t length = strlen(words[kind]);

		if (strncmp(text, words[kind], length) != 0 || text[length] == '\0')
			continue;
		*ret_rule = (struct freeze_rule){(enum freeze_rule_kind)kind, text + length};
		return 0;
	}
	return FREEZE_RULE_INVALID;
}

bool freeze_rule_matches(const char *pattern, const char *text)
{
	const char *star = NULL, *after = NULL; /* the last '*', and where its match ends so far */

	if (!text)
		return false;
	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			after = text;
		} else if (*pattern == '?' || *pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++after;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
