/* SPDX-License-Identifier: MIT */

/*
 * vmbus/ic.c: the documented bytes, the choice of versions, and every way in which a message can
 * be too short or damaged.
 */

#include "vmbus/ic.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static const struct ic_version kvp_frameworks[] = {{3, 0}, {1, 0}};
static const struct ic_version kvp_versions[] = {{4, 0}, {3, 0}, {1, 0}};
static const struct ic_service kvp = {
	.name = "kvp",
	.type = IC_KVP,
	.frameworks = kvp_frameworks,
	.n_frameworks = 2,
	.versions = kvp_versions,
	.n_versions = 3,
};

/* Frameworks 1.0 and 3.0, KVP versions 3.0, 4.0 and 5.0: docs/PROTOCOL-vmbus.md, section 7. */
static const uint8_t offer[] = {
	0x01, 0, 0, 0, 0x30, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1c, 0, 0, 0, 0, 0, 0, 3, 0, 0,
	2, 0, 3, 0, 0, 0, 0, 0,
	1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0};
static const uint8_t acceptance[] = {
	0x01, 0, 0, 0, 0x24, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 5, 0, 0,
	1, 0, 1, 0, 0, 0, 0, 0,
	3, 0, 0, 0, 4, 0, 0, 0};

static struct ic_guest guest;
static struct ic_host host;

static void negotiate(void)
{
	struct ic_response response;
	uint8_t buf[256];
	size_t size;

	ic_guest_init(&guest, &ic_service_heartbeat);
	ic_host_init(&host, &ic_service_heartbeat);
	cr_assert(eq(int, ic_host_negotiate(&host, buf, sizeof(buf), &size), 0));
	cr_assert(eq(int, ic_guest_receive(&guest, buf, size, 0), IC_ANSWER));
	cr_assert(eq(int, ic_host_receive(&host, guest.buf, guest.size, &response), IC_NEGOTIATED));
}

Test(ic, the_documented_offer_gets_the_documented_answer)
{
	ic_guest_init(&guest, &kvp);
	cr_assert(eq(int, ic_guest_receive(&guest, offer, sizeof(offer), 9), IC_ANSWER));
	cr_expect(guest.negotiated);
	cr_expect(eq(u16, guest.version.major, 4));
	cr_expect(eq(u64, guest.trans_id, 9));
	cr_assert(eq(sz, guest.size, sizeof(acceptance)));
	cr_expect(eq(int, memcmp(guest.buf, acceptance, sizeof(acceptance)), 0));
}

Test(ic, an_offer_without_a_common_version_is_answered_with_no_versions)
{
	struct ic_response response;
	uint8_t newer[sizeof(offer)];

	memcpy(newer, offer, sizeof(newer));
	newer[44] = 6;
	newer[48] = 7;
	newer[52] = 8;
	ic_guest_init(&guest, &kvp);
	cr_assert(eq(int, ic_guest_receive(&guest, newer, sizeof(newer), 0), IC_ANSWER));
	cr_expect(not(guest.negotiated));
	cr_expect(eq(u8, guest.buf[28], 0));
	cr_expect(eq(u8, guest.buf[30], 0));

	ic_host_init(&host, &kvp);
	host.waiting = true;
	host.expected = IC_NEGOTIATE;
	cr_expect(eq(int, ic_host_receive(&host, guest.buf, guest.size, &response), IC_REFUSED));
	cr_expect(not(host.negotiated));
}

Test(ic, counts_beyond_the_message_are_malformed)
{
	static const uint16_t rows[][2] = {{6, 0}, {0, 6}, {3, 3}, {101, 0}, {0xffff, 0xffff}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bad[sizeof(offer)];

		ic_guest_init(&guest, &kvp);
		memcpy(bad, offer, sizeof(bad));
		memcpy(bad + 28, rows[i], 4);
		cr_expect(eq(int, ic_guest_receive(&guest, bad, sizeof(bad), 0), IC_MALFORMED));
		cr_expect(eq(u64, guest.stats.malformed, 1));
	}
}

Test(ic, a_request_and_its_answer_have_the_same_length)
{
	uint8_t message[40] = {7, 0, 0, 0, 0, 0, 0, 0}, buf[128];
	struct ic_response response;
	size_t size, data_size;
	uint8_t *data;

	negotiate();
	cr_assert(eq(int, ic_host_request(&host, message, sizeof(message), buf, sizeof(buf), &size),
		     0));
	cr_expect(eq(sz, size, 28 + 40));
	cr_assert(eq(int, ic_guest_receive(&guest, buf, size + 4, 3), 0), "padding is ignored");
	data = ic_guest_data(&guest, &data_size);
	cr_assert(eq(sz, data_size, 40));
	data[0]++;
	ic_guest_answer(&guest, IC_E_NOT_SUPPORTED);
	cr_expect(eq(sz, guest.size, size + 4));

	cr_assert(eq(int, ic_host_receive(&host, guest.buf, guest.size, &response), 0));
	cr_expect(eq(u32, response.status, IC_E_NOT_SUPPORTED));
	cr_expect(eq(sz, response.size, 40));
	cr_expect(eq(u8, response.data[0], 8));
	cr_expect(eq(int, ic_host_receive(&host, guest.buf, guest.size, &response), IC_UNEXPECTED),
		  "an answer counts once");
}

