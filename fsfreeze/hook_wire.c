/* SPDX-License-Identifier: MIT */

/*
 * Messages between hvguestd and a runner of hooks.
 *
 *     RUN     u32 type, u32 version, u32 ends_with_caller (0 or 1), u32 words of the command,
 *             u32 words of the environment; then all words, each with its NUL
 *     others  u32 type, u32 value
 *
 * Little-endian, as everything that base/bytes.h reads. Both ends are root's, but a runner that was
 * installed later may be of another version, so that is looked at, and nothing is believed about
 * lengths. The words are not copied: a hook is started from the datagram.
 */

#include "fsfreeze/hook_wire.h"

#include "base/bytes.h"

#include <string.h>

static size_t count(char *const words[])
{
	size_t n = 0;

	while (words[n])
		n++;
	return n;
}

static void put_words(struct bytes_writer *w, char *const words[])
{
	for (size_t i = 0; words[i]; i++)
		bytes_put(w, words[i], strlen(words[i]) + 1);
}

int hook_wire_put_run(void *buf, size_t size, char *const argv[], char *const envp[],
		      bool ends_with_caller, size_t *ret_len)
{
	size_t n_args = count(argv), n_env = count(envp);
	struct bytes_writer w;

	if (n_args > HOOK_WIRE_WORDS_MAX || n_env > HOOK_WIRE_WORDS_MAX)
		return HOOK_WIRE_TOO_LONG;
	bytes_writer_init(&w, buf, size);
	bytes_put_u32(&w, HOOK_WIRE_RUN);
	bytes_put_u32(&w, HOOK_WIRE_VERSION);
	bytes_put_u32(&w, ends_with_caller);
	bytes_put_u32(&w, (uint32_t)n_args);
	bytes_put_u32(&w, (uint32_t)n_env);
	put_words(&w, argv);
	put_words(&w, envp);
	if (!bytes_writer_ok(&w))
		return HOOK_WIRE_TOO_LONG;
	*ret_len = bytes_written(&w);
	return 0;
}

/* Takes @n words off the front of what is left; false if there are not so many. */
static bool take_words(char **next, size_t *left, char *words[], uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		size_t length = strnlen(*next, *left);

		if (length == *left)
			return false;
		words[i] = *next;
		*next += length + 1;
		*left -= length + 1;
	}
	words[n] = NULL;
	return true;
}

int hook_wire_get_run(void *data, size_t len, struct hook_wire_run *ret_run)
{
	uint32_t type, version, ends, n_args, n_env;
	struct hook_wire_run run;
	struct bytes_reader r;
	size_t left;
	char *next;

	bytes_reader_init(&r, data, len);
	type = bytes_get_u32(&r);
	version = bytes_get_u32(&r);
	ends = bytes_get_u32(&r);
	n_args = bytes_get_u32(&r);
	n_env = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r) || type != HOOK_WIRE_RUN || version != HOOK_WIRE_VERSION || ends > 1 ||
	    n_args == 0 || n_args > HOOK_WIRE_WORDS_MAX || n_env > HOOK_WIRE_WORDS_MAX)
		return HOOK_WIRE_MALFORMED;

	left = bytes_left(&r);
	next = (char *)data + (len - left);
	if (!take_words(&next, &left, run.argv, n_args) || !take_words(&next, &left, run.envp, n_env) ||
	    left > 0 || run.argv[0][0] != '/')
		return HOOK_WIRE_MALFORMED;
	run.ends_with_caller = ends;
	*ret_run = run;
	return 0;
}

void hook_wire_put(uint8_t ret_buf[HOOK_WIRE_WORD_SIZE], enum hook_wire_type type, uint32_t value)
{
	struct bytes_writer w;

	bytes_writer_init(&w, ret_buf, HOOK_WIRE_WORD_SIZE);
	bytes_put_u32(&w, type);
	bytes_put_u32(&w, value);
}

int hook_wire_get(const void *data, size_t len, enum hook_wire_type *ret_type, uint32_t *ret_value)
{
	/* By type. A process is never 0, nor 1: kill(2) means others by them. */
	static const struct {
		uint32_t least, most;
	} range[HOOK_WIRE_TYPES] = {
		[HOOK_WIRE_SIGNAL] = {1, 64},
		[HOOK_WIRE_STARTED] = {2, 1u << 22}, /* PID_MAX_LIMIT, Linux include/linux/threads.h */
		[HOOK_WIRE_NOT_STARTED] = {1, 4095}, /* MAX_ERRNO, Linux include/linux/err.h */
		[HOOK_WIRE_ENDED] = {0, 255},
	};
	uint32_t type, value;
	struct bytes_reader r;

	bytes_reader_init(&r, data, len);
	type = bytes_get_u32(&r);
	value = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r) || bytes_left(&r) > 0 || type >= HOOK_WIRE_TYPES ||
	    range[type].most == 0 || value < range[type].least || value > range[type].most)
		return HOOK_WIRE_MALFORMED;
	*ret_type = type;
	*ret_value = value;
	return 0;
}
