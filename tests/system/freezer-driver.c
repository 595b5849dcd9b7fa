/* SPDX-License-Identifier: MIT */

/*
 * A daemon that does nothing but freeze, for tests/system/test-freezer.sh.
 *
 *     freezer-driver HELPER RUN_DIR TIMEOUT_MS MOUNT...
 *
 * Freezes the file systems mounted at the MOUNTs, which must be given, and nothing else. Each event
 * is one line on standard output, and so is each command read from standard input:
 *
 *     open  also PATH  reverse  freeze  thaw  bounce  respawn  results  grow  quit
 *
 * "freeze" opens the mounts first, unless "open" has done so. "also" opens whatever is at PATH
 * besides, at the same level. "bounce" freezes, and thaws as soon as everything is frozen. "reverse"
 * turns the planned order round, one after the other, which makes the freeze hang if one file system
 * holds the image of another. "grow" makes this process so large that the kernel needs a while to
 * take it down. "now" prints the time in microseconds, on CLOCK_BOOTTIME, which the record
 * has, and on CLOCK_REALTIME.
 *
 * HVGUEST_KERNEL_DIR in the environment: a folder with a file rcu_expedited that is to be used for
 * expediting; without it nothing is expedited. HVGUEST_STRICT: what cannot be frozen is a failure.
 *
 * Standard output must be a pipe or on a file system that is not frozen.
 */

#include "base/cleanup.h"
#include "fsfreeze/freezer_client.h"
#include "fsfreeze/mounts.h"
#include "fsfreeze/plan.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define GROW_BYTES ((size_t)1 << 30)

static const char *const event_names[] = {
	[FREEZER_EVENT_FROZEN] = "FROZEN",
	[FREEZER_EVENT_FAILED] = "FAILED",
	[FREEZER_EVENT_THAWED] = "THAWED",
	[FREEZER_EVENT_LOST] = "LOST",
};

struct driver {
	struct freezer_client *client;
	struct mounts *mounts;
	struct freeze_plan *plan;
	uint64_t timeout_ns;
	bool bounce; /* thaw as soon as everything is frozen */
	size_t n_targets;
	struct freezer_target targets[FREEZER_ENTRIES_MAX];
	size_t n_also;
	char *also[FREEZER_ENTRIES_MAX]; /* owned paths of those that no plan has */
};

static int plan_mounts(struct driver *d, const char *const *roots, size_t n_roots)
{
	const struct freeze_rules rules = {.roots = roots, .n_roots = n_roots};
	struct freeze_table table;
	int r;

	r = mounts_new(MOUNTS_OF_SELF, &d->mounts);
	if (r)
		return r;
	table = mounts_table(d->mounts);
	return freeze_plan_new(&table, &rules, &d->plan);
}

static void open_entry(struct driver *d, const struct freeze_plan_entry *entry)
{
	const struct freeze_mount *mount = entry->mount;
	int fd, r;

	r = mounts_open_entry(d->mounts, entry, &fd);
	if (r) {
		printf("open %s %s %d\n", mount->target,
		       r == MOUNTS_VANISHED ? "VANISHED" : "ERROR", r);
		return;
	}
	printf("plan %s %s disks=%u\n", mount->target, mount->type, entry->disks);
	d->targets[d->n_targets++] = (struct freezer_target){
		.target = mount->target,
		.type = mount->type,
		.device = mount->device,
		.mount_id = mount->mount_id,
		.level = entry->level,
		.disks = entry->disks,
		.fd = fd,
	};
}

static void open_targets(struct driver *d)
{
	for (size_t i = 0; i < d->plan->n_entries; i++)
		if (d->plan->entries[i].verdict == FREEZE_VERDICT_FREEZE)
			open_entry(d, &d->plan->entries[i]);
	puts("opened");
}

/* Something that no plan would have. */
static void open_also(struct driver *d, const char *path)
{
	const unsigned int level = d->n_targets ? d->targets[d->n_targets - 1].level : 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	printf("also %s %d\n", path, fd < 0 ? -errno : 0);
	if (fd < 0)
		return;
	d->also[d->n_also] = strdup(path);
	d->targets[d->n_targets++] = (struct freezer_target){
		.target = d->also[d->n_also++], .type = "unknown", .level = level, .fd = fd,
	};
}

static void reverse_targets(struct driver *d)
{
	for (size_t i = 0, j = d->n_targets; i + 1 < j; i++) {
		struct freezer_target other = d->targets[--j];

		d->targets[j] = d->targets[i];
		d->targets[i] = other;
	}
	for (size_t i = 0; i < d->n_targets; i++)
		d->targets[i].level = (unsigned int)i;
}

static void freeze(struct driver *d, bool bounce)
{
	int r;

	d->bounce = bounce;
	if (d->n_targets == 0)
		open_targets(d);
	r = freezer_client_freeze(d->client, d->targets, d->n_targets, d->timeout_ns);
	printf("freeze %zu %d\n", d->n_targets, r);
	while (d->n_targets > 0)
		(void)close_fd(d->targets[--d->n_targets].fd);
}

