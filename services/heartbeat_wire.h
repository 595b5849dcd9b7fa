/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The heartbeat message, behind the integration-service headers. All integers are little-endian.
 *
 *     offset  size  meaning
 *          0     8  number of the request; the answer has this plus one
 *          8     4  application state (guest to host); reserved in older versions
 *         12    28  reserved
 *
 * Source: Linux include/linux/hyperv.h, struct heartbeat_msg_data (40 bytes); OpenVMM
 * vm/devices/hyperv_ic_protocol/src/heartbeat.rs (the first 16 of them).
 */

enum {
	HEARTBEAT_NUMBER_SIZE = 8,   /* bytes that every request has */
	HEARTBEAT_STATE_OFFSET = 8,
	HEARTBEAT_STATE_SIZE = 16,   /* bytes from which on there is an application state */
	HEARTBEAT_MESSAGE_SIZE = 40, /* bytes that a host sends */
};

/* Source: OpenVMM vm/devices/hyperv_ic_protocol/src/heartbeat.rs. */
enum heartbeat_application {
	HEARTBEAT_APPLICATION_UNKNOWN = 0, /* nothing is said about it */
	HEARTBEAT_APPLICATION_HEALTHY = 1,
	HEARTBEAT_APPLICATION_CRITICAL = 2,
	HEARTBEAT_APPLICATION_STOPPED = 3,
};
