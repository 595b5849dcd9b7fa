/* SPDX-License-Identifier: MIT */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What VMBus puts into shared memory. Types and constants only; docs/PROTOCOL-vmbus.md has the
 * rules. All integers are little-endian.
 */

enum {
	VMBUS_PAGE_SIZE = 4096, /* the unit of PFNs and GPADLs, whatever the guest's own page size */
	VMBUS_RING_ALIGN = 8,   /* packets begin and end on multiples of this */
};

/*
 * The control page before a ring's data area. Only its first 68 bytes mean anything.
 * Source: Linux include/linux/hyperv.h, struct hv_ring_buffer; OpenVMM vmbus_ring, Control.
 */
struct vmbus_ring_header {
	_Atomic uint32_t write_index;       /* writer: where the next packet will begin */
	_Atomic uint32_t read_index;        /* reader: the next unread packet */
	_Atomic uint32_t interrupt_mask;    /* reader: not 0 = do not signal on empty -> not empty */
	_Atomic uint32_t pending_send_size; /* writer: not 0 = signal once this much is free */
	uint32_t reserved1[12];
	_Atomic uint32_t feature_bits; /* writer: VMBUS_RING_FEATURE_* */
	uint8_t reserved2[VMBUS_PAGE_SIZE - 68];
};
static_assert(sizeof(struct vmbus_ring_header) == VMBUS_PAGE_SIZE, "one page");
static_assert(offsetof(struct vmbus_ring_header, pending_send_size) == 12, "fourth word");
static_assert(offsetof(struct vmbus_ring_header, feature_bits) == 64, "seventeenth word");
static_assert(sizeof(_Atomic uint32_t) == sizeof(uint32_t), "atomics add nothing");

/* This side uses and honours pending_send_size. */
#define VMBUS_RING_FEATURE_PENDING_SEND_SIZE 0x1u

/*
 * A packet's first 16 bytes. Lengths count units of 8 bytes; the trailer is not counted.
 * Source: Linux include/linux/hyperv.h, struct vmpacket_descriptor.
 */
struct vmbus_packet_descriptor {
	uint16_t type;    /* enum vmbus_packet_type */
	uint16_t offset8; /* from the packet's start to its payload */
	uint16_t len8;    /* descriptor, extended header, payload and padding */
	uint16_t flags;   /* VMBUS_PACKET_FLAG_* */
	uint64_t trans_id;
};
static_assert(sizeof(struct vmbus_packet_descriptor) == 16, "");
static_assert(offsetof(struct vmbus_packet_descriptor, trans_id) == 8, "");

/*
 * What follows each packet: a word that is 0 and the offset at which the packet began.
 * Source: Linux drivers/hv/ring_buffer.c, hv_get_ring_bufferindices(); OpenVMM vmbus_ring, Footer.
 */
struct vmbus_packet_trailer {
	uint32_t reserved;
	uint32_t start;
};
static_assert(sizeof(struct vmbus_packet_trailer) == 8, "");

/* Source: Linux include/linux/hyperv.h, enum vmbus_packet_type. */
enum vmbus_packet_type {
	VMBUS_PACKET_INBAND = 6,
	VMBUS_PACKET_COMPLETION = 11,
};

#define VMBUS_PACKET_FLAG_COMPLETION_REQUESTED 0x1u

enum {
	/* Bytes of payload that the 16-bit length in a descriptor can express. */
	VMBUS_PACKET_PAYLOAD_MAX = UINT16_MAX * VMBUS_RING_ALIGN -
				   (int)sizeof(struct vmbus_packet_descriptor),
};

/*
 * Integration services put two headers before each message, 28 bytes together.
 * Source: Linux include/linux/hyperv.h, struct vmbuspipe_hdr and struct icmsg_hdr;
 * OpenVMM hyperv_ic_protocol, Header.
 */
enum {
	IC_PIPE_HEADER_SIZE = 8, /* u32 type, u32 bytes that follow it */
	IC_HEADER_SIZE = 20,
	IC_HEADERS_SIZE = IC_PIPE_HEADER_SIZE + IC_HEADER_SIZE,
	IC_PIPE_TYPE_DATA = 1,
	IC_VERSION_COUNT_MAX = 100, /* Linux drivers/hv/channel_mgmt.c */
};

enum ic_message_type {
	IC_NEGOTIATE = 0,
	IC_HEARTBEAT = 1,
	IC_KVP = 2,
	IC_SHUTDOWN = 3,
	IC_TIMESYNC = 4,
	IC_VSS = 5,
	IC_FCOPY = 7,
};

#define IC_FLAG_TRANSACTION 0x1u
#define IC_FLAG_REQUEST     0x2u
#define IC_FLAG_RESPONSE    0x4u

/* Status words of a response. Source: Linux include/uapi/linux/hyperv.h. */
#define IC_S_OK                0x00000000u
#define IC_E_FAIL              0x80004005u
#define IC_E_NOT_SUPPORTED     0x80070032u
#define IC_E_INVALID_ARGUMENT  0x80070057u
#define IC_E_ALREADY_EXISTS    0x80070050u
#define IC_E_DISK_FULL         0x80070070u
