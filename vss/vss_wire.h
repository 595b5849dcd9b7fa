/* SPDX-License-Identifier: MIT */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/*
 * VSS messages: what follows the two headers of an integration service. All integers are
 * little-endian. docs/PROTOCOL-vss.md has the rules.
 * Sources: Linux include/uapi/linux/hyperv.h (struct hv_vss_msg), drivers/hv/hv_snapshot.c;
 * OpenVMM vm/devices/hyperv_ic_protocol/src/vss.rs.
 */

enum vss_operation {
	VSS_OP_CREATE = 0,
	VSS_OP_DELETE = 1,
	VSS_OP_HOT_BACKUP = 2,
	VSS_OP_GET_DM_INFO = 3,
	VSS_OP_BU_COMPLETE = 4,
	VSS_OP_FREEZE = 5,
	VSS_OP_THAW = 6,
	VSS_OP_AUTO_RECOVER = 7,
	/* On the kernel's VSS device only, never from a host. */
	VSS_OP_REGISTER = 128,
	VSS_OP_REGISTER1 = 129,
};

/* The header: one byte of operation, seven reserved. */
enum {
	VSS_HEADER_SIZE = 8,
	/* HOT_BACKUP and GET_DM_INFO are answered with a u32 here; THAW brings one. */
	VSS_FLAGS_OFFSET = 8,
	/* The shortest message: a header and one u32. Linux drops anything shorter. */
	VSS_MESSAGE_MIN_SIZE = 12,
	/*
	 * FREEZE: u32 backup type, u32 flags, u32 LUN count, and 260 LUN entries of 24 bytes.
	 * Source: OpenVMM, Message2 (6260 bytes).
	 */
	VSS_FREEZE_SIZE = VSS_HEADER_SIZE + 3 * 4 + 260 * 24,
};
static_assert(VSS_FREEZE_SIZE == 6260, "OpenVMM vss.rs, Message2");

/* Answer to HOT_BACKUP. Source: Linux include/uapi/linux/hyperv.h, VSS_HBU_NO_AUTO_RECOVERY. */
#define VSS_HOT_BACKUP_NO_AUTO_RECOVERY 0x00000005u
