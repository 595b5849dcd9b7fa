/* SPDX-License-Identifier: MIT */

/*
 * A control message of the shm transport, from whoever connects to the socket.
 *
 * Input: the message. Oracles: only its exact size is accepted; a name has an end and a type a
 * meaning; what was decoded survives being sent on.
 */

#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"
#include "vmbus/shm_wire.h"

#include <stdbool.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(data, size);
	uint8_t wire[SHM_MESSAGE_SIZE], again[SHM_MESSAGE_SIZE];
	struct shm_message message;

	if (shm_decode(copy, size, &message) != 0)
		return 0;
	fuzz_require(size == SHM_MESSAGE_SIZE);
	fuzz_require(message.type >= SHM_HELLO && message.type <= SHM_RELEASE);
	fuzz_require(strnlen(message.name, SHM_NAME_SIZE) < SHM_NAME_SIZE);
	fuzz_require(!shm_name_is_valid(message.name) || !strchr(message.name, '/'));
	fuzz_require(shm_status_text(message.status) != NULL);

	shm_encode(&message, wire);
	fuzz_require(shm_decode(wire, sizeof(wire), &message) == 0);
	shm_encode(&message, again);
	fuzz_require(memcmp(wire, again, sizeof(wire)) == 0);
	return 0;
}
