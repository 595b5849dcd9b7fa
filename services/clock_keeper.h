/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/*
 * Who keeps this machine's clock: which of the known programs runs, and whether chronyd reads the
 * kernel's clock of the same host.
 */

struct clock_keeper {
	const char *name; /* "chronyd", "systemd-timesyncd", "ntpd", "openntpd", "ptp4l"; NULL: none is known */
	bool has_ptp;     /* the kernel has a clock device of the Hyper-V host */
	bool reads_ptp;   /* and chronyd's configuration names it */
};

/* Looks at files below @root ("" for this machine). */
struct clock_keeper clock_keeper_find(const char *root);
