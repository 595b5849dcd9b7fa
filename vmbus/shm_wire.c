/* SPDX-License-Identifier: MIT */

/*
 * The control messages of the shm transport.
 *
 * One fixed layout for every message keeps both ends simple: there is one encoder, one decoder,
 * and no length but the datagram's to check. The protocol is this project's own; its verbs are
 * those of VMBus (offer, open, close, rescind), so that the services above cannot tell the
 * transports apart.
 */

#include "vmbus/shm_wire.h"

#include "base/bytes.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

void shm_encode(const struct shm_message *m, uint8_t ret_wire[SHM_MESSAGE_SIZE])
{
	struct bytes_writer w;

	bytes_writer_init(&w, ret_wire, SHM_MESSAGE_SIZE);
	bytes_put_u32(&w, m->type);
	bytes_put_u32(&w, m->channel_id);
	bytes_put_u32(&w, m->version);
	bytes_put_u32(&w, m->status);
	bytes_put_u32(&w, m->ring_size);
	bytes_put_u32(&w, 0);
	bytes_put_u64(&w, m->memory_pages);
	bytes_put(&w, m->name, sizeof(m->name));
	bytes_put(&w, m->class_id.bytes, sizeof(m->class_id.bytes));
	bytes_put(&w, m->instance_id.bytes, sizeof(m->instance_id.bytes));
	assert(bytes_writer_ok(&w) && bytes_written(&w) == SHM_MESSAGE_SIZE);
}

int shm_decode(const void *wire, size_t size, struct shm_message *ret_message)
{
	struct shm_message m;
	struct bytes_reader r;

	if (size != SHM_MESSAGE_SIZE)
		return SHM_MALFORMED;

	bytes_reader_init(&r, wire, size);
	m.type = bytes_get_u32(&r);
	m.channel_id = bytes_get_u32(&r);
	m.version = bytes_get_u32(&r);
	m.status = bytes_get_u32(&r);
	m.ring_size = bytes_get_u32(&r);
	bytes_skip(&r, 4);
	m.memory_pages = bytes_get_u64(&r);
	memcpy(m.name, bytes_get_direct(&r, sizeof(m.name)), sizeof(m.name));
	m.name[sizeof(m.name) - 1] = '\0';
	memcpy(m.class_id.bytes, bytes_get_direct(&r, 16), 16);
	memcpy(m.instance_id.bytes, bytes_get_direct(&r, 16), 16);
	assert(bytes_reader_ok(&r));
	if (m.type < SHM_HELLO || m.type > SHM_RELEASE)
		return SHM_MALFORMED;

	*ret_message = m;
	return 0;
}

bool shm_name_is_valid(const char *name)
{
	size_t n = strnlen(name, SHM_NAME_SIZE);

	if (n == 0 || n >= SHM_NAME_SIZE || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

const char *shm_status_text(uint32_t status)
{
	static const char *const texts[SHM_N_STATUSES] = {
		[SHM_OK] = "ok",
		[SHM_BAD_VERSION] = "the two sides speak different versions of the lab protocol",
		[SHM_BAD_NAME] = "the guest's name is not valid (letters, digits, '.', '_', '-')",
		[SHM_NAME_TAKEN] = "a guest of that name is connected already",
		[SHM_NO_SUCH_CHANNEL] = "there is no such channel",
		[SHM_ALREADY_OPEN] = "the channel is open already",
		[SHM_BAD_RING_SIZE] = "the ring size is not between 8 KiB and 4 MiB in whole pages",
		[SHM_NO_MEMORY] = "the host's own memory does not suffice",
		[SHM_NO_ROOM] = "the host's budget has no room for this guest, even if all others had their "
				"minimum: lower its startup memory, or raise --host-memory there",
		[SHM_NO_ROOM_NOW] = "the host's budget has no room for this guest yet: others are asked to give",
		[SHM_BAD_LIMITS] = "the memory limits that the host has for this guest make no sense: its log "
				   "says why",
	};

	return status < SHM_N_STATUSES ? texts[status] : "unknown status";
}
