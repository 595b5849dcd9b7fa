/* SPDX-License-Identifier: MIT */

/*
 * The daemon's end of the freezer.
 *
 * It begins with the record (freezer_recover.c): what a predecessor left frozen is thawed before
 * a new freezer is even started.
 *
 * The client keeps descriptors of all mounts of its own while a freeze lasts, and copies of them in
 * the service manager's store, for the next daemon if neither this one nor the freezer is left. If the freezer dies,
 * or is so late that it must be stuck or stopped, the client thaws through them at once. Only what
 * was in the kernel at that time is left alone until the process is gone for certain (its pidfd
 * says so): thawing a file system while another thread freezes it would hang the daemon, and a
 * killed FIFREEZE still takes effect when it completes.
 *
 *               freeze               FROZEN
 *      IDLE ------------> FREEZING -----------> FROZEN
 *       ^  ^                | | thaw              | | thaw
 *       |  |                | +---> THAWING <-----|-+
 *       |  |     THAWED     |          |          |      THAWED: to IDLE, or to SETTLING
 *       |  +----------------+----------+----------+      if a system call is pending
 *       | SETTLED
 *    SETTLING                            any state: freezer lost -> DOWN; respawn -> IDLE
 */

#include "fsfreeze/freezer_client.h"

#include "base/cleanup.h"
#include "fsfreeze/fdstore.h"
#include "fsfreeze/freezer_io.h"
#include "fsfreeze/freezer_recover.h"
#include "fsfreeze/rcu.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#define NS_PER_S 1000000000u

enum {
	LOCK_TIMEOUT_S = 5,
	READY_TIMEOUT_MS = 5000,
	EXIT_TIMEOUT_MS = 5000,
	/* How long after its deadline the freezer is taken for stuck. */
	GUARD_S = 2,
	/* Descriptors are moved up here, out of the way of those that the helper gets. */
	HIGH_FD = 10,
};

enum state {
	STATE_DOWN,
	STATE_IDLE,
	STATE_FREEZING,
	STATE_FROZEN,
	STATE_THAWING,
	STATE_SETTLING,
	STATES,
};

#define TO(state) (1u << STATE_##state)

static const uint32_t allowed_states[] = {
	[STATE_DOWN] = TO(IDLE),
	[STATE_IDLE] = TO(FREEZING) | TO(DOWN),
	[STATE_FREEZING] = TO(FROZEN) | TO(THAWING) | TO(SETTLING) | TO(IDLE) | TO(DOWN),
	[STATE_FROZEN] = TO(THAWING) | TO(SETTLING) | TO(IDLE) | TO(DOWN),
	[STATE_THAWING] = TO(SETTLING) | TO(IDLE) | TO(DOWN),
	[STATE_SETTLING] = TO(IDLE) | TO(DOWN),
};
static_assert(sizeof(allowed_states) / sizeof(allowed_states[0]) == STATES, "");

struct freezer_client {
	char *helper;
	enum state state;
	uint32_t options; /* enum freezer_option, for each freeze */
	int record_fd;
	struct freezer_record *record;
	int rcu_fd; /* -1: there is no such knob, or it is not to be turned */
	int epoll_fd;
	int timer_fd; /* the freezer's deadline and GUARD_S */
	int socket_fd;
	int pid_fd;   /* of the helper, until it has been reaped */
	pid_t pid;
	bool holds_life; /* the lock by which the helper learns of our death */
	size_t n_fds;
	int fds[FREEZER_ENTRIES_MAX]; /* one per entry of the record */
	bool is_stored; /* the service manager has copies of them */
	size_t n_recovered;
	struct freezer_result *recovered;
};

static void set_state(struct freezer_client *c, enum state state)
{
	assert(allowed_states[c->state] & (1u << state));
	c->state = state;
}

bool freezer_client_is_active(const struct freezer_client *c)
{
	switch (c->state) {
	case STATE_FREEZING:
	case STATE_FROZEN:
	case STATE_THAWING:
		return true;
	case STATE_DOWN:
	case STATE_IDLE:
	case STATE_SETTLING:
	case STATES:
		break;
	}
	return false;
}

static void forget_fds(struct freezer_client *c)
{
	if (c->is_stored)
		fdstore_remove(FREEZER_STORE_NAME);
	c->is_stored = false;
	while (c->n_fds > 0)
		(void)close_fd(c->fds[--c->n_fds]);
}

static int watch(struct freezer_client *c, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? negative_errno() : 0;
}

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return fd >= 0 && poll(&p, 1, timeout_ms) > 0;
}

