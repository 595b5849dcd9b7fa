/* SPDX-License-Identifier: MIT */

/*
 * The functions that a compiler calls for -fsanitize=thread, without ThreadSanitizer.
 *
 * Told to find races, gcc and clang put a call before each load and store, and replace atomics and
 * fences by calls that have the memory order as an argument. What answers these calls is usually the
 * sanitizer's library. Here it is this file, which asks somebody else what to do before the access
 * happens, as the Linux kernel does for KCSAN. So the code under test needs no hooks, and no access
 * escapes, not even one by a stray pointer.
 *
 * memcpy() is not instrumented. The linker sends its calls here (--wrap); a copy from or to the
 * memory is made in pieces, so that it can be changed in the middle of one.
 *
 * Sources: LLVM compiler-rt/lib/tsan/rtl/tsan_interface.h and tsan_interface_atomic.h; gcc
 * gcc/sanitizer.def; Linux kernel/kcsan/core.c.
 */

#include "tests/fuzz/intercept.h"

#include <stdatomic.h>

enum {
	PIECE = 8, /* bytes of a copy between two looks */
};

static struct {
	uintptr_t memory;
	size_t size; /* 0: nothing is watched */
	const struct intercept_ops *ops;
	void *user;
	bool is_busy; /* ops are running: their own accesses are no news */
} watched;

void intercept_start(void *memory, size_t size, const struct intercept_ops *ops, void *user)
{
	watched.memory = (uintptr_t)memory;
	watched.size = size;
	watched.ops = ops;
	watched.user = user;
}

void intercept_stop(void)
{
	watched.size = 0;
}

/* Around the memory there are pages that cannot be accessed, so the start of an access decides. */
static bool is_watched(const volatile void *at)
{
	return !watched.is_busy && (uintptr_t)at - watched.memory < watched.size;
}

static void look_before(void)
{
	watched.is_busy = true;
	watched.ops->before(watched.user);
	watched.is_busy = false;
}

static void note(struct access access, const volatile void *at)
{
	access.offset = at ? (uintptr_t)at - watched.memory : 0;
	watched.is_busy = true;
	watched.ops->note(watched.user, &access);
	watched.is_busy = false;
}

static void plain(const volatile void *at, size_t size, enum access_kind kind)
{
	if (!is_watched(at))
		return;
	look_before();
	note((struct access){.kind = kind, .size = size}, at);
}

/* gcc knows these names under its sanitizers, and its idea of their types is not everybody's. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
#endif

/* What is instrumented calls these; their names are not ours to choose. */
#define PLAIN(size) \
	void __tsan_read##size(void *at); \
	void __tsan_write##size(void *at); \
	void __tsan_unaligned_read##size(void *at); \
	void __tsan_unaligned_write##size(void *at); \
	void __tsan_read##size(void *at) { plain(at, size, ACCESS_LOAD); } \
	void __tsan_write##size(void *at) { plain(at, size, ACCESS_STORE); } \
	void __tsan_unaligned_read##size(void *at) { plain(at, size, ACCESS_LOAD); } \
	void __tsan_unaligned_write##size(void *at) { plain(at, size, ACCESS_STORE); }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_read_range(void *at, size_t size);
void __tsan_write_range(void *at, size_t size);
uint32_t __tsan_atomic32_load(const volatile _Atomic uint32_t *at, int order);
void __tsan_atomic32_store(volatile _Atomic uint32_t *at, uint32_t value, int order);
void __tsan_atomic_thread_fence(int order);
void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);

void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller)
{
	(void)caller;
}

void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *at, size_t size)
{
	plain(at, size, ACCESS_LOAD);
}

void __tsan_write_range(void *at, size_t size)
{
	plain(at, size, ACCESS_STORE);
}

uint32_t __tsan_atomic32_load(const volatile _Atomic uint32_t *at, int order)
{
	struct access access = {ACCESS_LOAD, true, order, 0, sizeof(*at), 0};

	if (!is_watched(at))
		return atomic_load(at);
	look_before();
	access.value = atomic_load(at);
	note(access, at);
	return access.value;
}

void __tsan_atomic32_store(volatile _Atomic uint32_t *at, uint32_t value, int order)
{
	if (is_watched(at)) {
		look_before();
		note((struct access){ACCESS_STORE, true, order, 0, sizeof(*at), value}, at);
	}
	atomic_store(at, value);
}

void __tsan_atomic_thread_fence(int order)
{
	if (watched.size > 0 && !watched.is_busy)
		note((struct access){.kind = ACCESS_FENCE, .order = order}, NULL);
}

void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	if (!is_watched(to) && !is_watched(from))
		return __real_memcpy(to, from, n);

	for (size_t i = 0, piece; i < n; i += piece) {
		uint8_t *target = (uint8_t *)to + i;
		const uint8_t *source = (const uint8_t *)from + i;

		piece = n - i < PIECE ? n - i : PIECE;
		plain(source, piece, ACCESS_LOAD);
		plain(target, piece, ACCESS_STORE);
		__real_memcpy(target, source, piece);
	}
	return to;
}
