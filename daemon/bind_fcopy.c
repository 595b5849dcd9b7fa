/* SPDX-License-Identifier: MIT */

/*
 * File copy, bound to the world.
 *
 * The machine (services/fcopy) says what to do with the file; services/fcopy_file does it; the
 * channel carries the requests, or in its place the device of a kernel that has a driver for it
 * (before 6.10; names are UTF-8 there; docs/PROTOCOL-fcopy.md section 6). It is off unless
 * fcopy_roots says where a host may put files.
 *
 * Nothing is written while the snapshot holds the file systems: requests wait until it does not,
 * which is looked at twenty times a second while one waits, and never else.
 *
 * Each file that arrives leaves a line in the log and a receipt: what, how large, its SHA-256, who,
 * how long. What was refused or lost leaves a line, too; a host that makes many of them gets one
 * each second, which says how many it stands for. It gets no receipts: those of files that have
 * arrived must not be pushed out by such that have not.
 */

#include "daemon/bind_fcopy.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/device_link.h"
#include "daemon/journal.h"
#include "daemon/ic_channel.h"
#include "daemon/receipts.h"
#include "services/fcopy_file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

#define HOLD_CHECK_NS  UINT64_C(50000000)
#define LOG_PAUSE_NS   UINT64_C(1000000000)

enum {
	/* Linux 6.1 drivers/hv/hv_fcopy.c: FCOPY_VERSION_1, HV_UTIL_TIMEOUT less a little. */
	DEVICE_VERSION = 1,
	DEVICE_LIMIT_S = 28,
};

struct bind_fcopy {
	struct event_base *base;
	const struct config *config;
	struct connection *const *connection;
	struct snapshot *snapshot;
	struct receipts *receipts;
	struct ic_channel channel;
	struct device_link *device; /* in place of the channel; or NULL */
	uint8_t *device_message;    /* the open request there */
	struct fcopy core;
	struct fcopy_place_config place;
	char record[PATH_MAX];
	struct fcopy_file *file; /* NULL: it is off */
	struct event *timer;
	uint64_t armed_ns; /* what the timer is set to; UINT64_MAX: nothing */

	struct timespec started; /* the file under way */
	uint64_t started_ns;
	char why[FCOPY_WHY_SIZE];
	uint64_t quiet_until_ns; /* no line about a failure before */
	unsigned int n_unsaid;
	json_t *last_failure; /* NULL: none */
};

static void perform(struct bind_fcopy *b);

/* What the receipt names as its sender: the protocol knows no other. */
static void who_text(const struct bind_fcopy *b, char text[PATH_MAX])
{
	const struct connection *c = *b->connection;

	if (b->device)
		snprintf(text, PATH_MAX, "Hyper-V host over %s", b->config->fcopy_device);
	else if (b->config->lab_socket)
		snprintf(text, PATH_MAX, "lab host at %s", b->config->lab_socket);
	else
		snprintf(text, PATH_MAX, "Hyper-V host over %s", c ? c->ops->transport : "VMBus");
}

