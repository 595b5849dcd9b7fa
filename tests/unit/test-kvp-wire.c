/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_wire.c and kvp_ip_wire.c. Messages are made byte by byte from the table of offsets in
 * docs/PROTOCOL-kvp.md, and live in heap buffers of their exact size.
 */

#include "base/cleanup.h"
#include "services/kvp_ip_wire.h"
#include "services/kvp_wire.h"
#include "vmbus/wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static void put_u32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ASCII as UTF-16 with its NUL; returns its bytes. */
static uint32_t put_text(uint8_t *p, const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i <= n; i++) {
		p[2 * i] = (uint8_t)text[i];
		p[2 * i + 1] = 0;
	}
	return (uint32_t)(2 * n + 2);
}

static void expect_text(const uint8_t *p, const char *text)
{
	for (size_t i = 0; i <= strlen(text); i++)
		cr_expect(p[2 * i] == (uint8_t)text[i] && p[2 * i + 1] == 0, "%s at %zu", text, i);
}

/* A message whose unused bytes are all set. */
static uint8_t *make_message(size_t size, uint8_t operation, uint8_t pool)
{
	uint8_t *m = malloc(size);

	cr_assert(m != NULL);
	memset(m, 0xee, size);
	m[0] = operation;
	m[1] = pool;
	return m;
}

static uint8_t *make_get(const char *key)
{
	uint8_t *m = make_message(KVP_MESSAGE_SIZE, KVP_GET, KVP_POOL_AUTO);

	put_u32(m + 8, put_text(m + 16, key));
	return m;
}

static uint8_t *make_set(const char *key, uint32_t type, const char *value)
{
	uint8_t *m = make_message(KVP_MESSAGE_SIZE, KVP_SET, KVP_POOL_EXTERNAL);

	put_u32(m + 4, type);
	put_u32(m + 8, put_text(m + 16, key));
	put_u32(m + 12, put_text(m + 528, value));
	return m;
}

static uint8_t *make_delete(const char *key)
{
	uint8_t *m = make_message(KVP_MESSAGE_SIZE, KVP_DELETE, KVP_POOL_EXTERNAL);

	put_u32(m + 4, put_text(m + 8, key));
	return m;
}

static uint8_t *make_enumerate(uint32_t index)
{
	uint8_t *m = make_message(KVP_MESSAGE_SIZE, KVP_ENUMERATE, KVP_POOL_GUEST);

	put_u32(m + 4, index);
	return m;
}

/* SET_IP with texts; an odd beginning, as no other message has. */
static uint8_t *make_set_ip(const char *addresses, const char *subnets, const char *gateways,
			    const char *dns)
{
	uint8_t *m = make_message(KVP_IP_MESSAGE_SIZE, KVP_SET_IP, KVP_POOL_GUEST);

	(void)put_text(m + 2, "{f8615163-df3e-46c5-913f-f2d2f965ed0e}");
	m[258] = KVP_FAMILY_IPV4 | KVP_FAMILY_IPV6;
	m[259] = 0;
	(void)put_text(m + 260, addresses);
	(void)put_text(m + 2308, subnets);
	(void)put_text(m + 4356, gateways);
	(void)put_text(m + 5380, dns);
	return m;
}

static int decode(const uint8_t *m, size_t size, struct kvp_request *request)
{
	memset(request, 0x5a, sizeof(*request));
	return kvp_decode_request(m, size, false, request);
}

