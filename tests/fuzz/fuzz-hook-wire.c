/* SPDX-License-Identifier: MIT */

/*
 * What is said over the connection to a runner of hooks. Both ends are root's, and both check.
 *
 * Input: one datagram, given to both decoders.
 *
 * Oracle: what can be decoded gives the same bytes when it is encoded.
 */

#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"
#include "fsfreeze/hook_wire.h"

#include <string.h>

static void try_run(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *copy = malloc(size), *again = malloc(size);
	struct hook_wire_run run;
	size_t len;

	if (!copy || !again)
		abort();
	memcpy(copy, data, size);
	if (hook_wire_get_run(copy, size, &run))
		return;
	fuzz_require(hook_wire_put_run(again, size, run.argv, run.envp, run.ends_with_caller, &len) == 0);
	fuzz_require(len == size && !memcmp(again, data, size));
}

static void try_other(const uint8_t *data, size_t size)
{
	uint8_t again[HOOK_WIRE_WORD_SIZE];
	enum hook_wire_type type;
	uint32_t value;

	if (hook_wire_get(data, size, &type, &value))
		return;
	hook_wire_put(again, type, value);
	fuzz_require(size == sizeof(again) && !memcmp(again, data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > HOOK_WIRE_RUN_MAX)
		return 0;
	try_run(data, size);
	try_other(data, size);
	return 0;
}
