/* SPDX-License-Identifier: MIT */

/*
 * daemon/kept.c with a real keeper: a daemon that dies is one that lets go of it without a word.
 */

#include "daemon/kept.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	RING_SIZE = 8192,
};

static char run_dir[] = "/dev/shm/hvguest-kept-XXXXXX";
static struct keeper_client *client;
static struct kept *kept;
static struct event_base *base; /* with a worker, in some of the cases */
static struct jobs *jobs;

static void be_a_daemon(void)
{
	const char *build = getenv("builddir");
	struct keeper_client_report report;
	char helper[512];
	const struct keeper_client_config config = {
		.helper = helper,
		.run_dir = run_dir,
		.allowed = {[PAGES_SMALL] = true},
		.area_bytes = 2 * KEPT_AREA_BYTES,
	};
	int r;

	snprintf(helper, sizeof(helper), "%s/balloon/hvguest-keeper", build ? build : ".");
	r = keeper_client_new(&config, &report, &client);
	if (r == -EPERM || r == -EACCES)
		cr_skip_test("needs CAP_SYS_ADMIN to read page frame numbers");
	cr_assert(eq(int, r, 0));
	cr_assert(eq(int, kept_new(client, report.found, &kept), 0));
}

static void die(void)
{
	jobs = jobs_free(jobs);
	kept = kept_free(kept);
	client = keeper_client_free(client);
}

static void set_up(void)
{
	cr_assert(ne(ptr, mkdtemp(run_dir), NULL));
	be_a_daemon();
}

static void tear_down(void)
{
	char path[256];

	if (client)
		keeper_client_release(client);
	die();
	if (base)
		event_base_free(base);
	snprintf(path, sizeof(path), "%s/%s", run_dir, KEEPER_RECORD_NAME);
	(void)unlink(path);
	(void)rmdir(run_dir);
}

TestSuite(kept, .init = set_up, .fini = tear_down, .timeout = 60);

/* A channel as a lab host hands it over, and the host's end of it. */
static struct vmbus_port make_channel(struct vmbus_port *ret_host)
{
	struct vmbus_port guest;
	int fds[3];

	cr_assert(eq(int, vmbus_port_create(RING_SIZE, ret_host, fds), 0));
	cr_assert(eq(int, vmbus_port_adopt(RING_SIZE, fds, &guest), 0));
	return guest;
}

static void keep_all(struct vmbus_port *ret_host, int *ret_socket)
{
	const struct kept_slot slots[] = {{.channel_id = 7, .state = 3}, {.channel_id = 9}};
	struct vmbus_port guest = make_channel(ret_host);
	int ends[2];

	cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
	kept_unsettle(kept);
	kept_set_host(kept, "lab one", ends[1]);
	kept_set_channel(kept, KEPT_LAB, "lab one", &guest);
	kept_settle(kept, slots, 2);
	close(ends[1]);
	vmbus_port_fini(&guest);
	*ret_socket = ends[0];
}

Test(kept, a_successor_has_the_connection_its_channels_and_the_port)
{
	struct kept_slot slots[KEPT_SLOTS_MAX];
	struct vmbus_port host, guest;
	struct vmbus_message message;
	char buf[64], byte;
	int read_fd, fd;

	cr_expect(not(kept_has(kept, KEPT_LAB, "lab one")));
	keep_all(&host, &read_fd);
	cr_assert(eq(int, vmbus_channel_send(&host.channel, 5, "hello", 6), 0));
	die();
	be_a_daemon();
	cr_expect(not(kept_has(kept, KEPT_LAB, "lab two")));
	cr_expect(not(kept_has(kept, KEPT_UIO, "lab one")));
	cr_assert(kept_has(kept, KEPT_LAB, "lab one"));
	cr_assert(eq(sz, kept_slots(kept, slots), 2));
	cr_expect(eq(u32, slots[0].channel_id, 7));
	cr_expect(eq(u32, slots[0].state, 3));
	cr_assert(eq(int, kept_take_host(kept, &fd), 0));
	cr_expect(eq(i64, write(fd, "x", 1), 1));
	cr_expect(eq(i64, read(read_fd, &byte, 1), 1));
	cr_assert(eq(int, kept_take_port(kept, &guest), 0));
	cr_assert(eq(int, vmbus_channel_resume(&guest.channel, 0), 0));
	cr_assert(eq(int, vmbus_channel_receive(&guest.channel, buf, sizeof(buf), &message), 0));
	cr_expect(eq(str, buf, "hello"));
	kept_taken(kept);
	cr_expect(not(kept_has(kept, KEPT_LAB, "lab one")));
	vmbus_port_fini(&guest);
	vmbus_port_fini(&host);
	close(fd);
}

