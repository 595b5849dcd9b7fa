/* SPDX-License-Identifier: MIT */

/*
 * The VSS device of a stock kernel.
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
 * Sources: Linux drivers/hv/hv_utils_transport.c, hv_snapshot.c; docs/PROTOCOL-vss.md section 8.
 */

#include "daemon/vss_device_link.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "vss/vss_device.h"
#include "vss/vss_wire.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

enum {
	RETRY_S = 1,
	/* A little less than the kernel waits: VSS_FREEZE_TIMEOUT and HV_UTIL_TIMEOUT, 900 and 30 s. */
	FREEZE_LIMIT_S = 895,
	ANSWER_LIMIT_S = 28,
	READ_SIZE = 64,
};

struct vss_device_link {
	struct event_base *base;
	const char *path;
	const struct vss_device_link_user *ops;
	void *self;
	int fd;
	struct event *readable;
	struct event *timer; /* closed: to open; open: to close */
	bool registered;
	bool must_close;
	bool asked; /* a request waits for its answer */
	uint64_t answer_by_ns;
	char problem[256]; /* "": none */
};

/* Says once what is in the way. */
static void set_problem(struct vss_device_link *l, const char *problem)
{
	if (!strcmp(l->problem, problem))
		return;
	snprintf(l->problem, sizeof(l->problem), "%s", problem);
	if (*problem)
		log_warning("vss: %s", problem);
}

static void tell_open_failed(struct vss_device_link *l)
{
	char text[256];

	if (errno == EBUSY)
		snprintf(text, sizeof(text),
			 "%s is in use by another daemon: stop the stock one (hv_vss_daemon; its "
			 "service is hv-vss-daemon, hypervvssd or hv_vss_daemon)",
			 l->path);
	else if (errno == ENOENT)
		snprintf(text, sizeof(text),
			 "there is no %s: load hv_utils, and let the host offer backup to this VM",
			 l->path);
	else
		snprintf(text, sizeof(text), "%s cannot be opened: %s", l->path, strerror(errno));
	set_problem(l, text);
}

static void close_device(struct vss_device_link *l)
{
	if (l->readable)
		event_free(l->readable);
	l->readable = NULL;
	l->fd = close_fd(l->fd);
	l->registered = l->asked = l->must_close = false;
	timer_set(l->timer, clock_monotonic_ns() + RETRY_S * NS_PER_S);
}

static void lose(struct vss_device_link *l, const char *why)
{
	char text[256];

	snprintf(text, sizeof(text), "%s is closed and opened again: %s", l->path, why);
	close_device(l);
	l->ops->on_closed(l->self);
	set_problem(l, text);
}

static void on_message(struct vss_device_link *l, const uint8_t *message, size_t size)
{
	unsigned int limit_s = message[0] == VSS_OP_FREEZE ? FREEZE_LIMIT_S : ANSWER_LIMIT_S;

	switch (vss_device_event(message, size)) {
	case VSS_DEVICE_REGISTERED:
		l->registered = true;
		set_problem(l, "");
		log_info("vss: %s is open", l->path);
		break;
	case VSS_DEVICE_REQUEST:
		l->asked = true;
		l->answer_by_ns = clock_monotonic_ns() + limit_s * NS_PER_S;
		l->ops->on_request(l->self, message, size);
		break;
	case VSS_DEVICE_UNKNOWN:
		lose(l, "the kernel sends what is no message");
		break;
	}
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	struct vss_device_link *l = user;
	uint8_t message[READ_SIZE] = {0};
	ssize_t n = read(fd, message, sizeof(message));

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		lose(l, errno == EBADF ? "the driver has been taken away" : strerror(errno));
	else
		on_message(l, message, (size_t)n);
}

static int write_message(struct vss_device_link *l, const uint8_t *message)
{
	ssize_t n = write(l->fd, message, VSS_DEVICE_MESSAGE_SIZE);

	if (n == VSS_DEVICE_MESSAGE_SIZE)
		return 0;
	return n < 0 ? negative_errno() : -EIO;
}

static void open_device(struct vss_device_link *l)
{
	uint8_t message[VSS_DEVICE_MESSAGE_SIZE];

	l->fd = open(l->path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (l->fd < 0) {
		tell_open_failed(l);
		timer_set(l->timer, clock_monotonic_ns() + RETRY_S * NS_PER_S);
		return;
	}
	l->readable = event_new(l->base, l->fd, EV_READ | EV_PERSIST, on_readable, l);
	vss_device_register(message);
	if (!l->readable || event_add(l->readable, NULL) < 0 || write_message(l, message)) {
		set_problem(l, "the kernel does not take the registration at its VSS device");
		close_device(l);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct vss_device_link *l = user;

	(void)fd;
	(void)what;
	if (l->fd < 0)
		open_device(l);
	else if (l->must_close)
		lose(l, "the kernel did not wait for an answer");
}

int vss_device_link_answer(struct vss_device_link *l, uint32_t status)
{
	uint8_t message[VSS_DEVICE_MESSAGE_SIZE];

	if (!l->asked)
		return VSS_DEVICE_LINK_LOST;
	l->asked = false;
	vss_device_answer(message, status);
	if (clock_monotonic_ns() < l->answer_by_ns && write_message(l, message) == 0)
		return 0;
	l->must_close = true;
	timer_set(l->timer, clock_monotonic_ns());
	return VSS_DEVICE_LINK_LOST;
}

int vss_device_link_new(struct event_base *base, const char *path,
			const struct vss_device_link_user *ops, void *self,
			struct vss_device_link **ret_link)
{
	_cleanup_(cleanup_vss_device_linkp) struct vss_device_link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->base = base;
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

struct vss_device_link *vss_device_link_free(struct vss_device_link *l)
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

const char *vss_device_link_state(const struct vss_device_link *l)
{
	if (l->fd < 0)
		return "closed";
	return l->registered ? "open" : "registering";
}

const char *vss_device_link_problem(const struct vss_device_link *l)
{
	return *l->problem ? l->problem : NULL;
}
