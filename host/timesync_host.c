/* SPDX-License-Identifier: MIT */

/*
 * Time synchronisation, host's end.
 *
 *               start               next_action             receive
 *     stopped ---------> due ----------------------> waiting --------> resting
 *                         ^  SYNC the first time,                         |
 *                         |  then SAMPLE                                  | period ends, or asked for
 *                         +-----------------------------------------------+
 *
 * The first message after each negotiation asks the guest to set its clock, for it was started or
 * restored; those after it, five seconds after the last answer, are samples (OpenVMM
 * vm/devices/hyperv_ic/src/timesync.rs). A guest that does not answer is not told anything more.
 *
 * The skew is for tests: a host that tells a wrong time, a time from a while ago, or a clock that runs
 * at another rate.
 */

#include "host/timesync_host.h"

#include "base/bytes.h"

#define PERIOD_NS     UINT64_C(5000000000)
#define NS_PER_SECOND INT64_C(1000000000)

void timesync_host_init(struct timesync_host *h)
{
	*h = (struct timesync_host){.period_ns = PERIOD_NS};
}

void timesync_host_start(struct timesync_host *h, uint64_t now_ns)
{
	h->running = true;
	h->waiting = false;
	h->due = true;
	h->next_flags = TIMESYNC_FLAG_SYNC;
	h->next_ns = now_ns;
}

void timesync_host_stop(struct timesync_host *h)
{
	h->running = false;
	h->waiting = false;
	h->due = false;
}

void timesync_host_send(struct timesync_host *h, uint8_t flags)
{
	h->next_flags = flags;
	h->due = h->running;
}

void timesync_host_skew(struct timesync_host *h, const struct timesync_skew *skew, uint64_t now_ns)
{
	h->skew = *skew;
	h->skewed_ns = now_ns;
}

void timesync_host_every(struct timesync_host *h, uint64_t period_ns, uint64_t now_ns)
{
	h->period_ns = period_ns;
	h->next_ns = now_ns + period_ns;
}

void timesync_host_receive(struct timesync_host *h, uint32_t status, uint64_t now_ns)
{
	if (!h->waiting) {
		h->unexpected++;
		return;
	}
	h->waiting = false;
	h->answered++;
	h->refused += status != 0;
	h->next_ns = now_ns + h->period_ns;
}

void timesync_host_tick(struct timesync_host *h, uint64_t now_ns)
{
	if (h->running && !h->waiting && !h->due && now_ns >= h->next_ns)
		timesync_host_send(h, TIMESYNC_FLAG_SAMPLE);
}

uint64_t timesync_host_deadline_ns(const struct timesync_host *h)
{
	return h->running && !h->waiting && !h->due ? h->next_ns : UINT64_MAX;
}

/* The time that is told, in 100 ns since 1601. */
static uint64_t told_time(const struct timesync_host *h, const struct timesync_host_clock *clock)
{
	int64_t since_ns = (int64_t)(clock->now_ns - h->skewed_ns);
	int64_t drift_ns = since_ns / NS_PER_SECOND * h->skew.drift_ppb +
			   since_ns % NS_PER_SECOND * h->skew.drift_ppb / NS_PER_SECOND;
	int64_t told_ns = clock->real_ns + h->skew.offset_ns + drift_ns - (int64_t)h->skew.age_ns;

	return TIMESYNC_EPOCH + (uint64_t)(told_ns / 100);
}

int timesync_host_next_action(struct timesync_host *h, uint16_t major,
			      const struct timesync_host_clock *clock,
			      struct timesync_host_action *ret_action)
{
	struct timesync_host_action action = {.size = major >= 4 ? TIMESYNC_REF_SIZE + 2 : TIMESYNC_MESSAGE_SIZE};
	struct bytes_writer out;

	if (!h->due || h->waiting)
		return TIMESYNC_HOST_IDLE;

	bytes_writer_init(&out, action.message, sizeof(action.message));
	bytes_put_u64(&out, told_time(h, clock));
	if (major >= 4) {
		bytes_put_u64(&out, clock->reference - h->skew.age_ns / 100);
	} else {
		bytes_put_u64(&out, 0);
		bytes_put_u64(&out, 0);
	}
	bytes_put_u8(&out, h->next_flags);
	bytes_put_u8(&out, major >= 4 ? h->skew.leap : 0);
	bytes_put_u8(&out, major >= 4 ? h->skew.stratum : 0);
	h->due = false;
	h->waiting = true;
	h->sent++;
	h->syncs += (h->next_flags & TIMESYNC_FLAG_SYNC) != 0;
	*ret_action = action;
	return 0;
}
