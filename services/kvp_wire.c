/* SPDX-License-Identifier: MIT */

/*
 * Messages of the key-value exchange, but for addresses (services/kvp_ip_wire).
 *
 *     offset     GET, SET          DELETE        ENUMERATE
 *          0     operation, pool, two bytes of padding
 *          4     type              key size      index
 *          8     key size          key           type
 *         12     value size                      key size
 *         16     key                             value size
 *         20                                     key
 *        528     value
 *        532                                     value
 *
 * Sizes are in bytes and count the NUL; fields of text have a fixed place and size. A request is
 * decoded from a copy that is ours. An answer is written over the request, for hosts want it as long
 * as that, and each field is cleared before it is filled, so that nothing of the request is left
 * inside of what the answer declares.
 *
 * Two things are taken that the sources do not agree on: both numbers of a 64-bit value, and text
 * without its NUL. A key is refused if it is not exactly text, because it could not be found again;
 * what a value has that is no text is replaced by U+FFFD.
 */

#include "services/kvp_wire.h"

#include "base/bytes.h"
#include "base/utf16.h"
#include "services/kvp_ip_wire.h"
#include "vmbus/wire.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	uint32_t status;
} faults[] = {
	[KVP_FAULT_TRUNCATED] = {"truncated", IC_E_FAIL},
	[KVP_FAULT_OPERATION] = {"unknown-operation", IC_E_NOT_SUPPORTED},
	[KVP_FAULT_POOL] = {"unknown-pool", IC_E_INVALID_ARGUMENT},
	[KVP_FAULT_SIZE] = {"bad-size", IC_E_INVALID_ARGUMENT},
	[KVP_FAULT_KEY] = {"bad-key", IC_E_INVALID_ARGUMENT},
	[KVP_FAULT_VALUE] = {"bad-value", IC_E_INVALID_ARGUMENT},
	[KVP_FAULT_TYPE] = {"unknown-type", IC_E_NOT_SUPPORTED},
	[KVP_FAULT_ADDRESS] = {"bad-address", IC_E_INVALID_ARGUMENT},
};
static_assert(sizeof(faults) / sizeof(faults[0]) == KVP_FAULTS, "");

const char *kvp_fault_name(enum kvp_fault fault)
{
	return faults[fault].name;
}

uint32_t kvp_fault_status(enum kvp_fault fault)
{
	return faults[fault].status;
}

static const char *const pool_names[KVP_POOLS] = {
	[KVP_POOL_EXTERNAL] = "external",
	[KVP_POOL_GUEST] = "guest",
	[KVP_POOL_AUTO] = "auto",
	[KVP_POOL_AUTO_EXTERNAL] = "auto-external",
	[KVP_POOL_AUTO_INTERNAL] = "auto-internal",
};

const char *kvp_pool_name(enum kvp_pool pool)
{
	return pool_names[pool];
}

int kvp_pool_named(const char *name, enum kvp_pool *ret_pool)
{
	for (int i = 0; i < KVP_POOLS; i++) {
		if (!strcmp(pool_names[i], name)) {
			*ret_pool = i;
			return 0;
		}
	}
	return KVP_FAULT_POOL;
}

const char *kvp_operation_name(unsigned int operation)
{
	static const char *const names[KVP_OPERATIONS] = {"get",       "set",    "delete",
							  "enumerate", "get-ip", "set-ip"};

	return operation < KVP_OPERATIONS ? names[operation] : "unknown";
}

static bool is_about_ip(enum kvp_operation operation)
{
	return operation == KVP_GET_IP || operation == KVP_SET_IP;
}

/* Keys and values. */

/* A field of text, of which the first @declared bytes count. */
static int get_text(struct bytes_reader *r, size_t field_size, uint32_t declared, unsigned int flags,
		    char *ret_text, size_t text_size)
{
	const uint8_t *field = bytes_get_direct(r, field_size);

	if (!field)
		return KVP_FAULT_TRUNCATED;
	if (declared > field_size || declared % 2 != 0)
		return KVP_FAULT_SIZE;
	/* What is wrong with the text depends on whose it is. */
	return utf16_to_utf8(field, declared, flags, ret_text, text_size) ? KVP_FAULT_VALUE : 0;
}

static int get_key(struct bytes_reader *r, uint32_t declared, unsigned int flags,
		   char ret_key[KVP_KEY_SIZE])
{
	int f = get_text(r, KVP_WIRE_KEY_SIZE, declared, flags, ret_key, KVP_KEY_SIZE);

	if (f)
		return f == KVP_FAULT_VALUE ? KVP_FAULT_KEY : f;
	return *ret_key ? 0 : KVP_FAULT_KEY;
}

static int get_number(struct bytes_reader *r, size_t size, uint32_t declared,
		      char ret_value[KVP_VALUE_SIZE])
{
	unsigned long long number = size == 4 ? bytes_get_u32(r) : bytes_get_u64(r);

	if (!bytes_reader_ok(r))
		return KVP_FAULT_TRUNCATED;
	if (declared != size)
		return KVP_FAULT_SIZE;
	snprintf(ret_value, KVP_VALUE_SIZE, "%llu", number);
	return 0;
}

