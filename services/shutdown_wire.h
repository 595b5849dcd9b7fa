/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The shutdown message, behind the integration-service headers. All integers are little-endian.
 *
 *     offset  size  meaning
 *          0     4  reason, as Windows has them
 *          4     4  seconds that the guest may take; 0: nothing is said about it
 *          8     4  flags
 *         12  2048  text for people, up to a NUL; its encoding is not defined
 *
 * The answer is the same message; what counts is the status in the header.
 *
 * Source: Linux include/linux/hyperv.h, struct shutdown_msg_data, and drivers/hv/hv_util.c,
 * shutdown_onchannelcallback(); OpenVMM vm/devices/hyperv_ic_protocol/src/shutdown.rs.
 */

enum {
	SHUTDOWN_TEXT_SIZE = 2048,
	SHUTDOWN_MESSAGE_SIZE = 12 + SHUTDOWN_TEXT_SIZE,
};

enum shutdown_flag {
	SHUTDOWN_FLAG_FORCE = 1,
	SHUTDOWN_FLAG_RESTART = 2,   /* since 3.1 */
	SHUTDOWN_FLAG_HIBERNATE = 4, /* since 3.2 */
};

/* What hosts give as the reason when a person asked. Source: OpenVMM vm/devices/hyperv_ic. */
#define SHUTDOWN_REASON_PLANNED 0x80000000u
