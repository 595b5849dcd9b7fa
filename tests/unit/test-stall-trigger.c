/* SPDX-License-Identifier: MIT */

/*
 * policy/stall_trigger.c and policy/reclaim.c: what they make of kernels that lack their files. That
 * a trigger fires is for the system tests, because it needs tasks that really wait.
 */

#include "policy/reclaim.h"
#include "policy/stall_trigger.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

Test(stall_trigger, a_kernel_without_the_file_has_none)
{
	struct stall_trigger *trigger;

	cr_expect(eq(int, stall_trigger_new("/dev/shm/no/such/file", &trigger),
		     STALL_TRIGGER_UNAVAILABLE));
}

Test(stall_trigger, a_file_that_cannot_be_waited_for_is_no_trigger)
{
	char path[] = "/dev/shm/test-stall-trigger-XXXXXX";
	struct stall_trigger *trigger;
	int fd = mkstemp(path);

	cr_assert(ge(int, fd, 0));
	close(fd);
	cr_expect(eq(int, stall_trigger_new(path, &trigger), STALL_TRIGGER_UNAVAILABLE));
	unlink(path);
}

Test(stall_trigger, the_kernels_own_is_accepted_and_quiet_at_first)
{
	struct stall_trigger *trigger;
	struct pollfd poll_fd;

	if (stall_trigger_new(STALL_TRIGGER_PATH, &trigger))
		cr_skip("this kernel measures no stalls, or not for us");
	poll_fd = (struct pollfd){.fd = stall_trigger_fd(trigger), .events = POLLIN};
	cr_expect(ge(int, poll(&poll_fd, 1, 0), 0));
	cr_expect(stall_trigger_take(trigger));
	cr_expect(eq(ptr, stall_trigger_free(trigger), NULL));
}

Test(reclaim, a_kernel_without_the_file_has_none)
{
	struct reclaim *reclaim;

	cr_expect(eq(int, reclaim_new("/dev/shm/no/such/file", &reclaim), RECLAIM_UNAVAILABLE));
}

Test(reclaim, the_amount_is_written_in_bytes)
{
	char path[] = "/dev/shm/test-reclaim-XXXXXX", text[32] = "";
	struct reclaim *reclaim;
	int fd = mkstemp(path);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, reclaim_new(path, &reclaim), 0));
	cr_expect(eq(int, reclaim_ask(reclaim, UINT64_C(67108864)), 0));
	cr_expect(gt(int, (int)read(fd, text, sizeof(text) - 1), 0));
	cr_expect(eq(str, text, "67108864"));
	(void)reclaim_free(reclaim);
	close(fd);
	unlink(path);
}

Test(reclaim, another_error_is_passed_on)
{
	struct reclaim *reclaim;

	cr_assert(eq(int, reclaim_new("/dev/full", &reclaim), 0));
	cr_expect(eq(int, reclaim_ask(reclaim, 4096), -ENOSPC));
	(void)reclaim_free(reclaim);
}
