/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What was probably meant by a misspelt word.
 */

/*
 * The one of @words (NULL ends them) that @word can be turned into with the fewest letters put in,
 * left out, replaced or swapped with their neighbour; NULL if none is as near as a third of its length.
 * Borrowed from @words.
 */
const char *nearest_word(const char *word, const char *const words[]);
