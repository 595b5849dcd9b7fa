/* SPDX-License-Identifier: MIT */

/*
 * systemd-logind.
 *
 * Who is root may power off whatever inhibitors say, and logind does not look at them for root unless it
 * is told to. systemctl can look at them, but then it also minds who is logged in, which is nothing that a
 * host should have to wait for. So this asks twice: who inhibits, and if nobody does, for the thing itself,
 * with the flag that makes logind look once more.
 *
 *     ListInhibitors                    a "block" on shutdown (sleep, to hibernate): inhibited
 *     PowerOffWithFlags(1)              since systemd 246
 *     PowerOff(false)                   before that: between the two questions somebody may inhibit
 *
 * Nothing waits: the bus is a descriptor and a time in the event loop. A logind that does not answer in
 * the bus's own limit (25 s) is taken for absent. What is sent by whoever owns the name on the system's bus
 * is believed, as that is root's to give away.
 *
 * Source: systemd's man page org.freedesktop.login1(5).
 */

#include "daemon/logind.h"

#ifdef HAVE_SYSTEMD

#include "base/jobs.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define DESTINATION "org.freedesktop.login1"
#define OBJECT      "/org/freedesktop/login1"
#define INTERFACE   "org.freedesktop.login1.Manager"

#define ROOT_CHECK_INHIBITORS UINT64_C(1)

struct logind {
	struct event_base *base;
	const char *verb;
	void (*done)(void *user, enum logind_end end, const char *what);
	void *user;
	sd_bus *bus;
	struct event *ready;
	struct event *timer;
	bool has_ended;
	enum logind_end end;
	char what[256];
};

/* The first end counts; it is told when the bus has come to rest. */
static void end(struct logind *l, enum logind_end how, const char *what)
{
	if (l->has_ended)
		return;
	l->has_ended = true;
	l->end = how;
	snprintf(l->what, sizeof(l->what), "%s", what);
}

static bool is_absent(const sd_bus_error *error)
{
	static const char *const names[] = {
		SD_BUS_ERROR_SERVICE_UNKNOWN,
		SD_BUS_ERROR_NAME_HAS_NO_OWNER,
		SD_BUS_ERROR_NO_REPLY,
		SD_BUS_ERROR_TIMEOUT,
		SD_BUS_ERROR_DISCONNECTED,
		"org.freedesktop.systemd1.NoSuchUnit",
		"org.freedesktop.systemd1.UnitMasked",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (sd_bus_error_has_name(error, names[i]))
			return true;
	return false;
}

/* What an error of the second question means. */
static void end_with_error(struct logind *l, const sd_bus_error *error)
{
	if (is_absent(error))
		end(l, LOGIND_ABSENT, error->message);
	else if (sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED))
		end(l, LOGIND_INHIBITED, error->message);
	else
		end(l, LOGIND_FAILED, error->message);
}

static int on_begun(sd_bus_message *reply, void *user, sd_bus_error *ret_error)
{
	struct logind *l = user;
	const sd_bus_error *error = sd_bus_message_get_error(reply);

	(void)ret_error;
	if (error)
		end_with_error(l, error);
	else
		end(l, LOGIND_BEGUN, "");
	return 0;
}

static int on_begun_with_flags(sd_bus_message *reply, void *user, sd_bus_error *ret_error)
{
	struct logind *l = user;

	if (!sd_bus_error_has_name(sd_bus_message_get_error(reply), SD_BUS_ERROR_UNKNOWN_METHOD))
		return on_begun(reply, user, ret_error);
	if (sd_bus_call_method_async(l->bus, NULL, DESTINATION, OBJECT, INTERFACE, l->verb, on_begun, l,
				     "b", false) < 0)
		end(l, LOGIND_ABSENT, "the bus is lost");
	return 0;
}

static void begin(struct logind *l)
{
	char method[32];

	snprintf(method, sizeof(method), "%sWithFlags", l->verb);
	if (sd_bus_call_method_async(l->bus, NULL, DESTINATION, OBJECT, INTERFACE, method,
				     on_begun_with_flags, l, "t", ROOT_CHECK_INHIBITORS) < 0)
		end(l, LOGIND_ABSENT, "the bus is lost");
}

/* Whether @list, words with colons in between, has @word. */
static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (; *list; list += strcspn(list, ":"), list += *list == ':')
		if (strcspn(list, ":") == length && strncmp(list, word, length) == 0)
			return true;
	return false;
}

