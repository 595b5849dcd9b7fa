/* SPDX-License-Identifier: MIT */

/*
 * hvguest-keeper: the process that holds the memory which the host has.
 *
 * A page that was given to the host must not be free, and must not move, until the host gives it
 * back or has forgotten it; and a channel's host forgets when the channel's last descriptor closes.
 * So both are held by a process with next to nothing in it that could go wrong, and that nobody has
 * a reason to restart: the daemon may crash, be killed or be upgraded. There is no protocol, no
 * log, no configuration and no event loop here. It serves one daemon after the other:
 *
 *     daemon connects -> HELLO -> TAKE, RETURN, ... -> daemon gone -> next one connects
 *                                     |                    |
 *                                     | RELEASE, SIGTERM   | nothing is held, or no more
 *                                     v                    v
 *                                  the end              the end
 *
 * A request is finished before the next one is received, whether its daemon lives or not; so what a
 * new daemon is told is true. Requests are slices, because each of them can take long.
 *
 * The end is in order: the channel is closed first, so that the host has forgotten the memory
 * before it is put back into use. The same order holds if this process is killed, by the numbers of
 * its descriptors (keeper_proto.h).
 *
 * If a keeper dies while its daemon lives, the daemon has the memfds too, and hands them to the
 * next keeper, which maps and pins the memory anew and compares every frame with the ledger. If
 * both die, the kernel has closed the channel and freed the memory; the record in the run directory
 * tells the next keeper what there was, and how much of vm.nr_overcommit_hugepages was ours.
 */

#include "balloon/keeper_io.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include "base/unixsock.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

enum {
	CHANNEL_FD_MIN = 512, /* above all of the memory and the pins */
	/* How long a predecessor may take to die: its memory goes before its descriptors do. */
	WAIT_TRIES = 500,
	WAIT_NS = 10 * 1000 * 1000,
};

struct keeper {
	struct unixsock listener;
	int client_fd;
	int signal_fd;
	int record_fd;
	struct keeper_record *record;
	char boot_id[KEEPER_BOOT_ID_SIZE];
	struct pages_config config;
	struct pages *pages;      /* NULL before the first HELLO */
	int fds[KEEPER_N_FDS];    /* what is held; -1: nothing */
	bool ending;
	struct keeper_packet in;
	struct keeper_packet out;
};

static void close_fds(int fds[KEEPER_N_FDS], uint32_t which)
{
	for (int i = 0; i < KEEPER_N_FDS; i++)
		if (which & KEEPER_FD_BIT(i))
			fds[i] = close_fd(fds[i]);
}

static uint32_t fds_there(const int fds[KEEPER_N_FDS])
{
	uint32_t which = 0;

	for (int i = 0; i < KEEPER_N_FDS; i++)
		if (fds[i] >= 0)
			which |= KEEPER_FD_BIT(i);
	return which;
}

static uint64_t held_pages(const struct keeper *k)
{
	struct pages_stats stats;

	if (!k->pages)
		return 0;
	pages_get_stats(k->pages, &stats);
	return (stats.source[PAGES_HUGE].bytes + stats.source[PAGES_SMALL].bytes) / 4096;
}

/* Ends everything in order. */
static void release(struct keeper *k)
{
	close_fds(k->fds, KEEPER_CHANNEL_FDS);
	k->pages = pages_free(k->pages);
	close_fds(k->fds, KEEPER_MEMORY_FDS);
	k->record->held_pages = 0;
	k->ending = true;
}

static void set_config(struct keeper *k, uint32_t flags)
{
	k->config = (struct pages_config){
		.allowed = {[PAGES_HUGE] = flags & KEEPER_ALLOW_HUGE,
			    [PAGES_SMALL] = flags & KEEPER_ALLOW_SMALL},
		.pin = true,
		.share = flags & KEEPER_ALLOW_OVERCOMMIT ? &k->record->share : NULL,
		.overcommit_dir = OVERCOMMIT_DIR,
	};
}

/* Takes note of what a dead keeper had, and takes back its share if its memory is gone with it. */
static void read_record(struct keeper *k, bool is_successor, struct keeper_message *answer)
{
	struct overcommit_share share = {0};

	if (keeper_record_check(k->record, k->boot_id) == 0) {
		share = k->record->share;
		if (!is_successor) {
			answer->value = k->record->pid;
			answer->pages_seen = k->record->held_pages;
			answer->pages_moved = share.share;
			(void)!overcommit_lower(OVERCOMMIT_DIR, &k->record->share, 0);
			share = k->record->share;
		}
	}
	keeper_record_init(k->record, k->boot_id, getpid());
	k->record->share = share;
}

