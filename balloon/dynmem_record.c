/* SPDX-License-Identifier: MIT */

/*
 * The record of a session, and how a new daemon goes on with it.
 *
 * What outlives a killed daemon is: the rings, with whatever the host has written meanwhile; the
 * pages, in the hands of the keeper; and this record, as of the last commit (dynmem_area.c). The
 * machine is a function of what it was told, so it is enough to show that each effect on the world
 * can be told from the record and the world together to have happened or not, and that what is
 * done once more does no harm. Where can the kill fall?
 *
 * Receiving. The record has the position behind the last message that the machine has seen. Killed
 * before the commit, the new daemon reads the message again, from a machine that has not seen it.
 * Killed after it, the message is passed over, even if the ring's read index was not moved, because
 * the new daemon reads from the recorded position. A message that the host could overwrite is never
 * needed: the read index passes it after the commit only.
 *
 * Sending. Before a message goes into the ring the record has it, byte for byte, with the position
 * at which it will begin. Nobody else writes to that ring, so the write index tells: is it still
 * there, the message is not in the ring, and is sent; has it moved, it is, and is not sent again.
 * (The index cannot come back to the same place: no message is as large as the ring.) Killed before
 * the commit, the record is that of the time before the message was made, and it is made again.
 *
 * Taking pages. The keeper takes them; the daemon learns of them; they enter the books; a message
 * tells the host; all these in this order, and the books are committed with the message, before it
 * is sent. Killed before that commit, the pages are held and in no book: dynmem_reconcile() finds
 * them and they go back into use, and nobody was told. Killed after it, they are the host's, and
 * the message is in the record or in the ring. The rest of the request is taken by the new daemon.
 *
 * Getting pages back. The commit that passes the host's message has them collected. From then on
 * they are ours; to put them back into use is done, or done again, by the new daemon. A page that
 * the keeper has already put back it does not have, and ignores. Could it have been taken anew
 * meanwhile, so that this second return frees a page that the host has? No: a slice with a page
 * that is in the books is refused, so the page has left the books before it can be the host's
 * again, and a record that has it collected is from before. If it is held nevertheless, it was
 * taken and never recorded, and to put it back is right.
 *
 * Answering. The response to an unballoon is a message like any other. It is made after
 * dynmem_complete_return(), so a record that has it has the pages gone from the books.
 *
 * Adding memory. The request is committed before it is obeyed, and is obeyed again by the new
 * daemon, with `again` set: memory that is there by then was added for this request. The same is
 * so after a close, if the next host asks for the range that the last one asked for last.
 *
 * Closing. The channel is closed, then the machine; or the other way round. Killed in between, the
 * record says open and the channel is gone: the new daemon closes the machine, and all is
 * unreported. Or the record says CLOSED and the channel is still open: the new daemon closes it
 * before it opens another. In neither case is a page used before the host has forgotten it.
 *
 * Samples and timers. A report that was sampled is sampled again. Deadlines are of the monotonic
 * clock, which goes on; they are cut to what they can be, in case that it does not. How patient the last
 * daemon had become with a host that does not answer is not recorded: the next one begins anew.
 *
 * The format: a head's payload (dynmem_area.c) has the positions, the numbers of the table below in
 * its order, all statistics, and the last message; the sets of pages are the log (dynmem_books.c).
 * Any change of the table, of the statistics or of the entries is another version of the area.
 */

#include "balloon/dynmem_record.h"

#include "balloon/dynmem_machine.h"
#include "base/bytes.h"

#include <assert.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)
#define START_BUDGET_NS (5 * NS_PER_S)

enum {
	STATS_FIELDS = sizeof(struct dynmem_stats) / sizeof(uint64_t),
};
static_assert(sizeof(struct dynmem_stats) % sizeof(uint64_t) == 0, "statistics are u64 only");

/* A number of the machine that is recorded, and the highest value that it can have. */
struct field {
	size_t offset; /* bytes */
	size_t size;   /* bytes: 1, 4 or 8 */
	uint64_t max;
};

#define FIELD(name, max) {offsetof(struct dynmem, name), sizeof(((struct dynmem *)0)->name), max}
#define FLAG(name)       FIELD(name, 1)

