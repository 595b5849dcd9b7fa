/* SPDX-License-Identifier: MIT */

/*
 * hvguest-disks: looks at disks, and makes what is on them larger.
 *
 *     hvguest-disks [-o FILE] list [DISK...]    all disks, and those that are named: one JSON object
 *     hvguest-disks [-o FILE] grow DISK         what can grow of it, grown: the same, and "grown"
 *
 * The answer goes to standard output, or into FILE, which is made.
 *
 * A program of its own, so that hvguestd does not have libfdisk, libblkid and what they read in its
 * memory; and so that nothing of it depends on the daemon's life.
 *
 * Growing goes from the outside in, and each step begins by looking at how far things are: the entry in
 * the partition table, the kernel's partition (BLKPG_RESIZE_PARTITION, which is allowed while it is
 * used), the file system. Whoever is ended in between goes on there when started again.
 *
 * Exit codes: 0 done, 1 error, 2 usage, 3 refused.
 */

#include "base/ask.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include "disks/content.h"
#include "disks/survey.h"
#include "disks/table.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
	LIST_MAX = 256,
};

static json_t *number_or_null(uint64_t number)
{
	return number ? json_integer((json_int_t)number) : json_null();
}

static json_t *part_json(const struct disk_layout *l, const struct disk_part *part)
{
	char path[DISK_PATH_SIZE];
	dev_t device;

	if (!disk_part_node(l, part, path, &device))
		path[0] = '\0';
	return json_pack("{s:i, s:s, s:I, s:I, s:s, s:o, s:s, s:b, s:s}", "number", (int)part->number,
			 "path", path, "start_bytes", (json_int_t)part->start_bytes, "size_bytes",
			 (json_int_t)part->size_bytes, "content", part->content, "content_bytes",
			 number_or_null(part->content_bytes), "mount", part->mount, "read_only",
			 part->is_read_only, "holder", part->holder);
}

static json_t *disk_json(const struct disk_layout *l)
{
	json_t *parts = json_array();
	struct disk_growth growth;

	for (size_t i = 0; i < l->n_parts; i++)
		json_array_append_new(parts, part_json(l, &l->parts[i]));
	disk_growth_plan(l, &growth);
	return json_pack("{s:s, s:I, s:i, s:s, s:b, s:o, s:s, s:I, s:o, s:s}", "name", l->name,
			 "size_bytes", (json_int_t)l->size_bytes, "sector_bytes", (int)l->sector_bytes,
			 "table", disk_table_name(l->table), "read_only", l->is_read_only, "partitions",
			 parts, "growth", disk_verdict_name(growth.verdict), "unused_bytes",
			 (json_int_t)growth.unused_bytes, "part",
			 growth.unused_bytes ? json_integer((json_int_t)l->parts[growth.part].number)
					     : json_null(),
			 "reason", growth.reason);
}

static void print(json_t *take_answer)
{
	if (json_dumpf(take_answer, stdout, JSON_COMPACT) < 0 || putchar('\n') < 0 ||
	    fflush(stdout) != 0)
		fputs("hvguest-disks: the answer cannot be written\n", stderr);
	json_decref(take_answer);
}

/* --- list */

static void append_disk(json_t *disks, const char *name)
{
	struct disk_layout *l = malloc(sizeof(*l));
	int r = l ? disk_survey(name, l) : -ENOMEM;

	if (r == 0)
		json_array_append_new(disks, disk_json(l));
	else
		json_array_append_new(disks, json_pack("{s:s, s:s, s:s}", "name", name, "growth",
						       "refused", "reason",
						       r < 0 ? strerror(-r) : "there is no such disk"));
	free(l);
}

