/* SPDX-License-Identifier: MIT */

/*
 * Shutdown, host's end.
 *
 *            ask              answer
 *     any ---------> ASKED ------------> ACCEPTED or REFUSED
 *                      |   channel closed
 *                      +---------------> LOST
 *                      |   a minute
 *                      +---------------> SILENT
 *
 * Accepted means that the guest will go down, not that it has: that is seen when its channels close.
 * A late answer to a request that was given up is still an answer.
 */

#include "host/shutdown_host.h"

#include "base/bytes.h"

#include <string.h>

#define PATIENCE_NS UINT64_C(60000000000)

void shutdown_host_init(struct shutdown_host *h)
{
	*h = (struct shutdown_host){.state = SHUTDOWN_HOST_IDLE};
}

static bool is_known(uint32_t flags, uint16_t major, uint16_t minor)
{
	unsigned version = major * 100u + minor;

	if ((flags & SHUTDOWN_FLAG_RESTART) && version < 301)
		return false;
	return !(flags & SHUTDOWN_FLAG_HIBERNATE) || version >= 302;
}

int shutdown_host_ask(struct shutdown_host *h, uint32_t flags, const char *text, uint16_t major,
		      uint16_t minor, uint64_t now_ns, uint8_t ret_message[SHUTDOWN_MESSAGE_SIZE])
{
	size_t length = strnlen(text, SHUTDOWN_TEXT_SIZE - 1);
	struct bytes_writer out;

	if (h->state == SHUTDOWN_HOST_ASKED)
		return SHUTDOWN_HOST_RUNNING;
	if (!is_known(flags, major, minor))
		return SHUTDOWN_HOST_UNKNOWN;

	bytes_writer_init(&out, ret_message, SHUTDOWN_MESSAGE_SIZE);
	bytes_put_u32(&out, SHUTDOWN_REASON_PLANNED);
	bytes_put_u32(&out, 0);
	bytes_put_u32(&out, flags);
	bytes_put(&out, text, length);
	bytes_put_zeros(&out, SHUTDOWN_TEXT_SIZE - length);
	h->state = SHUTDOWN_HOST_ASKED;
	h->flags = flags;
	h->asked_ns = now_ns;
	return 0;
}

void shutdown_host_receive(struct shutdown_host *h, uint32_t status)
{
	if (h->state == SHUTDOWN_HOST_ASKED || h->state == SHUTDOWN_HOST_SILENT)
		h->state = status == 0 ? SHUTDOWN_HOST_ACCEPTED : SHUTDOWN_HOST_REFUSED;
}

void shutdown_host_close(struct shutdown_host *h)
{
	if (h->state == SHUTDOWN_HOST_ASKED)
		h->state = SHUTDOWN_HOST_LOST;
}

void shutdown_host_tick(struct shutdown_host *h, uint64_t now_ns)
{
	if (h->state == SHUTDOWN_HOST_ASKED && now_ns - h->asked_ns >= PATIENCE_NS)
		h->state = SHUTDOWN_HOST_SILENT;
}

uint64_t shutdown_host_deadline_ns(const struct shutdown_host *h)
{
	return h->state == SHUTDOWN_HOST_ASKED ? h->asked_ns + PATIENCE_NS : UINT64_MAX;
}

const char *shutdown_host_state_name(enum shutdown_host_state state)
{
	switch (state) {
	case SHUTDOWN_HOST_IDLE:
		return "idle";
	case SHUTDOWN_HOST_ASKED:
		return "asked";
	case SHUTDOWN_HOST_ACCEPTED:
		return "accepted";
	case SHUTDOWN_HOST_REFUSED:
		return "refused";
	case SHUTDOWN_HOST_SILENT:
		return "silent";
	case SHUTDOWN_HOST_LOST:
		return "lost";
	}
	return "invalid";
}
