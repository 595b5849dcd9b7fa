/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/fcopy_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The host's end of file copy for one guest: one file at a time. It names the data to send next;
 * reading the file is its user's part. Every now_ns is the same monotonic clock.
 */

enum fcopy_host_state {
	FCOPY_HOST_IDLE,
	FCOPY_HOST_STARTING,
	FCOPY_HOST_SENDING,
	FCOPY_HOST_COMPLETING,
	FCOPY_HOST_CANCELLING,
	FCOPY_HOST_STATES,
};

/* What a test makes it do wrong, at the fragment of a number. */
enum fcopy_host_fault {
	FCOPY_FAULT_NONE,
	FCOPY_FAULT_HOLE,         /* leave a fragment out */
	FCOPY_FAULT_REPEAT,       /* send a fragment twice */
	FCOPY_FAULT_LARGER,       /* send one more than was announced */
	FCOPY_FAULT_EARLY,        /* say that it is complete */
	FCOPY_FAULT_NO_START,     /* begin with data */
	FCOPY_FAULT_RESTART,      /* begin again */
	FCOPY_FAULT_SILENT,       /* say nothing any more */
	FCOPY_FAULT_CANCEL,       /* cancel */
	FCOPY_FAULT_CANCEL_START, /* cancel before START is answered */
	FCOPY_FAULT_CANCEL_WRITE, /* cancel before the fragment is answered */
	FCOPY_FAULT_CANCEL_END,   /* cancel before COMPLETE is answered */
	FCOPY_FAULT_SURROGATE,    /* a name with half a surrogate pair */
	FCOPY_FAULT_ENDLESS,      /* a name without an end */
	FCOPY_FAULT_OVERSIZE,     /* a fragment that says it has 4 GiB */
	FCOPY_FAULTS,
};

enum fcopy_host_action_type {
	FCOPY_HOST_SEND,  /* fcopy_host_message(), and send it */
	FCOPY_HOST_RESET, /* the guest does not answer: negotiate anew */
	FCOPY_HOST_ENDED, /* see result and status */
};

enum fcopy_host_result {
	FCOPY_HOST_DONE,      /* the guest has the file on disk */
	FCOPY_HOST_REFUSED,   /* by the guest; see status */
	FCOPY_HOST_CANCELLED, /* as was wanted; nothing is left of it */
	FCOPY_HOST_LOST,      /* the channel closed before the end */
	FCOPY_HOST_TIMEOUT,   /* the guest does not answer */
};

struct fcopy_host_action {
	enum fcopy_host_action_type type;
	uint32_t operation; /* SEND */
	uint64_t offset;    /* SEND of a WRITE: which data */
	uint32_t size;
	enum fcopy_host_result result; /* ENDED */
	uint32_t status;
};

struct fcopy_host {
	enum fcopy_host_state state;
	bool cancel;    /* as soon as the guest has answered */
	bool silent;
	bool repeated;
	uint8_t start[FCOPY_START_SIZE];
	uint64_t size_bytes;
	uint64_t offset;     /* of the next fragment */
	uint32_t on_its_way; /* bytes that are not answered yet */
	uint64_t n_sent;     /* fragments */
	uint32_t status;     /* of what was refused */
	uint64_t deadline_ns;
	enum fcopy_host_fault fault;
	uint64_t fault_at;
	size_t n_actions;
	size_t next_action;
	struct fcopy_host_action actions[4];
};

/* The conditions of fcopy_host_start(). */
enum {
	FCOPY_HOST_RUNNING = 1, /* another file is under way */
	FCOPY_HOST_BAD_NAME,    /* a name that is no text, or longer than the protocol has room for */
};

/* Nothing under way. */
void fcopy_host_init(struct fcopy_host *h);

/*
 * Begins a file of @size_bytes for @directory/@name in the guest, with @flags of FCOPY_FLAG_*.
 * @fault happens at fragment @fault_at. FCOPY_HOST_RUNNING, FCOPY_HOST_BAD_NAME. Drain
 * fcopy_host_next_action() after this and all below.
 */
_must_check_ int fcopy_host_start(struct fcopy_host *h, const char *directory, const char *name,
				  uint32_t flags, uint64_t size_bytes, enum fcopy_host_fault fault,
				  uint64_t fault_at, uint64_t now_ns);

/* The guest's answer; the channel is gone; time has passed. */
void fcopy_host_receive(struct fcopy_host *h, uint32_t status, uint64_t now_ns);
void fcopy_host_close(struct fcopy_host *h);
void fcopy_host_tick(struct fcopy_host *h, uint64_t now_ns);

/* Has the guest forget the file. Nothing if none is under way. */
void fcopy_host_cancel(struct fcopy_host *h, uint64_t now_ns);

/* When to call fcopy_host_tick() at the latest; UINT64_MAX: there is no need. */
uint64_t fcopy_host_deadline_ns(const struct fcopy_host *h);

/* Takes the next action out; false if there is none. */
bool fcopy_host_next_action(struct fcopy_host *h, struct fcopy_host_action *ret_action);

/*
 * Writes the message of a SEND, with the action's size bytes at @data for a WRITE, and returns its
 * length.
 */
size_t fcopy_host_message(const struct fcopy_host *h, const struct fcopy_host_action *action,
			  const void *data, uint8_t ret_message[FCOPY_WRITE_SIZE]);

/* Names for status; and the fault of a name, FCOPY_FAULTS if there is none. */
const char *fcopy_host_state_name(enum fcopy_host_state state);
enum fcopy_host_fault fcopy_host_fault_named(const char *name);