static const struct field fields[] = {
	FIELD(state, DYNMEM_N_STATES - 1),
	FIELD(last_trans_id, UINT32_MAX),
	FLAG(out_pending),
	FIELD(out_position, UINT32_MAX),
	FIELD(attempt, DYNMEM_N_VERSIONS - 1),
	FIELD(version, UINT32_MAX),
	FLAG(hello_due),
	FIELD(deadline_ns, UINT64_MAX),
	FIELD(reason, DYNMEM_CLOSE_CAPABILITIES_TIMEOUT),
	FLAG(close_due),
	FIELD(report, DYNMEM_REPORT_COMPLETE),
	FIELD(next_report_ns, UINT64_MAX),
	FLAG(reports_suppressed),
	FIELD(take, DYNMEM_TAKE_RUNNING),
	FIELD(take_wanted, UINT32_MAX),
	FIELD(take_done, UINT32_MAX),
	FLAG(sequence_open),
	FIELD(hot_add, DYNMEM_HOT_ADD_STAGE_COMPLETE),
	FIELD(hot_add_request.range.first, DYNMEM_PFN_MAX),
	FIELD(hot_add_request.range.count, DYNMEM_RANGE_PAGES_MAX),
	FLAG(hot_add_request.has_region),
	FIELD(hot_add_request.region.first, DYNMEM_PFN_MAX),
	FIELD(hot_add_request.region.count, DYNMEM_RANGE_PAGES_MAX),
	FIELD(hot_add_pages, DYNMEM_RANGE_PAGES_MAX),
	FLAG(hot_add_for_good),
	FLAG(hot_add_again),
	FIELD(hot_add_unsure.first, DYNMEM_PFN_MAX),
	FIELD(hot_add_unsure.count, DYNMEM_RANGE_PAGES_MAX),
	FIELD(unballoon_responses, UINT64_MAX),
	FIELD(balloon_refusals, UINT64_MAX),
	FIELD(hot_add_refusals, UINT64_MAX),
	FIELD(hot_add_postponements, UINT64_MAX),
	FIELD(notes_due, (1u << DYNMEM_N_NOTES) - 1),
	FIELD(notes_given, (1u << DYNMEM_N_NOTES) - 1),
	FLAG(has_max_pages),
	FIELD(max_pages, UINT64_MAX),
	FIELD(operation.kind, DYNMEM_OPERATION_HOT_ADD),
	FIELD(operation.asked_pages, UINT64_MAX),
	FIELD(operation.done_pages, UINT64_MAX),
	FIELD(operation.started_ns, UINT64_MAX),
	FIELD(operation.ended_ns, UINT64_MAX),
	FIELD(books.untold.pages, UINT64_MAX),
	FIELD(books.in_flight_pages, UINT64_MAX),
};

enum {
	N_FIELDS = sizeof(fields) / sizeof(fields[0]),
};
static_assert(8 + (N_FIELDS + STATS_FIELDS) * 8 + 8 + DYNMEM_MESSAGE_MAX <= DYNMEM_AREA_PAYLOAD_MAX,
	      "positions, numbers, statistics and a message fit a head");

static uint64_t get_field(const struct dynmem *dm, const struct field *field)
{
	const uint8_t *at = (const uint8_t *)dm + field->offset;
	uint64_t u64;
	uint32_t u32;

	switch (field->size) {
	case sizeof(u64):
		memcpy(&u64, at, sizeof(u64));
		return u64;
	case sizeof(u32):
		memcpy(&u32, at, sizeof(u32));
		return u32;
	default:
		assert(field->size == 1);
		return *at;
	}
}

static void set_field(struct dynmem *dm, const struct field *field, uint64_t value)
{
	uint8_t *at = (uint8_t *)dm + field->offset;
	uint32_t u32 = value;

	switch (field->size) {
	case sizeof(value):
		memcpy(at, &value, sizeof(value));
		break;
	case sizeof(u32):
		memcpy(at, &u32, sizeof(u32));
		break;
	default:
		assert(field->size == 1);
		*at = value;
		break;
	}
}

size_t dynmem_record_bytes(size_t ranges_max)
{
	return dynmem_area_bytes(dynmem_books_entries(ranges_max));
}