static void kill_helper(struct freezer_client *c)
{
	if (c->pid_fd >= 0)
		(void)pidfd_send_signal(c->pid_fd, SIGKILL, NULL, 0);
}

/* The helper is dead for certain: takes note of it. */
static void reap(struct freezer_client *c)
{
	siginfo_t info;

	(void)waitid(P_PIDFD, (id_t)c->pid_fd, &info, WEXITED);
	c->pid_fd = close_fd(c->pid_fd);
	c->pid = 0;
}

/* Starts the program with @socket_fd, the record and the knob as its only other descriptors. */
static int spawn_with(const struct freezer_client *c, int socket_fd, pid_t *ret_pid)
{
	char *argv[] = {(char[]){"hvguest-freezer"}, NULL}, *envp[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	r = posix_spawnattr_init(&attr);
	if (r)
		return -r;
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

	r = posix_spawn_file_actions_init(&actions);
	if (r)
		goto out;
	r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	r = r ?: posix_spawn_file_actions_adddup2(&actions, 0, 1);
	r = r ?: posix_spawn_file_actions_adddup2(&actions, 0, 2);
	r = r ?: posix_spawn_file_actions_adddup2(&actions, socket_fd, FREEZER_SOCKET_FD);
	r = r ?: posix_spawn_file_actions_adddup2(&actions, c->record_fd, FREEZER_RECORD_FD);
	r = r ?: posix_spawn_file_actions_adddup2(&actions, c->rcu_fd < 0 ? 0 : c->rcu_fd,
						  FREEZER_RCU_FD);
	r = r ?: posix_spawn_file_actions_addclosefrom_np(&actions, FREEZER_RCU_FD + 1);
	r = r ?: posix_spawn(ret_pid, c->helper, &actions, &attr, argv, envp);
	(void)posix_spawn_file_actions_destroy(&actions);
out:
	(void)posix_spawnattr_destroy(&attr);
	return -r;
}

/* Moves @fd out of the range that spawn_with() overwrites. */
static int move_high(int *fd)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, HIGH_FD);

	if (high < 0)
		return negative_errno();
	(void)close_fd(*fd);
	*fd = high;
	return 0;
}

/* Waits for the helper's first message. */
static int await_ready(struct freezer_client *c)
{
	int fds[FREEZER_MESSAGE_FDS_MAX];
	struct freezer_message message;

	if (!is_readable(c->socket_fd, READY_TIMEOUT_MS) ||
	    freezer_io_receive(c->socket_fd, &message, fds) ||
	    message.type != FREEZER_MESSAGE_READY)
		return FREEZER_CLIENT_NO_HELPER;
	return -message.error;
}

static int start_helper(struct freezer_client *c)
{
	_cleanup_close_ int theirs = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return negative_errno();
	c->socket_fd = pair[0];
	theirs = pair[1];
	r = move_high(&theirs);
	if (r)
		return r;
	r = spawn_with(c, theirs, &c->pid);
	if (r)
		return FREEZER_CLIENT_NO_HELPER;
	c->pid_fd = pidfd_open(c->pid, 0);
	if (c->pid_fd < 0)
		return negative_errno();
	theirs = close_fd(theirs);

	r = await_ready(c);
	r = r ?: watch(c, c->socket_fd);
	r = r ?: watch(c, c->pid_fd);
	return r;
}

/* Starts the helper, or leaves nothing of it. */
static int spawn(struct freezer_client *c)
{
	int r;

	assert(c->state == STATE_DOWN && c->socket_fd < 0 && c->pid_fd < 0);
	r = start_helper(c);
	if (r == 0) {
		set_state(c, STATE_IDLE);
		return 0;
	}

	c->socket_fd = close_fd(c->socket_fd);
	kill_helper(c);
	if (c->pid_fd >= 0)
		reap(c);
	return r;
}

static int open_events(struct freezer_client *c)
{
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	c->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (c->epoll_fd < 0 || c->timer_fd < 0)
		return negative_errno();
	return watch(c, c->timer_fd);
}

static int take_record(struct freezer_client *c, const char *run_dir, uint64_t lock_timeout_ns)
{
	int r = freezer_recover_open(run_dir, lock_timeout_ns, &c->record_fd, &c->record);

	if (r == FREEZER_RECOVER_BUSY)
		return FREEZER_CLIENT_BUSY;
	if (r == FREEZER_RECOVER_NOT_IN_MEMORY)
		return FREEZER_CLIENT_NOT_IN_MEMORY;
	return r;
}

static int open_knob(struct freezer_client *c, const char *kernel_dir)
{
	c->rcu_fd = rcu_open(kernel_dir);
	return c->rcu_fd < 0 ? 0 : move_high(&c->rcu_fd);
}

