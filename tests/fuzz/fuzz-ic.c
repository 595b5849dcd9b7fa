/* SPDX-License-Identifier: MIT */

/*
 * Both ends of an integration service, under packets in any order.
 *
 * Input: u8 service (even: heartbeat, odd: VSS), then steps: u8 kind, u16 length, and that many
 * bytes, which are a packet for the kinds 0 and 1. Kinds modulo 5: 0 the guest receives it, 1 the
 * host receives it, 2 the guest answers its open request, 3 the host negotiates and the guest
 * answers, 4 the host sends the bytes as a request and the guest answers.
 *
 * Oracles: a message lies inside of its packet; answers carry the flags of answers and fit into
 * what hosts accept; the two ends, left to themselves, always agree.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "vmbus/ic.h"

enum {
	FLAGS_OFFSET = IC_PIPE_HEADER_SIZE + 17,
	REQUEST_MAX = IC_PAYLOAD_MAX - IC_HEADERS_SIZE,
};

struct pair {
	struct ic_guest guest;
	struct ic_host host;
};

static void require_answer(const struct ic_guest *guest)
{
	fuzz_require(!guest->open);
	fuzz_require(guest->size >= IC_HEADERS_SIZE && guest->size <= sizeof(guest->buf));
	fuzz_require(guest->buf[FLAGS_OFFSET] == (IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE));
}

/* Overwrites the whole of the open request's message and answers it. */
static void guest_answers(struct ic_guest *guest)
{
	uint8_t *message;
	size_t size;

	message = ic_guest_data(guest, &size);
	fuzz_require(message >= guest->buf && message + size <= guest->buf + guest->size);
	memset(message, 0xa5, size);
	ic_guest_answer(guest, IC_S_OK);
	require_answer(guest);
}

static void guest_receives(struct ic_guest *guest, const uint8_t *packet, size_t size)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(packet, size);
	int r = ic_guest_receive(guest, copy, size, 9);

	if (r == 0)
		fuzz_require(guest->open && guest->negotiated);
	else if (r == IC_ANSWER)
		require_answer(guest);
	else
		fuzz_require(r == IC_MALFORMED || r == IC_UNEXPECTED);
}

static int host_receives(struct ic_host *host, const uint8_t *packet, size_t size)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(packet, size);
	struct ic_response response;
	int r = ic_host_receive(host, copy, size, &response);

	if (r == 0)
		fuzz_require(response.data >= copy && response.data + response.size <= copy + size);
	else
		fuzz_require(r >= IC_MALFORMED && r <= IC_REFUSED);
	return r;
}

static void negotiates(struct pair *pair)
{
	uint8_t packet[1024];
	size_t size;

	fuzz_require(ic_host_negotiate(&pair->host, packet, sizeof(packet), &size) == 0);
	fuzz_require(ic_guest_receive(&pair->guest, packet, size, 1) == IC_ANSWER);
	fuzz_require(pair->guest.negotiated);
	fuzz_require(host_receives(&pair->host, pair->guest.buf, pair->guest.size) == IC_NEGOTIATED);
}

static void requests(struct pair *pair, const uint8_t *message, size_t message_size)
{
	_cleanup_free_ uint8_t *packet = malloc(IC_PAYLOAD_MAX);
	size_t size;

	if (!pair->host.negotiated)
		return;
	if (message_size > REQUEST_MAX)
		message_size = REQUEST_MAX;
	fuzz_require(ic_host_request(&pair->host, message, message_size, packet, IC_PAYLOAD_MAX,
				     &size) == 0);
	if (ic_guest_receive(&pair->guest, packet, size, 2) == 0)
		guest_answers(&pair->guest);
	fuzz_require(host_receives(&pair->host, pair->guest.buf, pair->guest.size) == 0);
}

static void step(struct pair *pair, uint8_t kind, const uint8_t *data, size_t size)
{
	if (kind == 0)
		guest_receives(&pair->guest, data, size);
	else if (kind == 1)
		(void)host_receives(&pair->host, data, size);
	else if (kind == 2 && pair->guest.open)
		guest_answers(&pair->guest);
	else if (kind == 3)
		negotiates(pair);
	else if (kind == 4)
		requests(pair, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ struct pair *pair = malloc(sizeof(*pair));
	const struct ic_service *service;
	struct bytes_reader r;

	fuzz_require(pair);
	bytes_reader_init(&r, data, size);
	service = bytes_get_u8(&r) % 2 ? &ic_service_vss : &ic_service_heartbeat;
	ic_guest_init(&pair->guest, service);
	ic_host_init(&pair->host, service);

	while (bytes_left(&r) > 0) {
		uint8_t kind = bytes_get_u8(&r) % 5;
		size_t n = bytes_get_u16(&r);

		if (n > bytes_left(&r))
			n = bytes_left(&r);
		step(pair, kind, bytes_get_direct(&r, n), n);
	}
	return 0;
}
