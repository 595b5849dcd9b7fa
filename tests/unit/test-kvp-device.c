/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_device.c. Messages are made byte by byte, by the offsets of Linux's struct hv_kvp_msg.
 */

#include "base/cleanup.h"
#include "services/kvp_device.h"
#include "vmbus/wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define SIZE KVP_DEVICE_MESSAGE_SIZE

static uint8_t *make_message(uint8_t operation, uint8_t pool)
{
	uint8_t *m = calloc(1, SIZE);

	cr_assert(m != NULL);
	m[0] = operation;
	m[1] = pool;
	return m;
}

static uint8_t *make_set(const char *key, const char *value)
{
	uint8_t *m = make_message(KVP_SET, KVP_POOL_EXTERNAL);

	m[8] = (uint8_t)(strlen(key) + 1);
	m[12] = (uint8_t)(strlen(value) + 1);
	memcpy(m + 16, key, strlen(key));
	memcpy(m + 528, value, strlen(value));
	return m;
}

static uint8_t *make_set_ip(void)
{
	uint8_t *m = make_message(KVP_SET_IP, 0);

	strcpy((char *)m + 4, "{f8615163-df3e-46c5-913f-f2d2f965ed0e}");
	m[260] = KVP_FAMILY_IPV4;
	strcpy((char *)m + 262, "192.0.2.7;192.0.2.8");
	strcpy((char *)m + 2310, "255.255.255.0;255.255.0.0");
	strcpy((char *)m + 4358, "192.0.2.1");
	strcpy((char *)m + 5382, "192.0.2.2;192.0.2.3");
	return m;
}

Test(kvp_device, the_registration_is_known_when_it_comes_back)
{
	_cleanup_free_ uint8_t *m = make_message(0, 0);
	char version[KVP_KEY_SIZE];

	kvp_device_register(m);
	cr_expect(eq(u8, m[0], 100));
	for (size_t i = 1; i < SIZE; i++)
		cr_assert(eq(u8, m[i], 0));
	strcpy((char *)m + 4, "3.1");
	cr_expect(eq(int, kvp_device_event(m, SIZE), KVP_DEVICE_REGISTERED));
	kvp_device_version(m, SIZE, version);
	cr_expect(eq(str, version, "3.1"));
	m[5] = 7;
	kvp_device_version(m, SIZE, version);
	cr_expect(eq(str, version, "3?1"));
	memset(m + 4, 'x', 512);
	kvp_device_version(m, SIZE, version);
	cr_expect(eq(str, version, ""));
	kvp_device_version(m, 3, version);
	cr_expect(eq(str, version, ""));
	m[0] = KVP_GET_IP; /* 4 is the number of an older registration, too, which is never made */
	cr_expect(eq(int, kvp_device_event(m, SIZE), KVP_DEVICE_REQUEST));
	cr_expect(eq(int, kvp_device_event(m, SIZE - 1), KVP_DEVICE_UNKNOWN));
	cr_expect(eq(int, kvp_device_event(m, 0), KVP_DEVICE_UNKNOWN));
}

Test(kvp_device, requests_are_read)
{
	_cleanup_free_ uint8_t *set = make_set("a key", "a value \xf0\x9f\x98\x80"),
			       *get = make_message(KVP_GET, 2), *del = make_message(KVP_DELETE, 3),
			       *list = make_message(KVP_ENUMERATE, 1), *ip = make_set_ip();
	struct kvp_request q;

	cr_assert(eq(int, kvp_device_decode(set, SIZE, &q), 0));
	cr_expect(q.operation == KVP_SET && q.pool == KVP_POOL_EXTERNAL);
	cr_expect(eq(str, q.key, "a key"));
	cr_expect(eq(str, q.value, "a value \xf0\x9f\x98\x80"));
	strcpy((char *)get + 16, "OSName");
	cr_assert(eq(int, kvp_device_decode(get, SIZE, &q), 0));
	cr_expect(eq(str, q.key, "OSName"));
	strcpy((char *)del + 8, "gone");
	cr_assert(eq(int, kvp_device_decode(del, SIZE, &q), 0));
	cr_expect(eq(str, q.key, "gone"));
	list[4] = 9;
	cr_assert(eq(int, kvp_device_decode(list, SIZE, &q), 0));
	cr_expect(eq(u32, q.index, 9));
	cr_assert(eq(int, kvp_device_decode(ip, SIZE, &q), 0));
	cr_expect(eq(str, q.ip.adapter, "{f8615163-df3e-46c5-913f-f2d2f965ed0e}"));
	cr_assert(eq(sz, q.ip.n_addresses, 2));
	cr_expect(eq(int, q.ip.addresses[1].prefix, 16));
	cr_expect(eq(sz, q.ip.n_gateways, 1));
	cr_expect(eq(sz, q.ip.n_dns, 2));
}