Test(kvp_wire, a_request_of_each_operation_is_read)
{
	struct kvp_request q;
	_cleanup_free_ uint8_t *get = make_get("OSName"), *set = make_set("key", KVP_TYPE_TEXT, "value"),
			       *del = make_delete("gone"), *list = make_enumerate(0x01020304);

	cr_assert(eq(int, decode(get, KVP_MESSAGE_SIZE, &q), 0));
	cr_expect(q.operation == KVP_GET && q.pool == KVP_POOL_AUTO);
	cr_expect(eq(str, q.key, "OSName"));
	cr_assert(eq(int, decode(set, KVP_MESSAGE_SIZE, &q), 0));
	cr_expect(q.operation == KVP_SET && q.pool == KVP_POOL_EXTERNAL);
	cr_expect(eq(str, q.key, "key"));
	cr_expect(eq(str, q.value, "value"));
	cr_assert(eq(int, decode(del, KVP_MESSAGE_SIZE, &q), 0));
	cr_expect(q.operation == KVP_DELETE);
	cr_expect(eq(str, q.key, "gone"));
	cr_assert(eq(int, decode(list, KVP_MESSAGE_SIZE, &q), 0));
	cr_expect(q.operation == KVP_ENUMERATE && q.pool == KVP_POOL_GUEST);
	cr_expect(eq(u32, q.index, 0x01020304));
}

Test(kvp_wire, numbers_become_decimal_text)
{
	static const struct {
		uint32_t type, size;
		uint8_t bytes[8];
		int fault;
		const char *text;
	} rows[] = {
		{KVP_TYPE_U32, 4, {0xff, 0xff, 0xff, 0xff, 1}, 0, "4294967295"},
		{KVP_TYPE_U32, 4, {0}, 0, "0"},
		{KVP_TYPE_U64, 8, {0, 0, 0, 0, 0, 0, 0, 0x80}, 0, "9223372036854775808"},
		{KVP_TYPE_U64_LINUX, 8, {0x15, 0xcd, 0x5b, 7}, 0, "123456789"},
		{KVP_TYPE_U32, 8, {1}, KVP_FAULT_SIZE, NULL},
		{KVP_TYPE_U32, 2, {1}, KVP_FAULT_SIZE, NULL},
		{KVP_TYPE_U64, 4, {1}, KVP_FAULT_SIZE, NULL},
		{KVP_TYPE_EXPAND_TEXT, 4, {'%', 0, 0, 0}, 0, "%"},
		{3, 4, {1}, KVP_FAULT_TYPE, NULL}, /* REG_BINARY */
		{7, 4, {'a', 0, 0, 0}, KVP_FAULT_TYPE, NULL}, /* REG_MULTI_SZ */
		{0, 4, {0}, KVP_FAULT_TYPE, NULL},
		{UINT32_MAX, 4, {0}, KVP_FAULT_TYPE, NULL},
	};
	struct kvp_request q;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ uint8_t *m = make_set("n", rows[i].type, "");

		put_u32(m + 12, rows[i].size);
		memcpy(m + 528, rows[i].bytes, 8);
		cr_assert(eq(int, decode(m, KVP_MESSAGE_SIZE, &q), rows[i].fault), "row %zu", i);
		if (!rows[i].fault)
			cr_expect(eq(int, strcmp(q.value, rows[i].text), 0), "%s", q.value);
	}
}

Test(kvp_wire, sizes_are_bytes_even_and_no_larger_than_their_fields)
{
	static const struct {
		uint32_t key_size, value_size;
		int fault;
	} rows[] = {
		{4, 4, 0},
		{512, 2048, 0},  /* no NUL inside of what is declared, but in the field */
		{2, 4, 0},       /* the NUL is not declared */
		{4, 0, 0},       /* an empty value */
		{0, 4, KVP_FAULT_KEY},
		{3, 4, KVP_FAULT_SIZE},
		{4, 3, KVP_FAULT_SIZE},
		{514, 4, KVP_FAULT_SIZE},
		{4, 2050, KVP_FAULT_SIZE},
		{UINT32_MAX - 1, 4, KVP_FAULT_SIZE},
		{4, UINT32_MAX - 1, KVP_FAULT_SIZE},
		{4, 0x80000000u, KVP_FAULT_SIZE},
	};
	struct kvp_request q;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ uint8_t *m = make_set("k", KVP_TYPE_TEXT, "v");

		put_u32(m + 8, rows[i].key_size);
		put_u32(m + 12, rows[i].value_size);
		cr_expect(eq(int, decode(m, KVP_MESSAGE_SIZE, &q), rows[i].fault), "row %zu", i);
	}
}

