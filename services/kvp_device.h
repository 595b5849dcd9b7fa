/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_wire.h"

/*
 * The messages of /dev/vmbus/hv_kvp, by which a stock kernel hands a host's requests to a daemon.
 * Text is UTF-8 there; integers are in the host's byte order, which is little-endian wherever
 * Hyper-V runs. docs/PROTOCOL-kvp.md section 6.
 */

enum {
	KVP_DEVICE_MESSAGE_SIZE = 7432, /* sizeof(struct hv_kvp_msg), in both directions */
};

enum kvp_device_event {
	KVP_DEVICE_REGISTERED, /* the kernel has seen our registration; never to be answered */
	KVP_DEVICE_REQUEST,    /* to be answered once, whatever is in it */
	KVP_DEVICE_UNKNOWN,    /* no message */
};

/* Writes the registration. */
void kvp_device_register(uint8_t ret_message[KVP_DEVICE_MESSAGE_SIZE]);

/* What the @size bytes at @message are that were read. */
enum kvp_device_event kvp_device_event(const void *message, size_t size);

/* The kernel's version text in its answer to the registration; "" if it has none. Printable ASCII. */
void kvp_device_version(const void *message, size_t size, char ret_text[KVP_KEY_SIZE]);

/* As kvp_decode_request(); numbers have been made text by the kernel. */
_must_check_ int kvp_device_decode(const void *message, size_t size, struct kvp_request *ret_request);

/* Writes the answer to a request of @operation; what the operation has no use for is ignored. */
void kvp_device_answer(uint8_t ret_message[KVP_DEVICE_MESSAGE_SIZE], enum kvp_operation operation,
		       uint32_t status, const struct kvp_request *answer);
