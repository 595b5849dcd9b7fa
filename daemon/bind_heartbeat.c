/* SPDX-License-Identifier: MIT */

/*
 * Heartbeat, bound to the world.
 *
 * Each request is answered in the call that brings it, so an answer is late only if the event loop
 * is, which is what a heartbeat is there to show. Nothing here waits, allocates or logs on the way, but
 * for the line that says that the health of the guest has changed; while file systems are frozen that goes
 * to memory, as all of the log does.
 *
 * That tasks wait for memory is read from the kernel's file, which stays open; the kernel makes its text
 * when it is read, from numbers that it has.
 *
 * What programs say of their health is put together by services/health. It has no timer: time passes
 * for it when the host asks, every two seconds, and when somebody looks.
 */

#include "daemon/bind_heartbeat.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/ic_channel.h"
#include "policy/figures.h"
#include "services/health.h"
#include "services/heartbeat.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct bind_heartbeat {
	struct ic_channel channel;
	const struct snapshot *snapshot;
	struct heartbeat core;
	struct health health;
	uint64_t told; /* changes of the health that were said */
	int pressure_fd; /* -1: this kernel does not measure it */
};

static void tell_health(struct bind_heartbeat *b)
{
	const struct health_report *worst = NULL;

	if (b->health.changes == b->told)
		return;
	b->told = b->health.changes;
	for (size_t i = 0; i < b->health.n_reports && !worst; i++)
		if (b->health.reports[i].is_critical)
			worst = &b->health.reports[i];
	if (!worst)
		log_notice("health: nobody is critical any more");
	else if (worst->has_expired)
		log_warning("health: critical: %s has not reported in time; its last words: %s",
			    worst->source, worst->text);
	else
		log_warning("health: critical: %s: %s", worst->source, worst->text);
}

static enum heartbeat_hold hold_of(const struct bind_heartbeat *b, uint32_t *ret_left_ms)
{
	static const enum heartbeat_hold holds[] = {
		[SNAPSHOT_HOLD_NONE] = HEARTBEAT_HOLD_NONE,
		[SNAPSHOT_HOLD_PREPARING] = HEARTBEAT_HOLD_PREPARING,
		[SNAPSHOT_HOLD_FROZEN] = HEARTBEAT_HOLD_FROZEN,
		[SNAPSHOT_HOLD_THAWING] = HEARTBEAT_HOLD_THAWING,
	};
	uint64_t left_ns;
	enum snapshot_hold hold = snapshot_hold(b->snapshot, &left_ns);

	*ret_left_ms = left_ns / 1000000 < UINT32_MAX ? (uint32_t)(left_ns / 1000000) : UINT32_MAX;
	return holds[hold];
}

static uint32_t stall_of(const struct bind_heartbeat *b)
{
	struct memory_figures figures = {.has_stalls = false};
	char text[256];
	ssize_t n = b->pressure_fd < 0 ? -1 : pread(b->pressure_fd, text, sizeof(text), 0);

	if (n <= 0 || figures_parse_pressure(text, (size_t)n, &figures))
		return HEARTBEAT_STALL_UNKNOWN;
	return figures.some.avg10_centipercent;
}

static void bring_up_to_date(struct bind_heartbeat *b)
{
	uint32_t left_ms;
	enum heartbeat_hold hold = hold_of(b, &left_ms);

	health_tick(&b->health, clock_monotonic_ns());
	heartbeat_set_application(&b->core, health_is_critical(&b->health)
						    ? HEARTBEAT_APPLICATION_CRITICAL
						    : HEARTBEAT_APPLICATION_HEALTHY);
	heartbeat_set_hold(&b->core, hold, left_ms);
	heartbeat_set_stall(&b->core, stall_of(b));
	tell_health(b);
}

static void on_request(void *self, uint8_t *message, size_t size)
{
	struct bind_heartbeat *b = self;
	int r;

	bring_up_to_date(b);
	r = heartbeat_answer(&b->core, message, size, clock_monotonic_ns());
	ic_channel_answer(&b->channel, r ? IC_E_FAIL : IC_S_OK);
}

static const struct ic_channel_user channel_ops = {
	.on_request = on_request,
};

int bind_heartbeat_new(struct event_base *base, struct connection *const *connection,
		       const struct snapshot *snapshot, struct bind_heartbeat **ret_binding)
{
	struct bind_heartbeat *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->snapshot = snapshot;
	b->pressure_fd = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
	ic_channel_init(&b->channel, base, connection, &ic_service_heartbeat, &channel_ops, b);
	heartbeat_init(&b->core);
	health_init(&b->health);
	*ret_binding = b;
	return 0;
}

struct bind_heartbeat *bind_heartbeat_free(struct bind_heartbeat *b)
{
	if (b) {
		ic_channel_fini(&b->channel);
		(void)close_fd(b->pressure_fd);
		free(b);
	}
	return NULL;
}

