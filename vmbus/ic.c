/* SPDX-License-Identifier: MIT */

/*
 * Integration services: framing and version negotiation.
 *
 * A message travels as [pipe header][IC header][service data], and the answer is the request sent
 * back with a status and the response flag, at the same length: hosts parse fixed-size structures
 * out of answers. The guest's end therefore keeps the request and hands the service a pointer into
 * it; whatever the service changes there is the answer.
 *
 * The host speaks first, with a negotiation, and may negotiate again at any time (after restore or
 * migration). That voids everything before it, including a request that is being worked on. The
 * guest picks, for framework and service, the first entry of its own list that the host offers
 * exactly; if either is missing it answers with counts 0 and 0, as Linux does, and stays ready.
 *
 * Lengths are checked from the outside in, on a private copy; the length on the ring is padded to
 * 8 bytes, so the one in the pipe header is what counts. Sources: Linux drivers/hv/channel_mgmt.c
 * (vmbus_prep_negotiate_resp), drivers/hv/hv_util.c; OpenVMM vm/devices/hyperv_ic/src/common.rs.
 */

#include "vmbus/ic.h"

#include "base/bytes.h"

#include <assert.h>
#include <string.h>

enum {
	NEGOTIATE_HEADER_SIZE = 8, /* two counts and a reserved word */
	NEGOTIATE_ANSWER_SIZE = NEGOTIATE_HEADER_SIZE + 2 * 4,
	STATUS_OFFSET = IC_PIPE_HEADER_SIZE + 12,
	FLAGS_OFFSET = IC_PIPE_HEADER_SIZE + 17,
};

struct ic_header {
	struct ic_version framework;
	uint16_t type;
	struct ic_version version;
	uint32_t status;
	uint8_t transaction_id;
	uint8_t flags;
	uint16_t data_size;
	const uint8_t *data; /* into the payload */
};

static const struct ic_version frameworks_all[] = {{3, 0}, {1, 0}};
static const struct ic_version frameworks_new[] = {{3, 0}};
static const struct ic_version versions_heartbeat[] = {{3, 0}, {1, 0}};
static const struct ic_version versions_shutdown[] = {{3, 2}, {3, 1}, {3, 0}, {1, 0}};
static const struct ic_version versions_timesync[] = {{4, 0}, {3, 0}, {1, 0}};
static const struct ic_version versions_vss[] = {{5, 0}};
static const struct ic_version versions_fcopy[] = {{1, 1}};
static const struct ic_version versions_kvp[] = {{5, 0}, {4, 0}, {3, 0}, {1, 0}};

#define N_ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

const struct ic_service ic_service_heartbeat = {
	.name = "heartbeat",
	.class_id = &vmbus_class_heartbeat,
	.type = IC_HEARTBEAT,
	.frameworks = frameworks_all,
	.n_frameworks = N_ELEMENTS(frameworks_all),
	.versions = versions_heartbeat,
	.n_versions = N_ELEMENTS(versions_heartbeat),
};

const struct ic_service ic_service_shutdown = {
	.name = "shutdown",
	.class_id = &vmbus_class_shutdown,
	.type = IC_SHUTDOWN,
	.frameworks = frameworks_all,
	.n_frameworks = N_ELEMENTS(frameworks_all),
	.versions = versions_shutdown,
	.n_versions = N_ELEMENTS(versions_shutdown),
};

const struct ic_service ic_service_timesync = {
	.name = "timesync",
	.class_id = &vmbus_class_timesync,
	.type = IC_TIMESYNC,
	.frameworks = frameworks_all,
	.n_frameworks = N_ELEMENTS(frameworks_all),
	.versions = versions_timesync,
	.n_versions = N_ELEMENTS(versions_timesync),
};

const struct ic_service ic_service_vss = {
	.name = "vss",
	.class_id = &vmbus_class_vss,
	.type = IC_VSS,
	.frameworks = frameworks_new,
	.n_frameworks = N_ELEMENTS(frameworks_new),
	.versions = versions_vss,
	.n_versions = N_ELEMENTS(versions_vss),
};