static int hold_life(struct freezer_client *c)
{
	int r = freezer_io_hold_life(c->record);

	c->holds_life = r == 0;
	return r;
}

int freezer_client_new(const struct freezer_client_config *config,
		       struct freezer_client **ret_client)
{
	_cleanup_(cleanup_freezer_clientp) struct freezer_client *c = NULL;
	uint64_t lock_timeout_ns = config->lock_timeout_ns;
	int r;

	if (lock_timeout_ns == 0)
		lock_timeout_ns = (uint64_t)LOCK_TIMEOUT_S * NS_PER_S;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->record_fd = c->rcu_fd = c->epoll_fd = c->timer_fd = c->socket_fd = c->pid_fd = -1;
	c->options = config->options;
	c->helper = strdup(config->helper ?: HVGUEST_LIBEXECDIR "/hvguest-freezer");
	if (!c->helper)
		return -ENOMEM;

	r = take_record(c, config->run_dir, lock_timeout_ns);
	r = r ?: move_high(&c->record_fd);
	r = r ?: open_knob(c, config->kernel_dir ?: "/sys/kernel");
	r = r ?: freezer_recover(c->record, c->rcu_fd, config->whose, &c->recovered, &c->n_recovered);
	r = r ?: hold_life(c);
	r = r ?: open_events(c);
	r = r ?: spawn(c);
	if (r)
		return r;

	*ret_client = steal_ptr(c);
	return 0;
}

/* Thaws through the client's own descriptors what is frozen; @all: also what was in the kernel. */
static void thaw_frozen(struct freezer_client *c, bool all)
{
	for (size_t i = c->n_fds; i-- > 0;) {
		struct freezer_entry *entry = &c->record->entries[i];

		(void)freezer_entry_cancel(entry);
		if (freezer_entry_move(entry, FREEZER_ENTRY_FROZEN, FREEZER_ENTRY_THAWING) ||
		    (all && (freezer_entry_move(entry, FREEZER_ENTRY_FREEZING,
						FREEZER_ENTRY_THAWING) ||
			     freezer_entry_state(entry) == FREEZER_ENTRY_THAWING)))
			(void)!freezer_io_thaw(entry, c->fds[i]);
	}
}

static size_t count_state(const struct freezer_client *c, enum freezer_entry_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < c->record->n_entries; i++)
		n += freezer_entry_state(&c->record->entries[i]) == state;
	return n;
}

static size_t count_pending(const struct freezer_client *c)
{
	return count_state(c, FREEZER_ENTRY_FREEZING) + count_state(c, FREEZER_ENTRY_THAWING);
}

static size_t count_foreign_thaws(const struct freezer_client *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->record->n_entries; i++) {
		const struct freezer_entry *entry = &c->record->entries[i];

		n += freezer_entry_state(entry) == FREEZER_ENTRY_THAWED && entry->error == EINVAL;
	}
	return n;
}

/* Closes the descriptors unless something may still have to be thawed through them. */
static void release_fds(struct freezer_client *c)
{
	if (count_pending(c) == 0 && count_state(c, FREEZER_ENTRY_FROZEN) == 0)
		forget_fds(c);
}

static void arm_guard(struct freezer_client *c, uint64_t when_ns)
{
	const struct itimerspec when = {
		.it_value.tv_sec = (time_t)(when_ns / NS_PER_S),
		.it_value.tv_nsec = (long)(when_ns % NS_PER_S),
	};
	int r = timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);

	assert(r == 0);
	(void)r;
}

/* The process is gone, so nothing is in the kernel any more: thaws the last of it. */
static void helper_is_dead(struct freezer_client *c)
{
	reap(c);
	thaw_frozen(c, true);
	rcu_restore(c->record, c->rcu_fd);
	release_fds(c);
}

/* The freezer is dead, or must be given up: does its work. */
static void lose(struct freezer_client *c, struct freezer_event *ret_event)
{
	bool was_active = freezer_client_is_active(c);

	c->socket_fd = close_fd(c->socket_fd);
	kill_helper(c);
	if (was_active)
		atomic_store(&c->record->reason, FREEZER_REASON_FREEZER_LOST);
	thaw_frozen(c, false);
	rcu_restore(c->record, c->rcu_fd);
	arm_guard(c, 0);
	set_state(c, STATE_DOWN);
	if (is_readable(c->pid_fd, 0))
		helper_is_dead(c);

	*ret_event = (struct freezer_event){
		.type = FREEZER_EVENT_LOST,
		.reason = FREEZER_REASON_FREEZER_LOST,
		.failed = c->record->n_entries,
		.was_frozen = was_active,
		.n_pending = count_pending(c),
		.n_stuck = count_state(c, FREEZER_ENTRY_FROZEN),
		.n_foreign_thaws = count_foreign_thaws(c),
	};
}

