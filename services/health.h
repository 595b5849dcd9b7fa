/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/heartbeat_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What programs in this guest say of their health, put together for the host.
 */

enum {
	HEALTH_SOURCES_MAX = 16,
	HEALTH_NAME_MAX = 32,  /* characters of a source */
	HEALTH_TEXT_MAX = 200, /* bytes of a text */
	HEALTH_TTL_MAX_S = 7 * 86400,
};

/* The conditions of health_report(). */
enum {
	HEALTH_BAD_NAME = 1, /* empty, too long, or not of letters, digits and ".-_" */
	HEALTH_BAD_TEXT,     /* too long */
	HEALTH_FULL,         /* as many sources as there can be have something to say */
};

struct health_report {
	char source[HEALTH_NAME_MAX + 1];
	char text[HEALTH_TEXT_MAX + 1]; /* UTF-8; control characters are '?' */
	bool is_critical;
	bool then_critical; /* what it becomes when its time is over */
	bool has_expired;   /* it has */
	uint64_t since_ns;
	uint64_t until_ns;  /* UINT64_MAX: there is no end */
};

struct health {
	struct health_report reports[HEALTH_SOURCES_MAX];
	size_t n_reports;
	uint64_t changes; /* of the state of all together */
};

/* Nobody has said anything: healthy. */
void health_init(struct health *h);

/*
 * @source says that it is critical, or healthy, for @ttl_ns (0: until it says something else), and what
 * its silence means after that: nothing, or that it is critical. A healthy report without an end takes
 * back what the source said before. HEALTH_BAD_NAME, HEALTH_BAD_TEXT, HEALTH_FULL.
 */
_must_check_ int health_report(struct health *h, const char *source, bool is_critical, const char *text,
			       uint64_t ttl_ns, bool then_critical, uint64_t now_ns);

/* Time has passed. Any number of calls, early or late, do no harm. */
void health_tick(struct health *h, uint64_t now_ns);

/* Critical if one of the sources is; as of the last tick. */
bool health_is_critical(const struct health *h);
