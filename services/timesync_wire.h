/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The time synchronisation messages, behind the integration-service headers. All integers are
 * little-endian; times of the host are UTC in units of 100 ns since 1601, without leap seconds.
 *
 *     service version up to 3.0               service version 4.0 and later
 *     offset  size  meaning                   offset  size  meaning
 *          0     8  time of the host               0     8  time of the host
 *          8     8  not used                       8     8  the VM's reference counter at that moment
 *         16     8  round trip of the host        16     1  flags
 *         24     1  flags                         17     1  leap indicator, as in NTP
 *                                                 18     1  stratum, as in NTP; 0: not said
 *                                                 19     3  reserved
 *
 * Hosts may send some reserved bytes more (3 and 2). Which of the two it is follows from the
 * negotiated version alone: padded, their lengths are the same.
 *
 * Source: Linux include/linux/hyperv.h, struct ictimesync_data and ictimesync_ref_data; OpenVMM
 * vm/devices/hyperv_ic_protocol/src/timesync.rs.
 */

#include <stdint.h>

enum {
	TIMESYNC_OLD_SIZE = 25, /* bytes that every message has, up to 3.0 */
	TIMESYNC_REF_SIZE = 22, /* the same since 4.0 */
	TIMESYNC_MESSAGE_SIZE = 28, /* the longest that a host sends */
};

enum timesync_flag {
	TIMESYNC_FLAG_SYNC = 1,   /* set the clock: the machine was started, or restored */
	TIMESYNC_FLAG_SAMPLE = 2, /* a hint */
};

/* NTP's leap indicator. Source: RFC 5905, figure 9. */
enum timesync_leap {
	TIMESYNC_LEAP_NONE = 0,
	TIMESYNC_LEAP_INSERT = 1,         /* the last minute of the day has 61 seconds */
	TIMESYNC_LEAP_DELETE = 2,         /* ... 59 */
	TIMESYNC_LEAP_UNSYNCHRONIZED = 3, /* the host's own clock is not in step with anything */
};

enum {
	TIMESYNC_STRATUM_UNSYNCHRONIZED = 16, /* and more: the same. Source: RFC 5905, figure 11 */
};

/* From 1601 to 1970 in 100 ns. Source: Linux include/linux/hyperv.h, WLTIMEDELTA. */
#define TIMESYNC_EPOCH UINT64_C(116444736000000000)
