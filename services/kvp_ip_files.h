/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/kvp_ip.h"

/*
 * The IP configuration of an adapter as the text of a network manager's file.
 */

/* The condition of the functions below. */
enum {
	KVP_IP_FILE_UNFIT = 1, /* the name of the interface is none that can be written, or no room */
};

enum {
	KVP_IP_FILE_MAX = 32768, /* bytes of a text with its NUL: more than the longest lists take */
};

/* Whom the text is for. */
struct kvp_ip_target {
	const char *interface; /* "eth0" */
	const char *mac;       /* "00:15:5d:01:02:03" */
	const char *netplan_id; /* netplan only: what its other files call the interface */
};

/*
 * Each writes a whole file into @buf, KVP_IP_FILE_MAX bytes. @info must have passed kvp_ip_check().
 * What they have in common: link-local IPv6 addresses are left out, because the kernel makes its own;
 * without any other IPv6 address IPv6 is by router advertisement; without DHCP and an IPv4 address
 * there is no IPv4; a gateway counts only beside an address of its family, and is taken to be on
 * the link, whatever the masks. KVP_IP_FILE_UNFIT.
 */
_must_check_ int kvp_ip_networkd_text(const struct kvp_ip_target *target,
				      const struct kvp_ip_info *info, char *buf);
_must_check_ int kvp_ip_keyfile_text(const struct kvp_ip_target *target,
				     const struct kvp_ip_info *info, char *buf);
_must_check_ int kvp_ip_netplan_text(const struct kvp_ip_target *target,
				     const struct kvp_ip_info *info, char *buf);

/* The UUID of the keyfile's connection: always the same for one adapter. */
enum {
	KVP_IP_UUID_SIZE = 37,
};
void kvp_ip_uuid(const char *mac, char buf[KVP_IP_UUID_SIZE]);

/* Whether kvp_ip_*_text() would set this address: all but link-local IPv6 ones. */
bool kvp_ip_is_set(const struct kvp_ip_address *address);