const struct ic_service ic_service_fcopy = {
	.name = "fcopy",
	.class_id = &vmbus_class_fcopy,
	.type = IC_FCOPY,
	.frameworks = frameworks_new,
	.n_frameworks = N_ELEMENTS(frameworks_new),
	.versions = versions_fcopy,
	.n_versions = N_ELEMENTS(versions_fcopy),
};

const struct ic_service ic_service_kvp = {
	.name = "kvp",
	.class_id = &vmbus_class_kvp,
	.type = IC_KVP,
	.frameworks = frameworks_all,
	.n_frameworks = N_ELEMENTS(frameworks_all),
	.versions = versions_kvp,
	.n_versions = N_ELEMENTS(versions_kvp),
};

static struct ic_version get_version(struct bytes_reader *r)
{
	struct ic_version v;

	v.major = bytes_get_u16(r);
	v.minor = bytes_get_u16(r);
	return v;
}

static void put_version(struct bytes_writer *w, struct ic_version v)
{
	bytes_put_u16(w, v.major);
	bytes_put_u16(w, v.minor);
}

static bool same_version(struct ic_version a, struct ic_version b)
{
	return a.major == b.major && a.minor == b.minor;
}

/* Both headers, with every length checked; false if they do not add up. */
static bool decode(const void *payload, size_t size, struct ic_header *ret_header)
{
	uint32_t pipe_type, pipe_size;
	struct ic_header h;
	struct bytes_reader r;

	bytes_reader_init(&r, payload, size);
	pipe_type = bytes_get_u32(&r);
	pipe_size = bytes_get_u32(&r);
	if (pipe_type != IC_PIPE_TYPE_DATA || pipe_size > bytes_left(&r))
		return false;

	bytes_reader_init(&r, (const uint8_t *)payload + IC_PIPE_HEADER_SIZE, pipe_size);
	h.framework = get_version(&r);
	h.type = bytes_get_u16(&r);
	h.version = get_version(&r);
	h.data_size = bytes_get_u16(&r);
	h.status = bytes_get_u32(&r);
	h.transaction_id = bytes_get_u8(&r);
	h.flags = bytes_get_u8(&r);
	bytes_skip(&r, 2);
	h.data = bytes_get_direct(&r, h.data_size);
	if (!bytes_reader_ok(&r))
		return false;

	*ret_header = h;
	return true;
}

static void put_headers(struct bytes_writer *w, const struct ic_header *h)
{
	bytes_put_u32(w, IC_PIPE_TYPE_DATA);
	bytes_put_u32(w, IC_HEADER_SIZE + h->data_size);
	put_version(w, h->framework);
	bytes_put_u16(w, h->type);
	put_version(w, h->version);
	bytes_put_u16(w, h->data_size);
	bytes_put_u32(w, h->status);
	bytes_put_u8(w, h->transaction_id);
	bytes_put_u8(w, h->flags);
	bytes_put_zeros(w, 2);
}

void ic_guest_init(struct ic_guest *ic, const struct ic_service *service)
{
	*ic = (struct ic_guest){.service = service};
}

/* The first of @mine that is among the @n_offered versions at @offered. */
static bool choose(const struct ic_version *mine, size_t n_mine, struct bytes_reader offered,
		   size_t n_offered, struct ic_version *ret_version)
{
	for (size_t i = 0; i < n_mine; i++) {
		struct bytes_reader r = offered;

		for (size_t j = 0; j < n_offered; j++) {
			if (same_version(mine[i], get_version(&r))) {
				*ret_version = mine[i];
				return true;
			}
		}
	}
	return false;
}

