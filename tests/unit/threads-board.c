/* SPDX-License-Identifier: MIT */

/*
 * host/board.c with readers in threads of their own, while guests come, change and go. It prints TAP
 * by itself, as the others do that have threads.
 *
 * Every word of a guest says the same number, so a reader that saw half of a change would know; and
 * the number tells whether it belongs to the name.
 */

#include "host/board.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	GUESTS = 200,
	ROUNDS = 3000,
	READERS = 2,
};

static struct board *board;
static _Atomic bool over;
static _Atomic unsigned long walks, seen, wrong;

/* A guest of this number, changed that often. */
static struct board_guest make_guest(uint64_t number, uint64_t round)
{
	uint64_t words[sizeof(struct board_guest) / sizeof(uint64_t)];
	struct board_guest g;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = number << 32 | round;
	memcpy(&g, words, sizeof(g));
	return g;
}

static void check(void *user, const char *name, const struct board_guest *g)
{
	uint64_t words[sizeof(*g) / sizeof(uint64_t)];
	bool ok;

	memcpy(words, g, sizeof(words));
	ok = words[0] >> 32 == strtoul(name + 1, NULL, 10);
	for (size_t i = 1; i < sizeof(words) / sizeof(words[0]); i++)
		ok &= words[i] == words[0];
	wrong += !ok;
	seen++;
	(void)user;
}

static void *read_on(void *arg)
{
	struct board_guest g;

	while (!over) {
		board_each(board, check, NULL);
		if (board_get(board, "g7", &g))
			check(NULL, "g7", &g);
		walks++;
	}
	return arg;
}

/* Each round changes all, takes one of ten out and puts it in again. False without memory. */
static bool write_rounds(void)
{
	struct board_guest g;
	char name[32];

	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < GUESTS; i++) {
			snprintf(name, sizeof(name), "g%u", i);
			g = make_guest(i, round);
			if (i % 10 == round % 10)
				board_remove(board, i);
			if (board_put(board, i, name, &g))
				return false;
		}
	}
	return true;
}

static unsigned int count;

static void count_one(void *user, const char *name, const struct board_guest *g)
{
	(void)user;
	(void)name;
	(void)g;
	count++;
}

static void say(bool ok, int number, const char *what)
{
	printf("%sok %d - %s\n", ok ? "" : "not ", number, what);
}

int main(void)
{
	pthread_t readers[READERS];
	struct board_guest g;
	bool ok = board_new(&board) == 0;

	puts("1..4");
	for (int i = 0; i < READERS; i++)
		ok &= pthread_create(&readers[i], NULL, read_on, NULL) == 0;
	ok &= write_rounds();
	over = true;
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	printf("# %lu walks, %lu guests seen\n", walks, seen);
	say(ok && walks > 0 && seen > 0, 1, "guests come, change and go while others read");
	say(wrong == 0, 2, "no reader sees half of a change, or another's");

	board_each(board, count_one, NULL);
	say(count == GUESTS, 3, "all that are there are found");
	board_remove(board, 7);
	say(!board_get(board, "g7", &g) && board_get(board, "g8", &g), 4, "one that is gone is not");
	board = board_free(board);
	return wrong > 0 || !ok;
}
