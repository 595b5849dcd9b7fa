/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/hook_record.c: what a daemon that was killed leaves to the next.
 */

#include "fsfreeze/hook_record.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/hvguest-record.XXXXXX";
static char path[PATH_MAX];
static struct hook_list list, found;
static struct hook_item items[HOOKS_MAX];
static struct hook_trace trace;

static void add(const char *name, bool begun, enum hook_outcome back)
{
	struct hook *h = &list.hooks[list.n];

	*h = (struct hook){.name = strdup(name), .layout = "hvguest", .limit_ns = 5};
	h->commands[HOOK_ABORT].argv[0] = strdup("/bin/true");
	h->commands[HOOK_ABORT].argv[1] = strdup("abort");
	items[list.n] = (struct hook_item){.begun = begun, .back = {.outcome = back}};
	list.n++;
}

static void set_up(void)
{
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(path, sizeof(path), "%s/hooks.json", dir);
	hook_list_init(&list);
	hook_list_init(&found);
}

static void tear_down(void)
{
	hook_list_fini(&list);
	hook_list_fini(&found);
	(void)unlink(path);
	(void)rmdir(dir);
}

TestSuite(hook_record, .init = set_up, .fini = tear_down);

static void read_back(void)
{
	hook_list_fini(&found);
	cr_assert(eq(int, hook_record_read(dir, &found, &trace), 0));
}

Test(hook_record, what_has_begun_and_was_not_called_back_is_found_again)
{
	const struct hook_trace running = {.pid = 123, .start_time = 456};

	add("one", true, HOOK_NOT_RUN);
	add("back", true, HOOK_RUNNING);
	add("two", true, HOOK_NOT_RUN);
	add("could not be called back", true, HOOK_NOT_STARTED);
	add("failed when it was called back", true, HOOK_FAILED);
	add("not begun", false, HOOK_NOT_RUN);
	cr_assert(eq(int, hook_record_write(dir, &list, items, &running), 0));
	read_back();
	cr_assert(eq(sz, found.n, 3));
	cr_assert(eq(str, found.hooks[0].name, (char *)(uintptr_t)"one"));
	cr_assert(eq(str, found.hooks[1].name, (char *)(uintptr_t)"two"));
	cr_assert(eq(str, found.hooks[2].name, (char *)(uintptr_t)"could not be called back"));
	cr_assert(eq(u64, found.hooks[0].limit_ns, 5));
	cr_assert(eq(str, found.hooks[0].commands[HOOK_ABORT].argv[1], (char *)(uintptr_t)"abort"));
	cr_assert(eq(ptr, found.hooks[0].refused, NULL));
	cr_assert(eq(int, trace.pid, 123));
	cr_assert(eq(u64, trace.start_time, 456));
}

Test(hook_record, without_such_hooks_there_is_no_record)
{
	const struct hook_trace running = {0};

	add("one", true, HOOK_NOT_RUN);
	cr_assert(eq(int, hook_record_write(dir, &list, items, &running), 0));
	items[0].back.outcome = HOOK_RUNNING;
	cr_assert(eq(int, hook_record_write(dir, &list, items, &running), 0));
	cr_assert(ne(int, access(path, F_OK), 0));
	cr_assert(eq(int, hook_record_write(dir, &list, items, &running), 0));
	read_back();
	cr_assert(eq(sz, found.n, 0));
}

static const char *const broken[] = {
	"",
	"{",
	"[]",
	"{\"version\": 2, \"hooks\": [{\"name\": \"a\", \"layout\": \"hvguest\", \"abort\": [\"/x\"]}]}",
	"{\"version\": 1}",
	"{\"version\": 1, \"hooks\": 7}",
	"{\"version\": 1, \"hooks\": [7, {}, {\"name\": \"a\"}]}",
	"{\"version\": 1, \"hooks\": [{\"name\": \"a\", \"layout\": \"other\", \"abort\": [\"/x\"]}]}",
	"{\"version\": 1, \"hooks\": [{\"name\": \"a\", \"layout\": \"qemu\", \"abort\": []}]}",
};

Test(hook_record, what_cannot_be_understood_is_an_empty_record)
{
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		FILE *f = fopen(path, "w");

		cr_assert(ne(ptr, f, NULL));
		(void)fputs(broken[i], f);
		(void)fclose(f);
		read_back();
		cr_assert(eq(sz, found.n, 0), "%s", broken[i]);
	}
}

Test(hook_record, a_command_that_others_can_change_by_now_is_refused)
{
	FILE *f = fopen(path, "w");

	cr_assert(ne(ptr, f, NULL));
	(void)fputs("{\"version\": 1, \"hooks\": [{\"name\": \"a\", \"layout\": \"qemu\", "
		    "\"abort\": [\"/nowhere/at/all\", 3]}]}", f);
	(void)fclose(f);
	read_back();
	cr_assert(eq(sz, found.n, 1));
	cr_assert(ne(ptr, found.hooks[0].refused, NULL));
}