static int on_thawed(struct freezer_client *c, const struct freezer_message *message,
		     struct freezer_event *ret_event)
{
	bool failed = c->state == STATE_FREEZING;

	if (!freezer_client_is_active(c))
		return FREEZER_CLIENT_NO_EVENT;

	*ret_event = (struct freezer_event){
		.type = failed ? FREEZER_EVENT_FAILED : FREEZER_EVENT_THAWED,
		.reason = (enum freezer_reason)message->reason,
		.error = message->error,
		.failed = message->first < c->record->n_entries ? message->first
								: c->record->n_entries,
		.n_pending = message->pending ? count_pending(c) : 0,
		.n_stuck = message->stuck,
		.n_foreign_thaws = count_foreign_thaws(c),
	};
	arm_guard(c, 0);
	set_state(c, message->pending ? STATE_SETTLING : STATE_IDLE);
	if (!message->pending)
		release_fds(c);
	return 0;
}

static int on_frozen(struct freezer_client *c, struct freezer_event *ret_event)
{
	if (c->state != STATE_FREEZING)
		return FREEZER_CLIENT_NO_EVENT;
	set_state(c, STATE_FROZEN);
	*ret_event = (struct freezer_event){
		.type = FREEZER_EVENT_FROZEN,
		.failed = c->record->n_entries,
	};
	return 0;
}

static int on_settled(struct freezer_client *c)
{
	if (c->state == STATE_SETTLING) {
		set_state(c, STATE_IDLE);
		release_fds(c);
	}
	return FREEZER_CLIENT_NO_EVENT;
}

static int on_message(struct freezer_client *c, const struct freezer_message *message,
		      struct freezer_event *ret_event)
{
	/* What belongs to an earlier freeze was overtaken by the event that ended it. */
	if (message->generation != c->record->generation)
		return FREEZER_CLIENT_NO_EVENT;
	if (message->type == FREEZER_MESSAGE_FROZEN)
		return on_frozen(c, ret_event);
	if (message->type == FREEZER_MESSAGE_THAWED)
		return on_thawed(c, message, ret_event);
	if (message->type == FREEZER_MESSAGE_SETTLED)
		return on_settled(c);
	return FREEZER_CLIENT_NO_EVENT;
}

/* Reads the socket until an event comes out of it. */
static int read_socket(struct freezer_client *c, struct freezer_event *ret_event)
{
	int fds[FREEZER_MESSAGE_FDS_MAX];
	struct freezer_message message;
	int r;

	while (c->socket_fd >= 0) {
		r = freezer_io_receive(c->socket_fd, &message, fds);
		if (r == FREEZER_IO_EMPTY)
			break;
		if (r) {
			lose(c, ret_event);
			return 0;
		}
		for (size_t i = 0; i < message.count; i++)
			(void)close_fd(fds[i]);
		if (on_message(c, &message, ret_event) == 0)
			return 0;
	}
	return FREEZER_CLIENT_NO_EVENT;
}

int freezer_client_dispatch(struct freezer_client *c, struct freezer_event *ret_event)
{
	uint64_t count;

	if (read_socket(c, ret_event) == 0)
		return 0;
	if (read(c->timer_fd, &count, sizeof(count)) == sizeof(count) &&
	    freezer_client_is_active(c)) {
		lose(c, ret_event);
		return 0;
	}
	if (c->state == STATE_DOWN && is_readable(c->pid_fd, 0))
		helper_is_dead(c);
	return FREEZER_CLIENT_NO_EVENT;
}

int freezer_client_respawn(struct freezer_client *c)
{
	assert(c->state == STATE_DOWN);
	if (c->pid_fd >= 0) {
		if (!is_readable(c->pid_fd, 0))
			return FREEZER_CLIENT_BUSY;
		helper_is_dead(c);
	}
	return spawn(c);
}

static int record_targets(struct freezer_client *c, const struct freezer_target *targets, size_t n)
{
	freezer_record_begin(c->record, c->options);
	for (size_t i = 0; i < n; i++) {
		int fd = fcntl(targets[i].fd, F_DUPFD_CLOEXEC, HIGH_FD);

		if (fd < 0)
			return negative_errno();
		c->fds[c->n_fds++] = fd;
		if (freezer_record_add(c->record, &targets[i]))
			return FREEZER_CLIENT_LONG_TARGET;
	}
	return 0;
}

