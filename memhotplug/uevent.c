/* SPDX-License-Identifier: MIT */

/*
 * The kernel's messages about devices, on netlink.
 *
 * A message is a line "add@/devices/system/memory/memory32" and then strings "KEY=value", each with
 * its NUL. Everything that is needed is in ACTION, SUBSYSTEM and DEVPATH. udev sends on another
 * group of the same protocol, and any process may send to a socket that is bound, so the sender is
 * looked at: only the kernel has port 0.
 * Source: Linux lib/kobject_uevent.c, drivers/base/memory.c.
 */

#include "memhotplug/uevent.h"

#include "base/cleanup.h"

#include <assert.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

enum {
	FILTER_MAX = UEVENT_BEGINNINGS_MAX * (UEVENT_BEGINNING_MAX * 2 + 1) + 1, /* instructions */
	KERNEL_GROUP = 1,
	RECEIVE_BUFFER = 1 << 20, /* bytes; a large DIMM is hundreds of blocks at once */
};

/* The value if @text is "KEY=value" with this key. */
static const char *value_of(const char *text, const char *key)
{
	size_t length = strlen(key);

	return strncmp(text, key, length) == 0 && text[length] == '=' ? text + length + 1 : NULL;
}

static bool parse_action(const char *text, enum uevent_action *ret_action)
{
	static const char *const names[] = {
		[UEVENT_ADD] = "add",
		[UEVENT_REMOVE] = "remove",
		[UEVENT_ONLINE] = "online",
		[UEVENT_OFFLINE] = "offline",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret_action = i;
			return true;
		}
	}
	return false;
}

/* "/devices/system/memory/memoryN" */
static bool parse_path(const char *path, uint64_t *ret_block)
{
	static const char prefix[] = "/devices/system/memory/memory";
	const char *digits = path + sizeof(prefix) - 1;

	if (strncmp(path, prefix, sizeof(prefix) - 1) != 0 || *digits == '\0' ||
	    digits[strspn(digits, "0123456789")] != '\0' || strlen(digits) > 15)
		return false;
	*ret_block = strtoull(digits, NULL, 10);
	return true;
}

int uevent_parse(const char *message, size_t size, struct uevent *ret_event)
{
	bool is_memory = false, has_action = false, has_block = false;
	const char *end = message + size, *value;
	struct uevent event;

	if (size == 0 || end[-1] != '\0')
		return UEVENT_OTHER;
	for (const char *p = message; p < end; p += strlen(p) + 1) {
		if ((value = value_of(p, "SUBSYSTEM")))
			is_memory = strcmp(value, "memory") == 0;
		else if ((value = value_of(p, "ACTION")))
			has_action = parse_action(value, &event.action);
		else if ((value = value_of(p, "DEVPATH")))
			has_block = parse_path(value, &event.block);
	}
	if (!is_memory || !has_action || !has_block)
		return UEVENT_OTHER;
	*ret_event = event;
	return 0;
}

/*
 * Takes what begins with one of these, and drops the rest where it is sent. A message that ends within
 * a beginning is dropped, too, whatever the next would be: the kernel's all have their KEY=value.
 * Source: Linux Documentation/networking/filter.rst.
 */
static size_t make_filter(const char *const *beginnings, size_t n_beginnings,
			  struct sock_filter filter[FILTER_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < n_beginnings; i++) {
		size_t length = strlen(beginnings[i]);
		size_t next = n + 2 * length + 1;

		for (size_t at = 0; at < length; at++) {
			filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS, at);
			filter[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
								 beginnings[i][at], 0, next - n - 1);
			n++;
		}
		filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UEVENT_SIZE_MAX);
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	return n;
}

int uevent_open(const char *const *beginnings, size_t n_beginnings, int *ret_fd)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP};
	const int size = RECEIVE_BUFFER;
	struct sock_filter filter[FILTER_MAX];
	struct sock_fprog program = {.filter = filter};
	_cleanup_close_ int fd = -1;

	assert(n_beginnings <= UEVENT_BEGINNINGS_MAX);
	for (size_t i = 0; i < n_beginnings; i++)
		assert(strlen(beginnings[i]) <= UEVENT_BEGINNING_MAX);
	program.len = make_filter(beginnings, n_beginnings, filter);

	fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	if (fd < 0)
		return negative_errno();
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return negative_errno();
	/* The second needs no capability, and may give less. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return negative_errno();
	*ret_fd = steal_fd(fd);
	return 0;
}

int uevent_open_memory(int *ret_fd)
{
	static const char *const beginnings[] = {
		"add@/devices/system/memory/",
		"remove@/devices/system/memory/",
		"online@/devices/system/memory/",
		"offline@/devices/system/memory/",
	};

	return uevent_open(beginnings, sizeof(beginnings) / sizeof(beginnings[0]), ret_fd);
}

int uevent_receive(int fd, struct uevent *ret_event)
{
	char message[UEVENT_SIZE_MAX];
	struct sockaddr_nl sender = {0};

	for (;;) {
		socklen_t length = sizeof(sender);
		ssize_t n = recvfrom(fd, message, sizeof(message), 0, (struct sockaddr *)&sender,
				     &length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return UEVENT_AGAIN;
		if (n < 0 && errno == ENOBUFS)
			return UEVENT_LOST;
		if (n < 0)
			return negative_errno();
		if (sender.nl_pid == 0 && uevent_parse(message, (size_t)n, ret_event) == 0)
			return 0;
	}
}