Test(kvp_device, what_is_no_request_is_a_fault)
{
	_cleanup_free_ uint8_t *unknown = make_message(6, 0), *pool = make_message(KVP_ENUMERATE, 5),
			       *empty = make_set("", "v"), *endless = make_set("k", "v"),
			       *adapter = make_set_ip();
	struct kvp_request q;

	cr_expect(eq(int, kvp_device_decode(unknown, SIZE, &q), KVP_FAULT_OPERATION));
	cr_expect(eq(int, kvp_device_decode(pool, SIZE, &q), KVP_FAULT_POOL));
	cr_expect(eq(int, kvp_device_decode(empty, SIZE, &q), KVP_FAULT_KEY));
	memset(endless + 16, 'k', 512);
	cr_expect(eq(int, kvp_device_decode(endless, SIZE, &q), KVP_FAULT_KEY));
	endless[16 + 511] = 0;
	memset(endless + 528, 'v', 2048);
	cr_expect(eq(int, kvp_device_decode(endless, SIZE, &q), KVP_FAULT_VALUE));
	cr_expect(eq(int, kvp_device_decode(endless, SIZE - 1, &q), KVP_FAULT_TRUNCATED));
	adapter[4] = '\n';
	cr_expect(eq(int, kvp_device_decode(adapter, SIZE, &q), KVP_FAULT_ADDRESS));
}

Test(kvp_device, an_answer_has_its_text_where_the_kernel_looks_for_it)
{
	static struct kvp_request a = {.key = "key", .value = "value"};
	_cleanup_free_ uint8_t *m = make_set("rest", "of something");

	kvp_device_answer(m, KVP_ENUMERATE, IC_S_OK, &a);
	cr_expect(eq(int, m[0] | m[1] | m[2] | m[3], 0));
	cr_expect(eq(str, (char *)m + 20, "key"));
	cr_expect(eq(str, (char *)m + 532, "value"));
	kvp_device_answer(m, KVP_GET, IC_S_OK, &a);
	cr_expect(eq(str, (char *)m + 532, "value"));
	kvp_device_answer(m, KVP_GET, KVP_S_NO_MORE, &a);
	cr_expect(eq(int, memcmp(m, "\x03\x01\x07\x80", 4), 0));
	for (size_t i = 4; i < SIZE; i++)
		cr_assert(eq(u8, m[i], 0));
}

Test(kvp_device, addresses_come_back_as_they_went)
{
	_cleanup_free_ uint8_t *m = make_set_ip();
	static struct kvp_request q, back;

	cr_assert(eq(int, kvp_device_decode(m, SIZE, &q), 0));
	kvp_device_answer(m, KVP_GET_IP, IC_S_OK, &q);
	m[0] = KVP_SET_IP; /* where the status was */
	cr_assert(eq(int, kvp_device_decode(m, SIZE, &back), 0));
	cr_expect(eq(int, memcmp(&q.ip, &back.ip, sizeof(q.ip)), 0));
}

Test(kvp_device, any_bit_may_be_flipped_and_any_byte_be_missing)
{
	_cleanup_free_ uint8_t *set = make_set("key", "value"), *ip = make_set_ip();
	uint8_t *const messages[] = {set, ip};
	struct kvp_request q;

	for (int i = 0; i < 2; i++) {
		uint8_t *m = messages[i];

		for (size_t n = 0; n < SIZE; n += 7)
			cr_assert(eq(int, kvp_device_decode(m, n, &q), KVP_FAULT_TRUNCATED));
		for (size_t bit = 0; bit < 8 * SIZE; bit++) {
			m[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (kvp_device_decode(m, SIZE, &q) == 0 &&
			    (q.operation >= KVP_OPERATIONS || q.pool >= KVP_POOLS ||
			     (q.operation < KVP_ENUMERATE && !*q.key)))
				cr_fatal("bit %zu", bit);
			m[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}
