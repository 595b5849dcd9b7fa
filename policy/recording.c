/* SPDX-License-Identifier: MIT */

/*
 * Recordings.
 *
 * A file can come from anywhere, so each line is checked as a whole before anything of it is kept:
 * names as the balancer has them, limits that do not contradict each other, amounts below what any
 * machine has, time that does not go back. What is wrong with one line is said, and whether to go on is
 * the caller's decision. How much is kept has a bound.
 */

#include "policy/recording.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
	GUESTS_MAX = 4096,
	POINTS_MAX = 1 << 20, /* of a guest: twelve days */
	FIELDS_MAX = 9,
	FIELD_BYTES = 64,
};

#define MS_MAX (UINT64_C(1000) * 86400 * 366 * 100)

static const char head[] = "hvguest-recording 1";

struct recording {
	bool begun;
	uint64_t ms;
	struct recording_guest *guests;
	size_t n_guests;
};

int recording_new(struct recording **ret_recording)
{
	struct recording *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*ret_recording = r;
	return 0;
}

struct recording *recording_free(struct recording *r)
{
	if (!r)
		return NULL;
	for (size_t i = 0; i < r->n_guests; i++)
		free(r->guests[i].points);
	free(r->guests);
	free(r);
	return NULL;
}

/* The words of a line; 0 if there are too many, or one is too long. */
static size_t split(const char *line, size_t length, char fields[FIELDS_MAX][FIELD_BYTES])
{
	size_t n = 0, i = 0, start;

	for (;;) {
		while (i < length && line[i] == ' ')
			i++;
		if (i == length)
			return n;
		start = i;
		while (i < length && line[i] != ' ' && line[i] != '\0')
			i++;
		if (n == FIELDS_MAX || i - start >= FIELD_BYTES || (i < length && line[i] == '\0'))
			return 0;
		memcpy(fields[n], line + start, i - start);
		fields[n++][i - start] = '\0';
	}
}

static bool parse_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || number > max / 10)
			return false;
		number = number * 10 + (uint64_t)(*text - '0');
	}
	if (number > max)
		return false;
	*ret_number = number;
	return true;
}

static struct recording_guest *find(const struct recording *r, const char *name)
{
	for (size_t i = 0; i < r->n_guests; i++)
		if (!strcmp(r->guests[i].name, name))
			return &r->guests[i];
	return NULL;
}

