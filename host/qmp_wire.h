/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The messages of QMP. Source: QEMU docs/interop/qmp-spec.rst.
 */

enum qmp_kind {
	QMP_GREETING, /* first of all; value: versions and capabilities */
	QMP_RETURN,   /* value: of any type */
	QMP_ERROR,    /* text: for people */
	QMP_EVENT,    /* name, and value if it has data */
};

/* The condition of qmp_wire_parse(). */
enum {
	QMP_WIRE_BAD = 1, /* no JSON, or none of the four */
};

struct qmp_message {
	enum qmp_kind kind;
	bool has_id; /* a server need not know of what an error is */
	uint64_t id;
	const json_t *value; /* borrowed from root; NULL: it has none */
	const char *name;    /* EVENT; borrowed from root */
	const char *text;    /* ERROR; borrowed from root */
	json_t *root;
};

/* Reads one whole object. Then qmp_message_fini(). QMP_WIRE_BAD. */
_must_check_ int qmp_wire_parse(const char *text, size_t size, struct qmp_message *ret_message);
void qmp_message_fini(struct qmp_message *message);

/*
 * A number of the other side: whole, from 0 to 2^53. False if @value is none, is NULL, or is so large
 * that it stands for "unknown", as QEMU has it.
 */
bool qmp_number(const json_t *value, uint64_t *ret_number);

/*
 * One line with its newline, to be freed: @command with @take_arguments (an object, or NULL) and @id.
 * NULL: no memory.
 */
char *qmp_wire_command(const char *command, json_t *take_arguments, uint64_t id);
