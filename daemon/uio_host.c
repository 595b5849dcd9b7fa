/* SPDX-License-Identifier: MIT */

/*
 * VMBus devices taken over from the kernel's drivers.
 *
 *                      found, taken, opened
 *     WANTED ---job---> BUSY ------------------> OPEN
 *       ^                |                        |
 *       | not there, or  |                        | the ring is corrupt, or the host has
 *       | worth a retry  |                        | taken the channel away
 *       +----------------+------------------------+
 *                        |                        |
 *                        v  not worth a retry     v  the service gives up
 *                      LEFT <----------job--------+
 *
 * For each service there is one slot with the device of its class. Finding, taking, opening and
 * giving back wait for the kernel and for the host, so they are jobs of a thread of their own; a
 * slot is BUSY from the submission of a job to its end, and belongs to the thread meanwhile.
 *
 * That a channel is gone is told by its service, whose link reads the device's descriptor. A host
 * that offers the device again makes a new one, which the kernel's driver gets first: the slot goes
 * back to WANTED and takes it over as it did the first time. Each opening costs kernel memory that
 * is never freed, so the pause before the next try doubles, up to a minute, until a channel has
 * been open that long.
 *
 * The channel of dynamic memory outlives the daemon, in the session (daemon/kept.c): a successor
 * begins in OPEN, if the device is still the one that it was. Because the kernel closes a channel
 * with its last descriptor, the session's copy is dropped before a device is opened anew or given
 * back.
 *
 * A device that could not be used is back with its driver, and the slot is LEFT: it is not touched
 * again until the host has offered it anew, because each try would take it from its driver for a
 * moment. Nothing is given back while its descriptor may be open: by the time the job runs the
 * service's link has closed it, and the takeover checks.
 */

#include "daemon/uio_host.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/journal.h"
#include "vmbus/transport_uio.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_S     UINT64_C(1000000000)
#define PAUSE_MAX_NS (60 * NS_PER_S)

enum {
	OPEN_TRIES = 3, /* before the device is given back */
	TEXT_SIZE = 256,
};

enum slot_state {
	SLOT_WANTED,
	SLOT_BUSY,
	SLOT_OPEN,
	SLOT_LEFT,
};

enum job_kind {
	JOB_TAKE,
	JOB_GIVE_BACK,
};

/* How a job ended. */
enum outcome {
	OUTCOME_DONE,
	OUTCOME_ABSENT,    /* there is no such device */
	OUTCOME_UNCHANGED, /* the device is there, and was left before */
	OUTCOME_RETRY,     /* nothing is changed, or the device stays taken */
	OUTCOME_LEAVE,     /* the device is back with its driver, and no use */
};

struct uio_host;

struct slot {
	struct job job;
	struct uio_host *host;
	const struct takeover_config *config;
	const struct service *service;
	enum slot_state state;
	uint64_t try_ns;   /* WANTED, LEFT: when to look again */
	uint64_t pause_ns; /* before the next try */
	uint64_t opened_ns;
	unsigned open_failures;
	bool was_left;     /* left_channel_id is not worth a try */
	int64_t left_channel_id;
	struct takeover *takeover; /* NULL: nothing is taken */
	bool is_kept;              /* the session has the channel: dropped before anything else */
	char error[TEXT_SIZE];     /* why the channel is not open; what was said last */

	enum job_kind kind;
	enum outcome outcome;
	struct vmbus_device device;
	struct vmbus_port port; /* TAKE: until the service has it */
	char text[TEXT_SIZE];   /* what the job has to say */
};

struct uio_host {
	struct connection connection;
	struct jobs *jobs;
	struct event *timer;
	struct kept *kept;
	struct slot *slots;
	size_t n_slots;
	uint64_t retry_ns;
	bool told_of_hibernation;
};

/* Everything from here to run_job() is in the jobs' thread. */

static enum outcome say(struct slot *slot, enum outcome outcome, const char *text)
{
	snprintf(slot->text, sizeof(slot->text), "%s", text);
	return outcome;
}

