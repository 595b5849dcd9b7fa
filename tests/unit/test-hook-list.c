/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/hook_list.c: which hooks are found, in which order, and which are refused.
 */

#include "fsfreeze/hook_list.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/hvguest-hooks.XXXXXX";
static struct hook_list list;

static void set_up(void)
{
	cr_assert(ne(ptr, mkdtemp(root), NULL));
	hook_list_init(&list);
}

static void tear_down(void)
{
	char command[PATH_MAX];

	hook_list_fini(&list);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	cr_assert(eq(int, system(command), 0));
}

TestSuite(hook_list, .init = set_up, .fini = tear_down);

/* Makes a file at @path below the root, and the folders above it. */
static void make(const char *path, mode_t mode, const char *text)
{
	char full[PATH_MAX];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		(void)mkdir(full, 0755);
		*p = '/';
	}
	f = fopen(full, "w");
	cr_assert(ne(ptr, f, NULL));
	(void)fputs(text, f);
	(void)fclose(f);
	cr_assert(eq(int, chmod(full, mode), 0));
}

/* The names, with what each event calls: "name[freeze/thaw/abort]". */
static void expect(unsigned int layouts, const char *wanted)
{
	char folder[PATH_MAX], got[2048] = "";
	const struct hook_places places = {.folder = folder, .layouts = layouts, .root = root};
	size_t used = 0;

	snprintf(folder, sizeof(folder), "%s/own", root);
	hook_list_fini(&list);
	cr_assert(eq(int, hook_list_find(&list, &places), 0));
	for (size_t i = 0; i < list.n; i++) {
		const struct hook *h = &list.hooks[i];
		const char *word[HOOK_EVENTS];

		for (size_t e = 0; e < HOOK_EVENTS; e++) {
			const char *path = h->commands[e].argv[0];

			word[e] = !path ? "-" : h->commands[e].argv[1] ?: strrchr(path, '/') + 1;
		}
		used += (size_t)snprintf(got + used, sizeof(got) - used, "%s%s[%s/%s/%s]%s%s",
					 used ? " " : "", h->name, word[HOOK_FREEZE], word[HOOK_THAW],
					 word[HOOK_ABORT], h->optional ? "?" : "",
					 h->refused ? "!" : "");
	}
	cr_assert(eq(int, strcmp(got, wanted), 0), "got '%s', wanted '%s'", got, wanted);
}

Test(hook_list, a_folder_that_is_not_there_has_no_hooks)
{
	expect(HOOK_LAYOUT_QEMU | HOOK_LAYOUT_VMWARE | HOOK_LAYOUT_AZURE, "");
}

Test(hook_list, executable_files_are_found_by_name)
{
	make("/own/20-b", 0755, "");
	make("/own/10-a.optional", 0700, "");
	make("/own/README", 0644, "");
	make("/own/30-c~", 0755, "");
	make("/own/folder/40-d", 0755, "");
	expect(0, "10-a.optional[freeze/thaw/abort]? 20-b[freeze/thaw/abort]");
}

Test(hook_list, what_others_can_change_is_refused_with_a_reason)
{
	make("/own/10-group", 0775, "");
	make("/own/20-world", 0757, "");
	make("/own/30-good", 0755, "");
	expect(0, "10-group[freeze/thaw/abort]! 20-world[freeze/thaw/abort]! 30-good[freeze/thaw/abort]");
	cr_assert(ne(ptr, strstr(list.hooks[0].refused, "10-group can be changed by others"), NULL));
}

Test(hook_list, so_is_what_lies_in_a_folder_that_others_can_change)
{
	char folder[PATH_MAX];

	make("/own/10-good", 0755, "");
	snprintf(folder, sizeof(folder), "%s/own", root);
	cr_assert(eq(int, chmod(folder, 0777), 0));
	expect(0, "10-good[freeze/thaw/abort]!");
	cr_assert(eq(int, chmod(folder, 01777), 0));
	expect(0, "10-good[freeze/thaw/abort]");
}

Test(hook_list, the_folder_of_qemu_is_used_without_its_one_hook)
{
	make("/etc/qemu/fsfreeze-hook.d/b", 0755, "");
	make("/etc/qemu/fsfreeze-hook.d/a.rpmsave", 0755, "");
	expect(0, "");
	expect(HOOK_LAYOUT_QEMU, "b[freeze/thaw/thaw]");
	make("/etc/qemu/fsfreeze-hook", 0755, "");
	expect(HOOK_LAYOUT_QEMU, "fsfreeze-hook[freeze/thaw/thaw]");
}

Test(hook_list, vmware_has_a_pair_and_a_folder)
{
	make("/etc/vmware-tools/backupScripts.d/10-x", 0755, "");
	make("/usr/sbin/post-thaw-script", 0755, "");
	expect(HOOK_LAYOUT_VMWARE, "pre-freeze-script[-/post-thaw-script/post-thaw-script] "
				   "10-x[freeze/thaw/freezeFail]");
	make("/usr/sbin/pre-freeze-script", 0755, "");
	expect(HOOK_LAYOUT_VMWARE, "pre-freeze-script[pre-freeze-script/post-thaw-script/post-thaw-script] "
				   "10-x[freeze/thaw/freezeFail]");
}

Test(hook_list, azure_has_a_configuration)
{
	make("/etc/azure/VMSnapshotScriptPluginConfig.json", 0600,
	     "{\"preScriptLocation\": \"/bin/true\", \"preScriptParams\": [\"one\", \"two\"],"
	     " \"postScriptLocation\": \"/bin/false\", \"timeoutInSeconds\": 7,"
	     " \"continueBackupOnFailure\": true}");
	expect(HOOK_LAYOUT_AZURE, "VMSnapshotScriptPluginConfig[one/false/false]?");
	cr_assert(eq(str, list.hooks[0].commands[HOOK_FREEZE].argv[2], (char *)(uintptr_t)"two"));
	cr_assert(eq(u64, list.hooks[0].limit_ns, UINT64_C(7000000000)));
}

Test(hook_list, a_configuration_of_azure_that_is_broken_or_open_is_refused)
{
	make("/etc/azure/VMSnapshotScriptPluginConfig.json", 0600, "{ broken");
	expect(HOOK_LAYOUT_AZURE, "VMSnapshotScriptPluginConfig[-/-/-]!");
	make("/etc/azure/VMSnapshotScriptPluginConfig.json", 0666, "{}");
	expect(HOOK_LAYOUT_AZURE, "VMSnapshotScriptPluginConfig[-/-/-]!");
}

Test(hook_list, more_than_there_is_room_for_is_a_condition)
{
	char folder[PATH_MAX], name[32];
	const struct hook_places places = {.folder = folder, .root = root};

	for (int i = 0; i <= HOOKS_MAX; i++) {
		snprintf(name, sizeof(name), "/own/%03d", i);
		make(name, 0755, "");
	}
	snprintf(folder, sizeof(folder), "%s/own", root);
	cr_assert(eq(int, hook_list_find(&list, &places), HOOK_LIST_TOO_MANY));
}
