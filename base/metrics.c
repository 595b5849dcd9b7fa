/* SPDX-License-Identifier: MIT */

/*
 * Metrics.
 *
 * A table says which value of the status is which metric, so that the two cannot tell different
 * stories, and one that is missing (a service that is off, a file that could not be read) costs its
 * own series and no other.
 *
 * The two formats differ in little: OpenMetrics names a counter's family without "_total" and ends
 * with a line that says so. Samples come in the order of the table; a family's head is written with
 * its first sample, so that no family is empty.
 */

#include "base/metrics.h"

#include "base/histogram.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum metrics_format metrics_choose(const char *accept)
{
	return accept && strstr(accept, "application/openmetrics-text") ? METRICS_OPENMETRICS
									 : METRICS_TEXT;
}

/* Where the samples go. */
struct writer {
	FILE *to;
	enum metrics_format format;
	const struct metric *metric;
	const char *family; /* whose head was written last */
};

void metrics_write_family(FILE *to, enum metrics_format format, enum metric_type type,
			  const char *name, const char *help)
{
	static const char *const types[] = {
		[METRIC_GAUGE] = "gauge",
		[METRIC_COUNTER] = "counter",
		[METRIC_TEXT] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
	};
	const char *suffix = type == METRIC_COUNTER && format == METRICS_TEXT ? "_total" : "";

	fprintf(to, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, types[type]);
}

static void write_head(struct writer *w)
{
	const struct metric *m = w->metric;

	if (w->family && !strcmp(w->family, m->name))
		return;
	w->family = m->name;
	metrics_write_family(w->to, w->format, m->type, m->name, m->help);
}

static void write_label_value(FILE *to, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", to);
		else if (*text == '\\' || *text == '"')
			fprintf(to, "\\%c", *text);
		else
			putc(*text, to);
	}
}

/* Two labels; either may be missing. */
static void write_two_labels(FILE *to, const char *first, const char *first_value,
			     const char *second, const char *second_value)
{
	bool has_first = first && first_value;

	if (!has_first && !second)
		return;
	putc('{', to);
	if (has_first) {
		fprintf(to, "%s=\"", first);
		write_label_value(to, first_value);
		fputs(second ? "\"," : "\"", to);
	}
	if (second) {
		fprintf(to, "%s=\"", second);
		write_label_value(to, second_value);
		putc('"', to);
	}
	putc('}', to);
}

/* The element's label, and one more if @name is not NULL. */
static void write_labels(const struct writer *w, const char *element, const char *name,
			 const char *value)
{
	write_two_labels(w->to, w->metric->label, element, name, value);
}

static void write_number(FILE *to, double number)
{
	if (number == floor(number) && fabs(number) < 1e15)
		fprintf(to, " %.0f\n", number);
	else
		fprintf(to, " %.9g\n", number);
}

void metrics_write_sample(FILE *to, enum metric_type type, const char *name, const char *label,
			  const char *label_value, double value)
{
	fprintf(to, "%s%s", name, type == METRIC_COUNTER ? "_total" : "");
	write_two_labels(to, label, label_value, NULL, NULL);
	write_number(to, value);
}

void metrics_write_text(FILE *to, const char *name, const char *label, const char *label_value,
			const char *text)
{
	fputs(name, to);
	write_two_labels(to, label, label_value, "value", text);
	write_number(to, 1);
}

static void write_histogram(struct writer *w, const char *element, const json_t *value)
{
	const char *name = w->metric->name;
	const json_t *bounds = json_object_get(value, "le"), *bound;
	double sum = 0;
	char text[32];
	size_t i;

	json_array_foreach(bounds, i, bound) {
		sum += json_number_value(json_array_get(json_object_get(value, "counts"), i));
		snprintf(text, sizeof(text), "%g", json_number_value(bound));
		fprintf(w->to, "%s_bucket", name);
		write_labels(w, element, "le", text);
		write_number(w->to, sum);
	}
	fprintf(w->to, "%s_bucket", name);
	write_labels(w, element, "le", "+Inf");
	write_number(w->to, json_number_value(json_object_get(value, "count")));
	fprintf(w->to, "%s_sum", name);
	write_labels(w, element, NULL, NULL);
	write_number(w->to, json_number_value(json_object_get(value, "sum")));
	fprintf(w->to, "%s_count", name);
	write_labels(w, element, NULL, NULL);
	write_number(w->to, json_number_value(json_object_get(value, "count")));
}