/* Sends the whole request, in as many messages as the descriptors need. */
static int send_freeze(struct freezer_client *c, uint64_t deadline_ns)
{
	struct freezer_message message = {
		.type = FREEZER_MESSAGE_FREEZE,
		.generation = c->record->generation,
		.deadline_ns = deadline_ns,
	};
	int r;

	do {
		uint32_t left = (uint32_t)c->n_fds - message.first;

		message.count =
			left < FREEZER_MESSAGE_FDS_MAX ? left : (uint32_t)FREEZER_MESSAGE_FDS_MAX;
		r = freezer_io_send(c->socket_fd, &message, c->fds + message.first);
		if (r)
			return r;
		message.first += message.count;
	} while (message.first < c->n_fds);
	return 0;
}

/* Is everything of the last freeze thawed? What refused is tried once more. */
static bool is_finished(struct freezer_client *c)
{
	if (c->state != STATE_IDLE)
		return false;
	thaw_frozen(c, false);
	release_fds(c);
	return c->n_fds == 0;
}

int freezer_client_freeze(struct freezer_client *c, const struct freezer_target *targets, size_t n,
			  uint64_t timeout_ns)
{
	uint64_t deadline_ns = freezer_io_now_ns(CLOCK_BOOTTIME) + timeout_ns;
	int r;

	assert(timeout_ns > 0 && timeout_ns < UINT64_MAX / 4);
	if (c->state == STATE_DOWN)
		return FREEZER_CLIENT_DOWN;
	if (!is_finished(c))
		return FREEZER_CLIENT_UNFINISHED;
	if (n > FREEZER_ENTRIES_MAX)
		return FREEZER_CLIENT_TOO_MANY;

	r = record_targets(c, targets, n);
	if (r) {
		freezer_record_begin(c->record, 0);
		forget_fds(c);
		return r;
	}

	c->is_stored = fdstore_put(FREEZER_STORE_NAME, c->fds, c->n_fds) != FDSTORE_NONE;
	arm_guard(c, deadline_ns + (uint64_t)GUARD_S * NS_PER_S);
	set_state(c, STATE_FREEZING);
	/* A helper that cannot be told is as good as dead; its end is the event. */
	if (send_freeze(c, deadline_ns))
		kill_helper(c);
	return 0;
}

void freezer_client_thaw(struct freezer_client *c)
{
	const struct freezer_message message = {
		.type = FREEZER_MESSAGE_THAW,
		.generation = c->record->generation,
	};

	if (c->state != STATE_FREEZING && c->state != STATE_FROZEN)
		return;
	set_state(c, STATE_THAWING);
	if (freezer_io_send(c->socket_fd, &message, NULL))
		kill_helper(c);
}

struct freezer_client *freezer_client_free(struct freezer_client *c)
{
	if (!c)
		return NULL;

	/*
	 * The end of the socket makes the helper thaw and leave. If it does not leave, it is either
	 * stopped, or waits for a FIFREEZE to return, to thaw that one as well: then let it.
	 */
	if (c->holds_life)
		freezer_io_release_life(c->record);
	c->socket_fd = close_fd(c->socket_fd);
	if (c->pid_fd >= 0 && !is_readable(c->pid_fd, EXIT_TIMEOUT_MS)) {
		thaw_frozen(c, false);
		rcu_restore(c->record, c->rcu_fd);
		if (count_pending(c) == 0)
			kill_helper(c);
	}
	if (is_readable(c->pid_fd, EXIT_TIMEOUT_MS))
		helper_is_dead(c);
	forget_fds(c);
	(void)close_fd(c->pid_fd);
	(void)close_fd(c->timer_fd);
	(void)close_fd(c->epoll_fd);
	if (c->record)
		(void)munmap(c->record, sizeof(*c->record));
	(void)close_fd(c->record_fd);
	(void)close_fd(c->rcu_fd);
	free(c->recovered);
	free(c->helper);
	free(c);
	return NULL;
}

const struct freezer_result *freezer_client_recovered(const struct freezer_client *c, size_t *ret_n)
{
	*ret_n = c->n_recovered;
	return c->recovered;
}

int freezer_client_fd(const struct freezer_client *c)
{
	return c->epoll_fd;
}

size_t freezer_client_n_results(const struct freezer_client *c)
{
	return c->record->n_entries;
}

void freezer_client_result(const struct freezer_client *c, size_t i,
			   struct freezer_result *ret_result)
{
	assert(i < c->record->n_entries);
	freezer_result_read(&c->record->entries[i], ret_result);
}

int freezer_client_helper_pid(const struct freezer_client *c)
{
	return c->pid;
}
