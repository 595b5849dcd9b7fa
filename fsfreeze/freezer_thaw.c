/* SPDX-License-Identifier: MIT */

/*
 * Thawing.
 *
 * First every entry loses the right to be frozen: those that have not had their turn, and those
 * that are in the kernel, whose threads will thaw them when they return. Then what is frozen is
 * thawed in the reverse order of freezing: level by level, those of one level at the same time. An
 * inner file system writes to the outer one when it is thawed, so the outer one must be first.
 *
 * A thread that hangs in FITHAW keeps nobody else from it: its level is waited for only so long, and
 * there are others for the next one. If all of them hang, the main thread does it itself.
 */

#include "fsfreeze/freezer_thaw.h"

#include "base/cleanup.h"
#include "fsfreeze/freezer_io.h"

#include <limits.h>
#include <time.h>

#define PATIENCE_NS UINT64_C(500000000) /* for each level */

enum {
	/*
	 * ext4 writes its superblock, with a flush, before it lets writers go on; those that wait for
	 * a flush at the same time share it. 64 file systems, 22 of them ext4, on loop devices are
	 * thawed in 12 ms by 32 threads and in 17 by 8 (medians of 40).
	 */
	THAW_THREADS = 24,
	NOTHING_LEFT = FREEZER_ENTRIES_MAX, /* more than any index, and far from the end of numbers */
};

/* Takes the next entry of the level that is frozen, and thaws it. False: there is none. */
static bool thaw_next(struct thawer *t)
{
	struct freezer_record *record = t->record;
	uint32_t i;

	while ((i = atomic_fetch_add(&t->next, 1)) < record->n_entries) {
		struct freezer_entry *entry = &record->entries[i];

		if (entry->level != atomic_load(&t->level) ||
		    !freezer_entry_move(entry, FREEZER_ENTRY_FROZEN, FREEZER_ENTRY_THAWING))
			continue;
		(void)!freezer_io_thaw(entry, t->fds[i]);
		atomic_fetch_add(&t->n_tried, 1);
		crew_wake_word(&t->n_tried, INT_MAX);
		return true;
	}
	return false;
}

static void act(void *self)
{
	struct thawer *t = self;
	uint64_t one = 1;

	atomic_fetch_add(&t->n_inside, 1);
	while (thaw_next(t))
		;
	if (atomic_fetch_sub(&t->n_inside, 1) == 1)
		crew_wake_word(&t->n_inside, INT_MAX);
	if (atomic_load(&t->is_late) && write(t->done_fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

int thawer_start(struct thawer *t)
{
	atomic_store(&t->next, NOTHING_LEFT);
	return crew_start(&t->crew, THAW_THREADS, act, t);
}

uint32_t thawer_count(const struct freezer_record *record, enum freezer_entry_state state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < record->n_entries; i++)
		n += freezer_entry_state(&record->entries[i]) == state;
	return n;
}

/* Entries of @level that are frozen. */
static uint32_t count_frozen(const struct freezer_record *record, uint32_t level)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < record->n_entries; i++)
		n += record->entries[i].level == level &&
		     freezer_entry_state(&record->entries[i]) == FREEZER_ENTRY_FROZEN;
	return n;
}

static void thaw_level(struct thawer *t, uint32_t level)
{
	uint32_t n = count_frozen(t->record, level), n_tried;
	uint64_t end_ns = freezer_io_now_ns(CLOCK_MONOTONIC) + PATIENCE_NS, now_ns;

	if (n == 0)
		return;
	atomic_store(&t->n_tried, 0);
	atomic_store(&t->level, level);
	atomic_store(&t->next, 0);
	crew_call(&t->crew, n);
	while ((n_tried = atomic_load(&t->n_tried)) < n &&
	       (now_ns = freezer_io_now_ns(CLOCK_MONOTONIC)) < end_ns)
		crew_wait_word(&t->n_tried, n_tried, end_ns - now_ns);

	/* What nobody has taken in all that time: no thread is left for it. */
	while (n_tried < n && thaw_next(t))
		;
}

/* Lets no thread begin anything any more, and waits for those that have. */
static void dismiss(struct thawer *t)
{
	uint64_t end_ns = freezer_io_now_ns(CLOCK_MONOTONIC) + PATIENCE_NS, now_ns;
	uint32_t n;

	atomic_store(&t->next, NOTHING_LEFT);
	while ((n = atomic_load(&t->n_inside)) > 0 &&
	       (now_ns = freezer_io_now_ns(CLOCK_MONOTONIC)) < end_ns)
		crew_wait_word(&t->n_inside, n, end_ns - now_ns);
	/* From now on, whoever comes out will say so. */
	atomic_store(&t->is_late, true);
}

/* Takes away the right to be frozen, from whoever has it. */
static void call_off(struct freezer_record *record)
{
	for (uint32_t i = 0; i < record->n_entries; i++) {
		struct freezer_entry *entry = &record->entries[i];

		if (!freezer_entry_cancel(entry))
			(void)!freezer_entry_move(entry, FREEZER_ENTRY_FREEZING,
						  FREEZER_ENTRY_THAWING);
	}
}

void thawer_run(struct thawer *t)
{
	const struct freezer_record *record = t->record;

	atomic_store(&t->is_late, false);
	call_off(t->record);
	for (uint32_t i = record->n_entries; i-- > 0;)
		if (i + 1 == record->n_entries ||
		    record->entries[i].level != record->entries[i + 1].level)
			thaw_level(t, record->entries[i].level);
	dismiss(t);
}

bool thawer_is_busy(const struct thawer *t)
{
	return atomic_load(&t->n_inside) > 0;
}
