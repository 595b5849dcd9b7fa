/* SPDX-License-Identifier: MIT */

/*
 * Both ends of the shutdown service, with any requests.
 *
 * Input: one byte whose lowest bit says whether the machine can hibernate; then steps of u8 kind, u8
 * argument, u8 length, and that many bytes. Kinds modulo 5: 0 the bytes are the head of a request to the
 * guest, zeros follow up to its length; 1 they are the whole of one; 2 the host asks, for the flags of
 * the argument with the bytes as its text, and the guest answers, which the host hears unless the argument
 * has bit 3; 3 by the argument modulo 4 the host hears yes, loses its channel, hears no, or the argument in
 * seconds pass; 4 what was asked for is over. The two upper bits of the argument choose the version.
 *
 * Oracles: what is accepted has no flag that the version does not have, and is not hibernation where
 * that is impossible; its text is UTF-8 without control characters and ends; what is not accepted changes nothing but counts;
 * the same twice is done once. A guest understands all that a host of ours asks.
 */

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/utf16.h"
#include "host/shutdown_host.h"
#include "services/shutdown.h"
#include "tests/fuzz/fuzz.h"

enum {
	N_KINDS = 5,
	ALL_FLAGS = SHUTDOWN_FLAG_FORCE | SHUTDOWN_FLAG_RESTART | SHUTDOWN_FLAG_HIBERNATE,
	NO_ANSWER = 8,
};

#define FAILURE UINT32_C(0x80004005)

struct version {
	uint16_t major, minor;
	uint32_t flags; /* that it has */
};

static const struct version versions[] = {
	{1, 0, SHUTDOWN_FLAG_FORCE},
	{3, 0, SHUTDOWN_FLAG_FORCE},
	{3, 1, SHUTDOWN_FLAG_FORCE | SHUTDOWN_FLAG_RESTART},
	{3, 2, ALL_FLAGS},
};

struct world {
	struct shutdown guest;
	struct shutdown_host host;
	uint64_t now_ns;
};

static uint32_t flags_of(const uint8_t *message, size_t size)
{
	struct bytes_reader in;

	bytes_reader_init(&in, message, size);
	bytes_skip(&in, 8);
	return bytes_get_u32(&in);
}

static void check_accepted(const struct world *w, uint32_t flags, const struct version *v)
{
	const struct shutdown_request *last = &w->guest.last;
	size_t length = strnlen(last->text, sizeof(last->text)), size;
	uint8_t units[2 * (SHUTDOWN_TEXT_SIZE + 1)];

	fuzz_require((flags & ~v->flags) == 0);
	fuzz_require(last->force == ((flags & SHUTDOWN_FLAG_FORCE) != 0));
	fuzz_require((last->kind == SHUTDOWN_REBOOT) == ((flags & SHUTDOWN_FLAG_RESTART) != 0));
	fuzz_require((last->kind == SHUTDOWN_HIBERNATE) == ((flags & SHUTDOWN_FLAG_HIBERNATE) != 0));
	fuzz_require(last->kind != SHUTDOWN_HIBERNATE || w->guest.can_hibernate);
	fuzz_require(length < sizeof(last->text));
	for (size_t i = 0; i < length; i++)
		fuzz_require((unsigned char)last->text[i] >= ' ' && last->text[i] != 0x7f);
	fuzz_require(utf8_to_utf16(last->text, 0, units, sizeof(units), &size) == 0);
}

static int guest_receives(struct world *w, const uint8_t *message, size_t size, const struct version *v)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(message, size);
	const struct shutdown before = w->guest;
	uint32_t flags = flags_of(message, size);
	int r = shutdown_receive(&w->guest, copy, size, v->major, v->minor);

	fuzz_require(w->guest.requests == before.requests + (r == 0));
	fuzz_require(w->guest.malformed == before.malformed + (r == SHUTDOWN_MALFORMED));
	fuzz_require(w->guest.refused == before.refused + (r == SHUTDOWN_UNKNOWN || r == SHUTDOWN_IMPOSSIBLE));
	fuzz_require((r == SHUTDOWN_MALFORMED) == (size < SHUTDOWN_MESSAGE_SIZE));
	if (r == 0) {
		fuzz_require(w->guest.is_running && w->guest.has_last);
		check_accepted(w, flags, v);
		return r;
	}
	fuzz_require(strcmp(shutdown_condition_text(r), "none") != 0);
	fuzz_require(memcmp(&w->guest.last, &before.last, sizeof(before.last)) == 0);
	fuzz_require(w->guest.is_running == before.is_running);
	fuzz_require(r != SHUTDOWN_REPEATED || (before.is_running &&
						before.last.force >= ((flags & SHUTDOWN_FLAG_FORCE) != 0)));
	return r;
}

