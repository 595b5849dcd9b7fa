/* SPDX-License-Identifier: MIT */

/*
 * Kernel modules.
 *
 * Who may load a module may do anything at all. So the service's own processes may not: its unit leaves
 * CAP_SYS_MODULE out of the bounding set, and the service manager is asked for a unit that loads one
 * module by its name. Where hvguestd was started in another way, modprobe is.
 */

#include "base/module.h"

#include <linux/capability.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void run(const char *program, char *const arguments[])
{
	char *const environment[] = {NULL};
	int status;
	pid_t pid;

	if (posix_spawn(&pid, program, NULL, NULL, arguments, environment) != 0)
		return;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
}

void module_load(const char *modprobe, const char *systemctl, const char *name)
{
	char program[] = "modprobe", quiet[] = "-q", start[] = "start", text[128];
	char *const directly[] = {program, quiet, text, NULL};
	char *const by_unit[] = {(char[]){"systemctl"}, (char[]){"--quiet"}, start, text, NULL};
	bool may = prctl(PR_CAPBSET_READ, CAP_SYS_MODULE, 0, 0, 0) != 0;

	if (snprintf(text, sizeof(text), may ? "%s" : "hvguest-module@%s.service", name) >= (int)sizeof(text))
		return;
	run(may ? modprobe : systemctl, may ? directly : by_unit);
}
