/* SPDX-License-Identifier: MIT */

/*
 * The host's end of dynamic memory, under a guest that says anything at any time.
 *
 * Input: steps of u8 kind, u8 argument, u16 length, and that many bytes. Kinds modulo 8: 0 the
 * bytes are received; 1 `length` milliseconds pass; 2 up to 16 actions are done; 3 and 4 `argument`
 * pages are asked for, and given back; 5 the channel closes; 6 it opens; 7 the fault number
 * `argument` is done, or if there is none memory is to be added.
 *
 * Oracles: all messages are well-formed, but those that are wrong on purpose; each operation that was accepted ends once; the host never
 * gives back more than it has; nothing is left of a guest that has gone.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "host/dynmem_host.h"

enum {
	N_KINDS = 8,
	ACTIONS_PER_STEP = 16,
	RANGES_OF_HOST = 64,
	RANGES_PER_MESSAGE = 4,
};

#define NS_PER_MS UINT64_C(1000000)

struct session {
	struct dynmem_host *host;
	uint64_t now_ns;
	uint64_t n_accepted; /* operations */
	uint64_t n_ended;
	bool is_open;
};

static void on_send(const struct session *s, const struct dynmem_message *message)
{
	struct dynmem_host_status status;
	struct dynmem_ranges ranges;
	struct dynmem_frame frame;

	fuzz_require(message->size <= DYNMEM_MESSAGE_MAX);
	dynmem_host_get_status(s->host, &status);
	if (status.operation.kind == DYNMEM_HOST_FAULT)
		return;
	fuzz_require(dynmem_decode_frame(message->bytes, message->size, &frame) == 0);
	fuzz_require(frame.body_size + DYNMEM_HEADER_SIZE == message->size);
	if (frame.type == DYNMEM_UNBALLOON_REQUEST) {
		fuzz_require(dynmem_decode_unballoon_request(&frame, &ranges) == 0);
		fuzz_require(ranges.n == ranges.n_claimed && ranges.n <= RANGES_PER_MESSAGE);
	}
}

static void act(struct session *s)
{
	struct dynmem_host_action action;

	for (int i = 0; i < ACTIONS_PER_STEP && dynmem_host_next_action(s->host, &action) == 0; i++) {
		switch (action.type) {
		case DYNMEM_HOST_ACTION_SEND:
			on_send(s, action.message);
			break;
		case DYNMEM_HOST_ACTION_ENDED:
			fuzz_require(++s->n_ended <= s->n_accepted);
			break;
		case DYNMEM_HOST_ACTION_READY:
		case DYNMEM_HOST_ACTION_OVERDUE:
			break;
		}
	}
}

static void request(struct session *s, enum dynmem_host_operation_kind kind, uint64_t pages)
{
	uint64_t has = dynmem_host_ballooned(s->host)->pages;
	struct dynmem_host_status status;
	int r = dynmem_host_request(s->host, kind, pages, s->now_ns);

	fuzz_require(r >= 0);
	if (r > 0)
		return;
	s->n_accepted++;
	dynmem_host_get_status(s->host, &status);
	fuzz_require(status.operation.kind == kind && status.operation.asked_pages > 0);
	if (kind == DYNMEM_HOST_UNBALLOON)
		fuzz_require(status.operation.asked_pages <= has);
}

/* Does something wrong on purpose, or asks for memory to be added. */
static void inject(struct session *s, uint8_t argument)
{
	int r;

	if (argument == DYNMEM_FAULT_NONE || argument >= DYNMEM_FAULTS) {
		request(s, DYNMEM_HOST_HOT_ADD, argument * 256);
		return;
	}
	r = dynmem_host_inject(s->host, argument, s->now_ns);
	fuzz_require(r >= 0);
	s->n_accepted += r == 0 && !dynmem_fault_is_of_request(argument);
}

static void receive(struct session *s, const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	int r = dynmem_host_receive(s->host, copy, size, s->now_ns);

	fuzz_require(r == 0 || r == DYNMEM_HOST_MALFORMED || r == DYNMEM_HOST_UNEXPECTED ||
		     r == DYNMEM_HOST_VIOLATION);
	free(copy);
}

static void close_channel(struct session *s)
{
	dynmem_host_close(s->host, s->now_ns);
	s->is_open = false;
	fuzz_require(dynmem_host_ballooned(s->host)->pages == 0);
	fuzz_require(dynmem_host_deadline_ns(s->host) == UINT64_MAX);
}

static void step(struct session *s, uint8_t kind, uint8_t argument, const uint8_t *data,
		 size_t size)
{
	struct dynmem_host_status status;

	if (kind == 0 && s->is_open) {
		receive(s, data, size);
	} else if (kind == 1) {
		s->now_ns += size * NS_PER_MS;
		dynmem_host_tick(s->host, s->now_ns);
	} else if (kind == 2) {
		act(s);
	} else if (kind == 3) {
		request(s, DYNMEM_HOST_BALLOON, argument);
	} else if (kind == 4) {
		request(s, DYNMEM_HOST_UNBALLOON, argument);
	} else if (kind == 5) {
		close_channel(s);
	} else if (kind == 6 && !s->is_open) {
		dynmem_host_open(s->host);
		s->is_open = true;
	} else if (kind == 7) {
		inject(s, argument);
	}

	dynmem_host_get_status(s->host, &status);
	fuzz_require(status.ballooned_pages == dynmem_host_ballooned(s->host)->pages);
	fuzz_require(s->is_open || status.state == DYNMEM_HOST_STATE_CLOSED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session s = {0};
	struct dynmem_host_config config;
	struct bytes_reader r;

	dynmem_host_config_init(&config);
	config.ranges_max = RANGES_OF_HOST;
	config.window = (struct page_range){0x100000, 1 << 20};
	config.ranges_per_message = RANGES_PER_MESSAGE;
	fuzz_require(dynmem_host_new(&config, &s.host) == 0);

	bytes_reader_init(&r, data, size);
	while (bytes_left(&r) > 0) {
		uint8_t kind = bytes_get_u8(&r) % N_KINDS;
		uint8_t argument = bytes_get_u8(&r);
		size_t n = bytes_get_u16(&r);

		if (kind == 1) {
			step(&s, kind, argument, NULL, n);
			continue;
		}
		if (n > bytes_left(&r))
			n = bytes_left(&r);
		step(&s, kind, argument, bytes_get_direct(&r, n), n);
	}

	close_channel(&s);
	act(&s);
	dynmem_host_free(s.host);
	return 0;
}
