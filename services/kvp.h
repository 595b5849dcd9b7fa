/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_wire.h"

/*
 * The guest's end of the key-value exchange: what a host may ask, what has to be done for it, and what
 * it is answered. It knows neither the pools nor the network. docs/PROTOCOL-kvp.md.
 */

enum kvp_state {
	KVP_IDLE,
	KVP_HELD,       /* something that writes waits for the thaw */
	KVP_READING,    /* READ was given out, its completion is awaited */
	KVP_WRITING,    /* WRITE */
	KVP_ADDRESSING, /* GET_IP, SET_IP */
	KVP_STATES,
};

/* What a message looks like. */
enum kvp_form {
	KVP_FORM_TEXT,   /* a ring, up to version 4.0 */
	KVP_FORM_BINARY, /* a ring, since version 5.0 */
	KVP_FORM_DEVICE, /* services/kvp_device.h */
};

enum kvp_action_type {
	KVP_ACTION_READ,     /* GET, ENUMERATE: look it up, then kvp_complete() */
	KVP_ACTION_WRITE,    /* SET, DELETE: make it durable, then kvp_complete() */
	KVP_ACTION_GET_IP,
	KVP_ACTION_SET_IP,
	KVP_ACTION_WITHDRAW, /* the WRITE of this serial is not waited for any more: best not to make it */
	KVP_ACTION_ANSWER,   /* kvp_apply_answer(), then answer with status */
	KVP_ACTION_NOTE,     /* to be logged */
};

enum kvp_note {
	KVP_NOTE_FAULT,     /* a message that is none: see fault */
	KVP_NOTE_DENIED,    /* a host wants to change what is not its own */
	KVP_NOTE_OVERTAKEN, /* a request came before the last one was answered */
	KVP_NOTE_LATE,      /* it took so long that the host was told of a failure */
	KVP_NOTE_LOCKED,    /* it was frozen for so long that the host was told so */
	KVP_NOTES,
};

struct kvp_action {
	enum kvp_action_type type;
	uint64_t serial;         /* of the request */
	uint32_t status;         /* ANSWER */
	enum kvp_note note;      /* NOTE */
	enum kvp_fault fault;    /* NOTE */
	enum kvp_operation operation; /* KVP_OPERATIONS: unknown */
};

/* How it went. */
enum kvp_result {
	KVP_DONE,
	KVP_NONE,       /* there is no such key or entry */
	KVP_FULL,       /* there is no room for it */
	KVP_NO_ADAPTER, /* no adapter has this name */
	KVP_REFUSED,    /* no machine can have such addresses */
	KVP_UNABLE,     /* this guest does not do that */
	KVP_FAILED,
	KVP_RESULTS,
};

struct kvp_stats {
	uint64_t requests[KVP_OPERATIONS + 1]; /* by operation; the last one: unknown */
	uint64_t answered_ok;
	uint64_t answered_fail; /* KVP_S_NO_MORE is no failure */
	uint64_t stray_completions;
	uint64_t notes[KVP_NOTES];
	uint64_t entered[KVP_STATES];
};

enum {
	KVP_ACTIONS_MAX = 8, /* waiting at once; drained after each call, it is never more than 4 */
};

struct kvp {
	enum kvp_state state;
	bool frozen;
	enum kvp_form form;
	uint64_t serial;         /* of the last request */
	uint64_t answer_by_ns;   /* but in KVP_IDLE */
	struct kvp_request request;
	struct kvp_request answer; /* of the last ANSWER, until the next request */
	size_t n_actions;
	size_t next_action;
	struct kvp_action actions[KVP_ACTIONS_MAX];
	struct kvp_stats stats;
};

/* Idle, nothing frozen. */
void kvp_init(struct kvp *k);

/*
 * Takes a request of @size bytes; exactly one ANSWER follows, now, after a completion, or when it
 * takes too long, unless the request is overtaken or voided. k->request is what is asked, until the
 * next one. Drain kvp_next_action() after this and all below.
 */
void kvp_receive(struct kvp *k, enum kvp_form form, const void *message, size_t size, uint64_t now_ns);

/*
 * What was given out under @serial is done. @answer (may be NULL) has key and value of a READ, ip of a
 * GET_IP. A completion that nobody waits for any more is counted.
 */
void kvp_complete(struct kvp *k, uint64_t serial, enum kvp_result result,
		  const struct kvp_request *answer);

/* The open request is void: a negotiation, or the channel is gone. What was begun goes on. */
void kvp_void(struct kvp *k);

/* From now on nothing must (or may again) be written to a disk. */
void kvp_set_frozen(struct kvp *k, bool frozen);

/* Time has passed. / When to call that at the latest; UINT64_MAX: there is no need. */
void kvp_tick(struct kvp *k, uint64_t now_ns);
uint64_t kvp_deadline_ns(const struct kvp *k);

/* The next thing to do; false if there is none. */
bool kvp_next_action(struct kvp *k, struct kvp_action *ret_action);

/*
 * Writes what the ANSWER @action says, but for the status, into the request of @size bytes (in a
 * ring), or the whole answer (KVP_FORM_DEVICE: KVP_DEVICE_MESSAGE_SIZE bytes).
 */
void kvp_apply_answer(const struct kvp *k, const struct kvp_action *action, void *message, size_t size);

/* "idle", ...; "denied", ... */
const char *kvp_state_name(enum kvp_state state);
const char *kvp_note_name(enum kvp_note note);
