/* SPDX-License-Identifier: MIT */

/*
 * The keeper's messages and record.
 *
 * A message is one datagram: a fixed head and as many ranges as it says. It is received into a
 * buffer of the receiver's own, checked as a whole, and only then looked at. Who may connect is
 * decided by the socket's mode and the peer's user, so a malformed message is a mistake, and ends
 * the connection; it must not end the keeper.
 */

#include "balloon/keeper_proto.h"

#include <string.h>

size_t keeper_message_bytes(const struct keeper_message *message)
{
	return sizeof(*message) + message->n_ranges * sizeof(struct page_range);
}

int keeper_message_check(const struct keeper_packet *packet, size_t size, size_t n_fds)
{
	const struct keeper_message *m = &packet->message;

	if (size < sizeof(*m) || m->n_ranges > KEEPER_RANGES_MAX || size != keeper_message_bytes(m))
		return KEEPER_MALFORMED;
	if (m->type < KEEPER_RELEASE || m->type >= KEEPER_N_MESSAGES ||
	    m->source >= PAGES_N_SOURCES || m->flags & ~(uint32_t)KEEPER_FLAGS)
		return KEEPER_MALFORMED;
	if (m->fds >> KEEPER_N_FDS || (size_t)__builtin_popcount(m->fds) != n_fds)
		return KEEPER_MALFORMED;
	for (uint32_t i = 0; i < m->n_ranges; i++)
		if (packet->ranges[i].count > UINT64_MAX - packet->ranges[i].first)
			return KEEPER_MALFORMED;
	return 0;
}

void keeper_message_sort_fds(const struct keeper_message *message, const int *fds,
			     int ret_fds[KEEPER_N_FDS])
{
	for (int i = 0; i < KEEPER_N_FDS; i++)
		ret_fds[i] = message->fds & KEEPER_FD_BIT(i) ? *fds++ : -1;
}

void keeper_record_init(struct keeper_record *record, const char *boot_id, uint32_t pid)
{
	*record = (struct keeper_record){
		.magic = KEEPER_RECORD_MAGIC,
		.version = KEEPER_RECORD_VERSION,
		.pid = pid,
	};
	strncpy(record->boot_id, boot_id, sizeof(record->boot_id) - 1);
}

int keeper_record_check(const struct keeper_record *record, const char *boot_id)
{
	if (record->magic != KEEPER_RECORD_MAGIC || record->version != KEEPER_RECORD_VERSION ||
	    strnlen(record->boot_id, sizeof(record->boot_id)) == sizeof(record->boot_id) ||
	    strcmp(record->boot_id, boot_id) != 0)
		return KEEPER_RECORD_NONE;
	return 0;
}