static void format_time(const struct timespec *t, char text[32])
{
	struct tm tm;

	gmtime_r(&t->tv_sec, &tm);
	strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void audit_done(struct bind_fcopy *b)
{
	const struct fcopy_receipt *r = fcopy_file_receipt(b->file);
	uint64_t took_ns = clock_monotonic_ns() - b->started_ns;
	char who[PATH_MAX], started[32], result[128];

	who_text(b, who);
	format_time(&b->started, started);
	log_as(EVENT_FILE_COPIED, r->path, "file copy: %llu bytes in %s, sha256 %s, from the %.60s: %s",
	       (unsigned long long)r->bytes, duration_format(took_ns).text, r->sha256, who, r->path);
	snprintf(result, sizeof(result), "complete, %llu bytes", (unsigned long long)r->bytes);
	receipts_add(b->receipts,
		     json_pack("{s:i, s:s, s:s, s:s, s:I, s:s, s:f, s:s, s:s}", "schema", 1, "started",
			       started, "requester", who, "path", r->path, "bytes",
			       (json_int_t)r->bytes, "sha256", r->sha256, "seconds",
			       (double)took_ns / 1e9, "class", "complete", "result", result));
}

static void log_failure(struct bind_fcopy *b, const char *path, const char *what)
{
	uint64_t now = clock_monotonic_ns();
	char more[48] = "";

	if (now < b->quiet_until_ns) {
		b->n_unsaid++;
		return;
	}
	if (b->n_unsaid > 0)
		snprintf(more, sizeof(more), " (and %u others before)", b->n_unsaid);
	b->n_unsaid = 0;
	b->quiet_until_ns = now + LOG_PAUSE_NS;
	log_as(EVENT_FILE_NOT_COPIED, path, "file copy: not copied: %s%s%s%s: %s", what,
	       b->why[0] ? ": " : "", b->why, more, path);
}

static void audit_failure(struct bind_fcopy *b, enum fcopy_result result)
{
	const struct fcopy_start *s = &b->core.start;
	char path[2 * FCOPY_TEXT_SIZE], who[PATH_MAX], started[32];

	snprintf(path, sizeof(path), "%s/%s", s->directory, s->name);
	who_text(b, who);
	format_time(&b->started, started);
	log_failure(b, path, fcopy_result_name(result));
	json_decref(b->last_failure);
	b->last_failure = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s}", "started", started, "requester",
				    who, "path", path, "bytes", (json_int_t)s->size_bytes, "result",
				    fcopy_result_name(result), "why", b->why);
}

/* What the file tells. */

static void on_opened(void *self, enum fcopy_result result)
{
	struct bind_fcopy *b = self;

	if (result != FCOPY_OK && b->core.state == FCOPY_STARTING) {
		snprintf(b->why, sizeof(b->why), "%s", fcopy_file_why(b->file));
		audit_failure(b, result);
	}
	fcopy_opened(&b->core, result, clock_monotonic_ns());
	perform(b);
}

static void on_taken(void *self)
{
	struct bind_fcopy *b = self;

	fcopy_taken(&b->core, clock_monotonic_ns());
	perform(b);
}

static void on_failed(void *self, enum fcopy_result result)
{
	struct bind_fcopy *b = self;

	snprintf(b->why, sizeof(b->why), "%s", fcopy_file_why(b->file));
	fcopy_failed(&b->core, result, clock_monotonic_ns());
	perform(b);
}

static void on_finished(void *self, enum fcopy_result result)
{
	struct bind_fcopy *b = self;

	if (result == FCOPY_OK)
		audit_done(b);
	else
		snprintf(b->why, sizeof(b->why), "%s", fcopy_file_why(b->file));
	fcopy_finished(&b->core, result, clock_monotonic_ns());
	perform(b);
}

static void on_discarded(void *self)
{
	struct bind_fcopy *b = self;

	fcopy_discarded(&b->core, clock_monotonic_ns());
	perform(b);
}

static void on_swept(void *self, const char *what)
{
	(void)self;
	log_warning("file copy: a predecessor was killed while it replaced a file: %s", what);
}

static const struct fcopy_file_user file_ops = {
	.on_opened = on_opened,
	.on_taken = on_taken,
	.on_failed = on_failed,
	.on_finished = on_finished,
	.on_discarded = on_discarded,
	.on_swept = on_swept,
};

/* What the machine wants. */

static void do_open(struct bind_fcopy *b)
{
	clock_gettime(CLOCK_REALTIME, &b->started);
	b->started_ns = clock_monotonic_ns();
	b->why[0] = '\0';
	if (fcopy_file_open(b->file, &b->core.start))
		fcopy_opened(&b->core, FCOPY_FAILED, clock_monotonic_ns());
}

static void do_data(struct bind_fcopy *b)
{
	uint64_t now = clock_monotonic_ns();

	switch (fcopy_file_write(b->file, b->core.data.data, b->core.data.size)) {
	case 0:
		fcopy_taken(&b->core, now);
		break;
	case FCOPY_FILE_WAIT:
		break;
	default:
		fcopy_failed(&b->core, FCOPY_FAILED, now);
	}
}

