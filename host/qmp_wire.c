/* SPDX-License-Identifier: MIT */

/*
 * QMP's messages.
 *
 * A message is known by the one member that only its kind has. Members that are not known are passed
 * over, as the protocol asks of clients, and an id that is none of ours is none. What a value is worth
 * is for whoever asked.
 *
 * QEMU's numbers have 64 bits, unsigned, and it says "unknown" by the largest of them (guest-stats of
 * virtio-balloon). The parser knows signed ones and refuses a message with others in it. So it is asked
 * to take all numbers as floating: what is below 2^53 is exact, and nothing above is of any use here.
 */

#include "host/qmp_wire.h"

#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 9007199254740992.0 /* 2^53 */

bool qmp_number(const json_t *value, uint64_t *ret_number)
{
	double number = json_real_value(value);

	if (!json_is_real(value) || !(number >= 0 && number <= NUMBER_MAX) ||
	    number != (double)(uint64_t)number)
		return false;
	*ret_number = (uint64_t)number;
	return true;
}

/* Which kind @m->root is; false: none. */
static bool know(struct qmp_message *m)
{
	const json_t *greeting = json_object_get(m->root, "QMP");
	const json_t *value = json_object_get(m->root, "return");
	const json_t *error = json_object_get(m->root, "error");
	const json_t *event = json_object_get(m->root, "event");

	if (json_is_object(greeting)) {
		m->kind = QMP_GREETING;
		m->value = greeting;
	} else if (value) {
		m->kind = QMP_RETURN;
		m->value = value;
	} else if (json_is_object(error)) {
		m->kind = QMP_ERROR;
		m->text = json_string_value(json_object_get(error, "desc"));
		if (!m->text)
			m->text = "an error without a description";
	} else if (json_is_string(event)) {
		m->kind = QMP_EVENT;
		m->name = json_string_value(event);
		m->value = json_object_get(m->root, "data");
	} else {
		return false;
	}
	return true;
}

int qmp_wire_parse(const char *text, size_t size, struct qmp_message *ret_message)
{
	struct qmp_message message = {0};
	const json_t *id;

	/* A name that is there twice, or a NUL in a text, would be two meanings of one message. */
	message.root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
	if (!message.root || !know(&message)) {
		json_decref(message.root);
		return QMP_WIRE_BAD;
	}
	id = json_object_get(message.root, "id");
	message.has_id = qmp_number(id, &message.id);
	*ret_message = message;
	return 0;
}

void qmp_message_fini(struct qmp_message *message)
{
	json_decref(message->root);
	*message = (struct qmp_message){0};
}

char *qmp_wire_command(const char *command, json_t *take_arguments, uint64_t id)
{
	json_t *line = json_pack("{s:s, s:o*, s:I}", "execute", command, "arguments",
				 take_arguments, "id", (json_int_t)id);
	char *text = json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER), *with_newline = NULL;
	size_t length;

	json_decref(line);
	if (!text)
		return NULL;
	length = strlen(text);
	with_newline = realloc(text, length + 2);
	if (!with_newline) {
		free(text);
		return NULL;
	}
	memcpy(with_newline + length, "\n", 2);
	return with_newline;
}
