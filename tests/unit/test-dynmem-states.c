/* SPDX-License-Identifier: MIT */

/*
 * balloon/dynmem.c: every state against every event, and against every flipped bit of a message.
 */

#include "tests/unit/dynmem.h"

enum event {
	EVENT_VERSION_YES,
	EVENT_VERSION_NO,
	EVENT_CAPABILITIES_YES,
	EVENT_CAPABILITIES_NO,
	EVENT_BALLOON,
	EVENT_UNBALLOON,
	EVENT_HOT_ADD,
	EVENT_INFO,
	EVENT_OWN_TYPE,
	EVENT_GARBAGE,
	EVENT_TICK, /* after a minute */
	EVENT_CLOSE,
	N_EVENTS,
};

static void encode_event(enum event event, struct dynmem_message *m)
{
	struct dynmem_version_response version = {.accepted = event == EVENT_VERSION_YES};
	struct dynmem_capabilities_response capabilities = {
		.accepted = event == EVENT_CAPABILITIES_YES,
	};
	struct dynmem_hot_add_request hot_add = {.range = {0x100000, 32768}};
	struct page_range range = {102, 30};

	switch (event) {
	case EVENT_VERSION_YES:
	case EVENT_VERSION_NO:
		dynmem_encode_version_response(m, 1, &version);
		break;
	case EVENT_CAPABILITIES_YES:
	case EVENT_CAPABILITIES_NO:
		dynmem_encode_capabilities_response(m, 2, &capabilities);
		break;
	case EVENT_BALLOON:
		dynmem_encode_balloon_request(m, 0, 50);
		break;
	case EVENT_UNBALLOON:
		dynmem_encode_unballoon_request(m, 0, true, &range, 1);
		break;
	case EVENT_HOT_ADD:
		dynmem_encode_hot_add_request(m, 0, &hot_add);
		break;
	case EVENT_INFO:
		dynmem_encode_info_max_pages(m, 0, 4096);
		break;
	case EVENT_OWN_TYPE:
		dynmem_encode_unballoon_response(m, 0);
		break;
	case EVENT_GARBAGE:
	case EVENT_TICK:
	case EVENT_CLOSE:
	case N_EVENTS:
		memset(m->bytes, 0xff, 8);
		m->size = 8;
		break;
	}
}

/* Lets the event happen; the result is that of dynmem_receive(), or 0. */
static int happen(struct dynmem *dm, enum event event)
{
	struct dynmem_message m;

	if (event == EVENT_TICK) {
		dynmem_tick(dm, START_MS * MS + 60 * S);
		return 0;
	}
	if (event == EVENT_CLOSE) {
		dynmem_close(dm);
		return 0;
	}
	encode_event(event, &m);
	return receive(dm, &m, START_MS * MS);
}

/* The state that follows, and 'u' unexpected, 'm' malformed or '.' fine. */
struct outcome {
	char result;
	enum dynmem_state state;
};

#define CL DYNMEM_STATE_CLOSED
#define VE DYNMEM_STATE_VERSION
#define CA DYNMEM_STATE_CAPABILITIES
#define RE DYNMEM_STATE_READY
#define BA DYNMEM_STATE_BALLOONING
#define UN DYNMEM_STATE_UNBALLOONING
#define HA DYNMEM_STATE_HOT_ADDING
#define FA DYNMEM_STATE_FAILED