static enum outcome say_of_device(struct slot *slot, enum outcome outcome, const char *text)
{
	snprintf(slot->text, sizeof(slot->text), "device %s: %s", slot->device.instance, text);
	return outcome;
}

static enum outcome say_holder(struct slot *slot, const struct fd_holder *holder)
{
	char text[TEXT_SIZE / 2];

	snprintf(text, sizeof(text), "process %d (%s) has %s open: stop it first",
		 (int)holder->pid, holder->name, holder->path);
	return say_of_device(slot, OUTCOME_RETRY, text);
}

/* Which device this is, for the session. */
static void name_peer(const struct slot *slot, char peer[KEPT_PEER_SIZE])
{
	snprintf(peer, KEPT_PEER_SIZE, "%s %lld", slot->device.instance,
		 (long long)slot->device.channel_id);
}

static enum outcome find_device(struct slot *slot)
{
	int r = vmbus_discover_class(slot->config->sysfs, slot->service->class_id, &slot->device);

	if (r < 0)
		return say(slot, OUTCOME_ABSENT, strerror(-r));
	if (r)
		return say(slot, OUTCOME_ABSENT,
			   "the host offers no such device: enable the service in this machine's "
			   "settings (a confidential machine has none but heartbeat)");
	if (slot->was_left && slot->device.channel_id == slot->left_channel_id)
		return OUTCOME_UNCHANGED;
	return OUTCOME_DONE;
}

/* An error of the kernel's, with what helps where something does. */
static enum outcome say_errno(struct slot *slot, enum outcome outcome, const char *what, int error)
{
	const char *remedy = "";
	char text[TEXT_SIZE / 2];

	if (error == -ENOMEM)
		remedy = ": memory is too fragmented for its rings: take it over at boot";
	else if (error == -ENOENT)
		remedy = ": see that /dev is a devtmpfs, or udev at work";
	else if (error == -EACCES || error == -EPERM)
		remedy = ": run as root";
	snprintf(text, sizeof(text), "%s: %s%s", what, strerror(-error), remedy);
	return say_of_device(slot, outcome, text);
}

static enum outcome take_device(struct slot *slot)
{
	struct fd_holder holder;
	int r = takeover_new(slot->config, &slot->device, &holder, &slot->takeover);

	if (r < 0)
		return say_errno(slot, OUTCOME_LEAVE, "cannot be taken over", r);
	switch (r) {
	case 0:
		return OUTCOME_DONE;
	case TAKEOVER_BUSY:
		return say_holder(slot, &holder);
	case TAKEOVER_TOO_OLD:
	case TAKEOVER_NO_UIO:
		return say_of_device(slot, OUTCOME_LEAVE, takeover_text(r));
	default:
		return say_of_device(slot, OUTCOME_RETRY, takeover_text(r));
	}
}

/* Only one service has a channel that outlives the daemon. */
static void keep_channel(struct slot *slot)
{
	char peer[KEPT_PEER_SIZE];

	if (!slot->service->resume)
		return;
	name_peer(slot, peer);
	kept_set_channel(slot->host->kept, KEPT_UIO, peer, &slot->port);
	slot->is_kept = true;
}

/* The channel is closed only when nobody keeps it any more. */
static void drop_channel(struct slot *slot)
{
	if (slot->is_kept)
		kept_drop_channel(slot->host->kept);
	slot->is_kept = false;
}

/* Gives the device back; what stands in the way is said, after what was to be said before. */
static enum outcome give_back(struct slot *slot)
{
	struct fd_holder holder;
	int r;

	drop_channel(slot);
	r = takeover_give_back(slot->takeover, &holder);
	if (r == TAKEOVER_BUSY)
		return say_holder(slot, &holder);
	slot->takeover = takeover_free(slot->takeover);
	if (r < 0)
		snprintf(slot->text, sizeof(slot->text),
			 "device %s: no driver takes it back (%s): load its module and write its name to "
			 "%s/drivers_probe",
			 slot->device.instance, strerror(-r), slot->config->sysfs);
	return OUTCOME_LEAVE;
}

