/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The messages of /dev/vmbus/hv_vss, by which a stock kernel hands a host's requests to a daemon:
 * 12 bytes each, in the host's byte order, which is little-endian wherever Hyper-V runs.
 * docs/PROTOCOL-vss.md section 8.
 */

enum {
	VSS_DEVICE_MESSAGE_SIZE = 12, /* sizeof(struct hv_vss_msg); writes of another size fail */
};

enum vss_device_event {
	VSS_DEVICE_REGISTERED, /* the kernel has seen our registration; never to be answered */
	VSS_DEVICE_REQUEST,    /* a message as vss_receive() takes it; to be answered once */
	VSS_DEVICE_UNKNOWN,    /* neither */
};

/* Writes the registration: VSS_OP_REGISTER1. */
void vss_device_register(uint8_t ret_message[VSS_DEVICE_MESSAGE_SIZE]);

/* What the @size bytes at @message are that were read. */
enum vss_device_event vss_device_event(const void *message, size_t size);

/*
 * Writes the answer with @status, IC_S_OK or IC_E_FAIL. It takes the place of the operation, so no
 * status may have a low byte that is one of the registrations.
 */
void vss_device_answer(uint8_t ret_message[VSS_DEVICE_MESSAGE_SIZE], uint32_t status);