/* @units UTF-16 units of value @unit into the @field bytes at @p. */
static void fill(uint8_t *p, size_t field, size_t units, uint16_t unit)
{
	memset(p, 0, field);
	for (size_t i = 0; i < units; i++) {
		p[2 * i] = (uint8_t)unit;
		p[2 * i + 1] = (uint8_t)(unit >> 8);
	}
}

Test(kvp_wire, text_must_fit_into_a_record_and_a_key_must_be_text)
{
	static const struct {
		size_t key_units, value_units;
		uint16_t key_unit, value_unit;
		int fault;
	} rows[] = {
		{255, 1023, 'k', 'v', 0},
		{256, 1024, 'k', 'v', 0},                    /* no NUL at all */
		{255, 1, 0xe9, 'v', 0},                      /* 510 bytes of UTF-8 */
		{256, 1, 0xe9, 'v', KVP_FAULT_KEY},          /* 512 */
		{171, 1, 0x20ac, 'v', KVP_FAULT_KEY},        /* 513 */
		{1, 1023, 'k', 0xe9, 0},                     /* 2046 */
		{1, 1024, 'k', 0xe9, KVP_FAULT_VALUE},       /* 2048 */
		{1, 683, 'k', 0x20ac, KVP_FAULT_VALUE},      /* 2049 */
		{1, 1, 0xd83d, 'v', KVP_FAULT_KEY},          /* half a character */
		{1, 1, 'k', 0xd83d, 0},                      /* replaced in a value */
		{0, 1, 'k', 'v', KVP_FAULT_KEY},             /* empty */
	};
	struct kvp_request q;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ uint8_t *m = make_set("k", KVP_TYPE_TEXT, "v");

		fill(m + 16, 512, rows[i].key_units, rows[i].key_unit);
		fill(m + 528, 2048, rows[i].value_units, rows[i].value_unit);
		put_u32(m + 8, (uint32_t)(2 * rows[i].key_units));
		put_u32(m + 12, (uint32_t)(2 * rows[i].value_units));
		cr_expect(eq(int, decode(m, KVP_MESSAGE_SIZE, &q), rows[i].fault), "row %zu", i);
	}
}

Test(kvp_wire, what_is_no_request_is_a_fault_with_a_status_of_the_protocol)
{
	static const struct {
		uint8_t operation, pool;
		int fault;
		uint32_t status;
	} rows[] = {
		{6, 0, KVP_FAULT_OPERATION, IC_E_NOT_SUPPORTED},
		{100, 0, KVP_FAULT_OPERATION, IC_E_NOT_SUPPORTED}, /* the device's registration */
		{255, 0, KVP_FAULT_OPERATION, IC_E_NOT_SUPPORTED},
		{KVP_ENUMERATE, 5, KVP_FAULT_POOL, IC_E_INVALID_ARGUMENT},
		{KVP_ENUMERATE, 255, KVP_FAULT_POOL, IC_E_INVALID_ARGUMENT},
		{KVP_ENUMERATE, 4, 0, 0},
	};
	struct kvp_request q;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ uint8_t *m =
			make_message(KVP_MESSAGE_SIZE, rows[i].operation, rows[i].pool);

		cr_expect(eq(int, decode(m, KVP_MESSAGE_SIZE, &q), rows[i].fault), "row %zu", i);
		if (rows[i].fault)
			cr_expect(eq(u32, kvp_fault_status(rows[i].fault), rows[i].status));
	}
	for (int f = KVP_FAULT_TRUNCATED; f < KVP_FAULTS; f++) {
		cr_expect(kvp_fault_name(f) != NULL);
		cr_expect(ge(u32, kvp_fault_status(f), 0x80000000u));
	}
}

