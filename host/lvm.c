/* SPDX-License-Identifier: MIT */

/*
 * Snapshots of logical volumes.
 *
 * LVM is asked by its command, as an administrator would: its library is no more, and what it
 * keeps on disk is its own. A snapshot is a volume beside the one it is of, in the same group:
 *
 *     thick    a part of the group takes what is overwritten in the volume. When that is full the
 *              snapshot is lost, and whoever reads it gets EIO; the volume itself goes on.
 *     thin     the pool has the blocks of both; nothing to be chosen.
 *
 * What the freeze waits for is one lvcreate. All that can be asked before is asked before, and its
 * copy of the group's description in /etc/lvm is left to the command that removes the snapshot.
 *
 * A snapshot slows down every write to its volume, so none may be forgotten. Each carries two
 * tags: that it is one of these, and whose, by process number and start. One whose process is gone
 * is removed when the next backup of a volume begins, and when hvhost starts, if the kernel has a
 * device that looks like one.
 *
 * A command is never killed: between suspending a volume and resuming it that would leave the
 * volume suspended, with whoever uses it. It is asked by SIGINT to give up waiting for others, and
 * waited for.
 *
 * Source: lvcreate(8), lvs(8), lvmsystemid(7); the kernel's /sys/block/dm-N/dm.
 */

#include "host/lvm.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "fsfreeze/hook_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define TAG        "hvguest-backup"
#define PATIENCE_NS UINT64_C(60000000000)

enum {
	WORDS_MAX = 20,
	LOOK_MS = 100,
	COW_PART = 5, /* of the volume */
};

static const uint64_t cow_least_bytes = UINT64_C(64) << 20;

/* --- the command */

static int fail(char *ret_why, const char *format, ...) _printf_(2, 3);

static int fail(char *ret_why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(ret_why, LVM_WHY_SIZE, format, args);
	va_end(args);
	return LVM_FAILED;
}

/* The first line of what it said that is no warning. What follows is what became of that. */
static const char *first_line(const struct hook_process *p, int *ret_len)
{
	const char *line = p->output, *end = p->output + p->n_output;

	for (;;) {
		const char *next;

		while (line < end && (*line == ' ' || *line == '\n'))
			line++;
		next = memchr(line, '\n', (size_t)(end - line));
		*ret_len = (int)((next ? next : end) - line);
		if (!next || strncmp(line, "WARNING:", 8) != 0)
			return line;
		line = next;
	}
}

static int wait_for(struct hook_process *p, bool *ret_is_late)
{
	uint64_t give_up_ns = clock_monotonic_ns() + PATIENCE_NS;
	int status;

	while (!hook_process_reap(p, &status)) {
		struct pollfd events[] = {{.fd = p->end_fd, .events = POLLIN},
					  {.fd = p->output_fd, .events = POLLIN}};

		(void)poll(events, 2, LOOK_MS);
		hook_process_read(p);
		if (clock_monotonic_ns() < give_up_ns)
			continue;
		give_up_ns = UINT64_MAX;
		(void)kill(p->pid, SIGINT);
	}
	*ret_is_late = give_up_ns == UINT64_MAX;
	return status;
}

/* Runs lvm with the words, which end with NULL. @p has what it said. */
static int run(struct hook_process *p, const char *const words[], char *ret_why)
{
	char *environment[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, (char[]){"LC_ALL=C"},
			       NULL};
	char program[PATH_MAX], copies[WORDS_MAX][320], *argv[WORDS_MAX + 2] = {program};
	const char *line;
	bool is_late;
	int r, len;

	for (size_t i = 0; i < WORDS_MAX && words[i]; i++) {
		snprintf(copies[i], sizeof(copies[i]), "%s", words[i]);
		argv[i + 1] = copies[i];
	}
	hook_process_init(p);
	if (!hook_process_find("lvm", program, sizeof(program)))
		return fail(ret_why, "there is no lvm: the package is called lvm2");
	r = hook_process_start(p, argv, environment);
	if (r)
		return fail(ret_why, "%s: %s", program, strerror(-r));
	if (wait_for(p, &is_late) == 0)
		return 0;
	if (is_late)
		return fail(ret_why, "%s took longer than a minute, and was interrupted", words[0]);
	line = first_line(p, &len);
	return fail(ret_why, "%s: %.*s", words[0], len, line);
}

/* Runs lvs, and takes its report. Warnings, which go to the same pipe, are before the report. */
static int ask(const char *const words[], json_t **ret_report, char *ret_why)
{
	struct hook_process p;
	const char *begin;
	json_t *report;
	int r = run(&p, words, ret_why);

	if (r)
		return r;
	begin = memchr(p.output, '{', p.n_output);
	report = begin ? json_loadb(begin, p.n_output - (size_t)(begin - p.output),
				    JSON_DISABLE_EOF_CHECK, NULL)
		       : NULL;
	if (!report)
		return fail(ret_why, "%s does not answer as expected", words[0]);
	*ret_report = report;
	return 0;
}