static size_t encode(const struct dynmem *dm, const struct dynmem_positions *positions,
		     uint8_t *payload)
{
	uint64_t stats[STATS_FIELDS];
	struct bytes_writer w;

	memcpy(stats, &dm->stats, sizeof(stats));
	bytes_writer_init(&w, payload, DYNMEM_AREA_PAYLOAD_MAX);
	bytes_put_u32(&w, positions->in);
	bytes_put_u32(&w, positions->out);
	for (size_t i = 0; i < N_FIELDS; i++)
		bytes_put_u64(&w, get_field(dm, &fields[i]));
	for (size_t i = 0; i < STATS_FIELDS; i++)
		bytes_put_u64(&w, stats[i]);
	bytes_put_u64(&w, dm->out_pending ? dm->out.size : 0);
	if (dm->out_pending)
		bytes_put(&w, dm->out.bytes, dm->out.size);
	assert(bytes_writer_ok(&w));
	return bytes_written(&w);
}

void dynmem_commit(struct dynmem *dm, const struct dynmem_positions *positions)
{
	uint8_t payload[DYNMEM_AREA_PAYLOAD_MAX];
	size_t size;

	if (!dm->books.recording)
		return;
	if (dm->out_pending && !dm->out_placed) {
		dm->out_placed = true;
		dm->out_position = positions->out;
	}
	dynmem_books_record(&dm->books);
	size = encode(dm, positions, payload);
	dynmem_area_commit(&dm->books.area, payload, size);
}

void dynmem_record_start(struct dynmem *dm, void *area, size_t bytes,
			 const struct dynmem_positions *positions)
{
	assert(bytes >= dynmem_record_bytes(dm->config.ranges_max));

	dynmem_area_init(&dm->books.area, area, bytes);
	dm->books.area.overflow = true; /* the log is still to be written */
	dm->books.recording = true;
	dynmem_commit(dm, positions);
}

/* DYNMEM_RECORD_BAD if a number is out of its range. The last message may only be a good one. */
static int decode(struct dynmem *dm, const uint8_t *payload, struct dynmem_positions *ret_positions)
{
	uint64_t stats[STATS_FIELDS], value;
	struct dynmem_positions positions;
	struct dynmem_frame frame;
	struct bytes_reader r;

	bytes_reader_init(&r, payload, DYNMEM_AREA_PAYLOAD_MAX);
	positions.in = bytes_get_u32(&r);
	positions.out = bytes_get_u32(&r);
	for (size_t i = 0; i < N_FIELDS; i++) {
		value = bytes_get_u64(&r);
		if (value > fields[i].max)
			return DYNMEM_RECORD_BAD;
		set_field(dm, &fields[i], value);
	}
	for (size_t i = 0; i < STATS_FIELDS; i++)
		stats[i] = bytes_get_u64(&r);
	memcpy(&dm->stats, stats, sizeof(stats));

	dm->out.size = bytes_get_u64(&r);
	if (dm->out.size > DYNMEM_MESSAGE_MAX || dm->out_pending != (dm->out.size > 0))
		return DYNMEM_RECORD_BAD;
	if (dm->out_pending) {
		memcpy(dm->out.bytes, bytes_get_direct(&r, dm->out.size), dm->out.size);
		if (dynmem_decode_frame(dm->out.bytes, dm->out.size, &frame))
			return DYNMEM_RECORD_BAD;
	}
	*ret_positions = positions;
	return 0;
}

/* True if the numbers do not contradict each other. */
static bool is_consistent(const struct dynmem *dm)
{
	bool adding = dm->hot_add != DYNMEM_HOT_ADD_STAGE_NONE;

	return dm->state < DYNMEM_N_STATES && dm->take_done <= dm->take_wanted &&
	       dm->hot_add_pages <= dm->hot_add_request.range.count &&
	       dm->books.in_flight_pages <= dm->books.untold.pages &&
	       (dm->out_pending || dm->books.in_flight_pages == 0) &&
	       (!adding || dm->state == DYNMEM_STATE_HOT_ADDING ||
		dm->state == DYNMEM_STATE_CLOSED) &&
	       (adding || dm->state != DYNMEM_STATE_HOT_ADDING);
}

