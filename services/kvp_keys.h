/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_ip.h"
#include "services/kvp_wire.h"

/*
 * The automatic keys: what this service tells a host about its guest by itself.
 */

enum {
	KVP_KEYS_N = 11,
	KVP_KEYS_TEXT_MAX = 1022, /* bytes of a list without its NUL: what Linux fits into an answer */
};

/* All texts are borrowed for the call; NULL: not known. */
struct kvp_keys_facts {
	const char *host_name;
	const char *fqdn;
	const char *os_release;       /* the whole file, os-release(5) */
	const char *kernel_name;      /* uname -s */
	const char *kernel_release;   /* uname -r */
	const char *machine;          /* uname -m */
	const char *services_version; /* of the integration services, as the kernel says it */
	const struct kvp_address *addresses; /* in the order in which they are to be listed */
	size_t n_addresses;
};

struct kvp_keys {
	struct kvp_key_value {
		const char *key;           /* static */
		char value[KVP_VALUE_SIZE]; /* UTF-8 or what the facts were; "" if it is not known */
	} list[KVP_KEYS_N];
};

/*
 * The keys in the order in which hosts find them: the first ten are those of Linux
 * tools/hv/hv_kvp_daemon.c. A list of addresses that is too long ends with a whole address.
 */
void kvp_keys_make(const struct kvp_keys_facts *facts, struct kvp_keys *ret_keys);

/*
 * The value of @name in the text of an os-release file, without its quotes; false: it is not there.
 * What does not fit into @size bytes is cut.
 */
bool kvp_keys_os_release(const char *text, const char *name, char *ret_value, size_t size);

/*
 * The canonical name in what "getent ahosts NAME" prints: the third word of its first line. False: it
 * has none.
 */
bool kvp_keys_canonical_name(const char *output, char *ret_name, size_t size);