/* True if the other end of the pipe is closed, by everybody. */
static bool is_ended(int read_fd)
{
	char byte;

	return read(read_fd, &byte, 1) == 0;
}

static void have_a_worker(void)
{
	if (!base)
		base = event_base_new();
	cr_assert(ne(ptr, base, NULL));
	cr_assert(eq(int, jobs_new(base, &jobs), 0));
	kept_use_jobs(kept, jobs);
}

static void note(struct job *job)
{
	(void)job;
	(void)event_base_loopbreak(base);
}

static void do_nothing(struct worker_job *work)
{
	(void)work;
}

/* Everything that was submitted before is done. */
static void wait_for_worker(void)
{
	struct job last = {.work.run = do_nothing, .done = note};

	cr_assert(eq(int, jobs_submit(jobs, &last), 0));
	(void)event_base_dispatch(base);
}

/* A keeper that is at work, for as long as this test likes: whoever waits for it here never ends. */
Test(kept, a_keeper_that_is_busy_holds_up_nobody_and_keeps_what_it_gets_later)
{
	struct vmbus_port host, guest;
	int read_fd, fd;

	have_a_worker();
	cr_assert(eq(int, kill(keeper_client_pid(client), SIGSTOP), 0));
	keep_all(&host, &read_fd);
	cr_assert(eq(int, kill(keeper_client_pid(client), SIGCONT), 0));
	wait_for_worker();
	die();
	be_a_daemon();
	cr_assert(kept_has(kept, KEPT_LAB, "lab one"));
	cr_assert(eq(int, kept_take_host(kept, &fd), 0));
	cr_assert(eq(int, kept_take_port(kept, &guest), 0));
	vmbus_port_fini(&guest);
	vmbus_port_fini(&host);
	close(fd);
}

Test(kept, a_daemon_that_dies_before_its_keeper_has_the_channel_leaves_none)
{
	struct vmbus_port host;
	int read_fd;

	have_a_worker();
	cr_assert(eq(int, kill(keeper_client_pid(client), SIGSTOP), 0));
	keep_all(&host, &read_fd);
	cr_assert(eq(int, kill(keeper_client_pid(client), SIGCONT), 0));
	die(); /* nobody has heard that it is kept */
	be_a_daemon();
	cr_expect(not(kept_has(kept, KEPT_LAB, "lab one")));
	cr_expect(is_ended(read_fd), "it is closed for the host, too");
	vmbus_port_fini(&host);
}

Test(kept, a_channel_that_is_forgotten_on_its_way_to_the_keeper_is_not_handed_on)
{
	struct vmbus_port host, guest;
	int read_fd;

	have_a_worker();
	cr_assert(eq(int, kill(keeper_client_pid(client), SIGSTOP), 0));
	keep_all(&host, &read_fd);
	kept_forget_channel(kept, false);
	cr_assert(eq(int, kill(keeper_client_pid(client), SIGCONT), 0));
	wait_for_worker();
	die();
	be_a_daemon();
	cr_assert(kept_has(kept, KEPT_LAB, "lab one"));
	cr_expect(eq(int, kept_take_port(kept, &guest), -ENOENT));
	vmbus_port_fini(&host);
}

Test(kept, a_daemon_that_dies_in_between_leaves_nothing_to_go_on_with)
{
	struct vmbus_port host;
	int read_fd;

	keep_all(&host, &read_fd);
	kept_unsettle(kept);
	die();
	be_a_daemon();
	cr_expect(not(kept_has(kept, KEPT_LAB, "lab one")));
	cr_expect(is_ended(read_fd), "it is closed for the host, too");
	vmbus_port_fini(&host);
}

Test(kept, what_nobody_takes_is_closed)
{
	struct vmbus_port host;
	int read_fd;

	keep_all(&host, &read_fd);
	die();
	be_a_daemon();
	kept_drop_untaken(kept);
	cr_expect(is_ended(read_fd));
	die();
	be_a_daemon();
	cr_expect(not(kept_has(kept, KEPT_LAB, "lab one")));
	vmbus_port_fini(&host);
}

Test(kept, a_channel_that_is_forgotten_is_not_handed_on)
{
	struct vmbus_port host, guest;
	int read_fd;

	keep_all(&host, &read_fd);
	kept_forget_channel(kept, false);
	die();
	be_a_daemon();
	cr_assert(kept_has(kept, KEPT_LAB, "lab one"));
	cr_expect(eq(int, kept_take_port(kept, &guest), -ENOENT));
	kept_forget_channel(kept, true);
	die();
	be_a_daemon();
	cr_expect(not(kept_has(kept, KEPT_LAB, "lab one")));
	vmbus_port_fini(&host);
}
