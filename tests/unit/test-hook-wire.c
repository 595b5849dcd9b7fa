/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/hook_wire.c: there and back, and each good message cut and changed at every place.
 */

#include "fsfreeze/hook_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static char *const argv[] = {(char[]){"/etc/hook"}, (char[]){"freeze"}, (char[]){""}, NULL};
static char *const envp[] = {(char[]){"HOME=/"}, (char[]){"LANG=C.UTF-8"}, NULL};
static char *const nothing[] = {NULL};

static size_t put(void *buf, size_t size)
{
	size_t len = 0;

	cr_assert(eq(int, hook_wire_put_run(buf, size, argv, envp, true, &len), 0));
	return len;
}

/* A copy on the heap of exactly its size, so that a sanitizer sees what reads behind it. */
static int get(const void *data, size_t len, struct hook_wire_run *ret_run)
{
	void *copy = malloc(len ?: 1);
	int r;

	cr_assert(ne(ptr, copy, NULL));
	memcpy(copy, data, len);
	r = hook_wire_get_run(copy, len, ret_run);
	if (r == 0) {
		for (size_t i = 0; ret_run->argv[i]; i++)
			cr_assert(lt(sz, strlen(ret_run->argv[i]), len));
		for (size_t i = 0; ret_run->envp[i]; i++)
			cr_assert(lt(sz, strlen(ret_run->envp[i]), len));
		cr_assert(eq(int, ret_run->argv[0][0], '/'));
	}
	free(copy);
	return r;
}

Test(hook_wire, a_run_comes_out_as_it_was_put_in)
{
	struct hook_wire_run run;
	char buf[256];
	size_t len = put(buf, sizeof(buf));

	cr_assert(eq(int, hook_wire_get_run(buf, len, &run), 0));
	cr_assert(run.ends_with_caller);
	for (size_t i = 0; i < 3; i++)
		cr_expect(eq(str, run.argv[i], argv[i]));
	for (size_t i = 0; i < 2; i++)
		cr_expect(eq(str, run.envp[i], envp[i]));
	cr_expect(eq(ptr, run.argv[3], NULL));
	cr_expect(eq(ptr, run.envp[2], NULL));

	cr_assert(eq(int, hook_wire_put_run(buf, sizeof(buf), argv, nothing, false, &len), 0));
	cr_assert(eq(int, hook_wire_get_run(buf, len, &run), 0));
	cr_expect(not(run.ends_with_caller));
	cr_expect(eq(ptr, run.envp[0], NULL));
}

Test(hook_wire, what_has_no_room_is_not_put)
{
	char *many[HOOK_WIRE_WORDS_MAX + 2] = {NULL};
	char buf[256];
	size_t whole = put(buf, sizeof(buf)), len;

	for (size_t size = 0; size < whole; size++)
		cr_assert(eq(int, hook_wire_put_run(buf, size, argv, envp, true, &len), HOOK_WIRE_TOO_LONG));
	for (size_t i = 0; i <= HOOK_WIRE_WORDS_MAX; i++)
		many[i] = argv[0];
	cr_expect(eq(int, hook_wire_put_run(buf, sizeof(buf), many, envp, true, &len), HOOK_WIRE_TOO_LONG));
	cr_expect(eq(int, hook_wire_put_run(buf, sizeof(buf), argv, many, true, &len), HOOK_WIRE_TOO_LONG));
}

Test(hook_wire, a_run_that_is_cut_or_longer_is_refused)
{
	struct hook_wire_run run;
	char buf[256] = {0};
	size_t whole = put(buf, sizeof(buf) - 1);

	for (size_t len = 0; len < whole; len++)
		cr_assert(eq(int, get(buf, len, &run), HOOK_WIRE_MALFORMED), "%zu bytes", len);
	buf[whole] = '\0';
	cr_assert(eq(int, get(buf, whole + 1, &run), HOOK_WIRE_MALFORMED));
}

Test(hook_wire, a_run_with_any_bit_or_byte_changed_is_refused_or_has_whole_words)
{
	struct hook_wire_run run;
	char buf[256];
	size_t whole = put(buf, sizeof(buf));

	for (size_t i = 0; i < whole; i++) {
		for (int change = 1; change < 256; change++) {
			int r;

			buf[i] = (char)(buf[i] ^ change);
			r = get(buf, whole, &run);
			buf[i] = (char)(buf[i] ^ change);
			/* Of the head only the flag can be another one. */
			cr_assert(r == HOOK_WIRE_MALFORMED || (i == 8 && change == 1) || i >= 20,
				  "byte %zu, change %02x", i, (unsigned)change);
		}
	}
}

Test(hook_wire, a_command_is_a_path_from_the_root)
{
	char *const relative[] = {(char[]){"hook"}, NULL};
	struct hook_wire_run run;
	char buf[64];
	size_t len;

	cr_assert(eq(int, hook_wire_put_run(buf, sizeof(buf), relative, nothing, true, &len), 0));
	cr_expect(eq(int, hook_wire_get_run(buf, len, &run), HOOK_WIRE_MALFORMED));
	cr_assert(eq(int, hook_wire_put_run(buf, sizeof(buf), nothing, nothing, true, &len), 0));
	cr_expect(eq(int, hook_wire_get_run(buf, len, &run), HOOK_WIRE_MALFORMED));
}

Test(hook_wire, other_messages_have_the_values_that_they_can_have)
{
	static const struct {
		enum hook_wire_type type;
		uint32_t value;
		int wanted;
	} rows[] = {
		{HOOK_WIRE_SIGNAL, 0, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_SIGNAL, 9, 0},
		{HOOK_WIRE_SIGNAL, 65, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_STARTED, 0, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_STARTED, 1, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_STARTED, 4194304, 0},
		{HOOK_WIRE_STARTED, 0xffffffff, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_NOT_STARTED, 0, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_NOT_STARTED, 2, 0},
		{HOOK_WIRE_NOT_STARTED, 4096, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_ENDED, 0, 0},
		{HOOK_WIRE_ENDED, 255, 0},
		{HOOK_WIRE_ENDED, 256, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_RUN, 1, HOOK_WIRE_MALFORMED},
		{0, 1, HOOK_WIRE_MALFORMED},
		{HOOK_WIRE_TYPES, 1, HOOK_WIRE_MALFORMED},
	};
	uint8_t buf[HOOK_WIRE_WORD_SIZE + 1] = {0};
	enum hook_wire_type type;
	uint32_t value;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		hook_wire_put(buf, rows[i].type, rows[i].value);
		cr_expect(eq(int, hook_wire_get(buf, HOOK_WIRE_WORD_SIZE, &type, &value), rows[i].wanted),
			  "row %zu", i);
		if (rows[i].wanted == 0)
			cr_expect(type == rows[i].type && value == rows[i].value, "row %zu", i);
	}
	hook_wire_put(buf, HOOK_WIRE_ENDED, 0);
	for (size_t len = 0; len < HOOK_WIRE_WORD_SIZE; len++)
		cr_expect(eq(int, hook_wire_get(buf, len, &type, &value), HOOK_WIRE_MALFORMED));
	cr_expect(eq(int, hook_wire_get(buf, HOOK_WIRE_WORD_SIZE + 1, &type, &value), HOOK_WIRE_MALFORMED));
}
