/* SPDX-License-Identifier: MIT */

/*
 * base/metrics.c and base/histogram.c: what is written of which facts. That a real Prometheus reads
 * it is shown by tests/system/test-metrics.sh.
 */

#include "base/histogram.h"
#include "base/metrics.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static const struct metric metrics[] = {
	{.path = "a.bytes", .name = "x_bytes", .help = "A.", .type = METRIC_GAUGE},
	{.path = "a.none", .name = "x_none", .help = "Not there.", .type = METRIC_GAUGE},
	{.path = "a.text", .name = "x_wrong", .help = "No number.", .type = METRIC_GAUGE},
	{.path = "a.percent", .name = "x_ratio", .help = "R.", .scale = 0.01, .type = METRIC_GAUGE},
	{.path = "a.yes", .name = "x_yes", .help = "Y.", .type = METRIC_GAUGE},
	{.path = "a.text", .name = "x_state", .help = "S.", .type = METRIC_TEXT},
	{.path = "list[].n", .name = "x_things", .help = "T.", .label = "thing", .type = METRIC_COUNTER},
	{.path = "list[].m", .name = "x_things", .help = "T.", .label = "other", .key = "key",
	 .type = METRIC_COUNTER},
	{.path = "map[]", .name = "x_map", .help = "M.", .label = "which", .type = METRIC_COUNTER},
	{.path = "h", .name = "x_seconds", .help = "H.", .type = METRIC_HISTOGRAM},
	{0},
};

static void expect(const char *json, enum metrics_format format, const char *wanted)
{
	json_t *facts = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	cr_assert(facts != NULL, "%s", json);
	metrics_write(to, metrics, facts, format);
	fclose(to);
	cr_expect(zero(int, strcmp(text, wanted)), "%s: got\n%s", json, text);
	free(text);
	json_decref(facts);
}

Test(metrics, each_type_has_its_form)
{
	expect("{\"a\": {\"bytes\": 4294967296, \"text\": \"so \\\"so\\\"\\n\\\\\", \"percent\": 12.5,"
	       " \"yes\": true}}",
	       METRICS_TEXT,
	       "# HELP x_bytes A.\n# TYPE x_bytes gauge\nx_bytes 4294967296\n"
	       "# HELP x_ratio R.\n# TYPE x_ratio gauge\nx_ratio 0.125\n"
	       "# HELP x_yes Y.\n# TYPE x_yes gauge\nx_yes 1\n"
	       "# HELP x_state S.\n# TYPE x_state gauge\n"
	       "x_state{value=\"so \\\"so\\\"\\n\\\\\"} 1\n");
}

Test(metrics, what_is_missing_or_null_costs_nothing_else)
{
	expect("{\"a\": {\"bytes\": null, \"yes\": false}, \"list\": 3, \"map\": null, \"h\": 1}",
	       METRICS_TEXT, "# HELP x_yes Y.\n# TYPE x_yes gauge\nx_yes 0\n");
	expect("{}", METRICS_TEXT, "");
	expect("{}", METRICS_OPENMETRICS, "");
}

Test(metrics, elements_are_told_apart_by_a_label_and_a_family_has_one_head)
{
	static const char list[] = "{\"list\": [{\"name\": \"b\", \"n\": 2}, {\"name\": \"a\", \"n\": 1,"
				   " \"m\": 3, \"key\": \"k\"}], \"map\": {\"one\": 1, \"two\": 2}}";

	expect(list, METRICS_TEXT,
	       "# HELP x_things_total T.\n# TYPE x_things_total counter\n"
	       "x_things_total{thing=\"b\"} 2\nx_things_total{thing=\"a\"} 1\n"
	       "x_things_total{other=\"k\"} 3\n"
	       "# HELP x_map_total M.\n# TYPE x_map_total counter\n"
	       "x_map_total{which=\"one\"} 1\nx_map_total{which=\"two\"} 2\n");
	expect(list, METRICS_OPENMETRICS,
	       "# HELP x_things T.\n# TYPE x_things counter\n"
	       "x_things_total{thing=\"b\"} 2\nx_things_total{thing=\"a\"} 1\n"
	       "x_things_total{other=\"k\"} 3\n"
	       "# HELP x_map M.\n# TYPE x_map counter\n"
	       "x_map_total{which=\"one\"} 1\nx_map_total{which=\"two\"} 2\n");
}

Test(metrics, a_histogram_counts_up_to_each_bound)
{
	static const double bounds[] = {0.5, 1, 2};
	static const double amounts[] = {0.5, 0.6, 1, 2, 2.5, 100};
	struct histogram h;
	char *text;
	json_t *json;

	histogram_init(&h, bounds, 3);
	for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++)
		histogram_add(&h, amounts[i]);
	json = json_pack("{s:o}", "h", histogram_to_json(&h));
	text = json_dumps(json, 0);
	expect(text, METRICS_TEXT,
	       "# HELP x_seconds H.\n# TYPE x_seconds histogram\n"
	       "x_seconds_bucket{le=\"0.5\"} 1\nx_seconds_bucket{le=\"1\"} 3\n"
	       "x_seconds_bucket{le=\"2\"} 4\nx_seconds_bucket{le=\"+Inf\"} 6\n"
	       "x_seconds_sum 106.6\nx_seconds_count 6\n");
	free(text);
	json_decref(json);
}

Test(metrics, the_reader_chooses_the_format)
{
	cr_expect(eq(int, metrics_choose(NULL), METRICS_TEXT));
	cr_expect(eq(int, metrics_choose("*/*"), METRICS_TEXT));
	cr_expect(eq(int, metrics_choose("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
		     METRICS_OPENMETRICS));
}
