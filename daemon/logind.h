/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <event2/event.h>

/*
 * Taking the machine down by systemd-logind, over D-Bus, without waiting for it.
 */

struct logind;

/* How it ended. */
enum logind_end {
	LOGIND_BEGUN,     /* the machine goes down */
	LOGIND_INHIBITED, /* somebody does not want that now: what is for people says who */
	LOGIND_ABSENT,    /* there is no logind to ask */
	LOGIND_FAILED,    /* it said no, for the reason given */
};

/*
 * Asks for @verb: "PowerOff", "Reboot" or "Hibernate". @done is called once, from the event loop, with
 * @what for people (borrowed for the call); then the object is to be freed. LOGIND_ABSENT at once if
 * there is nobody to talk to, or if the build has no libsystemd; negative errno.
 */
_must_check_ int logind_ask(struct event_base *base, const char *verb,
			    void (*done)(void *user, enum logind_end end, const char *what), void *user,
			    struct logind **ret_logind);

/* Takes NULL; returns NULL. May be called from @done. */
struct logind *logind_free(struct logind *l);
