/* SPDX-License-Identifier: MIT */

/*
 * The file of the guests' limits.
 *
 * It is read as a whole and used only if all of it makes sense: a host that is reloaded with a
 * broken file goes on with what it had. An unknown key, a section that is there twice and an amount
 * that is none are errors with file and line, because a limit that is silently not there is worse
 * than a host that does not start.
 */

#include "host/guest_limits.h"

#include "base/size.h"

#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PAGE_SIZE     4096
#define MINIMUM_PAGES ((UINT64_C(512) << 20) / PAGE_SIZE)

enum {
	NOT_SAID = -1,
};

struct entry {
	char name[BALANCER_NAME_MAX + 1];
	uint64_t startup_pages; /* 0 = not said, as the next two */
	uint64_t minimum_pages;
	uint64_t maximum_pages;
	int buffer_percent; /* or NOT_SAID */
	int weight;
};

struct guest_limits {
	struct entry *entries;
	size_t n;
};

struct reader {
	struct guest_limits *limits;
	const char *path;
	char *error;
	int line;
	bool failed;
	int negative; /* an errno */
};

struct guest_limits *guest_limits_free(struct guest_limits *limits)
{
	if (!limits)
		return NULL;
	free(limits->entries);
	free(limits);
	return NULL;
}

static const struct entry *find(const struct guest_limits *limits, const char *name)
{
	for (size_t i = 0; limits && i < limits->n; i++)
		if (!strcmp(limits->entries[i].name, name))
			return &limits->entries[i];
	return NULL;
}

_printf_(2, 3) static int complain(struct reader *reader, const char *format, ...)
{
	va_list arguments;
	int n;

	if (reader->failed)
		return 0;
	reader->failed = true;
	n = snprintf(reader->error, GUEST_LIMITS_ERROR_MAX, "%s:%d: ", reader->path, reader->line);
	va_start(arguments, format);
	if (n > 0 && n < GUEST_LIMITS_ERROR_MAX)
		vsnprintf(reader->error + n, (size_t)(GUEST_LIMITS_ERROR_MAX - n), format, arguments);
	va_end(arguments);
	return 0;
}

/* The entry of the section called @section; NULL, and it is said, if that cannot be. */
static struct entry *open_section(struct reader *reader, const char *section)
{
	struct guest_limits *l = reader->limits;
	const char *name = section + strlen("guest ");
	struct entry *more;

	if (strncmp(section, "guest ", strlen("guest ")) != 0 || !*name ||
	    strlen(name) > BALANCER_NAME_MAX) {
		complain(reader, "[%s]: a section is called [guest NAME]", section);
		return NULL;
	}
	if (l->n > 0 && !strcmp(l->entries[l->n - 1].name, name))
		return &l->entries[l->n - 1];
	if (find(l, name)) {
		complain(reader, "[%s] is there twice", section);
		return NULL;
	}
	more = reallocarray(l->entries, l->n + 1, sizeof(*more));
	if (!more) {
		reader->negative = -ENOMEM;
		complain(reader, "no memory");
		return NULL;
	}
	l->entries = more;
	more[l->n] = (struct entry){.buffer_percent = NOT_SAID, .weight = NOT_SAID};
	strcpy(more[l->n].name, name);
	return &more[l->n++];
}

static bool take_pages(const char *text, uint64_t *ret_pages)
{
	uint64_t bytes;

	if (size_parse(text, &bytes) || bytes < PAGE_SIZE)
		return false;
	*ret_pages = bytes / PAGE_SIZE;
	return true;
}

static bool take_number(const char *text, int min, int max, int *ret_number)
{
	char *end;
	long number;

	if (*text < '0' || *text > '9')
		return false;
	number = strtol(text, &end, 10);
	if (*end || number < min || number > max)
		return false;
	*ret_number = (int)number;
	return true;
}

static int take_value(struct reader *reader, struct entry *e, const char *key, const char *value)
{
	bool good;

	if (!strcmp(key, "startup"))
		good = take_pages(value, &e->startup_pages);
	else if (!strcmp(key, "minimum"))
		good = take_pages(value, &e->minimum_pages);
	else if (!strcmp(key, "maximum"))
		good = take_pages(value, &e->maximum_pages);
	else if (!strcmp(key, "buffer"))
		good = take_number(value, BALANCER_BUFFER_PERCENT_MIN, BALANCER_BUFFER_PERCENT_MAX,
				   &e->buffer_percent);
	else if (!strcmp(key, "weight"))
		good = take_number(value, 0, BALANCER_WEIGHT_MAX, &e->weight);
	else
		return complain(reader, "'%s' is not startup, minimum, maximum, buffer or weight", key);
	if (!good)
		return complain(reader, "%s cannot be '%s'", key, value);
	return 1;
}

