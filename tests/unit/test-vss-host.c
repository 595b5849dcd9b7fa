/* SPDX-License-Identifier: MIT */

/*
 * host/vss_host.c: the whole backup, and what happens if any step of it goes wrong.
 */

#include "host/vss_host.h"
#include "vmbus/wire.h"
#include "vss/vss_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static const struct vss_host_config config = {.freeze_timeout_ns = 60, .answer_timeout_ns = 30};

static const uint8_t answer[VSS_MESSAGE_MIN_SIZE] = {[VSS_FLAGS_OFFSET] = 5};

/* The only action, which must be of this type. */
static struct vss_host_action take(struct vss_host *h, enum vss_host_action_type type)
{
	struct vss_host_action action = {0};

	cr_assert(vss_host_next_action(h, &action));
	cr_assert(eq(int, action.type, type));
	return action;
}

static void expect_nothing(struct vss_host *h)
{
	struct vss_host_action action;

	cr_expect(not(vss_host_next_action(h, &action)));
}

static void expect_send(struct vss_host *h, enum vss_operation operation)
{
	struct vss_host_action action = take(h, VSS_HOST_SEND);

	cr_expect(eq(int, action.operation, operation));
	expect_nothing(h);
}

/* Runs a backup up to @state, which must be a running one; each step takes 1 ns. */
static uint64_t run_to(struct vss_host *h, enum vss_host_state state)
{
	struct vss_host_action action;
	uint64_t now = 100;

	vss_host_init(h, &config);
	cr_assert(eq(int, vss_host_start(h, now), 0));
	while (h->state != state) {
		while (vss_host_next_action(h, &action))
			;
		now++;
		if (h->state == VSS_HOST_FROZEN)
			vss_host_snapshot_done(h, true, now);
		else
			vss_host_receive(h, IC_S_OK, answer, sizeof(answer), now);
	}
	while (vss_host_next_action(h, &action))
		;
	return now;
}

Test(vss_host, a_backup_asks_in_order_and_ends_done)
{
	struct vss_host h;

	vss_host_init(&h, &config);
	cr_assert(eq(int, vss_host_start(&h, 1), 0));
	cr_expect(eq(int, vss_host_start(&h, 1), VSS_HOST_RUNNING));
	expect_send(&h, VSS_OP_HOT_BACKUP);
	vss_host_receive(&h, IC_S_OK, answer, sizeof(answer), 2);
	cr_expect(h.no_auto_recovery);
	expect_send(&h, VSS_OP_GET_DM_INFO);
	vss_host_receive(&h, IC_S_OK, answer, sizeof(answer), 3);
	expect_send(&h, VSS_OP_FREEZE);
	cr_expect(eq(u64, vss_host_deadline_ns(&h), 63));
	vss_host_receive(&h, IC_S_OK, answer, sizeof(answer), 10);
	(void)take(&h, VSS_HOST_SNAPSHOT);
	cr_expect(eq(u64, vss_host_deadline_ns(&h), UINT64_MAX));
	vss_host_snapshot_done(&h, true, 20);
	expect_send(&h, VSS_OP_THAW);
	vss_host_receive(&h, IC_S_OK, answer, sizeof(answer), 25);
	cr_expect(eq(u64, h.frozen_ns, 15));
	expect_send(&h, VSS_OP_BU_COMPLETE);
	vss_host_receive(&h, IC_S_OK, answer, sizeof(answer), 26);
	(void)take(&h, VSS_HOST_FINISHED);
	cr_expect(eq(int, h.state, VSS_HOST_DONE));
	cr_expect(eq(int, h.failure, VSS_HOST_OK));
	expect_nothing(&h);
	cr_expect(eq(int, vss_host_start(&h, 30), 0));
}

Test(vss_host, a_failed_answer_fails_the_backup_and_says_in_which_step)
{
	static const struct {
		enum vss_host_state state;
		enum vss_host_failure failure;
	} rows[] = {
		{VSS_HOST_HOT_BACKUP, VSS_HOST_REFUSED},
		{VSS_HOST_DM_INFO, VSS_HOST_REFUSED},
		{VSS_HOST_FREEZE, VSS_HOST_NOT_FROZEN},
		{VSS_HOST_THAW, VSS_HOST_THAWED_EARLY},
		{VSS_HOST_BU_COMPLETE, VSS_HOST_NOT_COMPLETED},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vss_host h;
		uint64_t now = run_to(&h, rows[i].state);

		vss_host_receive(&h, IC_E_FAIL, NULL, 0, now);
		(void)take(&h, VSS_HOST_FINISHED);
		cr_expect(eq(int, h.state, VSS_HOST_FAILED));
		cr_expect(eq(int, h.failure, rows[i].failure));
		cr_expect(eq(int, h.failed_in, rows[i].state));
		cr_expect(eq(u32, h.status, IC_E_FAIL));
		expect_nothing(&h);
	}
}