static int get_value(struct bytes_reader *r, uint32_t type, uint32_t declared, unsigned int flags,
		     char ret_value[KVP_VALUE_SIZE])
{
	switch (type) {
	case KVP_TYPE_TEXT:
	case KVP_TYPE_EXPAND_TEXT:
		return get_text(r, KVP_WIRE_VALUE_SIZE, declared, flags, ret_value, KVP_VALUE_SIZE);
	case KVP_TYPE_U32:
		return get_number(r, 4, declared, ret_value);
	case KVP_TYPE_U64_LINUX:
	case KVP_TYPE_U64:
		return get_number(r, 8, declared, ret_value);
	default:
		return KVP_FAULT_TYPE;
	}
}

static int decode_get(struct bytes_reader *r, struct kvp_request *request)
{
	uint32_t key_size;

	bytes_skip(r, 4); /* the type, which the answer has */
	key_size = bytes_get_u32(r);
	bytes_skip(r, 4);
	return get_key(r, key_size, 0, request->key);
}

static int decode_set(struct bytes_reader *r, struct kvp_request *request)
{
	uint32_t type = bytes_get_u32(r), key_size = bytes_get_u32(r), value_size = bytes_get_u32(r);
	int f = get_key(r, key_size, 0, request->key);

	return f ? f : get_value(r, type, value_size, UTF16_REPLACE, request->value);
}

static int decode_delete(struct bytes_reader *r, struct kvp_request *request)
{
	uint32_t key_size = bytes_get_u32(r);

	return get_key(r, key_size, 0, request->key);
}

/* Requests. */

static int decode_body(struct bytes_reader *r, struct kvp_request *request)
{
	switch (request->operation) {
	case KVP_GET:
		return decode_get(r, request);
	case KVP_SET:
		return decode_set(r, request);
	case KVP_DELETE:
		return decode_delete(r, request);
	case KVP_ENUMERATE:
		request->index = bytes_get_u32(r);
		return 0;
	case KVP_GET_IP:
	case KVP_SET_IP:
	case KVP_OPERATIONS:
		break;
	}
	return KVP_FAULT_OPERATION;
}

int kvp_decode_request(const void *message, size_t size, bool binary_ip,
		       struct kvp_request *ret_request)
{
	struct kvp_request *request = ret_request;
	uint8_t operation, pool;
	struct bytes_reader r;

	kvp_request_clear(request);
	bytes_reader_init(&r, message, size);
	operation = bytes_get_u8(&r);
	pool = bytes_get_u8(&r);
	bytes_skip(&r, 2);
	if (!bytes_reader_ok(&r))
		return KVP_FAULT_TRUNCATED;
	request->operation = operation < KVP_OPERATIONS ? operation : KVP_OPERATIONS;
	if (request->operation == KVP_OPERATIONS)
		return KVP_FAULT_OPERATION;
	if (is_about_ip(request->operation))
		return kvp_ip_decode(message, size, binary_ip, &request->ip);
	if (pool >= KVP_POOLS)
		return KVP_FAULT_POOL;
	request->pool = pool;
	if (size < KVP_MESSAGE_SIZE)
		return KVP_FAULT_TRUNCATED;
	return decode_body(&r, request);
}

/* Answers. */

/* Clears the field and writes the text into it; returns its size in bytes, with the NUL. */
static size_t put_text(uint8_t *field, size_t field_size, const char *text)
{
	size_t size;
	int r;

	memset(field, 0, field_size);
	r = utf8_to_utf16(text, UTF16_REPLACE | UTF16_CUT, field, field_size, &size);
	assert(r == 0);
	return size;
}

static void put_u32_at(void *message, size_t offset, uint32_t value)
{
	struct bytes_writer w;

	bytes_writer_init(&w, (uint8_t *)message + offset, 4);
	bytes_put_u32(&w, value);
}

/* Offsets of fields; see above. */
enum {
	GET_TYPE = 4,
	GET_KEY_SIZE = 8,
	GET_VALUE_SIZE = 12,
	GET_KEY = 16,
	GET_VALUE = GET_KEY + KVP_WIRE_KEY_SIZE,
	DELETE_KEY_SIZE = 4,
	DELETE_KEY = 8,
	ENUMERATE_INDEX = 4,
	ENUMERATE_TYPE = 8,
	ENUMERATE_KEY_SIZE = 12,
	ENUMERATE_VALUE_SIZE = 16,
	ENUMERATE_KEY = 20,
	ENUMERATE_VALUE = ENUMERATE_KEY + KVP_WIRE_KEY_SIZE,
};

void kvp_encode_value(void *message, size_t size, const char *value)
{
	uint8_t *m = message;

	assert(size >= KVP_MESSAGE_SIZE);
	put_u32_at(m, GET_TYPE, KVP_TYPE_TEXT);
	put_u32_at(m, GET_VALUE_SIZE, (uint32_t)put_text(m + GET_VALUE, KVP_WIRE_VALUE_SIZE, value));
}

