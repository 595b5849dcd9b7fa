/* SPDX-License-Identifier: MIT */

/*
 * hvguest-freezer: the process that freezes, and that always thaws.
 *
 * It is started by the daemon before anything is frozen and then only waits. It holds a command
 * socket, the record, and while a freeze lasts the descriptors of the mounts; no transport, no log,
 * no file. Memory is locked and the stacks are touched beforehand, so between the first FIFREEZE
 * and the last FITHAW it neither allocates nor faults nor opens anything: whatever is frozen, it
 * can run.
 *
 * Three threads. The worker does what can hang: syncfs() and FIFREEZE, in plan order. The main
 * thread never calls either; it waits in poll() and ends the freeze, in reverse order, when it is
 * told to, when the deadline passes, when the socket ends because the daemon died, or on any
 * signal. The third only waits for the daemon's death, of which it learns sooner than the socket
 * does (freezer_io.c), and then ends the socket from this side. If the worker is still in the
 * kernel at that time, everything that is frozen is thawed at once, and the worker thaws the late
 * one itself when FIFREEZE returns; freezer_proto.c has the rules by which they share entries. The
 * process leaves only when the worker is back: a process that is killed in FIFREEZE leaves a frozen
 * file system behind.
 *
 *               FREEZE (last part)        worker done
 *      IDLE ------------------> FREEZING -------------> FROZEN
 *       ^ |                        |                      |
 *       | +-> RECEIVING -----------+----- end(reason) ----+
 *       |    (more parts                  |          |
 *       |     to come)        worker busy v          | worker back
 *       +--------- worker done ------ SETTLING       |
 *       +--------------------------------------------+
 *
 * The worker has a descriptor table of its own, without the command socket. So if this process is
 * killed while the worker hangs in the kernel, the socket closes with the main thread: the daemon
 * learns of it at once and thaws, and does not wait for the hanging call.
 */

#include "base/cleanup.h"
#include "fsfreeze/freezer_io.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

enum {
	THREAD_STACK_BYTES = 256 * 1024,
	MAIN_STACK_BYTES = 64 * 1024, /* far more than the deepest call here takes */
};

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
	[STATE_FROZEN] = TO(IDLE),
	[STATE_SETTLING] = TO(IDLE),
};
static_assert(sizeof(allowed_states) / sizeof(allowed_states[0]) == STATES, "");

struct worker {
	struct freezer_record *record;
	int work_fd; /* socket: receives the FREEZE messages */
	int done_fd; /* eventfd: 1 when it is ready, and after each job */
	size_t n_fds;
	int fds[FREEZER_ENTRIES_MAX];
};

