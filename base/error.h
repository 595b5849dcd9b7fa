/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How functions report trouble.
 *
 * A function that can fail returns int:
 *
 *     0          it did what its name says.
 *     negative   a negative errno: the machine failed us (no memory, a system call said no). It is
 *                fatal for the object at hand, is never matched against, and is forwarded untouched
 *                until somebody in daemon/, host/ or cli/ writes it to the log.
 *     positive   a condition of this object, listed in the enum of its header. The caller handles
 *                it; it is never forwarded, because the number means something else one level up.
 *
 * What the other side of a channel sends can cause positive codes only. assert() guards our own
 * mistakes and is never applied to input.
 *
 * Outputs come last, are called ret_something, and are written only when the function returns 0,
 * unless its comment says otherwise.
 */

#include <errno.h>

#define _must_check_ __attribute__((__warn_unused_result__))
#define _printf_(fmt, args) __attribute__((__format__(printf, fmt, args)))

/* The negative of errno, for the line after a failed system call. Never 0. */
static inline int negative_errno(void)
{
	return errno > 0 ? -errno : -EIO;
}
