/* SPDX-License-Identifier: MIT */

/*
 * Asking and showing, for all verbs.
 *
 * The JSON is passed on as it came, so its schema is the API's; what people see is made from it.
 */

#include "cli/cli.h"

#include <string.h>

enum {
	TIMEOUT_MS = 10000, /* of questions that the daemon answers at once */
};

int cli_do(const struct cli *cli, const char *method, const char *path, json_t *take_body,
	   int timeout_ms, void (*print)(const json_t *answer), int (*code)(const json_t *answer))
{
	json_t *answer;
	int r;

	r = ask(&cli->to, method, path, take_body, timeout_ms, &answer);
	if (r)
		return r;
	if (cli->json)
		ask_print_json(answer);
	else
		print(answer);
	r = code ? code(answer) : EXIT_OK;
	json_decref(answer);
	return r;
}

int cli_show(const struct cli *cli, const char *path, void (*print)(const json_t *answer),
	     int (*code)(const json_t *answer))
{
	return cli_do(cli, "GET", path, NULL, TIMEOUT_MS, print, code);
}

const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

json_int_t number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

struct size_text bytes_of(const json_t *object, const char *key)
{
	return size_format(number_of(object, key));
}

struct size_text seconds_of(const json_t *object, const char *key)
{
	return duration_format(json_number_value(json_object_get(object, key)) * 1e9);
}
