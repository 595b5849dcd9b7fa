/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"
#include "base/log.h"
#include "host/backups.h"
#include "host/balance.h"
#include "host/guest.h"
#include "host/show.h"
#include "host/guest_limits.h"
#include "host/lab.h"
#include "host/qemu_vms.h"

/*
 * The running host: what hvhost serve holds, and the API shows.
 */

enum {
	FILE_COPIES_MAX = 64,
	QMP_PATHS_MAX = 16,
};

struct host;

/* A guest's place at the host: what the lab's calls come back with. */
struct seat {
	struct host *host;
	struct guest *guest;
	uint32_t balance_id; /* its place in host.seats */
	uint64_t memory_pages; /* of the machine it runs on */
};

struct host {
	struct event_base *base;
	const char *run_dir;
	const char *read_group;     /* whose members may look; NULL: root's */
	const char *metrics_listen; /* ADDRESS:PORT; NULL: no TCP */
	enum log_level log_level;
	bool json; /* tell what happens on standard output, one JSON object a line */
	struct balancer_settings settings;
	struct balancer_limits limits; /* of whoever has none of its own; 0: by the guest's machine */
	const char *guests_path; /* the file of guests' own limits; NULL = none */
	struct guest_limits *guest_limits;
	struct balance *balance;
	uint64_t turned_away_ns; /* when it was last said that there is no room */
	uint64_t window_pfn; /* where memory is added; 0: none is */
	struct lab *lab;
	const char *qmp_paths[QMP_PATHS_MAX]; /* sockets of QEMU, and folders of them */
	size_t n_qmp_paths;
	uint64_t qmp_limit_ns;
	struct qemu_vms *vms;
	struct backup_workers workers;
	struct job at_start; /* what is done once, and nobody waits for */
	struct httpd *httpd;
	struct show *show;
	struct event *signals[3];
	struct seat **seats; /* by the balancer's ids, which are small; NULL: not a guest of the lab */
	size_t seats_size;
	struct backups *backups;
	struct file_copy *file_copies[FILE_COPIES_MAX]; /* oldest first */
	size_t n_file_copies;
	unsigned int last_file_copy_id;
};

/* Tells the program that started this one, if it asked for it (json). */
void host_tell(const struct host *h, const char *event, const char *key, const char *value);

/* What the lab says of its guests; its user is the host. */
extern const struct lab_ops host_lab_ops;

/* The next connected guest from place *@at on, which moves behind it; NULL: there are no more. */
struct seat *host_next_seat(const struct host *h, size_t *at);

/* The connected guest of this name, borrowed; NULL if there is none. */
struct guest *host_find_guest(const struct host *h, const char *name);

/* Begins with the VMs of QEMU's that qmp_paths name. Says what is wrong; negative errno. */
_must_check_ int host_open_vms(struct host *h);
