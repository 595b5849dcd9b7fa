/* SPDX-License-Identifier: MIT */

/*
 * The daemon's end of the keeper.
 *
 * The client holds a copy of every descriptor that the keeper holds. That costs nothing, and it is
 * what makes a dead keeper replaceable: what a memfd holds is not freed before its last descriptor
 * closes. The next keeper gets the memory first and the channel afterwards. What it finds moved is
 * counted as lost in its stats.
 *
 * A keeper that was found by its socket is not our child; whether it lives is told by a pidfd in
 * both cases. A dying process's sockets close after its memory is gone, so a keeper may still
 * accept connections that it will never answer: no answer to HELLO is taken for that.
 */

#include "balloon/keeper_client.h"

#include "balloon/keeper_io.h"
#include "base/fdpass.h"
#include "base/unixsock.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

enum {
	CONNECT_TIMEOUT_MS = 1000,
	DEATH_TIMEOUT_MS = 10000,
	HELLO_TIMEOUT_S = 60, /* the request of a dead daemon is finished first */
	HIGH_FD = 10, /* out of the way of those that the helper gets */
	CHANNEL_FD_MIN = 256, /* above the memory: closed first if we die */
};

struct keeper_client {
	pthread_mutex_t lock;       /* one request at a time */
	pthread_mutex_t stats_lock; /* never held for long */
	struct pages_stats stats;
	struct keeper_client_config config;
	char *helper;
	char *run_dir;
	int socket_fd;
	int pid_fd;
	pid_t pid;
	int fds[KEEPER_N_FDS]; /* copies of what the keeper holds */
	void *area;
	size_t area_bytes;
	struct keeper_packet packet; /* request, then answer */
};

static void close_fds(int fds[KEEPER_N_FDS], uint32_t which)
{
	for (int i = 0; i < KEEPER_N_FDS; i++)
		if (which & KEEPER_FD_BIT(i))
			fds[i] = close_fd(fds[i]);
}

/* Sends the request in c->packet and waits for the answer there. KEEPER_CLIENT_LOST. */
static int exchange(struct keeper_client *c, const int send_fds[KEEPER_N_FDS],
		    int ret_fds[KEEPER_N_FDS])
{
	uint32_t type = c->packet.message.type;
	int fds[KEEPER_N_FDS], r;

	if (c->socket_fd < 0)
		return KEEPER_CLIENT_LOST;
	r = keeper_io_send(c->socket_fd, &c->packet, send_fds);
	if (r == 0)
		r = keeper_io_receive(c->socket_fd, &c->packet, fds);
	if (r) {
		c->socket_fd = close_fd(c->socket_fd);
		return r > 0 ? KEEPER_CLIENT_LOST : r;
	}
	if (c->packet.message.type != type || (!ret_fds && c->packet.message.fds)) {
		close_fds(fds, UINT32_MAX);
		c->socket_fd = close_fd(c->socket_fd);
		return KEEPER_CLIENT_LOST;
	}
	if (ret_fds)
		memcpy(ret_fds, fds, sizeof(fds));

	pthread_mutex_lock(&c->stats_lock);
	c->stats = c->packet.message.stats;
	pthread_mutex_unlock(&c->stats_lock);
	return 0;
}

static struct keeper_message *begin(struct keeper_client *c, enum keeper_message_type type)
{
	c->packet.message = (struct keeper_message){.type = type};
	return &c->packet.message;
}

/* The whole of a request without descriptors. */
static int ask(struct keeper_client *c)
{
	int r = exchange(c, NULL, NULL);

	return r ? r : c->packet.message.error;
}

static uint32_t flags_of(const struct keeper_client_config *config)
{
	return (config->allowed[PAGES_HUGE] ? KEEPER_ALLOW_HUGE : 0) |
	       (config->allowed[PAGES_SMALL] ? KEEPER_ALLOW_SMALL : 0) |
	       (config->overcommit ? KEEPER_ALLOW_OVERCOMMIT : 0);
}