static bool is_listed(char (*names)[DISK_NAME_SIZE], size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static int list(char **words, int n_words)
{
	static char names[LIST_MAX][DISK_NAME_SIZE];
	size_t n = disk_list(names, LIST_MAX);
	json_t *disks = json_array();

	for (int i = 0; i < n_words && n < LIST_MAX; i++) {
		char name[DISK_NAME_SIZE];

		if (disk_find(words[i], name))
			snprintf(name, sizeof(name), "%.31s", words[i]);
		if (!is_listed(names, n, name))
			strcpy(names[n++], name);
	}
	for (size_t i = 0; i < n; i++)
		append_disk(disks, names[i]);
	print(json_pack("{s:i, s:o}", "schema", 1, "disks", disks));
	return EXIT_OK;
}

/* --- grow */

struct growing {
	struct disk_layout layout;
	struct disk_growth growth;
	char disk[DISK_PATH_SIZE];
	char node[DISK_PATH_SIZE]; /* of what grows */
	dev_t device;
	char why[DISK_REASON_SIZE];
};

static int fail(struct growing *g, const char *what, int r)
{
	snprintf(g->why, sizeof(g->why), "%s: %s", what, strerror(-r));
	return EXIT_ERROR;
}

/* The kernel's partition gets the length that it has in the table. */
static int resize_partition(const struct growing *g, const struct disk_part *part, uint64_t bytes)
{
	_cleanup_close_ int fd = open(g->disk, O_RDONLY | O_CLOEXEC);
	struct blkpg_partition partition = {
		.start = (long long)part->start_bytes,
		.length = (long long)bytes,
		.pno = (int)part->number,
	};
	struct blkpg_ioctl_arg arg = {
		.op = BLKPG_RESIZE_PARTITION,
		.datalen = sizeof(partition),
		.data = &partition,
	};

	return fd < 0 || ioctl(fd, BLKPG, &arg) < 0 ? negative_errno() : 0;
}

static int grow_partition(struct growing *g, struct disk_part *part)
{
	uint64_t bytes = g->growth.partition_bytes;
	int r = 0;

	if (bytes == 0)
		return EXIT_OK;
	if (part->table_bytes != bytes)
		r = table_extend(g->disk, &g->layout, part->number, bytes, g->why);
	if (r > 0)
		return EXIT_DEGRADED;
	if (r < 0)
		return fail(g, "the partition table", r);
	r = resize_partition(g, part, bytes);
	if (r)
		return fail(g, "the kernel's partition (the table has the new size)", r);
	part->size_bytes = bytes;
	return EXIT_OK;
}

static int look(struct growing *g, const char *what)
{
	const char *forbidden = NULL;
	char name[DISK_NAME_SIZE];
	struct disk_part whole = {0};
	dev_t device;
	int r = disk_find(what, name);

	r = r ? r : disk_survey(name, &g->layout);
	if (r) {
		snprintf(g->why, sizeof(g->why), "%s", r < 0 ? strerror(-r) : "there is no such disk");
		return EXIT_ERROR;
	}
	disk_growth_plan(&g->layout, &g->growth);
	if (g->growth.verdict == DISK_REFUSED) {
		memcpy(g->why, g->growth.reason, sizeof(g->why));
		return EXIT_DEGRADED;
	}
	/* Before the partition is made larger for nothing. */
	if (g->growth.verdict == DISK_CAN_GROW)
		forbidden = content_forbidden(&g->layout.parts[g->growth.part]);
	if (forbidden) {
		snprintf(g->why, sizeof(g->why), "%s", forbidden);
		return EXIT_DEGRADED;
	}
	if (g->growth.verdict == DISK_CAN_GROW &&
	    (!disk_part_node(&g->layout, &whole, g->disk, &device) ||
	     !disk_part_node(&g->layout, &g->layout.parts[g->growth.part], g->node, &g->device))) {
		snprintf(g->why, sizeof(g->why), "the disk is gone");
		return EXIT_ERROR;
	}
	return EXIT_OK;
}

static int grow_all(struct growing *g, const char *what, bool *ret_grown)
{
	struct disk_part *part;
	int r = look(g, what);

	*ret_grown = false;
	if (r || g->growth.verdict == DISK_FULL)
		return r;
	part = &g->layout.parts[g->growth.part];
	r = grow_partition(g, part);
	if (r)
		return r;
	r = content_grow(part, g->node, g->device, part->size_bytes);
	if (r)
		return fail(g, "the file system (its partition has the new size)", r);
	*ret_grown = true;
	return EXIT_OK;
}

static int grow(const char *what)
{
	struct growing *g = calloc(1, sizeof(*g));
	char why[DISK_REASON_SIZE], name[DISK_NAME_SIZE];
	bool grown;
	json_t *disk;
	int code;

	if (!g)
		return EXIT_ERROR;
	code = grow_all(g, what, &grown);
	memcpy(why, g->why, sizeof(why));
	memcpy(name, g->layout.name, sizeof(name));
	/* As it is now. */
	disk = name[0] && disk_survey(name, &g->layout) == 0 ? disk_json(&g->layout) : json_null();
	free(g);
	print(json_pack("{s:i, s:b, s:s, s:o}", "schema", 1, "grown", grown, "problem", why, "disk",
			disk));
	return code;
}

static int give_up_rights(void)
{
	static const unsigned keep[] = {
		CAP_SYS_ADMIN,    /* partitions and file systems */
		CAP_SYS_RESOURCE, /* an ext4's */
		CAP_SYS_PTRACE,   /* the mounts of process 1 */
		CAP_DAC_OVERRIDE, /* mounts where only another user may look */
	};

	return confine_capabilities(keep, sizeof(keep) / sizeof(keep[0]), true);
}

int main(int argc, char **argv)
{
	int r = give_up_rights();

	if (r) {
		fprintf(stderr, "hvguest-disks: rights cannot be given up: %s\n", strerror(-r));
		return EXIT_ERROR;
	}
	if (argc >= 3 && strcmp(argv[1], "-o") == 0) {
		/* Never through a link that somebody has put there. */
		(void)unlink(argv[2]);
		if (!freopen(argv[2], "wxe", stdout)) {
			fprintf(stderr, "hvguest-disks: %s cannot be made: %m\n", argv[2]);
			return EXIT_ERROR;
		}
		argc -= 2;
		argv += 2;
	}
	if (argc >= 2 && strcmp(argv[1], "list") == 0)
		return list(argv + 2, argc - 2);
	if (argc == 3 && strcmp(argv[1], "grow") == 0)
		return grow(argv[2]);
	fputs("Usage: hvguest-disks [-o FILE] list [DISK...] | grow DISK\n", stderr);
	return EXIT_USAGE;
}