static void print_result(const char *word, const struct freezer_result *result)
{
	printf("%s %s %s %s error=%d freeze_us=%" PRIu64 " thaw_us=%" PRIu64 "\n", word,
	       result->target, result->type, freezer_entry_state_name(result->state), result->error,
	       result->freeze_ns / 1000, result->thaw_ns / 1000);
}

static void print_results(const struct driver *d)
{
	struct freezer_result result;

	for (size_t i = 0; i < freezer_client_n_results(d->client); i++) {
		freezer_client_result(d->client, i, &result);
		print_result("result", &result);
	}
	puts("results-end");
}

/* In small pages, for the most work; never given back. */
static void grow(void)
{
	void *memory = mmap(NULL, GROW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	if (memory == MAP_FAILED) {
		puts("grow: no memory");
		return;
	}
	(void)madvise(memory, GROW_BYTES, MADV_NOHUGEPAGE);
	puts(madvise(memory, GROW_BYTES, MADV_POPULATE_WRITE) == 0 ? "grown" : "grow: no memory");
}

static long long now_us(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* False: stop. */
static bool command(struct driver *d, const char *line)
{
	if (strcmp(line, "open") == 0)
		open_targets(d);
	else if (strncmp(line, "also ", 5) == 0)
		open_also(d, line + 5);
	else if (strcmp(line, "reverse") == 0)
		reverse_targets(d);
	else if (strcmp(line, "freeze") == 0 || strcmp(line, "bounce") == 0)
		freeze(d, line[0] == 'b');
	else if (strcmp(line, "thaw") == 0)
		freezer_client_thaw(d->client);
	else if (strcmp(line, "respawn") == 0)
		printf("respawn %d\n", freezer_client_respawn(d->client));
	else if (strcmp(line, "results") == 0)
		print_results(d);
	else if (strcmp(line, "grow") == 0)
		grow();
	else if (strcmp(line, "now") == 0)
		printf("now %lld %lld\n", now_us(CLOCK_BOOTTIME), now_us(CLOCK_REALTIME));
	else
		return false;
	return true;
}

static void print_events(struct driver *d)
{
	struct freezer_event event;

	while (freezer_client_dispatch(d->client, &event) == 0) {
		if (event.type == FREEZER_EVENT_FROZEN && d->bounce)
			freezer_client_thaw(d->client);
		printf("%s %s error=%d failed=%zu pending=%zu stuck=%zu foreign=%zu\n",
		       event_names[event.type], freezer_reason_name(event.reason), event.error,
		       event.failed, event.n_pending, event.n_stuck, event.n_foreign_thaws);
	}
}

/* Reads one command; false at the end of input. Short lines, one per write: a pipe keeps them. */
static bool read_command(struct driver *d)
{
	char line[256];

	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = '\0';
	return command(d, line);
}

static int serve(struct driver *d)
{
	struct pollfd polls[] = {
		{.fd = freezer_client_fd(d->client), .events = POLLIN},
		{.fd = STDIN_FILENO, .events = POLLIN},
	};

	for (;;) {
		if (poll(polls, 2, -1) < 0)
			return 1;
		if (polls[0].revents)
			print_events(d);
		if (polls[1].revents && !read_command(d))
			return 0;
	}
}

int main(int argc, char **argv)
{
	struct freezer_client_config config = {0};
	const struct freezer_result *recovered;
	struct driver d = {0};
	size_t n;
	int r;

	if (argc < 5) {
		fputs("usage: freezer-driver HELPER RUN_DIR TIMEOUT_MS MOUNT...\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	config.helper = argv[1];
	config.run_dir = argv[2];
	config.lock_timeout_ns = 3000000000u;
	config.kernel_dir = getenv("HVGUEST_KERNEL_DIR") ?: "/nonexistent";
	config.options = FREEZER_OPTION_EXPEDITE |
			 (getenv("HVGUEST_STRICT") ? FREEZER_OPTION_STRICT : 0);
	d.timeout_ns = strtoull(argv[3], NULL, 10) * 1000000u;

	r = freezer_client_new(&config, &d.client);
	if (r) {
		printf("new %d\n", r);
		return 1;
	}
	recovered = freezer_client_recovered(d.client, &n);
	for (size_t i = 0; i < n; i++)
		print_result("recovered", &recovered[i]);
	r = plan_mounts(&d, (const char *const *)&argv[4], (size_t)argc - 4);
	if (r == 0) {
		printf("ready %d\n", freezer_client_helper_pid(d.client));
		r = serve(&d);
	}
	d.client = freezer_client_free(d.client);
	d.plan = freeze_plan_free(d.plan);
	d.mounts = mounts_free(d.mounts);
	for (size_t i = 0; i < d.n_also; i++)
		free(d.also[i]);
	puts("bye");
	return r != 0;
}
