/* SPDX-License-Identifier: MIT */

/*
 * hvhost backup.
 *
 * A backup takes as long as its copies do, so it is started by one request and followed by others;
 * breaking the command off does not break the backup off, which ends by itself in any case.
 */

#include "base/terminal.h"
#include "host/command.h"
#include "host/verbs.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void print_image(const json_t *image)
{
	const char *snapshot = json_string_value(json_object_get(image, "snapshot"));

	printf("  %s -> %s: %s%s%s%s, %s of %s in %s%s\n", command_text(image, "source"),
	       command_text(image, "target"), command_text(image, "method"),
	       snapshot ? ", of a snapshot by " : "", snapshot ? snapshot : "",
	       json_is_true(json_object_get(image, "incremental")) ? ", what has changed" : "",
	       command_bytes(image, "data_bytes").text, command_bytes(image, "bytes").text,
	       command_seconds(image, "seconds").text,
	       json_is_true(json_object_get(image, "verified")) ? ", verified" : "");
	if (json_object_get(image, "full_why"))
		printf("    copied in full: %s\n", command_text(image, "full_why"));
}

static void print_progress(const json_t *backup)
{
	char rest[64];

	snprintf(rest, sizeof(rest), "%s of %s", command_bytes(backup, "done_bytes").text,
		 command_bytes(backup, "total_bytes").text);
	terminal_progress(command_text(backup, "state"),
			  json_number_value(json_object_get(backup, "done_bytes")),
			  json_number_value(json_object_get(backup, "total_bytes")), rest);
}

static int print_backup(const json_t *backup)
{
	const json_t *images = json_object_get(backup, "images"), *image;
	size_t i;

	printf("backup %s of %s: %s\n", command_text(backup, "id"), command_text(backup, "guest"),
	       command_text(backup, "state"));
	if (json_object_get(backup, "error"))
		printf("  %s\n", command_text(backup, "error"));
	printf("  freeze answered in %s, frozen for %s, thaw answered in %s\n",
	       command_seconds(backup, "freeze_seconds").text, command_seconds(backup, "frozen_seconds").text,
	       command_seconds(backup, "thaw_seconds").text);
	json_array_foreach(images, i, image)
		print_image(image);
	return EXIT_OK;
}

/* The exit code of a backup that has ended. */
static int backup_exit_code(const json_t *backup)
{
	if (!strcmp(command_text(backup, "state"), "done"))
		return EXIT_OK;
	return json_is_true(json_object_get(backup, "thawed_by_itself")) ? EXIT_TIMED_OUT : EXIT_ERROR;
}

/* Asks again and again until the backup has ended. */
static int follow_backup(const struct command *c, const char *id)
{
	_cleanup_free_ char *path = NULL;
	json_t *backup;
	int r;

	if (asprintf(&path, "/v1/backups/%s", id) < 0)
		return EXIT_ERROR;
	for (;;) {
		r = ask(&c->to, "GET", path, NULL, COMMAND_TIMEOUT_MS, &backup);
		if (r)
			return r;
		if (json_is_true(json_object_get(backup, "ended")))
			break;
		print_progress(backup);
		json_decref(backup);
		usleep(COMMAND_POLL_US);
	}

	terminal_progress_end();
	if (c->json)
		ask_print_json(backup);
	else
		(void)print_backup(backup);
	r = backup_exit_code(backup);
	if (r)
		fprintf(stderr, "hvhost: the backup failed: %s\n", command_text(backup, "error"));
	json_decref(backup);
	return r;
}

/* What is wanted of a backup. */
struct wanted {
	struct command_texts images;
	const char *directory;
	const char *since;
	const char *vm;
	const char *cow;
	uint64_t cow_bytes;
	bool keep_base, verify, no_snapshot;
};

/*
 * The path without links. A disk keeps its name, which is often a link: /dev/group/volume is to be backed
 * up as "volume", and not as "dm-3".
 */