static enum outcome open_channel(struct slot *slot)
{
	int r = transport_uio_open(takeover_node(slot->takeover),
				   takeover_map_bytes(slot->takeover), &slot->port);

	if (r == 0) {
		keep_channel(slot);
		return OUTCOME_DONE;
	}
	if (r < 0)
		(void)say_errno(slot, OUTCOME_RETRY, takeover_node(slot->takeover), r);
	else
		(void)say_of_device(slot, OUTCOME_RETRY, transport_uio_text(r));
	if (r == TRANSPORT_UIO_GONE) {
		slot->takeover = takeover_free(slot->takeover);
		return OUTCOME_RETRY;
	}
	if (++slot->open_failures < OPEN_TRIES && r != TRANSPORT_UIO_BAD_RINGS)
		return OUTCOME_RETRY;
	slot->open_failures = 0;
	return give_back(slot);
}

static enum outcome take(struct slot *slot)
{
	enum outcome outcome;

	drop_channel(slot);
	outcome = find_device(slot);
	if (slot->takeover && (outcome != OUTCOME_DONE || !takeover_is_bound(slot->takeover)))
		slot->takeover = takeover_free(slot->takeover);
	if (outcome == OUTCOME_DONE && !slot->takeover)
		outcome = take_device(slot);
	if (outcome == OUTCOME_DONE)
		outcome = open_channel(slot);
	return outcome;
}

static void run_job(struct worker_job *work)
{
	struct slot *slot = container_of(work, struct slot, job.work);

	slot->text[0] = '\0';
	slot->outcome = slot->kind == JOB_TAKE ? take(slot) : give_back(slot);
}

static struct uio_host *uio_host_of(struct connection *connection)
{
	return container_of(connection, struct uio_host, connection);
}

static void retry_later(struct slot *slot, enum slot_state state)
{
	slot->state = state;
	slot->try_ns = clock_monotonic_ns() + slot->pause_ns;
	slot->pause_ns = slot->pause_ns * 2 < PAUSE_MAX_NS ? slot->pause_ns * 2 : PAUSE_MAX_NS;
}

static void look_later(struct slot *slot, enum slot_state state)
{
	slot->state = state;
	slot->try_ns = clock_monotonic_ns() + slot->config->retry_ns;
}

/* Logs what the job has to say, unless it was the same the last time. */
static void complain(struct slot *slot, const char *text)
{
	if (strcmp(slot->error, text) == 0)
		return;
	snprintf(slot->error, sizeof(slot->error), "%s", text);
	if (text[0])
		log_as(EVENT_DEVICE_NOT_TAKEN, slot->service->name, "%s: %s", slot->service->name, text);
}

static void leave(struct slot *slot)
{
	slot->was_left = true;
	slot->left_channel_id = slot->device.channel_id;
	slot->pause_ns = slot->config->retry_ns;
	look_later(slot, SLOT_LEFT);
}

static void hand_over(struct slot *slot)
{
	uint64_t extra_bytes = takeover_extra_bytes(slot->takeover);
	struct vmbus_port port = slot->port;

	slot->port = (struct vmbus_port)VMBUS_PORT_INIT;
	slot->state = SLOT_OPEN;
	slot->opened_ns = clock_monotonic_ns();
	slot->open_failures = 0;
	slot->was_left = false;
	slot->error[0] = '\0';
	log_as(EVENT_CHANNEL_OPEN, slot->service->name, "%s: channel %lld is open: device %s by %s",
	       slot->service->name, (long long)slot->device.channel_id, slot->device.instance,
	       takeover_node(slot->takeover));
	if (extra_bytes > 0)
		log_warning("%s: this kernel keeps %s of memory for device %s, for nothing: "
			    "take over what you need only (Linux 7.2 keeps none)",
			    slot->service->name, size_format(extra_bytes).text,
			    slot->device.instance);
	if (!slot->host->told_of_hibernation)
		log_notice("this machine cannot hibernate while a device is taken over: "
			   "uio_hv_generic cannot suspend one");
	slot->host->told_of_hibernation = true;
	slot->service->open(slot->service->self, &port);
}