/* Work that was under way has ended with its daemon; what of it is still wanted is due again. */
static void restart_work(struct dynmem *dm)
{
	bool open = dm->state != DYNMEM_STATE_CLOSED;

	if (dm->take != DYNMEM_TAKE_NONE)
		dm->take = dm->state == DYNMEM_STATE_BALLOONING && dm->take_done < dm->take_wanted
				   ? DYNMEM_TAKE_DUE
				   : DYNMEM_TAKE_NONE;
	if (dm->hot_add == DYNMEM_HOT_ADD_STAGE_DUE || dm->hot_add == DYNMEM_HOT_ADD_STAGE_RUNNING) {
		dm->hot_add = open ? DYNMEM_HOT_ADD_STAGE_DUE : DYNMEM_HOT_ADD_STAGE_NONE;
		dm->hot_add_again = true;
	}
	if (dm->report != DYNMEM_REPORT_NONE)
		dm->report = open ? DYNMEM_REPORT_DUE : DYNMEM_REPORT_NONE;
}

static void limit_time(uint64_t *time_ns, uint64_t now_ns, uint64_t most_ns)
{
	if (*time_ns > now_ns && *time_ns - now_ns > most_ns)
		*time_ns = now_ns + most_ns;
}

static void limit_times(struct dynmem *dm, uint64_t now_ns)
{
	uint64_t report_ns = dm->config.first_status_ns > dm->config.status_period_ns
				     ? dm->config.first_status_ns
				     : dm->config.status_period_ns;

	limit_time(&dm->deadline_ns, now_ns, START_BUDGET_NS);
	limit_time(&dm->next_report_ns, now_ns, report_ns);
}

/* The sets of pages; the numbers that tell what of them was told have been decoded. */
static int restore_books(struct dynmem_books *books, const struct dynmem_area *area)
{
	uint64_t untold_pages = books->untold.pages;
	int r;

	books->untold.pages = 0;
	books->area = *area;
	r = dynmem_books_replay(books, untold_pages);
	if (r)
		return r > 0 ? DYNMEM_RECORD_BAD : r;
	books->recording = true;
	return 0;
}

int dynmem_restore(const struct dynmem_config *config, void *area, size_t bytes, uint64_t now_ns,
		   struct dynmem **ret_dm, struct dynmem_positions *ret_positions)
{
	_cleanup_(cleanup_dynmemp) struct dynmem *dm = NULL;
	uint8_t payload[DYNMEM_AREA_PAYLOAD_MAX];
	struct dynmem_positions positions;
	struct dynmem_area found;
	int r;

	if (bytes < dynmem_record_bytes(config->ranges_max))
		return DYNMEM_RECORD_BAD;
	r = dynmem_area_open(&found, area, bytes, payload);
	if (r)
		return r == DYNMEM_AREA_EMPTY ? DYNMEM_RECORD_NONE : DYNMEM_RECORD_BAD;
	r = dynmem_new(config, &dm);
	if (r)
		return r;
	r = decode(dm, payload, &positions);
	if (r)
		return r;
	if (!is_consistent(dm))
		return DYNMEM_RECORD_BAD;
	r = restore_books(&dm->books, &found);
	if (r)
		return r;

	dm->out_placed = dm->out_pending;
	restart_work(dm);
	limit_times(dm, now_ns);
	*ret_positions = positions;
	*ret_dm = steal_ptr(dm);
	return 0;
}

int dynmem_reconcile(struct dynmem *dm, const struct page_range *held, size_t n,
		     uint64_t *ret_lost_pages)
{
	struct rangeset set;
	int r;

	rangeset_init(&set, SIZE_MAX);
	r = rangeset_add(&set, held, n);
	assert(r <= 0); /* the caller has put them in order */
	if (r == 0)
		r = dynmem_books_reconcile(&dm->books, &set, dm->state == DYNMEM_STATE_CLOSED,
					   ret_lost_pages);
	rangeset_fini(&set);
	return r;
}

void dynmem_resume(struct dynmem *dm, uint32_t out, uint64_t now_ns)
{
	assert(dm->state != DYNMEM_STATE_CLOSED);

	dm->out_again = dm->out_pending && dm->out_position == out;
	dm->out_pending = dm->out_again;
	if (!dm->out_again)
		dynmem_books_told(&dm->books);
	dynmem_tick(dm, now_ns);
}
