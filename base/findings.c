/* SPDX-License-Identifier: MIT */

/*
 * What a check for a monitor finds.
 *
 * All findings are in one line, the worst first, because that is what a monitor shows and what fits
 * into a message at night; the worst decides the exit code.
 */

#include "base/findings.h"

#include <stdarg.h>
#include <stdio.h>

void findings_add(struct findings *f, enum finding_level level, const char *format, ...)
{
	va_list args;

	if (f->n == FINDINGS_MAX)
		return;
	f->list[f->n].level = level;
	va_start(args, format);
	vsnprintf(f->list[f->n++].text, sizeof(f->list[0].text), format, args);
	va_end(args);
}

enum finding_level findings_worst(const struct findings *f)
{
	enum finding_level worst = FINDING_OK;

	for (size_t i = 0; i < f->n; i++)
		if (f->list[i].level > worst)
			worst = f->list[i].level;
	return worst;
}

void findings_print(const struct findings *f, const char *all_well)
{
	static const char *const names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
	const char *between = " - ";

	fputs(names[findings_worst(f)], stdout);
	for (int level = FINDING_UNKNOWN; level > FINDING_OK; level--) {
		for (size_t i = 0; i < f->n; i++) {
			if ((int)f->list[i].level != level)
				continue;
			printf("%s%s", between, f->list[i].text);
			between = "; ";
		}
	}
	if (f->n == 0)
		printf(" - %s", all_well);
}

json_t *findings_json(const struct findings *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->n; i++)
		json_array_append_new(list, json_pack("{s:i, s:s}", "level", (int)f->list[i].level,
						      "text", f->list[i].text));
	return json_pack("{s:i, s:i, s:o}", "schema", 1, "level", (int)findings_worst(f), "findings",
			 list);
}
