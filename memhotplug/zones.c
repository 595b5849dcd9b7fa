/* SPDX-License-Identifier: MIT */

/*
 * /proc/zoneinfo.
 *
 * For each zone of each node a line "Node 0, zone   Normal", and below it among much else a line
 * "present  5505024". Device memory is not counted: it belongs to drivers.
 * Source: Linux mm/vmstat.c, zoneinfo_show_print().
 */

#include "memhotplug/zones.h"

#include "base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	LINE_SIZE = 256,
};

static void cleanup_filep(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

int zones_read(const char *path, struct zones *ret_zones)
{
	_cleanup_(cleanup_filep) FILE *f = fopen(path, "re");
	struct zones zones = {0};
	char line[LINE_SIZE], name[32] = "";
	uint64_t pages;

	if (!f)
		return negative_errno();
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %*u, zone %31s", name) == 1)
			continue;
		if (sscanf(line, " present %" SCNu64, &pages) != 1)
			continue;
		if (strcmp(name, "Movable") == 0)
			zones.movable_pages += pages;
		else if (strcmp(name, "Device") != 0)
			zones.kernel_pages += pages;
	}
	if (ferror(f))
		return -EIO;
	if (zones.kernel_pages == 0)
		return ZONES_BAD;
	*ret_zones = zones;
	return 0;
}
