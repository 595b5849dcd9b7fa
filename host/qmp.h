/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A client of QMP, the protocol by which QEMU is managed, on a Unix socket. Everything runs in the
 * thread of the event loop, and nothing waits: a server that hangs, lies or dies is lost, after a
 * time limit if need be, and disturbs nobody else.
 */

enum {
	QMP_PENDING_MAX = 256, /* commands that wait for their answers */
};

/* The conditions of qmp_open() and qmp_ask(). */
enum {
	QMP_NOBODY = 1, /* open: nobody listens there */
	QMP_DENIED,     /* open: we have no permission */
	QMP_BUSY,       /* open: the listener accepts nobody now; ask: too many commands wait */
	QMP_NOT_READY,  /* ask: before on_ready(), or it is lost */
};

/* What is called back. None is called from within a function of this header. */
struct qmp_ops {
	void (*on_ready)(void *user); /* greeted, and commands are taken */
	/* @data is borrowed; NULL: the event has none. */
	void (*on_event)(void *user, const char *name, const json_t *data);
	/* It will call nothing any more; @why is borrowed. The client may be freed in it. */
	void (*on_lost)(void *user, const char *why);
};

struct qmp;

/*
 * Connects to the server at @path. It has @limit_ns to greet, and as long for each answer that has
 * no other limit. @ops is borrowed. QMP_NOBODY, QMP_DENIED, QMP_BUSY, negative errno.
 */
_must_check_ int qmp_open(struct event_base *base, const char *path, uint64_t limit_ns,
			  const struct qmp_ops *ops, void *user, struct qmp **ret_qmp);

/* Hangs up. What was asked is not answered any more. Takes NULL; returns NULL. */
struct qmp *qmp_free(struct qmp *qmp);
DEFINE_CLEANUP(qmp)

/* What becomes of a command: @value, borrowed, of any type; or NULL, and @error says why. */
typedef void qmp_done(void *user, const json_t *value, const char *error);

/*
 * Sends @command with @take_arguments (an object, or NULL: none). @done (NULL: nobody asks) is called
 * once, unless the client is freed before. @limit_ns: 0 is that of qmp_open(); when it has passed the
 * server is lost. QMP_NOT_READY, QMP_BUSY, -ENOMEM.
 */
_must_check_ int qmp_ask(struct qmp *qmp, const char *command, json_t *take_arguments,
			 uint64_t limit_ns, qmp_done *done, void *user);

/* Nothing of what @user has asked is called back any more: it goes away, and the client stays. */
void qmp_forget(struct qmp *qmp, const void *user);

/* Gives the server up: it is lost, as on_lost() will say. @why is a literal. */
void qmp_give_up(struct qmp *qmp, const char *why);