static void write_sample(struct writer *w, const char *element, const json_t *value)
{
	const struct metric *m = w->metric;
	const bool is_number = json_is_number(value) || json_is_boolean(value);

	if (m->type == METRIC_HISTOGRAM ? !json_is_object(value)
					: m->type == METRIC_TEXT ? !json_is_string(value) : !is_number)
		return;
	write_head(w);
	if (m->type == METRIC_HISTOGRAM) {
		write_histogram(w, element, value);
		return;
	}
	if (m->type == METRIC_TEXT) {
		metrics_write_text(w->to, m->name, m->label, element, json_string_value(value));
		return;
	}
	metrics_write_sample(w->to, m->type, m->name, m->label, element,
			     (json_is_boolean(value) ? json_is_true(value) : json_number_value(value)) *
				     (m->scale > 0 ? m->scale : 1));
}

static void follow(struct writer *w, const json_t *at, const char *path, const char *element);

static void follow_list(struct writer *w, const json_t *list, const char *rest)
{
	const char *key = w->metric->key, *name;
	json_t *element;
	size_t i;

	json_array_foreach(list, i, element)
		follow(w, element, rest, json_string_value(json_object_get(element, key ? key : "name")));
	json_object_foreach((json_t *)(uintptr_t)list, name, element)
		follow(w, element, rest, key ? json_string_value(json_object_get(element, key)) : name);
}

/* Down the path from @at; an element of a list that has no name is left out. */
static void follow(struct writer *w, const json_t *at, const char *path, const char *element)
{
	char word[64];
	size_t n = strcspn(path, ".[");

	if (*path == '\0') {
		write_sample(w, element, at);
		return;
	}
	snprintf(word, sizeof(word), "%.*s", (int)n, path);
	at = n > 0 ? json_object_get(at, word) : at;
	path += n;
	if (!at)
		return;
	if (*path == '[')
		follow_list(w, at, path + (path[2] == '.' ? 3 : 2));
	else
		follow(w, at, path + (*path == '.'), element);
}

void metrics_write(FILE *to, const struct metric metrics[], const json_t *facts,
		   enum metrics_format format)
{
	struct writer w = {.to = to, .format = format};

	for (w.metric = metrics; w.metric->name; w.metric++)
		follow(&w, facts, w.metric->path, NULL);
}

void metrics_reply_with(struct httpd_request *request,
			void (*write)(FILE *to, enum metrics_format format, void *user), void *user)
{
	static const char *const types[] = {
		[METRICS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
		[METRICS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
	};
	enum metrics_format format = metrics_choose(httpd_request_header(request, "Accept"));
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	if (to) {
		write(to, format, user);
		fputs(format == METRICS_OPENMETRICS ? "# EOF\n" : "", to);
		(void)fclose(to);
	}
	if (text)
		httpd_reply(request, 200, types[format], text, size);
	else
		httpd_reply_json(request, 500, NULL);
	free(text);
}

struct facts {
	const struct metric *metrics;
	const json_t *facts;
};

static void write_facts(FILE *to, enum metrics_format format, void *user)
{
	const struct facts *f = user;

	metrics_write(to, f->metrics, f->facts, format);
}

void metrics_reply(struct httpd_request *request, const struct metric metrics[], json_t *take_facts)
{
	metrics_reply_with(request, write_facts, &(struct facts){metrics, take_facts});
	json_decref(take_facts);
}
