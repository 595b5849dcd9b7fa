/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/host.h"

/*
 * The command line of hvhost serve.
 */

/*
 * Fills @h from it, whose argv[0] is the verb; what is not there stays as it is. -1, or the exit code of
 * a verb that has ended: --help and the like are answered, or one line says what is wrong.
 */
_must_check_ int serve_options_parse(struct host *h, int argc, char **argv);