/* The next inhibitor: 1, and whether it is in the way; 0: there is none; negative errno. */
static int read_inhibitor(struct logind *l, sd_bus_message *reply)
{
	const char *word = strcmp(l->verb, "Hibernate") == 0 ? "sleep" : "shutdown";
	const char *what, *who, *why, *mode;
	uint32_t uid, pid;
	char text[256];
	int r = sd_bus_message_read(reply, "(ssssuu)", &what, &who, &why, &mode, &uid, &pid);

	if (r <= 0)
		return r;
	if (strcmp(mode, "block") == 0 && has_word(what, word)) {
		snprintf(text, sizeof(text), "%s (process %u of user %u): %s", who, pid, uid, why);
		end(l, LOGIND_INHIBITED, text);
	}
	return 1;
}

static int on_inhibitors(sd_bus_message *reply, void *user, sd_bus_error *ret_error)
{
	const sd_bus_error *error = sd_bus_message_get_error(reply);
	struct logind *l = user;
	int r;

	(void)ret_error;
	if (error) {
		end(l, LOGIND_ABSENT, error->message);
		return 0;
	}
	r = sd_bus_message_enter_container(reply, 'a', "(ssssuu)");
	while (r > 0)
		r = read_inhibitor(l, reply);
	if (r < 0)
		end(l, LOGIND_ABSENT, "logind's list of inhibitors cannot be read");
	else if (!l->has_ended)
		begin(l);
	return 0;
}

/* Waits for what the bus wants to have waited for. */
static int wait_for_bus(struct logind *l)
{
	int fd = sd_bus_get_fd(l->bus), events = sd_bus_get_events(l->bus);
	uint64_t deadline_us;

	if (fd < 0 || events < 0 || sd_bus_get_timeout(l->bus, &deadline_us) < 0)
		return -EIO;
	if (event_del(l->ready) < 0 ||
	    event_assign(l->ready, l->base, fd,
			 (short)((events & POLLIN ? EV_READ : 0) | (events & POLLOUT ? EV_WRITE : 0)),
			 event_get_callback(l->ready), l) < 0 ||
	    event_add(l->ready, NULL) < 0)
		return -ENOMEM;
	timer_set(l->timer, deadline_us == UINT64_MAX ? UINT64_MAX : deadline_us * 1000);
	return 0;
}

static void on_bus(evutil_socket_t fd, short what, void *user)
{
	struct logind *l = user;
	int r = 1;

	(void)fd;
	(void)what;
	while (r > 0 && !l->has_ended)
		r = sd_bus_process(l->bus, NULL);
	if (!l->has_ended && (r < 0 || wait_for_bus(l) < 0))
		end(l, LOGIND_ABSENT, "the bus is lost");
	if (l->has_ended) {
		(void)event_del(l->ready);
		(void)event_del(l->timer);
		l->done(l->user, l->end, l->what);
	}
}

static int start(struct logind *l)
{
	l->ready = event_new(l->base, -1, 0, on_bus, l);
	l->timer = event_new(l->base, -1, 0, on_bus, l);
	if (!l->ready || !l->timer)
		return -ENOMEM;
	if (sd_bus_open_system(&l->bus) < 0 ||
	    sd_bus_call_method_async(l->bus, NULL, DESTINATION, OBJECT, INTERFACE, "ListInhibitors",
				     on_inhibitors, l, "") < 0)
		return LOGIND_ABSENT;
	return wait_for_bus(l);
}

int logind_ask(struct event_base *base, const char *verb,
	       void (*done)(void *user, enum logind_end end, const char *what), void *user,
	       struct logind **ret_logind)
{
	struct logind *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	*l = (struct logind){.base = base, .verb = verb, .done = done, .user = user};
	r = start(l);
	if (r) {
		(void)logind_free(l);
		return r;
	}
	*ret_logind = l;
	return 0;
}

struct logind *logind_free(struct logind *l)
{
	if (!l)
		return NULL;
	if (l->ready)
		event_free(l->ready);
	if (l->timer)
		event_free(l->timer);
	sd_bus_close_unref(l->bus);
	free(l);
	return NULL;
}

#else

int logind_ask(struct event_base *base, const char *verb,
	       void (*done)(void *user, enum logind_end end, const char *what), void *user,
	       struct logind **ret_logind)
{
	(void)base;
	(void)verb;
	(void)done;
	(void)user;
	(void)ret_logind;
	return LOGIND_ABSENT;
}

struct logind *logind_free(struct logind *l)
{
	(void)l;
	return NULL;
}

#endif