static int create_area(struct keeper *k, uint64_t bytes)
{
	k->fds[KEEPER_FD_AREA] = memfd_create("hvguest-session", MFD_CLOEXEC);
	if (k->fds[KEEPER_FD_AREA] < 0 || ftruncate(k->fds[KEEPER_FD_AREA], bytes) < 0)
		return negative_errno();
	return 0;
}

/* The memory of a dead keeper, or new memory. */
static int open_memory(struct keeper *k, int take_fds[KEEPER_N_FDS], uint64_t area_bytes)
{
	struct pages_memory memory;
	int r;

	if (take_fds[KEEPER_FD_LEDGER] >= 0) {
		for (int i = 0; i < KEEPER_FD_HOST; i++)
			k->fds[i] = steal_fd(take_fds[i]);
	} else {
		r = pages_memory_new(&k->config, &memory);
		if (r)
			return r;
		k->fds[KEEPER_FD_LEDGER] = memory.ledger_fd;
		k->fds[KEEPER_FD_HUGE] = memory.memfds[PAGES_HUGE];
		k->fds[KEEPER_FD_SMALL] = memory.memfds[PAGES_SMALL];
		r = create_area(k, area_bytes);
		if (r)
			return r;
	}
	memory = (struct pages_memory){
		.ledger_fd = k->fds[KEEPER_FD_LEDGER],
		.memfds = {[PAGES_HUGE] = k->fds[KEEPER_FD_HUGE],
			   [PAGES_SMALL] = k->fds[KEEPER_FD_SMALL]},
	};
	return pages_new(&k->config, &memory, &k->pages);
}

static int on_hello(struct keeper *k, int take_fds[KEEPER_N_FDS], struct keeper_message *answer)
{
	const struct keeper_message *m = &k->in.message;
	int r = 0;

	if (m->value != KEEPER_VERSION)
		return -EPROTO;
	set_config(k, m->flags);
	if (!k->pages) {
		read_record(k, m->fds & KEEPER_FD_BIT(KEEPER_FD_LEDGER), answer);
		r = open_memory(k, take_fds, m->pages_seen);
	} else {
		pages_set_config(k->pages, &k->config);
	}
	if (r == 0)
		answer->fds = fds_there(k->fds);
	return r;
}

/* Keeps the descriptors of a channel, with numbers that are higher than all others. */
static int on_park(struct keeper *k, int take_fds[KEEPER_N_FDS])
{
	for (int i = KEEPER_FD_HOST; i < KEEPER_N_FDS; i++) {
		int fd = take_fds[i] < 0 ? -1 : fcntl(take_fds[i], F_DUPFD_CLOEXEC, CHANNEL_FD_MIN);

		if (take_fds[i] >= 0 && fd < 0)
			return negative_errno();
		if (fd >= 0) {
			(void)close_fd(k->fds[i]);
			k->fds[i] = fd;
		}
	}
	return 0;
}

static int on_take(struct keeper *k, struct keeper_packet *out)
{
	enum pages_source source;
	size_t n;
	int r;

	if (k->in.message.value == 0)
		return -EINVAL;
	r = pages_take(k->pages, k->in.message.value, out->ranges, KEEPER_RANGES_MAX, &n, &source);
	if (r)
		return r;
	out->message.n_ranges = n;
	out->message.source = source;
	return 0;
}

static int on_verify(struct keeper *k, struct keeper_message *answer)
{
	bool more = false;
	int r;

	answer->value = k->in.message.value;
	r = pages_verify(k->pages, &answer->value, &answer->pages_seen, &answer->pages_moved, &more);
	answer->flags = more ? KEEPER_MORE : 0;
	return r;
}

static int perform(struct keeper *k, int take_fds[KEEPER_N_FDS])
{
	const struct keeper_message *m = &k->in.message;
	struct keeper_packet *out = &k->out;

	if (!k->pages && m->type != KEEPER_HELLO && m->type != KEEPER_RELEASE)
		return -EPROTO;
	switch ((enum keeper_message_type)m->type) {
	case KEEPER_RELEASE:
		release(k);
		return 0;
	case KEEPER_HELLO:
		return on_hello(k, take_fds, &out->message);
	case KEEPER_TAKE:
		return on_take(k, out);
	case KEEPER_RETURN:
		return pages_return(k->pages, k->in.ranges, m->n_ranges, &out->message.value);
	case KEEPER_LIST:
		out->message.value = m->value;
		out->message.n_ranges = pages_list(k->pages, &out->message.value, out->ranges,
						   KEEPER_RANGES_MAX);
		return 0;
	case KEEPER_VERIFY:
		return on_verify(k, &out->message);
	case KEEPER_PARK:
		return on_park(k, take_fds);
	case KEEPER_DROP:
		close_fds(k->fds, KEEPER_CHANNEL_FDS);
		return 0;
	case KEEPER_N_MESSAGES:
		break;
	}
	return -EPROTO;
}

