/* SPDX-License-Identifier: MIT */

/*
 * host/qmp_reader.c: the same objects come out, into whatever pieces the stream was cut.
 */

#include "host/qmp_reader.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

/* Puts @size bytes in pieces of at most @piece and collects what comes out, a '|' behind each. */
static int read_in_pieces(const char *bytes, size_t size, size_t piece, char *ret_out)
{
	struct qmp_reader reader;
	int r = QMP_READER_MORE;

	*ret_out = '\0';
	qmp_reader_init(&reader);
	for (size_t at = 0; at < size && r == QMP_READER_MORE; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		char *exact = malloc(n); /* so that reading beyond it is seen */
		const char *text;
		size_t length;

		memcpy(exact, bytes + at, n);
		r = qmp_reader_put(&reader, exact, n);
		free(exact);
		while (r == 0) {
			r = qmp_reader_next(&reader, &text, &length);
			if (r)
				break;
			strncat(ret_out, text, length);
			strcat(ret_out, "|");
		}
	}
	qmp_reader_fini(&reader);
	return r;
}

static const struct {
	const char *in, *out;
	int result; /* at the end of the input */
} rows[] = {
	{"{}", "{}|", QMP_READER_MORE},
	{"{\"a\": 1}\r\n{\"b\": [2, {}]}\r\n", "{\"a\": 1}|{\"b\": [2, {}]}|", QMP_READER_MORE},
	{"{}{}{}", "{}|{}|{}|", QMP_READER_MORE},
	{" \t\r\n {\n  \"pretty\":\n  {}\n}\n", "{\n  \"pretty\":\n  {}\n}|", QMP_READER_MORE},
	{"{\"}\": \"{[\\\"\"}", "{\"}\": \"{[\\\"\"}|", QMP_READER_MORE},
	{"{\"a\": \"\\\\\"}x", "{\"a\": \"\\\\\"}|", QMP_READER_BAD},
	{"{\"a\": \"", "", QMP_READER_MORE},
	{"[]", "", QMP_READER_BAD},
	{"}", "", QMP_READER_BAD},
	{"HTTP/1.1 200 OK", "", QMP_READER_BAD},
	{"{]", "{]|", QMP_READER_MORE}, /* the parser's business */
};

Test(qmp_reader, objects_come_out_however_the_stream_is_cut)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t size = strlen(rows[i].in);

		for (size_t piece = 1; piece <= size; piece++) {
			char out[256];
			int r = read_in_pieces(rows[i].in, size, piece, out);

			cr_expect(eq(int, r, rows[i].result), "'%s' by %zu", rows[i].in, piece);
			cr_expect(eq(int, strcmp(out, rows[i].out), 0), "'%s' by %zu: %s",
				  rows[i].in, piece, out);
		}
	}
}

Test(qmp_reader, what_is_nested_too_deeply_is_refused)
{
	char deep[2 * QMP_READER_DEPTH_MAX + 8], out[2 * QMP_READER_DEPTH_MAX + 8];

	for (size_t depth = QMP_READER_DEPTH_MAX - 1; depth <= QMP_READER_DEPTH_MAX + 1; depth++) {
		size_t n = 0;

		deep[n++] = '{';
		for (size_t i = 1; i < depth; i++)
			deep[n++] = '[';
		for (size_t i = 1; i < depth; i++)
			deep[n++] = ']';
		deep[n++] = '}';
		cr_expect(eq(int, read_in_pieces(deep, n, n, out),
			     depth > QMP_READER_DEPTH_MAX ? QMP_READER_TOO_DEEP : QMP_READER_MORE),
			  "depth %zu", depth);
	}
}

Test(qmp_reader, an_object_without_an_end_is_not_kept_for_ever)
{
	static char piece[16 * 1024];
	struct qmp_reader reader;
	const char *text;
	size_t length, taken = 0;
	int r = 0;

	memset(piece, 'x', sizeof(piece));
	memcpy(piece, "{\"", 2);
	qmp_reader_init(&reader);
	while (r == 0 && taken < 2 * QMP_READER_MESSAGE_MAX) {
		r = qmp_reader_put(&reader, piece, sizeof(piece));
		if (r == 0) {
			taken += sizeof(piece);
			cr_assert(eq(int, qmp_reader_next(&reader, &text, &length), QMP_READER_MORE));
		}
		memset(piece, 'x', sizeof(piece));
	}
	cr_expect(eq(int, r, QMP_READER_TOO_LONG));
	cr_expect(le(sz, taken, QMP_READER_MESSAGE_MAX));
	cr_expect(gt(sz, taken, QMP_READER_MESSAGE_MAX - sizeof(piece)));
	qmp_reader_fini(&reader);
}

Test(qmp_reader, many_objects_need_no_more_room_than_the_largest)
{
	struct qmp_reader reader;
	const char *text;
	size_t length;

	qmp_reader_init(&reader);
	for (int i = 0; i < 100000; i++) {
		cr_assert(eq(int, qmp_reader_put(&reader, "{\"event\": 1}\r\n", 14), 0));
		cr_assert(eq(int, qmp_reader_next(&reader, &text, &length), 0));
		cr_assert(eq(sz, length, 12));
	}
	cr_expect(le(sz, reader.capacity, 4096));
	qmp_reader_fini(&reader);
}
