/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Scope-bound cleanup. A local that owns something carries the attribute; a result is published by
 * stealing it from the local as the last act of the function. So no error path frees anything by
 * hand, and none can forget to.
 */

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((__cleanup__(fn)))
#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep)

/* Gives the pointer away: the value, with the variable set to NULL. */
#define steal_ptr(p) \
	({ \
		__typeof__(p) _stolen = (p); \
		(p) = NULL; \
		_stolen; \
	})

/* Gives the descriptor away: the value, with the variable set to -1. */
#define steal_fd(fd) \
	({ \
		int _stolen = (fd); \
		(fd) = -1; \
		_stolen; \
	})

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

/* Closes the descriptor unless it is negative; always returns -1, for `fd = close_fd(fd)`. */
static inline int close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

static inline void cleanup_closep(int *fd)
{
	*fd = close_fd(*fd);
}

/* Defines cleanup_TYPEp(), for `_cleanup_(cleanup_TYPEp) struct TYPE *x`, from TYPE_free(). */
#define DEFINE_CLEANUP(type) \
	static inline void cleanup_##type##p(struct type **p) \
	{ \
		*p = type##_free(*p); \
	}
