/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/kvp_wire.h"

/*
 * The records of a pool file: 512 bytes of key, 2048 bytes of value, one behind the other, nothing
 * else. A place for a record is called a slot, counted from 0. Source: Linux
 * tools/hv/hv_kvp_daemon.c.
 */

/* The condition of kvp_record_read(). */
enum {
	KVP_RECORD_NO_KEY = 1, /* it is not of anybody who knows the format: left where it is */
};

/*
 * How many bytes of text there are at the start of @record and at KVP_KEY_SIZE in it. A text that
 * fills its field without a NUL, as cloud-init writes it, loses its last byte. KVP_RECORD_NO_KEY.
 */
_must_check_ int kvp_record_read(const uint8_t record[KVP_RECORD_SIZE], size_t *ret_key_len,
				 size_t *ret_value_len);

/* A record of two texts of less than KVP_KEY_SIZE and KVP_VALUE_SIZE bytes, the rest of it zero. */
void kvp_record_write(uint8_t ret_record[KVP_RECORD_SIZE], const char *key, const char *value);

/* A sum of @len bytes that finds accidents, and nobody's intentions: FNV-1a, 64 bits. */
uint64_t kvp_sum(const void *data, size_t len);