Test(kvp_wire, an_answer_declares_its_text_and_leaves_nothing_of_the_request_in_it)
{
	_cleanup_free_ uint8_t *get = make_get("a key"), *list = make_enumerate(3);

	kvp_encode_value(get, KVP_MESSAGE_SIZE, "short");
	cr_expect(eq(u32, get_u32(get + 4), KVP_TYPE_TEXT));
	cr_expect(eq(u32, get_u32(get + 12), 12));
	expect_text(get + 528, "short");
	for (size_t i = 528 + 12; i < 2576; i++)
		cr_expect(eq(u8, get[i], 0));
	cr_expect(eq(u8, get[2576], 0xee)); /* behind the body */
	expect_text(get + 16, "a key");

	kvp_encode_entry(list, KVP_MESSAGE_SIZE, "key", "");
	cr_expect(eq(u32, get_u32(list + 4), 3));
	cr_expect(eq(u32, get_u32(list + 8), KVP_TYPE_TEXT));
	cr_expect(eq(u32, get_u32(list + 12), 8));
	cr_expect(eq(u32, get_u32(list + 16), 2));
	expect_text(list + 20, "key");
	expect_text(list + 532, "");
}

Test(kvp_wire, an_answer_longer_than_the_wire_is_cut_between_characters)
{
	_cleanup_free_ uint8_t *list = make_enumerate(0);
	char key[KVP_KEY_SIZE], value[KVP_VALUE_SIZE];

	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	memcpy(value + 1022, "\xf0\x9f\x98\x80", 4); /* a pair of surrogates across the end */
	kvp_encode_entry(list, KVP_MESSAGE_SIZE, key, value);
	cr_expect(eq(u32, get_u32(list + 12), 512));
	cr_expect(eq(int, list[20 + 510] | list[20 + 511], 0));
	cr_expect(eq(u32, get_u32(list + 16), 2046));
	cr_expect(eq(int, list[532 + 2044] | list[532 + 2045], 0));
	cr_expect(eq(u8, list[532 + 2042], 'v'));
}

Test(kvp_wire, host_and_guest_read_what_the_other_writes)
{
	static struct kvp_request sent, got;
	uint8_t m[KVP_IP_MESSAGE_SIZE];
	size_t size;

	for (int op = KVP_GET; op <= KVP_ENUMERATE; op++) {
		sent = (struct kvp_request){.operation = op, .pool = KVP_POOL_EXTERNAL};
		strcpy(sent.key, "\xc3\xa9t\xc3\xa9 \xf0\x9f\x8f\x96");
		strcpy(sent.value, op == KVP_SET ? "\xe6\xb5\xb7" : "");
		sent.index = op == KVP_ENUMERATE ? 7 : 0;
		cr_assert(eq(int, kvp_encode_request(&sent, false, m, &size), 0));
		cr_expect(eq(sz, size, KVP_MESSAGE_SIZE));
		cr_assert(eq(int, kvp_decode_request(m, size, false, &got), 0));
		if (op != KVP_ENUMERATE)
			cr_expect(eq(str, got.key, sent.key));
		cr_expect(eq(str, got.value, sent.value));
		cr_expect(eq(u32, got.index, sent.index));
		if (op == KVP_GET)
			kvp_encode_value(m, size, "\xf0\x9f\x98\x80");
		if (op == KVP_ENUMERATE)
			kvp_encode_entry(m, size, "k", "\xf0\x9f\x98\x80");
		cr_assert(eq(int, kvp_decode_answer(m, size, op, false, &got), 0));
		if (op == KVP_GET || op == KVP_ENUMERATE)
			cr_expect(eq(str, got.value, "\xf0\x9f\x98\x80"));
	}
}

Test(kvp_wire, a_host_does_not_send_what_does_not_fit)
{
	static struct kvp_request q;
	uint8_t m[KVP_IP_MESSAGE_SIZE];
	size_t size;

	q = (struct kvp_request){.operation = KVP_SET, .pool = KVP_POOL_EXTERNAL};
	cr_expect(eq(int, kvp_encode_request(&q, false, m, &size), KVP_FAULT_KEY));
	memset(q.key, 'k', 256);
	cr_expect(eq(int, kvp_encode_request(&q, false, m, &size), KVP_FAULT_KEY));
	q.key[255] = '\0';
	memset(q.value, 'v', 1024);
	cr_expect(eq(int, kvp_encode_request(&q, false, m, &size), KVP_FAULT_VALUE));
	q.value[1023] = '\0';
	cr_expect(eq(int, kvp_encode_request(&q, false, m, &size), 0));
	q.value[0] = '\xff';
	cr_expect(eq(int, kvp_encode_request(&q, false, m, &size), KVP_FAULT_VALUE));
}

