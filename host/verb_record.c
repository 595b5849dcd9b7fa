/* SPDX-License-Identifier: MIT */

/*
 * hvhost record: what the guests report, one line for each second and guest.
 *
 * It asks the running host each second and writes what is new; docs/POLICY.md describes the lines. A
 * guest that has not reported since is not written again, so a gap in a recording is a gap in the
 * guest's reports. It goes on until it is interrupted or as many seconds have passed as were asked
 * for, and each line is complete whenever that is.
 */

#include "base/clock.h"
#include "host/command.h"
#include "host/verbs.h"
#include "policy/recording.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	GUESTS_MAX = 4096,
};

struct known_guest {
	char name[BALANCER_NAME_MAX + 1];
	json_int_t reports;
};

struct recorder {
	FILE *file;
	const char *to; /* its name; NULL: standard output */
	uint64_t start_ns;
	struct known_guest *guests;
	size_t n;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

static uint64_t pages_of(const json_t *object, const char *key)
{
	json_int_t bytes = json_integer_value(json_object_get(object, key));

	return bytes > 0 ? (uint64_t)bytes / 4096 : 0;
}

static void write_line(struct recorder *r, const char *line, size_t length)
{
	(void)!fwrite(line, 1, length, r->file); /* ferror() is asked in the end */
}

/* The guest of this name; NULL if there are too many. A new one is written with its limits. */
static struct known_guest *known(struct recorder *r, const char *name, const json_t *memory)
{
	struct balancer_limits limits;
	char line[RECORDING_LINE_MAX];
	struct known_guest *more;

	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->guests[i].name, name))
			return &r->guests[i];
	if (r->n == GUESTS_MAX || strlen(name) > BALANCER_NAME_MAX || strchr(name, ' '))
		return NULL;
	more = reallocarray(r->guests, r->n + 1, sizeof(*more));
	if (!more)
		return NULL;
	r->guests = more;
	more[r->n] = (struct known_guest){.reports = -1};
	strcpy(more[r->n].name, name);
	limits = (struct balancer_limits){
		.startup_pages = pages_of(memory, "startup_bytes"),
		.minimum_pages = pages_of(memory, "minimum_bytes"),
		.maximum_pages = pages_of(memory, "maximum_bytes"),
		.buffer_percent = (uint32_t)json_integer_value(json_object_get(memory, "buffer_percent")),
		.weight = (uint32_t)json_integer_value(json_object_get(memory, "weight")),
	};
	write_line(r, line, recording_write_limits(line, name, &limits));
	return &r->guests[r->n++];
}

static void record_guest(struct recorder *r, const json_t *guest, uint64_t ms)
{
	const json_t *memory = json_object_get(guest, "memory");
	json_int_t reports = json_integer_value(json_object_get(memory, "status_reports"));
	const char *name = json_string_value(json_object_get(guest, "name"));
	char line[RECORDING_LINE_MAX];
	struct known_guest *k;
	struct recording_point p;

	if (!name || !json_object_get(memory, "committed_bytes"))
		return;
	k = known(r, name, memory);
	if (!k || k->reports == reports)
		return;
	k->reports = reports;
	p = (struct recording_point){
		.ms = ms,
		.assigned_pages = pages_of(memory, "assigned_bytes"),
		.ballooned_pages = pages_of(memory, "ballooned_bytes"),
		.committed_pages = pages_of(memory, "committed_bytes"),
		.available_pages = pages_of(memory, "available_bytes"),
		.swapped_pages = pages_of(memory, "swapped_bytes"),
	};
	write_line(r, line, recording_write_point(line, name, &p));
}

/* NULL: standard output, of which main() says so. The exit code. */
static int fail_to_write(const char *to)
{
	if (to)
		fprintf(stderr, "hvhost: %s cannot be written: %m\n", to);
	return EXIT_ERROR;
}

/* The exit code. */
static int record_second(struct recorder *r, struct command *c)
{
	uint64_t ms = (clock_monotonic_ns() - r->start_ns) / 1000000;
	const json_t *guest;
	json_t *status;
	size_t i;
	int code = ask(&c->to, "GET", "/v1/status", NULL, COMMAND_TIMEOUT_MS, &status);

	if (code)
		return code;
	json_array_foreach(json_object_get(status, "guests"), i, guest)
		record_guest(r, guest, ms);
	json_decref(status);
	return fflush(r->file) == 0 ? EXIT_OK : fail_to_write(r->to);
}

/* The exit code. */
static int record(struct recorder *r, struct command *c, unsigned long seconds)
{
	char line[RECORDING_LINE_MAX];
	int code = EXIT_OK;

	write_line(r, line, recording_write_head(line));
	r->start_ns = clock_monotonic_ns();
	for (unsigned long s = 0; code == EXIT_OK && !interrupted && (seconds == 0 || s < seconds); s++) {
		uint64_t next_ns = r->start_ns + (uint64_t)s * UINT64_C(1000000000);
		uint64_t now_ns = clock_monotonic_ns();

		if (next_ns > now_ns)
			usleep((useconds_t)((next_ns - now_ns) / 1000));
		if (!interrupted)
			code = record_second(r, c);
	}
	return code;
}

int verb_record(int argc, char **argv)
{
	const char *seconds_text = NULL, *to = NULL;
	const struct command_option options[] = {
		{"to", "FILE", "where to write (default: standard output)", .text = &to},
		{"seconds", "N", "for so long (default: until interrupted)", .text = &seconds_text},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "record [--to FILE] [--seconds N] [--json]",
		.options = options,
	};
	struct recorder recorder = {.file = stdout};
	unsigned long seconds = 0;
	char *end;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (seconds_text) {
		seconds = strtoul(seconds_text, &end, 10);
		if (*seconds_text < '1' || *seconds_text > '9' || *end)
			return command_refuse("--seconds", seconds_text, "a number above 0");
	}
	if (c.json && !to)
		return command_complain(&c, "--json tells what was recorded, so the recording has to go --to a file");
	recorder.to = to;
	if (to)
		recorder.file = fopen(to, "we");
	if (!recorder.file) {
		fprintf(stderr, "hvhost: %s: %m\n", to);
		return EXIT_ERROR;
	}
	(void)signal(SIGINT, on_signal);
	(void)signal(SIGTERM, on_signal);
	r = record(&recorder, &c, seconds);
	if (to && fclose(recorder.file) != 0 && r == EXIT_OK)
		r = fail_to_write(to);
	if (r == EXIT_OK && c.json) {
		json_t *answer = json_pack("{s:i, s:s, s:I, s:f}", "schema", 1, "file", to, "guests",
					   (json_int_t)recorder.n, "seconds",
					   (double)(clock_monotonic_ns() - recorder.start_ns) / 1e9);

		ask_print_json(answer);
		json_decref(answer);
	}
	free(recorder.guests);
	return r;
}
