/* SPDX-License-Identifier: MIT */

/*
 * host/qmp_wire.c and host/qemu_figures.c: messages as QEMU 10.0 sends them, and what lies.
 */

#include "host/qemu_figures.h"
#include "host/qmp_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static const char stats[] =
	"{\"return\": {\"stats\": {\"stat-htlb-pgalloc\": 0, \"stat-swap-out\": 8192, "
	"\"stat-available-memory\": 104857600, \"stat-htlb-pgfail\": 0, \"stat-free-memory\": 94371840, "
	"\"stat-minor-faults\": 2143, \"stat-major-faults\": 0, \"stat-total-memory\": 209715200, "
	"\"stat-swap-in\": 18446744073709551615, \"stat-disk-caches\": 4096}, "
	"\"last-update\": 1764471234}, \"id\": 7}";

static void expect_kind(const char *text, enum qmp_kind kind, bool has_id, uint64_t id)
{
	struct qmp_message m;

	cr_assert(eq(int, qmp_wire_parse(text, strlen(text), &m), 0), "%s", text);
	cr_expect(eq(int, m.kind, kind), "%s", text);
	cr_expect(eq(int, m.has_id, has_id), "%s", text);
	cr_expect(eq(u64, m.id, id), "%s", text);
	qmp_message_fini(&m);
}

Test(qmp_wire, the_four_kinds_of_messages_are_known)
{
	expect_kind("{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}", QMP_GREETING, false, 0);
	expect_kind("{\"return\": {}, \"id\": 1}", QMP_RETURN, true, 1);
	expect_kind("{\"return\": []}", QMP_RETURN, false, 0);
	expect_kind("{\"id\": 3, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}", QMP_ERROR,
		    true, 3);
	expect_kind("{\"error\": {}}", QMP_ERROR, false, 0);
	expect_kind("{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}", QMP_EVENT,
		    false, 0);
	expect_kind("{\"return\": 1, \"id\": -1}", QMP_RETURN, false, 0);
	expect_kind("{\"return\": 1, \"id\": 1.5}", QMP_RETURN, false, 0);
	expect_kind("{\"return\": 1, \"id\": \"1\"}", QMP_RETURN, false, 0);
	expect_kind(stats, QMP_RETURN, true, 7);
}

Test(qmp_wire, anything_else_is_none)
{
	static const char *const rows[] = {
		"", "{", "{}", "[]", "null", "{\"QMP\": 1}", "{\"event\": 1}", "{\"error\": \"no\"}",
		"{\"return\": 1e999}", "{\"return\": 1, \"return\": 2}", "{\"return\": 1} x",
		"{\"event\": \"a\\u0000b\"}", "{\"return\": \"\xff\"}", "{\"return\": {]}}",
	};
	struct qmp_message m;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(eq(int, qmp_wire_parse(rows[i], strlen(rows[i]), &m), QMP_WIRE_BAD), "%s",
			  rows[i]);
}

/* Every bit of a good message, and every length of it: it is read or refused, and nothing else. */
Test(qmp_wire, a_message_that_is_damaged_does_no_harm)
{
	char copy[sizeof(stats)];
	struct qemu_report report;
	struct qmp_message m;

	for (size_t bit = 0; bit < 8 * (sizeof(stats) - 1); bit++) {
		memcpy(copy, stats, sizeof(stats));
		copy[bit / 8] ^= (char)(1 << bit % 8);
		if (qmp_wire_parse(copy, sizeof(stats) - 1, &m))
			continue;
		(void)!qemu_virtio_report(m.value, 0, &report);
		qmp_message_fini(&m);
	}
	for (size_t size = 0; size < sizeof(stats) - 1; size++)
		cr_expect(eq(int, qmp_wire_parse(stats, size, &m), QMP_WIRE_BAD));
}

Test(qmp_wire, a_command_is_one_line_that_can_be_read)
{
	static const struct {
		const char *command;
		uint64_t id;
		const char *line;
	} rows[] = {
		{"query-status", 1, "{\"execute\":\"query-status\",\"id\":1}\n"},
		{"balloon", 2, "{\"execute\":\"balloon\",\"arguments\":{\"value\":4096},\"id\":2}\n"},
	};

	for (size_t i = 0; i < 2; i++) {
		char *line = qmp_wire_command(rows[i].command,
					      i == 0 ? NULL : json_pack("{s:i}", "value", 4096),
					      rows[i].id);

		cr_assert(ne(ptr, line, NULL));
		cr_expect(eq(int, strcmp(line, rows[i].line), 0), "%s", line);
		free(line);
	}
}

static json_t *parse(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY, NULL);

	cr_assert(ne(ptr, value, NULL), "%s", text);
	return value;
}

Test(qmp_wire, a_number_is_whole_and_not_too_large)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t number;
	} rows[] = {
		{"0", true, 0}, {"4096", true, 4096}, {"9007199254740992", true, UINT64_C(1) << 53},
		{"18446744073709551615", false, 0}, {"-1", false, 0}, {"0.5", false, 0},
		{"\"1\"", false, 0}, {"true", false, 0}, {"null", false, 0}, {"1e300", false, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *value = parse(rows[i].text);
		uint64_t number = 0;

		cr_expect(eq(int, qmp_number(value, &number), rows[i].good), "%s", rows[i].text);
		cr_expect(eq(u64, number, rows[i].number), "%s", rows[i].text);
		json_decref(value);
	}
	cr_expect(not(qmp_number(NULL, &(uint64_t){0})));
}

