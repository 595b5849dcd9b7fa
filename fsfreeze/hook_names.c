/* SPDX-License-Identifier: MIT */

/*
 * Names of hooks. A folder of hooks is looked after by people and by package managers, and both
 * leave files beside the one they change. What is left out here is never run, so the list names
 * only endings that no hook has by accident.
 */

#include "fsfreeze/hook_names.h"

#include <string.h>

bool hook_name_is_hook(const char *name)
{
	static const char *const endings[] = {".bak", ".orig", ".sample", ".swp"};
	static const char *const beginnings[] = {".dpkg-", ".rpm"};
	size_t length = strlen(name);
	const char *last = strrchr(name, '.');

	if (length == 0 || name[0] == '.' || name[length - 1] == '~')
		return false;
	for (size_t i = 0; last && i < sizeof(endings) / sizeof(endings[0]); i++)
		if (!strcmp(last, endings[i]))
			return false;
	for (size_t i = 0; last && i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (!strncmp(last, beginnings[i], strlen(beginnings[i])))
			return false;
	return true;
}

bool hook_name_is_optional(const char *name)
{
	static const char part[] = ".optional";

	for (const char *p = name; (p = strstr(p, part)); p++)
		if (p[sizeof(part) - 1] == '\0' || p[sizeof(part) - 1] == '.')
			return true;
	return false;
}