/* Addresses. */

Test(kvp_wire, addresses_as_texts_are_read)
{
	_cleanup_free_ uint8_t *m = make_set_ip("192.0.2.7;2001:db8::7", "255.255.255.0;/64",
						"192.0.2.1", "192.0.2.2;2001:db8::2");
	struct kvp_request q;

	cr_assert(eq(int, decode(m, KVP_IP_MESSAGE_SIZE, &q), 0));
	cr_expect(q.operation == KVP_SET_IP);
	cr_expect(eq(str, q.ip.adapter, "{f8615163-df3e-46c5-913f-f2d2f965ed0e}"));
	cr_expect(eq(int, q.ip.family, 3));
	cr_expect(not(q.ip.dhcp));
	cr_assert(eq(sz, q.ip.n_addresses, 2));
	cr_expect(eq(int, q.ip.addresses[0].prefix, 24));
	cr_expect(eq(int, q.ip.addresses[1].prefix, 64));
	cr_expect(eq(int, memcmp(q.ip.addresses[0].address.bytes, "\xc0\0\2\7", 4), 0));
	cr_expect(eq(sz, q.ip.n_gateways, 1));
	cr_expect(eq(sz, q.ip.n_dns, 2));
}

Test(kvp_wire, addresses_that_are_none_are_refused)
{
	static const struct {
		const char *addresses, *subnets, *gateways, *dns;
	} rows[] = {
		{"192.0.2.7", "", "", ""},
		{"192.0.2.7", "255.255.255.0;255.0.0.0", "", ""},
		{"192.0.2.7", "255.0.255.0", "", ""},
		{"192.0.2.7", "/33", "", ""},
		{"192.0.2", "255.255.255.0", "", ""},
		{"192.0.2.7\nDNS=1.1.1.1", "255.255.255.0", "", ""},
		{"2001:db8::1", "/129", "", ""},
		{"2001:db8::1%eth0", "/64", "", ""},
		{"192.0.2.7", "255.255.255.0", "gateway", ""},
		{"192.0.2.7", "255.255.255.0", "", "192.0.2.1 192.0.2.2"},
		{"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001", "/64", "", ""},
	};
	struct kvp_request q;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ uint8_t *m = make_set_ip(rows[i].addresses, rows[i].subnets,
							rows[i].gateways, rows[i].dns);

		cr_expect(eq(int, decode(m, KVP_IP_MESSAGE_SIZE, &q), KVP_FAULT_ADDRESS), "row %zu", i);
	}
}

Test(kvp_wire, an_adapter_is_named_in_printable_ascii)
{
	static const char *const names[] = {"", "a b", "a\tb", "a\x7f"};
	struct kvp_request q;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		_cleanup_free_ uint8_t *m = make_set_ip("", "", "", "");

		(void)put_text(m + 2, names[i]);
		cr_expect(eq(int, decode(m, KVP_IP_MESSAGE_SIZE, &q), KVP_FAULT_ADDRESS), "%zu", i);
	}
}

/* 60 of each family, each with another prefix; gateways and servers. */
static void make_ip(struct kvp_ip_info *ip, size_t n)
{
	*ip = (struct kvp_ip_info){.adapter = "00:15:5D:01:02:03", .family = 3, .dhcp = true};
	for (size_t i = 0; i < 2 * n; i++) {
		struct kvp_ip_address *a = &ip->addresses[ip->n_addresses++];

		a->address.family = i < n ? KVP_FAMILY_IPV4 : KVP_FAMILY_IPV6;
		a->address.bytes[0] = i < n ? 10 : 0x20;
		a->address.bytes[1] = (uint8_t)i;
		a->address.bytes[3] = 1;
		a->prefix = (uint8_t)(i < n ? i % 33 : (2 * i) % 129);
		a->origin = i % 3;
	}
	for (size_t i = 0; i < 4; i++)
		ip->gateways[ip->n_gateways++] = ip->addresses[i * n / 2].address;
	for (size_t i = 0; i < 2 * n; i++)
		ip->dns[ip->n_dns++] = ip->addresses[i].address;
}

