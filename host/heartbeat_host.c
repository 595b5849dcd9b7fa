/* SPDX-License-Identifier: MIT */

/*
 * The heartbeat, host's end.
 *
 *               start                next_action               receive
 *     stopped ---------> due ---------------------> waiting ---------------> resting
 *                         ^                            |                        |
 *                         |                            | period ends: missed    | period ends
 *                         |                            +---> waiting            |
 *                         +-----------------------------------------------------+
 *
 * One request is out at a time, because the integration services answer one before the next. A
 * guest that does not answer is not asked again; each period that passes counts as missed, and its
 * late answer, which is still a right one, ends the silence. The period is two seconds (Linux
 * drivers/hv/hv_util.c, comment on heartbeat_onchannelcallback()). It is counted from the start, so
 * a slow guest does not stretch it; periods that a paused host slept through are passed over.
 *
 * An answer is checked, not believed: it must have the number of the request plus one.
 */

#include "host/heartbeat_host.h"
#include "base/bytes.h"

#define PERIOD_NS UINT64_C(2000000000)

void heartbeat_host_init(struct heartbeat_host *h)
{
	*h = (struct heartbeat_host){.application = HEARTBEAT_APPLICATION_UNKNOWN,
				     .hold_left_ms = UINT32_MAX,
				     .stall_centipercent = HEARTBEAT_STALL_UNKNOWN};
}

void heartbeat_host_start(struct heartbeat_host *h, uint64_t now_ns)
{
	h->running = true;
	h->due = true;
	h->waiting = false;
	h->missed_in_a_row = 0;
	h->next_ns = now_ns + PERIOD_NS;
}

void heartbeat_host_stop(struct heartbeat_host *h)
{
	h->running = false;
	h->due = false;
	h->waiting = false;
}

static enum heartbeat_application decode_application(uint32_t value)
{
	return value <= HEARTBEAT_APPLICATION_STOPPED ? (enum heartbeat_application)value
						      : HEARTBEAT_APPLICATION_UNKNOWN;
}

/*
 * What a guest of ours says of a backup and of memory; others send back the zeros that they were sent.
 */
static void decode_own(struct heartbeat_host *h, struct bytes_reader *in)
{
	bool known = bytes_get_u32(in) == HEARTBEAT_MAGIC;
	uint32_t hold = bytes_get_u32(in), left_ms = bytes_get_u32(in), stall;

	h->hold = HEARTBEAT_HOLD_NONE;
	h->hold_left_ms = UINT32_MAX;
	h->stall_centipercent = HEARTBEAT_STALL_UNKNOWN;
	if (!known || !bytes_reader_ok(in) || hold > HEARTBEAT_HOLD_THAWING)
		return;
	h->hold = (enum heartbeat_hold)hold;
	if (hold != HEARTBEAT_HOLD_NONE)
		h->hold_left_ms = left_ms;
	stall = bytes_get_u32(in);
	if (bytes_reader_ok(in) && stall > 0 && stall <= HEARTBEAT_STALL_MAX + 1)
		h->stall_centipercent = stall - 1;
}

static void accept_answer(struct heartbeat_host *h, enum heartbeat_application application,
			  uint64_t now_ns)
{
	h->application = application;
	h->answered++;
	h->missed_in_a_row = 0;
	h->last_answer_ns = now_ns;
	h->answer_time_ns = now_ns - h->asked_ns;
}

int heartbeat_host_receive(struct heartbeat_host *h, const void *message, size_t len,
			   uint64_t now_ns)
{
	enum heartbeat_application application = HEARTBEAT_APPLICATION_UNKNOWN;
	struct bytes_reader in;
	uint64_t number;

	if (!h->waiting) {
		h->unexpected++;
		return HEARTBEAT_HOST_UNEXPECTED;
	}
	h->waiting = false;

	bytes_reader_init(&in, message, len);
	number = bytes_get_u64(&in);
	if (!bytes_reader_ok(&in)) {
		h->malformed++;
		return HEARTBEAT_HOST_MALFORMED;
	}
	if (number != h->number + 1) {
		h->wrong++;
		return HEARTBEAT_HOST_WRONG;
	}
	if (len >= HEARTBEAT_STATE_SIZE)
		application = decode_application(bytes_get_u32(&in));
	decode_own(h, &in);
	accept_answer(h, application, now_ns);
	return 0;
}

void heartbeat_host_tick(struct heartbeat_host *h, uint64_t now_ns)
{
	if (!h->running || now_ns < h->next_ns)
		return;

	h->next_ns += (now_ns - h->next_ns) / PERIOD_NS * PERIOD_NS + PERIOD_NS;
	if (h->waiting) {
		h->missed++;
		h->missed_in_a_row++;
	} else {
		h->due = true;
	}
}

uint64_t heartbeat_host_deadline_ns(const struct heartbeat_host *h)
{
	return h->running ? h->next_ns : UINT64_MAX;
}

int heartbeat_host_next_action(struct heartbeat_host *h, uint64_t now_ns,
			       struct heartbeat_host_action *ret_action)
{
	struct heartbeat_host_action action;
	struct bytes_writer out;

	if (!h->due)
		return HEARTBEAT_HOST_IDLE;

	h->due = false;
	h->waiting = true;
	h->asked++;
	h->number++;
	h->asked_ns = now_ns;
	bytes_writer_init(&out, action.message, sizeof(action.message));
	bytes_put_u64(&out, h->number);
	bytes_put_u32(&out, 0);
	bytes_put_u32(&out, HEARTBEAT_MAGIC);
	bytes_put_zeros(&out, sizeof(action.message) - HEARTBEAT_MAGIC_OFFSET - 4);
	*ret_action = action;
	return 0;
}