/* --- what it says */

uint64_t lvm_choose_cow(uint64_t size_bytes, uint64_t free_bytes, uint64_t wanted_bytes)
{
	uint64_t bytes = size_bytes / COW_PART;

	if (wanted_bytes > 0)
		return wanted_bytes <= free_bytes ? wanted_bytes : 0;
	if (bytes < cow_least_bytes)
		bytes = cow_least_bytes;
	return bytes < free_bytes ? bytes : free_bytes;
}

/* The rows of a report. */
static const json_t *rows_of(const json_t *report)
{
	return json_object_get(json_array_get(json_object_get(report, "report"), 0), "lv");
}

static const char *column(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text ? text : "";
}

static bool take_name(const json_t *row, const char *name, char *ret_name)
{
	const char *text = column(row, name);

	return text[0] && snprintf(ret_name, LVM_NAME_SIZE, "%s", text) < LVM_NAME_SIZE;
}

static bool take_bytes(const json_t *row, const char *name, uint64_t *ret_bytes)
{
	const char *text = column(row, name);
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (end == text || *end != '\0')
		return false;
	*ret_bytes = n;
	return true;
}

bool lvm_read_volume(const json_t *report, struct lvm_volume *ret_volume, uint64_t *ret_size_bytes,
		     uint64_t *ret_free_bytes)
{
	const json_t *row = json_array_get(rows_of(report), 0);
	struct lvm_volume volume = {0};
	uint64_t size_bytes, free_bytes;

	if (!take_name(row, "vg_name", volume.group) || !take_name(row, "lv_name", volume.name) ||
	    !take_bytes(row, "lv_size", &size_bytes) || !take_bytes(row, "vg_free", &free_bytes))
		return false;
	volume.is_thin = strstr(column(row, "lv_layout"), "thin,sparse") != NULL;
	*ret_volume = volume;
	*ret_size_bytes = size_bytes;
	*ret_free_bytes = free_bytes;
	return true;
}

bool lvm_read_owner(const char *tags, pid_t *ret_pid, uint64_t *ret_start)
{
	const char *tag = strstr(tags, TAG ".");
	unsigned long long start;
	int pid;

	if (!tag || sscanf(tag, TAG ".%d.%llu", &pid, &start) != 2 || pid <= 0)
		return false;
	*ret_pid = pid;
	*ret_start = start;
	return true;
}

/* --- volumes */

/* A line of the device's folder in sysfs; false if there is none. */
static bool read_sysfs(const char *path, char *ret_line, int size)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fgets(ret_line, size, file);

	if (file)
		(void)fclose(file);
	if (ok)
		ret_line[strcspn(ret_line, "\n")] = '\0';
	return ok;
}

/* What the device mapper says of a block device: its name is what LVM knows it by. */
static bool find_name(const char *path, char *ret_name, int size)
{
	char file[64], uuid[256];
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
		return false;
	snprintf(file, sizeof(file), "/sys/dev/block/%u:%u/dm/uuid", major(st.st_rdev),
		 minor(st.st_rdev));
	if (!read_sysfs(file, uuid, sizeof(uuid)) || strncmp(uuid, "LVM-", 4) != 0)
		return false;
	strcpy(strrchr(file, '/'), "/name");
	return read_sysfs(file, ret_name, size);
}

bool lvm_is_volume(const char *path)
{
	char name[256];

	return find_name(path, name, sizeof(name));
}

/* "disk.hvguest-4711-3"; the name of a volume can be as long as LVM allows. */
static void choose_names(struct lvm_volume *volume, unsigned int id, unsigned int number)
{
	snprintf(volume->snapshot, sizeof(volume->snapshot), "%.70s.hvguest-%d-%u-%u", volume->name,
		 getpid(), id, number);
	snprintf(volume->path, sizeof(volume->path), "/dev/%s/%s", volume->group, volume->snapshot);
}

int lvm_look(const char *path, unsigned int id, uint64_t cow_bytes, struct lvm_volume *ret_volume,
	     char *ret_why)
{
	char name[256], device[280];
	const char *words[] = {"lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o",
			       "vg_name,lv_name,lv_size,vg_free,lv_layout", device, NULL};
	struct lvm_volume volume;
	uint64_t size_bytes, free_bytes;
	struct stat st;
	json_t *report;
	bool ok;
	int r;

	if (stat(path, &st) < 0 || !find_name(path, name, sizeof(name)))
		return fail(ret_why, "it is no logical volume");
	snprintf(device, sizeof(device), "/dev/mapper/%s", name);
	r = ask(words, &report, ret_why);
	if (r)
		return r;
	ok = lvm_read_volume(report, &volume, &size_bytes, &free_bytes);
	json_decref(report);
	if (!ok)
		return fail(ret_why, "lvs does not know it");
	choose_names(&volume, id, minor(st.st_rdev));
	volume.cow_bytes = volume.is_thin ? 0 : lvm_choose_cow(size_bytes, free_bytes, cow_bytes);
	if (!volume.is_thin && volume.cow_bytes == 0)
		return fail(ret_why,
			    "there is no room for a snapshot, volume group %s has %s free: vgextend it, "
			    "or copy while the guest is frozen (--no-snapshot)",
			    volume.group, size_format(free_bytes).text);
	*ret_volume = volume;
	return 0;
}

