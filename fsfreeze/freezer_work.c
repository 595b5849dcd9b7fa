/* SPDX-License-Identifier: MIT */

/*
 * Freezing.
 *
 * A foreman takes the jobs, a crew does them: first syncfs() everywhere, so that most of the data is
 * written before anybody has to wait, a few at a time on the same disks, because more of them only
 * stand in the way of those who want to write meanwhile. Then FIFREEZE, level by level: all file
 * systems of a level at the same time, one thread for each, because what takes long is waiting for
 * grace periods (rcu.c), and those who wait together share them.
 *
 * The first that cannot be written back or frozen ends the job: what has not begun is left, what has
 * is waited for. The main thread learns of the failure at once and thaws meanwhile. Who comes back
 * from FIFREEZE and finds that it has been given up thaws by itself.
 *
 * All of these threads have a descriptor table in common that does not have the command socket. So
 * if this process is killed while one of them hangs in the kernel, the socket closes with the main
 * thread: the daemon learns of it at once and thaws, and does not wait for the hanging call.
 */

#include "fsfreeze/freezer_work.h"

#include "base/cleanup.h"
#include "fsfreeze/freezer_io.h"
#include "fsfreeze/rcu.h"

#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

enum {
	/* With more file systems than that in a level, some wait for others. Each costs two pages. */
	FREEZE_THREADS = 48,
	/*
	 * File systems on the same disks that are written back at a time. While 256 MiB on 32 of them were, an
	 * fsync took 11 ms for each that was at work, from 1 to 12 of them, and all of it 339, 297, 262, 256
	 * and 245 ms with 1, 2, 4, 6 and 12 (medians of 21, on one disk): one leaves the disk idle while it
	 * waits, and more than two gain the disk little and cost the writers much.
	 */
	SYNCS_PER_DISK = 2,
};

