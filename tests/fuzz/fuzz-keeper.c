/* SPDX-License-Identifier: MIT */

/*
 * The keeper's messages, and the ledger that another process wrote.
 *
 * Input: u8 what. Even: u8 number of descriptors, and the rest is a message; odd: the rest is the
 * beginning of a ledger's chunk, the remainder of which is zero. Oracles: what is accepted has
 * ranges that end, as many descriptors as it names, and units that lie in its place.
 */

#include "tests/fuzz/fuzz.h"

#include "balloon/keeper_proto.h"

static void check_message(size_t n_fds, const uint8_t *data, size_t size)
{
	struct keeper_packet *packet = calloc(1, sizeof(*packet));
	int fds[KEEPER_N_FDS] = {0}, sorted[KEEPER_N_FDS];
	size_t named = 0;

	fuzz_require(packet);
	memcpy(packet, data, size < sizeof(*packet) ? size : sizeof(*packet));
	if (keeper_message_check(packet, size, n_fds) == 0) {
		fuzz_require(size == keeper_message_bytes(&packet->message));
		fuzz_require(packet->message.n_ranges <= KEEPER_RANGES_MAX);
		fuzz_require(n_fds <= KEEPER_N_FDS);
		keeper_message_sort_fds(&packet->message, fds, sorted);
		for (int i = 0; i < KEEPER_N_FDS; i++)
			named += sorted[i] == 0;
		fuzz_require(named == n_fds);
		for (uint32_t i = 0; i < packet->message.n_ranges; i++)
			fuzz_require(packet->ranges[i].first + packet->ranges[i].count >=
				     packet->ranges[i].first);
	}
	free(packet);
}

static void check_chunk(const uint8_t *data, size_t size)
{
	struct ledger_chunk *chunk = calloc(1, sizeof(*chunk));
	uint32_t step;

	fuzz_require(chunk);
	memcpy(chunk, data, size < sizeof(*chunk) ? size : sizeof(*chunk));
	if (ledger_check(chunk) == 0 && atomic_load(&chunk->state) == LEDGER_HELD) {
		step = ledger_unit_pages(chunk->source);
		fuzz_require(chunk->n_units * step <= PAGES_SLICE);
		for (uint32_t unit = 0; unit < chunk->n_units; unit++)
			if (ledger_unit_is_back(chunk, unit))
				fuzz_require(ledger_mark(chunk, unit * step, step) == 0);
	}
	free(chunk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] % 2 == 0)
		check_message(data[1], data + 2, size - 2);
	else
		check_chunk(data + 1, size - 1);
	return 0;
}
