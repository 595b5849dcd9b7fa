/* SPDX-License-Identifier: MIT */

/*
 * A character device of a stock kernel.
 *
 *               open, write            read the echo
 *      CLOSED ---------------> REGISTERING ---------> OPEN
 *        ^                          |                   |
 *        +---- the driver goes, an answer is refused ---+
 *
 * The device is read only when poll says so, because it blocks whatever its flags say. It knows one
 * request at a time and no number by which an answer belongs to one: an answer that comes after the
 * kernel has given up could be taken for the answer to the next request. So one that is late is not
 * written at all; the device is closed and opened again, which resets the kernel's side. A refused
 * write leads to the same.
 *
 * When the driver goes, the kernel sleeps until this descriptor is closed, so it is closed at once.
 *
 * A wake-up takes longer than most answers. So in a conversation, as when a host enumerates keys, the
 * next request is looked for during one wake-up's time before the loop sleeps (as vmbus/link.c does it
 * on rings). An idle device, or one with a request now and then, is only waited for.
 *
 * A device that cannot be opened is tried again each second at first, because a daemon that is being
 * stopped or a driver that is being loaded is soon done, and each quarter of a minute after that.
 * Sources: Linux drivers/hv/hv_utils_transport.c, hv_snapshot.c, hv_kvp.c; docs/PROTOCOL-vss.md
 * section 8, docs/PROTOCOL-kvp.md section 6.
 */

#include "daemon/device_link.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_S  UINT64_C(1000000000)
#define LIVELY_NS UINT64_C(150000) /* a request so soon after the last answer begins a conversation */
#define SPIN_NS   UINT64_C(25000)  /* about what a wake-up takes */

enum {
	RETRY_S = 1,
	RETRY_LATER_S = 15,
	RETRIES_SOON = 20,
	MESSAGES_PER_ROUND = 64, /* then others get their turn */
};

struct device_link {
	struct event_base *base;
	const struct device_kind *kind;
	const char *path;
	const struct device_link_user *ops;
	void *self;
	int fd;
	struct event *readable;
	struct event *timer; /* closed: to open; open: to close */
	bool registered;
	bool must_close;
	bool asked; /* a request waits for its answer */
	uint64_t answer_by_ns;
	uint64_t answered_ns; /* the last one */
	unsigned int retries; /* since it was open */
	char problem[256]; /* "": none */
};

/* Says once what is in the way. */
static void set_problem(struct device_link *l, const char *problem)
{
	if (!strcmp(l->problem, problem))
		return;
	snprintf(l->problem, sizeof(l->problem), "%s", problem);
	if (*problem)
		log_warning("%s: %s", l->kind->service, problem);
}

static void tell_open_failed(struct device_link *l)
{
	char text[256];

	if (errno == EBUSY)
		snprintf(text, sizeof(text), "%s is in use by another daemon: stop the stock one (%s)",
			 l->path, l->kind->daemon);
	else if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		snprintf(text, sizeof(text),
			 "there is no %s: load hv_utils, and let the host offer %s to this VM", l->path,
			 l->kind->offer);
	else if (errno == EMFILE || errno == ENFILE)
		snprintf(text, sizeof(text),
			 "%s cannot be opened: too many files are open: raise LimitNOFILE of hvguestd, or "
			 "fs.file-max",
			 l->path);
	else if (errno == EACCES || errno == EPERM)
		snprintf(text, sizeof(text), "%s cannot be opened: %s: run hvguestd as root", l->path,
			 strerror(errno));
	else
		snprintf(text, sizeof(text), "%s cannot be opened: %s", l->path, strerror(errno));
	set_problem(l, text);
}

static void retry_later(struct device_link *l)
{
	unsigned int seconds = l->retries < RETRIES_SOON ? RETRY_S : RETRY_LATER_S;

	l->retries++;
	timer_set(l->timer, clock_monotonic_ns() + seconds * NS_PER_S);
}

static void close_device(struct device_link *l)
{
	if (l->readable)
		event_free(l->readable);
	l->readable = NULL;
	l->fd = close_fd(l->fd);
	l->registered = l->asked = l->must_close = false;
	retry_later(l);
}

static void lose(struct device_link *l, const char *why)
{
	char text[256];

	snprintf(text, sizeof(text), "%s is closed and opened again: %s", l->path, why);
	close_device(l);
	l->ops->on_closed(l->self);
	set_problem(l, text);
}