Test(kvp_wire, both_forms_of_addresses_bring_back_what_was_written)
{
	static struct kvp_ip_info ip;
	static struct kvp_request q, got;
	uint8_t m[KVP_IP_MESSAGE_SIZE];
	size_t size;

	for (int binary = 0; binary < 2; binary++) {
		make_ip(&ip, binary ? 60 : 20);
		q = (struct kvp_request){.operation = KVP_SET_IP, .ip = ip};
		cr_assert(eq(int, kvp_encode_request(&q, binary, m, &size), 0));
		cr_expect(eq(sz, size, KVP_IP_MESSAGE_SIZE));
		cr_assert(eq(int, kvp_decode_request(m, size, binary, &got), 0));
		if (!binary)
			for (size_t i = 0; i < ip.n_addresses; i++)
				ip.addresses[i].origin = 0;
		cr_expect(eq(int, memcmp(&got.ip, &ip, sizeof(ip)), 0), "binary %d", binary);
		kvp_encode_ip(m, size, binary, &ip);
		cr_assert(eq(int, kvp_decode_answer(m, size, KVP_GET_IP, binary, &got), 0));
		cr_expect(eq(int, memcmp(&got.ip, &ip, sizeof(ip)), 0), "binary %d", binary);
	}
}

Test(kvp_wire, the_binary_form_is_where_the_protocol_has_it)
{
	_cleanup_free_ uint8_t *m = make_message(KVP_IP_MESSAGE_SIZE, KVP_GET_IP, 1);
	static struct kvp_ip_info ip;

	make_ip(&ip, 2);
	kvp_encode_ip(m, KVP_IP_MESSAGE_SIZE, true, &ip);
	cr_expect(eq(u32, get_u32(m + 4), 2));   /* IPv4 addresses */
	cr_expect(eq(u32, get_u32(m + 8), 2));   /* IPv6 */
	cr_expect(eq(u32, get_u32(m + 12), 2));  /* gateways */
	cr_expect(eq(u32, get_u32(m + 16), 2));
	cr_expect(eq(u32, get_u32(m + 20), 2));  /* DNS */
	cr_expect(eq(u32, get_u32(m + 24), 2));
	expect_text(m + 28, "00:15:5D:01:02:03");
	cr_expect(m[284] == 3 && m[285] == 1);
	cr_expect(m[288] == 10 && m[288 + 4 + 1] == 1);      /* IPv4 */
	cr_expect(m[544] == 0x20 && m[544 + 16 + 1] == 3);   /* IPv6 */
	cr_expect(m[1568] == 0 && m[1572] == 0x80);          /* masks of /0 and /1 */
	cr_expect(eq(u32, get_u32(m + 1824), 4));            /* prefixes */
	cr_expect(m[2080] == 10 && m[2100] == 0x20);         /* gateways */
	cr_expect(m[2180] == 10 && m[2436] == 0x20);         /* DNS */
	cr_expect(m[3460] == 0 && m[3462] == 1 && m[3464] == 2 && m[3466] == 0); /* origins */
	cr_expect(eq(u8, m[3716], 0xee));
}

Test(kvp_wire, counts_beyond_the_arrays_are_refused)
{
	static const uint32_t most[] = {64, 64, 5, 5, 64, 64};
	static struct kvp_ip_info ip;
	struct kvp_request q;

	for (size_t i = 0; i < 6; i++) {
		for (int over = 0; over < 3; over++) {
			_cleanup_free_ uint8_t *m = make_message(KVP_IP_MESSAGE_SIZE, KVP_GET_IP, 1);

			make_ip(&ip, 2);
			kvp_encode_ip(m, KVP_IP_MESSAGE_SIZE, true, &ip);
			put_u32(m + 4 + 4 * i, over == 2 ? UINT32_MAX : most[i] + (uint32_t)over);
			cr_expect(eq(int, kvp_decode_request(m, KVP_IP_MESSAGE_SIZE, true, &q),
				     over ? KVP_FAULT_ADDRESS : 0), "count %zu", i);
		}
	}
}