/* Introduces us; with @memory_fds, hands a dead keeper's memory over. */
static int hello(struct keeper_client *c, const int *memory_fds, int ret_fds[KEEPER_N_FDS])
{
	struct keeper_message *m = begin(c, KEEPER_HELLO);

	m->value = KEEPER_VERSION;
	m->flags = flags_of(&c->config);
	m->pages_seen = c->config.area_bytes;
	for (int i = 0; memory_fds && i < KEEPER_FD_HOST; i++)
		m->fds |= memory_fds[i] >= 0 ? KEEPER_FD_BIT(i) : 0;
	return exchange(c, memory_fds, ret_fds);
}

/* Starts the program with @socket_fd as its only descriptor besides /dev/null. */
static int spawn_with(const char *helper, const char *run_dir, int socket_fd, pid_t *ret_pid)
{
	char name[] = "hvguest-keeper", dir[256];
	char *argv[] = {name, dir, NULL}, *envp[] = {NULL};
	posix_spawn_file_actions_t actions;
	int r;

	if (strlen(run_dir) >= sizeof(dir))
		return -ENAMETOOLONG;
	strcpy(dir, run_dir);
	r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	r = r ?: posix_spawn_file_actions_adddup2(&actions, 0, 1);
	r = r ?: posix_spawn_file_actions_adddup2(&actions, 0, 2);
	r = r ?: posix_spawn_file_actions_adddup2(&actions, socket_fd, KEEPER_SOCKET_FD);
	r = r ?: posix_spawn_file_actions_addclosefrom_np(&actions, KEEPER_SOCKET_FD + 1);
	r = r ?: posix_spawn_file_actions_addchdir_np(&actions, "/");
	r = r ?: posix_spawn(ret_pid, helper, &actions, NULL, argv, envp);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int start_helper(struct keeper_client *c)
{
	_cleanup_close_ int theirs = -1, high = -1;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return negative_errno();
	c->socket_fd = pair[0];
	theirs = pair[1];
	high = fcntl(theirs, F_DUPFD_CLOEXEC, HIGH_FD);
	if (high < 0)
		return negative_errno();
	if (spawn_with(c->helper, c->run_dir, high, &c->pid))
		return KEEPER_CLIENT_NO_HELPER;
	c->pid_fd = pidfd_open(c->pid, 0);
	return c->pid_fd < 0 ? negative_errno() : 0;
}

static bool is_dead(const struct keeper_client *c, int timeout_ms)
{
	struct pollfd p = {.fd = c->pid_fd, .events = POLLIN};

	return c->pid_fd < 0 || poll(&p, 1, timeout_ms) > 0;
}

/* Waits for the keeper's end, which is near, and forgets the process. */
static void await_end(struct keeper_client *c)
{
	siginfo_t info;

	c->socket_fd = close_fd(c->socket_fd);
	if (c->pid_fd >= 0 && is_dead(c, DEATH_TIMEOUT_MS))
		(void)waitid(P_PIDFD, (id_t)c->pid_fd, &info, WEXITED);
	c->pid_fd = close_fd(c->pid_fd);
	c->pid = 0;
}

/* Takes the descriptors of an answer for our copies. */
static int take_fds(struct keeper_client *c, int take_fds[KEEPER_N_FDS])
{
	struct stat st;

	close_fds(c->fds, UINT32_MAX);
	memcpy(c->fds, take_fds, sizeof(c->fds));
	for (int i = KEEPER_FD_HOST; i < KEEPER_N_FDS; i++)
		if (c->fds[i] >= 0)
			c->fds[i] = fdpass_move_high(c->fds[i], CHANNEL_FD_MIN);
	if (c->fds[KEEPER_FD_LEDGER] < 0 || c->fds[KEEPER_FD_AREA] < 0)
		return KEEPER_CLIENT_NO_HELPER;
	if (c->area)
		return 0;
	if (fstat(c->fds[KEEPER_FD_AREA], &st) < 0)
		return negative_errno();
	c->area = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       c->fds[KEEPER_FD_AREA], 0);
	if (c->area == MAP_FAILED) {
		c->area = NULL;
		return negative_errno();
	}
	c->area_bytes = st.st_size;
	return 0;
}