/* Without anything to keep there is no need for a keeper. */
static void end_if_needless(struct keeper *k)
{
	if (held_pages(k) == 0 && !(fds_there(k->fds) & KEEPER_CHANNEL_FDS))
		release(k);
}

static void on_client_gone(struct keeper *k)
{
	k->client_fd = close_fd(k->client_fd);
	end_if_needless(k);
}

/* A lab host ended while there was no daemon: its channel is nothing to keep. */
static void on_host_gone(struct keeper *k)
{
	close_fds(k->fds, KEEPER_CHANNEL_FDS);
	end_if_needless(k);
}

static void on_request(struct keeper *k)
{
	int fds[KEEPER_N_FDS];
	int r;

	r = keeper_io_receive(k->client_fd, &k->in, fds);
	if (r) {
		on_client_gone(k);
		return;
	}
	k->out.message = (struct keeper_message){.type = k->in.message.type};
	k->out.message.error = perform(k, fds);
	close_fds(fds, UINT32_MAX);
	if (k->pages)
		pages_get_stats(k->pages, &k->out.message.stats);
	k->record->held_pages = held_pages(k);
	if (keeper_io_send(k->client_fd, &k->out, k->fds) && !k->ending)
		on_client_gone(k);
}

/* Only our own user, and root, may ask. */
static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void on_connection(struct keeper *k)
{
	_cleanup_close_ int fd = accept4(k->listener.fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0 && may_ask(fd))
		k->client_fd = steal_fd(fd);
}

/*
 * SIGTERM. While there is a daemon it has the channel open, too, so the memory must stay what it is;
 * the daemon gets a signal of its own and ends the session.
 */
static void on_signal(struct keeper *k)
{
	struct signalfd_siginfo info;

	if (read(k->signal_fd, &info, sizeof(info)) == sizeof(info) && k->client_fd < 0)
		release(k);
}

static void serve(struct keeper *k)
{
	while (!k->ending) {
		/* One daemon at a time: the next one waits in the queue of the listener. */
		struct pollfd polls[] = {
			{.fd = k->signal_fd, .events = POLLIN},
			{.fd = k->client_fd, .events = POLLIN},
			{.fd = k->client_fd < 0 ? k->listener.fd : -1, .events = POLLIN},
			{.fd = k->client_fd < 0 ? k->fds[KEEPER_FD_HOST] : -1}, /* its end only */
		};

		if (poll(polls, sizeof(polls) / sizeof(polls[0]), -1) < 0)
			continue;
		/* The daemon first: a signal means something only when there is none. */
		if (polls[1].revents)
			on_request(k);
		else if (polls[2].revents)
			on_connection(k);
		else if (polls[0].revents)
			on_signal(k);
		else if (polls[3].revents)
			on_host_gone(k);
	}
}

static int read_boot_id(char *ret_boot_id)
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret_boot_id, KEEPER_BOOT_ID_SIZE - 1);

	if (n < 0)
		return negative_errno();
	ret_boot_id[n] = '\0';
	ret_boot_id[strcspn(ret_boot_id, "\n")] = '\0';
	return 0;
}

static void pause_a_little(void)
{
	const struct timespec pause = {.tv_nsec = WAIT_NS};

	(void)nanosleep(&pause, NULL);
}

/* The record's lock is held as long as we live, so there is one keeper for a run directory. */
static int open_record(struct keeper *k, const char *run_dir)
{
	char path[256];
	void *map;
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", run_dir, KEEPER_RECORD_NAME) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	k->record_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (k->record_fd < 0)
		return negative_errno();
	for (int i = 0; flock(k->record_fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK || i == WAIT_TRIES)
			return negative_errno();
		pause_a_little();
	}
	r = posix_fallocate(k->record_fd, 0, sizeof(*k->record));
	if (r)
		return -r;
	map = mmap(NULL, sizeof(*k->record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		   k->record_fd, 0);
	if (map == MAP_FAILED)
		return negative_errno();
	k->record = map;
	return 0;
}

/* Best effort: without the right to it we are as likely to be killed as others. */
static void avoid_oom_killer(void)
{
	_cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, "-1000", 5);
}

static int open_signals(struct keeper *k)
{
	sigset_t all, deadly;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)sigemptyset(&deadly);
	(void)sigaddset(&deadly, SIGTERM);
	k->signal_fd = signalfd(-1, &deadly, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signal_fd < 0 ? negative_errno() : 0;
}

