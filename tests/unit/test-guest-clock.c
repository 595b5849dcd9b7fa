/* SPDX-License-Identifier: MIT */

/*
 * services/guest_clock.c, chrony_sock.c and clock_keeper.c: real clocks, read; a register that is a
 * file; a socket; and folders of files that stand for machines. No clock is set.
 */

#include "services/chrony_sock.h"
#include "services/clock_keeper.h"
#include "services/guest_clock.h"
#include "tests/unit/tree.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#define MSR_OFFSET 0x40000020

static int64_t clock_ns(clockid_t id)
{
	struct timespec now;

	cr_assert(eq(int, clock_gettime(id, &now), 0));
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

Test(guest_clock, a_reading_lies_between_what_was_before_and_after, .init = tree_init, .fini = tree_fini)
{
	int64_t real = clock_ns(CLOCK_REALTIME), raw = clock_ns(CLOCK_MONOTONIC_RAW);
	struct timesync_reading reading;
	struct guest_clock clock;

	guest_clock_init(&clock, true, NULL);
	cr_expect(eq(int, (int)clock.counter, GUEST_COUNTER_SHARED));
	reading = guest_clock_read(&clock);
	cr_expect(reading.real_ns >= real && reading.real_ns <= clock_ns(CLOCK_REALTIME));
	cr_expect(reading.raw_ns >= (uint64_t)raw && reading.raw_ns <= (uint64_t)clock_ns(CLOCK_MONOTONIC_RAW));
	cr_expect(reading.has_reference);
	cr_expect(eq(u64, reading.reference, reading.raw_ns / 100));
	guest_clock_fini(&clock);
}

Test(guest_clock, the_counter_is_a_register_of_the_processor, .init = tree_init, .fini = tree_fini)
{
	const uint64_t value = UINT64_C(1234567890123456);
	struct timesync_reading reading;
	struct guest_clock clock;
	int fd;

	guest_clock_init(&clock, false, tree_path("msr"));
	cr_expect(eq(int, (int)clock.counter, GUEST_COUNTER_NONE));
	cr_expect(eq(int, guest_clock_read(&clock).has_reference, false));
	guest_clock_fini(&clock);

	fd = open(tree_path("msr"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	guest_clock_init(&clock, false, tree_path("msr"));
	cr_expect(eq(int, (int)clock.counter, GUEST_COUNTER_NONE), "no such register");
	guest_clock_fini(&clock);

	cr_assert(eq(int, (int)pwrite(fd, &value, sizeof(value), MSR_OFFSET), 8));
	guest_clock_init(&clock, false, tree_path("msr"));
	cr_expect(eq(int, (int)clock.counter, GUEST_COUNTER_MSR));
	reading = guest_clock_read(&clock);
	cr_expect(reading.has_reference);
	/* The register stands still, so what comes out is a little less: by what was read since. */
	cr_expect(reading.reference <= value && reading.reference > value - 10000000);
	guest_clock_fini(&clock);
	close(fd);
}

Test(guest_clock, a_clock_is_not_set_without_the_right_to)
{
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		cr_skip_test("cannot drop the right");
	cr_expect(eq(int, guest_clock_step(0), -EPERM));
}

/* As chronyd has it. */
struct datagram {
	struct timeval tv;
	double offset;
	int pulse, leap, pad, magic;
};

Test(chrony_sock, a_sample_arrives_as_chronyd_reads_it, .init = tree_init, .fini = tree_fini)
{
	const struct chrony_sample sample = {.real_ns = INT64_C(1800000000123456789),
					     .offset_ns = -INT64_C(7200500000000),
					     .leap = 2};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct datagram got;
	int from, to;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", tree_path("sock"));
	cr_assert(eq(int, chrony_sock_open(&from), 0));
	cr_expect(eq(int, chrony_sock_send(from, address.sun_path, &sample), CHRONY_SOCK_NOBODY));

	to = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, bind(to, (const struct sockaddr *)&address, sizeof(address)), 0));
	cr_expect(eq(int, chrony_sock_send(from, address.sun_path, &sample), 0));
	cr_assert(eq(int, (int)recv(to, &got, sizeof(got), 0), sizeof(got)));
	cr_expect(eq(int, got.magic, 0x534f434b));
	cr_expect(eq(i64, got.tv.tv_sec, 1800000000));
	cr_expect(eq(i64, got.tv.tv_usec, 123456));
	cr_expect(got.offset > -7200.5 && got.offset < -7200.499999, "%.9f", got.offset);
	cr_expect(eq(int, got.leap, 2));
	cr_expect(eq(int, got.pulse, 0));

	for (int i = 0, r = 0; i < 100000 && r == 0; i++) {
		r = chrony_sock_send(from, address.sun_path, &sample);
		cr_expect(r == 0 || r == CHRONY_SOCK_FULL);
		cr_expect(i < 99999);
	}
	close(to);
	cr_expect(eq(int, chrony_sock_send(from, address.sun_path, &sample), CHRONY_SOCK_NOBODY));
	close(from);
}

Test(chrony_sock, a_path_that_is_too_long_for_a_socket_is_refused)
{
	char path[200];
	int fd;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	cr_assert(eq(int, chrony_sock_open(&fd), 0));
	cr_expect(eq(int, chrony_sock_send(fd, path, &(struct chrony_sample){0}), -ENAMETOOLONG));
	close(fd);
}

Test(clock_keeper, programs_are_known_by_what_they_leave, .init = tree_init, .fini = tree_fini)
{
	static const struct {
		const char *file, *text, *comm, *name;
	} rows[] = {
		{"run/chrony/chronyd.pid", "77\n", "chronyd\n", "chronyd"},
		{"run/chrony/chronyd.pid", "77\n", "bash\n", NULL}, /* somebody else has its number */
		{"run/chrony/chronyd.pid", "../1\n", "chronyd\n", NULL},
		{"run/chrony/chronyd.pid", "\n", "chronyd\n", NULL},
		{"run/ntpd.pid", "77", "ntpd\n", "ntpd"},
		{"run/ntpd.sock", "", "x\n", "openntpd"},
		{"run/systemd/timesync/synchronized", "", "x\n", "systemd-timesyncd"},
		{"run/other", "", "x\n", NULL},
	};

	cr_expect(eq(ptr, (void *)(uintptr_t)clock_keeper_find(tree).name, NULL));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *name;

		tree_file(rows[i].file, rows[i].text);
		tree_file("proc/77/comm", rows[i].comm);
		name = clock_keeper_find(tree).name;
		expect_text(name ? name : "none", rows[i].name ? rows[i].name : "none");
		tree_remove(rows[i].file);
		tree_remove("run");
	}
}

