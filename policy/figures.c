/* SPDX-License-Identifier: MIT */

/*
 * Reading /proc/meminfo, /proc/vmstat, /proc/pressure/memory, and the like of a group of processes.
 *
 * The files are lines of words, and kernels add lines and reorder them; so a line is found by its
 * first word and the rest is passed over. A number that does not fit, or that is so large that
 * bytes of it would not fit into 64 bits, is treated as if it were not there: a figure is either
 * right or missing.
 */

#include "policy/figures.h"

#include <string.h>

enum {
	KB_BITS = 10, /* kB to bytes */
};

/* A piece of text that ends at `end`. */
struct text {
	const char *next;
	const char *end;
};

static struct text text_of(const char *text, size_t len)
{
	return (struct text){.next = text, .end = text + len};
}

/* Cuts off the next line, without its newline. False at the end. */
static bool next_line(struct text *text, struct text *ret_line)
{
	const char *newline;

	if (text->next == text->end)
		return false;
	newline = memchr(text->next, '\n', text->end - text->next);
	ret_line->next = text->next;
	ret_line->end = newline ? newline : text->end;
	text->next = newline ? newline + 1 : text->end;
	return true;
}

static void skip_spaces(struct text *text)
{
	while (text->next < text->end && *text->next == ' ')
		text->next++;
}

/* Passes over @word if the text begins with it. */
static bool skip_word(struct text *text, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(text->end - text->next) < len || memcmp(text->next, word, len) != 0)
		return false;
	text->next += len;
	return true;
}

/* Reads a decimal number. False if there is none or it does not fit. */
static bool read_number(struct text *text, uint64_t *ret_value)
{
	const char *start = text->next;
	uint64_t value = 0;

	while (text->next < text->end && *text->next >= '0' && *text->next <= '9') {
		uint64_t digit = *text->next - '0';

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
		text->next++;
	}
	if (text->next == start)
		return false;
	*ret_value = value;
	return true;
}

/* Reads the number behind @name, which has to begin a line. */
static bool find_number(const char *text, size_t len, const char *name, uint64_t *ret_value)
{
	struct text rest = text_of(text, len), line;

	while (next_line(&rest, &line)) {
		if (!skip_word(&line, name))
			continue;
		skip_spaces(&line);
		return read_number(&line, ret_value);
	}
	return false;
}

static bool find_kb(const char *text, size_t len, const char *name, uint64_t *ret_kb)
{
	uint64_t kb;

	if (!find_number(text, len, name, &kb) || kb > UINT64_MAX >> KB_BITS)
		return false;
	*ret_kb = kb;
	return true;
}

int figures_parse_meminfo(const char *text, size_t len, struct memory_figures *ret_figures)
{
	struct memory_figures figures = *ret_figures;

	if (!find_kb(text, len, "MemTotal:", &figures.total_kb) ||
	    !find_kb(text, len, "MemFree:", &figures.free_kb) ||
	    !find_kb(text, len, "MemAvailable:", &figures.available_kb) ||
	    !find_kb(text, len, "Committed_AS:", &figures.committed_kb))
		return FIGURES_BAD;
	if (!find_kb(text, len, "SwapTotal:", &figures.swap_total_kb) ||
	    !find_kb(text, len, "SwapFree:", &figures.swap_free_kb))
		figures.swap_total_kb = figures.swap_free_kb = 0;
	if (!find_kb(text, len, "Active(file):", &figures.active_file_kb))
		figures.active_file_kb = 0;

	*ret_figures = figures;
	return 0;
}

/* Kernels before 5.9 have one counter for both kinds. */
static uint64_t find_refaults(const char *text, size_t len)
{
	uint64_t anon, file;

	if (find_number(text, len, "workingset_refault_anon ", &anon) &&
	    find_number(text, len, "workingset_refault_file ", &file))
		return anon + file;
	return find_number(text, len, "workingset_refault ", &file) ? file : 0;
}

int figures_parse_vmstat(const char *text, size_t len, struct memory_figures *ret_figures)
{
	uint64_t pages;

	if (!find_number(text, len, "pswpout ", &pages))
		return FIGURES_BAD;
	ret_figures->swapped_out_pages = pages;
	ret_figures->refaults = find_refaults(text, len);
	if (!find_number(text, len, "oom_kill ", &ret_figures->oom_kills))
		ret_figures->oom_kills = 0;
	return 0;
}

/* Reads "12.34" as 1234; the kernel always writes two decimals. */
static bool read_centi(struct text *text, uint32_t *ret_centi)
{
	uint64_t whole, part;

	if (!read_number(text, &whole) || !skip_word(text, ".") || !read_number(text, &part))
		return false;
	if (whole > 100 || part > 99)
		return false;
	*ret_centi = whole * 100 + part;
	return true;
}

/* Reads " avg10=0.00 avg60=0.00 avg300=0.00 total=0", the rest of a line of the pressure file. */
static bool read_stall(struct text *line, struct memory_stall *ret_stall)
{
	struct memory_stall stall;

	if (!skip_word(line, " avg10=") || !read_centi(line, &stall.avg10_centipercent))
		return false;
	while (line->next < line->end && !skip_word(line, " total="))
		line->next++;
	if (!read_number(line, &stall.total_us))
		return false;
	*ret_stall = stall;
	return true;
}

/* Both lines of a pressure file. */
static bool read_stalls(const char *text, size_t len, struct memory_stall *ret_some,
			struct memory_stall *ret_full)
{
	struct text rest = text_of(text, len), line;
	bool has_some = false, has_full = false;

	while (next_line(&rest, &line)) {
		if (skip_word(&line, "some"))
			has_some = read_stall(&line, ret_some);
		else if (skip_word(&line, "full"))
			has_full = read_stall(&line, ret_full);
	}
	return has_some && has_full;
}

int figures_parse_pressure(const char *text, size_t len, struct memory_figures *ret_figures)
{
	struct memory_stall some, full;

	if (!read_stalls(text, len, &some, &full))
		return FIGURES_BAD;
	ret_figures->has_stalls = true;
	ret_figures->some = some;
	ret_figures->full = full;
	return 0;
}

int figures_parse_group_current(const char *text, size_t len, struct memory_group *ret_group)
{
	struct text rest = text_of(text, len);

	return read_number(&rest, &ret_group->current_bytes) ? 0 : FIGURES_BAD;
}

int figures_parse_group_limit(const char *text, size_t len, struct memory_group *ret_group)
{
	struct text rest = text_of(text, len);
	uint64_t bytes = UINT64_MAX;

	if (!skip_word(&rest, "max") && !read_number(&rest, &bytes))
		return FIGURES_BAD;
	if (bytes < ret_group->limit_bytes)
		ret_group->limit_bytes = bytes;
	return 0;
}

int figures_parse_group_stat(const char *text, size_t len, struct memory_group *ret_group)
{
	uint64_t anon;

	if (!find_number(text, len, "anon ", &anon))
		return FIGURES_BAD;
	ret_group->refaults = find_refaults(text, len);
	return 0;
}

int figures_parse_group_pressure(const char *text, size_t len, struct memory_group *ret_group)
{
	struct memory_stall some, full;

	if (!read_stalls(text, len, &some, &full))
		return FIGURES_BAD;
	ret_group->has_stalls = true;
	ret_group->some = some;
	ret_group->full = full;
	return 0;
}
