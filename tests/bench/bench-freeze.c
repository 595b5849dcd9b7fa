/* SPDX-License-Identifier: MIT */

/*
 * How long a freeze stalls those who write: hvguestd beside hv_vss_daemon, qemu-ga and fsfreeze.
 *
 *     bench-freeze ROOT DEVICE TYPE [DEVICE TYPE...]
 *
 * For tests/bench/freeze.sh, which has made the devices and in ROOT a tmpfs with the programs. This
 * process makes ROOT its root and leaves no other file system in its mount namespace, because some
 * of the peers freeze everything they see. On the first device lies a file inner.img, for the nested
 * case: the ninth file system is then on a loop device on a file on the first.
 *
 *   freeze_stall_N_STATE  the longest write of any writer (writers.h) between the request to freeze
 *                         and the end of the thaw, the writing back before the freeze included
 *   freeze_buffered_N_STATE  the same of the writers without fsync
 *   freeze_all_N_STATE    from the request to the answer that everything is frozen
 *   freeze_thaw_N_STATE   from the request to thaw to its answer
 *   freeze_stall_growth_8_to_64_ratio   the stall of 64 idle ones beside eight times that of 8, both
 *                         in the same round: below 1 it grows less than the number of file systems
 *   thaw_after_kill_ms    from SIGKILL for hvguestd until the last blocked write has ended
 *
 * Nobody is a peer that freezes nothing and takes 20 ms for it: how long writes take by themselves.
 * Syncfs freezes nothing either, but writes everything back, on all file systems at once: who freezes
 * cannot be faster. In NAME_no_expedite hvguestd may not set rcu_expedited. N file systems, ext4, xfs
 * and btrfs in turn; STATE is idle, or dirty256: 256 MiB written to new files just before, and not
 * synced. In a round each peer has its turn, on the same file systems.
 *
 * A second process watches: if a round takes too long, or this process dies, it thaws everything.
 */

#include "base/clock.h"
#include "base/cleanup.h"
#include "tests/bench/bench.h"
#include "tests/bench/peers.h"
#include "tests/bench/writers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum {
	MOUNTS_MAX = 65,
	ROUND_LIMIT_MS = 90000,
	NESTED = 9,
	KILLS = 7,
	FEW = 8, /* growth is from these to those */
	MOST = 64,
	GROWTH_ROUNDS = 15,
};

static const struct peer_ops *const peers[] = {
	&peer_hvguest,
	&peer_hvguest_plain,
	&peer_hv_vss,
	&peer_qemu_ga,
	&peer_fsfreeze,
	&peer_syncfs,
	&peer_nobody,
};

enum {
	PLAIN = 1,
	HV_VSS = 2,
	PEERS = sizeof(peers) / sizeof(peers[0]),
};

enum measure {
	STALL,
	BUFFERED,
	ALL,
	THAW,
	MEASURES,
};

static const char *const measure_names[] = {
	[STALL] = "freeze_stall",
	[BUFFERED] = "freeze_buffered",
	[ALL] = "freeze_all",
	[THAW] = "freeze_thaw",
};

static char **devices; /* DEVICE TYPE... */
static char folders[MOUNTS_MAX][32];
static const char *folder_list[MOUNTS_MAX];
static size_t n_mounted;
static int progress_fd;

/* The file systems. */

static void enter_root(const char *root)
{
	if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		bench_die("pivot_root", errno);
}

static void mount_next(const char *device, const char *type)
{
	char *folder = folders[n_mounted];

	snprintf(folder, sizeof(folders[0]), PEERS_MOUNTS "/%zu", n_mounted);
	if (mkdir(folder, 0700) < 0 ||
	    mount(device, folder, type, 0, strcmp(type, "ext4") ? NULL : "noinit_itable") < 0)
		bench_die(device, errno);
	folder_list[n_mounted] = folder;
	n_mounted++;
}

