/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "fsfreeze/hook_sequence.h"

/*
 * Which hooks there are: those of our own folder, and those that people have already for another
 * program and want to be run from here.
 */

enum {
	HOOK_ARGS_MAX = 16, /* words of a command, with the program and the NULL at the end */
};

/* Layouts of other programs, as bits. */
enum hook_layout {
	HOOK_LAYOUT_QEMU = 1,   /* qemu-ga: /etc/qemu/fsfreeze-hook, or fsfreeze-hook.d/ */
	HOOK_LAYOUT_VMWARE = 2, /* open-vm-tools: backupScripts.d/; and the pair that NAKIVO shares */
	HOOK_LAYOUT_AZURE = 4,  /* Azure: VMSnapshotScriptPluginConfig.json */
};

/* What to execute; argv[0] is a path, and NULL if there is nothing. Owned. */
struct hook_command {
	char *argv[HOOK_ARGS_MAX];
};

struct hook {
	char *name;         /* for people: the file's, or "azure" */
	const char *layout; /* "hvguest", "qemu", "vmware", "azure" */
	struct hook_command commands[HOOK_EVENTS];
	bool optional;
	uint64_t limit_ns;  /* 0: as configured */
	char *refused;      /* why it must not be run; NULL: it may be */
};

struct hook_list {
	size_t n;
	struct hook hooks[HOOKS_MAX];
};

/* The condition of hook_list_find(). */
enum {
	HOOK_LIST_TOO_MANY = 1,
};

struct hook_places {
	const char *folder;  /* of our own hooks */
	unsigned int layouts; /* enum hook_layout */
	const char *root;    /* what the paths of other layouts are below: "" but in tests */
};

/* An empty list. */
void hook_list_init(struct hook_list *list);
void hook_list_fini(struct hook_list *list);

/*
 * Fills the empty @list, in the order in which FREEZE is to be called: our own by name, then the
 * other layouts. What is there and must not be run is in the list, with the reason. A folder that
 * does not exist has no hooks. HOOK_LIST_TOO_MANY, negative errno.
 */
_must_check_ int hook_list_find(struct hook_list *list, const struct hook_places *places);

/*
 * NULL if the file at @path may be run by root: it, and every folder above it, belongs to root (or
 * to whom this process runs as), and nobody else can change it. Else why not; the caller frees it.
 */
char *hook_file_complaint(const char *path);
