/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/*
 * What a file's name in a folder of hooks says about it.
 */

/*
 * False for what editors and package managers leave behind: names that begin with '.', end in '~',
 * .bak, .orig, .sample or .swp, or have a part that begins with .dpkg- or .rpm at their end.
 */
bool hook_name_is_hook(const char *name);

/* True if one of the name's parts between dots is "optional": 20-cache.optional.sh */
bool hook_name_is_optional(const char *name);
