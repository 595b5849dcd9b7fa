/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_ip.h"

/*
 * GET_IP and SET_IP on the wire; a part of services/kvp_wire.h.
 */

/* Reads the message of @size bytes; a fault of enum kvp_fault, and *ret_ip is of no meaning. */
_must_check_ int kvp_ip_decode(const void *message, size_t size, bool binary_ip,
			       struct kvp_ip_info *ret_ip);

/* Writes the body into a message of @size bytes, at least KVP_IP_MESSAGE_SIZE. */
void kvp_encode_ip(void *message, size_t size, bool binary_ip, const struct kvp_ip_info *ip);
