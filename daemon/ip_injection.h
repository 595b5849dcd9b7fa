/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "daemon/config.h"
#include "services/kvp_ip.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * The IP configuration of this machine's adapters, for a host: shown, and, where the administrator
 * allows it, set. One change at a time.
 */

struct ip_injection;

/* The conditions of ip_injection_get(), ip_injection_set() and its done(). */
enum {
	IP_INJECTION_OFF = 1,    /* set: the configuration does not allow it */
	IP_INJECTION_NO_ADAPTER, /* there is no such adapter */
	IP_INJECTION_INVALID,    /* set: kvp_ip_check() refuses it */
	IP_INJECTION_BUSY,       /* set: one is under way */
	IP_INJECTION_UNMANAGED,  /* set: no network manager that is known has the adapter */
	IP_INJECTION_FAILED,     /* done: it did not come to be, and all is as it was before */
};

/* @config must outlive it. What a predecessor began to change and did not end is taken back. */
_must_check_ int ip_injection_new(struct event_base *base, const struct config *config,
				  struct ip_injection **ret_injection);

/* A change that is under way is ended by its own time limits first. */
struct ip_injection *ip_injection_free(struct ip_injection *injection);
DEFINE_CLEANUP(ip_injection)

/*
 * What the adapter @id (a MAC address, or a VMBus instance GUID with braces or without, in any case)
 * has; both families. Never waits. IP_INJECTION_NO_ADAPTER; negative errno.
 */
_must_check_ int ip_injection_get(struct ip_injection *injection, const char *id,
				  struct kvp_ip_info *ret_info);

/*
 * Begins to configure @info->adapter. After 0 @done is called once, from the event loop, within 25
 * seconds: 0, or IP_INJECTION_FAILED or IP_INJECTION_UNMANAGED, or negative errno.
 */
_must_check_ int ip_injection_set(struct ip_injection *injection, const struct kvp_ip_info *info,
				  void (*done)(void *self, int r), void *self);

/* Nobody is told any more of the change that is under way. */
void ip_injection_forget(struct ip_injection *injection);

/* What the last change came to; null before the first. */
json_t *ip_injection_status(const struct ip_injection *injection);
