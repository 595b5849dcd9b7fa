/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/rules.c: words and patterns.
 */

#include "fsfreeze/rules.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

Test(rules, a_rule_is_a_known_word_a_colon_and_a_pattern)
{
	static const struct {
		const char *text;
		enum freeze_rule_kind kind;
		const char *pattern; /* NULL: refused */
	} rows[] = {
		{"path:/srv", FREEZE_RULE_PATH, "/srv"},
		{"type:vfat", FREEZE_RULE_TYPE, "vfat"},
		{"label:a:b", FREEZE_RULE_LABEL, "a:b"},
		{"device:/dev/sd*", FREEZE_RULE_DEVICE, "/dev/sd*"},
		{"type:", 0, NULL}, {"type", 0, NULL}, {"", 0, NULL}, {":x", 0, NULL},
		{"size:1", 0, NULL}, {"Type:vfat", 0, NULL}, {"/srv", 0, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct freeze_rule rule;
		int r = freeze_rule_parse(rows[i].text, &rule);

		cr_assert(eq(int, r, rows[i].pattern ? 0 : FREEZE_RULE_INVALID), "%s", rows[i].text);
		if (r)
			continue;
		cr_expect(eq(int, rule.kind, rows[i].kind));
		cr_expect(eq(str, (char *)(uintptr_t)rule.pattern,
			     (char *)(uintptr_t)rows[i].pattern));
	}
}

Test(rules, patterns_match_from_end_to_end)
{
	static const struct {
		const char *pattern;
		const char *text;
		bool matches;
	} rows[] = {
		{"ext4", "ext4", true},       {"ext4", "ext", false},     {"ext", "ext4", false},
		{"ext?", "ext4", true},       {"ext?", "ext", false},     {"*", "", true},
		{"*", "/a/b", true},          {"/srv*", "/srv", true},    {"/srv*", "/srv/a/b", true},
		{"/srv/*", "/srv", false},    {"*b", "/a/b", true},       {"*a*b*", "xaxbx", true},
		{"*a*b*", "xbxax", false},    {"*ab", "aab", true},       {"*aab", "aaab", true},
		{"", "", true},               {"", "a", false},           {"?*", "", false},
		{"**a", "a", true},           {"*", NULL, false},         {"/var/*/x", "/var/a/b/x", true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(eq(int, freeze_rule_matches(rows[i].pattern, rows[i].text),
			     rows[i].matches),
			  "%s on %s", rows[i].pattern, rows[i].text ?: "nothing");
}
