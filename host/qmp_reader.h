/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Cuts what a QMP server sends into JSON objects, whatever pieces it comes in.
 */

enum {
	QMP_READER_DEPTH_MAX = 64,        /* of objects and arrays in each other */
	QMP_READER_MESSAGE_MAX = 1 << 20, /* bytes of one object */
};

/* The conditions of this object. After any but the first the stream cannot be read any further. */
enum {
	QMP_READER_MORE = 1, /* next: no whole object is there yet */
	QMP_READER_BAD,      /* next: what comes is no JSON object */
	QMP_READER_TOO_DEEP, /* next */
	QMP_READER_TOO_LONG, /* put, and nothing was taken */
};

struct qmp_reader {
	char *buffer; /* NULL until something is put */
	size_t capacity;
	size_t length;  /* of what is in the buffer */
	size_t start;   /* of what was not yet given out */
	size_t scanned; /* what was looked at */
	unsigned depth;
	bool in_string;
	bool escaped;
};

/* A reader at the beginning of a stream; it has no memory yet. */
void qmp_reader_init(struct qmp_reader *reader);
void qmp_reader_fini(struct qmp_reader *reader);

/*
 * Takes @size bytes. Everything that is whole must have been given out by qmp_reader_next() before,
 * or it counts as one message with what comes. QMP_READER_TOO_LONG, -ENOMEM.
 */
_must_check_ int qmp_reader_put(struct qmp_reader *reader, const char *bytes, size_t size);

/*
 * The next whole object, borrowed until the next call of either function. QMP_READER_MORE,
 * QMP_READER_BAD, QMP_READER_TOO_DEEP.
 */
_must_check_ int qmp_reader_next(struct qmp_reader *reader, const char **ret_text, size_t *ret_size);
