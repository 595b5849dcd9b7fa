/* SPDX-License-Identifier: MIT */

/*
 * hvguest-freezer: the process that freezes, and that always thaws.
 *
 * It is started by the daemon before anything is frozen and then only waits. It holds a command
 * socket, the record, the kernel's knob for grace periods, and while a freeze lasts the descriptors
 * of the mounts; no transport, no log, no file. All of its threads exist, and its memory is locked
 * and touched, before it says that it is ready. So between the first FIFREEZE and the last FITHAW
 * it neither allocates nor faults nor opens anything: whatever is frozen, it can run.
 *
 * What can hang is done by threads of its own: syncfs() and FIFREEZE (freezer_work.c), and FITHAW
 * (freezer_thaw.c). The main thread calls none of them; it waits in poll() and ends the freeze when
 * it is told to, when the deadline passes, when the socket ends because the daemon died, or on any
 * signal. One more thread only waits for the daemon's death, of which it learns sooner than the
 * socket does (freezer_io.c), and then ends the socket from this side. If a thread is still in the
 * kernel when a freeze ends, everything that is frozen is thawed at once, and the late one thaws
 * what it has frozen itself; freezer_proto.c has the rules by which they share entries. The process
 * leaves only when all of them are back: one that is killed in FIFREEZE leaves a frozen file system
 * behind.
 *
 *               FREEZE (last part)        worker done
 *      IDLE ------------------> FREEZING -------------> FROZEN
 *       ^ |                        |                      |
 *       | +-> RECEIVING -----------+----- end(reason) ----+
 *       |    (more parts                  |          |
 *       |     to come)     some call hangs v          | all back
 *       +----------- all back ------ SETTLING        |
 *       +--------------------------------------------+
 */

#include "base/cleanup.h"
#include "base/confine.h"
#include "fsfreeze/freezer_io.h"
#include "fsfreeze/freezer_thaw.h"
#include "fsfreeze/freezer_work.h"
#include "fsfreeze/rcu.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

enum {
	MAIN_STACK_BYTES = 32 * 1024, /* far more than the deepest call here takes */
};

/* Where the linker has put the program. */
extern char __executable_start[], _end[];

enum state {
	STATE_IDLE,
	STATE_RECEIVING,
	STATE_FREEZING,
	STATE_FROZEN,
	STATE_SETTLING,
	STATES,
};

#define TO(state) (1u << STATE_##state)

static const uint32_t allowed_states[] = {
	[STATE_IDLE] = TO(RECEIVING) | TO(FREEZING),
	[STATE_RECEIVING] = TO(RECEIVING) | TO(FREEZING) | TO(IDLE),
	[STATE_FREEZING] = TO(FROZEN) | TO(SETTLING) | TO(IDLE),
	[STATE_FROZEN] = TO(SETTLING) | TO(IDLE),
	[STATE_SETTLING] = TO(IDLE),
};
static_assert(sizeof(allowed_states) / sizeof(allowed_states[0]) == STATES, "");

struct freezer {
	struct freezer_record *record;
	enum state state;
	bool ending;       /* leave as soon as nothing is frozen and all threads are back */
	bool worker_busy;
	uint64_t generation;
	int signal_fd;
	int timer_fd;
	int work_fd;
	int done_fd;
	size_t n_fds;
	int fds[FREEZER_ENTRIES_MAX]; /* one per entry of the record */
	struct worker worker;
	struct thawer thawer;
};

static void set_state(struct freezer *f, enum state state)
{
	assert(allowed_states[f->state] & (1u << state));
	f->state = state;
}

static void close_all(int *fds, size_t *n)
{
	while (*n > 0)
		(void)close_fd(fds[--*n]);
}

static void *watcher_main(void *arg)
{
	freezer_io_await_death(arg);
	(void)shutdown(FREEZER_SOCKET_FD, SHUT_RDWR);
	return NULL;
}

/* The daemon may be gone: then the record says it all, and nobody needs the message. */
static void tell(const struct freezer_message *message)
{
	(void)!freezer_io_send(FREEZER_SOCKET_FD, message, NULL);
}

/* The entry that made the freeze fail, or n_entries. */
static uint32_t find_failed(const struct freezer_record *record)
{
	uint32_t i = 0;

	while (i < record->n_entries &&
	       freezer_entry_state(&record->entries[i]) != FREEZER_ENTRY_FAILED)
		i++;
	return i;
}

