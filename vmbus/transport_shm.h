/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "vmbus/port.h"
#include "vmbus/shm_wire.h"

/*
 * The guest's end of the shm transport: a connection to a lab host on this machine, which offers
 * channels as VMBus would. docs/PROTOCOL-vmbus.md section 10.
 */

struct transport_shm;

/* The conditions of this transport. */
enum {
	TRANSPORT_SHM_NO_HOST = 1, /* nobody listens at the path */
	TRANSPORT_SHM_AGAIN,       /* nothing to dispatch now */
	TRANSPORT_SHM_LOST,        /* the host is gone, or broke the protocol; free the transport */
};

enum transport_shm_event_type {
	TRANSPORT_SHM_WELCOME,  /* the host has accepted us */
	TRANSPORT_SHM_REFUSED,  /* the host does not want us, or a channel was not opened: `status` */
	TRANSPORT_SHM_OFFERED,  /* channel_id, class_id */
	TRANSPORT_SHM_OPENED,   /* channel_id, port: the caller's to vmbus_port_fini() */
	TRANSPORT_SHM_RESCINDED, /* channel_id: give the port up, then transport_shm_release() */
};

struct transport_shm_event {
	enum transport_shm_event_type type;
	uint32_t channel_id;
	enum shm_status status;
	struct vmbus_guid class_id;
	struct vmbus_port port;
};

/*
 * Connects to the lab host at @path and introduces this guest by @name with @memory_pages (4 KiB)
 * of memory. TRANSPORT_SHM_NO_HOST, negative errno.
 */
_must_check_ int transport_shm_new(const char *path, const char *name, uint64_t memory_pages,
				   struct transport_shm **ret_transport);
struct transport_shm *transport_shm_free(struct transport_shm *t);
DEFINE_CLEANUP(transport_shm)

/* Goes on with the connection of a predecessor, which was welcome; takes @take_fd. -ENOMEM. */
_must_check_ int transport_shm_resume(int take_fd, struct transport_shm **ret_transport);

/* Ends the connection, whoever else has its descriptor. */
void transport_shm_end(struct transport_shm *t);

/* Readable when transport_shm_dispatch() has something; owned by the transport. */
int transport_shm_fd(const struct transport_shm *t);

/* The next event. TRANSPORT_SHM_AGAIN, TRANSPORT_SHM_LOST, negative errno. */
_must_check_ int transport_shm_dispatch(struct transport_shm *t,
					struct transport_shm_event *ret_event);

/* Asks for an offered channel; OPENED or REFUSED follows. TRANSPORT_SHM_LOST, negative errno. */
_must_check_ int transport_shm_open(struct transport_shm *t, uint32_t channel_id);

/* Tells the host that a channel is closed (it may be opened again), or that it is given up. */
_must_check_ int transport_shm_close(struct transport_shm *t, uint32_t channel_id);
_must_check_ int transport_shm_release(struct transport_shm *t, uint32_t channel_id);
