/* SPDX-License-Identifier: MIT */

/*
 * Reading QMP.
 *
 * The protocol has no lengths: a server sends one JSON object after the other, each with a newline
 * behind it, but a "pretty" server has newlines within them too. So an object ends where its brackets
 * are closed, which takes one look at each byte and no parsing. That the brackets are of the right
 * kind, and everything else, is for the parser, which gets whole objects only. Between two objects
 * there is white space and nothing else.
 *
 * What is on the other end need not be QEMU. An object that does not end is not kept for ever, and one
 * that is nested deeply does not get to a parser that calls itself for each level.
 *
 * Source: QEMU docs/interop/qmp-spec.rst, "Protocol Specification".
 */

#include "host/qmp_reader.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	CAPACITY_MIN = 4096,
};

void qmp_reader_init(struct qmp_reader *reader)
{
	*reader = (struct qmp_reader){0};
}

void qmp_reader_fini(struct qmp_reader *reader)
{
	free(reader->buffer);
	qmp_reader_init(reader);
}

/* Moves what is left to the front. */
static void compact(struct qmp_reader *r)
{
	if (r->start == 0)
		return;
	memmove(r->buffer, r->buffer + r->start, r->length - r->start);
	r->length -= r->start;
	r->scanned -= r->start;
	r->start = 0;
}

static int make_room(struct qmp_reader *r, size_t size)
{
	size_t capacity = r->capacity ? r->capacity : CAPACITY_MIN;
	char *buffer;

	while (capacity - r->length < size)
		capacity *= 2;
	if (capacity == r->capacity)
		return 0;
	buffer = realloc(r->buffer, capacity);
	if (!buffer)
		return -ENOMEM;
	r->buffer = buffer;
	r->capacity = capacity;
	return 0;
}

int qmp_reader_put(struct qmp_reader *r, const char *bytes, size_t size)
{
	int error;

	if (r->buffer)
		compact(r);
	if (size > QMP_READER_MESSAGE_MAX - r->length)
		return QMP_READER_TOO_LONG;
	error = make_room(r, size);
	if (error)
		return error;
	if (size > 0)
		memcpy(r->buffer + r->length, bytes, size);
	r->length += size;
	return 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Within an object: what @c does to where we are. */
static void step(struct qmp_reader *r, char c)
{
	if (r->escaped)
		r->escaped = false;
	else if (r->in_string && c == '\\')
		r->escaped = true;
	else if (c == '"')
		r->in_string = !r->in_string;
	else if (!r->in_string && (c == '{' || c == '['))
		r->depth++;
	else if (!r->in_string && (c == '}' || c == ']'))
		r->depth--;
}

int qmp_reader_next(struct qmp_reader *r, const char **ret_text, size_t *ret_size)
{
	while (r->scanned < r->length) {
		char c = r->buffer[r->scanned];

		if (r->depth == 0 && is_space(c)) {
			r->start = ++r->scanned;
			continue;
		}
		if (r->depth == 0 && c != '{')
			return QMP_READER_BAD;
		step(r, c);
		if (r->depth > QMP_READER_DEPTH_MAX)
			return QMP_READER_TOO_DEEP;
		r->scanned++;
		if (r->depth > 0)
			continue;
		*ret_text = r->buffer + r->start;
		*ret_size = r->scanned - r->start;
		r->start = r->scanned;
		return 0;
	}
	return QMP_READER_MORE;
}
