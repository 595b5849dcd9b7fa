/* SPDX-License-Identifier: MIT */

/*
 * Asking an API from the command line.
 *
 * Every way in which the question can fail ends in one line on standard error, which names the
 * thing and the remedy, and in an exit code. The daemons answer an error with a message and often
 * a remedy of their own; that is passed on as it is.
 */

#include "base/ask.h"

#include "base/cleanup.h"
#include "base/httpc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
	case HTTPC_ENDED:
		fprintf(stderr, "%s: %s at %s has ended\n", a->program, a->daemon, a->socket);
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

int ask_events(const struct ask *a, const char *path, int timeout_ms,
	       bool (*take)(void *user, const char *event, const json_t *data), void *user)
{
	int r = httpc_listen(a->socket, path, timeout_ms, take, user);

	return r ? complain_of_call(a, r) : EXIT_OK;
}

int ask_text(const struct ask *a, const char *path, int timeout_ms, char **ret_text)
{
	char *text = NULL;
	int status = 0, r;

	r = httpc_get_text(a->socket, path, timeout_ms, &status, &text);
	if (r)
		return complain_of_call(a, r);
	if (status == 200) {
		*ret_text = text;
		return EXIT_OK;
	}
	free(text);
	return complain_of_answer(a, status, NULL);
}

static int write_text(int fd, const char *text)
{
	size_t size = strlen(text), done = 0;

	while (done < size) {
		ssize_t n = write(fd, text + done, size - done);

		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return fchmod(fd, 0644);
}

/* Whoever reads it sees the old or the new contents, whole. */
static int replace_file(const struct ask *a, const char *path, const char *text)
{
	_cleanup_free_ char *beside = NULL;
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	int fd, r;

	/* The collector reads "*.prom" only. */
	if (asprintf(&beside, "%.*s.%s.XXXXXX", (int)(name - path), path, name) < 0) {
		beside = NULL;
		return complain_of_call(a, -ENOMEM);
	}
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "%s: %s: cannot be written: %m\n", a->program, path);
		return EXIT_ERROR;
	}
	r = write_text(fd, text);
	if (close(fd) < 0)
		r = -1;
	if (r == 0 && rename(beside, path) == 0)
		return EXIT_OK;
	fprintf(stderr, "%s: %s: cannot be written: %m\n", a->program, path);
	(void)unlink(beside);
	return EXIT_ERROR;
}

int ask_metrics(const struct ask *a, const char *textfile, bool as_json, int timeout_ms)
{
	_cleanup_free_ char *text = NULL;
	int r = ask_text(a, "/metrics", timeout_ms, &text);
	json_t *json;

	if (r == EXIT_OK && textfile)
		r = replace_file(a, textfile, text);
	if (r)
		return r;
	if (as_json) {
		json = json_pack("{s:i, s:s, s:s*, s:I, s:s*}", "schema", 1, "format",
				 "Prometheus text 0.0.4", "textfile", textfile, "bytes",
				 (json_int_t)strlen(text), "text", textfile ? NULL : text);
		ask_print_json(json);
		json_decref(json);
	} else if (!textfile) {
		fputs(text, stdout);
	}
	return EXIT_OK;
}

void ask_print_json_line(const json_t *json)
{
	json_dumpf(json, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	fflush(stdout);
}

void ask_print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
}
