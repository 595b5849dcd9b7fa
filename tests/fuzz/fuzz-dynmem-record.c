/* SPDX-License-Identifier: MIT */

/*
 * The record of a session, as anybody may have left it.
 *
 * Input: u16 size of the payload, the payload, and the rest are entries of 16 bytes. Both are put
 * into an area with good checksums, because bad ones are found by the unit test. If the first byte
 * of the payload's positions is odd, the channel is closed afterwards; else it is resumed.
 *
 * Oracles: what is accepted has disjoint sets; the machine made of it can be driven, through its
 * actions and a few requests of a host, to rest; and it can be recorded and restored again.
 */

#include "tests/fuzz/fuzz.h"

#include "balloon/dynmem_area.h"
#include "balloon/dynmem_record.h"
#include "base/bytes.h"

enum {
	RANGES_MAX = 32,
	ACTIONS_MAX = 2000,
};

#define NOW_NS UINT64_C(1000000000)

static const struct dynmem_positions nowhere;

static void fill(void *area, size_t bytes, struct bytes_reader *r)
{
	size_t size = bytes_get_u16(r) % DYNMEM_AREA_PAYLOAD_MAX;
	struct dynmem_area a;
	const uint8_t *payload;

	if (size > bytes_left(r))
		size = bytes_left(r);
	payload = bytes_get_direct(r, size);
	dynmem_area_init(&a, area, bytes);
	while (bytes_left(r) >= 16 && a.n < a.capacity) {
		uint64_t first = bytes_get_u64(r);

		dynmem_area_append(&a, (struct dynmem_entry){{first, bytes_get_u64(r)}});
	}
	if (payload)
		dynmem_area_commit(&a, payload, size);
}

static void require_disjoint_sets(const struct dynmem *dm)
{
	fuzz_require(!rangeset_intersects(dynmem_ballooned(dm), dynmem_unreported(dm)));
}

/* Does what the machine wants; never more than it can want. */
static void drive(struct dynmem *dm)
{
	const struct dynmem_status_report figures = {.available_pages = 1};
	struct dynmem_action action;

	for (int i = 0; i < ACTIONS_MAX && dynmem_next_action(dm, &action) == 0; i++) {
		switch (action.type) {
		case DYNMEM_ACTION_SEND:
			fuzz_require(action.message->size <= DYNMEM_MESSAGE_MAX);
			break;
		case DYNMEM_ACTION_TAKE_PAGES:
			fuzz_require(dynmem_complete_take(dm, NULL, 0, true, NOW_NS) == 0);
			break;
		case DYNMEM_ACTION_RETURN_PAGES:
			fuzz_require(action.n_ranges > 0);
			dynmem_complete_return(dm, NOW_NS);
			break;
		case DYNMEM_ACTION_HOT_ADD:
			dynmem_complete_hot_add(dm, 0, true, NOW_NS);
			break;
		case DYNMEM_ACTION_SAMPLE:
			dynmem_set_figures(dm, &figures);
			break;
		case DYNMEM_ACTION_CLOSE_CHANNEL:
			dynmem_close(dm);
			break;
		case DYNMEM_ACTION_NOTE:
			fuzz_require(dynmem_note_text(action.note) != NULL);
			break;
		}
	}
}

static void ask(struct dynmem *dm)
{
	struct page_range range = {0, DYNMEM_RANGE_PAGES_MAX};
	struct dynmem_message m;

	dynmem_encode_balloon_request(&m, 1, 10);
	fuzz_require(dynmem_receive(dm, m.bytes, m.size, NOW_NS) >= 0);
	dynmem_encode_unballoon_request(&m, 2, false, &range, 1);
	fuzz_require(dynmem_receive(dm, m.bytes, m.size, NOW_NS) >= 0);
}

static void live(const struct dynmem_config *config, struct dynmem *dm, void *area, size_t bytes,
		 bool closes)
{
	struct dynmem_positions positions;
	struct dynmem_status status;
	struct dynmem *again;

	require_disjoint_sets(dm);
	dynmem_get_status(dm, &status);
	fuzz_require(status.state < DYNMEM_N_STATES);
	if (closes)
		dynmem_close(dm);
	else if (status.state != DYNMEM_STATE_CLOSED)
		dynmem_resume(dm, 0, NOW_NS);
	drive(dm);
	ask(dm);
	dynmem_commit(dm, &nowhere);
	drive(dm);
	require_disjoint_sets(dm);
	fuzz_require(dynmem_restore(config, area, bytes, NOW_NS, &again, &positions) == 0);
	dynmem_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t bytes = dynmem_record_bytes(RANGES_MAX);
	struct dynmem_positions positions;
	struct dynmem_config config;
	struct bytes_reader r;
	struct dynmem *dm;
	void *area = calloc(1, bytes);

	fuzz_require(area);
	dynmem_config_init(&config);
	config.ranges_max = RANGES_MAX;
	config.can_hot_add = true;
	bytes_reader_init(&r, data, size);
	fill(area, bytes, &r);
	if (dynmem_restore(&config, area, bytes, NOW_NS, &dm, &positions) == 0) {
		live(&config, dm, area, bytes, positions.in % 2);
		dynmem_free(dm);
	}
	free(area);
	return 0;
}