static const struct outcome outcomes[DYNMEM_N_STATES][N_EVENTS] = {
	/* version yes, no, capabilities yes, no, balloon, unballoon, hot-add, info, own, garbage,
	 * tick, close */
	[CL] = {{'u', CL}, {'u', CL}, {'u', CL}, {'u', CL}, {'u', CL}, {'u', CL}, {'u', CL},
		{'u', CL}, {'u', CL}, {'m', CL}, {'.', CL}, {'.', CL}},
	[VE] = {{'.', CA}, {'.', VE}, {'u', VE}, {'u', VE}, {'u', VE}, {'u', VE}, {'u', VE},
		{'u', VE}, {'u', VE}, {'m', VE}, {'.', FA}, {'.', CL}},
	[CA] = {{'u', CA}, {'u', CA}, {'.', RE}, {'.', FA}, {'u', CA}, {'u', CA}, {'u', CA},
		{'u', CA}, {'u', CA}, {'m', CA}, {'.', FA}, {'.', CL}},
	[RE] = {{'u', RE}, {'u', RE}, {'u', RE}, {'u', RE}, {'.', BA}, {'.', UN}, {'.', HA},
		{'.', RE}, {'u', RE}, {'m', RE}, {'.', RE}, {'.', CL}},
	[BA] = {{'u', BA}, {'u', BA}, {'u', BA}, {'u', BA}, {'u', BA}, {'.', BA}, {'u', BA},
		{'.', BA}, {'u', BA}, {'m', BA}, {'.', BA}, {'.', CL}},
	[UN] = {{'u', UN}, {'u', UN}, {'u', UN}, {'u', UN}, {'u', UN}, {'.', UN}, {'u', UN},
		{'.', UN}, {'u', UN}, {'m', UN}, {'.', UN}, {'.', CL}},
	[HA] = {{'u', HA}, {'u', HA}, {'u', HA}, {'u', HA}, {'u', HA}, {'.', HA}, {'u', HA},
		{'.', HA}, {'u', HA}, {'m', HA}, {'.', HA}, {'.', CL}},
	[FA] = {{'u', FA}, {'u', FA}, {'u', FA}, {'u', FA}, {'u', FA}, {'u', FA}, {'u', FA},
		{'u', FA}, {'u', FA}, {'m', FA}, {'.', FA}, {'.', CL}},
};

static int result_code(char result)
{
	return result == 'u' ? DYNMEM_UNEXPECTED : result == 'm' ? DYNMEM_MALFORMED : 0;
}

Test(dynmem, every_event_in_every_state_has_the_outcome_of_the_table)
{
	for (enum dynmem_state state = 0; state < DYNMEM_N_STATES; state++) {
		for (enum event event = 0; event < N_EVENTS; event++) {
			const struct outcome *wanted = &outcomes[state][event];
			struct dynmem *dm = machine_in(state);

			cr_expect(eq(int, happen(dm, event), result_code(wanted->result)),
				  "%s, event %d", dynmem_state_name(state), event);
			cr_expect(eq(int, state_of(dm), wanted->state), "%s, event %d",
				  dynmem_state_name(state), event);
			dynmem_free(dm);
		}
	}
}

/* Does whatever the machine wants, a bounded number of times. */
static void obey(struct dynmem *dm)
{
	struct dynmem_status_report figures = {.committed_pages = 1};
	struct dynmem_action action;

	for (int i = 0; i < 100 && dynmem_next_action(dm, &action) == 0; i++) {
		switch (action.type) {
		case DYNMEM_ACTION_TAKE_PAGES:
			cr_assert(eq(int, dynmem_complete_take(dm, NULL, 0, true, 0), 0));
			break;
		case DYNMEM_ACTION_RETURN_PAGES:
			dynmem_complete_return(dm, 0);
			break;
		case DYNMEM_ACTION_HOT_ADD:
			dynmem_complete_hot_add(dm, action.hot_add.range.count, false, 0);
			break;
		case DYNMEM_ACTION_SAMPLE:
			dynmem_set_figures(dm, &figures);
			break;
		case DYNMEM_ACTION_CLOSE_CHANNEL:
			dynmem_close(dm);
			break;
		case DYNMEM_ACTION_SEND:
		case DYNMEM_ACTION_NOTE:
			break;
		}
	}
	cr_assert(eq(int, dynmem_next_action(dm, &action), DYNMEM_IDLE));
}

Test(dynmem, a_flipped_bit_in_any_message_and_state_does_no_harm)
{
	for (enum dynmem_state state = 0; state < DYNMEM_N_STATES; state++) {
		for (enum event event = 0; event < EVENT_GARBAGE; event++) {
			struct dynmem_message m;

			encode_event(event, &m);
			for (size_t bit = 0; bit < m.size * 8; bit++) {
				struct dynmem *dm = machine_in(state);
				uint8_t *copy = malloc(m.size);
				int r;

				cr_assert(ne(ptr, copy, NULL));
				memcpy(copy, m.bytes, m.size);
				copy[bit / 8] ^= 1 << bit % 8;
				r = dynmem_receive(dm, copy, m.size, START_MS * MS);
				cr_assert(r >= 0);
				obey(dm);
				free(copy);
				dynmem_free(dm);
			}
		}
	}
}
