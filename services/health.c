/* SPDX-License-Identifier: MIT */

/*
 * Health.
 *
 * The host gets one word for the whole guest: critical if anybody says so. Who says it is kept apart by
 * name, so that one program does not call another one's trouble off. A report may have an end: then it is
 * gone, which suits a program that reports trouble and may die before it reports its end; or it turns
 * critical, which suits one that reports all is well again and again, and whose silence is the trouble.
 *
 * A source that is healthy and has no end has nothing to say, and takes no place. There is no timer in
 * this: the host asks every two seconds, and time passes then.
 */

#include "services/health.h"

#include <string.h>

void health_init(struct health *h)
{
	*h = (struct health){.n_reports = 0};
}

static bool name_is_good(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	size_t length = strspn(name, good);

	return length > 0 && length <= HEALTH_NAME_MAX && name[length] == '\0';
}

static struct health_report *find(struct health *h, const char *source)
{
	for (size_t i = 0; i < h->n_reports; i++)
		if (strcmp(h->reports[i].source, source) == 0)
			return &h->reports[i];
	return NULL;
}

static void forget(struct health *h, struct health_report *report)
{
	size_t behind = h->n_reports - (size_t)(report - h->reports) - 1;

	memmove(report, report + 1, behind * sizeof(*report));
	h->n_reports--;
}

static void copy_text(char *target, const char *text)
{
	for (; *text; text++)
		*target++ = (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text;
	*target = '\0';
}

int health_report(struct health *h, const char *source, bool is_critical, const char *text,
		  uint64_t ttl_ns, bool then_critical, uint64_t now_ns)
{
	struct health_report *report;
	bool was_critical;

	if (!name_is_good(source))
		return HEALTH_BAD_NAME;
	if (strlen(text) > HEALTH_TEXT_MAX)
		return HEALTH_BAD_TEXT;
	health_tick(h, now_ns);
	was_critical = health_is_critical(h);
	report = find(h, source);
	if (!is_critical && ttl_ns == 0) {
		if (report)
			forget(h, report);
	} else {
		if (!report && h->n_reports == HEALTH_SOURCES_MAX)
			return HEALTH_FULL;
		if (!report)
			report = &h->reports[h->n_reports++];
		*report = (struct health_report){
			.is_critical = is_critical,
			.then_critical = then_critical,
			.since_ns = now_ns,
			.until_ns = ttl_ns > 0 ? now_ns + ttl_ns : UINT64_MAX,
		};
		strcpy(report->source, source);
		copy_text(report->text, text);
	}
	h->changes += health_is_critical(h) != was_critical;
	return 0;
}

void health_tick(struct health *h, uint64_t now_ns)
{
	bool was_critical = health_is_critical(h);
	size_t i = 0;

	while (i < h->n_reports) {
		struct health_report *report = &h->reports[i];

		if (now_ns < report->until_ns) {
			i++;
		} else if (report->then_critical) {
			report->is_critical = true;
			report->has_expired = true;
			report->since_ns = report->until_ns;
			report->until_ns = UINT64_MAX;
		} else {
			forget(h, report);
		}
	}
	h->changes += health_is_critical(h) != was_critical;
}

bool health_is_critical(const struct health *h)
{
	for (size_t i = 0; i < h->n_reports; i++)
		if (h->reports[i].is_critical)
			return true;
	return false;
}