static void host_asks(struct world *w, uint8_t argument, const uint8_t *text, size_t size,
		      const struct version *v)
{
	uint8_t message[SHUTDOWN_MESSAGE_SIZE];
	char string[UINT8_MAX + 1] = "";
	enum shutdown_host_state before = w->host.state;
	uint32_t flags = argument & ALL_FLAGS;
	int r;

	memcpy(string, text, size);
	r = shutdown_host_ask(&w->host, flags, string, v->major, v->minor, w->now_ns, message);
	fuzz_require((r == SHUTDOWN_HOST_RUNNING) == (before == SHUTDOWN_HOST_ASKED));
	if (r) {
		fuzz_require(w->host.state == before);
		return;
	}
	fuzz_require(w->host.state == SHUTDOWN_HOST_ASKED);
	r = guest_receives(w, message, sizeof(message), v);
	/* Both at once is the asker's mistake. */
	if (flags & SHUTDOWN_FLAG_RESTART && flags & SHUTDOWN_FLAG_HIBERNATE)
		fuzz_require(r == SHUTDOWN_UNKNOWN);
	else
		fuzz_require(r == 0 || r == SHUTDOWN_REPEATED || r == SHUTDOWN_IMPOSSIBLE);
	if (argument & NO_ANSWER)
		return;
	shutdown_host_receive(&w->host, r == 0 || r == SHUTDOWN_REPEATED ? 0 : FAILURE);
	fuzz_require(w->host.state == (r == 0 || r == SHUTDOWN_REPEATED ? SHUTDOWN_HOST_ACCEPTED
									: SHUTDOWN_HOST_REFUSED));
}

static void host_goes_on(struct world *w, uint8_t argument)
{
	switch (argument & 3) {
	case 0:
		shutdown_host_receive(&w->host, 0);
		break;
	case 1:
		shutdown_host_close(&w->host);
		break;
	case 2:
		shutdown_host_receive(&w->host, FAILURE);
		break;
	case 3:
		w->now_ns += argument * UINT64_C(1000000000);
		break;
	}
	shutdown_host_tick(&w->host, w->now_ns);
	fuzz_require(shutdown_host_deadline_ns(&w->host) > w->now_ns);
}

static void step(struct world *w, uint8_t kind, uint8_t argument, const uint8_t *data, size_t size)
{
	const struct version *v = &versions[argument >> 6];
	uint8_t message[SHUTDOWN_MESSAGE_SIZE] = {0};

	switch (kind % N_KINDS) {
	case 0:
		memcpy(message, data, size);
		(void)guest_receives(w, message, sizeof(message), v);
		break;
	case 1:
		(void)guest_receives(w, data, size, v);
		break;
	case 2:
		host_asks(w, argument, data, size, v);
		break;
	case 3:
		host_goes_on(w, argument);
		break;
	case 4:
		shutdown_ended(&w->guest);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {.now_ns = 1};
	struct bytes_reader in;

	bytes_reader_init(&in, data, size);
	shutdown_init(&w.guest, bytes_get_u8(&in) & 1);
	shutdown_host_init(&w.host);
	while (bytes_left(&in) > 0) {
		uint8_t kind = bytes_get_u8(&in), argument = bytes_get_u8(&in);
		size_t len = bytes_get_u8(&in);
		const uint8_t *bytes = bytes_get_direct(&in, len);

		if (!bytes_reader_ok(&in))
			break;
		step(&w, kind, argument, bytes, len);
	}
	return 0;
}
