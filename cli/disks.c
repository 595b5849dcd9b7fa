/* SPDX-License-Identifier: MIT */

/*
 * Disks: what is on them, what could grow, and why not the rest.
 *
 * Of each disk there is a line for it, one for each partition, and one that says what could grow. An
 * exit code of 3 says that a disk has space which is kept from being used by a reason.
 */

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

void print_disks_status(const json_t *d)
{
	const json_t *last = json_object_get(d, "last");

	printf("disks       grow = %s, %" JSON_INTEGER_FORMAT " listed; %" JSON_INTEGER_FORMAT
	       " resized by the host, %" JSON_INTEGER_FORMAT " grown, %" JSON_INTEGER_FORMAT
	       " refused, %" JSON_INTEGER_FORMAT " failed%s\n",
	       text_of(d, "grow"), number_of(d, "listed"), number_of(d, "resizes"), number_of(d, "grown"),
	       number_of(d, "refused"), number_of(d, "failed"),
	       json_is_true(json_object_get(d, "waiting")) ? "; one waits" : "");
	if (json_object_get(d, "problem"))
		printf("            %s\n", text_of(d, "problem"));
	if (json_is_object(last) && *text_of(last, "problem"))
		printf("            %s: %s\n", text_of(last, "disk"), text_of(last, "problem"));
}

static const char *after(const char *before, const char *text)
{
	static char buf[300];

	buf[0] = '\0';
	if (*text && strcmp(text, "-") != 0)
		snprintf(buf, sizeof(buf), "%s%s", before, text);
	return buf;
}

static void print_part(const json_t *part)
{
	json_int_t size = number_of(part, "size_bytes"), content = number_of(part, "content_bytes");

	printf("  %-14s %10s  %s", text_of(part, "path"), size_format((uint64_t)size).text,
	       *text_of(part, "content") ? text_of(part, "content") : "nothing known");
	if (content > 0 && content != size)
		printf(" of %s", size_format((uint64_t)content).text);
	fputs(after(" on ", text_of(part, "mount")), stdout);
	fputs(json_is_true(json_object_get(part, "read_only")) ? " (read-only)" : "", stdout);
	puts(after(", used by ", text_of(part, "holder")));
}

static void print_disk(const json_t *disk)
{
	const char *growth = text_of(disk, "growth"), *table = text_of(disk, "table");
	const json_t *part;
	size_t i;

	printf("%-16s %10s  %s\n", text_of(disk, "name"), bytes_of(disk, "size_bytes").text,
	       strcmp(table, "none") == 0 ? "no partition table" : table);
	json_array_foreach(json_object_get(disk, "partitions"), i, part)
		print_part(part);
	if (strcmp(growth, "can-grow") == 0)
		printf("  %s unused: could grow\n", bytes_of(disk, "unused_bytes").text);
	else if (strcmp(growth, "refused") == 0)
		printf("  %s unused: %s\n", bytes_of(disk, "unused_bytes").text, text_of(disk, "reason"));
}

static void print_disks(const json_t *answer)
{
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(answer, "disks"), i, disk)
		print_disk(disk);
}

static void print_grown(const json_t *answer)
{
	if (json_is_true(json_object_get(answer, "grown")))
		puts("it is as large as the disk now");
	else
		puts("there was nothing to grow into");
	print_disk(json_object_get(answer, "disk"));
}

static int disks_code(const json_t *answer)
{
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(answer, "disks"), i, disk)
		if (strcmp(text_of(disk, "growth"), "refused") == 0 &&
		    number_of(disk, "unused_bytes") > 0)
			return EXIT_DEGRADED;
	return EXIT_OK;
}

int verb_disks(const struct cli *cli)
{
	enum { LOOK_MS = 90000, GROW_MS = 3600000 }; /* the helper's own limits, and some */
	char path[300];

	if (cli->n_operands == 0)
		return cli_do(cli, "GET", "/v1/disks", NULL, LOOK_MS, print_disks, disks_code);
	if (cli->n_operands != 2 || strcmp(cli->operands[0], "grow") != 0) {
		fprintf(stderr, "hvguestctl: disks takes no operand, or grow and the name of a disk\n");
		return EXIT_USAGE;
	}
	if (strlen(cli->operands[1]) > 200 || cli->operands[1][strcspn(cli->operands[1], "/%?# ")]) {
		fprintf(stderr, "hvguestctl: a disk is named as sda, not '%s'\n", cli->operands[1]);
		return EXIT_USAGE;
	}
	snprintf(path, sizeof(path), "/v1/disks/%s/grow", cli->operands[1]);
	return cli_do(cli, "POST", path, NULL, GROW_MS, print_grown, NULL);
}
