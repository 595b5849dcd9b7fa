/* SPDX-License-Identifier: MIT */

/*
 * Asking an API from the command line.
 *
 * Every way in which the question can fail ends in one line on standard error, which names the
 * thing and the remedy, and in an exit code. The daemons answer an error with a message and often
 * a remedy of their own; that is passed on as it is.
 */

#include "base/ask.h"

#include "base/httpc.h"

#include <stdio.h>
#include <string.h>

static int complain_of_call(const struct ask *a, int r)
{
	switch (r) {
	case HTTPC_NO_DAEMON:
		fprintf(stderr, "%s: nobody listens at %s: is %s running?\n", a->program, a->socket,
			a->daemon);
		break;
	case HTTPC_DENIED:
		fprintf(stderr, "%s: no permission for %s: become root, or name another socket\n",
			a->program, a->socket);
		break;
	case HTTPC_TIMED_OUT:
		fprintf(stderr, "%s: %s at %s did not answer in time\n", a->program, a->daemon,
			a->socket);
		break;
	case HTTPC_BAD_REPLY:
		fprintf(stderr, "%s: what listens at %s does not answer like %s\n", a->program,
			a->socket, a->daemon);
		break;
	default:
		fprintf(stderr, "%s: asking %s: %s\n", a->program, a->socket, strerror(-r));
	}
	return EXIT_ERROR;
}

static int complain_of_answer(const struct ask *a, int status, const json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *remedy = json_string_value(json_object_get(error, "remedy"));

	if (!message)
		fprintf(stderr, "%s: %s answered with status %d\n", a->program, a->daemon, status);
	else if (!remedy)
		fprintf(stderr, "%s: %s\n", a->program, message);
	else
		fprintf(stderr, "%s: %s: %s\n", a->program, message, remedy);
	return status == 400 ? EXIT_USAGE : EXIT_ERROR;
}

int ask(const struct ask *a, const char *method, const char *path, json_t *take_body,
	int timeout_ms, json_t **ret_answer)
{
	json_t *answer = NULL;
	int status = 0, r;

	r = httpc_call(a->socket, method, path, take_body, timeout_ms, &status, &answer);
	json_decref(take_body);
	if (r)
		return complain_of_call(a, r);
	if (status < 200 || status >= 300) {
		r = complain_of_answer(a, status, answer);
		json_decref(answer);
		return r;
	}
	*ret_answer = answer;
	return EXIT_OK;
}

void ask_print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
}
