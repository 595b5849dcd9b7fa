/* SPDX-License-Identifier: MIT */

/*
 * Messages of the VSS device. What the kernel passes on has the layout of the service's own
 * messages, cut to a header and one u32; an answer has its status where the operation was. The echo
 * of the registration is told by its size: four bytes, and nothing else is as short.
 * Sources: Linux drivers/hv/hv_snapshot.c, include/uapi/linux/hyperv.h.
 */

#include "vss/vss_device.h"

#include "base/bytes.h"
#include "vss/vss_wire.h"

#include <assert.h>
#include <string.h>

enum {
	ECHO_SIZE = 4,
};

static_assert((int)VSS_DEVICE_MESSAGE_SIZE == (int)VSS_MESSAGE_MIN_SIZE, "struct hv_vss_msg");

static void put_u32(uint8_t message[VSS_DEVICE_MESSAGE_SIZE], uint32_t value)
{
	struct bytes_writer w;

	memset(message, 0, VSS_DEVICE_MESSAGE_SIZE);
	bytes_writer_init(&w, message, VSS_DEVICE_MESSAGE_SIZE);
	bytes_put_u32(&w, value);
}

void vss_device_register(uint8_t ret_message[VSS_DEVICE_MESSAGE_SIZE])
{
	put_u32(ret_message, VSS_OP_REGISTER1);
}

enum vss_device_event vss_device_event(const void *message, size_t size)
{
	struct bytes_reader r;

	bytes_reader_init(&r, message, size);
	if (size == ECHO_SIZE && bytes_get_u32(&r) == VSS_OP_REGISTER1)
		return VSS_DEVICE_REGISTERED;
	return size == VSS_DEVICE_MESSAGE_SIZE ? VSS_DEVICE_REQUEST : VSS_DEVICE_UNKNOWN;
}

void vss_device_answer(uint8_t ret_message[VSS_DEVICE_MESSAGE_SIZE], uint32_t status)
{
	assert((status & 0xff) != VSS_OP_REGISTER && (status & 0xff) != VSS_OP_REGISTER1);
	put_u32(ret_message, status);
}
