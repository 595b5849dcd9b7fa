/* SPDX-License-Identifier: MIT */

/*
 * services/osinfo.c: release files in a tree of ordinary files, and a real host name that changes, in
 * a UTS namespace of its own.
 */

#include "services/osinfo.h"
#include "tests/unit/tree.h"

#include <sched.h>
#include <sys/epoll.h>

TestSuite(osinfo, .init = tree_init, .fini = tree_fini);

Test(osinfo, the_release_file_of_etc_is_read_before_that_of_usr)
{
	static struct osinfo info;

	osinfo_read(tree, &info);
	expect_text(info.os_release, "");
	tree_file("usr/lib/os-release", "NAME=usr\n");
	osinfo_read(tree, &info);
	expect_text(info.os_release, "NAME=usr\n");
	tree_file("etc/os-release", "NAME=etc\n");
	osinfo_read(tree, &info);
	expect_text(info.os_release, "NAME=etc\n");
	expect_text(info.uname.sysname, "Linux");
}

Test(osinfo, a_release_file_that_is_huge_is_cut)
{
	static struct osinfo info;

	tree_sized("etc/os-release", 1 << 20);
	memset(&info, 0x55, sizeof(info));
	osinfo_read(tree, &info);
	cr_expect(eq(chr, info.os_release[OSINFO_FILE_MAX - 1], '\0'));
}

/* How often an event loop wakes up within a tenth of a second, if it takes notice each time. */
static unsigned wake_ups(int loop, struct osinfo_watch *watch)
{
	struct epoll_event event;
	unsigned n = 0;

	for (; n < 100 && epoll_wait(loop, &event, 1, 100) == 1; n++)
		osinfo_watch_seen(watch);
	return n;
}

/*
 * In an epoll set, which asks for what is readable, as event loops do. The kernel tells of changes in
 * all UTS namespaces, so somebody else's may come in between: a few are no loop that never rests.
 */
Test(osinfo, an_event_loop_hears_of_each_change_and_rests_otherwise)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct osinfo_watch watch;
	int loop = epoll_create1(0);

	if (unshare(CLONE_NEWUTS) < 0)
		cr_skip_test("needs a UTS namespace of its own");
	cr_assert(eq(int, osinfo_watch_init(&watch), 0));
	cr_assert(eq(int, epoll_ctl(loop, EPOLL_CTL_ADD, watch.fd, &event), 0));
	cr_expect(lt(uint, wake_ups(loop, &watch), 10));
	for (size_t i = 0; i < 3; i++) {
		cr_assert(eq(int, sethostname("changed", 7 - i), 0));
		cr_expect(eq(int, epoll_wait(loop, &event, 1, 10000), 1));
		osinfo_watch_seen(&watch);
		cr_expect(lt(uint, wake_ups(loop, &watch), 10));
	}
	osinfo_watch_fini(&watch);
	cr_expect(eq(int, watch.fd, -1));
	close(loop);
}
