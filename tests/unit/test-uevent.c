/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/uevent.c: what is a message about a memory block, and what is not; and a real socket,
 * with messages that do not come from the kernel.
 */

#include "memhotplug/uevent.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK "/devices/system/memory/memory33"

#define MESSAGE(text) {(text), sizeof(text)}

struct message {
	const char *text;
	size_t size;
};

Test(uevent, messages_about_memory_blocks_are_read)
{
	static const struct {
		struct message message;
		struct uevent event;
	} rows[] = {
		{MESSAGE("add@" BLOCK "\0ACTION=add\0DEVPATH=" BLOCK "\0SUBSYSTEM=memory\0SEQNUM=5"),
		 {UEVENT_ADD, 33}},
		{MESSAGE("online@" BLOCK "\0SUBSYSTEM=memory\0DEVPATH=" BLOCK "\0ACTION=online"),
		 {UEVENT_ONLINE, 33}},
		{MESSAGE("x\0ACTION=offline\0DEVPATH=" BLOCK "0\0SUBSYSTEM=memory"),
		 {UEVENT_OFFLINE, 330}},
		{MESSAGE("\0ACTION=remove\0DEVPATH=" BLOCK "\0SUBSYSTEM=memory"), {UEVENT_REMOVE, 33}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct uevent event;

		cr_assert(eq(int, uevent_parse(rows[i].message.text, rows[i].message.size, &event), 0),
			  "row %zu", i);
		cr_expect(eq(int, event.action, rows[i].event.action), "row %zu", i);
		cr_expect(eq(u64, event.block, rows[i].event.block), "row %zu", i);
	}
}

Test(uevent, other_messages_are_passed_over)
{
	static const struct message rows[] = {
		{"", 0},
		{"x", 1}, /* without its NUL */
		MESSAGE("add@" BLOCK),
		MESSAGE("add@" BLOCK "\0ACTION=add\0DEVPATH=" BLOCK),
		MESSAGE("add@" BLOCK "\0ACTION=add\0SUBSYSTEM=memory"),
		MESSAGE("add@" BLOCK "\0DEVPATH=" BLOCK "\0SUBSYSTEM=memory"),
		MESSAGE("x\0ACTION=bind\0DEVPATH=" BLOCK "\0SUBSYSTEM=memory"),
		MESSAGE("x\0ACTION=add\0DEVPATH=" BLOCK "\0SUBSYSTEM=block"),
		MESSAGE("x\0ACTION=add\0DEVPATH=" BLOCK "x\0SUBSYSTEM=memory"),
		MESSAGE("x\0ACTION=add\0DEVPATH=/devices/system/memory/memory\0SUBSYSTEM=memory"),
		MESSAGE("x\0ACTION=add\0DEVPATH=/devices/system/memory\0SUBSYSTEM=memory"),
		MESSAGE("x\0ACTION=add\0DEVPATH=" BLOCK "12345678901234567\0SUBSYSTEM=memory"),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct uevent event;

		cr_expect(eq(int, uevent_parse(rows[i].text, rows[i].size, &event), UEVENT_OTHER),
			  "row %zu", i);
	}
}

Test(uevent, any_piece_of_a_message_does_no_harm)
{
	static const char message[] = "add@" BLOCK "\0ACTION=add\0DEVPATH=" BLOCK "\0SUBSYSTEM=memory";
	struct uevent event;

	for (size_t from = 0; from < sizeof(message); from++)
		for (size_t to = from; to < sizeof(message); to++) {
			char *copy = memcpy(malloc(to - from + 1), message + from, to - from);

			cr_expect(eq(int, uevent_parse(copy, to - from, &event), UEVENT_OTHER));
			free(copy);
		}
}

Test(uevent, only_the_kernel_is_believed)
{
	static const char forged[] = "add@" BLOCK "\0ACTION=add\0DEVPATH=" BLOCK "\0SUBSYSTEM=memory";
	struct sockaddr_nl to = {.nl_family = AF_NETLINK};
	socklen_t length = sizeof(to);
	struct uevent event;
	int fd, other;

	if (uevent_open_memory(&fd))
		cr_skip_test("this machine has no netlink for us");
	cr_expect(eq(int, uevent_receive(fd, &event), UEVENT_AGAIN));
	cr_assert(eq(int, getsockname(fd, (struct sockaddr *)&to, &length), 0));
	other = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	to.nl_groups = 0;
	if (sendto(other, forged, sizeof(forged), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		cr_skip_test("only root may send");
	cr_expect(eq(int, uevent_receive(fd, &event), UEVENT_AGAIN));
	close(other);
	close(fd);
}

/* Has the kernel say that something is so with a device that is everywhere. */
static bool kernel_says(const char *action, const char *device)
{
	char path[64];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/mem/%s/uevent", device);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	done = fd >= 0 && write(fd, action, strlen(action)) == (ssize_t)strlen(action);
	if (fd >= 0)
		close(fd);
	return done;
}

Test(uevent, only_what_was_asked_for_wakes)
{
	static const char *const beginnings[] = {"change@/devices/virtual/mem/null", "online@/no/such",
						 "add@/devices/virtual/mem/zero"};
	static const struct {
		const char *action, *device;
		bool wakes;
	} rows[] = {
		{"change", "full", false}, {"change", "null", true}, {"offline", "null", false},
		{"change", "zero", false}, {"add", "zero", true},    {"add", "null", false},
	};
	struct pollfd wait = {.events = POLLIN};
	char message[UEVENT_SIZE_MAX];

	if (uevent_open(beginnings, 3, &wait.fd))
		cr_skip_test("this machine has no netlink for us");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!kernel_says(rows[i].action, rows[i].device))
			cr_skip_test("the kernel cannot be asked to say something");
		/* It is there when the write returns. Nobody else speaks of these devices. */
		cr_expect(eq(int, poll(&wait, 1, 0), rows[i].wakes), "row %zu", i);
		if (rows[i].wakes)
			cr_expect(ge(int, (int)recv(wait.fd, message, sizeof(message), MSG_DONTWAIT), 60));
	}
	close(wait.fd);
}