static void do_finish(struct bind_fcopy *b)
{
	if (fcopy_file_finish(b->file))
		fcopy_failed(&b->core, FCOPY_FAILED, clock_monotonic_ns());
}

static void do_discard(struct bind_fcopy *b, enum fcopy_result why)
{
	audit_failure(b, why);
	if (fcopy_file_discard(b->file))
		log_error("file copy: no memory to discard a file; it goes when hvguestd ends");
}

static void do_answer(struct bind_fcopy *b, uint32_t status)
{
	struct bytes_writer out;
	uint8_t answer[4];

	if (!b->device) {
		ic_channel_answer(&b->channel, status);
		return;
	}
	bytes_writer_init(&out, answer, sizeof(answer));
	bytes_put_u32(&out, status);
	/* If it is lost the device is closed, and that ends the copy. */
	(void)!device_link_answer(b->device, answer, sizeof(answer));
}

/* What a host could make us say as often as it likes is said once. */
static void tell_note(const struct bind_fcopy *b, enum fcopy_note note)
{
	if (b->core.stats.notes[note] == 1)
		log_notice("file copy: %s; counted from now on", fcopy_note_name(note));
}

static void arm(struct bind_fcopy *b)
{
	uint64_t deadline_ns = fcopy_deadline_ns(&b->core);

	if (b->core.held && b->core.waits)
		deadline_ns = clock_monotonic_ns() + HOLD_CHECK_NS;
	/* It moves with each fragment: later is looked at when the timer has passed. */
	if (deadline_ns >= b->armed_ns && deadline_ns != UINT64_MAX)
		return;
	if (deadline_ns == b->armed_ns)
		return;
	b->armed_ns = deadline_ns;
	timer_set(b->timer, deadline_ns);
}

static void perform(struct bind_fcopy *b)
{
	struct fcopy_action action;

	while (fcopy_next_action(&b->core, &action)) {
		switch (action.type) {
		case FCOPY_ACTION_OPEN:
			do_open(b);
			break;
		case FCOPY_ACTION_DATA:
			do_data(b);
			break;
		case FCOPY_ACTION_FINISH:
			do_finish(b);
			break;
		case FCOPY_ACTION_DISCARD:
			do_discard(b, action.result);
			break;
		case FCOPY_ACTION_ANSWER:
			do_answer(b, action.status);
			break;
		case FCOPY_ACTION_NOTE:
			tell_note(b, action.note);
			break;
		}
	}
	/* In the middle of a file the deadline is ten minutes away, and only moves away. */
	if (b->core.state != FCOPY_OPEN || b->armed_ns == UINT64_MAX || b->core.waits)
		arm(b);
}

static void look_at_hold(struct bind_fcopy *b, uint64_t now_ns)
{
	bool held = snapshot_is_holding(b->snapshot);

	if (held != b->core.held)
		fcopy_hold(&b->core, held, now_ns);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct bind_fcopy *b = user;
	uint64_t now = clock_monotonic_ns();

	(void)fd;
	(void)what;
	b->armed_ns = UINT64_MAX;
	look_at_hold(b, now);
	fcopy_tick(&b->core, now);
	perform(b);
	arm(b);
}

static void receive(struct bind_fcopy *b, const void *message, size_t size)
{
	uint64_t now = clock_monotonic_ns();

	look_at_hold(b, now);
	fcopy_receive(&b->core, message, size, now);
	perform(b);
	ic_channel_flush(&b->channel);
	fcopy_file_sum(b->file);
}

static void on_request(void *self, uint8_t *message, size_t size)
{
	receive(self, message, size);
}

static void give_up(struct bind_fcopy *b, enum fcopy_result why)
{
	fcopy_abort(&b->core, why, clock_monotonic_ns());
	perform(b);
}

static void on_lost(void *self)
{
	give_up(self, FCOPY_LOST);
}