/* Reads the host's offer; false if it is malformed. Sets ic->negotiated and the versions. */
static bool negotiate(struct ic_guest *ic, const struct ic_header *h)
{
	const struct ic_service *s = ic->service;
	struct bytes_reader frameworks, versions;
	uint16_t n_frameworks, n_versions;

	bytes_reader_init(&frameworks, h->data, h->data_size);
	n_frameworks = bytes_get_u16(&frameworks);
	n_versions = bytes_get_u16(&frameworks);
	bytes_skip(&frameworks, 4);
	if (n_frameworks > IC_VERSION_COUNT_MAX || n_versions > IC_VERSION_COUNT_MAX ||
	    bytes_left(&frameworks) < 4u * (n_frameworks + n_versions))
		return false;

	versions = frameworks;
	bytes_skip(&versions, 4u * n_frameworks);
	ic->negotiated =
		choose(s->frameworks, s->n_frameworks, frameworks, n_frameworks, &ic->framework) &&
		choose(s->versions, s->n_versions, versions, n_versions, &ic->version);
	return true;
}

/* Writes the answer to a negotiation over the request. */
static void put_negotiate_answer(struct ic_guest *ic, const struct ic_header *request)
{
	struct ic_header h = *request;
	struct bytes_writer w;

	h.data_size = NEGOTIATE_ANSWER_SIZE;
	h.status = IC_S_OK;
	h.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;

	bytes_writer_init(&w, ic->buf, sizeof(ic->buf));
	put_headers(&w, &h);
	bytes_put_u16(&w, ic->negotiated);
	bytes_put_u16(&w, ic->negotiated);
	bytes_put_zeros(&w, 4);
	put_version(&w, ic->negotiated ? ic->framework : (struct ic_version){0});
	put_version(&w, ic->negotiated ? ic->version : (struct ic_version){0});
	assert(bytes_writer_ok(&w));
	ic->size = bytes_written(&w);
}

static int receive_negotiate(struct ic_guest *ic, const struct ic_header *h)
{
	if (!negotiate(ic, h)) {
		ic->stats.malformed++;
		return IC_MALFORMED;
	}

	ic->stats.negotiations++;
	ic->open = false;
	put_negotiate_answer(ic, h);
	return IC_ANSWER;
}

int ic_guest_receive(struct ic_guest *ic, const void *payload, size_t size, uint64_t trans_id)
{
	struct ic_header h;

	if (size > sizeof(ic->buf) || !decode(payload, size, &h)) {
		ic->stats.malformed++;
		return IC_MALFORMED;
	}
	if (!(h.flags & IC_FLAG_REQUEST)) {
		ic->stats.unexpected++;
		return IC_UNEXPECTED;
	}

	if (h.type == IC_NEGOTIATE) {
		ic->trans_id = trans_id;
		return receive_negotiate(ic, &h);
	}

	memcpy(ic->buf, payload, size);
	ic->size = size;
	ic->trans_id = trans_id;
	ic->open = true;
	if (h.type != ic->service->type || !ic->negotiated) {
		ic->stats.unknown++;
		ic_guest_answer(ic, IC_E_FAIL);
		return IC_ANSWER;
	}

	ic->stats.requests++;
	return 0;
}

uint8_t *ic_guest_data(struct ic_guest *ic, size_t *ret_size)
{
	struct ic_header h;
	bool ok = decode(ic->buf, ic->size, &h);

	assert(ic->open && ok);
	*ret_size = ok ? h.data_size : 0;
	return ic->buf + IC_HEADERS_SIZE;
}

void ic_guest_answer(struct ic_guest *ic, uint32_t status)
{
	struct bytes_writer w;

	assert(ic->open);
	bytes_writer_init(&w, ic->buf + STATUS_OFFSET, 4);
	bytes_put_u32(&w, status);
	ic->buf[FLAGS_OFFSET] = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
	ic->open = false;
}

void ic_host_init(struct ic_host *ic, const struct ic_service *service)
{
	*ic = (struct ic_host){.service = service};
}

