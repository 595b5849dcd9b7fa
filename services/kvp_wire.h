/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Key-value exchange: pools and the sizes that everybody has to agree on.
 */

enum kvp_pool {
	KVP_POOL_EXTERNAL = 0,      /* host to guest: what an administrator of the host pushes */
	KVP_POOL_GUEST = 1,         /* guest to host: of the guest's administrator and programs */
	KVP_POOL_AUTO = 2,          /* guest to host: what this service says of the guest by itself */
	KVP_POOL_AUTO_EXTERNAL = 3, /* host to guest: what the host says of itself and of the VM */
	KVP_POOL_AUTO_INTERNAL = 4, /* of no concern to the host */
	KVP_POOLS = 5,
};

/* A record of a pool file: UTF-8, each with its NUL. Source: Linux tools/hv/hv_kvp_daemon.c. */
enum {
	KVP_KEY_SIZE = 512,    /* bytes */
	KVP_VALUE_SIZE = 2048, /* bytes */
	KVP_RECORD_SIZE = KVP_KEY_SIZE + KVP_VALUE_SIZE,
};
