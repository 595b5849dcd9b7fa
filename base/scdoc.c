/* SPDX-License-Identifier: MIT */

/*
 * Quoting for scdoc(5).
 *
 * A backslash takes the meaning from the character behind it. Of the characters that have one, these
 * can stand in the texts of our tables; an underscore between letters has none, but a backslash does it
 * no harm.
 */

#include "base/scdoc.h"

#include <stdio.h>
#include <string.h>

void scdoc_print(const char *text)
{
	for (; *text; text++) {
		if (strchr("\\*_#[]<>~+", *text))
			putchar('\\');
		putchar(*text);
	}
}