static int add_limits(struct recording *r, char fields[FIELDS_MAX][FIELD_BYTES])
{
	uint64_t numbers[5];
	struct recording_guest *all, guest = {0};

	for (int i = 0; i < 5; i++)
		if (!parse_number(fields[2 + i], BALANCER_PAGES_MAX, &numbers[i]))
			return RECORDING_MALFORMED;
	if (numbers[3] > BALANCER_BUFFER_PERCENT_MAX || numbers[4] > BALANCER_WEIGHT_MAX)
		return RECORDING_MALFORMED;
	guest.limits = (struct balancer_limits){
		.startup_pages = numbers[0],
		.minimum_pages = numbers[1],
		.maximum_pages = numbers[2],
		.buffer_percent = (uint32_t)numbers[3],
		.weight = (uint32_t)numbers[4],
	};
	if (balancer_limits_check(&guest.limits) || strlen(fields[1]) > BALANCER_NAME_MAX)
		return RECORDING_MALFORMED;
	if (find(r, fields[1]))
		return RECORDING_TWICE;
	if (r->n_guests == GUESTS_MAX)
		return RECORDING_FULL;
	strcpy(guest.name, fields[1]);
	all = reallocarray(r->guests, r->n_guests + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	r->guests = all;
	all[r->n_guests++] = guest;
	return 0;
}

static int append(struct recording_guest *g, const struct recording_point *point)
{
	struct recording_point *more;
	size_t capacity = g->capacity > 0 ? 2 * g->capacity : 64;

	if (g->n_points == POINTS_MAX)
		return RECORDING_FULL;
	if (g->n_points == g->capacity) {
		more = reallocarray(g->points, capacity, sizeof(*more));
		if (!more)
			return -ENOMEM;
		g->points = more;
		g->capacity = capacity;
	}
	g->points[g->n_points++] = *point;
	return 0;
}

static int add_status(struct recording *r, char fields[FIELDS_MAX][FIELD_BYTES])
{
	struct recording_point p;
	struct recording_guest *g;
	int result;

	if (!parse_number(fields[1], MS_MAX, &p.ms) ||
	    !parse_number(fields[3], BALANCER_PAGES_MAX, &p.assigned_pages) ||
	    !parse_number(fields[4], BALANCER_PAGES_MAX, &p.ballooned_pages) ||
	    !parse_number(fields[5], BALANCER_PAGES_MAX, &p.committed_pages) ||
	    !parse_number(fields[6], BALANCER_PAGES_MAX, &p.available_pages) ||
	    !parse_number(fields[7], BALANCER_PAGES_MAX, &p.swapped_pages))
		return RECORDING_MALFORMED;
	g = find(r, fields[2]);
	if (!g)
		return RECORDING_UNKNOWN;
	if (p.ms < r->ms)
		return RECORDING_BACKWARDS;
	result = append(g, &p);
	if (result == 0)
		r->ms = p.ms;
	return result;
}

int recording_add_line(struct recording *r, const char *line, size_t length)
{
	char fields[FIELDS_MAX][FIELD_BYTES];
	size_t n;

	if (length == 0 || line[0] == '#')
		return 0;
	if (!r->begun) {
		if (length != strlen(head) || memcmp(line, head, length) != 0)
			return RECORDING_VERSION;
		r->begun = true;
		return 0;
	}
	n = split(line, length, fields);
	if (n == 7 && !strcmp(fields[0], "limits"))
		return add_limits(r, fields);
	if (n == 8 && !strcmp(fields[0], "status"))
		return add_status(r, fields);
	return RECORDING_MALFORMED;
}

const char *recording_condition_text(int condition)
{
	switch (condition) {
	case RECORDING_MALFORMED:
		return "this is no line of a recording";
	case RECORDING_VERSION:
		return "this is no recording, or one of another version: it begins with hvguest-recording 1";
	case RECORDING_UNKNOWN:
		return "there are no limits of this guest before";
	case RECORDING_BACKWARDS:
		return "this is earlier than the line before";
	case RECORDING_TWICE:
		return "there are limits of this guest already";
	case RECORDING_FULL:
		return "these are more guests or moments than can be kept";
	default:
		return "failed";
	}
}

size_t recording_n_guests(const struct recording *r)
{
	return r->n_guests;
}

const struct recording_guest *recording_guest(const struct recording *r, size_t i)
{
	return &r->guests[i];
}

uint64_t recording_ms(const struct recording *r)
{
	return r->ms;
}

const struct recording_point *recording_at(const struct recording_guest *guest, uint64_t ms)
{
	size_t low = 0, high = guest->n_points; /* all before low are not after ms; from high on they are */

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (guest->points[middle].ms <= ms)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? &guest->points[low - 1] : NULL;
}

size_t recording_write_head(char line[RECORDING_LINE_MAX])
{
	return (size_t)snprintf(line, RECORDING_LINE_MAX, "%s\n", head);
}

/* A line that was too long would be no line: names and numbers are bounded, so none is. */
static size_t checked(int length)
{
	assert(length > 0 && length < RECORDING_LINE_MAX);
	return (size_t)length;
}

size_t recording_write_limits(char line[RECORDING_LINE_MAX], const char *name,
			      const struct balancer_limits *l)
{
	return checked(snprintf(line, RECORDING_LINE_MAX,
				"limits %.63s %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %u\n", name,
				l->startup_pages, l->minimum_pages, l->maximum_pages,
				l->buffer_percent, l->weight));
}

size_t recording_write_point(char line[RECORDING_LINE_MAX], const char *name,
			     const struct recording_point *p)
{
	return checked(snprintf(line, RECORDING_LINE_MAX,
				"status %" PRIu64 " %.63s %" PRIu64 " %" PRIu64 " %" PRIu64
				" %" PRIu64 " %" PRIu64 "\n",
				p->ms, name, p->assigned_pages, p->ballooned_pages,
				p->committed_pages, p->available_pages, p->swapped_pages));
}
