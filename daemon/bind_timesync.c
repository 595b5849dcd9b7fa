/* SPDX-License-Identifier: MIT */

/*
 * Time synchronisation, bound to the world.
 *
 * The clocks are read first thing when a message has come, the host is answered, and then what the
 * message means is done: the clock is set by an offset, or a sample goes to chronyd. Nothing of that
 * waits. docs/PROTOCOL-timesync.md has the rules.
 *
 * With a lab host the guest is the whole machine, whose clock is nobody's to try things on: there the
 * configuration says "off" unless somebody says something else.
 *
 * The log has each step, since programs may stumble over it, and why a message was not followed once
 * for each change of the reason.
 */

#include "daemon/bind_timesync.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/journal.h"
#include "daemon/ic_channel.h"
#include "services/chrony_sock.h"
#include "services/clock_keeper.h"
#include "services/guest_clock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEEPER_AGE_NS UINT64_C(60000000000) /* after so long it is looked again who keeps the clock */

struct bind_timesync {
	const struct config *config;
	struct ic_channel channel;
	struct timesync core;
	struct guest_clock clock;
	struct clock_keeper keeper;
	uint64_t keeper_ns; /* when that was looked for; 0: never */
	int sock;           /* samples are sent from here; -1: none could be made */
	uint64_t sent;      /* samples that chronyd has taken */
	uint64_t failed;    /* steps that the kernel did not make */
	const char *skipped; /* why less was done with the last message than the host wanted; NULL: it was */
};

static const struct clock_keeper *look_for_keeper(struct bind_timesync *b)
{
	uint64_t now = clock_monotonic_ns();

	if (b->keeper_ns == 0 || now - b->keeper_ns >= KEEPER_AGE_NS) {
		b->keeper = clock_keeper_find("");
		b->keeper_ns = now;
	}
	return &b->keeper;
}

/* @why is a static text; NULL: nothing was left out. */
static void note(struct bind_timesync *b, const char *why)
{
	if (why && (!b->skipped || strcmp(b->skipped, why) != 0))
		log_info("timesync: not followed: %s", why);
	b->skipped = why;
}

static void set_clock(struct bind_timesync *b, const struct timesync_action *action)
{
	int r = guest_clock_step(action->offset_ns);

	if (r == 0) {
		log_as(EVENT_CLOCK_SET, NULL, "timesync: the clock was %.3f s %s and has been set, as %s",
		       (double)action->offset_ns / (action->offset_ns < 0 ? -1e9 : 1e9),
		       action->offset_ns < 0 ? "ahead" : "behind",
		       action->asked ? "the host asked" : "no host asks for it after some resumes");
		note(b, NULL);
		return;
	}
	if (b->failed++ == 0)
		log_as(EVENT_CLOCK_NOT_SET, NULL,
		       "timesync: the clock cannot be set: %s: CAP_SYS_TIME is needed", strerror(-r));
	note(b, "the clock cannot be set: CAP_SYS_TIME is needed");
}

static void send_sample(struct bind_timesync *b, const struct timesync_action *action, int64_t real_ns)
{
	const struct chrony_sample sample = {
		.real_ns = real_ns, .offset_ns = action->offset_ns, .leap = (int)action->leap};
	int r;

	if (look_for_keeper(b)->reads_ptp) {
		note(b, "chronyd reads the same host's clock from the kernel's device");
		return;
	}
	r = b->sock < 0 ? CHRONY_SOCK_NOBODY : chrony_sock_send(b->sock, b->config->chrony_socket, &sample);
	if (r == 0) {
		b->sent++;
		note(b, action->why == TIMESYNC_WHY_NONE ? NULL : timesync_why_text(action->why));
	} else if (r == CHRONY_SOCK_NOBODY) {
		note(b, "nobody takes samples: chronyd has no refclock SOCK there");
	} else {
		note(b, r == CHRONY_SOCK_FULL ? "chronyd does not come to read samples"
					      : "chronyd's socket cannot be written to");
	}
}

