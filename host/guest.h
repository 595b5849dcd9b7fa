/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/guest_backup.h"
#include "host/guest_fcopy.h"
#include "host/guest_heartbeat.h"
#include "host/guest_kvp.h"
#include "host/guest_memory.h"
#include "host/guest_shutdown.h"
#include "host/guest_timesync.h"
#include "host/lab.h"

/*
 * A guest at the host: its channels and the services on them.
 */

struct guest;

/* What a guest is made from; all borrowed. */
struct guest_config {
	struct event_base *base;
	struct backup_workers workers;
	struct balance *balance;
	uint32_t balance_id;    /* its place there; stays the caller's */
	const char *name;       /* copied */
	uint64_t window_pfn; /* where memory is added; 0: none is */
	uint64_t memory_pages;  /* of the machine it runs on, 4 KiB */
	struct lab_guest *lab;  /* valid until the guest is freed */
};

/* A guest with no channel open. -ENOMEM. */
_must_check_ int guest_new(const struct guest_config *config, struct guest **ret_guest);
struct guest *guest_free(struct guest *g);
DEFINE_CLEANUP(guest)

/* Its name, and its parts; all borrowed. */
const char *guest_name(const struct guest *g);
struct guest_memory *guest_memory_of(struct guest *g);
struct guest_backup *guest_backup_of(struct guest *g);
struct guest_shutdown *guest_shutdown_of(struct guest *g);
struct guest_kvp *guest_kvp_of(struct guest *g);
struct guest_fcopy *guest_fcopy_of(struct guest *g);
struct guest_timesync *guest_timesync_of(struct guest *g);

/* Offers the channels of all services. */
void guest_offer_all(struct guest *g);

/* The conditions of those below. */
enum {
	GUEST_NO_SERVICE = 1, /* there is no service of that name */
	GUEST_NOT_POSSIBLE,   /* it is (not) offered, or saved, already */
	GUEST_SAVED,          /* offer: only guest_restore() does that now */
};

/* Offers, or takes back, the channel of the service called @service ("vss", ...). */
_must_check_ int guest_offer(struct guest *g, const char *service);
_must_check_ int guest_rescind(struct guest *g, const char *service);

/*
 * What a guest sees when its machine is saved and restored: all channels are taken away, at whatever
 * they are; those that it had are offered again, as soon as it has let go of as many that it had before.
 * In between it has none. guest_move() does both at once, as it looks when a machine moves to another
 * host. What the administrator has assigned to the guest stays so.
 */
_must_check_ int guest_save(struct guest *g);
_must_check_ int guest_restore(struct guest *g);
_must_check_ int guest_move(struct guest *g);
bool guest_is_saved(const struct guest *g);

/* The guest has let go of a channel that was taken from it. */
void guest_channel_released(struct guest *g);

/* The guest has opened or closed a channel. */
void guest_channel_opened(struct guest *g, const struct vmbus_guid *class_id,
			  struct vmbus_port *take_port);
void guest_channel_closed(struct guest *g, const struct vmbus_guid *class_id);

/* For status: the name, and one object for each service. */
json_t *guest_status(const struct guest *g);
