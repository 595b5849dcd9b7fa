/* SPDX-License-Identifier: MIT */

/*
 * hv_balloon's figures.
 *
 * While the kernel's driver serves dynamic memory, what it does is seen in one file of debugfs, a
 * line "name : value" for each figure (Linux drivers/hv/hv_balloon.c, hv_balloon_debug_show(),
 * since 6.0). debugfs promises nothing: a name that is not known is passed over, one that is
 * missing leaves its figure at 0, and a file without any of them is said to be unknown.
 */

#include "memhotplug/kernel_balloon.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

enum {
	LINE_SIZE = 160,
	GUID_LENGTH = 36,
};

static void cleanup_dirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static void cleanup_filep(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

bool kernel_balloon_is_bound(const char *driver_dir)
{
	_cleanup_(cleanup_dirp) DIR *stream = opendir(driver_dir);
	struct dirent *entry;

	/* A device is a link whose name is its GUID; everything else there has another length. */
	while (stream && (entry = readdir(stream)))
		if (strlen(entry->d_name) == GUID_LENGTH && entry->d_name[8] == '-')
			return true;
	return false;
}

/* Cuts "name   : value" in two; false if it is not that. */
static bool split_line(char *line, const char **ret_name, char **ret_value)
{
	char *colon = strchr(line, ':');
	char *end = colon;

	if (!colon)
		return false;
	while (end > line && end[-1] == ' ')
		end--;
	*end = '\0';
	colon++;
	*ret_name = line;
	*ret_value = colon + strspn(colon, " ");
	(*ret_value)[strcspn(*ret_value, "\n")] = '\0';
	return true;
}

static bool take_number(struct kernel_balloon *b, const char *name, const char *value)
{
	const struct {
		const char *name;
		uint64_t *field;
	} numbers[] = {
		{"pages_added", &b->added_pages},
		{"pages_onlined", &b->onlined_pages},
		{"pages_ballooned", &b->ballooned_pages},
		{"total_pages_committed", &b->committed_pages},
		{"max_dynamic_page_count", &b->max_pages},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strcmp(name, numbers[i].name) == 0) {
			*numbers[i].field = strtoull(value, NULL, 10);
			return true;
		}
	}
	return false;
}

/* "1 (Initialized)": the words. */
static void take_state(struct kernel_balloon *b, const char *value)
{
	const char *open = strchr(value, '(');

	if (open)
		value = open + 1;
	snprintf(b->state, sizeof(b->state), "%.*s", (int)strcspn(value, ")"), value);
}

static bool take_line(struct kernel_balloon *b, const char *name, const char *value)
{
	if (strcmp(name, "host_version") == 0) {
		snprintf(b->version, sizeof(b->version), "%.15s", value);
	} else if (strcmp(name, "state") == 0) {
		take_state(b, value);
	} else if (strcmp(name, "capabilities") == 0) {
		b->can_balloon = strstr(value, "enabled") != NULL;
		b->can_hot_add = strstr(value, "hot_add") != NULL;
	} else {
		return take_number(b, name, value);
	}
	return true;
}

int kernel_balloon_read(const char *path, struct kernel_balloon *ret_balloon)
{
	_cleanup_(cleanup_filep) FILE *f = fopen(path, "re");
	struct kernel_balloon balloon = {0};
	char line[LINE_SIZE], *value;
	const char *name;
	bool known = false;

	if (!f)
		return errno == ENOENT || errno == EACCES || errno == EPERM ? KERNEL_BALLOON_NONE
									   : negative_errno();
	while (fgets(line, sizeof(line), f))
		if (split_line(line, &name, &value))
			known |= take_line(&balloon, name, value);
	if (ferror(f))
		return -EIO;
	if (!known)
		return KERNEL_BALLOON_UNKNOWN;
	*ret_balloon = balloon;
	return 0;
}
