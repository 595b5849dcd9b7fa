/* SPDX-License-Identifier: MIT */

/*
 * Amounts for people.
 *
 * Memory is counted in powers of 1024 everywhere in this project, so K, M, G and T mean that on
 * input, and the output says KiB, MiB, GiB so that nobody has to guess. Input is whole numbers
 * only: a fraction of a unit can be written in the next smaller one, exactly.
 *
 * Output is cut, not rounded: a guest that has 1.99 GiB must not be shown as having 2 GiB, and a
 * freeze of 0.999 s has not taken a second. snprintf() is used to print integers into a buffer of
 * fixed size, which touches nothing outside of it.
 */

#include "base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char units[] = "KMGTPE";

/* The power of 1024 that @suffix names: "" is 0, "K" and "KiB" are 1; -1 if it names none. */
static int parse_unit(const char *suffix)
{
	const char *unit;

	if (*suffix == '\0')
		return 0;
	for (unit = units; *unit; unit++)
		if (strncasecmp(suffix, unit, 1) == 0)
			break;
	if (!*unit || (suffix[1] != '\0' && strcasecmp(suffix + 1, "iB") != 0))
		return -1;
	return (int)(unit - units) + 1;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	uint64_t value = 0;
	const char *p;
	int power;

	for (p = text; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return SIZE_OVERFLOW;
	power = parse_unit(p);
	if (p == text || power < 0)
		return SIZE_MALFORMED;
	for (; power > 0; power--)
		if (__builtin_mul_overflow(value, 1024, &value))
			return SIZE_OVERFLOW;

	*ret_bytes = value;
	return 0;
}

/* Prints @value / @unit with one decimal, which is left out when it is 0 or the number is big. */
static struct size_text format_in(uint64_t value, uint64_t unit, const char *name)
{
	struct size_text s;
	uint64_t whole = value / unit, tenth = value % unit * 10 / unit;

	if (whole >= 100 || tenth == 0)
		snprintf(s.text, sizeof(s.text), "%" PRIu64 " %s", whole, name);
	else
		snprintf(s.text, sizeof(s.text), "%" PRIu64 ".%" PRIu64 " %s", whole, tenth, name);
	return s;
}

struct size_text size_format(uint64_t bytes)
{
	char name[] = "?iB";
	uint64_t unit = 1024;
	const char *letter = units;
	struct size_text s;

	if (bytes < 1024) {
		snprintf(s.text, sizeof(s.text), "%" PRIu64 " B", bytes);
		return s;
	}
	while (letter[1] && bytes / unit >= 1024) {
		unit *= 1024;
		letter++;
	}
	name[0] = *letter;
	return format_in(bytes, unit, name);
}

static struct size_text format_two(uint64_t big, const char *big_name, uint64_t small,
				   const char *small_name)
{
	struct size_text s;

	snprintf(s.text, sizeof(s.text), "%" PRIu64 " %s %" PRIu64 " %s", big, big_name, small,
		 small_name);
	return s;
}

struct size_text duration_format(uint64_t ns)
{
	uint64_t seconds = ns / 1000000000;
	struct size_text s;

	if (seconds >= 3600)
		return format_two(seconds / 3600, "h", seconds % 3600 / 60, "min");
	if (seconds >= 60)
		return format_two(seconds / 60, "min", seconds % 60, "s");
	if (seconds >= 1)
		return format_in(ns, 1000000000, "s");
	if (ns >= 1000000)
		return format_in(ns, 1000000, "ms");
	if (ns >= 1000)
		return format_in(ns, 1000, "us");
	snprintf(s.text, sizeof(s.text), "%" PRIu64 " ns", ns);
	return s;
}