static void act(struct bind_timesync *b, const struct timesync_action *action, int64_t real_ns)
{
	switch (action->act) {
	case TIMESYNC_ACT_NOTHING:
		note(b, timesync_why_text(action->why));
		break;
	case TIMESYNC_ACT_SAMPLE:
		send_sample(b, action, real_ns);
		break;
	case TIMESYNC_ACT_STEP:
		set_clock(b, action);
		break;
	}
}

static void on_request(void *self, uint8_t *message, size_t size)
{
	struct bind_timesync *b = self;
	const struct timesync_reading reading = guest_clock_read(&b->clock);
	struct timesync_action action;
	int r;

	b->core.mode = b->config->time_sync;
	r = timesync_receive(&b->core, message, size, b->channel.ic.version.major, &reading, &action);
	ic_channel_answer(&b->channel, r ? IC_E_FAIL : IC_S_OK);
	if (r == 0)
		act(b, &action, reading.real_ns);
	else if (b->core.malformed == 1)
		log_warning("timesync: the host sends what is no time; answered with failure and counted");
}

static void on_negotiated(void *self)
{
	struct bind_timesync *b = self;

	timesync_reset(&b->core);
}

static const struct ic_channel_user channel_ops = {
	.on_request = on_request,
	.on_negotiated = on_negotiated,
};

int bind_timesync_new(struct event_base *base, const struct config *config,
		      struct connection *const *connection, struct bind_timesync **ret_binding)
{
	struct bind_timesync *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->config = config;
	b->sock = -1;
	(void)!chrony_sock_open(&b->sock);
	ic_channel_init(&b->channel, base, connection, &ic_service_timesync, &channel_ops, b);
	timesync_init(&b->core, config->time_sync);
	/* The register is of no use to a daemon that leaves the service to the kernel. */
	guest_clock_init(&b->clock, config->lab_socket,
			 config->takeover & CONFIG_TIMESYNC ? GUEST_CLOCK_MSR : "");
	*ret_binding = b;
	return 0;
}

struct bind_timesync *bind_timesync_free(struct bind_timesync *b)
{
	if (!b)
		return NULL;
	ic_channel_fini(&b->channel);
	guest_clock_fini(&b->clock);
	if (b->sock >= 0)
		(void)close(b->sock);
	free(b);
	return NULL;
}

struct service bind_timesync_service(struct bind_timesync *b)
{
	return ic_channel_service(&b->channel);
}

static json_t *describe_last(const struct bind_timesync *b, const struct timesync_reading *now)
{
	const struct timesync_action *last = &b->core.last;

	if (!b->core.has_last)
		return json_null();
	return json_pack("{s:s, s:b, s:f, s:f, s:b, s:i, s:i, s:f, s:s*}", "action",
			 timesync_act_name(last->act), "sync", last->asked, "offset_seconds",
			 (double)last->offset_ns / 1e9, "age_seconds", (double)last->age_ns / 1e9,
			 "age_measured", last->exact, "leap", (int)last->leap, "stratum",
			 (int)last->stratum, "seconds_ago",
			 (double)(now->raw_ns - b->core.last_raw_ns) / 1e9, "skipped", b->skipped);
}

json_t *bind_timesync_status(const struct bind_timesync *b)
{
	const struct timesync_reading now = guest_clock_read(&b->clock);
	const struct clock_keeper keeper = clock_keeper_find("");
	char version[16];

	return json_pack("{s:s, s:s*, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s*, s:b, s:b, s:s, "
			 "s:o}",
			 "channel", ic_channel_state(&b->channel), "version",
			 ic_channel_version(&b->channel, version), "mode",
			 timesync_mode_name(b->config->time_sync), "counter",
			 guest_counter_name(b->clock.counter), "messages",
			 (json_int_t)b->core.messages, "steps",
			 (json_int_t)(b->core.steps - b->failed), "failed_steps", (json_int_t)b->failed,
			 "samples_taken", (json_int_t)b->sent, "skipped", (json_int_t)b->core.skipped,
			 "stale", (json_int_t)b->core.stale, "malformed",
			 (json_int_t)(b->core.malformed + b->channel.ic.stats.malformed), "keeper",
			 keeper.name, "synchronized", now.is_kept, "kernel_clock", keeper.has_ptp,
			 "chrony_socket", b->config->chrony_socket, "last", describe_last(b, &now));
}
