/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"

#include <jansson.h>
#include <stdio.h>

/*
 * Metrics for Prometheus, made from what a daemon says of itself in JSON.
 */

enum metric_type {
	METRIC_GAUGE,
	METRIC_COUNTER,   /* the name is without "_total" */
	METRIC_TEXT,      /* a 1, with the text as the label "value" */
	METRIC_HISTOGRAM, /* of an object that histogram_to_json() has made */
};

struct metric {
	/*
	 * Where it is: "memory.ballooned_bytes"; "guests[].memory.assigned_bytes" is one sample for
	 * each element of the list or object "guests". A path that leads nowhere, or to null, is left
	 * out, and nothing else is. True and false count as 1 and 0.
	 */
	const char *path;
	const char *name;  /* a Prometheus name that ends in its unit */
	const char *help;
	const char *label; /* that tells the elements apart; NULL without [] */
	const char *key;   /* the element's member that is the label's value; NULL: its own key */
	double scale;      /* what the value is multiplied by; 0 is 1 */
	enum metric_type type;
};

enum metrics_format {
	METRICS_TEXT,        /* Prometheus' text format 0.0.4 */
	METRICS_OPENMETRICS, /* OpenMetrics 1.0 */
};

/* The format that a request with this header Accept (or NULL) wants. */
enum metrics_format metrics_choose(const char *accept);

/*
 * Writes @metrics (NULL as a name ends them) of @facts, without what OpenMetrics ends with. Metrics of
 * one name must follow each other.
 */
void metrics_write(FILE *to, const struct metric metrics[], const json_t *facts,
		   enum metrics_format format);

/* Answers with all of them, in the format that is asked for. */
void metrics_reply(struct httpd_request *request, const struct metric metrics[],
		   json_t *take_facts);

/* The same by hand, for who has too many to say it in JSON: a family's head, and its samples. */
void metrics_write_family(FILE *to, enum metrics_format format, enum metric_type type,
			  const char *name, const char *help);
/* With a label unless @label is NULL. */
void metrics_write_sample(FILE *to, enum metric_type type, const char *name, const char *label,
			  const char *label_value, double value);
/* A METRIC_TEXT. */
void metrics_write_text(FILE *to, const char *name, const char *label, const char *label_value,
			const char *text);

/* Answers with what @write writes. */
void metrics_reply_with(struct httpd_request *request,
			void (*write)(FILE *to, enum metrics_format format, void *user), void *user);
