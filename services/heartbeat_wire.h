/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The heartbeat message, behind the integration-service headers. All integers are little-endian.
 *
 *     offset  size  meaning
 *          0     8  number of the request; the answer has this plus one
 *          8     4  application state (guest to host); reserved in older versions
 *         12    28  reserved; but to a request with HEARTBEAT_MAGIC at 12 the answer has
 *         16     4  whether a backup holds the guest
 *         20     4  milliseconds until it thaws by itself; UINT32_MAX: nothing is frozen
 *         24     4  share of the last ten seconds in which tasks waited for memory, in hundredths of a
 *                   percent plus one; 0: not told
 *
 * Source: Linux include/linux/hyperv.h, struct heartbeat_msg_data (40 bytes); OpenVMM
 * vm/devices/hyperv_ic_protocol/src/heartbeat.rs (the first 16 of them). Those behind 12 are our own, and
 * said to our own host only: every other one has 0 there. docs/PROTOCOL-vmbus.md section 9.
 */

enum {
	HEARTBEAT_NUMBER_SIZE = 8,   /* bytes that every request has */
	HEARTBEAT_STATE_OFFSET = 8,
	HEARTBEAT_STATE_SIZE = 16,   /* bytes from which on there is an application state */
	HEARTBEAT_MAGIC_OFFSET = 12,
	HEARTBEAT_HOLD_SIZE = 24,    /* bytes from which on there may be a backup's state */
	HEARTBEAT_STALL_SIZE = 28,   /* and from which on a share of time */
	HEARTBEAT_MESSAGE_SIZE = 40, /* bytes that a host sends */
};

#define HEARTBEAT_MAGIC 0x31475648u /* "HVG1" */

#define HEARTBEAT_STALL_UNKNOWN UINT32_MAX
#define HEARTBEAT_STALL_MAX     10000u /* hundredths of a percent */

/* Source: OpenVMM vm/devices/hyperv_ic_protocol/src/heartbeat.rs. */
enum heartbeat_application {
	HEARTBEAT_APPLICATION_UNKNOWN = 0, /* nothing is said about it */
	HEARTBEAT_APPLICATION_HEALTHY = 1,
	HEARTBEAT_APPLICATION_CRITICAL = 2,
	HEARTBEAT_APPLICATION_STOPPED = 3,
};

/* What a backup does with the guest. */
enum heartbeat_hold {
	HEARTBEAT_HOLD_NONE = 0,
	HEARTBEAT_HOLD_PREPARING = 1,
	HEARTBEAT_HOLD_FROZEN = 2,
	HEARTBEAT_HOLD_THAWING = 3,
};
