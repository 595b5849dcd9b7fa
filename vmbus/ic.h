/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "vmbus/guid.h"
#include "vmbus/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Integration services: framing and version negotiation, the guest's end (ic_guest) and the
 * host's end (ic_host). The services themselves see only their own message bytes, versions and a
 * status. docs/PROTOCOL-vmbus.md sections 6 to 8.
 */

struct ic_version {
	uint16_t major;
	uint16_t minor;
};

/* What one service is on the wire; the version lists are in order of preference, best first. */
struct ic_service {
	const char *name;
	const struct vmbus_guid *class_id; /* of the channel */
	enum ic_message_type type;
	const struct ic_version *frameworks;
	size_t n_frameworks;
	const struct ic_version *versions;
	size_t n_versions;
};

extern const struct ic_service ic_service_heartbeat; /* 3.0, 1.0 */
extern const struct ic_service ic_service_shutdown;  /* 3.2, 3.1, 3.0, 1.0 */
extern const struct ic_service ic_service_timesync;  /* 4.0, 3.0, 1.0 */
extern const struct ic_service ic_service_vss;       /* 5.0 */
extern const struct ic_service ic_service_fcopy;     /* 1.1 */
extern const struct ic_service ic_service_kvp;       /* 5.0, 4.0, 3.0, 1.0 */

enum {
	/* Bytes of payload that an endpoint accepts: Linux's hv_utils uses the same. */
	IC_PAYLOAD_MAX = 16384,
};

/* The conditions of ic_guest_receive() and ic_host_receive(). */
enum {
	IC_ANSWER = 1, /* guest: handled here; send what is in the endpoint's buffer */
	IC_MALFORMED,  /* lengths do not fit, or not a data pipe: counted and dropped */
	IC_UNEXPECTED, /* not a request (guest); nothing was asked, or another type (host): dropped */
	IC_NEGOTIATED, /* host: versions were agreed on; requests may follow */
	IC_REFUSED,    /* host: the guest has none of our versions */
};

struct ic_stats {
	uint64_t requests;
	uint64_t negotiations;
	uint64_t malformed;
	uint64_t unexpected;
	uint64_t unknown; /* guest: requests of another service's type, answered with failure */
};

/*
 * The guest's end. It holds one request at a time, because the host sends the next one only after
 * the answer. If another comes all the same, the host has given the first one up: the newer
 * request takes its place, and a negotiation takes it away (`open` is false afterwards).
 */
struct ic_guest {
	const struct ic_service *service;
	bool negotiated;
	bool open; /* a request waits for ic_guest_answer() */
	struct ic_version framework;
	struct ic_version version;
	uint64_t trans_id; /* the ring's transaction id of the packet in the buffer */
	size_t size;       /* bytes of the packet in the buffer */
	uint8_t buf[IC_PAYLOAD_MAX];
	struct ic_stats stats;
};

/* Nothing negotiated, no request open. @service is borrowed for the endpoint's lifetime. */
void ic_guest_init(struct ic_guest *ic, const struct ic_service *service);

/*
 * Takes a packet of @size bytes from the host. Returns 0 if it is a request for the service:
 * ic_guest_data() is then its message. After IC_ANSWER send ic->buf, ic->size bytes, under
 * ic->trans_id. IC_ANSWER, IC_MALFORMED, IC_UNEXPECTED.
 */
_must_check_ int ic_guest_receive(struct ic_guest *ic, const void *payload, size_t size,
				  uint64_t trans_id);

/* The open request's service message, in the endpoint's buffer; may be changed in place. */
uint8_t *ic_guest_data(struct ic_guest *ic, size_t *ret_size);

/*
 * Turns the open request into its answer with @status (IC_S_OK, IC_E_...). The caller then sends
 * ic->buf, ic->size bytes, under ic->trans_id. Same length as the request, as hosts expect.
 */
void ic_guest_answer(struct ic_guest *ic, uint32_t status);

/* The host's end: one request at a time, answered before the next. */
struct ic_host {
	const struct ic_service *service;
	bool negotiated;
	bool waiting; /* for the answer to `expected` */
	uint16_t expected; /* message type */
	struct ic_version framework;
	struct ic_version version;
	struct ic_stats stats;
};

/* Nothing negotiated, nothing asked. @service is borrowed for the endpoint's lifetime. */
void ic_host_init(struct ic_host *ic, const struct ic_service *service);

/*
 * Writes the negotiation request, or a service request with the message @data, into @buf; the
 * caller sends *ret_size bytes of it. -ENOBUFS if @buf_size is too small.
 */
_must_check_ int ic_host_negotiate(struct ic_host *ic, void *buf, size_t buf_size,
				   size_t *ret_size);
_must_check_ int ic_host_request(struct ic_host *ic, const void *data, size_t size, void *buf,
				 size_t buf_size, size_t *ret_size);

/* A guest's answer to a service request; `data` points into the buffer given to receive. */
struct ic_response {
	uint32_t status;
	const uint8_t *data;
	size_t size;
};

/*
 * Takes a packet from the guest. Returns 0 and *ret_response for the answer to the request;
 * IC_NEGOTIATED, IC_REFUSED, IC_MALFORMED, IC_UNEXPECTED.
 */
_must_check_ int ic_host_receive(struct ic_host *ic, const void *payload, size_t size,
				 struct ic_response *ret_response);
