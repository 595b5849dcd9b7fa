/* SPDX-License-Identifier: MIT */

/*
 * services/heartbeat.c. Messages live in heap buffers of their exact size, so that a sanitizer sees
 * each byte read or written behind the end.
 */

#include "base/cleanup.h"
#include "services/heartbeat.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

/* A request with number 0x1122334455667788 and every other byte set. */
static uint8_t *make_request(size_t len)
{
	static const uint8_t number[] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
	uint8_t *message = malloc(len ? len : 1);

	cr_assert(message != NULL);
	memset(message, 0xee, len ? len : 1);
	memcpy(message, number, len < sizeof(number) ? len : sizeof(number));
	return message;
}

Test(heartbeat, the_answer_is_the_number_plus_one_whatever_the_length)
{
	static const size_t lengths[] = {8, 9, 12, 15, 16, 24, 40, 64};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		_cleanup_free_ uint8_t *message = make_request(lengths[i]);
		_cleanup_free_ uint8_t *expected = make_request(lengths[i]);
		struct heartbeat heartbeat;

		heartbeat_init(&heartbeat);
		heartbeat_set_application(&heartbeat, HEARTBEAT_APPLICATION_CRITICAL);
		cr_assert(eq(int, heartbeat_answer(&heartbeat, message, lengths[i], 5), 0));
		expected[0] = 0x89;
		if (lengths[i] >= 16)
			memcpy(expected + 8, (uint8_t[]){2, 0, 0, 0}, 4);
		cr_expect(eq(int, memcmp(message, expected, lengths[i]), 0), "%zu", lengths[i]);
		cr_expect(eq(u64, heartbeat.answered, 1));
		cr_expect(eq(u64, heartbeat.last_ns, 5));
	}
}

Test(heartbeat, a_message_without_a_number_is_malformed_and_left_alone)
{
	struct heartbeat heartbeat;

	heartbeat_init(&heartbeat);
	for (size_t len = 0; len < HEARTBEAT_NUMBER_SIZE; len++) {
		_cleanup_free_ uint8_t *message = make_request(len);
		_cleanup_free_ uint8_t *expected = make_request(len);

		cr_expect(eq(int, heartbeat_answer(&heartbeat, message, len, 0),
			     HEARTBEAT_MALFORMED));
		cr_expect(eq(int, memcmp(message, expected, len), 0));
	}
	cr_expect(eq(u64, heartbeat.malformed, HEARTBEAT_NUMBER_SIZE));
	cr_expect(eq(u64, heartbeat.answered, 0));
}

Test(heartbeat, any_bit_of_a_request_may_be_wrong_and_it_is_still_answered)
{
	for (size_t bit = 0; bit < 40 * 8; bit++) {
		_cleanup_free_ uint8_t *message = make_request(40);
		struct heartbeat heartbeat;
		uint64_t before, after;

		heartbeat_init(&heartbeat);
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		memcpy(&before, message, sizeof(before));
		cr_assert(eq(int, heartbeat_answer(&heartbeat, message, 40, 0), 0));
		memcpy(&after, message, sizeof(after));
		cr_expect(eq(u64, after, before + 1));
	}
}

Test(heartbeat, only_a_host_that_asks_for_it_is_told_of_backups_and_stalls)
{
	static const uint8_t told[] = {'H', 'V', 'G', '1', 2, 0, 0, 0, 0x39, 0x30, 0, 0, 0x41, 1, 0, 0};

	for (size_t len = 8; len <= 40; len++) {
		for (int asks = 0; asks < 2; asks++) {
			_cleanup_free_ uint8_t *message = make_request(len);
			_cleanup_free_ uint8_t *expected = make_request(len);
			struct heartbeat heartbeat;

			if (asks && len >= 16) {
				memcpy(message + 12, told, 4);
				memcpy(expected + 12, told, 4);
			}
			heartbeat_init(&heartbeat);
			heartbeat_set_hold(&heartbeat, HEARTBEAT_HOLD_FROZEN, 12345);
			heartbeat_set_stall(&heartbeat, 320);
			cr_assert(eq(int, heartbeat_answer(&heartbeat, message, len, 5), 0));
			expected[0] = 0x89;
			if (len >= 16)
				memset(expected + 8, 0, 4);
			if (asks && len >= 24)
				memcpy(expected + 12, told, len >= 28 ? 16 : 12);
			cr_expect(eq(int, memcmp(message, expected, len), 0), "%zu", len);
		}
	}
}

Test(heartbeat, the_number_wraps_around)
{
	uint8_t message[8];
	struct heartbeat heartbeat;

	memset(message, 0xff, sizeof(message));
	heartbeat_init(&heartbeat);
	cr_assert(eq(int, heartbeat_answer(&heartbeat, message, sizeof(message), 0), 0));
	for (size_t i = 0; i < sizeof(message); i++)
		cr_expect(eq(int, message[i], 0));
}

Test(heartbeat, states_have_names)
{
	static const char *const names[] = {"unknown", "healthy", "critical", "stopped"};

	for (int i = 0; i < 4; i++)
		cr_expect(strcmp(heartbeat_application_name((enum heartbeat_application)i),
				 names[i]) == 0);
	cr_expect(strcmp(heartbeat_application_name((enum heartbeat_application)77),
			 "invalid") == 0);
}
