/* SPDX-License-Identifier: MIT */

/*
 * The nearest of some words.
 *
 * The distance is that of Damerau and Levenshtein, restricted to swaps of neighbours that are not
 * touched again ("optimal string alignment"), by the usual table of which three rows are needed at a
 * time. Words are short; one that is longer than the table is no misspelling of a setting or a verb.
 */

#include "base/nearest.h"

#include <stddef.h>
#include <string.h>

enum {
	WORD_MAX = 63, /* bytes */
};

static unsigned min(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
	unsigned rows[3][WORD_MAX + 1];

	for (size_t j = 0; j <= b_size; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_size; i++) {
		unsigned *row = rows[i % 3];
		const unsigned *last = rows[(i - 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= b_size; j++) {
			row[j] = min(min(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min(row[j], rows[(i - 2) % 3][j - 2] + 1);
		}
	}
	return rows[a_size % 3][b_size];
}

const char *nearest_word(const char *word, const char *const words[])
{
	size_t size = strlen(word);
	unsigned best = (unsigned)size / 3 + 1;
	const char *found = NULL;

	for (; size <= WORD_MAX && *words; words++) {
		size_t n = strlen(*words);
		unsigned d = n <= WORD_MAX ? distance(word, size, *words, n) : best;

		if (d < best) {
			best = d;
			found = *words;
		}
	}
	return found;
}
