/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/kvp_ip.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Key-value exchange: the messages behind the headers of an integration service. All integers are
 * little-endian, all text is UTF-16 on the wire and UTF-8 here. docs/PROTOCOL-kvp.md has the rules.
 * Sources: Linux include/uapi/linux/hyperv.h (struct hv_kvp_msg, hv_kvp_ip_msg),
 * drivers/hv/hv_kvp.c; OpenVMM vm/devices/hyperv_ic_protocol/src/kvp.rs.
 */

enum kvp_operation {
	KVP_GET = 0,
	KVP_SET = 1,
	KVP_DELETE = 2,
	KVP_ENUMERATE = 3,
	KVP_GET_IP = 4,
	KVP_SET_IP = 5,
	KVP_OPERATIONS,
};

enum kvp_pool {
	KVP_POOL_EXTERNAL = 0,      /* host to guest: what an administrator of the host pushes */
	KVP_POOL_GUEST = 1,         /* guest to host: of the guest's administrator and programs */
	KVP_POOL_AUTO = 2,          /* guest to host: what this service says of the guest by itself */
	KVP_POOL_AUTO_EXTERNAL = 3, /* host to guest: what the host says of itself and of the VM */
	KVP_POOL_AUTO_INTERNAL = 4, /* of no concern to the host */
	KVP_POOLS = 5,
};

enum kvp_type {
	KVP_TYPE_TEXT = 1,        /* REG_SZ */
	KVP_TYPE_EXPAND_TEXT = 2, /* REG_EXPAND_SZ: read as text */
	KVP_TYPE_U32 = 4,         /* REG_DWORD */
	KVP_TYPE_U64_LINUX = 8,   /* what Linux calls REG_U64 */
	KVP_TYPE_U64 = 11,        /* REG_QWORD */
};

/*
 * A record of a pool file, and of struct kvp_request: UTF-8, each with its NUL. Source: Linux
 * tools/hv/hv_kvp_daemon.c.
 */
enum {
	KVP_KEY_SIZE = 512,    /* bytes */
	KVP_VALUE_SIZE = 2048, /* bytes */
	KVP_RECORD_SIZE = KVP_KEY_SIZE + KVP_VALUE_SIZE,
};

/* Sizes in bytes, and offsets from the start of the message. */
enum {
	KVP_WIRE_KEY_SIZE = 512,    /* 256 units, with the NUL */
	KVP_WIRE_VALUE_SIZE = 2048, /* 1024 units, with the NUL */
	KVP_HEADER_SIZE = 4,        /* operation, pool, padding */
	/* GET, SET, DELETE and ENUMERATE all come as long as the longest of them. */
	KVP_MESSAGE_SIZE = KVP_HEADER_SIZE + 4 * 4 + KVP_WIRE_KEY_SIZE + KVP_WIRE_VALUE_SIZE,
	KVP_IP_MESSAGE_SIZE = 7428, /* GET_IP and SET_IP, in both forms */
};
static_assert(KVP_MESSAGE_SIZE == 2580, "OpenVMM kvp.rs, KvpMessage");

/* The status of an answer, besides those of vmbus/wire.h. Source: Linux uapi/linux/hyperv.h. */
#define KVP_S_NO_MORE        0x80070103u /* HV_S_CONT: no such entry, no such key */
#define KVP_E_LOCKED         0x800704f7u /* HV_ERROR_MACHINE_LOCKED */
#define KVP_E_NO_ADAPTER     0x80041002u /* HV_GUID_NOTFOUND */
#define KVP_E_DISK_FULL      0x80070070u /* HV_ERROR_DISK_FULL */