static void report(struct worker *w, _Atomic bool *what)
{
	uint64_t one = 1;

	atomic_store(what, true);
	if (write(w->done_fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void act(void *self)
{
	struct worker *w = self;
	uint32_t i;

	while ((i = atomic_fetch_add(&w->next, 1)) < w->end)
		w->piece(w, i);
}

/* Does @piece for each number from @first to @end, as many at a time as there are members. */
static void run_round(struct worker *w, uint32_t first, uint32_t end,
		      void (*piece)(struct worker *w, size_t i))
{
	w->piece = piece;
	w->end = end;
	atomic_store(&w->next, first);
	crew_call(&w->crew, end - first);
	crew_await(&w->crew);
}

/* What cannot be written back would be missing from a copy, and FIFREEZE does not tell (syncfs(2)). */
static void sync_entry(struct worker *w, size_t i)
{
	struct freezer_entry *entry = &w->record->entries[i];

	if (atomic_load(&w->failed) || freezer_entry_state(entry) != FREEZER_ENTRY_QUEUED ||
	    syncfs(w->fds[i]) == 0)
		return;
	entry->error = errno;
	if (freezer_entry_move(entry, FREEZER_ENTRY_QUEUED, FREEZER_ENTRY_FAILED))
		report(w, &w->failed);
	else
		entry->error = 0; /* it has been called off */
}

/* Lane @i: one member writes back on the same disks what no other has taken, one after the other. */
static void sync_piece(struct worker *w, size_t i)
{
	const struct freezer_entry *entries = w->record->entries;
	size_t first = w->first_on[i / SYNCS_PER_DISK];

	for (size_t k = first; k < w->n_fds; k++)
		if (entries[k].disks == entries[first].disks && !atomic_exchange(&w->synced[k], true))
			sync_entry(w, k);
}

static void sync_all(struct worker *w)
{
	const struct freezer_entry *entries = w->record->entries;
	uint32_t n_disks = 0, before;

	for (uint32_t i = 0; i < w->n_fds; i++) {
		atomic_store(&w->synced[i], false);
		for (before = 0; before < n_disks; before++)
			if (entries[w->first_on[before]].disks == entries[i].disks)
				break;
		if (before == n_disks)
			w->first_on[n_disks++] = (uint16_t)i;
	}
	run_round(w, 0, n_disks * SYNCS_PER_DISK, sync_piece);
}

static enum freezer_entry_state state_of_error(const struct worker *w, int error)
{
	if (error == EBUSY)
		return FREEZER_ENTRY_FOREIGN;
	if ((error == EOPNOTSUPP || error == ENOTTY) && !(w->record->options & FREEZER_OPTION_STRICT))
		return FREEZER_ENTRY_UNSUPPORTED;
	return FREEZER_ENTRY_FAILED;
}

static void not_frozen(struct worker *w, struct freezer_entry *entry, int error)
{
	enum freezer_entry_state to = state_of_error(w, error);

	entry->error = error;
	/* The state can only have become THAWING meanwhile, and only once. */
	if (!freezer_entry_move(entry, FREEZER_ENTRY_FREEZING, to) &&
	    !freezer_entry_move(entry, FREEZER_ENTRY_THAWING, to))
		abort();
	if (to == FREEZER_ENTRY_FAILED)
		report(w, &w->failed);
}

static void freeze_piece(struct worker *w, size_t i)
{
	struct freezer_entry *entry = &w->record->entries[i];
	uint64_t begin_ns;
	int error;

	if (atomic_load(&w->failed) ||
	    !freezer_entry_move(entry, FREEZER_ENTRY_QUEUED, FREEZER_ENTRY_FREEZING))
		return;

	begin_ns = freezer_io_now_ns(CLOCK_MONOTONIC);
	error = ioctl(w->fds[i], FIFREEZE, 0) < 0 ? errno : 0;
	entry->freeze_ns = freezer_io_now_ns(CLOCK_MONOTONIC) - begin_ns;
	if (error) {
		not_frozen(w, entry, error);
		return;
	}

	entry->frozen_at_ns = freezer_io_now_ns(CLOCK_BOOTTIME);
	if (!freezer_entry_move(entry, FREEZER_ENTRY_FREEZING, FREEZER_ENTRY_FROZEN))
		(void)!freezer_io_thaw(entry, w->fds[i]);
}

static uint32_t end_of_level(const struct freezer_record *record, uint32_t first)
{
	uint32_t end = first + 1;

	while (end < record->n_entries &&
	       record->entries[end].level == record->entries[first].level)
		end++;
	return end;
}

static void work(struct worker *w)
{
	uint32_t n = (uint32_t)w->n_fds;

	sync_all(w);
	rcu_expedite(w->record, w->rcu_fd);
	for (uint32_t i = 0, end; i < n && !atomic_load(&w->failed); i = end) {
		end = end_of_level(w->record, i);
		run_round(w, i, end, freeze_piece);
	}
	rcu_restore(w->record, w->rcu_fd);
	while (w->n_fds > 0)
		(void)close_fd(w->fds[--w->n_fds]);
}

/* Waits for the descriptors of a whole freeze. False: the main thread is gone. */
static bool receive_job(struct worker *w)
{
	struct freezer_message message;

	do {
		if (freezer_io_receive(w->work_fd, &message, w->fds + w->n_fds))
			return false;
		w->n_fds += message.count;
	} while (w->n_fds < w->record->n_entries);
	atomic_store(&w->failed, false);
	return true;
}

static void *foreman_main(void *arg)
{
	struct worker *w = arg;

	if (unshare(CLONE_FILES) < 0)
		abort();
	(void)close(FREEZER_SOCKET_FD);
	if (crew_start(&w->crew, FREEZE_THREADS, act, w))
		abort();
	report(w, &w->finished);
	while (receive_job(w)) {
		work(w);
		report(w, &w->finished);
	}
	return NULL;
}

int worker_start(struct worker *w, int *ret_work_fd)
{
	_cleanup_close_ int ours = -1;
	uint64_t count;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return negative_errno();
	ours = pair[0];
	w->work_fd = pair[1];
	r = crew_spawn(foreman_main, w);
	if (r)
		return r;
	if (read(w->done_fd, &count, sizeof(count)) != sizeof(count))
		return negative_errno();
	atomic_store(&w->finished, false);
	(void)close_fd(pair[1]);

	*ret_work_fd = steal_fd(ours);
	return 0;
}
