/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Text for manual pages, which scdoc makes.
 */

/* Prints @text to standard output so that scdoc takes every character of it as it is. */
void scdoc_print(const char *text);
