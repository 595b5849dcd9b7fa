/* SPDX-License-Identifier: MIT */

/* base/module.c, with scripts for the programs that it runs; each case is a process of its own. */

#include "base/module.h"

#include "base/confine.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/hvguest-module-XXXXXX";
static char modprobe[64], systemctl[64], out[64];

/* A program that writes its name and arguments into a file. */
static void make_program(char path[64], const char *name)
{
	FILE *file;

	(void)snprintf(path, 64, "%s/%s", dir, name);
	file = fopen(path, "we");
	cr_assert(ne(ptr, file, NULL));
	fprintf(file, "#!/bin/sh\necho \"%s $*\" >>%s\nexit 1\n", name, out);
	(void)fclose(file);
	cr_assert(eq(int, chmod(path, 0755), 0));
}

static void init(void)
{
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	(void)snprintf(out, sizeof(out), "%s/out", dir);
	make_program(modprobe, "modprobe");
	make_program(systemctl, "systemctl");
}

static void fini(void)
{
	(void)unlink(modprobe);
	(void)unlink(systemctl);
	(void)unlink(out);
	(void)rmdir(dir);
}

TestSuite(module, .init = init, .fini = fini);

static void expect_run(const char *wanted)
{
	char line[128] = "";
	FILE *file = fopen(out, "re");

	cr_assert(ne(ptr, file, NULL));
	cr_expect(ne(ptr, fgets(line, sizeof(line), file), NULL));
	(void)fclose(file);
	cr_expect(eq(str, line, (char *)(uintptr_t)wanted));
}

Test(module, who_may_load_modules_runs_modprobe)
{
	if (prctl(PR_CAPBSET_READ, CAP_SYS_MODULE, 0, 0, 0) != 1)
		cr_skip_test("nobody may load modules here");
	module_load(modprobe, systemctl, "uio_hv_generic");
	expect_run("modprobe -q uio_hv_generic\n");
}

Test(module, who_may_not_asks_the_service_manager)
{
	if (!confine_has_capability(CAP_SETPCAP))
		cr_skip_test("needs CAP_SETPCAP");
	cr_assert(eq(int, prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0), 0));
	module_load(modprobe, systemctl, "kmem");
	expect_run("systemctl --quiet start hvguest-module@kmem.service\n");
}

Test(module, a_program_that_is_not_there_is_as_good_as_one_that_fails)
{
	module_load("/nonexistent", "/nonexistent", "kmem");
	cr_expect(eq(int, access(out, F_OK), -1));
}
