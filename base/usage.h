/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Wrong command lines.
 */

/*
 * Says in one line on standard error what getopt_long() has just refused: @refused is what it
 * returned, ':' or '?', with opterr 0 and an option string of ":". @program begins the line, @help
 * is the command that tells more. Returns EXIT_USAGE.
 */
int usage_complain(int refused, char *const argv[], const char *program, const char *help);