/* Starts a keeper; with @memory_fds, in place of a dead one. */
static int spawn(struct keeper_client *c, const int *memory_fds,
		 struct keeper_client_report *ret_report)
{
	const struct keeper_message *m = &c->packet.message;
	int fds[KEEPER_N_FDS], r;

	r = start_helper(c);
	r = r ? r : hello(c, memory_fds, fds);
	if (r || m->error) {
		await_end(c);
		return r ? r == KEEPER_CLIENT_LOST ? KEEPER_CLIENT_NO_HELPER : r : m->error;
	}
	ret_report->dead_pid = (pid_t)m->value;
	ret_report->freed_pages = m->pages_seen;
	ret_report->overcommit_pages = m->pages_moved;
	return take_fds(c, fds);
}

static int find_process(struct keeper_client *c)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(c->socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return negative_errno();
	c->pid = peer.pid;
	c->pid_fd = pidfd_open(c->pid, 0);
	return c->pid_fd < 0 ? KEEPER_CLIENT_LOST : 0;
}

/* How long to wait for each answer from now on; 0: as long as it takes. */
static int limit_wait(struct keeper_client *c, time_t seconds)
{
	const struct timeval limit = {.tv_sec = seconds};

	if (setsockopt(c->socket_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return negative_errno();
	return 0;
}

/* Looks for a keeper that a predecessor has left. KEEPER_CLIENT_LOST: there is none. */
static int find(struct keeper_client *c, struct keeper_client_report *report)
{
	int fds[KEEPER_N_FDS], r;
	char path[256];

	if (snprintf(path, sizeof(path), "%s/%s", c->run_dir, KEEPER_SOCKET_NAME) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	r = unixsock_connect(path, SOCK_SEQPACKET, CONNECT_TIMEOUT_MS, &c->socket_fd);
	if (r)
		return r > 0 ? KEEPER_CLIENT_LOST : r;
	r = find_process(c);
	r = r ? r : limit_wait(c, HELLO_TIMEOUT_S);
	r = r ? r : hello(c, NULL, fds);
	if (r == 0 && c->packet.message.error == -EPROTO) {
		begin(c, KEEPER_RELEASE);
		(void)!ask(c);
		report->replaced = true;
		r = KEEPER_CLIENT_LOST;
	}
	if (r)
		return r;
	if (c->packet.message.error)
		return c->packet.message.error;
	report->found = true;
	r = limit_wait(c, 0);
	return r ? r : take_fds(c, fds);
}

int keeper_client_new(const struct keeper_client_config *config,
		      struct keeper_client_report *ret_report, struct keeper_client **ret_client)
{
	_cleanup_(cleanup_keeper_clientp) struct keeper_client *c = calloc(1, sizeof(*c));
	struct keeper_client_report report = {0};
	int r;

	if (!c)
		return -ENOMEM;
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_mutex_init(&c->stats_lock, NULL);
	c->config = *config;
	c->socket_fd = c->pid_fd = -1;
	for (int i = 0; i < KEEPER_N_FDS; i++)
		c->fds[i] = -1;
	c->helper = strdup(config->helper ? config->helper : HVGUEST_LIBEXECDIR "/hvguest-keeper");
	c->run_dir = strdup(config->run_dir);
	if (!c->helper || !c->run_dir)
		return -ENOMEM;

	r = find(c, &report);
	if (r == KEEPER_CLIENT_LOST) {
		await_end(c);
		r = spawn(c, NULL, &report);
	}
	if (r)
		return r;

	*ret_report = report;
	*ret_client = steal_ptr(c);
	return 0;
}

struct keeper_client *keeper_client_free(struct keeper_client *c)
{
	if (!c)
		return NULL;
	close_fd(c->socket_fd);
	close_fd(c->pid_fd);
	close_fds(c->fds, UINT32_MAX);
	if (c->area)
		(void)munmap(c->area, c->area_bytes);
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_mutex_destroy(&c->stats_lock);
	free(c->helper);
	free(c->run_dir);
	free(c);
	return NULL;
}

void keeper_client_release(struct keeper_client *c)
{
	pthread_mutex_lock(&c->lock);
	close_fds(c->fds, KEEPER_CHANNEL_FDS);
	begin(c, KEEPER_RELEASE);
	(void)!ask(c);
	await_end(c);
	close_fds(c->fds, UINT32_MAX);
	pthread_mutex_unlock(&c->lock);
}

int keeper_client_take(struct keeper_client *c, uint64_t want_pages, struct page_range *ranges,
		       size_t *ret_n, enum pages_source *ret_source)
{
	int r;

	pthread_mutex_lock(&c->lock);
	begin(c, KEEPER_TAKE)->value = want_pages;
	r = exchange(c, NULL, NULL);
	if (r == 0 && c->packet.message.error)
		r = c->packet.message.error == PAGES_EXHAUSTED ? KEEPER_CLIENT_EXHAUSTED
							       : c->packet.message.error;
	if (r == 0) {
		*ret_n = c->packet.message.n_ranges;
		*ret_source = c->packet.message.source;
		memcpy(ranges, c->packet.ranges, *ret_n * sizeof(*ranges));
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

int keeper_client_return(struct keeper_client *c, const struct page_range *ranges, size_t n,
			 uint64_t *ret_pages)
{
	uint64_t accepted = 0;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (n > 0 && r == 0) {
		size_t part = n < KEEPER_RANGES_MAX ? n : KEEPER_RANGES_MAX;

		begin(c, KEEPER_RETURN)->n_ranges = part;
		memcpy(c->packet.ranges, ranges, part * sizeof(*ranges));
		r = ask(c);
		if (r != KEEPER_CLIENT_LOST)
			accepted += c->packet.message.value;
		ranges += part;
		n -= part;
	}
	pthread_mutex_unlock(&c->lock);
	*ret_pages = accepted;
	return r;
}

/* Appends the ranges of the answer to an array of *n. */
static int append(struct keeper_client *c, struct page_range **ranges, size_t *n)
{
	size_t more = c->packet.message.n_ranges;
	struct page_range *all = reallocarray(*ranges, *n + more, sizeof(*all));

	if (!all)
		return -ENOMEM;
	memcpy(all + *n, c->packet.ranges, more * sizeof(*all));
	*ranges = all;
	*n += more;
	return 0;
}

int keeper_client_list(struct keeper_client *c, struct page_range **ret_ranges, size_t *ret_n)
{
	_cleanup_free_ struct page_range *ranges = NULL;
	uint64_t at = 0;
	size_t n = 0;
	int r;

	pthread_mutex_lock(&c->lock);
	do {
		begin(c, KEEPER_LIST)->value = at;
		r = ask(c);
		at = c->packet.message.value;
		if (r == 0 && c->packet.message.n_ranges > 0)
			r = append(c, &ranges, &n);
	} while (r == 0 && c->packet.message.n_ranges > 0);
	pthread_mutex_unlock(&c->lock);
	if (r)
		return r;
	if (n > 0 && page_ranges_normalize(ranges, n, &n))
		return -EIO; /* a frame twice: the keeper is out of its mind */

	*ret_ranges = steal_ptr(ranges);
	*ret_n = n;
	return 0;
}

int keeper_client_verify(struct keeper_client *c, uint64_t *ret_pages, uint64_t *ret_moved_pages)
{
	uint64_t at = 0, seen = 0, moved = 0;
	bool more = true;
	int r = 0;

	/* In parts, so that others get their turn. */
	while (more && r == 0) {
		pthread_mutex_lock(&c->lock);
		begin(c, KEEPER_VERIFY)->value = at;
		r = ask(c);
		if (r == 0) {
			at = c->packet.message.value;
			seen += c->packet.message.pages_seen;
			moved += c->packet.message.pages_moved;
			more = c->packet.message.flags & KEEPER_MORE;
		}
		pthread_mutex_unlock(&c->lock);
	}
	*ret_pages = seen;
	*ret_moved_pages = moved;
	return r;
}

/* Gives the keeper copies of all of the channel that we have. */
static int park_all(struct keeper_client *c)
{
	struct keeper_message *m = begin(c, KEEPER_PARK);
	int r;

	for (int i = KEEPER_FD_HOST; i < KEEPER_N_FDS; i++)
		m->fds |= c->fds[i] >= 0 ? KEEPER_FD_BIT(i) : 0;
	if (!m->fds)
		return 0;
	r = exchange(c, c->fds, NULL);
	return r ? r : c->packet.message.error;
}

int keeper_client_park(struct keeper_client *c, const int fds[KEEPER_N_FDS])
{
	int r = 0;

	pthread_mutex_lock(&c->lock);
	for (int i = KEEPER_FD_HOST; i < KEEPER_N_FDS && r == 0; i++) {
		int fd = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, CHANNEL_FD_MIN);

		if (fds[i] >= 0 && fd < 0)
			r = negative_errno();
		if (fd >= 0) {
			(void)close_fd(c->fds[i]);
			c->fds[i] = fd;
		}
	}
	r = r ? r : park_all(c);
	pthread_mutex_unlock(&c->lock);
	return r;
}

void keeper_client_drop(struct keeper_client *c)
{
	pthread_mutex_lock(&c->lock);
	close_fds(c->fds, KEEPER_CHANNEL_FDS);
	begin(c, KEEPER_DROP);
	(void)!ask(c);
	pthread_mutex_unlock(&c->lock);
}

int keeper_client_fd(struct keeper_client *c, enum keeper_fd which)
{
	int fd;

	pthread_mutex_lock(&c->lock);
	fd = c->fds[which];
	pthread_mutex_unlock(&c->lock);
	return fd;
}

void *keeper_client_area(const struct keeper_client *c, size_t *ret_bytes)
{
	*ret_bytes = c->area_bytes;
	return c->area;
}

int keeper_client_pid_fd(const struct keeper_client *c)
{
	return c->pid_fd;
}

pid_t keeper_client_pid(const struct keeper_client *c)
{
	return c->pid;
}

int keeper_client_revive(struct keeper_client *c)
{
	struct keeper_client_report report;
	int memory[KEEPER_N_FDS], channel[KEEPER_N_FDS], r;

	pthread_mutex_lock(&c->lock);
	await_end(c);
	for (int i = 0; i < KEEPER_N_FDS; i++) {
		memory[i] = i < KEEPER_FD_HOST ? steal_fd(c->fds[i]) : -1;
		channel[i] = i < KEEPER_FD_HOST ? -1 : steal_fd(c->fds[i]);
	}
	r = spawn(c, memory, &report);
	if (r)
		memcpy(c->fds, memory, sizeof(memory));
	else
		close_fds(memory, UINT32_MAX);
	for (int i = KEEPER_FD_HOST; i < KEEPER_N_FDS; i++)
		c->fds[i] = channel[i];
	r = r ? r : park_all(c);
	pthread_mutex_unlock(&c->lock);
	return r;
}

void keeper_client_get_stats(struct keeper_client *c, struct pages_stats *ret_stats)
{
	pthread_mutex_lock(&c->stats_lock);
	*ret_stats = c->stats;
	pthread_mutex_unlock(&c->stats_lock);
}