/* This process, and no other one that comes to have its number. */
static void owner_tag(char tag[64])
{
	snprintf(tag, 64, TAG ".%d.%llu", getpid(),
		 (unsigned long long)hook_process_start_time(getpid()));
}

int lvm_snapshot(const struct lvm_volume *volume, char *ret_why)
{
	char tag[64], origin[2 * LVM_NAME_SIZE], size[32];
	const char *words[WORDS_MAX] = {
		"lvcreate", "--snapshot", "--name", volume->snapshot, "--addtag", TAG, "--addtag", tag,
		"--permission", "r", "--autobackup", "n", "--yes", "--quiet", origin};
	static const char busy[] = "Device or resource busy";
	size_t n = 15;
	struct hook_process p;
	char ignored[LVM_WHY_SIZE];
	int r;

	owner_tag(tag);
	snprintf(origin, sizeof(origin), "%s/%s", volume->group, volume->name);
	snprintf(size, sizeof(size), "%llub", (unsigned long long)volume->cow_bytes);
	words[n++] = volume->is_thin ? "--setactivationskip" : "--size";
	words[n++] = volume->is_thin ? "n" : size;
	r = run(&p, words, ret_why);
	if (r == 0)
		return 0;
	(void)!lvm_remove(volume, ignored); /* half of one */
	if (memmem(p.output, p.n_output, busy, sizeof(busy) - 1))
		return fail(ret_why, "lvcreate: it is busy: this kernel makes no snapshot of a volume that is "
				     "mounted on this machine itself and frozen: copy it meanwhile "
				     "(--no-snapshot)");
	return r;
}

bool lvm_is_full(const struct lvm_volume *volume)
{
	char name[2 * LVM_NAME_SIZE], why[LVM_WHY_SIZE];
	const char *words[] = {"lvs", "--reportformat", "json", "-o", "lv_attr", name, NULL};
	const char *attributes;
	json_t *report;
	bool is_full;

	snprintf(name, sizeof(name), "%s/%s", volume->group, volume->snapshot);
	if (ask(words, &report, why))
		return false;
	attributes = column(json_array_get(rows_of(report), 0), "lv_attr");
	/* lvs(8): the fifth is the state, "I" and "S" that of an invalid snapshot. */
	is_full = strlen(attributes) > 4 && strchr("IS", attributes[4]);
	json_decref(report);
	return is_full;
}

static int remove_named(const char *group, const char *name, char *ret_why)
{
	char selected[LVM_NAME_SIZE + 32];
	const char *words[] = {"lvremove", "--yes",  "--force", "--quiet",
			       "--select", selected, group,     NULL};
	struct hook_process p;

	/* By selection: that there is none is no error then. */
	snprintf(selected, sizeof(selected), "lv_name=\"%s\"", name);
	return run(&p, words, ret_why);
}

int lvm_remove(const struct lvm_volume *volume, char *ret_why)
{
	return remove_named(volume->group, volume->snapshot, ret_why);
}

/* --- what was left */

/* Any device whose name has what ours have; hyphens are doubled by the device mapper. */
static bool kernel_has_any(void)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	char file[300], name[256];
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		snprintf(file, sizeof(file), "/sys/block/%s/dm/name", entry->d_name);
		found = strncmp(entry->d_name, "dm-", 3) == 0 &&
			read_sysfs(file, name, sizeof(name)) && strstr(name, ".hvguest--");
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

static void remove_if_left(const json_t *row)
{
	char why[LVM_WHY_SIZE];
	uint64_t start;
	pid_t pid;

	if (!lvm_read_owner(column(row, "lv_tags"), &pid, &start) ||
	    hook_process_start_time(pid) == start)
		return;
	if (remove_named(column(row, "vg_name"), column(row, "lv_name"), why))
		log_error("snapshot %s/%s was left by a predecessor and cannot be removed: %s",
			  column(row, "vg_name"), column(row, "lv_name"), why);
	else
		log_notice("snapshot %s/%s was left by a predecessor: it is removed",
			   column(row, "vg_name"), column(row, "lv_name"));
}

void lvm_remove_left(bool always)
{
	const char *words[] = {"lvs", "--reportformat", "json", "-o", "vg_name,lv_name,lv_tags",
			       "--select", "lv_tags={\"" TAG "\"}", NULL};
	char why[LVM_WHY_SIZE];
	json_t *report;
	const json_t *row;
	size_t i;

	if (!always && !kernel_has_any())
		return;
	if (ask(words, &report, why)) {
		log_warning("snapshots that a predecessor may have left are not looked for: %s", why);
		return;
	}
	json_array_foreach(rows_of(report), i, row)
		remove_if_left(row);
	json_decref(report);
}