Test(qmp_wire, what_a_guest_of_virtio_needs_is_in_use_and_a_floor)
{
	struct qemu_report report;
	struct qmp_message m;

	cr_assert(eq(int, qmp_wire_parse(stats, sizeof(stats) - 1, &m), 0));
	cr_assert(eq(int, qemu_virtio_report(m.value, 1000, &report), 0));
	/* 200 MiB: the floor is 40 MiB and a quarter; 100 MiB are available. */
	cr_expect(eq(u64, report.floor_pages, 10240 + 12800));
	cr_expect(eq(u64, report.committed_pages, 25600 + 23040 + 1000));
	cr_expect(eq(u64, report.available_pages, 25600));
	cr_expect(eq(u64, report.swapped_out_pages, 2));
	cr_expect(eq(u64, report.updated, 1764471234));
	qmp_message_fini(&m);
}

Test(qmp_wire, statistics_that_lie_or_lack_something_are_no_report)
{
	static const struct {
		const char *text;
		int result;
	} rows[] = {
		{"{\"last-update\": 5, \"stats\": {\"stat-total-memory\": 8192, \"stat-free-memory\": 4096}}",
		 0},
		{"{\"last-update\": 0, \"stats\": {\"stat-total-memory\": 8192, \"stat-free-memory\": 4096}}",
		 QEMU_FIGURES_BAD},
		{"{\"last-update\": 5, \"stats\": {\"stat-total-memory\": 8192}}", QEMU_FIGURES_BAD},
		{"{\"last-update\": 5, \"stats\": {\"stat-total-memory\": 0, \"stat-free-memory\": 0}}",
		 QEMU_FIGURES_BAD},
		{"{\"last-update\": 5, \"stats\": {\"stat-total-memory\": 8192, \"stat-free-memory\": 8193}}",
		 QEMU_FIGURES_BAD},
		{"{\"last-update\": 5, \"stats\": {\"stat-total-memory\": -1, \"stat-free-memory\": 1}}",
		 QEMU_FIGURES_BAD},
		{"{\"last-update\": 5, \"stats\": []}", QEMU_FIGURES_BAD},
		{"{\"last-update\": \"5\"}", QEMU_FIGURES_BAD},
		{"17", QEMU_FIGURES_BAD},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *value = parse(rows[i].text);
		struct qemu_report report;

		cr_expect(eq(int, qemu_virtio_report(value, 0, &report), rows[i].result), "%s",
			  rows[i].text);
		json_decref(value);
	}
	cr_expect(eq(int, qemu_virtio_report(NULL, 0, &(struct qemu_report){0}), QEMU_FIGURES_BAD));
}

Test(qmp_wire, the_reports_of_hv_balloon_are_taken_as_they_are)
{
	json_t *good = parse("{\"committed\": 81920, \"available\": 40960}");
	json_t *bad = parse("{\"committed\": 81920}");
	struct qemu_report report;

	cr_assert(eq(int, qemu_hv_report(good, &report), 0));
	cr_expect(eq(u64, report.committed_pages, 20));
	cr_expect(eq(u64, report.available_pages, 10));
	cr_expect(eq(int, qemu_hv_report(bad, &report), QEMU_FIGURES_BAD));
	cr_expect(eq(int, qemu_hv_report(NULL, &report), QEMU_FIGURES_BAD));
	json_decref(good);
	json_decref(bad);
}

Test(qmp_wire, a_balloon_is_found_among_other_devices)
{
	static const struct {
		const char *list;
		int result;
		enum qemu_balloon balloon;
		const char *name;
	} rows[] = {
		{"[{\"name\": \"type\", \"type\": \"string\"}, {\"name\": \"b0\", \"type\": "
		 "\"child<virtio-balloon-pci>\"}]",
		 0, QEMU_BALLOON_VIRTIO, "b0"},
		{"[{\"name\": \"device[3]\", \"type\": \"child<hv-balloon>\"}]", 0, QEMU_BALLOON_HV,
		 "device[3]"},
		{"[{\"name\": \"d\", \"type\": \"child<virtio-blk-pci>\"}]", QEMU_FIGURES_BAD, 0, NULL},
		{"[{\"type\": \"child<hv-balloon>\"}, 3, {\"name\": 4, \"type\": \"child<hv-balloon>\"}]",
		 QEMU_FIGURES_BAD, 0, NULL},
		{"[]", QEMU_FIGURES_BAD, 0, NULL},
		{"{}", QEMU_FIGURES_BAD, 0, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *list = parse(rows[i].list);
		enum qemu_balloon balloon;
		const char *name;

		cr_expect(eq(int, qemu_find_balloon(list, &balloon, &name), rows[i].result), "row %zu",
			  i);
		if (rows[i].result == 0) {
			cr_expect(eq(int, balloon, rows[i].balloon));
			cr_expect(eq(int, strcmp(name, rows[i].name), 0));
		}
		json_decref(list);
	}
}