static int listen_for_daemons(struct keeper *k, const char *run_dir)
{
	char path[256];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", run_dir, KEEPER_SOCKET_NAME) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (int i = 0; i < WAIT_TRIES; i++) {
		r = unixsock_listen(&k->listener, path, SOCK_SEQPACKET, 0600);
		if (r != UNIXSOCK_IN_USE)
			return r;
		pause_a_little();
	}
	return -EADDRINUSE;
}

/* What taking, pinning and handing over memory takes, and how the C library allocates. */
static const struct confine_call calls[] = {
#ifdef SYS_poll
	CONFINE_CALL(poll),
#endif
	CONFINE_CALL(ppoll),
	CONFINE_CALL(accept4),
	CONFINE_CALL(getsockopt),
	CONFINE_CALL(geteuid),
	CONFINE_CALL(sendmsg),
	CONFINE_CALL(recvmsg),
	CONFINE_CALL(read),
	CONFINE_CALL(write),
	CONFINE_CALL(pread64), /* frame numbers */
	CONFINE_CALL(openat),  /* those, and how many huge pages there may be */
	CONFINE_CALL(close),
	CONFINE_CALL(fcntl),
	CONFINE_CALL(memfd_create),
	CONFINE_CALL(ftruncate),
	CONFINE_CALL(fallocate),
	CONFINE_CALL(fstat),
	CONFINE_CALL(newfstatat),
	CONFINE_CALL(lseek),
	CONFINE_CALL(mmap),
	CONFINE_CALL(mremap),
	CONFINE_CALL(mprotect),
	CONFINE_CALL(munmap),
	CONFINE_CALL(madvise),
	CONFINE_CALL(mlock),
	CONFINE_CALL(brk),
	CONFINE_CALL(getrandom),
	CONFINE_CALL(futex),
	CONFINE_CALL(io_uring_setup),
	CONFINE_CALL(io_uring_register),
	CONFINE_CALL(clock_gettime),
	CONFINE_CALL(clock_nanosleep),
#ifdef SYS_unlink
	CONFINE_CALL(unlink), /* our socket, at the end */
#endif
	CONFINE_CALL(unlinkat),
	CONFINE_CALL(sysinfo), /* qsort() */
	/* The thread that takes half of a large slice (chunk.c). */
	CONFINE_CALL(clone3),
	CONFINE_CALL(clone),
	CONFINE_CALL(set_robust_list),
	CONFINE_CALL(rseq),
	CONFINE_CALL(exit),
	CONFINE_CALL(restart_syscall),
	CONFINE_CALL(rt_sigaction),
	CONFINE_CALL(rt_sigreturn),
	CONFINE_CALL(rt_sigprocmask),
	CONFINE_CALL(exit_group),
	/* abort() */
	CONFINE_CALL(getpid),
	CONFINE_CALL(gettid),
	CONFINE_CALL(tgkill),
};

/* To see frame numbers, and to pin. */
static int give_up_rights(void)
{
	static const unsigned keep[] = {CAP_SYS_ADMIN, CAP_IPC_LOCK};
	int r = confine_capabilities(keep, sizeof(keep) / sizeof(keep[0]), true);

#ifndef KEEPER_UNCONFINED
	/* Where there can be no filter, it goes without. */
	r = r ? r : confine_calls(calls, sizeof(calls) / sizeof(calls[0]));
#else
	(void)calls;
#endif
	return r > 0 ? 0 : r;
}

static int prepare(struct keeper *k, const char *run_dir)
{
	const struct rlimit no_core = {0, 0};
	int r;

	if (close_range(KEEPER_SOCKET_FD + 1, ~0u, 0) < 0)
		return negative_errno();
	(void)fcntl(KEEPER_SOCKET_FD, F_SETFD, FD_CLOEXEC);
	(void)setsid();
	(void)prctl(PR_SET_NAME, "hvguest-keeper", 0, 0, 0);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	avoid_oom_killer();
	/* What is here now; not what comes later, which is the memory itself. */
	(void)mlockall(MCL_CURRENT);

	r = open_signals(k);
	if (r)
		return r;
	r = read_boot_id(k->boot_id);
	if (r)
		return r;
	r = open_record(k, run_dir);
	r = r ? r : listen_for_daemons(k, run_dir);

	/* --- Rights end here. */
	return r ? r : give_up_rights();
}

int main(int argc, char **argv)
{
	static struct keeper k = {.client_fd = KEEPER_SOCKET_FD, .signal_fd = -1, .record_fd = -1};
	int r;

	for (int i = 0; i < KEEPER_N_FDS; i++)
		k.fds[i] = -1;
	unixsock_init(&k.listener);
	r = argc == 2 ? prepare(&k, argv[1]) : -EINVAL;
	if (r == 0)
		serve(&k);
	unixsock_fini(&k.listener);
	return r == 0 ? 0 : 1;
}