/* Is any thread still in the kernel for this freeze? */
static bool is_pending(const struct freezer *f)
{
	return f->worker_busy || thawer_is_busy(&f->thawer);
}

/* Ends the freeze, if there is one, and says so once. @index: of the entry that failed, if any. */
static void end_with(struct freezer *f, enum freezer_reason reason, uint32_t index, int error)
{
	struct freezer_message message = {
		.type = FREEZER_MESSAGE_THAWED,
		.reason = reason,
		.generation = f->generation,
		.first = index,
		.error = error,
	};

	if (f->state == STATE_IDLE || f->state == STATE_SETTLING)
		return;

	atomic_store(&f->record->reason, reason);
	thawer_run(&f->thawer);
	rcu_restore(f->record, FREEZER_RCU_FD);
	message.stuck = thawer_count(f->record, FREEZER_ENTRY_FROZEN);
	message.pending = is_pending(f);
	set_state(f, message.pending ? STATE_SETTLING : STATE_IDLE);
	if (!message.pending)
		close_all(f->fds, &f->n_fds);
	tell(&message);
}

static void end(struct freezer *f, enum freezer_reason reason)
{
	end_with(f, reason, FREEZER_ENTRIES_MAX, 0);
}

static void arm(struct freezer *f, uint64_t deadline_ns)
{
	struct itimerspec when = {
		.it_value.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.it_value.tv_nsec = (long)(deadline_ns % 1000000000u),
	};

	/* A time of 0 would disarm it; the past expires at once. */
	if (deadline_ns == 0)
		when.it_value.tv_nsec = 1;
	if (timerfd_settime(f->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		abort();
}

/* Hands the descriptors to the worker, which has its own table, and lets it begin. */
static void start_worker(struct freezer *f)
{
	struct freezer_message message = {.type = FREEZER_MESSAGE_FREEZE};
	int r;

	f->worker_busy = true;
	do {
		uint32_t left = (uint32_t)f->n_fds - message.first;

		message.count =
			left < FREEZER_MESSAGE_FDS_MAX ? left : (uint32_t)FREEZER_MESSAGE_FDS_MAX;
		r = freezer_io_send(f->work_fd, &message, f->fds + message.first);
		if (r)
			abort(); /* nothing is frozen yet, or the worker cannot be trusted to thaw */
		message.first += message.count;
	} while (message.first < f->n_fds);
}

static void refuse(uint64_t generation, int error)
{
	const struct freezer_message message = {
		.type = FREEZER_MESSAGE_THAWED,
		.reason = FREEZER_REASON_FAILED,
		.generation = generation,
		.first = FREEZER_ENTRIES_MAX,
		.error = error,
	};

	tell(&message);
}

/* A part of a freeze request, with descriptors at @fds, which this takes. */
static void on_freeze(struct freezer *f, const struct freezer_message *message,
		      const int *take_fds)
{
	bool first = f->state == STATE_IDLE && message->first == 0;
	bool next = f->state == STATE_RECEIVING && message->first == f->n_fds &&
		    message->generation == f->generation;

	if (!(first || next) || message->first + message->count > f->record->n_entries) {
		for (size_t i = 0; i < message->count; i++)
			(void)close_fd(take_fds[i]);
		end_with(f, FREEZER_REASON_FAILED, FREEZER_ENTRIES_MAX, EPROTO);
		refuse(message->generation, EPROTO);
		return;
	}

	memcpy(f->fds + f->n_fds, take_fds, message->count * sizeof(int));
	f->n_fds += message->count;
	f->generation = message->generation;
	arm(f, message->deadline_ns);
	if (f->n_fds < f->record->n_entries) {
		set_state(f, STATE_RECEIVING);
		return;
	}
	start_worker(f);
	set_state(f, STATE_FREEZING);
}

static void on_daemon_lost(struct freezer *f)
{
	f->ending = true;
	end(f, FREEZER_REASON_DAEMON_LOST);
}

static void on_socket(struct freezer *f)
{
	int fds[FREEZER_MESSAGE_FDS_MAX];
	struct freezer_message message;
	int r;

	r = freezer_io_receive(FREEZER_SOCKET_FD, &message, fds);
	if (r == FREEZER_IO_EMPTY)
		return;
	if (r) {
		on_daemon_lost(f);
		return;
	}
	if (message.type == FREEZER_MESSAGE_FREEZE)
		on_freeze(f, &message, fds);
	else if (message.type == FREEZER_MESSAGE_THAW && message.generation == f->generation)
		end(f, FREEZER_REASON_ASKED);
}

static void on_signal(struct freezer *f)
{
	f->ending = true;
	end(f, FREEZER_REASON_SIGNAL);
}

/* Ends a freeze in which an entry has failed; false if none has. */
static bool end_failed(struct freezer *f)
{
	uint32_t failed = find_failed(f->record);

	if (failed == f->record->n_entries)
		return false;
	end_with(f, FREEZER_REASON_FAILED, failed, f->record->entries[failed].error);
	return true;
}

static void on_deadline(struct freezer *f)
{
	uint64_t count;

	if (read(f->timer_fd, &count, sizeof(count)) != sizeof(count))
		return;
	if (f->state != STATE_FREEZING || !end_failed(f))
		end_with(f, FREEZER_REASON_DEADLINE, FREEZER_ENTRIES_MAX, ETIMEDOUT);
}

/* All that the worker was given is frozen, or not to be frozen. */
static void on_frozen(struct freezer *f)
{
	const struct freezer_message message = {
		.type = FREEZER_MESSAGE_FROZEN,
		.generation = f->generation,
	};

	if (end_failed(f))
		return;
	set_state(f, STATE_FROZEN);
	tell(&message);
}

static void on_settled(struct freezer *f)
{
	const struct freezer_message message = {
		.type = FREEZER_MESSAGE_SETTLED,
		.generation = f->generation,
	};

	close_all(f->fds, &f->n_fds);
	set_state(f, STATE_IDLE);
	tell(&message);
}

/* A thread has something to say. */
static void on_done(struct freezer *f)
{
	uint64_t count;
	bool finished;

	if (read(f->done_fd, &count, sizeof(count)) != sizeof(count))
		return;

	finished = atomic_exchange(&f->worker.finished, false);
	if (finished)
		f->worker_busy = false;
	if (f->state == STATE_FREEZING && finished)
		on_frozen(f);
	else if (f->state == STATE_FREEZING && atomic_load(&f->worker.failed))
		thawer_run(&f->thawer); /* at once; it is told when the others are back */
	else if (f->state == STATE_SETTLING && !is_pending(f))
		on_settled(f);
}

static void serve(struct freezer *f)
{
	/* The threads first: what they have finished counts before anything else is decided. */
	struct pollfd polls[] = {
		{.fd = f->done_fd, .events = POLLIN},
		{.fd = f->timer_fd, .events = POLLIN},
		{.fd = f->signal_fd, .events = POLLIN},
		{.fd = FREEZER_SOCKET_FD, .events = POLLIN},
	};

	while (!(f->ending && f->state == STATE_IDLE)) {
		/* After the end of the socket it would be ready for ever. */
		if (f->ending)
			polls[2].fd = polls[3].fd = -1;
		if (poll(polls, sizeof(polls) / sizeof(polls[0]), -1) < 0)
			continue;
		if (polls[0].revents)
			on_done(f);
		if (polls[1].revents)
			on_deadline(f);
		if (polls[2].revents)
			on_signal(f);
		if (polls[3].revents && !f->ending)
			on_socket(f);
	}
}

/* Touches the stack as deep as it will ever be used, so that it is there when it is needed. */
static void __attribute__((__noinline__)) touch_stack(void)
{
	volatile char stack[MAIN_STACK_BYTES];

	for (size_t i = 0; i < sizeof(stack); i += 4096)
		stack[i] = 0;
}

/* Best effort: without the right to it we are as likely to be killed as others. */
static void avoid_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, "-1000", 5);
	(void)close_fd(fd);
}

