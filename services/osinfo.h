/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <sys/utsname.h>

/*
 * What this system is: its name, its kernel, its release file.
 */

enum {
	OSINFO_FILE_MAX = 16384, /* bytes of a release file that are read */
};

struct osinfo {
	struct utsname uname;
	char os_release[OSINFO_FILE_MAX]; /* "" if there is none */
};

/* Reads /etc/os-release or, if that is not there, /usr/lib/os-release, below @root ("" usually). */
void osinfo_read(const char *root, struct osinfo *ret_info);

/* The host name's changes. */
struct osinfo_watch {
	int fd;   /* readable when the host name of this UTS namespace has changed; -1: not watched */
	int file;
};

/* Watches from now on. Negative errno (no /proc/sys, for instance): @watch->fd is -1. */
_must_check_ int osinfo_watch_init(struct osinfo_watch *watch);
void osinfo_watch_fini(struct osinfo_watch *watch);

/* Makes the descriptor wait for the next change. */
void osinfo_watch_seen(struct osinfo_watch *watch);
