/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/host.h"

/*
 * hvhost's API: JSON over HTTP on a Unix socket. Schema 1; each file api_*.c has the routes of one
 * subject, and what they take and give.
 */

struct api_route {
	const char *method; /* NULL ends a list of them */
	const char *pattern;
	void (*handle)(struct httpd_request *request, void *host);
};

extern const struct api_route api_guest_routes[];
extern const struct api_route api_memory_routes[];
extern const struct api_route api_balance_routes[];
extern const struct api_route api_backup_routes[];
extern const struct api_route api_power_routes[];
extern const struct api_route api_kvp_routes[];
extern const struct api_route api_copy_routes[];
extern const struct api_route api_time_routes[];

/* Adds all of them to the host's server. -ENOMEM. */
_must_check_ int api_add_routes(struct host *h);

/* Answers with @take_body as the schema has it. */
void api_reply(struct httpd_request *request, int status, json_t *take_body);

/* The guest in the path; NULL, and the request is answered, if there is none. */
struct guest *api_guest(struct host *h, struct httpd_request *request);

/* The same for what takes a channel: if the guest is saved, which has none, that is the answer. */
struct guest *api_guest_awake(struct host *h, struct httpd_request *request);

/*
 * The QEMU VM in the path, unless a guest of the lab has this name; NULL, and nothing is answered, if
 * there is none.
 */
struct qemu_vm *api_vm(struct host *h, const struct httpd_request *request);