static int map_record(struct freezer *f)
{
	struct stat st;
	void *map;

	if (fstat(FREEZER_RECORD_FD, &st) < 0)
		return negative_errno();
	if (st.st_size != sizeof(*f->record))
		return -EINVAL;
	map = mmap(NULL, sizeof(*f->record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		   FREEZER_RECORD_FD, 0);
	if (map == MAP_FAILED)
		return negative_errno();
	f->record = map;
	return 0;
}

static int open_events(struct freezer *f)
{
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	f->signal_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	f->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	f->done_fd = eventfd(0, EFD_CLOEXEC);
	return f->signal_fd < 0 || f->timer_fd < 0 || f->done_fd < 0 ? negative_errno() : 0;
}

/* Starts all threads; what they need is in memory when this returns. */
static int start_threads(struct freezer *f)
{
	int r;

	f->worker.record = f->thawer.record = f->record;
	f->worker.done_fd = f->thawer.done_fd = f->done_fd;
	f->worker.rcu_fd = FREEZER_RCU_FD;
	f->thawer.fds = f->fds;
	r = worker_start(&f->worker, &f->work_fd);
	r = r ?: thawer_start(&f->thawer);
	return r ?: crew_spawn(watcher_main, f->record);
}

/*
 * The program and the record are brought into memory and stay; of stacks and heap stays what has
 * been touched, which is all that will be used.
 */
static int lock_memory(const struct freezer *f)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0 ||
	    mlock(__executable_start, (size_t)(_end - __executable_start)) < 0 ||
	    mlock(f->record, sizeof(*f->record)) < 0)
		return negative_errno();
	touch_stack();
	return 0;
}

