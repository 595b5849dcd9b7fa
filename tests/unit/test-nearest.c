/* SPDX-License-Identifier: MIT */

/*
 * base/nearest.c: what was meant.
 */

#include "base/nearest.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static const char *const words[] = {"freeze_timeout", "freeze_roots", "name", "run_dir", NULL};

static const struct {
	const char *word;
	const char *meant; /* or "" */
} rows[] = {
	{"freeze_timeout", "freeze_timeout"},
	{"freeze_timout", "freeze_timeout"},  /* one left out */
	{"freezee_timeout", "freeze_timeout"}, /* one too many */
	{"freeze-timeout", "freeze_timeout"}, /* another one */
	{"freeze_tiemout", "freeze_timeout"}, /* swapped */
	{"nmae", "name"},
	{"Rundir", "run_dir"},
	{"roots", ""},
	{"", ""},
	{"xyz", ""},
	{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""},
};

Test(nearest, the_nearest_word_is_found_and_none_if_nothing_is_near)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *found = nearest_word(rows[i].word, words);

		cr_expect(zero(int, strcmp(found ? found : "", rows[i].meant)), "%s", rows[i].word);
	}
}

Test(nearest, of_no_words_none_is_near)
{
	static const char *const none[] = {NULL};

	cr_expect(nearest_word("name", none) == NULL);
}
