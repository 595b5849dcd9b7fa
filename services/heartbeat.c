/* SPDX-License-Identifier: MIT */

/*
 * The heartbeat, guest's end.
 *
 * The host sends a number every two seconds and wants it back plus one. The guest keeps no counter
 * of its own: each request is answered by itself, so a backlog after a pause is answered in full,
 * and a host that counts oddly is its own affair.
 *
 * The message may be shorter than Linux's structure. The application state is written only into
 * messages long enough to have it, and the length is never changed. What a backup does is told only to
 * a host that asks for it by a number in a field that every other host leaves 0.
 */

#include "services/heartbeat.h"
#include "base/bytes.h"

void heartbeat_init(struct heartbeat *heartbeat)
{
	*heartbeat = (struct heartbeat){.application = HEARTBEAT_APPLICATION_UNKNOWN,
					.hold_left_ms = UINT32_MAX,
					.stall_centipercent = HEARTBEAT_STALL_UNKNOWN};
}

void heartbeat_set_application(struct heartbeat *heartbeat, enum heartbeat_application state)
{
	heartbeat->application = state;
}

void heartbeat_set_hold(struct heartbeat *heartbeat, enum heartbeat_hold hold, uint32_t left_ms)
{
	heartbeat->hold = hold;
	heartbeat->hold_left_ms = left_ms;
}

/* Whether the host wants to know of backups. */
void heartbeat_set_stall(struct heartbeat *heartbeat, uint32_t centipercent)
{
	heartbeat->stall_centipercent = centipercent;
}

static bool asks_for_hold(const uint8_t *message, size_t len)
{
	struct bytes_reader in;

	bytes_reader_init(&in, message, len);
	bytes_skip(&in, HEARTBEAT_MAGIC_OFFSET);
	return len >= HEARTBEAT_HOLD_SIZE && bytes_get_u32(&in) == HEARTBEAT_MAGIC;
}

int heartbeat_answer(struct heartbeat *heartbeat, uint8_t *message, size_t len, uint64_t now_ns)
{
	struct bytes_reader in;
	struct bytes_writer out;
	uint64_t number;

	bytes_reader_init(&in, message, len);
	number = bytes_get_u64(&in);
	if (!bytes_reader_ok(&in)) {
		heartbeat->malformed++;
		return HEARTBEAT_MALFORMED;
	}

	bytes_writer_init(&out, message, len);
	bytes_put_u64(&out, number + 1);
	if (len >= HEARTBEAT_STATE_SIZE)
		bytes_put_u32(&out, heartbeat->application);
	if (asks_for_hold(message, len)) {
		bytes_put_u32(&out, HEARTBEAT_MAGIC);
		bytes_put_u32(&out, heartbeat->hold);
		bytes_put_u32(&out, heartbeat->hold_left_ms);
		if (len >= HEARTBEAT_STALL_SIZE && heartbeat->stall_centipercent <= HEARTBEAT_STALL_MAX)
			bytes_put_u32(&out, heartbeat->stall_centipercent + 1);
	}
	heartbeat->answered++;
	heartbeat->last_ns = now_ns;
	return 0;
}

const char *heartbeat_application_name(enum heartbeat_application state)
{
	switch (state) {
	case HEARTBEAT_APPLICATION_UNKNOWN:
		return "unknown";
	case HEARTBEAT_APPLICATION_HEALTHY:
		return "healthy";
	case HEARTBEAT_APPLICATION_CRITICAL:
		return "critical";
	case HEARTBEAT_APPLICATION_STOPPED:
		return "stopped";
	}
	return "invalid";
}

const char *heartbeat_hold_name(enum heartbeat_hold hold)
{
	switch (hold) {
	case HEARTBEAT_HOLD_NONE:
		return "none";
	case HEARTBEAT_HOLD_PREPARING:
		return "preparing";
	case HEARTBEAT_HOLD_FROZEN:
		return "frozen";
	case HEARTBEAT_HOLD_THAWING:
		return "thawing";
	}
	return "invalid";
}