static void on_message(struct device_link *l, const uint8_t *message, size_t size)
{
	switch (l->kind->event(message, size)) {
	case DEVICE_REGISTERED:
		l->registered = true;
		l->retries = 0;
		set_problem(l, "");
		log_info("%s: %s is open", l->kind->service, l->path);
		if (l->ops->on_open)
			l->ops->on_open(l->self, message, size);
		break;
	case DEVICE_REQUEST:
		l->asked = true;
		l->answer_by_ns = clock_monotonic_ns() + l->kind->limit_s(message, size) * NS_PER_S;
		l->ops->on_request(l->self, message, size);
		break;
	case DEVICE_UNKNOWN:
		lose(l, "the kernel sends what is no message");
		break;
	}
}

static void read_message(struct device_link *l)
{
	uint8_t message[DEVICE_MESSAGE_MAX];
	ssize_t n = read(l->fd, message, sizeof(message));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		lose(l, errno == EBADF ? "the driver has been taken away" : strerror(errno));
	else
		on_message(l, message, (size_t)n);
}

/* Looks for the next request for a moment. True if there is one. */
static bool spin(const struct device_link *l)
{
	struct pollfd p = {.fd = l->fd, .events = POLLIN};
	uint64_t end_ns = clock_monotonic_ns() + SPIN_NS;

	do
		if (poll(&p, 1, 0) != 0)
			return true;
	while (clock_monotonic_ns() < end_ns);
	return false;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	struct device_link *l = user;
	bool lively = clock_monotonic_ns() - l->answered_ns < LIVELY_NS;

	(void)fd;
	(void)what;
	for (int n = 0; n < MESSAGES_PER_ROUND; n++) {
		read_message(l);
		if (!lively || l->fd < 0 || l->asked || l->must_close || !spin(l))
			return;
	}
}

static int write_message(struct device_link *l, const void *message, size_t size)
{
	ssize_t n = write(l->fd, message, size);

	if (n == (ssize_t)size)
		return 0;
	return n < 0 ? negative_errno() : -EIO;
}

static void open_device(struct device_link *l)
{
	uint8_t message[DEVICE_MESSAGE_MAX];
	size_t size = l->kind->put_registration(message);

	l->fd = open(l->path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (l->fd < 0) {
		tell_open_failed(l);
		retry_later(l);
		return;
	}
	l->readable = event_new(l->base, l->fd, EV_READ | EV_PERSIST, on_readable, l);
	if (!l->readable || event_add(l->readable, NULL) < 0 || write_message(l, message, size)) {
		set_problem(l, "the kernel does not take the registration at its device");
		close_device(l);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct device_link *l = user;

	(void)fd;
	(void)what;
	if (l->fd < 0)
		open_device(l);
	else if (l->must_close)
		lose(l, "the kernel did not wait for an answer");
}

int device_link_answer(struct device_link *l, const void *message, size_t size)
{
	if (!l->asked)
		return DEVICE_LINK_LOST;
	l->asked = false;
	l->answered_ns = clock_monotonic_ns();
	if (l->answered_ns < l->answer_by_ns && write_message(l, message, size) == 0)
		return 0;
	l->must_close = true;
	timer_set(l->timer, clock_monotonic_ns());
	return DEVICE_LINK_LOST;
}

int device_link_new(struct event_base *base, const struct device_kind *kind, const char *path,
		    const struct device_link_user *ops, void *self, struct device_link **ret_link)
{
	_cleanup_(cleanup_device_linkp) struct device_link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->base = base;
	l->kind = kind;
	l->path = path;
	l->ops = ops;
	l->self = self;
	l->fd = -1;
	l->timer = event_new(base, -1, 0, on_timer, l);
	if (!l->timer)
		return -ENOMEM;
	open_device(l);

	*ret_link = steal_ptr(l);
	return 0;
}

struct device_link *device_link_free(struct device_link *l)
{
	if (!l)
		return NULL;
	if (l->readable)
		event_free(l->readable);
	if (l->timer)
		event_free(l->timer);
	(void)close_fd(l->fd);
	free(l);
	return NULL;
}

const char *device_link_state(const struct device_link *l)
{
	if (l->fd < 0)
		return "closed";
	return l->registered ? "open" : "registering";
}

bool device_link_is_open(const struct device_link *l)
{
	return l->fd >= 0 && l->registered;
}

const char *device_link_problem(const struct device_link *l)
{
	return *l->problem ? l->problem : NULL;
}