static const struct ic_channel_user channel_ops = {
	.on_request = on_request,
	.on_negotiated = on_lost,
	.on_overtaken = on_lost,
	.on_closed = on_lost,
};

static size_t put_registration(uint8_t ret_message[DEVICE_MESSAGE_MAX])
{
	struct bytes_writer out;

	bytes_writer_init(&out, ret_message, DEVICE_MESSAGE_MAX);
	bytes_put_u32(&out, DEVICE_VERSION);
	return bytes_written(&out);
}

/* The echo of the registration is the only message that is shorter than a header. */
static enum device_event device_event(const void *message, size_t size)
{
	struct bytes_reader in;

	if (size >= FCOPY_HEADER_SIZE)
		return DEVICE_REQUEST;
	bytes_reader_init(&in, message, size);
	return size == 4 && bytes_get_u32(&in) == DEVICE_VERSION ? DEVICE_REGISTERED : DEVICE_UNKNOWN;
}

static unsigned int device_limit_s(const void *message, size_t size)
{
	(void)message;
	(void)size;
	return DEVICE_LIMIT_S;
}

static const struct device_kind device_kind = {
	.service = "file copy",
	.daemon = "hv_fcopy_daemon; its service is hv-fcopy-daemon, hypervfcopyd or hv_fcopy_daemon",
	.offer = "the guest service interface",
	.put_registration = put_registration,
	.event = device_event,
	.limit_s = device_limit_s,
};

/* A request may have to wait, longer than the link keeps it. */
static void on_device_request(void *self, const void *message, size_t size)
{
	struct bind_fcopy *b = self;

	memcpy(b->device_message, message, size);
	receive(b, b->device_message, size);
}

static const struct device_link_user device_ops = {
	.on_request = on_device_request,
	.on_closed = on_lost,
};

/* Whether this machine's kernel has no driver for it, so that the channel is there to be used. */
static bool kernel_leaves_it(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	/* Linux ec314f61e4fc removed drivers/hv/hv_fcopy.c for 6.10. */
	return uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 10));
}

bool bind_fcopy_wants_device(const struct config *config)
{
	if (config->n_fcopy_roots == 0 || config->lab_socket || (config->takeover & CONFIG_FCOPY))
		return false;
	return access(config->fcopy_device, F_OK) == 0 || !kernel_leaves_it();
}

int bind_fcopy_use_device(struct bind_fcopy *b)
{
	b->device_message = malloc(DEVICE_MESSAGE_MAX);
	if (!b->device_message)
		return -ENOMEM;
	fcopy_init(&b->core, FCOPY_UTF8);
	return device_link_new(b->base, &device_kind, b->config->fcopy_device, &device_ops, b,
			       &b->device);
}

bool bind_fcopy_has_host(const struct bind_fcopy *b)
{
	return b->device && device_link_is_open(b->device);
}

static int open_file(struct bind_fcopy *b)
{
	const struct config *c = b->config;
	int r;

	b->place = (struct fcopy_place_config){
		.roots = c->fcopy_roots,
		.n_roots = c->n_fcopy_roots,
		.mode = c->fcopy_mode,
		.has_owner = c->fcopy_has_owner,
		.uid = c->fcopy_uid,
		.gid = c->fcopy_gid,
		.record = b->record,
	};
	if (snprintf(b->record, sizeof(b->record), "%s/copies/.copying", c->state_dir) >=
	    (int)sizeof(b->record))
		return -ENAMETOOLONG;
	r = receipts_new(b->base, c, &receipts_of_copies, &b->receipts);
	if (r)
		return r;
	return fcopy_file_new(b->base, &b->place, &file_ops, b, &b->file);
}

