/* SPDX-License-Identifier: MIT */

/*
 * Long-term pins by io_uring.
 *
 * mlock() keeps pages in memory but does not keep them in place: compaction moves them. What does
 * is a long-term pin, and registering a buffer with an io_uring takes one (Linux io_uring/rsrc.c).
 * Nothing is ever submitted to the rings; they only hold buffers. Each has a sparse table of 16384
 * slots, the most the kernel allows, and more rings are made when the tables are full.
 *
 * A slot is one pin. Clearing it drops the pin; kernels before 6.4 do so up to a second later,
 * which nobody here has to wait for: the page then becomes free a second later.
 *
 * A pin ends with its ring: at pin_free(), or when the process ends.
 */

#include "balloon/pin.h"

#include <assert.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	SLOTS_PER_RING = 16384, /* Linux io_uring/rsrc.h, IORING_MAX_REG_BUFFERS */
	RINGS_MAX = 256,
};

struct ring {
	int fd;
	size_t n_free;
	uint32_t free_slots[SLOTS_PER_RING]; /* a stack */
};

struct pin {
	struct ring *rings[RINGS_MAX];
	size_t n_rings;
};

static struct ring *ring_free(struct ring *ring)
{
	if (!ring)
		return NULL;
	close_fd(ring->fd);
	free(ring);
	return NULL;
}
DEFINE_CLEANUP(ring)

static int ring_register(const struct ring *ring, unsigned int opcode, void *arg, size_t size)
{
	if (syscall(SYS_io_uring_register, ring->fd, opcode, arg, size) < 0)
		return negative_errno();
	return 0;
}

static int ring_new(struct ring **ret_ring)
{
	_cleanup_(cleanup_ringp) struct ring *ring = NULL;
	struct io_uring_params params = {0};
	struct io_uring_rsrc_register table = {
		.nr = SLOTS_PER_RING,
		.flags = IORING_RSRC_REGISTER_SPARSE,
	};
	int r;

	ring = malloc(sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->fd = syscall(SYS_io_uring_setup, 1, &params);
	if (ring->fd < 0)
		return negative_errno();
	r = ring_register(ring, IORING_REGISTER_BUFFERS2, &table, sizeof(table));
	if (r)
		return r;

	ring->n_free = SLOTS_PER_RING;
	for (uint32_t i = 0; i < SLOTS_PER_RING; i++)
		ring->free_slots[i] = SLOTS_PER_RING - 1 - i;
	*ret_ring = steal_ptr(ring);
	return 0;
}

/* Puts @iov into one slot of the table; an empty one clears it. */
static int ring_update(const struct ring *ring, uint32_t slot, struct iovec iov)
{
	struct io_uring_rsrc_update2 update = {
		.offset = slot,
		.data = (uintptr_t)&iov,
		.nr = 1,
	};

	return ring_register(ring, IORING_REGISTER_BUFFERS_UPDATE, &update, sizeof(update));
}

static int add_ring(struct pin *pin)
{
	int r;

	if (pin->n_rings == RINGS_MAX)
		return -ENOSPC;
	r = ring_new(&pin->rings[pin->n_rings]);
	if (r)
		return r;
	pin->n_rings++;
	return 0;
}

int pin_new(struct pin **ret_pin)
{
	_cleanup_(cleanup_pinp) struct pin *pin = NULL;

	pin = calloc(1, sizeof(*pin));
	if (!pin)
		return -ENOMEM;
	if (add_ring(pin))
		return PIN_UNAVAILABLE;

	*ret_pin = steal_ptr(pin);
	return 0;
}

struct pin *pin_free(struct pin *pin)
{
	if (!pin)
		return NULL;
	for (size_t i = 0; i < pin->n_rings; i++)
		ring_free(pin->rings[i]);
	free(pin);
	return NULL;
}

int pin_memory(struct pin *pin, void *address, size_t bytes, uint32_t *ret_slot)
{
	struct iovec iov = {.iov_base = address, .iov_len = bytes};
	struct ring *ring;
	uint32_t slot;
	size_t i = 0;
	int r;

	assert(bytes > 0 && bytes <= PIN_BYTES_MAX);

	while (i < pin->n_rings && pin->rings[i]->n_free == 0)
		i++;
	if (i == pin->n_rings) {
		r = add_ring(pin);
		if (r)
			return r;
	}

	ring = pin->rings[i];
	slot = ring->free_slots[ring->n_free - 1];
	r = ring_update(ring, slot, iov);
	if (r == -ENOMEM)
		return PIN_REFUSED;
	if (r)
		return r;
	ring->n_free--;
	*ret_slot = i * SLOTS_PER_RING + slot;
	return 0;
}

int pin_release(struct pin *pin, uint32_t slot)
{
	struct ring *ring;
	int r;

	assert(slot / SLOTS_PER_RING < pin->n_rings);
	ring = pin->rings[slot / SLOTS_PER_RING];
	assert(ring->n_free < SLOTS_PER_RING);

	r = ring_update(ring, slot % SLOTS_PER_RING, (struct iovec){0});
	if (r)
		return r;
	ring->free_slots[ring->n_free++] = slot % SLOTS_PER_RING;
	return 0;
}