Test(vss_host, without_an_answer_in_time_the_guest_is_made_to_start_over)
{
	static const enum vss_host_state states[] = {VSS_HOST_HOT_BACKUP, VSS_HOST_DM_INFO,
						     VSS_HOST_FREEZE, VSS_HOST_THAW,
						     VSS_HOST_BU_COMPLETE};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		struct vss_host h;
		uint64_t now = run_to(&h, states[i]);
		uint64_t limit = states[i] == VSS_HOST_FREEZE ? 60 : 30;

		cr_expect(eq(u64, vss_host_deadline_ns(&h), now + limit));
		vss_host_tick(&h, now + limit - 1);
		expect_nothing(&h);
		vss_host_tick(&h, now + limit);
		(void)take(&h, VSS_HOST_RESET);
		(void)take(&h, VSS_HOST_FINISHED);
		cr_expect(eq(int, h.failure, VSS_HOST_TIMEOUT));
		cr_expect(eq(u64, vss_host_deadline_ns(&h), UINT64_MAX));
	}
}

Test(vss_host, a_lost_guest_fails_the_backup_in_every_running_state)
{
	for (unsigned int s = VSS_HOST_HOT_BACKUP; s <= VSS_HOST_BU_COMPLETE; s++) {
		struct vss_host h;
		uint64_t now = run_to(&h, (enum vss_host_state)s);

		vss_host_lost(&h, now);
		(void)take(&h, VSS_HOST_FINISHED);
		cr_expect(eq(int, h.failure, VSS_HOST_GUEST_LOST));
		vss_host_lost(&h, now);
		expect_nothing(&h);
	}
}

Test(vss_host, a_snapshot_that_failed_still_thaws_the_guest)
{
	struct vss_host h;
	uint64_t now = run_to(&h, VSS_HOST_FROZEN);

	vss_host_snapshot_done(&h, false, now);
	expect_send(&h, VSS_OP_THAW);
	vss_host_receive(&h, IC_S_OK, answer, sizeof(answer), now);
	(void)take(&h, VSS_HOST_FINISHED);
	cr_expect(eq(int, h.failure, VSS_HOST_NO_SNAPSHOT));
	cr_expect(eq(int, h.failed_in, VSS_HOST_FROZEN));
}

Test(vss_host, what_nothing_waits_for_is_counted_and_ignored)
{
	struct vss_host h;
	uint64_t now;

	vss_host_init(&h, &config);
	vss_host_receive(&h, IC_S_OK, answer, sizeof(answer), 1);
	vss_host_snapshot_done(&h, true, 1);
	vss_host_lost(&h, 1);
	vss_host_tick(&h, UINT64_MAX - 1);
	expect_nothing(&h);
	now = run_to(&h, VSS_HOST_FROZEN);
	vss_host_receive(&h, IC_E_FAIL, NULL, 0, now);
	cr_expect(eq(int, h.state, VSS_HOST_FROZEN));
	cr_expect(eq(u64, h.stray, 1));
}

Test(vss_host, the_flags_are_read_only_if_they_are_there)
{
	for (size_t size = 0; size <= sizeof(answer); size++) {
		uint8_t *msg = malloc(size ? size : 1);
		struct vss_host h;

		cr_assert(ne(ptr, msg, NULL));
		memcpy(msg, answer, size);
		(void)run_to(&h, VSS_HOST_HOT_BACKUP);
		vss_host_receive(&h, IC_S_OK, msg, size, 200);
		cr_expect(eq(int, h.no_auto_recovery, size == sizeof(answer)));
		free(msg);
	}
}

Test(vss_host, a_message_is_its_operation_and_zeros_and_fits_or_is_not_written)
{
	const struct vss_host_action freeze = {
		.type = VSS_HOST_SEND,
		.operation = VSS_OP_FREEZE,
		.size = VSS_FREEZE_SIZE,
	};
	uint8_t *buf = malloc(VSS_FREEZE_SIZE);
	size_t size;

	cr_assert(ne(ptr, buf, NULL));
	memset(buf, 0xff, VSS_FREEZE_SIZE);
	cr_expect(eq(int, vss_host_message(&freeze, buf, VSS_FREEZE_SIZE - 1, &size), -ENOBUFS));
	cr_assert(eq(int, vss_host_message(&freeze, buf, VSS_FREEZE_SIZE, &size), 0));
	cr_expect(eq(sz, size, VSS_FREEZE_SIZE));
	cr_expect(eq(int, buf[0], VSS_OP_FREEZE));
	for (size_t i = 1; i < size; i++)
		cr_assert(eq(int, buf[i], 0));
	free(buf);
}
