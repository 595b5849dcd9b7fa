/* SPDX-License-Identifier: MIT */

/*
 * Hot-added memory, bound to the kernel's messages.
 *
 * The kernel tells of each new block; until it is online it is of no use, and the host that has
 * added it may soon take the guest to be in need again. So a block is brought online as soon as its
 * message is here, by a thread of this binding's own: the kernel may hold its lock on memory
 * hotplug for seconds, and the balloon's worker may be busy for as long. With the kernel's
 * hv_balloon in charge of dynamic memory this is all that is done here, and what that driver says
 * of itself is shown.
 *
 * Blocks that were offline before are somebody's decision and stay so. When messages are lost, all
 * blocks are listed, and those that were not there before count as new.
 */

#include "daemon/bind_hotplug.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/journal.h"
#include "memhotplug/kernel_balloon.h"
#include "memhotplug/onliner.h"
#include "memhotplug/uevent.h"

#include <string.h>

enum {
	QUEUE_MAX = 256,   /* blocks that wait; beyond that all are listed */
	MESSAGES_MAX = 64, /* in one turn of the event loop */
};

struct added_block {
	uint64_t number;
	uint64_t since_ns; /* when its message was here */
};

/* What the thread is given, and what it answers. */
struct online_work {
	struct job job;
	bool running;
	struct onliner_config config;
	struct added_block batch[QUEUE_MAX];
	size_t n;
	bool list_all; /* messages were lost */

	size_t n_done;
	struct onliner_result results[QUEUE_MAX];
	uint64_t took_ns[QUEUE_MAX]; /* from the message to the end */
	struct blocks blocks;        /* afterwards; list_all: all; else only the size */
	size_t n_offline;
};

struct bind_hotplug {
	struct bind_hotplug_context context;
	struct jobs *jobs;
	struct event *event;
	int fd;
	const char *problem; /* why nothing is heard; NULL: it is */
	struct online_work work;
	struct blocks known; /* when messages were last complete */

	struct added_block queue[QUEUE_MAX];
	size_t n_queue;
	bool lost;

	uint64_t added;
	uint64_t outcomes[ONLINER_N_OUTCOMES];
	uint64_t longest_ns;
	struct added_block last;
	struct onliner_result last_result;
	char last_failure[200];
};

/* In the thread: deals with one block. */
static void bring_one(struct online_work *work, size_t i)
{
	onliner_bring(&work->config, work->batch[i].number, &work->results[i]);
	work->took_ns[i] = clock_monotonic_ns() - work->batch[i].since_ns;
}

/* In the thread: blocks that are there now and were not when they were last listed. */
static void find_new(struct online_work *work, const struct blocks *known)
{
	uint64_t now_ns = clock_monotonic_ns();

	for (size_t i = 0; i < work->blocks.n && work->n < QUEUE_MAX; i++) {
		const struct block *block = &work->blocks.list[i];

		if (!blocks_find(known, block->number))
			work->batch[work->n++] = (struct added_block){block->number, now_ns};
	}
}

static void run_work(struct worker_job *job)
{
	struct online_work *work = container_of(job, struct online_work, job.work);
	const struct bind_hotplug *b = container_of(work, struct bind_hotplug, work);
	struct blocks now;

	if (work->list_all && blocks_read(work->config.dir, &work->blocks) == 0)
		find_new(work, &b->known);
	for (work->n_done = 0; work->n_done < work->n; work->n_done++)
		bring_one(work, work->n_done);
	if (blocks_read(work->config.dir, &now) == 0) {
		blocks_fini(&work->blocks);
		work->blocks = now;
		work->n_offline = blocks_count(&now, BLOCK_OFFLINE);
	}
}

static void submit(struct bind_hotplug *b)
{
	struct online_work *work = &b->work;

	if (work->running || (b->n_queue == 0 && !b->lost))
		return;
	memcpy(work->batch, b->queue, b->n_queue * sizeof(b->queue[0]));
	work->n = b->n_queue;
	work->list_all = b->lost;
	b->n_queue = 0;
	b->lost = false;
	work->running = jobs_submit(b->jobs, &work->job) == 0;
	if (!work->running)
		log_error("hotplug: the thread takes no work");
}

static void note_result(struct bind_hotplug *b, size_t i)
{
	const struct onliner_result *result = &b->work.results[i];
	unsigned long long number = b->work.batch[i].number;
	char subject[32];

	b->added++;
	b->outcomes[result->outcome]++;
	b->last = b->work.batch[i];
	b->last_result = *result;
	if (result->outcome == ONLINER_ONLINED && b->work.took_ns[i] > b->longest_ns)
		b->longest_ns = b->work.took_ns[i];
	if (result->text[0])
		memcpy(b->last_failure, result->text, sizeof(b->last_failure));

	snprintf(subject, sizeof(subject), "memory%llu", number);
	if (result->outcome == ONLINER_FAILED)
		log_as(EVENT_BLOCK_STAYS_OFFLINE, subject, "hotplug: %s stays offline: %s", subject, result->text);
	else if (result->text[0])
		log_warning("hotplug: memory%llu: %s", number, result->text);
	else if (result->outcome == ONLINER_ONLINED)
		log_info("hotplug: memory%llu is online in zone %s after %s", number,
			 block_zone_name(result->zone), duration_format(b->work.took_ns[i]).text);
	else
		log_info("hotplug: memory%llu: %s", number, onliner_outcome_name(result->outcome));
}

static void work_done(struct job *job)
{
	struct bind_hotplug *b = container_of(job, struct bind_hotplug, work.job);

	b->work.running = false;
	for (size_t i = 0; i < b->work.n_done; i++)
		note_result(b, i);
	if (b->work.blocks.n > 0) {
		blocks_fini(&b->known);
		b->known = b->work.blocks;
		b->work.blocks = (struct blocks){0};
	}
	submit(b);
}

