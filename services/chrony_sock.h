/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdint.h>

/*
 * Handing a sample to chronyd, by its reference clock SOCK.
 */

/* The conditions of chrony_sock_send(). */
enum {
	CHRONY_SOCK_NOBODY = 1, /* no socket, or nobody reads it */
	CHRONY_SOCK_FULL,       /* its reader does not come to read */
};

struct chrony_sample {
	int64_t real_ns;   /* when, by the clock that is off: UTC since 1970 */
	int64_t offset_ns; /* right time minus that clock */
	int leap;          /* 0, 1: 61 seconds, 2: 59 */
};

/* A socket to send from; does not block. Negative errno. */
_must_check_ int chrony_sock_open(int *ret_fd);

/* To the socket at @path. CHRONY_SOCK_NOBODY, CHRONY_SOCK_FULL, other negative errno. */
_must_check_ int chrony_sock_send(int fd, const char *path, const struct chrony_sample *sample);