/* The device of a predecessor's channel is there, and ours again; its port is in slot->port. */
static bool find_kept(struct slot *slot)
{
	struct takeover_config config = *slot->config;
	char peer[KEPT_PEER_SIZE];
	struct fd_holder holder;

	if (!slot->service->resume || find_device(slot) != OUTCOME_DONE)
		return false;
	name_peer(slot, peer);
	if (!kept_has(slot->host->kept, KEPT_UIO, peer))
		return false;
	config.is_open_here = true;
	if (takeover_new(&config, &slot->device, &holder, &slot->takeover))
		return false;
	return kept_take_port(slot->host->kept, &slot->port) == 0;
}

/* Goes on with the channel of a predecessor; if that cannot be, it is closed and opened anew. */
static void resume_slot(struct slot *slot)
{
	struct vmbus_port port;

	if (!find_kept(slot))
		return;
	port = slot->port;
	slot->port = (struct vmbus_port)VMBUS_PORT_INIT;
	slot->is_kept = true;
	slot->opened_ns = clock_monotonic_ns();
	if (slot->service->resume(slot->service->self, &port)) {
		slot->state = SLOT_OPEN;
		slot->host->told_of_hibernation = true;
		log_notice("%s: channel %lld is still open: device %s by %s: going on",
			   slot->service->name, (long long)slot->device.channel_id,
			   slot->device.instance, takeover_node(slot->takeover));
	}
}

static void job_done(struct job *job)
{
	struct slot *slot = container_of(job, struct slot, job);

	switch (slot->outcome) {
	case OUTCOME_DONE:
		hand_over(slot);
		break;
	case OUTCOME_ABSENT:
		complain(slot, slot->text);
		slot->was_left = false;
		slot->pause_ns = slot->config->retry_ns;
		look_later(slot, SLOT_WANTED);
		break;
	case OUTCOME_UNCHANGED:
		look_later(slot, SLOT_LEFT);
		break;
	case OUTCOME_RETRY:
		complain(slot, slot->text);
		retry_later(slot, slot->kind == JOB_TAKE ? SLOT_WANTED : SLOT_LEFT);
		break;
	case OUTCOME_LEAVE:
		if (slot->text[0])
			complain(slot, slot->text);
		leave(slot);
		break;
	}
}

static void submit(struct uio_host *h, struct slot *slot)
{
	/* What was left taken is to be given back first. */
	slot->kind = slot->state == SLOT_LEFT && slot->takeover ? JOB_GIVE_BACK : JOB_TAKE;
	if (jobs_submit(h->jobs, &slot->job) == 0)
		slot->state = SLOT_BUSY;
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct uio_host *h = user;
	uint64_t now_ns = clock_monotonic_ns();

	(void)fd;
	(void)what;
	for (size_t i = 0; i < h->n_slots; i++) {
		struct slot *slot = &h->slots[i];

		if ((slot->state == SLOT_WANTED || slot->state == SLOT_LEFT) &&
		    slot->try_ns <= now_ns)
			submit(h, slot);
	}
	timer_set(h->timer, now_ns + h->retry_ns);
}

static void close_channel(struct connection *connection, const void *self, bool again)
{
	struct uio_host *h = uio_host_of(connection);

	for (size_t i = 0; i < h->n_slots; i++) {
		struct slot *slot = &h->slots[i];

		if (slot->service->self != self || slot->state != SLOT_OPEN)
			continue;
		if (clock_monotonic_ns() - slot->opened_ns >= PAUSE_MAX_NS)
			slot->pause_ns = slot->config->retry_ns;
		retry_later(slot, again ? SLOT_WANTED : SLOT_LEFT);
		if (!again)
			complain(slot, "the device goes back to its driver; "
				       "it is tried again when the host offers it anew");
		slot->service->close(slot->service->self, "the channel was closed");
		return;
	}
}