void kvp_encode_entry(void *message, size_t size, const char *key, const char *value)
{
	uint8_t *m = message;

	assert(size >= KVP_MESSAGE_SIZE);
	put_u32_at(m, ENUMERATE_TYPE, KVP_TYPE_TEXT);
	put_u32_at(m, ENUMERATE_KEY_SIZE, (uint32_t)put_text(m + ENUMERATE_KEY, KVP_WIRE_KEY_SIZE, key));
	put_u32_at(m, ENUMERATE_VALUE_SIZE,
		   (uint32_t)put_text(m + ENUMERATE_VALUE, KVP_WIRE_VALUE_SIZE, value));
}

/* The host's side. */

static int put_key_at(uint8_t *m, size_t size_offset, size_t offset, const char *key)
{
	size_t size;

	if (!*key || utf8_to_utf16(key, 0, m + offset, KVP_WIRE_KEY_SIZE, &size))
		return KVP_FAULT_KEY;
	put_u32_at(m, size_offset, (uint32_t)size);
	return 0;
}

static int encode_set(uint8_t *m, const struct kvp_request *request)
{
	size_t size;

	if (utf8_to_utf16(request->value, 0, m + GET_VALUE, KVP_WIRE_VALUE_SIZE, &size))
		return KVP_FAULT_VALUE;
	put_u32_at(m, GET_TYPE, KVP_TYPE_TEXT);
	put_u32_at(m, GET_VALUE_SIZE, (uint32_t)size);
	return put_key_at(m, GET_KEY_SIZE, GET_KEY, request->key);
}

/* Whether nothing of @ip was left out of the message. */
static bool holds_all(const uint8_t *message, bool binary_ip, const struct kvp_ip_info *ip)
{
	struct kvp_ip_info written;

	return kvp_ip_decode(message, KVP_IP_MESSAGE_SIZE, binary_ip, &written) == 0 &&
	       written.n_addresses == ip->n_addresses && written.n_gateways == ip->n_gateways &&
	       written.n_dns == ip->n_dns;
}

int kvp_encode_request(const struct kvp_request *request, bool binary_ip,
		       uint8_t ret_message[KVP_IP_MESSAGE_SIZE], size_t *ret_size)
{
	uint8_t *m = ret_message;

	memset(m, 0, KVP_IP_MESSAGE_SIZE);
	m[0] = (uint8_t)request->operation;
	m[1] = (uint8_t)request->pool;
	*ret_size = is_about_ip(request->operation) ? KVP_IP_MESSAGE_SIZE : KVP_MESSAGE_SIZE;
	switch (request->operation) {
	case KVP_GET:
		return put_key_at(m, GET_KEY_SIZE, GET_KEY, request->key);
	case KVP_SET:
		return encode_set(m, request);
	case KVP_DELETE:
		return put_key_at(m, DELETE_KEY_SIZE, DELETE_KEY, request->key);
	case KVP_ENUMERATE:
		put_u32_at(m, ENUMERATE_INDEX, request->index);
		return 0;
	case KVP_GET_IP:
	case KVP_SET_IP:
		kvp_encode_ip(m, KVP_IP_MESSAGE_SIZE, binary_ip, &request->ip);
		return holds_all(m, binary_ip, &request->ip) ? 0 : KVP_FAULT_ADDRESS;
	case KVP_OPERATIONS:
		break;
	}
	return KVP_FAULT_OPERATION;
}

static int decode_value(struct bytes_reader *r, struct kvp_request *answer)
{
	uint32_t type = bytes_get_u32(r), value_size;

	bytes_skip(r, 4);
	value_size = bytes_get_u32(r);
	bytes_skip(r, KVP_WIRE_KEY_SIZE);
	return get_value(r, type, value_size, UTF16_REPLACE | UTF16_CUT, answer->value);
}

static int decode_entry(struct bytes_reader *r, struct kvp_request *answer)
{
	uint32_t type, key_size, value_size;
	int f;

	answer->index = bytes_get_u32(r);
	type = bytes_get_u32(r);
	key_size = bytes_get_u32(r);
	value_size = bytes_get_u32(r);
	f = get_key(r, key_size, UTF16_REPLACE | UTF16_CUT, answer->key);
	return f ? f : get_value(r, type, value_size, UTF16_REPLACE | UTF16_CUT, answer->value);
}

int kvp_decode_answer(const void *message, size_t size, enum kvp_operation operation, bool binary_ip,
		      struct kvp_request *ret_answer)
{
	struct kvp_request *answer = ret_answer;
	struct bytes_reader r;

	kvp_request_clear(answer);
	answer->operation = operation;
	bytes_reader_init(&r, message, size);
	bytes_skip(&r, KVP_HEADER_SIZE);
	if (operation == KVP_GET_IP)
		return kvp_ip_decode(message, size, binary_ip, &answer->ip);
	if (size < (is_about_ip(operation) ? KVP_IP_MESSAGE_SIZE : KVP_MESSAGE_SIZE))
		return KVP_FAULT_TRUNCATED;
	if (operation == KVP_GET)
		return decode_value(&r, answer);
	return operation == KVP_ENUMERATE ? decode_entry(&r, answer) : 0;
}
