/* SPDX-License-Identifier: MIT */

/*
 * Messages of the KVP device.
 *
 *     offset     GET, SET          DELETE        ENUMERATE        GET_IP, SET_IP
 *          0     operation, pool, two bytes of padding; in an answer the status instead
 *          4     type              key size      index            adapter (256)
 *          8     key size          key           type
 *         12     value size                      key size
 *         16     key                             value size
 *         20                                     key
 *        260                                                      family, DHCP
 *        262                                                      addresses (2048)
 *        528     value
 *        532                                     value
 *       2310                                                      subnets (2048)
 *       4358                                                      gateways (1024)
 *       5382                                                      DNS servers (2048)
 *
 * The kernel measures each text by its NUL, in both directions, and looks at no size; so an answer is
 * all zeros but for its texts. It takes the answer to a GET from where an ENUMERATE has its value
 * (Linux drivers/hv/hv_kvp.c, kvp_respond_to_host()), so that is where it is written.
 */

#include "services/kvp_device.h"

#include "base/bytes.h"

#include <string.h>

enum {
	REGISTER1 = 100, /* with addresses, and with a status in answers */
	ADAPTER_SIZE = 256,
	LIST_SIZE = 2048,
	GATEWAYS_SIZE = 1024,
	IP_SIZE = ADAPTER_SIZE + 2 + 3 * LIST_SIZE + GATEWAYS_SIZE,
	ENUMERATE_KEY = 20,
	ENUMERATE_VALUE = ENUMERATE_KEY + KVP_KEY_SIZE,
};
static_assert(KVP_HEADER_SIZE + IP_SIZE <= KVP_DEVICE_MESSAGE_SIZE, "struct hv_kvp_msg");

void kvp_device_register(uint8_t ret_message[KVP_DEVICE_MESSAGE_SIZE])
{
	memset(ret_message, 0, KVP_DEVICE_MESSAGE_SIZE);
	ret_message[0] = REGISTER1;
}

enum kvp_device_event kvp_device_event(const void *message, size_t size)
{
	if (size != KVP_DEVICE_MESSAGE_SIZE)
		return KVP_DEVICE_UNKNOWN;
	return *(const uint8_t *)message == REGISTER1 ? KVP_DEVICE_REGISTERED : KVP_DEVICE_REQUEST;
}

/* A text of up to @field_size bytes; false if it has no NUL or is longer than its place here. */
static bool get_text(struct bytes_reader *r, size_t field_size, char *ret_text, size_t text_size)
{
	const uint8_t *field = bytes_get_direct(r, field_size);
	size_t n = field ? strnlen((const char *)field, field_size) : field_size;

	if (n == field_size || n >= text_size)
		return false;
	memcpy(ret_text, field, n + 1);
	return true;
}

void kvp_device_version(const void *message, size_t size, char ret_text[KVP_KEY_SIZE])
{
	struct bytes_reader r;

	bytes_reader_init(&r, message, size);
	bytes_skip(&r, KVP_HEADER_SIZE);
	if (!get_text(&r, KVP_KEY_SIZE, ret_text, KVP_KEY_SIZE))
		ret_text[0] = '\0';
	for (char *p = ret_text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

static int decode_pair(struct bytes_reader *r, size_t integers, bool has_value,
		       struct kvp_request *request)
{
	bytes_skip(r, 4 * integers);
	if (!get_text(r, KVP_KEY_SIZE, request->key, sizeof(request->key)) || !*request->key)
		return KVP_FAULT_KEY;
	if (has_value && !get_text(r, KVP_VALUE_SIZE, request->value, sizeof(request->value)))
		return KVP_FAULT_VALUE;
	return 0;
}

static int decode_ip(struct bytes_reader *r, struct kvp_ip_info *ret_ip)
{
	struct kvp_ip_texts t = {0};
	bool ok;

	ok = get_text(r, ADAPTER_SIZE, t.adapter, sizeof(t.adapter)) && *t.adapter;
	t.family = bytes_get_u8(r);
	t.dhcp = bytes_get_u8(r) != 0;
	ok = get_text(r, LIST_SIZE, t.addresses, sizeof(t.addresses)) && ok;
	ok = get_text(r, LIST_SIZE, t.subnets, sizeof(t.subnets)) && ok;
	ok = get_text(r, GATEWAYS_SIZE, t.gateways, sizeof(t.gateways)) && ok;
	ok = get_text(r, LIST_SIZE, t.dns, sizeof(t.dns)) && ok;
	for (const char *p = t.adapter; *p; p++)
		ok = ok && *p > ' ' && *p <= '~';
	return ok && kvp_ip_parse(&t, ret_ip) == 0 ? 0 : KVP_FAULT_ADDRESS;
}

int kvp_device_decode(const void *message, size_t size, struct kvp_request *ret_request)
{
	struct kvp_request *request = ret_request;
	uint8_t operation, pool;
	struct bytes_reader r;

	kvp_request_clear(request);
	if (size != KVP_DEVICE_MESSAGE_SIZE)
		return KVP_FAULT_TRUNCATED;
	bytes_reader_init(&r, message, size);
	operation = bytes_get_u8(&r);
	pool = bytes_get_u8(&r);
	bytes_skip(&r, 2);
	if (operation >= KVP_OPERATIONS)
		return KVP_FAULT_OPERATION;
	request->operation = operation;
	if (operation == KVP_GET_IP || operation == KVP_SET_IP)
		return decode_ip(&r, &request->ip);
	if (pool >= KVP_POOLS)
		return KVP_FAULT_POOL;
	request->pool = pool;
	if (operation == KVP_ENUMERATE) {
		request->index = bytes_get_u32(&r);
		return 0;
	}
	return operation == KVP_DELETE ? decode_pair(&r, 1, false, request)
				       : decode_pair(&r, 3, operation == KVP_SET, request);
}

static void put_text(struct bytes_writer *w, size_t field_size, const char *text)
{
	size_t n = strlen(text);

	assert(n < field_size);
	bytes_put(w, text, n);
	bytes_put_zeros(w, field_size - n);
}

static void put_ip(struct bytes_writer *w, const struct kvp_ip_info *ip)
{
	struct kvp_ip_texts t;

	kvp_ip_format(ip, &t);
	put_text(w, ADAPTER_SIZE, t.adapter);
	bytes_put_u8(w, t.family);
	bytes_put_u8(w, t.dhcp);
	put_text(w, LIST_SIZE, t.addresses);
	put_text(w, LIST_SIZE, t.subnets);
	put_text(w, GATEWAYS_SIZE, t.gateways);
	put_text(w, LIST_SIZE, t.dns);
}

void kvp_device_answer(uint8_t ret_message[KVP_DEVICE_MESSAGE_SIZE], enum kvp_operation operation,
		       uint32_t status, const struct kvp_request *answer)
{
	struct bytes_writer w;

	memset(ret_message, 0, KVP_DEVICE_MESSAGE_SIZE);
	bytes_writer_init(&w, ret_message, KVP_DEVICE_MESSAGE_SIZE);
	bytes_put_u32(&w, status);
	if (status)
		return;
	if (operation == KVP_GET_IP) {
		put_ip(&w, &answer->ip);
	} else if (operation == KVP_GET || operation == KVP_ENUMERATE) {
		bytes_put_zeros(&w, ENUMERATE_KEY - KVP_HEADER_SIZE);
		put_text(&w, KVP_KEY_SIZE, answer->key);
		put_text(&w, KVP_VALUE_SIZE, answer->value);
	}
	assert(bytes_writer_ok(&w));
}