struct service bind_heartbeat_service(struct bind_heartbeat *b)
{
	return ic_channel_service(&b->channel);
}

json_t *bind_heartbeat_status(struct bind_heartbeat *b)
{
	char version[16];

	bring_up_to_date(b);
	return json_pack("{s:s, s:s*, s:I, s:I, s:s}", "channel",
			 ic_channel_state(&b->channel), "version",
			 ic_channel_version(&b->channel, version), "answered",
			 (json_int_t)b->core.answered, "malformed",
			 (json_int_t)(b->core.malformed + b->channel.ic.stats.malformed),
			 "application", heartbeat_application_name(b->core.application));
}

static const char *state_name(bool is_critical)
{
	return heartbeat_application_name(is_critical ? HEARTBEAT_APPLICATION_CRITICAL
						      : HEARTBEAT_APPLICATION_HEALTHY);
}

static json_t *describe_report(const struct health_report *report, uint64_t now_ns)
{
	json_t *left = report->until_ns == UINT64_MAX
			       ? NULL
			       : json_real((double)(report->until_ns - now_ns) / 1e9);

	return json_pack("{s:s, s:s, s:s, s:b, s:f, s:o*, s:s*}", "source", report->source, "state",
			 state_name(report->is_critical), "text", report->text, "expired",
			 report->has_expired, "seconds_ago", (double)(now_ns - report->since_ns) / 1e9,
			 "seconds_left", left, "then",
			 left ? state_name(report->then_critical) : NULL);
}

static json_t *describe_health(struct bind_heartbeat *b)
{
	uint64_t now_ns = clock_monotonic_ns();
	json_t *reports = json_array(), *left;

	bring_up_to_date(b);
	for (size_t i = 0; i < b->health.n_reports; i++)
		json_array_append_new(reports, describe_report(&b->health.reports[i], now_ns));
	left = b->core.hold_left_ms == UINT32_MAX ? NULL : json_real(b->core.hold_left_ms / 1e3);
	return json_pack("{s:i, s:s, s:o, s:{s:s, s:o*}}", "schema", 1, "state",
			 state_name(health_is_critical(&b->health)), "reports", reports, "backup",
			 "hold", heartbeat_hold_name(b->core.hold), "seconds_left", left);
}

static void get_health(struct httpd_request *request, void *user)
{
	httpd_reply_json(request, 200, describe_health(user));
}

/* "healthy" or "critical" at @key; @ret_is_critical stays as it is if nothing is there. */
static bool read_state(const json_t *body, const char *key, bool *ret_is_critical)
{
	const json_t *value = json_object_get(body, key);
	const char *text = json_string_value(value);

	if (!value)
		return true;
	*ret_is_critical = text && strcmp(text, "critical") == 0;
	return text && (*ret_is_critical || strcmp(text, "healthy") == 0);
}

/* NULL, or what is wrong with the report; else it is taken. */
static const char *take_report(struct bind_heartbeat *b, const json_t *body)
{
	const json_t *source = json_object_get(body, "source"), *text = json_object_get(body, "text");
	const json_t *seconds = json_object_get(body, "seconds");
	double ttl_s = json_number_value(seconds);
	bool is_critical = false, then_critical = false;

	if (!json_object_get(body, "state") || !read_state(body, "state", &is_critical))
		return "'state' must be healthy or critical";
	if (!read_state(body, "then", &then_critical) || (json_object_get(body, "then") && !seconds))
		return "'then' must be healthy or critical, and needs 'seconds'";
	if (seconds && (!json_is_number(seconds) || ttl_s < 0.001 || ttl_s > HEALTH_TTL_MAX_S))
		return "'seconds' must be more than 0, and a week at most";
	if ((source && !json_is_string(source)) || (text && !json_is_string(text)))
		return "'source' and 'text' must be texts";
	switch (health_report(&b->health, source ? json_string_value(source) : "default", is_critical,
			      text ? json_string_value(text) : "", (uint64_t)(ttl_s * 1e9),
			      then_critical, clock_monotonic_ns())) {
	case HEALTH_BAD_NAME:
		return "'source' must be of letters, digits, '.', '-' and '_', 32 at most";
	case HEALTH_BAD_TEXT:
		return "'text' must have 200 bytes at most";
	case HEALTH_FULL:
		return "16 other sources have something to say: that is as many as there can be";
	}
	return NULL;
}

static void put_health(struct httpd_request *request, void *user)
{
	struct bind_heartbeat *b = user;
	const char *wrong = take_report(b, httpd_request_body(request));

	if (wrong)
		httpd_reply_error(request, 400, wrong, "hvguestctl --help has the options of health");
	else
		httpd_reply_json(request, 200, describe_health(b));
}

int bind_heartbeat_add_routes(struct bind_heartbeat *b, struct httpd *httpd)
{
	int r = httpd_route(httpd, "GET", "/v1/health", get_health, b);

	return r ? r : httpd_route(httpd, "PUT", "/v1/health", put_health, b);
}