/* Of a file on a file system that is mounted here; the kernel lets go of it with the last mount. */
static void mount_inner(const char *file)
{
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int image = open(file, O_RDWR | O_CLOEXEC);
	struct loop_config config = {.fd = (uint32_t)image, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	_cleanup_close_ int loop = -1;
	char device[32];
	int number;

	number = ioctl(control, LOOP_CTL_GET_FREE);
	snprintf(device, sizeof(device), "/dev/loop%d", number);
	loop = open(device, O_RDWR | O_CLOEXEC);
	if (image < 0 || number < 0 || loop < 0 || ioctl(loop, LOOP_CONFIGURE, &config) < 0)
		bench_die(file, errno);
	mount_next(device, "ext4");
}

static void unmount_last(void)
{
	if (umount(folders[--n_mounted]) < 0)
		bench_die(folders[n_mounted], errno);
	(void)rmdir(folders[n_mounted]);
}

/* Has the first @n of the devices mounted. */
static void set_mounted(size_t n)
{
	while (n_mounted > n)
		unmount_last();
	while (n_mounted < n)
		mount_next(devices[2 * n_mounted], devices[2 * n_mounted + 1]);
}

/* The watchdog. */

static void thaw_all(void)
{
	for (size_t i = MOUNTS_MAX; i-- > 0;) {
		char folder[32];
		int fd;

		snprintf(folder, sizeof(folder), PEERS_MOUNTS "/%zu", i);
		fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		while (fd >= 0 && ioctl(fd, FITHAW, 0) == 0)
			;
		close_fd(fd);
	}
}

/*
 * A process that is killed while its writers hang in a frozen file system does not end, nor does its
 * pipe: so the end of its main thread counts, too, and what an interrupt is to everybody else.
 */
static _Noreturn void watch(int fd, pid_t watched)
{
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	int pid_fd = pidfd_open(watched, 0);
	sigset_t ends;
	char byte;
	int r;

	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGHUP);
	(void)sigaddset(&ends, SIGINT);
	(void)sigaddset(&ends, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &ends, NULL);
	p[1].fd = signalfd(-1, &ends, SFD_CLOEXEC);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	do
		r = poll(p, 2, ROUND_LIMIT_MS);
	while (r > 0 && !p[1].revents && read(fd, &byte, 1) == 1);
	if (r == 0)
		fputs("bench-freeze: a round takes too long: thawing everything\n", stderr);
	/* Twice: what hung in FIFREEZE may be frozen by the time it is let go. */
	for (int i = 0; i < 2; i++) {
		(void)pidfd_send_signal(pid_fd, SIGKILL, NULL, 0);
		thaw_all();
		usleep(300000);
	}
	_exit(0);
}

static void start_watchdog(void)
{
	pid_t pid, self = getpid();
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		bench_die("pipe", errno);
	pid = fork();
	if (pid < 0)
		bench_die("fork", errno);
	if (pid == 0) {
		(void)close(fds[1]);
		watch(fds[0], self);
	}
	(void)close(fds[0]);
	progress_fd = fds[1];
}

static void tell_progress(void)
{
	if (write(progress_fd, "", 1) != 1)
		bench_die("the watchdog is gone", errno);
}

/* Dirty data. */

static void make_dirty(uint64_t bytes)
{
	static char block[1 << 20];

	memset(block, 'd', sizeof(block));
	for (size_t i = 0; i < n_mounted; i++) {
		uint64_t left = bytes / n_mounted;
		_cleanup_close_ int fd = -1;
		char path[64];

		snprintf(path, sizeof(path), "%s/dirty", folders[i]);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		while (fd >= 0 && left > 0) {
			size_t size = left < sizeof(block) ? left : sizeof(block);

			if (write(fd, block, size) != (ssize_t)size)
				bench_die(path, errno);
			left -= size;
		}
	}
}