/* As inih calls it; 0 is an error. */
static int on_value(void *user, const char *section, const char *key, const char *value)
{
	struct reader *reader = user;
	struct entry *e = open_section(reader, section);

	return e ? take_value(reader, e, key, value) : 0;
}

/* As ini_parse_stream() wants it. inih takes the rest of a long line for the next one. */
static char *read_line(char *buffer, int size, void *stream)
{
	struct reader *reader = ((void **)stream)[1];
	char *line = fgets(buffer, size, ((void **)stream)[0]);
	size_t length;

	if (!line || reader->failed)
		return NULL;
	reader->line++;
	length = strlen(line);
	if (length > 0 && length + 1 == (size_t)size && line[length - 1] != '\n') {
		complain(reader, "this line is too long");
		return NULL;
	}
	return line;
}

static bool is_ordered(uint64_t low_pages, uint64_t high_pages)
{
	return low_pages == 0 || high_pages == 0 || low_pages <= high_pages;
}

static void check_orders(struct reader *reader)
{
	for (size_t i = 0; i < reader->limits->n; i++) {
		const struct entry *e = &reader->limits->entries[i];

		if (!is_ordered(e->minimum_pages, e->startup_pages) ||
		    !is_ordered(e->startup_pages, e->maximum_pages) ||
		    !is_ordered(e->minimum_pages, e->maximum_pages))
			complain(reader, "[guest %s]: not minimum <= startup <= maximum", e->name);
	}
}

int guest_limits_load(const char *path, char error[GUEST_LIMITS_ERROR_MAX],
		      struct guest_limits **ret_limits)
{
	_cleanup_(cleanup_guest_limitsp) struct guest_limits *limits = calloc(1, sizeof(*limits));
	struct reader reader = {.limits = limits, .path = path, .error = error};
	void *stream[2] = {NULL, &reader};
	FILE *file;
	int line;

	if (!limits)
		return -ENOMEM;
	file = fopen(path, "re");
	if (!file) {
		int r = negative_errno();

		snprintf(error, GUEST_LIMITS_ERROR_MAX, "%s: %s", path, strerror(-r));
		return r;
	}
	stream[0] = file;
	line = ini_parse_stream(read_line, stream, on_value, &reader);
	fclose(file);
	if (line != 0 && !reader.failed) {
		reader.line = line;
		complain(&reader, "this is neither [guest NAME] nor KEY = VALUE");
	}
	check_orders(&reader);
	if (reader.failed)
		return reader.negative ? reader.negative : GUEST_LIMITS_BAD;
	*ret_limits = steal_ptr(limits);
	return 0;
}

struct balancer_limits guest_limits_of(const struct guest_limits *limits, const char *name,
				       const struct balancer_limits *defaults,
				       uint64_t memory_pages)
{
	struct balancer_limits l = *defaults;
	const struct entry *e = find(limits, name);

	if (e && e->startup_pages > 0)
		l.startup_pages = e->startup_pages;
	if (e && e->minimum_pages > 0)
		l.minimum_pages = e->minimum_pages;
	if (e && e->maximum_pages > 0)
		l.maximum_pages = e->maximum_pages;
	if (e && e->buffer_percent != NOT_SAID)
		l.buffer_percent = (uint32_t)e->buffer_percent;
	if (e && e->weight != NOT_SAID)
		l.weight = (uint32_t)e->weight;

	/* What was left open follows from the rest. */
	if (l.startup_pages == 0)
		l.startup_pages = memory_pages;
	if (l.maximum_pages > 0 && l.startup_pages > l.maximum_pages)
		l.startup_pages = l.maximum_pages;
	if (l.maximum_pages == 0)
		l.maximum_pages = l.startup_pages;
	if (l.minimum_pages == 0)
		l.minimum_pages = MINIMUM_PAGES;
	if (l.minimum_pages > l.startup_pages)
		l.minimum_pages = l.startup_pages;
	return l;
}