int bind_fcopy_new(struct event_base *base, const struct config *config,
		   struct connection *const *connection, struct snapshot *snapshot,
		   struct bind_fcopy **ret_binding)
{
	_cleanup_(cleanup_bind_fcopyp) struct bind_fcopy *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->base = base;
	b->config = config;
	b->connection = connection;
	b->snapshot = snapshot;
	b->armed_ns = UINT64_MAX;
	ic_channel_init(&b->channel, base, connection, &ic_service_fcopy, &channel_ops, b);
	fcopy_init(&b->core, FCOPY_UTF16);
	b->timer = event_new(base, -1, 0, on_timer, b);
	if (!b->timer)
		return -ENOMEM;
	if (config->n_fcopy_roots > 0) {
		r = open_file(b);
		if (r)
			return r;
	}
	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_fcopy *bind_fcopy_free(struct bind_fcopy *b)
{
	if (!b)
		return NULL;
	ic_channel_fini(&b->channel);
	b->device = device_link_free(b->device);
	b->file = fcopy_file_free(b->file);
	b->receipts = receipts_free(b->receipts);
	if (b->timer)
		event_free(b->timer);
	json_decref(b->last_failure);
	free(b->device_message);
	free(b);
	return NULL;
}

struct service bind_fcopy_service(struct bind_fcopy *b)
{
	return ic_channel_service(&b->channel);
}

static json_t *roots_list(const struct config *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->n_fcopy_roots; i++)
		json_array_append_new(list, json_string(c->fcopy_roots[i]));
	return list;
}

static void add_file(const struct bind_fcopy *b, json_t *status)
{
	const struct fcopy *f = &b->core;
	char path[2 * FCOPY_TEXT_SIZE];

	if (!fcopy_is_active(f))
		return;
	snprintf(path, sizeof(path), "%s/%s", f->start.directory, f->start.name);
	json_object_set_new(status, "path", json_string(path));
	json_object_set_new(status, "done_bytes", json_integer((json_int_t)f->position));
	json_object_set_new(status, "total_bytes", json_integer((json_int_t)f->start.size_bytes));
}

/* How often each state was entered. */
static json_t *count_states(const struct fcopy_stats *s)
{
	json_t *states = json_object();

	for (int i = 0; i < FCOPY_STATES; i++)
		json_object_set_new(states, fcopy_state_name(i), json_integer((json_int_t)s->entered[i]));
	return states;
}

json_t *bind_fcopy_status(const struct bind_fcopy *b)
{
	const struct fcopy_stats *s = &b->core.stats;
	char version[16];
	json_t *status;

	if (!b->file)
		return json_pack("{s:b, s:s}", "enabled", 0, "why",
				 "fcopy_roots names no folder that a host may put files in");
	status = json_pack("{s:b, s:s, s:s*, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:b}", "enabled", 1, "channel",
			   b->device ? device_link_state(b->device) : ic_channel_state(&b->channel),
			   "version", b->device ? NULL : ic_channel_version(&b->channel, version), "state",
			   fcopy_state_name(b->core.state), "states", count_states(s), "roots", roots_list(b->config), "copied",
			   (json_int_t)s->finished, "bytes", (json_int_t)s->bytes, "refused",
			   (json_int_t)s->refused, "discarded", (json_int_t)s->discarded, "waits_for_thaw",
			   b->core.held && b->core.waits);
	if (status)
		add_file(b, status);
	if (status && b->device)
		json_object_set_new(status, "device", json_string(b->config->fcopy_device));
	if (status && b->device && device_link_problem(b->device))
		json_object_set_new(status, "device_problem",
				    json_string(device_link_problem(b->device)));
	if (status && b->last_failure)
		json_object_set(status, "last_failure", b->last_failure);
	return status;
}

static void get_copies(struct httpd_request *request, void *user)
{
	const struct bind_fcopy *b = user;
	json_t *copies = json_array(), *receipt;

	for (size_t n = 1; b->receipts && (receipt = receipts_get(b->receipts, n)); n++)
		json_array_append_new(copies, receipt);
	httpd_reply_json(request, 200,
			 json_pack("{s:i, s:o, s:O?}", "schema", 1, "copies", copies, "last_failure",
				   b->last_failure));
}

int bind_fcopy_add_routes(struct bind_fcopy *b, struct httpd *httpd)
{
	return httpd_route(httpd, "GET", "/v1/copies", get_copies, b);
}
