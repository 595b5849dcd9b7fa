/* SPDX-License-Identifier: MIT */

/*
 * vss/vss_device.c: messages of the kernel's VSS device.
 */

#include "vmbus/wire.h"
#include "vss/vss_device.h"
#include "vss/vss_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static const struct {
	const char *what;
	size_t size;
	uint8_t bytes[VSS_DEVICE_MESSAGE_SIZE + 1];
	enum vss_device_event event;
} rows[] = {
	{"the echo of the registration", 4, {129}, VSS_DEVICE_REGISTERED},
	{"another number of four bytes", 4, {128}, VSS_DEVICE_UNKNOWN},
	{"a larger number that ends as the echo", 4, {129, 1}, VSS_DEVICE_UNKNOWN},
	{"a freeze", 12, {VSS_OP_FREEZE}, VSS_DEVICE_REQUEST},
	{"an operation nobody knows", 12, {200}, VSS_DEVICE_REQUEST},
	{"a registration of full length is no echo", 12, {129}, VSS_DEVICE_REQUEST},
	{"nothing", 0, {0}, VSS_DEVICE_UNKNOWN},
	{"too short", 11, {VSS_OP_FREEZE}, VSS_DEVICE_UNKNOWN},
	{"too long", 13, {VSS_OP_FREEZE}, VSS_DEVICE_UNKNOWN},
};

Test(vss_device, a_message_is_told_by_its_size)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert(eq(int, vss_device_event(rows[i].bytes, rows[i].size), rows[i].event), "%s",
			  rows[i].what);
}

Test(vss_device, the_registration_is_the_one_that_has_an_echo)
{
	static const uint8_t wanted[VSS_DEVICE_MESSAGE_SIZE] = {129};
	uint8_t message[VSS_DEVICE_MESSAGE_SIZE];

	memset(message, 0xff, sizeof(message));
	vss_device_register(message);
	cr_assert(eq(int, memcmp(message, wanted, sizeof(wanted)), 0));
}

Test(vss_device, an_answer_has_its_status_in_place_of_the_operation)
{
	static const uint8_t fail[VSS_DEVICE_MESSAGE_SIZE] = {0x05, 0x40, 0x00, 0x80};
	static const uint8_t ok[VSS_DEVICE_MESSAGE_SIZE] = {0};
	uint8_t message[VSS_DEVICE_MESSAGE_SIZE];

	memset(message, 0xff, sizeof(message));
	vss_device_answer(message, IC_E_FAIL);
	cr_assert(eq(int, memcmp(message, fail, sizeof(fail)), 0));
	vss_device_answer(message, IC_S_OK);
	cr_assert(eq(int, memcmp(message, ok, sizeof(ok)), 0));
}
