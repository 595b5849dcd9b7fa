/* SPDX-License-Identifier: MIT */

/*
 * The channel that is kept.
 *
 * The keeper holds copies of the channel's descriptors and an area of shared memory that only the
 * daemon writes. The area's first page is this file's: it says what the descriptors are. Behind it
 * is the record of the protocol's state (balloon/dynmem_record.h).
 *
 * The page is written while things happen that it cannot follow in one step: a message is taken from
 * a socket, a request is sent, a descriptor is handed over. Meanwhile it says so, and a daemon that
 * dies then leaves a channel that nobody goes on with: it is closed, the host forgets the memory,
 * and the memory is unreported. That is rare, because such things happen when a channel is opened or
 * closed, and means little, because the host has no memory at that time or loses it then.
 *
 * The keeper does one thing at a time, and may be at work on a slice of memory when a lab host offers a
 * channel. The event loop does not wait for that: the worker hands the descriptors over, and the page says
 * so when it has. If they were forgotten meanwhile, it never does.
 */

#include "daemon/kept.h"

#include "base/container.h"
#include "base/log.h"

#include <assert.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define KEPT_MAGIC UINT32_C(0x4b455054) /* "KEPT" */

enum {
	KEPT_VERSION = 1,
	CHANNEL_FD_MIN = 256, /* as keeper_client.c has it: closed first if we die */
};

/* The first page of the area. */
struct kept_page {
	uint32_t magic;
	uint32_t version;
	_Atomic uint32_t kind; /* enum kept_kind; the last to be written, the first to go */
	_Atomic uint32_t unsettled;
	char peer[KEPT_PEER_SIZE];
	uint32_t has_channel;
	uint32_t n_slots;
	uint64_t map_bytes; /* of the channel's rings */
	struct kept_slot slots[KEPT_SLOTS_MAX];
};
static_assert(sizeof(struct kept_page) <= KEPT_AREA_BYTES, "one page");

/* Descriptors on their way to the keeper. */
struct parking {
	struct job job;
	LIST_ENTRY(parking) link;
	struct kept *kept;
	bool has_channel; /* they are a channel's, else a connection's */
	unsigned number;  /* of it, as the next struct counts them: another by now, and it is forgotten */
	int fds[KEEPER_N_FDS];
	int result;
};

struct kept {
	struct keeper_client *keeper;
	struct kept_page *page;
	struct jobs *jobs; /* NULL: whoever hands something over waits */
	LIST_HEAD(, parking) parkings;
	unsigned host;    /* counts the connections that were kept or forgotten */
	unsigned channel; /* and the channels */
	struct kept_page found; /* what a predecessor left; kind NONE: nothing, or it is taken */
};

/* Is what a predecessor wrote a channel that can be gone on with? */
static bool is_sound(const struct kept *k, const struct kept_page *page)
{
	if (page->magic != KEPT_MAGIC || page->version != KEPT_VERSION || page->unsettled ||
	    page->n_slots > KEPT_SLOTS_MAX || !memchr(page->peer, '\0', KEPT_PEER_SIZE))
		return false;
	if (page->kind == KEPT_LAB && keeper_client_fd(k->keeper, KEEPER_FD_HOST) < 0)
		return false;
	if (page->has_channel && keeper_client_fd(k->keeper, KEEPER_FD_RINGS) < 0)
		return false;
	return page->kind == KEPT_LAB || (page->kind == KEPT_UIO && page->has_channel);
}

void kept_clear(struct kept *k)
{
	if (!k)
		return;
	k->host++;
	k->channel++;
	atomic_store(&k->page->kind, KEPT_NONE);
	*k->page = (struct kept_page){.magic = KEPT_MAGIC, .version = KEPT_VERSION};
}

