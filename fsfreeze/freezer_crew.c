/* SPDX-License-Identifier: MIT */

/*
 * The freezer's threads.
 *
 * They exist before anything is frozen, because making one later would need memory. Each has a
 * stack of the smallest size there is, of which it touches the part that it will use, so that one
 * thread costs two pages. They are woken by futex; which piece of work is whose, the callers settle
 * among themselves by compare-and-swap on the pieces. So a member that hangs in the kernel keeps
 * the piece that it has, and nobody from the others.
 */

#include "fsfreeze/freezer_crew.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef FREEZER_STACK_BYTES
#define FREEZER_STACK_BYTES 1 /* as small as the system allows; sanitizers need more */
#endif

enum {
	TOUCH_BYTES = 3 * 1024, /* more than the deepest call of a member takes */
};

void crew_wait_word(_Atomic uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
	const struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long)(timeout_ns % 1000000000u),
	};

	(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, timeout_ns ? &timeout : NULL, NULL,
		      0);
}

void crew_wake_word(_Atomic uint32_t *word, uint32_t n)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static bool take_place(struct crew *crew)
{
	uint32_t places = atomic_load(&crew->places);

	while (places > 0)
		if (atomic_compare_exchange_weak(&crew->places, &places, places - 1))
			return true;
	return false;
}

static void __attribute__((__noinline__)) touch_stack(void)
{
	volatile char stack[TOUCH_BYTES];

	for (size_t i = 0; i < sizeof(stack); i += 1024)
		stack[i] = 0;
}

static void *member_main(void *arg)
{
	struct crew *crew = arg;
	uint32_t seen = 0, round;

	touch_stack();
	for (;;) {
		while ((round = atomic_load(&crew->round)) == seen)
			crew_wait_word(&crew->round, seen, 0);
		seen = round;
		if (!take_place(crew))
			continue;
		crew->act(crew->self);
		if (atomic_fetch_sub(&crew->busy, 1) == 1)
			crew_wake_word(&crew->busy, INT_MAX);
	}
	return NULL;
}

int crew_spawn(void *(*run)(void *arg), void *arg)
{
	size_t size = (size_t)PTHREAD_STACK_MIN;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (size < FREEZER_STACK_BYTES)
		size = FREEZER_STACK_BYTES;
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, size);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, run, arg);
	(void)pthread_attr_destroy(&attr);
	return -r;
}

int crew_start(struct crew *crew, uint32_t n_members, void (*act)(void *self), void *self)
{
	int r = 0;

	crew->act = act;
	crew->self = self;
	crew->n_members = n_members;
	for (uint32_t i = 0; r == 0 && i < n_members; i++)
		r = crew_spawn(member_main, crew);
	return r;
}

void crew_call(struct crew *crew, size_t n)
{
	uint32_t called = n < crew->n_members ? (uint32_t)n : crew->n_members;

	/* With @busy first: who takes a place finds itself counted. */
	atomic_store(&crew->busy, called);
	atomic_store(&crew->places, called);
	atomic_fetch_add(&crew->round, 1);
	crew_wake_word(&crew->round, called);
}

void crew_await(struct crew *crew)
{
	uint32_t busy;

	while ((busy = atomic_load(&crew->busy)) > 0)
		crew_wait_word(&crew->busy, busy, 0);
}