Test(clock_keeper, chronyd_reads_the_hosts_clock_if_its_configuration_says_so, .init = tree_init,
     .fini = tree_fini)
{
	static const struct {
		const char *file, *text;
		bool reads;
	} rows[] = {
		{"etc/chrony/chrony.conf", "refclock PHC /dev/ptp_hyperv poll 3\n", true},
		{"etc/chrony/conf.d/azure.conf", "pool a\n  refclock\tphc /dev/ptp1 poll 3", true},
		{"etc/chrony.conf", "refclock PHC /dev/ptp1:nocrossts\n", true},
		{"etc/chrony.d/a.conf", "refclock PHC /dev/ptp_hyperv:extpps\n", true},
		{"etc/chrony.conf", "# refclock PHC /dev/ptp_hyperv\n", false},
		{"etc/chrony.conf", "refclock PHC /dev/ptp0\n", false},
		{"etc/chrony.conf", "refclock SOCK /dev/ptp_hyperv\n", false},
		{"etc/chrony.conf", "refclock PHC\nrefclock\n\n", false},
		{"etc/chrony/conf.d/azure.off", "refclock PHC /dev/ptp_hyperv\n", false},
	};

	tree_file("run/chrony/chronyd.pid", "77");
	tree_file("proc/77/comm", "chronyd\n");
	tree_file("sys/class/ptp/ptp0/clock_name", "e1000e\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tree_file(rows[i].file, rows[i].text);
		cr_expect(eq(int, clock_keeper_find(tree).reads_ptp, false), "row %zu: there is no such device", i);
		tree_file("sys/class/ptp/ptp1/clock_name", "hyperv\n");
		cr_expect(clock_keeper_find(tree).has_ptp);
		cr_expect(eq(int, clock_keeper_find(tree).reads_ptp, rows[i].reads), "row %zu", i);
		tree_file("proc/77/comm", "sleep\n");
		cr_expect(eq(int, clock_keeper_find(tree).reads_ptp, false), "row %zu: it does not run", i);
		tree_file("proc/77/comm", "chronyd\n");
		tree_remove("sys/class/ptp/ptp1");
		tree_remove("etc");
	}
}