static void clean_up(void)
{
	for (size_t i = 0; i < n_mounted; i++) {
		_cleanup_close_ int fd = open(folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		(void)unlinkat(fd, "dirty", 0);
		(void)syncfs(fd);
	}
}

/* One configuration: so many file systems, in this state. */

struct config {
	const char *label; /* of the number of file systems */
	bool nested;
	uint64_t dirty_bytes;
	struct writers *writers;
	struct bench_series results[PEERS][MEASURES];
	bool absent[PEERS];
};

static double ms_between(uint64_t begin_ns, uint64_t end_ns)
{
	return (double)(end_ns - begin_ns) / 1e6;
}

static void freeze_once(struct config *c, size_t peer)
{
	uint64_t asked_ns, frozen_ns, thaw_ns, thawed_ns;
	bool ok;

	if (c->dirty_bytes > 0)
		make_dirty(c->dirty_bytes);
	writers_reset(c->writers);
	asked_ns = clock_monotonic_ns();
	ok = peers[peer]->freeze(n_mounted);
	frozen_ns = thaw_ns = clock_monotonic_ns();
	ok &= peers[peer]->thaw(n_mounted);
	thawed_ns = clock_monotonic_ns();
	usleep(50000);
	if (!ok)
		bench_die(peers[peer]->name, EIO);
	bench_add(&c->results[peer][STALL], (double)writers_longest_ns(c->writers) / 1e6);
	bench_add(&c->results[peer][BUFFERED],
		  (double)writers_longest_buffered_ns(c->writers) / 1e6);
	bench_add(&c->results[peer][ALL], ms_between(asked_ns, frozen_ns));
	bench_add(&c->results[peer][THAW], ms_between(thaw_ns, thawed_ns));
	if (c->dirty_bytes > 0)
		clean_up();
	tell_progress();
	usleep(50000);
}

/* Freezes nothing: no peer in a race, but a limit. */
static bool is_limit(const struct peer_ops *peer)
{
	return peer == &peer_syncfs || peer == &peer_nobody;
}

static void print_limits(const struct config *c, enum measure measure, const char *name)
{
	char line[160];

	for (size_t i = 1; i < PEERS; i++) {
		if (!is_limit(peers[i]) || measure == THAW)
			continue;
		if (peers[i] == &peer_nobody && measure == ALL)
			continue;
		snprintf(line, sizeof(line), "%s_%s", name, peers[i]->name);
		bench_print(line, &c->results[i][measure], "ms", BENCH_SMALLER);
		if (measure != ALL)
			continue;
		snprintf(line, sizeof(line), "%s_%s_vs_%s", name, peers[i]->name, peers[HV_VSS]->name);
		bench_print_ratio(line, &c->results[i][measure], &c->results[HV_VSS][measure],
				  BENCH_SMALLER);
	}
}

static void print_measure(const struct config *c, enum measure measure, const char *state)
{
	char name[80], vs[160];

	snprintf(name, sizeof(name), "%s_%s_%s", measure_names[measure], c->label, state);
	bench_print(name, &c->results[0][measure], "ms", BENCH_SMALLER);
	for (size_t i = 1; i < PEERS; i++) {
		if (is_limit(peers[i]))
			continue;
		snprintf(vs, sizeof(vs), "%s_%s", name, peers[i]->name);
		bench_print(vs, &c->results[i][measure], "ms", BENCH_SMALLER);
		snprintf(vs, sizeof(vs), "%s_vs_%s", name, peers[i]->name);
		bench_print_ratio(vs, &c->results[0][measure], &c->results[i][measure],
				  BENCH_SMALLER);
		if (i == PLAIN || measure > BUFFERED)
			continue;
		snprintf(vs, sizeof(vs), "%s_no_expedite_vs_%s", name, peers[i]->name);
		bench_print_ratio(vs, &c->results[PLAIN][measure], &c->results[i][measure],
				  BENCH_SMALLER);
	}
	print_limits(c, measure, name);
}

static void measure_state(struct config *c, const char *state, uint64_t dirty_bytes)
{
	/* What takes little time is disturbed most. */
	bool is_short = n_mounted == 1 && dirty_bytes == 0;
	uint64_t rounds = bench_choose(n_mounted == 1 ? 21 : 7, is_short ? 7 : 3, 1);

	c->dirty_bytes = dirty_bytes;
	memset(c->results, 0, sizeof(c->results));
	/* Another one begins each round. */
	for (uint64_t round = 0; round < rounds; round++)
		for (size_t i = 0; i < PEERS; i++)
			if (!c->absent[(round + i) % PEERS])
				freeze_once(c, (round + i) % PEERS);
	for (int measure = 0; measure < MEASURES; measure++)
		print_measure(c, measure, state);
}

static void choose_peers(struct config *c)
{
	char name[80];

	for (size_t i = 0; i < PEERS; i++) {
		const char *reason = NULL;

		if (!peer_exists(peers[i]))
			reason = "not installed";
		else if (c->nested && peers[i]->skips_loops)
			reason = "it leaves a file system on a loop device out, or hangs if not";
		c->absent[i] = reason;
		snprintf(name, sizeof(name), "freeze_*_%s_*_vs_%s_ratio", c->label, peers[i]->name);
		if (reason)
			bench_skip(name, reason);
	}
}

/* Starts the peers of @c, and writers on what is mounted. */
static void begin(struct config *c)
{
	for (size_t i = 0; i < PEERS; i++)
		if (!c->absent[i])
			peers[i]->start();
	c->writers = writers_new(folder_list, n_mounted);
	usleep(300000);
}

static void finish(struct config *c)
{
	c->writers = writers_free(c->writers);
	for (size_t i = 0; i < PEERS; i++)
		if (!c->absent[i])
			peers[i]->stop();
	clean_up();
}

static void measure(const char *label, bool nested, bool dirty)
{
	static struct config c;

	c = (struct config){.label = label, .nested = nested};
	choose_peers(&c);
	begin(&c);
	measure_state(&c, "idle", 0);
	if (dirty)
		measure_state(&c, "dirty256", bench_choose(256, 256, 4) << 20);
	finish(&c);
}

/*
 * The stall of MOST beside that of FEW. What lies between two figures that are taken minutes apart is
 * the machine as well; so both are taken in each round, one right after the other.
 */
static void measure_growth(void)
{
	static struct config sizes[2];
	const size_t n_of[2] = {FEW, MOST};

	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < PEERS; i++)
			sizes[k].absent[i] = !peer_exists(peers[i]) || i == PLAIN ||
					     peers[i] == &peer_fsfreeze || is_limit(peers[i]);
	for (int round = 0; round < GROWTH_ROUNDS; round++)
		for (int k = 0; k < 2; k++) {
			set_mounted(n_of[k]);
			begin(&sizes[k]);
			for (size_t i = 0; i < PEERS; i++)
				if (!sizes[k].absent[i])
					freeze_once(&sizes[k], i);
			finish(&sizes[k]);
		}
	for (size_t i = 0; i < PEERS; i++) {
		struct bench_series expected = sizes[0].results[i][STALL];
		char name[80] = "freeze_stall_growth_8_to_64";

		for (size_t k = 0; k < expected.n; k++)
			expected.samples[k] *= (double)MOST / FEW;
		if (i > 0)
			snprintf(name, sizeof(name), "freeze_stall_growth_8_to_64_%s",
				 peers[i]->name);
		bench_print_ratio(name, &sizes[1].results[i][STALL], &expected, BENCH_SMALLER);
	}
}

