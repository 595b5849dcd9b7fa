/* SPDX-License-Identifier: MIT */

/*
 * balloon/pin.c on real memory: what the kernel counts as pinned, and what happens when one ring's
 * table is full.
 */

#include "balloon/pin.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <sys/mman.h>

enum {
	PAGE = 4096,
	SLOTS_PER_RING = 16384,
};

/* The VmPin line of /proc/self/status, in bytes. */
static size_t pinned_bytes(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[128];
	size_t kb = 0;

	cr_assert(ne(ptr, f, NULL));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmPin: %zu kB", &kb) == 1)
			break;
	fclose(f);
	return kb * 1024;
}

static char *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert(p != MAP_FAILED);
	return p;
}

static struct pin *new_pin(void)
{
	struct pin *pin = NULL;
	int r;

	r = pin_new(&pin);
	if (r == PIN_UNAVAILABLE)
		cr_skip_test("this kernel has no io_uring for us");
	cr_assert(eq(int, r, 0));
	return pin;
}

Test(pin, memory_is_pinned_until_its_pin_is_released)
{
	struct pin *pin = new_pin();
	char *memory = map(64 * PAGE);
	uint32_t whole, half;

	cr_assert(eq(int, pin_memory(pin, memory, 64 * PAGE, &whole), 0));
	cr_expect(eq(sz, pinned_bytes(), 64 * PAGE));
	cr_assert(eq(int, pin_memory(pin, memory, 32 * PAGE, &half), 0));
	cr_expect(ne(u32, whole, half));
	cr_assert(eq(int, pin_release(pin, whole), 0));
	cr_assert(eq(int, pin_memory(pin, memory, PAGE, &whole), 0));
	cr_expect(ne(u32, whole, half));
	pin_free(pin);
	munmap(memory, 64 * PAGE);
}

Test(pin, memory_that_is_not_there_cannot_be_pinned)
{
	struct pin *pin = new_pin();
	char *memory = map(PAGE);
	uint32_t slot;

	munmap(memory, PAGE);
	for (int i = 0; i < 3; i++)
		cr_expect(lt(int, pin_memory(pin, memory, PAGE, &slot), 0));
	pin_free(pin);
}

Test(pin, a_full_table_is_followed_by_another_ring)
{
	struct pin *pin = new_pin();
	char *memory = map(PAGE);
	uint32_t slot, last = 0;

	for (uint32_t i = 0; i <= SLOTS_PER_RING; i++) {
		cr_assert(eq(int, pin_memory(pin, memory, PAGE, &slot), 0));
		last = slot > last ? slot : last;
	}
	cr_expect(ge(u32, last, SLOTS_PER_RING));
	for (uint32_t i = 0; i < SLOTS_PER_RING; i++)
		cr_assert(eq(int, pin_release(pin, i), 0));
	cr_assert(eq(int, pin_memory(pin, memory, PAGE, &slot), 0));
	cr_expect(lt(u32, slot, SLOTS_PER_RING));
	pin_free(pin);
	munmap(memory, PAGE);
}

Test(pin, freeing_nothing_is_fine)
{
	cr_expect(eq(ptr, pin_free(NULL), NULL));
}
