/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/kvp_ip.h"

#include <stddef.h>

/*
 * The addresses and gateways of this machine, by netlink. Nothing here waits for anything but the
 * kernel's answer.
 */

/* The conditions of addresses_receive(). */
enum {
	ADDRESSES_AGAIN = 1, /* there is no message now */
};

struct adapter_address {
	unsigned adapter; /* index of the interface */
	struct kvp_address address;
	uint8_t prefix;
	bool is_dynamic; /* it will expire unless somebody renews it: by DHCP or a router */
};

/* A socket that is readable when an address has come, gone or changed; not blocking. Negative errno. */
_must_check_ int addresses_open(int *ret_fd);

/*
 * Takes all messages out of the socket. 0: something has changed (or messages were lost, which is the
 * same); ADDRESSES_AGAIN; negative errno.
 */
_must_check_ int addresses_receive(int fd);

/*
 * All addresses of all interfaces but the loopback device, in the kernel's order, without those that
 * are still being probed for duplicates or have turned out to be. The list is the caller's to free().
 */
_must_check_ int addresses_list(struct adapter_address **ret_list, size_t *ret_n);

/*
 * The gateways of the default routes of interface @adapter, IPv4 before IPv6; at most @max. *ret_n is
 * how many there are in @gateways.
 */
_must_check_ int addresses_gateways(unsigned adapter, struct kvp_address *gateways, size_t max,
				    size_t *ret_n);
