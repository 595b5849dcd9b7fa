/* SPDX-License-Identifier: MIT */

/*
 * Freezing by hand.
 *
 *              freeze            frozen            thaw             all are back
 *      IDLE ----------> FREEZING --------> FROZEN -------> THAWING ---------------> IDLE
 *       ^ ^               | failed           | ended by itself
 *       | +--- FAILED <---+                  |
 *       +------------------ thaw --------- LOST
 *
 * What a script asks for is what a host asks for, by other words. A thaw that comes after the
 * freeze has ended by itself is told so, once: the copy that the script has taken meanwhile is not
 * consistent. Then it is forgotten, or by the next freeze.
 */

#include "daemon/bind_manual.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

enum {
	DEADLINE_MAX_S = 900,
};

enum manual_state {
	MANUAL_IDLE,
	MANUAL_FREEZING,
	MANUAL_FAILED,
	MANUAL_FROZEN,
	MANUAL_LOST,
	MANUAL_THAWING,
};

struct bind_manual {
	const struct config *config;
	struct snapshot *snapshot;
	enum manual_state state;
	struct httpd_request *request; /* that waits for its answer */
	uint64_t deadline_ns;
	bool consistent;
	bool timed_out;
	char result[320];
};

static void refuse(struct bind_manual *m, const char *message, const char *remedy)
{
	if (m->request)
		httpd_reply_error(steal_ptr(m->request), 409, message, remedy);
}

static void reply_thaw(struct bind_manual *m)
{
	httpd_reply_json(steal_ptr(m->request), 200,
			 json_pack("{s:i, s:b, s:b, s:s}", "schema", 1, "consistent", m->consistent,
				   "timed_out", m->timed_out, "result", m->result));
}

static void on_frozen(void *self)
{
	struct bind_manual *m = self;

	m->state = MANUAL_FROZEN;
	if (m->request)
		httpd_reply_json(steal_ptr(m->request), 200,
				 json_pack("{s:i, s:s, s:f}", "schema", 1, "state", "frozen",
					   "deadline_seconds", m->deadline_ns / 1e9));
}

static void on_thawed(void *self, const struct snapshot_outcome *outcome)
{
	struct bind_manual *m = self;

	snprintf(m->result, sizeof(m->result), "%s", outcome->result);
	m->consistent = outcome->consistent && m->state == MANUAL_THAWING;
	m->timed_out = outcome->end == SNAPSHOT_END_DEADLINE;
	if (m->state == MANUAL_FREEZING) {
		m->state = MANUAL_FAILED;
	} else if (m->state == MANUAL_FROZEN) {
		m->state = MANUAL_LOST;
	}
}

static void on_over(void *self)
{
	struct bind_manual *m = self;

	if (m->state != MANUAL_THAWING && m->state != MANUAL_FAILED)
		return;
	if (m->state == MANUAL_FAILED)
		refuse(m, m->result, NULL);
	else if (m->request)
		reply_thaw(m);
	m->state = MANUAL_IDLE;
}

static const struct snapshot_user snapshot_ops = {
	.name = "hvguestctl",
	.on_frozen = on_frozen,
	.on_thawed = on_thawed,
	.on_over = on_over,
};

static bool read_deadline(const struct bind_manual *m, const json_t *body, uint64_t *ret_ns)
{
	const json_t *value = json_object_get(body, "deadline_seconds");
	double seconds = json_number_value(value);

	if (!value) {
		*ret_ns = m->config->freeze_timeout_ns;
		return true;
	}
	if (!json_is_number(value) || !(seconds > 0 && seconds <= DEADLINE_MAX_S))
		return false;
	*ret_ns = (uint64_t)(seconds * NS_PER_S);
	return *ret_ns > 0;
}

static void post_freeze(struct httpd_request *request, void *user)
{
	struct bind_manual *m = user;

	if (m->state != MANUAL_IDLE && m->state != MANUAL_LOST) {
		httpd_reply_error(request, 409, "hvguestctl freeze is under way already",
				  "hvguestctl thaw ends it");
		return;
	}
	if (!read_deadline(m, httpd_request_body(request), &m->deadline_ns)) {
		httpd_reply_error(request, 400, "the deadline must be above 0 and at most 900 seconds",
				  NULL);
		return;
	}
	m->request = request;
	m->state = MANUAL_FREEZING;
	if (snapshot_freeze(m->snapshot, &snapshot_ops, m, m->deadline_ns)) {
		m->state = MANUAL_IDLE;
		refuse(m, "a backup by the host is under way", "try again when it is over");
	}
}

static void post_thaw(struct httpd_request *request, void *user)
{
	struct bind_manual *m = user;

	switch (m->state) {
	case MANUAL_FROZEN:
		m->request = request;
		m->state = MANUAL_THAWING;
		snapshot_thaw(m->snapshot, m, "thawed as hvguestctl asked", true);
		break;
	case MANUAL_LOST:
		m->request = request;
		m->state = MANUAL_IDLE;
		reply_thaw(m);
		break;
	case MANUAL_FREEZING:
	case MANUAL_FAILED:
	case MANUAL_THAWING:
		httpd_reply_error(request, 409, "another hvguestctl waits for its freeze or thaw",
				  "wait until it is through");
		break;
	case MANUAL_IDLE:
		httpd_reply_error(request, 409, "nothing is frozen by hvguestctl freeze", NULL);
		break;
	}
}

int bind_manual_new(const struct config *config, struct snapshot *snapshot,
		    struct bind_manual **ret_manual)
{
	struct bind_manual *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->config = config;
	m->snapshot = snapshot;
	*ret_manual = m;
	return 0;
}

struct bind_manual *bind_manual_free(struct bind_manual *m)
{
	if (m)
		refuse(m, "hvguestd ends", NULL);
	free(m);
	return NULL;
}

int bind_manual_add_routes(struct bind_manual *m, struct httpd *httpd)
{
	int r = httpd_route(httpd, "POST", "/v1/backup/freeze", post_freeze, m);

	return r ? r : httpd_route(httpd, "POST", "/v1/backup/thaw", post_thaw, m);
}
