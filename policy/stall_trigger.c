/* SPDX-License-Identifier: MIT */

/*
 * A trigger of the kernel's pressure stall information.
 *
 * The kernel is told a threshold and a window, and says POLLPRI when tasks have waited for longer
 * than that within a window, at most once for each. Between two reports a second is long for a
 * machine that runs out of memory; with the trigger nobody has to look ten times a second instead.
 *
 * Three traps. The kernel overwrites the last byte of what is written to it, so the text is written
 * with its end. And a window of half a second is given to who has CAP_SYS_RESOURCE; others get
 * multiples of two seconds, which is tried next (Linux kernel/sched/psi.c, psi_trigger_create());
 * these come seconds late. And looking takes the event away (psi_trigger_poll()).
 *
 * Event loops wait for what can be read, and POLLPRI is not that. An epoll descriptor can be waited
 * for like any other, and waits itself for whatever it is told. By the third trap it has looked when
 * the loop wakes up: that it woke up is the event.
 */

#include "policy/stall_trigger.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct stall_trigger {
	int pressure_fd;
	int epoll_fd;
};

/* In microseconds: waiting, window. The most exact first. */
static const char *const thresholds[] = {"some 50000 500000", "some 100000 2000000"};

static bool set_threshold(int fd)
{
	for (size_t i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]); i++) {
		size_t size = strlen(thresholds[i]) + 1;

		if (write(fd, thresholds[i], size) == (ssize_t)size)
			return true;
	}
	return false;
}

int stall_trigger_new(const char *path, struct stall_trigger **ret_trigger)
{
	_cleanup_close_ int pressure_fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	_cleanup_close_ int epoll_fd = -1;
	struct epoll_event event = {.events = EPOLLPRI};
	struct stall_trigger *trigger;

	if (pressure_fd < 0 || !set_threshold(pressure_fd))
		return STALL_TRIGGER_UNAVAILABLE;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		return negative_errno();
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pressure_fd, &event) < 0)
		return errno == EPERM ? STALL_TRIGGER_UNAVAILABLE : negative_errno();
	trigger = malloc(sizeof(*trigger));
	if (!trigger)
		return -ENOMEM;

	trigger->pressure_fd = steal_fd(pressure_fd);
	trigger->epoll_fd = steal_fd(epoll_fd);
	*ret_trigger = trigger;
	return 0;
}

struct stall_trigger *stall_trigger_free(struct stall_trigger *trigger)
{
	if (!trigger)
		return NULL;
	close_fd(trigger->epoll_fd);
	close_fd(trigger->pressure_fd);
	free(trigger);
	return NULL;
}

int stall_trigger_fd(const struct stall_trigger *trigger)
{
	return trigger->epoll_fd;
}

bool stall_trigger_take(struct stall_trigger *trigger)
{
	struct pollfd pressure = {.fd = trigger->pressure_fd, .events = POLLPRI};

	if (poll(&pressure, 1, 0) < 1 || !(pressure.revents & POLLERR))
		return true;
	(void)epoll_ctl(trigger->epoll_fd, EPOLL_CTL_DEL, trigger->pressure_fd, NULL);
	return false;
}