int kept_new(struct keeper_client *keeper, bool found, struct kept **ret_kept)
{
	struct kept *k = calloc(1, sizeof(*k));
	size_t bytes;

	if (!k)
		return -ENOMEM;
	k->keeper = keeper;
	LIST_INIT(&k->parkings);
	k->page = keeper_client_area(keeper, &bytes);
	assert(bytes >= KEPT_AREA_BYTES);
	memcpy(&k->found, k->page, sizeof(k->found));
	if (!is_sound(k, &k->found)) {
		k->found = (struct kept_page){.kind = KEPT_NONE};
		kept_clear(k);
		if (found)
			keeper_client_drop(keeper);
	}
	*ret_kept = k;
	return 0;
}

void kept_use_jobs(struct kept *k, struct jobs *jobs)
{
	if (k)
		k->jobs = jobs;
}

static struct parking *parking_free(struct parking *p)
{
	for (int i = 0; i < KEEPER_N_FDS; i++)
		close_fd(p->fds[i]);
	LIST_REMOVE(p, link);
	free(p);
	return NULL;
}

struct kept *kept_free(struct kept *k)
{
	if (!k)
		return NULL;
	while (!LIST_EMPTY(&k->parkings))
		(void)parking_free(LIST_FIRST(&k->parkings));
	free(k);
	return NULL;
}

bool kept_has(const struct kept *k, enum kept_kind kind, const char *peer)
{
	return k && k->found.kind == kind && strcmp(k->found.peer, peer) == 0;
}

