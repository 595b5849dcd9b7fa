/* SPDX-License-Identifier: MIT */

/*
 * Who keeps the clock.
 *
 * Whether anybody does is what the kernel knows (services/guest_clock.h), and that is what decides;
 * the name found here is for people. Programs are known by what they leave in /run: a file with their
 * process id, which must be a process of that name, or a folder or socket that is there while they run.
 *
 * The driver hv_utils gives its samples to a clock device, which chronyd may read. One that reads it
 * must not be given the same samples once more. Its configuration is read as chronyd does: a line
 * "refclock PHC" with a path, in the places where distributions have it; files that it includes from
 * elsewhere are not followed.
 */

#include "services/clock_keeper.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* The first line of a file below @root, without its end; "" if there is none. */
static void read_line(const char *root, const char *path, char *line, int size)
{
	char whole[PATH_MAX];
	FILE *file;

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	file = fopen(whole, "re");
	if (!file || !fgets(line, size, file))
		line[0] = '\0';
	if (file)
		(void)fclose(file);
	line[strcspn(line, "\n")] = '\0';
}

/* Whether the file at @path has the id of a process called @name. */
static bool has_process(const char *root, const char *path, const char *name)
{
	char line[64], comm[sizeof(line) + 16];

	read_line(root, path, line, sizeof(line));
	if (line[0] == '\0' || line[strspn(line, "0123456789")] != '\0' || strlen(line) > 10)
		return false;
	snprintf(comm, sizeof(comm), "/proc/%s/comm", line);
	read_line(root, comm, line, sizeof(line));
	return strcmp(line, name) == 0;
}

static bool exists(const char *root, const char *path)
{
	char whole[PATH_MAX];

	snprintf(whole, sizeof(whole), "%s%s", root, path);
	return access(whole, F_OK) == 0;
}

static const char *find_program(const char *root)
{
	static const struct {
		const char *name;
		const char *path;
		const char *comm; /* of the process whose id is in the file; NULL: being there is enough */
	} traces[] = {
		{"chronyd", "/run/chrony/chronyd.pid", "chronyd"},
		{"chronyd", "/run/chronyd.pid", "chronyd"},
		{"systemd-timesyncd", "/run/systemd/timesync", NULL},
		{"ntpd", "/run/ntpd.pid", "ntpd"},
		{"openntpd", "/run/ntpd.sock", NULL},
		{"openntpd", "/run/openntpd.sock", NULL},
		{"ptp4l", "/run/ptp4l", NULL},
	};

	for (size_t i = 0; i < sizeof(traces) / sizeof(traces[0]); i++)
		if (traces[i].comm ? has_process(root, traces[i].path, traces[i].comm)
				   : exists(root, traces[i].path))
			return traces[i].name;
	return NULL;
}

/* The device of the host's clock, "/dev/ptp0"; false if the kernel has none. */
static bool find_ptp(const char *root, char device[32])
{
	bool found = false;

	for (int i = 0; i < 8 && !found; i++) {
		char path[64], name[32];

		snprintf(path, sizeof(path), "/sys/class/ptp/ptp%d/clock_name", i);
		read_line(root, path, name, sizeof(name));
		found = strcmp(name, "hyperv") == 0;
		snprintf(device, 32, "/dev/ptp%d", i);
	}
	return found;
}

/* Whether a line of chronyd's configuration reads @device, or the link to it that udev makes. */
static bool names_device(char *line, const char *device)
{
	static const char blanks[] = " \t\n";
	char *save = NULL;
	char *word = strtok_r(line, blanks, &save);

	if (!word || strcasecmp(word, "refclock") != 0)
		return false;
	word = strtok_r(NULL, blanks, &save);
	if (!word || strcasecmp(word, "PHC") != 0)
		return false;
	word = strtok_r(NULL, blanks, &save);
	if (!word)
		return false;
	word[strcspn(word, ":")] = '\0'; /* "/dev/ptp0:nocrossts" */
	return strcmp(word, device) == 0 || strcmp(word, "/dev/ptp_hyperv") == 0;
}

static bool file_names_device(const char *path, const char *device)
{
	FILE *file = fopen(path, "re");
	char line[512];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = names_device(line, device);
	if (file)
		(void)fclose(file);
	return found;
}

static bool chrony_reads(const char *root, const char *device)
{
	static const char *const patterns[] = {
		"/etc/chrony.conf",
		"/etc/chrony.d/*.conf",
		"/etc/chrony/chrony.conf",
		"/etc/chrony/conf.d/*.conf",
	};
	bool found = false;

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]) && !found; i++) {
		char pattern[PATH_MAX];
		glob_t files = {0};

		snprintf(pattern, sizeof(pattern), "%s%s", root, patterns[i]);
		if (glob(pattern, 0, NULL, &files) == 0)
			for (size_t k = 0; k < files.gl_pathc && !found; k++)
				found = file_names_device(files.gl_pathv[k], device);
		globfree(&files);
	}
	return found;
}

struct clock_keeper clock_keeper_find(const char *root)
{
	struct clock_keeper keeper = {.name = find_program(root)};
	char device[32];

	keeper.has_ptp = find_ptp(root, device);
	keeper.reads_ptp = keeper.has_ptp && keeper.name && strcmp(keeper.name, "chronyd") == 0 &&
			   chrony_reads(root, device);
	return keeper;
}
