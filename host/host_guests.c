/* SPDX-License-Identifier: MIT */

/*
 * The lab's guests at the host.
 *
 * A guest that says hello has to find room at the balancer first: one that does not is told why, and
 * tries again each second. Then it has a seat, under the balancer's number for it, until its
 * connection ends; the seat hands on to the guest what the lab says of its channels.
 */

#include "host/host.h"

#include "base/ask.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURNED_AWAY_NS UINT64_C(30000000000) /* between two lines about that */

struct seat *host_next_seat(const struct host *h, size_t *at)
{
	while (*at < h->seats_size) {
		struct seat *seat = h->seats[(*at)++];

		if (seat)
			return seat;
	}
	return NULL;
}

struct guest *host_find_guest(const struct host *h, const char *name)
{
	uint32_t id = name ? balancer_find(balance_core(h->balance), name) : BALANCER_NO_GUEST;

	return id < h->seats_size && h->seats[id] ? h->seats[id]->guest : NULL;
}

/* Has its place from now on. -ENOMEM. */
static int take_place(struct host *h, struct seat *seat)
{
	size_t size = h->seats_size;

	if (seat->balance_id >= size) {
		struct seat **more;

		size = 2 * ((size_t)seat->balance_id + 1);
		more = reallocarray(h->seats, size, sizeof(*more));
		if (!more)
			return -ENOMEM;
		memset(more + h->seats_size, 0, (size - h->seats_size) * sizeof(*more));
		h->seats = more;
		h->seats_size = size;
	}
	h->seats[seat->balance_id] = seat;
	return 0;
}

void host_tell(const struct host *h, const char *event, const char *key, const char *value)
{
	json_t *line;

	if (!h->json)
		return;
	line = json_pack("{s:i, s:s, s:s}", "schema", 1, "event", event, key, value);
	ask_print_json_line(line);
	json_decref(line);
}

/* The guest has its place at the balancer; now it is made. */
static int make_guest(struct host *h, struct seat *seat, struct lab_guest *lab_guest,
		      const char *name, uint64_t memory_pages)
{
	const struct guest_config config = {
		.base = h->base,
		.workers = h->workers,
		.balance = h->balance,
		.balance_id = seat->balance_id,
		.window_pfn = h->window_pfn,
		.name = name,
		.memory_pages = memory_pages,
		.lab = lab_guest,
	};
	int r = guest_new(&config, &seat->guest);

	if (r == 0) {
		r = take_place(h, seat);
		if (r)
			(void)guest_free(seat->guest);
	}
	if (r)
		balance_leave(h->balance, seat->balance_id);
	return r;
}

/* Why the balancer turns a guest away; it tries again each second. */
static enum shm_status turn_away(struct host *h, const char *name, const struct balancer_limits *limits,
				 int r)
{
	if (r > 0 && clock_monotonic_ns() - h->turned_away_ns >= TURNED_AWAY_NS) {
		h->turned_away_ns = clock_monotonic_ns();
		log_warning("%s: turned away, it wants %s: %s", name,
			    size_format(limits->startup_pages * VMBUS_PAGE_SIZE).text,
			    balancer_condition_text(r));
	}
	switch (r) {
	case BALANCER_NO_ROOM:
		return SHM_NO_ROOM;
	case BALANCER_NO_ROOM_NOW:
		return SHM_NO_ROOM_NOW;
	case BALANCER_TWICE:
		return SHM_NAME_TAKEN;
	default:
		return r > 0 ? SHM_BAD_LIMITS : SHM_NO_MEMORY;
	}
}

static enum shm_status on_hello(void *user, struct lab_guest *lab_guest, const char *name,
				uint64_t memory_pages, void **ret_context)
{
	struct host *h = user;
	struct balancer_limits limits = guest_limits_of(h->guest_limits, name, &h->limits,
							memory_pages);
	struct seat *seat;
	int r;

	if (host_find_guest(h, name))
		return SHM_NAME_TAKEN;
	seat = calloc(1, sizeof(*seat));
	if (!seat)
		return SHM_NO_MEMORY;
	seat->host = h;
	seat->memory_pages = memory_pages;
	r = balance_join(h->balance, name, &limits, &seat->balance_id);
	if (r) {
		free(seat);
		return turn_away(h, name, &limits, r);
	}
	if (make_guest(h, seat, lab_guest, name, memory_pages)) {
		free(seat);
		return SHM_NO_MEMORY;
	}

	log_notice("%s: connected", name);
	host_tell(h, "connected", "guest", name);
	*ret_context = seat;
	return SHM_OK;
}

static void on_ready(void *context)
{
	struct seat *seat = context;

	guest_offer_all(seat->guest);
}

static void on_open(void *context, const struct vmbus_guid *class_id, struct vmbus_port *take_port)
{
	struct seat *seat = context;

	guest_channel_opened(seat->guest, class_id, take_port);
}

static void on_close(void *context, const struct vmbus_guid *class_id)
{
	struct seat *seat = context;

	guest_channel_closed(seat->guest, class_id);
}

static void on_release(void *context)
{
	const struct seat *seat = context;

	guest_channel_released(seat->guest);
}

static void on_gone(void *context)
{
	struct seat *seat = context;
	struct host *h = seat->host;

	log_notice("%s: gone", guest_name(seat->guest));
	host_tell(h, "gone", "guest", guest_name(seat->guest));
	h->seats[seat->balance_id] = NULL;
	(void)guest_free(seat->guest);
	balance_leave(h->balance, seat->balance_id);
	free(seat);
}

const struct lab_ops host_lab_ops = {
	.on_hello = on_hello,
	.on_ready = on_ready,
	.on_open = on_open,
	.on_close = on_close,
	.on_gone = on_gone,
	.on_release = on_release,
};