/*
 * All that is done from now on. Threads may still be at their first steps: what the C library does
 * there, and at the end of one, is among it.
 */
static const struct confine_call calls[] = {
	CONFINE_CALL_WITH(ioctl, 1, FIFREEZE),
	CONFINE_CALL_WITH(ioctl, 1, FITHAW),
	CONFINE_CALL(syncfs),
#ifdef SYS_poll
	CONFINE_CALL(poll),
#endif
	CONFINE_CALL(ppoll),
	CONFINE_CALL(read),
	CONFINE_CALL(write),
	CONFINE_CALL(pread64), /* the knob for grace periods */
	CONFINE_CALL(pwrite64),
	CONFINE_CALL(sendmsg),
	CONFINE_CALL(recvmsg),
	CONFINE_CALL(shutdown),
	CONFINE_CALL(close),
	CONFINE_CALL(timerfd_settime),
	CONFINE_CALL(clock_gettime),
	CONFINE_CALL(futex),
	CONFINE_CALL(restart_syscall),
	CONFINE_CALL(rt_sigreturn),
	CONFINE_CALL(rt_sigprocmask),
	CONFINE_CALL(set_robust_list),
	CONFINE_CALL(rseq),
	CONFINE_CALL(madvise),
	CONFINE_CALL(munmap),
	CONFINE_CALL(exit),
	CONFINE_CALL(exit_group),
	/* abort() */
	CONFINE_CALL(getpid),
	CONFINE_CALL(gettid),
	CONFINE_CALL(tgkill),
};

/* Without a filter it does the same; where there can be none, it goes without. */
static int give_up_calls(void)
{
#ifdef FREEZER_UNCONFINED
	(void)calls;
	return 0;
#else
	int r = confine_calls(calls, sizeof(calls) / sizeof(calls[0]));

	return r > 0 ? 0 : r;
#endif
}

/* Locking the stacks of the threads to come needs the second. */
static int give_up_capabilities(void)
{
	static const unsigned keep[] = {CAP_SYS_ADMIN, CAP_IPC_LOCK};

	return confine_capabilities(keep, sizeof(keep) / sizeof(keep[0]), true);
}

static int prepare(struct freezer *f)
{
	int r;

	if (close_range(FREEZER_RCU_FD + 1, ~0u, 0) < 0)
		return negative_errno();
	(void)setsid();
	(void)prctl(PR_SET_NAME, "hvguest-freezer", 0, 0, 0);
	avoid_oom_killer();

	r = map_record(f);
	if (r)
		return r;
	r = open_events(f);
	if (r)
		return r;
	r = lock_memory(f);

	/* --- Rights end here. */
	r = r ?: give_up_capabilities();
	r = r ?: start_threads(f);
	return r ?: give_up_calls();
}

int main(void)
{
	struct freezer_message ready = {.type = FREEZER_MESSAGE_READY};
	struct freezer f = {.signal_fd = -1, .timer_fd = -1, .work_fd = -1, .done_fd = -1};
	int r;

	r = prepare(&f);
	ready.error = -r;
	tell(&ready);
	if (r)
		return 1;
	serve(&f);
	return 0;
}
