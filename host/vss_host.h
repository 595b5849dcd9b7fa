/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The host's side of a live backup of one guest: the order of requests, their time limits, and
 * whether the copy can be trusted. It sees service messages only; docs/PROTOCOL-vss.md.
 */

enum vss_host_state {
	VSS_HOST_IDLE,
	VSS_HOST_HOT_BACKUP,  /* asked: can you take part? */
	VSS_HOST_DM_INFO,     /* asked for directly mapped devices */
	VSS_HOST_FREEZE,
	VSS_HOST_FROZEN,      /* the caller takes its snapshot */
	VSS_HOST_THAW,
	VSS_HOST_BU_COMPLETE, /* told that the backup is over */
	VSS_HOST_DONE,
	VSS_HOST_FAILED,
	VSS_HOST_STATES,
};

enum vss_host_failure {
	VSS_HOST_OK,
	VSS_HOST_REFUSED,       /* the guest cannot take part */
	VSS_HOST_NOT_FROZEN,    /* the guest could not freeze */
	VSS_HOST_NO_SNAPSHOT,   /* the caller could not take its snapshot */
	VSS_HOST_THAWED_EARLY,  /* the guest thawed by itself: the copy is not consistent */
	VSS_HOST_NOT_COMPLETED, /* the guest did not accept the end of the backup */
	VSS_HOST_TIMEOUT,       /* no answer in time */
	VSS_HOST_GUEST_LOST,
	VSS_HOST_FAILURES,
};

enum vss_host_action_type {
	VSS_HOST_SEND,     /* vss_host_message() into a request, and send it */
	VSS_HOST_SNAPSHOT, /* the guest stands still: take it, then vss_host_snapshot_done() */
	VSS_HOST_RESET,    /* negotiate anew: a guest that is late then gives up and thaws */
	VSS_HOST_FINISHED, /* see vss_host.state and failure */
};

struct vss_host_action {
	enum vss_host_action_type type;
	uint8_t operation; /* SEND: enum vss_operation */
	size_t size;       /* SEND: bytes of the message */
};

struct vss_host_config {
	uint64_t freeze_timeout_ns; /* for the answer to FREEZE; 0 = 60 s */
	uint64_t answer_timeout_ns; /* for the other answers; 0 = 30 s */
};

enum {
	VSS_HOST_ACTIONS_MAX = 4,
};

struct vss_host {
	struct vss_host_config config;
	enum vss_host_state state;
	enum vss_host_failure failure;
	enum vss_host_state failed_in; /* the step that failed */
	uint32_t status;               /* FAILED: the guest's answer, or 0 if there was none */
	uint64_t since_ns;             /* when `state` was entered */
	uint64_t deadline_ns;          /* UINT64_MAX = none */
	uint64_t frozen_at_ns;         /* when the guest answered FREEZE */
	uint64_t frozen_ns;            /* from then to its answer to THAW; 0 = not both came */
	bool no_auto_recovery;         /* the guest's flags say so */
	uint64_t stray;                /* responses and results that nothing waited for */
	size_t n_actions;
	size_t next_action;
	struct vss_host_action actions[VSS_HOST_ACTIONS_MAX];
};

void vss_host_init(struct vss_host *h, const struct vss_host_config *config);

/* The condition of vss_host_start(). */
enum {
	VSS_HOST_RUNNING = 1, /* a backup is under way */
};

/* Begins a backup. Drain vss_host_next_action() after this and all below. VSS_HOST_RUNNING. */
_must_check_ int vss_host_start(struct vss_host *h, uint64_t now_ns);

/* The guest's answer to the last request: its status and the @size bytes of its message. */
void vss_host_receive(struct vss_host *h, uint32_t status, const void *msg, size_t size,
		      uint64_t now_ns);

/* The snapshot that VSS_HOST_SNAPSHOT asked for is taken, or could not be taken. */
void vss_host_snapshot_done(struct vss_host *h, bool ok, uint64_t now_ns);

/* The guest, or its channel, is gone. */
void vss_host_lost(struct vss_host *h, uint64_t now_ns);

/* Lets time pass; call it at vss_host_deadline_ns() at the latest. */
void vss_host_tick(struct vss_host *h, uint64_t now_ns);

/* When vss_host_tick() has something to do; UINT64_MAX = never. */
uint64_t vss_host_deadline_ns(const struct vss_host *h);

/* Takes the next action out; false if there is none. */
bool vss_host_next_action(struct vss_host *h, struct vss_host_action *ret_action);

/*
 * Writes the message of a SEND action into the @buf_size bytes at @buf; *ret_size is action->size.
 * -ENOBUFS.
 */
_must_check_ int vss_host_message(const struct vss_host_action *action, void *buf, size_t buf_size,
				  size_t *ret_size);

/* True between vss_host_start() and VSS_HOST_FINISHED. */
bool vss_host_is_running(const struct vss_host *h);

const char *vss_host_state_name(enum vss_host_state state);

/* One English clause. */
const char *vss_host_failure_text(enum vss_host_failure failure);