Test(ic, a_request_before_negotiation_or_of_another_type_fails)
{
	uint8_t message[16] = {0}, buf[128];
	struct ic_response response;
	size_t size;

	negotiate();
	cr_assert(eq(int, ic_host_request(&host, message, 16, buf, sizeof(buf), &size), 0));
	ic_guest_init(&guest, &ic_service_heartbeat);
	cr_expect(eq(int, ic_guest_receive(&guest, buf, size, 0), IC_ANSWER));
	cr_assert(eq(int, ic_host_receive(&host, guest.buf, guest.size, &response), 0));
	cr_expect(eq(u32, response.status, IC_E_FAIL));

	negotiate();
	cr_assert(eq(int, ic_host_request(&host, message, 16, buf, sizeof(buf), &size), 0));
	buf[12] = IC_SHUTDOWN;
	cr_expect(eq(int, ic_guest_receive(&guest, buf, size, 0), IC_ANSWER));
	cr_expect(eq(u64, guest.stats.unknown, 1));
}

Test(ic, a_negotiation_takes_an_open_request_away)
{
	uint8_t message[16] = {0}, buf[128];
	size_t size;

	negotiate();
	cr_assert(eq(int, ic_host_request(&host, message, 16, buf, sizeof(buf), &size), 0));
	cr_assert(eq(int, ic_guest_receive(&guest, buf, size, 0), 0));
	cr_expect(guest.open);
	cr_assert(eq(int, ic_host_negotiate(&host, buf, sizeof(buf), &size), 0));
	cr_assert(eq(int, ic_guest_receive(&guest, buf, size, 0), IC_ANSWER));
	cr_expect(not(guest.open));
}

Test(ic, a_response_sent_to_the_guest_is_not_a_request)
{
	uint8_t message[16] = {0}, buf[128];
	size_t size;

	negotiate();
	cr_assert(eq(int, ic_host_request(&host, message, 16, buf, sizeof(buf), &size), 0));
	buf[25] = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
	cr_expect(eq(int, ic_guest_receive(&guest, buf, size, 0), IC_UNEXPECTED));
	cr_expect(eq(u64, guest.stats.unexpected, 1));
}

Test(ic, a_request_that_does_not_fit_the_buffer_is_not_half_written)
{
	uint8_t message[64] = {0}, buf[64];
	size_t size = 1234;

	negotiate();
	cr_expect(eq(int, ic_host_request(&host, message, 64, buf, sizeof(buf), &size), -ENOBUFS));
	cr_expect(eq(sz, size, 1234));
	cr_expect(not(host.waiting));
}

/* Feeds @size bytes at their exact allocation to both ends. */
static void feed(const uint8_t *bytes, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);
	struct ic_response response;

	memcpy(exact, bytes, size);
	(void)!ic_guest_receive(&guest, exact, size, 0);
	if (guest.open) {
		size_t n, sum = 0;
		uint8_t *data = ic_guest_data(&guest, &n);

		for (size_t i = 0; i < n; i++)
			sum += data[i];
		cr_expect(sum <= 255 * n);
		ic_guest_answer(&guest, IC_S_OK);
	}
	host.waiting = true;
	(void)!ic_host_receive(&host, exact, size, &response);
	free(exact);
}

Test(ic, every_truncation_and_every_flipped_bit_is_survived)
{
	uint8_t message[40] = {1}, request[128], changed[128];
	size_t size;

	negotiate();
	cr_assert(eq(int, ic_host_request(&host, message, 40, request, sizeof(request), &size), 0));
	for (size_t n = 0; n <= size; n++)
		feed(request, n);
	for (size_t n = 0; n <= sizeof(offer); n++)
		feed(offer, n);
	for (size_t bit = 0; bit < size * 8; bit++) {
		memcpy(changed, request, size);
		changed[bit / 8] ^= 1u << bit % 8;
		feed(changed, size);
	}
	for (size_t bit = 0; bit < sizeof(offer) * 8; bit++) {
		memcpy(changed, offer, sizeof(offer));
		changed[bit / 8] ^= 1u << bit % 8;
		feed(changed, sizeof(offer));
	}
}

Test(ic, a_truncated_request_is_malformed_at_every_length)
{
	uint8_t message[40] = {1}, request[128];
	size_t size;

	negotiate();
	cr_assert(eq(int, ic_host_request(&host, message, 40, request, sizeof(request), &size), 0));
	for (size_t n = 0; n < size; n++)
		cr_expect(eq(int, ic_guest_receive(&guest, request, n, 0), IC_MALFORMED));
	cr_expect(eq(u64, guest.stats.malformed, size));
}
