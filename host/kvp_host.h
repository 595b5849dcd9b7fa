/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_wire.h"

/*
 * The host's end of the key-value exchange for one guest: jobs, done one after the other. Every
 * _now_ns is the same monotonic clock.
 */

enum kvp_host_state {
	KVP_HOST_CLOSED,      /* no channel, or the guest has none of our versions */
	KVP_HOST_NEGOTIATING, /* nothing can be asked yet, or not any more until it answers that */
	KVP_HOST_READY,
	KVP_HOST_ASKED,       /* the answer to the first job's request is awaited */
	KVP_HOST_STATES,
};

enum kvp_host_outcome {
	KVP_HOST_WAITING,   /* not done yet */
	KVP_HOST_DONE,
	KVP_HOST_NONE,      /* there is no such key */
	KVP_HOST_REFUSED,   /* by the guest, with status */
	KVP_HOST_UNABLE,    /* the guest's version has no room for what is in the request */
	KVP_HOST_SILENT,    /* no answer in time */
	KVP_HOST_LOST,      /* the channel closed before the answer */
	KVP_HOST_NONSENSE,  /* the answer is none */
	KVP_HOST_ENDLESS,   /* so many entries that the guest will not come to an end */
	KVP_HOST_OUTCOMES,
};

enum {
	KVP_HOST_ENTRIES_MAX = 100000, /* of one list */
};

/* Something that somebody wants of the guest; his, and not to be touched until it is done. */
struct kvp_host_job {
	struct kvp_request request; /* with list: operation KVP_ENUMERATE and the pool */
	bool list;                  /* all entries of a pool, one ENTRY for each */
	uint64_t done_by_ns;
	/* The machine's own, to be read when it says so. */
	struct kvp_host_job *next;
	struct kvp_request answer; /* ENTRY */
	enum kvp_host_outcome outcome;
	uint32_t status;           /* KVP_HOST_REFUSED */
};

enum kvp_host_action_type {
	KVP_HOST_ACTION_SEND,      /* what kvp_host_write() writes */
	KVP_HOST_ACTION_NEGOTIATE, /* what was asked is void; then kvp_host_negotiating() */
	KVP_HOST_ACTION_ENTRY,     /* an entry of a list, or what was asked for: job->answer */
	KVP_HOST_ACTION_FINISHED,  /* the job is its owner's again */
};

struct kvp_host_action {
	enum kvp_host_action_type type;
	struct kvp_host_job *job;
};

struct kvp_host {
	enum kvp_host_state state;
	bool binary_ip;             /* addresses are binary in the agreed version */
	struct kvp_host_job *first; /* of the waiting; the request under way is its */
	bool answered;              /* and its owner has not got that yet */
	bool negotiate;             /* to be given out */
	bool send;                  /* to be given out */
	uint64_t asked, answers, stray_answers, renegotiations;
};

/* No channel, no jobs. */
void kvp_host_init(struct kvp_host *h);

/* The channel is open, or a negotiation was sent; the guest has agreed on version @major; it is gone. */
void kvp_host_negotiating(struct kvp_host *h);
void kvp_host_open(struct kvp_host *h, uint16_t major);
void kvp_host_close(struct kvp_host *h);

/*
 * Queues a job; FINISHED follows. Returns a kvp_fault, and nothing follows, if its request cannot be
 * written. Drain kvp_host_next_action() after this and all above and below.
 */
_must_check_ int kvp_host_add(struct kvp_host *h, struct kvp_host_job *job);

/* SEND: writes the request; *ret_size is what to send. */
void kvp_host_write(const struct kvp_host *h, uint8_t ret_message[KVP_IP_MESSAGE_SIZE], size_t *ret_size);

/* Takes the guest's answer, which is borrowed for the call; the request could not be sent. */
void kvp_host_receive(struct kvp_host *h, uint32_t status, const void *message, size_t size);
void kvp_host_not_sent(struct kvp_host *h);

/* Time has passed. / When to call that at the latest; UINT64_MAX: there is no need. */
void kvp_host_tick(struct kvp_host *h, uint64_t now_ns);
uint64_t kvp_host_deadline_ns(const struct kvp_host *h);

/* The next thing to do; false if there is none. */
bool kvp_host_next_action(struct kvp_host *h, struct kvp_host_action *ret_action);

/* "closed", ...; "done", "none", "refused", ... */
const char *kvp_host_state_name(enum kvp_host_state state);
const char *kvp_host_outcome_name(enum kvp_host_outcome outcome);
