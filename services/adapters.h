/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/addresses.h"
#include "services/kvp_ip.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Network adapters, as a host names them, and who looks after their addresses in this machine.
 */

/* The condition of adapters_find(). */
enum {
	ADAPTERS_NONE = 1, /* there is no such adapter */
};

struct adapters_system {
	const char *net;  /* "/sys/class/net" */
	const char *root; /* before /run and /etc: "" */
};

enum {
	ADAPTER_MAC_SIZE = 18,
	ADAPTER_NAME_SIZE = 128, /* of a connection, with its NUL */
};

struct adapter {
	char name[IF_NAMESIZE];
	unsigned index;
	char mac[ADAPTER_MAC_SIZE]; /* "00:15:5d:01:02:0a" */
};

enum net_manager {
	NET_MANAGER_NONE, /* none that is known: ifupdown, a script, nobody */
	NET_MANAGER_NETWORKD,
	NET_MANAGER_NETWORKMANAGER,
	NET_MANAGER_NETPLAN, /* which has one of the two do it */
};

struct adapter_owner {
	enum net_manager manager;
	char netplan_id[ADAPTER_NAME_SIZE];   /* netplan: what its files call the interface */
	char connection[ADAPTER_NAME_SIZE];   /* NetworkManager: UUID of what is active; "": nothing */
};

/*
 * The adapter with the MAC address or the VMBus instance GUID @id, in any case, with or without braces
 * and separators. Of two with the same MAC address (a virtual function beside the synthetic adapter)
 * it is the one that has any of the @n addresses of @list. ADAPTERS_NONE; negative errno.
 */
_must_check_ int adapters_find(const struct adapters_system *system, const char *id,
			       const struct adapter_address *list, size_t n,
			       struct adapter *ret_adapter);

/* Who looks after the addresses of @adapter. */
void adapters_owner(const struct adapters_system *system, const struct adapter *adapter,
		    struct adapter_owner *ret_owner);

/* "none", "networkd", "NetworkManager", "netplan". */
const char *net_manager_name(enum net_manager manager);

/*
 * The name servers of @adapter, or where nobody keeps them for each adapter, of this machine; at most
 * @max of them.
 */
size_t adapters_dns(const struct adapters_system *system, const struct adapter *adapter,
		    struct kvp_address *servers, size_t max);

/* Whether networkd has a lease for @adapter; others are known by addresses that expire. */
bool adapters_has_lease(const struct adapters_system *system, const struct adapter *adapter);
