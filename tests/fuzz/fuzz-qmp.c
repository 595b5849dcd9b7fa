/* SPDX-License-Identifier: MIT */

/*
 * What a QMP server sends: cut into objects, parsed, and read for figures.
 *
 * Input: u8 piece, then the stream, which is put in pieces of that many bytes (0: all at once).
 *
 * Oracles: what comes out does not depend on the pieces; every object begins and ends with a bracket and
 * is within the limits; a stream that is refused stays refused; every figure is within its range.
 */

#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"
#include "host/qemu_figures.h"
#include "host/qmp_reader.h"
#include "host/qmp_wire.h"

#include <string.h>

#define NUMBER_MAX (UINT64_C(1) << 53)

static void look_at(const struct qmp_message *m)
{
	struct qemu_report report;
	enum qemu_balloon balloon;
	const char *name;
	uint64_t pages;

	fuzz_require(m->kind <= QMP_EVENT && m->id <= NUMBER_MAX);
	fuzz_require((m->kind != QMP_EVENT || m->name) && (m->kind != QMP_ERROR || m->text));
	if (qemu_virtio_report(m->value, 7, &report) == 0)
		fuzz_require(report.updated > 0 && report.committed_pages >= 7 + report.floor_pages);
	if (qemu_hv_report(m->value, &report) == 0)
		fuzz_require(report.committed_pages <= NUMBER_MAX);
	if (qemu_pages(m->value, "actual", &pages) == 0)
		fuzz_require(pages > 0 && pages <= NUMBER_MAX);
	if (qemu_find_balloon(m->value, &balloon, &name) == 0)
		fuzz_require(name && balloon != QEMU_BALLOON_NONE);
}

/* Adds the object to a sum, so that two readings can be compared. */
static uint64_t take(const char *text, size_t size, uint64_t sum)
{
	struct qmp_message message;

	fuzz_require(size >= 2 && size <= QMP_READER_MESSAGE_MAX && text[0] == '{');
	fuzz_require(text[size - 1] == '}' || text[size - 1] == ']');
	for (size_t i = 0; i < size; i++)
		sum = sum * 31 + (uint8_t)text[i];
	if (qmp_wire_parse(text, size, &message) == 0) {
		look_at(&message);
		qmp_message_fini(&message);
	}
	return sum * 31 + 1;
}

static uint64_t read_all(const uint8_t *data, size_t size, size_t piece)
{
	struct qmp_reader reader;
	const char *text;
	uint64_t sum = 0;
	size_t length;
	int r = 0;

	qmp_reader_init(&reader);
	for (size_t at = 0; at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		_cleanup_free_ uint8_t *copy = fuzz_copy(data + at, n);

		r = qmp_reader_put(&reader, (const char *)copy, n);
		fuzz_require(r == 0 || r == QMP_READER_TOO_LONG);
		while (r == 0) {
			r = qmp_reader_next(&reader, &text, &length);
			if (r == 0)
				sum = take(text, length, sum);
		}
		if (r != QMP_READER_MORE)
			break;
	}
	if (r == QMP_READER_BAD || r == QMP_READER_TOO_DEEP)
		fuzz_require(qmp_reader_next(&reader, &text, &length) == r);
	qmp_reader_fini(&reader);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece;

	if (size < 2)
		return 0;
	piece = data[0] ? data[0] : size;
	if (size < QMP_READER_MESSAGE_MAX / 2)
		fuzz_require(read_all(data + 1, size - 1, piece) == read_all(data + 1, size - 1, size));
	return 0;
}
