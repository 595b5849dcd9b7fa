/* SPDX-License-Identifier: MIT */

/*
 * This machine's clocks.
 *
 * A reading is worth as much as its parts belong together, so the wall clock is read between two
 * readings of the raw clock, and the quickest of some tries is taken: a try that was interrupted
 * shows by its length. The reference counter is read a moment later (reading the register takes a
 * trap into the hypervisor) and put back to the moment of the wall clock by the raw clock.
 *
 * The register is HV_X64_MSR_TIME_REF_COUNT, 100 ns since the VM was created (Linux
 * arch/x86/include/asm/hyperv-tlfs.h); the msr driver reads the register whose number is the offset.
 */

#include "services/guest_clock.h"

#include <fcntl.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

enum {
	TRIES = 5,
	TIME_REF_COUNT = 0x40000020,
};

#define NS_PER_SECOND INT64_C(1000000000)

void guest_clock_init(struct guest_clock *c, bool is_lab, const char *msr)
{
	uint64_t value;

	*c = (struct guest_clock){.counter = GUEST_COUNTER_SHARED, .msr_fd = -1};
	if (is_lab)
		return;
	c->counter = GUEST_COUNTER_NONE;
	c->msr_fd = open(msr, O_RDONLY | O_CLOEXEC);
	if (c->msr_fd < 0)
		return;
	/* On another hypervisor there may be a driver, and no such register. */
	if (pread(c->msr_fd, &value, sizeof(value), TIME_REF_COUNT) == sizeof(value) && value > 0)
		c->counter = GUEST_COUNTER_MSR;
	else
		guest_clock_fini(c);
}

void guest_clock_fini(struct guest_clock *c)
{
	if (c->msr_fd >= 0)
		(void)close(c->msr_fd);
	c->msr_fd = -1;
}

static int64_t read_clock(clockid_t id)
{
	struct timespec now = {0};

	(void)clock_gettime(id, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* The counter as it was when the raw clock was @raw_ns. */
static bool read_counter(const struct guest_clock *c, uint64_t raw_ns, uint64_t *ret_counter)
{
	uint64_t value, before, after;

	if (c->counter == GUEST_COUNTER_SHARED) {
		*ret_counter = raw_ns / 100;
		return true;
	}
	if (c->msr_fd < 0)
		return false;
	before = (uint64_t)read_clock(CLOCK_MONOTONIC_RAW);
	if (pread(c->msr_fd, &value, sizeof(value), TIME_REF_COUNT) != sizeof(value))
		return false;
	after = (uint64_t)read_clock(CLOCK_MONOTONIC_RAW);
	*ret_counter = value - (before + (after - before) / 2 - raw_ns) / 100;
	return true;
}

/* Whether somebody keeps the clock, as the kernel was told by it. */
static bool is_kept(void)
{
	struct timex state = {.modes = 0};

	return adjtimex(&state) != -1 && !(state.status & STA_UNSYNC);
}

struct timesync_reading guest_clock_read(const struct guest_clock *c)
{
	struct timesync_reading reading = {.is_kept = is_kept()};
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = (uint64_t)read_clock(CLOCK_MONOTONIC_RAW);
		int64_t real_ns = read_clock(CLOCK_REALTIME);
		uint64_t took = (uint64_t)read_clock(CLOCK_MONOTONIC_RAW) - before;

		if (took < least) {
			least = took;
			reading.real_ns = real_ns;
			reading.raw_ns = before + took / 2;
		}
	}
	reading.has_reference = read_counter(c, reading.raw_ns, &reading.reference);
	return reading;
}

int guest_clock_step(int64_t offset_ns)
{
	struct timex change = {.modes = ADJ_SETOFFSET | ADJ_NANO};

	/* The part below a second is never negative, as in a struct timeval. */
	change.time.tv_sec = offset_ns / NS_PER_SECOND;
	change.time.tv_usec = offset_ns % NS_PER_SECOND;
	if (change.time.tv_usec < 0) {
		change.time.tv_sec--;
		change.time.tv_usec += NS_PER_SECOND;
	}
	return adjtimex(&change) == -1 ? negative_errno() : 0;
}

const char *guest_counter_name(enum guest_counter counter)
{
	switch (counter) {
	case GUEST_COUNTER_NONE:
		return "none";
	case GUEST_COUNTER_MSR:
		return "msr";
	case GUEST_COUNTER_SHARED:
		return "shared";
	}
	return "invalid";
}
