/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The end of a program that has printed something. Returns @code; or EXIT_ERROR, after a line on standard
 * error that begins with @program, if not all of it could be written to standard output: on a full disk
 * half an answer must not pass for one.
 */
int output_end(const char *program, int code);