/* A copy of a descriptor that the keeper has; -1 if it has none. */
static int copy_fd(const struct kept *k, enum keeper_fd which)
{
	int fd = keeper_client_fd(k->keeper, which);

	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

int kept_take_port(struct kept *k, struct vmbus_port *ret_port)
{
	bool is_lab = k->found.kind == KEPT_LAB;
	int fds[3] = {-1, -1, -1};

	assert(k->found.kind != KEPT_NONE);
	if (!k->found.has_channel)
		return -ENOENT;
	fds[0] = copy_fd(k, KEEPER_FD_RINGS);
	if (fds[0] < 0)
		return -EBADF;
	if (!is_lab) {
		kept_taken(k);
		return vmbus_port_adopt_uio(k->found.map_bytes, fds[0], fds[0], ret_port);
	}
	fds[1] = copy_fd(k, KEEPER_FD_WAIT);
	fds[2] = copy_fd(k, KEEPER_FD_SIGNAL);
	return vmbus_port_adopt(k->found.map_bytes / 2, fds, ret_port);
}

int kept_take_host(struct kept *k, int *ret_fd)
{
	int fd = copy_fd(k, KEEPER_FD_HOST);

	if (fd < 0)
		return -EBADF;
	*ret_fd = fd;
	return 0;
}

size_t kept_slots(const struct kept *k, struct kept_slot slots[KEPT_SLOTS_MAX])
{
	memcpy(slots, k->found.slots, k->found.n_slots * sizeof(slots[0]));
	return k->found.n_slots;
}

void kept_taken(struct kept *k)
{
	k->found.kind = KEPT_NONE;
}

void kept_drop_untaken(struct kept *k)
{
	if (!k || k->found.kind == KEPT_NONE)
		return;
	kept_taken(k);
	kept_drop_channel(k);
}

/* Says that a connection, or a channel, is kept from now on. */
static void settle_kind(struct kept *k, enum kept_kind kind, bool has_channel)
{
	if (has_channel)
		k->page->has_channel = 1;
	atomic_store(&k->page->kind, kind);
}

/* What came of handing descriptors over; a keeper that is gone leaves them to the next one. */
static bool are_parked(int r)
{
	if (r == 0 || r == KEEPER_CLIENT_LOST)
		return true;
	log_error("memory: the channel is not kept: %s: it will close when hvguestd ends",
		  r < 0 ? strerror(-r) : "no answer");
	return false;
}

static void run_parking(struct worker_job *work)
{
	struct parking *p = container_of(work, struct parking, job.work);

	p->result = keeper_client_park(p->kept->keeper, p->fds);
}

static void parking_done(struct job *job)
{
	struct parking *p = container_of(job, struct parking, job);
	struct kept *k = p->kept;

	if (are_parked(p->result) && p->number == (p->has_channel ? k->channel : k->host))
		settle_kind(k, KEPT_LAB, p->has_channel);
	(void)parking_free(p);
}

/* -EMFILE and the like. */
static int copy_fds(struct parking *p, const int fds[KEEPER_N_FDS])
{
	for (int i = 0; i < KEEPER_N_FDS; i++) {
		p->fds[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, CHANNEL_FD_MIN);
		if (fds[i] >= 0 && p->fds[i] < 0)
			return negative_errno();
	}
	return 0;
}

/* Has the worker hand copies of @fds over. Negative errno. */
static int park_later(struct kept *k, const int fds[KEEPER_N_FDS], bool has_channel)
{
	struct parking *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	*p = (struct parking){
		.job = {.work.run = run_parking, .done = parking_done},
		.kept = k,
		.has_channel = has_channel,
		.number = has_channel ? k->channel : k->host,
		.fds = {-1, -1, -1, -1, -1, -1, -1, -1},
	};
	LIST_INSERT_HEAD(&k->parkings, p, link);
	r = copy_fds(p, fds);
	if (r == 0)
		r = jobs_submit(k->jobs, &p->job);
	if (r)
		(void)parking_free(p);
	return r;
}

/* Hands @fds over, and says so when that is done. */
static void park(struct kept *k, enum kept_kind kind, const int fds[KEEPER_N_FDS], bool has_channel)
{
	if (k->jobs && kind == KEPT_LAB)
		(void)are_parked(park_later(k, fds, has_channel));
	else if (are_parked(keeper_client_park(k->keeper, fds)))
		settle_kind(k, kind, has_channel);
}

static void set_peer(struct kept *k, const char *peer)
{
	snprintf(k->page->peer, sizeof(k->page->peer), "%s", peer);
}

void kept_set_host(struct kept *k, const char *peer, int host_fd)
{
	int fds[KEEPER_N_FDS] = {-1, -1, -1, -1, -1, -1, -1, -1};

	if (!k)
		return;
	kept_taken(k);
	kept_clear(k);
	kept_unsettle(k);
	set_peer(k, peer);
	fds[KEEPER_FD_HOST] = host_fd;
	park(k, KEPT_LAB, fds, false);
}

void kept_set_channel(struct kept *k, enum kept_kind kind, const char *peer,
		      const struct vmbus_port *port)
{
	int fds[KEEPER_N_FDS] = {-1, -1, -1, -1, -1, -1, -1, -1};

	if (!k)
		return;
	kept_taken(k);
	k->channel++;
	k->page->has_channel = 0;
	set_peer(k, peer);
	k->page->map_bytes = port->map_size;
	if (kind == KEPT_LAB) {
		fds[KEEPER_FD_RINGS] = port->memory_fd;
		fds[KEEPER_FD_WAIT] = port->wait_fd;
		fds[KEEPER_FD_SIGNAL] = port->signal_fd;
	} else {
		fds[KEEPER_FD_RINGS] = port->wait_fd;
	}
	park(k, kind, fds, true);
}

void kept_drop_channel(struct kept *k)
{
	if (!k)
		return;
	kept_clear(k);
	keeper_client_drop(k->keeper);
}

void kept_forget_channel(struct kept *k, bool all)
{
	if (!k)
		return;
	k->channel++;
	k->page->has_channel = 0;
	if (all)
		kept_clear(k);
}

void kept_unsettle(struct kept *k)
{
	if (k)
		atomic_store(&k->page->unsettled, 1);
}

void kept_settle(struct kept *k, const struct kept_slot *slots, size_t n)
{
	if (!k)
		return;
	assert(n <= KEPT_SLOTS_MAX);
	memcpy(k->page->slots, slots, n * sizeof(slots[0]));
	k->page->n_slots = n;
	atomic_store(&k->page->unsettled, 0);
}