/* What is wrong with a message. */
enum kvp_fault {
	KVP_FAULT_TRUNCATED = 1, /* shorter than its operation needs */
	KVP_FAULT_OPERATION,     /* unknown */
	KVP_FAULT_POOL,          /* there is no such pool */
	KVP_FAULT_SIZE,          /* a size that is larger than its field, odd, or not of its type */
	KVP_FAULT_KEY,           /* no key, not text, or too long for a record in UTF-8 */
	KVP_FAULT_VALUE,         /* too long for a record in UTF-8 */
	KVP_FAULT_TYPE,          /* a value of an unknown type */
	KVP_FAULT_ADDRESS,       /* an address, a subnet, a list or an adapter that is none */
	KVP_FAULTS,
};

/* "truncated", ...; and the status by which the protocol answers it. */
const char *kvp_fault_name(enum kvp_fault fault);
uint32_t kvp_fault_status(enum kvp_fault fault);

/* What a host asks. What its operation does not have is empty. */
struct kvp_request {
	enum kvp_operation operation;
	enum kvp_pool pool;            /* GET_IP, SET_IP: of no meaning */
	uint32_t index;                /* ENUMERATE */
	char key[KVP_KEY_SIZE];        /* GET, SET, DELETE */
	char value[KVP_VALUE_SIZE];    /* SET: text; numbers in decimal */
	struct kvp_ip_info ip;         /* GET_IP: adapter (a MAC address) and family; SET_IP: all (a GUID) */
};

/* Makes all of it empty, of an unknown operation. Cheaper than zeros, and as good. */
static inline void kvp_request_clear(struct kvp_request *request)
{
	request->operation = KVP_OPERATIONS;
	request->pool = KVP_POOL_EXTERNAL;
	request->index = 0;
	request->key[0] = request->value[0] = '\0';
	request->ip.adapter[0] = '\0';
	request->ip.family = KVP_FAMILY_NONE;
	request->ip.dhcp = false;
	request->ip.n_addresses = request->ip.n_gateways = request->ip.n_dns = 0;
}

/* "external", "guest", "auto", "auto-external", "auto-internal". / From that. KVP_FAULT_POOL. */
const char *kvp_pool_name(enum kvp_pool pool);
_must_check_ int kvp_pool_named(const char *name, enum kvp_pool *ret_pool);

/* "get", "set", "delete", "enumerate", "get-ip", "set-ip"; "unknown". */
const char *kvp_operation_name(unsigned int operation);

/*
 * Guest: reads the request of @size bytes at @message; addresses are binary with @binary_ip (since
 * version 5.0). In values what is no text is U+FFFD. Returns a kvp_fault, and then *ret_request is of
 * no meaning, but for its operation and pool where they were understood.
 */
_must_check_ int kvp_decode_request(const void *message, size_t size, bool binary_ip,
				    struct kvp_request *ret_request);

/*
 * Guest: write the answer over the request (kvp_encode_ip() likewise) of @size bytes, for which kvp_decode_request() was
 * successful. What is longer than the wire has room for is cut; what is no UTF-8 is U+FFFD.
 */
void kvp_encode_value(void *message, size_t size, const char *value);                  /* GET */
void kvp_encode_entry(void *message, size_t size, const char *key, const char *value); /* ENUMERATE */

/*
 * Host: writes the request; *ret_size is KVP_MESSAGE_SIZE or KVP_IP_MESSAGE_SIZE. KVP_FAULT_KEY,
 * KVP_FAULT_VALUE: longer than the wire has room for, or no UTF-8; KVP_FAULT_ADDRESS: too many.
 */
_must_check_ int kvp_encode_request(const struct kvp_request *request, bool binary_ip,
				    uint8_t ret_message[KVP_IP_MESSAGE_SIZE], size_t *ret_size);

/*
 * Host: reads the good answer to a request of @operation: value (GET); key and value (ENUMERATE); ip
 * (GET_IP); nothing otherwise. What is no text is U+FFFD, what is longer than a record is cut: it is to
 * be shown. Returns a kvp_fault.
 */
_must_check_ int kvp_decode_answer(const void *message, size_t size, enum kvp_operation operation,
				   bool binary_ip, struct kvp_request *ret_answer);