static json_t *get_status(struct connection *connection)
{
	struct uio_host *h = uio_host_of(connection);
	char error[TEXT_SIZE + 32] = "";
	size_t n_open = 0;

	for (size_t i = 0; i < h->n_slots; i++) {
		const struct slot *slot = &h->slots[i];

		if (slot->state == SLOT_OPEN)
			n_open++;
		else if (!error[0] && slot->error[0])
			snprintf(error, sizeof(error), "%s: %s", slot->service->name, slot->error);
	}
	return json_pack("{s:s, s:s, s:s*}", "transport", "uio", "state",
			 n_open == h->n_slots ? "connected" : "waiting", "error",
			 error[0] ? error : NULL);
}

static const char *channel_state(struct connection *connection, const void *self)
{
	static const char *const names[] = {
		[SLOT_WANTED] = "none",
		[SLOT_BUSY] = "opening",
		[SLOT_OPEN] = "open",
		[SLOT_LEFT] = "offered",
	};
	struct uio_host *h = uio_host_of(connection);

	for (size_t i = 0; i < h->n_slots; i++)
		if (h->slots[i].service->self == self)
			return names[h->slots[i].state];
	return names[SLOT_WANTED];
}

/* The end of a slot, after the jobs' thread has ended and the channel is closed. */
static void end_slot(struct slot *slot)
{
	vmbus_port_fini(&slot->port);
	if (!slot->takeover)
		return;
	slot->text[0] = '\0';
	if (give_back(slot) == OUTCOME_LEAVE && !slot->text[0])
		log_info("%s: the device is back with its driver", slot->service->name);
	else
		log_error("%s: the device is not given back: %s", slot->service->name, slot->text);
	slot->takeover = takeover_free(slot->takeover);
}

static struct uio_host *uio_host_free(struct uio_host *h)
{
	if (!h)
		return NULL;
	for (size_t i = 0; i < h->n_slots; i++) {
		struct slot *slot = &h->slots[i];

		if (slot->state == SLOT_OPEN)
			slot->service->close(slot->service->self, "the service ends");
	}
	if (h->timer)
		event_free(h->timer);
	(void)jobs_free(h->jobs);
	for (size_t i = 0; i < h->n_slots; i++)
		end_slot(&h->slots[i]);
	free(h->slots);
	free(h);
	return NULL;
}
DEFINE_CLEANUP(uio_host)

static void free_connection(struct connection *connection)
{
	(void)uio_host_free(uio_host_of(connection));
}

static const struct connection_ops uio_host_ops = {
	.transport = "uio",
	.free = free_connection,
	.close_channel = close_channel,
	.status = get_status,
	.channel_state = channel_state,
};

int uio_host_new(struct event_base *base, const struct takeover_config *config,
		 const struct service *services, size_t n, struct kept *kept_channel,
		 struct connection **ret_connection)
{
	_cleanup_(cleanup_uio_hostp) struct uio_host *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->connection.ops = &uio_host_ops;
	h->retry_ns = config->retry_ns;
	h->kept = kept_channel;
	h->slots = calloc(n, sizeof(*h->slots));
	if (!h->slots)
		return -ENOMEM;
	for (h->n_slots = 0; h->n_slots < n; h->n_slots++)
		h->slots[h->n_slots] = (struct slot){
			.job = {.work.run = run_job, .done = job_done},
			.host = h,
			.config = config,
			.service = &services[h->n_slots],
			.pause_ns = config->retry_ns,
			.port = VMBUS_PORT_INIT,
		};
	r = jobs_new(base, &h->jobs);
	if (r)
		return r;
	h->timer = event_new(base, -1, 0, on_timer, h);
	if (!h->timer)
		return -ENOMEM;
	timer_set(h->timer, 0);
	for (size_t i = 0; i < n; i++)
		resume_slot(&h->slots[i]);

	*ret_connection = &steal_ptr(h)->connection;
	return 0;
}