static bool resolve(const char *path, char ret_path[PATH_MAX])
{
	_cleanup_free_ char *for_folder = strdup(path), *for_name = strdup(path);
	char folder[PATH_MAX];
	struct stat st;

	if (!for_folder || !for_name || stat(path, &st) < 0)
		return false;
	if (!S_ISBLK(st.st_mode))
		return realpath(path, ret_path);
	return realpath(dirname(for_folder), folder) &&
	       snprintf(ret_path, PATH_MAX, "%s/%s", folder, basename(for_name)) < PATH_MAX;
}

/* The host may run in another folder, so it is given absolute paths. */
static json_t *absolute_paths(const struct command_texts *images)
{
	json_t *paths = json_array();
	char path[PATH_MAX];

	for (int i = 0; i < images->n; i++) {
		if (!resolve(images->texts[i], path)) {
			fprintf(stderr, "hvhost: image %s: %m\n", images->texts[i]);
			json_decref(paths);
			return NULL;
		}
		json_array_append_new(paths, json_string(path));
	}
	return paths;
}

static json_t *backup_request(const struct wanted *w)
{
	char directory[PATH_MAX], since[PATH_MAX];
	json_t *images;

	if (!realpath(w->directory, directory)) {
		fprintf(stderr, "hvhost: directory %s: %m\n", w->directory);
		return NULL;
	}
	if (w->since && !realpath(w->since, since)) {
		fprintf(stderr, "hvhost: directory %s: %m\n", w->since);
		return NULL;
	}
	images = absolute_paths(&w->images);
	return images ? json_pack("{s:o, s:s, s:s*, s:s*, s:b, s:b, s:b, s:I}", "images", images, "directory",
				  directory, "since", w->since ? since : NULL, "vm", w->vm, "keep_base",
				  w->keep_base, "verify", w->verify, "no_snapshot", w->no_snapshot, "cow_bytes", (json_int_t)w->cow_bytes)
		      : NULL;
}

/* Starts it, and waits for its end. */
static int make_backup(const struct command *c, const struct wanted *w)
{
	_cleanup_free_ char *path = command_guest_path(c->words[0], "/backup"), *id = NULL;
	json_t *body = path ? backup_request(w) : NULL, *answer;
	int r;

	if (!body)
		return EXIT_ERROR;
	r = ask(&c->to, "POST", path, body, COMMAND_TIMEOUT_MS, &answer);
	if (r)
		return r;
	id = strdup(command_text(answer, "id"));
	json_decref(answer);
	return id ? follow_backup(c, id) : EXIT_ERROR;
}

int verb_backup(int argc, char **argv)
{
	struct wanted w = {0};
	const struct command_option options[] = {
		{"image", "FILE", "an image to copy, a file or a disk such as a logical volume; may be given again",
		 .texts = &w.images},
		{"to", "DIR", "where the copies go, each under its image's name", .text = &w.directory},
		{"verify", NULL, "read back what was written", .flag = &w.verify},
		{"keep-base", NULL, "keep what the next backup needs to copy only what has changed (its --since)",
		 .flag = &w.keep_base},
		{"since", "DIR", "copy only what has changed since the backup in DIR; keeps a base",
		 .text = &w.since},
		{"vm", "NAME", "have QEMU copy the images, which are disks of this VM, raw or qcow2 (serve --qmp)",
		 .text = &w.vm},
		{"no-snapshot", NULL, "copy while the guest is frozen, even if a snapshot could be made",
		 .flag = &w.no_snapshot},
		{"cow", "SIZE",
		 "room for what is written to a logical volume while it is copied (default: a fifth of it)",
		 .text = &w.cow},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "backup GUEST --image FILE [--image FILE...] --to DIR [--since DIR] [--keep-base] "
			 "[--verify] [--no-snapshot] [--cow SIZE] [--vm NAME] [--json]",
		.options = options,
		.min_words = 1,
		.max_words = 1,
	};
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (w.images.n == 0 || !w.directory)
		return command_complain(&c, w.directory ? "--image is missing" : "--to is missing");
	if (w.cow && (size_parse(w.cow, &w.cow_bytes) || w.cow_bytes == 0 || w.cow_bytes > INT64_MAX))
		return command_refuse("--cow", w.cow, "a size such as 10G");
	return make_backup(&c, &w);
}