static void measure_kill(void)
{
	struct bench_series thaw = {0};

	for (uint64_t i = bench_choose(KILLS, 3, 1); i > 0; i--) {
		struct writers *writers = writers_new(folder_list, n_mounted);
		uint64_t killed_ns;

		peer_hvguest.start();
		usleep(100000);
		if (!peer_hvguest.freeze(n_mounted))
			bench_die("hvguestd does not freeze", EIO);
		usleep(100000); /* every writer meets the freeze */
		writers_reset(writers);
		killed_ns = clock_monotonic_ns();
		peers_kill_hvguestd();
		usleep(500000);
		bench_add(&thaw, ms_between(killed_ns, writers_last_end_ns(writers, killed_ns)));
		writers = writers_free(writers);
		peer_hvguest.stop();
		tell_progress();
	}
	bench_print("thaw_after_kill_ms", &thaw, "ms", BENCH_SMALLER);
}

static void skip_config(const char *label, const char *state)
{
	char name[80];

	snprintf(name, sizeof(name), "freeze_*_%s_%s*", label, state);
	bench_skip(name, "only in a longer run");
}

int main(int argc, char **argv)
{
	static const struct {
		size_t n;
		const char *label;
		bool quick, dirty_when_quick;
	} configs[] = {
		{1, "1", true, true},
		{8, "8", true, false},
		{32, "32", true, false},
		{64, "64", false, false},
	};
	bool full = bench_mode() == BENCH_FULL;
	size_t n_devices = ((size_t)argc - 2) / 2;

	if (argc < 4) {
		fputs("usage: bench-freeze ROOT DEVICE TYPE [DEVICE TYPE...]\n", stderr);
		return 2;
	}
	devices = argv + 2;
	enter_root(argv[1]);
	start_watchdog();
	if (!full) {
		bench_skip("freeze_*_nested9_*", "only in a full run");
		bench_skip("freeze_stall_growth_*", "only in a full run");
	}
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		if (configs[i].n > n_devices || !(full || configs[i].quick)) {
			skip_config(configs[i].label, "");
			continue;
		}
		if (!(full || configs[i].dirty_when_quick))
			skip_config(configs[i].label, "dirty256");
		set_mounted(configs[i].n);
		measure(configs[i].label, false, full || configs[i].dirty_when_quick);
		if (configs[i].n == (n_devices < 8 ? 1 : 8))
			measure_kill();
		if (configs[i].n == NESTED - 1 && full) {
			mount_inner(PEERS_MOUNTS "/0/inner.img");
			measure("nested9", true, true);
			unmount_last();
		}
	}
	if (full && n_devices >= MOST)
		measure_growth();
	set_mounted(0);
	return 0;
}
