/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>
#include <stddef.h>

/*
 * What a check for a monitor finds, in the way of Nagios' plugins.
 */

/* Their exit codes. */
enum finding_level {
	FINDING_OK,
	FINDING_WARNING,
	FINDING_CRITICAL,
	FINDING_UNKNOWN,
};

enum {
	FINDINGS_MAX = 16,
};

struct findings {
	struct {
		enum finding_level level;
		char text[200];
	} list[FINDINGS_MAX];
	size_t n; /* begins with 0 */
};

/* Adds one, as printf() has it; what is more than FINDINGS_MAX, or longer than there is room, is lost. */
__attribute__((format(printf, 3, 4))) void findings_add(struct findings *f, enum finding_level level,
							const char *format, ...);

/* FINDING_OK if there are none. */
enum finding_level findings_worst(const struct findings *f);

/* Prints the worst level and all findings, the worst first, or @all_well; without an end of the line. */
void findings_print(const struct findings *f, const char *all_well);

/* {"schema", "level", "findings": [{"level", "text"}]} */
json_t *findings_json(const struct findings *f);