static int put_request(struct ic_host *ic, const struct ic_header *h, void *buf, size_t buf_size,
		       size_t *ret_size)
{
	struct bytes_writer w;

	bytes_writer_init(&w, buf, buf_size);
	put_headers(&w, h);
	bytes_put(&w, h->data, h->data_size);
	if (!bytes_writer_ok(&w))
		return -ENOBUFS;

	ic->waiting = true;
	ic->expected = h->type;
	*ret_size = bytes_written(&w);
	return 0;
}

int ic_host_negotiate(struct ic_host *ic, void *buf, size_t buf_size, size_t *ret_size)
{
	const struct ic_service *s = ic->service;
	uint8_t data[NEGOTIATE_HEADER_SIZE + 4 * 2 * IC_VERSION_COUNT_MAX];
	struct ic_header h = {
		.type = IC_NEGOTIATE,
		.flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST,
		.data = data,
	};
	struct bytes_writer w;
	int r;

	bytes_writer_init(&w, data, sizeof(data));
	bytes_put_u16(&w, s->n_frameworks);
	bytes_put_u16(&w, s->n_versions);
	bytes_put_zeros(&w, 4);
	for (size_t i = 0; i < s->n_frameworks; i++)
		put_version(&w, s->frameworks[i]);
	for (size_t i = 0; i < s->n_versions; i++)
		put_version(&w, s->versions[i]);
	assert(bytes_writer_ok(&w));
	h.data_size = bytes_written(&w);

	r = put_request(ic, &h, buf, buf_size, ret_size);
	if (r)
		return r;
	ic->negotiated = false;
	ic->stats.negotiations++;
	return 0;
}

int ic_host_request(struct ic_host *ic, const void *data, size_t size, void *buf, size_t buf_size,
		    size_t *ret_size)
{
	struct ic_header h = {
		.framework = ic->framework,
		.type = ic->service->type,
		.version = ic->version,
		.flags = IC_FLAG_TRANSACTION | IC_FLAG_REQUEST,
		.data_size = size,
		.data = data,
	};

	assert(ic->negotiated);
	assert(size <= UINT16_MAX);
	ic->stats.requests++;
	return put_request(ic, &h, buf, buf_size, ret_size);
}

static bool has_version(const struct ic_version *list, size_t n, struct ic_version v)
{
	for (size_t i = 0; i < n; i++)
		if (same_version(list[i], v))
			return true;
	return false;
}

static int receive_negotiated(struct ic_host *ic, const struct ic_header *h)
{
	const struct ic_service *s = ic->service;
	struct ic_version framework, version;
	uint16_t n_frameworks, n_versions;
	struct bytes_reader r;

	bytes_reader_init(&r, h->data, h->data_size);
	n_frameworks = bytes_get_u16(&r);
	n_versions = bytes_get_u16(&r);
	bytes_skip(&r, 4);
	framework = get_version(&r);
	version = get_version(&r);
	if (!bytes_reader_ok(&r)) {
		ic->stats.malformed++;
		return IC_MALFORMED;
	}

	ic->waiting = false;
	if (n_frameworks != 1 || n_versions != 1 ||
	    !has_version(s->frameworks, s->n_frameworks, framework) ||
	    !has_version(s->versions, s->n_versions, version))
		return IC_REFUSED;

	ic->negotiated = true;
	ic->framework = framework;
	ic->version = version;
	return IC_NEGOTIATED;
}

int ic_host_receive(struct ic_host *ic, const void *payload, size_t size,
		    struct ic_response *ret_response)
{
	struct ic_header h;

	if (!decode(payload, size, &h)) {
		ic->stats.malformed++;
		return IC_MALFORMED;
	}
	if (!ic->waiting || h.type != ic->expected || !(h.flags & IC_FLAG_RESPONSE)) {
		ic->stats.unexpected++;
		return IC_UNEXPECTED;
	}
	if (h.type == IC_NEGOTIATE)
		return receive_negotiated(ic, &h);

	ic->waiting = false;
	*ret_response = (struct ic_response){
		.status = h.status,
		.data = h.data,
		.size = h.data_size,
	};
	return 0;
}