struct freezer {
	struct freezer_record *record;
	enum state state;
	bool ending;       /* leave as soon as nothing is frozen and the worker is back */
	bool worker_busy;
	uint64_t generation;
	int signal_fd;
	int timer_fd;
	int work_fd;
	int done_fd;
	size_t n_fds;
	int fds[FREEZER_ENTRIES_MAX]; /* one per entry of the record */
	struct worker worker;
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

static enum freezer_entry_state state_of_error(int error)
{
	if (error == EBUSY)
		return FREEZER_ENTRY_FOREIGN;
	if (error == EOPNOTSUPP || error == ENOTTY)
		return FREEZER_ENTRY_UNSUPPORTED;
	return FREEZER_ENTRY_FAILED;
}

/* Freezes one file system, unless its turn was taken away. False: give up the rest. */
static bool freeze_entry(struct freezer_entry *entry, int fd)
{
	uint64_t begin_ns;
	int error;

	if (!freezer_entry_move(entry, FREEZER_ENTRY_QUEUED, FREEZER_ENTRY_FREEZING))
		return false;

	begin_ns = freezer_io_now_ns(CLOCK_MONOTONIC);
	error = ioctl(fd, FIFREEZE, 0) < 0 ? errno : 0;
	entry->freeze_ns = freezer_io_now_ns(CLOCK_MONOTONIC) - begin_ns;

	if (error) {
		enum freezer_entry_state to = state_of_error(error);

		entry->error = error;
		/* The state can only have become THAWING meanwhile, and only once. */
		if (!freezer_entry_move(entry, FREEZER_ENTRY_FREEZING, to) &&
		    !freezer_entry_move(entry, FREEZER_ENTRY_THAWING, to))
			abort();
		return to != FREEZER_ENTRY_FAILED;
	}

	entry->frozen_at_ns = freezer_io_now_ns(CLOCK_REALTIME);
	if (freezer_entry_move(entry, FREEZER_ENTRY_FREEZING, FREEZER_ENTRY_FROZEN))
		return true;
	(void)!freezer_io_thaw(entry, fd);
	return false;
}

static void work(struct worker *w)
{
	struct freezer_entry *entries = w->record->entries;

	/* Most of the data is written before anybody has to wait; FIFREEZE reports the errors. */
	for (size_t i = 0; i < w->n_fds; i++)
		if (freezer_entry_state(&entries[i]) == FREEZER_ENTRY_QUEUED)
			(void)!syncfs(w->fds[i]);
	for (size_t i = 0; i < w->n_fds; i++)
		if (!freeze_entry(&entries[i], w->fds[i]))
			break;
	close_all(w->fds, &w->n_fds);
}

static void report_done(struct worker *w)
{
	uint64_t one = 1;

	if (write(w->done_fd, &one, sizeof(one)) != sizeof(one))
		abort();
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
	return true;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	if (unshare(CLONE_FILES) < 0)
		abort();
	(void)close(FREEZER_SOCKET_FD);
	report_done(w);
	while (receive_job(w)) {
		work(w);
		report_done(w);
	}
	return NULL;
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

/* Ends the freeze for one entry, whatever the worker is doing with it. False: still frozen. */
static bool thaw_entry(struct freezer_entry *entry, int fd)
{
	for (;;) {
		switch (freezer_entry_state(entry)) {
		case FREEZER_ENTRY_QUEUED:
			if (freezer_entry_cancel(entry))
				return true;
			break;
		case FREEZER_ENTRY_FREEZING:
			if (freezer_entry_move(entry, FREEZER_ENTRY_FREEZING,
					       FREEZER_ENTRY_THAWING))
				return true;
			break;
		case FREEZER_ENTRY_FROZEN:
			if (freezer_entry_move(entry, FREEZER_ENTRY_FROZEN, FREEZER_ENTRY_THAWING))
				return freezer_io_thaw(entry, fd) == 0;
			break;
		case FREEZER_ENTRY_IDLE:
		case FREEZER_ENTRY_THAWING:
		case FREEZER_ENTRY_THAWED:
		case FREEZER_ENTRY_FAILED:
		case FREEZER_ENTRY_FOREIGN:
		case FREEZER_ENTRY_UNSUPPORTED:
		case FREEZER_ENTRY_STATES:
			return true;
		}
	}
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

/* Ends the freeze, if there is one, and says so once. @index: of the entry that failed, if any. */
static void end_with(struct freezer *f, enum freezer_reason reason, uint32_t index, int error)
{
	struct freezer_message message = {
		.type = FREEZER_MESSAGE_THAWED,
		.reason = reason,
		.generation = f->generation,
		.first = index,
		.error = error,
		.pending = f->worker_busy,
	};

	if (f->state == STATE_IDLE || f->state == STATE_SETTLING)
		return;

	atomic_store(&f->record->reason, reason);
	for (size_t i = f->n_fds; i-- > 0;)
		message.stuck += !thaw_entry(&f->record->entries[i], f->fds[i]);
	close_all(f->fds, &f->n_fds);
	set_state(f, f->worker_busy ? STATE_SETTLING : STATE_IDLE);
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

static void on_deadline(struct freezer *f)
{
	uint64_t count;

	if (read(f->timer_fd, &count, sizeof(count)) == sizeof(count))
		end_with(f, FREEZER_REASON_DEADLINE, FREEZER_ENTRIES_MAX, ETIMEDOUT);
}

static void on_worker_done(struct freezer *f)
{
	struct freezer_message message = {
		.type = FREEZER_MESSAGE_FROZEN,
		.generation = f->generation,
	};
	uint32_t failed;
	uint64_t count;

	if (read(f->done_fd, &count, sizeof(count)) != sizeof(count))
		return;

	f->worker_busy = false;
	if (f->state == STATE_SETTLING) {
		set_state(f, STATE_IDLE);
		message.type = FREEZER_MESSAGE_SETTLED;
		tell(&message);
		return;
	}

	failed = find_failed(f->record);
	if (failed < f->record->n_entries) {
		end_with(f, FREEZER_REASON_FAILED, failed, f->record->entries[failed].error);
		return;
	}
	set_state(f, STATE_FROZEN);
	tell(&message);
}

static void serve(struct freezer *f)
{
	/* The worker first: what it has finished is frozen before anything else is decided. */
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
			on_worker_done(f);
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

static int spawn_thread(void *(*run)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, run, arg);
	(void)pthread_attr_destroy(&attr);
	return -r;
}

/* Starts the worker and waits until it has its own descriptor table. */
static int spawn_worker(struct freezer *f)
{
	uint64_t count;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return negative_errno();
	f->work_fd = pair[0];
	f->worker = (struct worker){
		.record = f->record,
		.work_fd = pair[1],
		.done_fd = f->done_fd,
	};

	r = spawn_thread(worker_main, &f->worker);
	if (r)
		return r;
	if (read(f->done_fd, &count, sizeof(count)) != sizeof(count))
		return negative_errno();
	(void)close_fd(pair[1]);
	return 0;
}

static int prepare(struct freezer *f)
{
	int r;

	if (close_range(FREEZER_RECORD_FD + 1, ~0u, 0) < 0)
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
	/* Before the other threads exist, so that their stacks are locked as well. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		return negative_errno();
	touch_stack();
	r = spawn_worker(f);
	return r ?: spawn_thread(watcher_main, f->record);
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