static void queue_block(struct bind_hotplug *b, uint64_t number)
{
	if (b->n_queue == QUEUE_MAX)
		b->lost = true;
	else
		b->queue[b->n_queue++] = (struct added_block){number, clock_monotonic_ns()};
}

static void handle_event(struct bind_hotplug *b, const struct uevent *event)
{
	switch (event->action) {
	case UEVENT_ADD:
		queue_block(b, event->block);
		break;
	case UEVENT_ONLINE:
		b->context.on_online(b->context.user);
		break;
	case UEVENT_REMOVE:
	case UEVENT_OFFLINE:
		break;
	}
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	struct bind_hotplug *b = user;
	struct uevent event;
	int r = 0;

	(void)what;
	for (int i = 0; i < MESSAGES_MAX && (r == 0 || r == UEVENT_LOST); i++) {
		r = uevent_receive(fd, &event);
		if (r == 0)
			handle_event(b, &event);
		if (r != UEVENT_LOST)
			continue;
		b->lost = true;
		b->context.on_online(b->context.user);
	}
	if (r < 0) {
		log_error("hotplug: the kernel's messages: %s; new memory is not noticed any more",
			  strerror(-r));
		b->problem = "the kernel's messages cannot be read";
		event_del(b->event);
	}
	submit(b);
}

static int listen_to_kernel(struct bind_hotplug *b)
{
	int r;

	if (blocks_read(b->work.config.dir, &b->known)) {
		b->problem = "this kernel has no memory blocks";
		return 0;
	}
	b->work.n_offline = blocks_count(&b->known, BLOCK_OFFLINE);
	r = uevent_open_memory(&b->fd);
	if (r) {
		b->problem = "the kernel's messages cannot be read: netlink is not permitted";
		log_warning("hotplug: %s (%s)", b->problem, strerror(-r));
		return 0;
	}
	b->event = event_new(b->context.base, b->fd, EV_READ | EV_PERSIST, on_readable, b);
	return b->event && event_add(b->event, NULL) == 0 ? 0 : -ENOMEM;
}

int bind_hotplug_new(const struct bind_hotplug_context *context, struct bind_hotplug **ret_binding)
{
	_cleanup_(cleanup_bind_hotplugp) struct bind_hotplug *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->fd = -1;
	b->context = *context;
	b->work.job.work.run = run_work;
	b->work.job.done = work_done;
	b->work.config = (struct onliner_config){
		.dir = BLOCKS_DIR,
		.zoneinfo = "/proc/zoneinfo",
		.policy = context->config->hotplug,
		.ratio_percent = context->config->hotplug_ratio_percent,
	};
	r = jobs_new(context->base, &b->jobs);
	if (r)
		return r;
	r = listen_to_kernel(b);
	if (r)
		return r;
	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_hotplug *bind_hotplug_free(struct bind_hotplug *b)
{
	if (!b)
		return NULL;
	if (b->event)
		event_free(b->event);
	(void)jobs_free(b->jobs);
	(void)close_fd(b->fd);
	blocks_fini(&b->known);
	blocks_fini(&b->work.blocks);
	free(b);
	return NULL;
}

static json_int_t bytes(uint64_t pages)
{
	return (json_int_t)(pages * 4096);
}

/* null where there is no such driver, or it does not say. */
static json_t *kernel_balloon_status(void)
{
	struct kernel_balloon k;

	if (!kernel_balloon_is_bound(KERNEL_BALLOON_DRIVER_DIR))
		return json_null();
	if (kernel_balloon_read(KERNEL_BALLOON_DEBUGFS, &k))
		return json_pack("{s:b, s:s}", "bound", true, "problem",
				 "its figures cannot be read: they need debugfs, root and Linux 6.0");
	return json_pack("{s:b, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "bound", true,
			 "version", k.version, "state", k.state, "can_balloon", k.can_balloon,
			 "can_hot_add", k.can_hot_add, "added_bytes", bytes(k.added_pages),
			 "onlined_bytes", bytes(k.onlined_pages), "ballooned_bytes",
			 bytes(k.ballooned_pages), "committed_bytes", bytes(k.committed_pages),
			 "max_bytes", bytes(k.max_pages));
}

static json_t *last_status(const struct bind_hotplug *b)
{
	if (b->added == 0)
		return json_null();
	return json_pack("{s:I, s:s, s:s}", "block", (json_int_t)b->last.number, "outcome",
			 onliner_outcome_name(b->last_result.outcome), "zone",
			 block_zone_name(b->last_result.zone));
}

json_t *bind_hotplug_status(const struct bind_hotplug *b)
{
	char word[32];
	json_t *status;

	onliner_read_auto(b->work.config.dir, word, sizeof(word));
	status = json_pack("{s:s, s:i, s:s*, s:s, s:I, s:I, s:I, s:f, s:s*, s:o, s:o}", "policy",
			   hotadd_policy_name(b->work.config.policy), "ratio_percent",
			   (int)b->work.config.ratio_percent, "problem", b->problem,
			   "auto_online_blocks", word, "block_bytes",
			   (json_int_t)b->known.block_bytes, "offline_blocks",
			   (json_int_t)(b->work.running ? 0 : b->work.n_offline), "added",
			   (json_int_t)b->added, "longest_seconds", (double)b->longest_ns / 1e9,
			   "last_failure", b->last_failure[0] ? b->last_failure : NULL, "last",
			   last_status(b), "kernel_balloon", kernel_balloon_status());
	for (int i = 0; status && i < ONLINER_N_OUTCOMES; i++)
		json_object_set_new(status, onliner_outcome_name(i),
				    json_integer((json_int_t)b->outcomes[i]));
	return status;
}