/* A good message of each kind, whatever is done to it, is read inside of its bounds or refused. */
static void torture(uint8_t *take_message, size_t size, bool binary_ip)
{
	_cleanup_free_ uint8_t *m = take_message;
	struct kvp_request q;

	cr_assert(eq(int, kvp_decode_request(m, size, binary_ip, &q), 0));
	for (size_t n = 0; n < size; n++) {
		uint8_t *cut = malloc(n ? n : 1);

		memcpy(cut, m, n);
		if (kvp_decode_request(cut, n, binary_ip, &q) != KVP_FAULT_TRUNCATED)
			cr_fatal("%zu of %zu bytes are taken", n, size);
		free(cut);
	}
	for (size_t bit = 0; bit < 8 * size; bit++) {
		m[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (kvp_decode_request(m, size, binary_ip, &q) == 0 &&
		    (q.operation >= KVP_OPERATIONS || q.pool >= KVP_POOLS ||
		     strnlen(q.key, KVP_KEY_SIZE) == KVP_KEY_SIZE ||
		     strnlen(q.value, KVP_VALUE_SIZE) == KVP_VALUE_SIZE ||
		     (q.operation < KVP_ENUMERATE && !*q.key) ||
		     q.ip.n_addresses > KVP_IP_ADDRESSES_MAX || q.ip.n_gateways > KVP_IP_GATEWAYS_MAX ||
		     q.ip.n_dns > KVP_IP_DNS_MAX))
			cr_fatal("bit %zu", bit);
		m[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

Test(kvp_wire, any_bit_may_be_flipped_and_any_byte_be_missing)
{
	static struct kvp_ip_info ip;
	uint8_t *binary = make_message(KVP_IP_MESSAGE_SIZE, KVP_SET_IP, 1);

	torture(make_get("OSName"), KVP_MESSAGE_SIZE, false);
	torture(make_set("key", KVP_TYPE_TEXT, "value"), KVP_MESSAGE_SIZE, false);
	torture(make_delete("key"), KVP_MESSAGE_SIZE, false);
	torture(make_enumerate(1), KVP_MESSAGE_SIZE, false);
	torture(make_set_ip("192.0.2.7;2001:db8::7", "255.255.255.0;/64", "192.0.2.1", "192.0.2.2"),
		KVP_IP_MESSAGE_SIZE, false);
	make_ip(&ip, 2);
	kvp_encode_ip(binary, KVP_IP_MESSAGE_SIZE, true, &ip);
	torture(binary, KVP_IP_MESSAGE_SIZE, true);
}

Test(kvp_wire, an_answer_of_a_guest_may_have_any_bit_flipped_and_any_byte_missing)
{
	_cleanup_free_ uint8_t *list = make_enumerate(0), *get = make_get("k");
	uint8_t *const messages[] = {get, list};
	struct kvp_request q;

	kvp_encode_value(get, KVP_MESSAGE_SIZE, "v");
	kvp_encode_entry(list, KVP_MESSAGE_SIZE, "k", "v");
	for (int i = 0; i < 2; i++) {
		enum kvp_operation op = i ? KVP_ENUMERATE : KVP_GET;
		uint8_t *m = messages[i];

		for (size_t n = 0; n < KVP_MESSAGE_SIZE; n++)
			cr_assert(eq(int, kvp_decode_answer(m, n, op, false, &q), KVP_FAULT_TRUNCATED));
		for (size_t bit = 0; bit < 8 * KVP_MESSAGE_SIZE; bit++) {
			m[bit / 8] ^= (uint8_t)(1 << bit % 8);
			(void)!kvp_decode_answer(m, KVP_MESSAGE_SIZE, op, false, &q);
			m[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}
