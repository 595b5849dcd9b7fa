/* SPDX-License-Identifier: MIT */

/*
 * Shutdown, guest's end.
 *
 * The host asks once and waits for an answer, which has to come before anything is done: once the
 * machine goes down nobody is left to give it. A request that repeats what is under way succeeds
 * and does nothing, so that a host that asks again (after a restore, say) is not told of a failure.
 * One that wants something else meanwhile, or the same by force, takes the place of the first.
 *
 * Bits that the agreed version does not have must be zero. Linux refuses what it does not know, and
 * so does this: a machine that powers off because of a misread flag is worse than one that does not.
 *
 * Nobody has said in which encoding the text is. It is taken for UTF-8, or for UTF-16 if its first byte is
 * followed by a NUL, as it is with most texts of hosts. It is shown in logs, so there are no control
 * characters in what is made of it.
 */

#include "services/shutdown.h"

#include "base/bytes.h"
#include "base/utf16.h"

#include <string.h>

static const struct {
	const char *name;
	uint32_t flag;
} kinds[] = {
	[SHUTDOWN_POWER_OFF] = {"power off", 0},
	[SHUTDOWN_REBOOT] = {"reboot", SHUTDOWN_FLAG_RESTART},
	[SHUTDOWN_HIBERNATE] = {"hibernate", SHUTDOWN_FLAG_HIBERNATE},
};

void shutdown_init(struct shutdown *shutdown, bool can_hibernate)
{
	*shutdown = (struct shutdown){.can_hibernate = can_hibernate};
}

/* The flags that a service version has. */
static uint32_t known_flags(uint16_t major, uint16_t minor)
{
	uint32_t flags = SHUTDOWN_FLAG_FORCE;

	if (major > 3 || (major == 3 && minor >= 1))
		flags |= SHUTDOWN_FLAG_RESTART;
	if (major > 3 || (major == 3 && minor >= 2))
		flags |= SHUTDOWN_FLAG_HIBERNATE;
	return flags;
}

/* Those of ASCII, and U+0080 to U+009F. */
static void replace_controls(char *text)
{
	unsigned char *p = (unsigned char *)text;

	for (; *p; p++) {
		if (p[0] == 0xc2 && p[1] < 0xa0)
			p[0] = p[1] = '?';
		else if (*p < ' ' || *p == 0x7f)
			*p = '?';
	}
}

static void copy_text(char target[SHUTDOWN_TEXT_SIZE + 1], const uint8_t source[SHUTDOWN_TEXT_SIZE])
{
	const unsigned int flags = UTF16_REPLACE | UTF16_CUT;
	uint8_t units[2 * (SHUTDOWN_TEXT_SIZE + 1)];
	size_t size = SHUTDOWN_TEXT_SIZE;
	char text[SHUTDOWN_TEXT_SIZE + 1];

	if (source[0] == 0 || source[1] != 0) {
		memcpy(text, source, SHUTDOWN_TEXT_SIZE);
		text[SHUTDOWN_TEXT_SIZE] = '\0';
		(void)!utf8_to_utf16(text, flags, units, sizeof(units), &size);
		source = units;
	}
	(void)!utf16_to_utf8(source, size, flags, target, SHUTDOWN_TEXT_SIZE + 1);
	replace_controls(target);
}

static int decode(const void *message, size_t len, uint32_t known, struct shutdown_request *ret_request)
{
	struct shutdown_request request = {0};
	struct bytes_reader in;
	const uint8_t *text;
	uint32_t flags;

	bytes_reader_init(&in, message, len);
	request.reason = bytes_get_u32(&in);
	request.timeout_seconds = bytes_get_u32(&in);
	flags = bytes_get_u32(&in);
	text = bytes_get_direct(&in, SHUTDOWN_TEXT_SIZE);
	if (!bytes_reader_ok(&in))
		return SHUTDOWN_MALFORMED;
	if (flags & ~known)
		return SHUTDOWN_UNKNOWN;

	request.force = flags & SHUTDOWN_FLAG_FORCE;
	flags &= ~(uint32_t)SHUTDOWN_FLAG_FORCE;
	while (request.kind < SHUTDOWN_N_KINDS && kinds[request.kind].flag != flags)
		request.kind++;
	if (request.kind == SHUTDOWN_N_KINDS)
		return SHUTDOWN_UNKNOWN;
	copy_text(request.text, text);
	*ret_request = request;
	return 0;
}

static int accept_request(struct shutdown *s, const struct shutdown_request *request)
{
	if (request->kind == SHUTDOWN_HIBERNATE && !s->can_hibernate)
		return SHUTDOWN_IMPOSSIBLE;
	if (s->is_running && s->last.kind == request->kind && s->last.force >= request->force)
		return SHUTDOWN_REPEATED;
	s->last = *request;
	s->has_last = true;
	s->is_running = true;
	s->requests++;
	return 0;
}

int shutdown_receive(struct shutdown *shutdown, const void *message, size_t len, uint16_t major,
		     uint16_t minor)
{
	struct shutdown_request request;
	int r = decode(message, len, known_flags(major, minor), &request);

	if (r == SHUTDOWN_MALFORMED) {
		shutdown->malformed++;
		return r;
	}
	if (r == 0)
		r = accept_request(shutdown, &request);
	if (r != 0 && r != SHUTDOWN_REPEATED)
		shutdown->refused++;
	return r;
}

void shutdown_ended(struct shutdown *shutdown)
{
	shutdown->is_running = false;
}

const char *shutdown_kind_name(enum shutdown_kind kind)
{
	return kinds[kind].name;
}

const char *shutdown_condition_text(int r)
{
	switch (r) {
	case SHUTDOWN_MALFORMED:
		return "the request is too short";
	case SHUTDOWN_UNKNOWN:
		return "the request has flags that are not defined";
	case SHUTDOWN_IMPOSSIBLE:
		return "this machine cannot hibernate: that takes a kernel that does, swap, and no VMBus "
		       "device that is bound to uio";
	case SHUTDOWN_REPEATED:
		return "the same is under way already";
	}
	return "none";
}
