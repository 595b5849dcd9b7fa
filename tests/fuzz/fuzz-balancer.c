/* SPDX-License-Identifier: MIT */

/*
 * The balancer, with whatever guests report and whenever they do what they are asked, or do not.
 *
 * Input: bytes that say what happens next, and numbers for it. Oracles: what guests were given and are
 * being given is within the budget after every event, by books of the target's own; no order goes below
 * a minimum or above a maximum; the sums are those of the guests; each reason has a text.
 */

#include "tests/fuzz/fuzz.h"

#include "policy/balancer.h"

#include <stdbool.h>

enum {
	GUESTS = 6,
	BUDGET = 1 << 20,
	RESERVE = 1 << 12,
};

struct input {
	const uint8_t *at;
	const uint8_t *end;
};

struct book {
	bool is_there;
	uint32_t id;
	struct balancer_limits limits;
	uint64_t has;
	struct balancer_order order;
	uint64_t left;
};

static uint8_t byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static uint64_t number(struct input *in, unsigned int bytes)
{
	uint64_t n = 0;

	while (bytes-- > 0)
		n = n << 8 | byte(in);
	return n;
}

static void check(const struct balancer *b, const struct book books[GUESTS])
{
	struct balancer_totals t;
	uint64_t used = 0, has = 0;

	for (int i = 0; i < GUESTS; i++) {
		if (!books[i].is_there)
			continue;
		has += books[i].has;
		used += books[i].has + (books[i].order.kind == BALANCER_GROW ? books[i].left : 0);
	}
	balancer_get_totals(b, &t);
	fuzz_require(t.charged_pages == used && t.assigned_pages == has);
	fuzz_require(used + t.held_pages <= BUDGET - RESERVE);
}

static void fetch(struct balancer *b, struct book books[GUESTS])
{
	struct balancer_order o;

	while (balancer_next_order(b, &o) == 0) {
		struct book *book = NULL;

		for (int i = 0; i < GUESTS; i++)
			if (books[i].is_there && books[i].id == o.guest)
				book = &books[i];
		fuzz_require(book && book->order.kind == BALANCER_NONE && o.pages > 0);
		fuzz_require(o.kind == BALANCER_GROW ||
			     book->has - o.pages >= book->limits.minimum_pages);
		fuzz_require(o.kind == BALANCER_SHRINK ||
			     book->has + o.pages <= book->limits.maximum_pages);
		fuzz_require(balancer_reason_text(o.reason)[0] != '\0');
		book->order = o;
		book->left = o.pages;
	}
}

static void join(struct balancer *b, struct book *book, struct input *in, uint64_t now)
{
	static unsigned int names;
	struct balancer_limits l;
	char name[24];

	balancer_limits_init(&l);
	l.minimum_pages = number(in, 2);
	l.startup_pages = l.minimum_pages + number(in, 2);
	l.maximum_pages = l.startup_pages + number(in, 3);
	l.buffer_percent = (uint32_t)number(in, 2);
	l.weight = (uint32_t)number(in, 2);
	snprintf(name, sizeof(name), "%u", names++ % 5);
	if (balancer_add(b, name, &l, now, &book->id))
		return;
	*book = (struct book){.is_there = true, .id = book->id, .limits = l, .has = l.startup_pages};
}

static void report(struct balancer *b, const struct book *book, struct input *in, uint64_t now)
{
	const struct balancer_report r = {
		.committed_pages = number(in, byte(in) & 8 ? 8 : 3),
		.available_pages = number(in, byte(in) & 8 ? 8 : 3),
		.ballooned_pages = number(in, byte(in) & 8 ? 8 : 3),
		.growable_pages = byte(in) & 8 ? UINT64_MAX : number(in, 3),
		.swapped_pages = number(in, 2),
	};

	(void)balancer_report(b, book->id, &r, now);
}

static void answer(struct balancer *b, struct book *book, struct input *in, uint64_t now)
{
	uint64_t pages = number(in, 3);

	if (book->order.kind == BALANCER_NONE)
		return;
	pages = pages < book->left ? pages : book->left;
	book->has += book->order.kind == BALANCER_GROW ? pages : -pages;
	book->left -= pages;
	fuzz_require(balancer_moved(b, book->id, book->order.kind, pages, now) == 0);
	if (book->left == 0 || byte(in) & 1) {
		book->order.kind = BALANCER_NONE;
		fuzz_require(balancer_ended(b, book->id, now) == 0);
	}
}

static void happen(struct balancer *b, struct book books[GUESTS], struct input *in, uint64_t *now)
{
	uint8_t what = byte(in);
	struct book *book = &books[what / 16 % GUESTS];

	*now += number(in, 2) << 17; /* up to nine seconds */
	switch (what % 16) {
	case 0:
	case 1:
		if (!book->is_there)
			join(b, book, in, *now);
		break;
	case 2:
		if (book->is_there)
			balancer_remove(b, book->id, *now);
		book->is_there = false;
		break;
	case 3:
		(void)!balancer_reserve(b, "3", number(in, 3), *now + number(in, 5), *now);
		break;
	case 4:
		(void)!balancer_unreserve(b, "3", *now);
		break;
	case 5:
		*now = number(in, 6); /* the clock jumps */
		break;
	case 6:
		if (book->is_there)
			balancer_guard(b, book->id, byte(in), *now);
		break;
	case 7:
		if (book->is_there && byte(in) & 1)
			balancer_set_manual(b, book->id, number(in, 3));
		else if (book->is_there)
			balancer_set_automatic(b, book->id);
		break;
	case 8:
	case 9:
		if (book->is_there)
			answer(b, book, in, *now);
		break;
	case 10:
	case 11:
	case 12:
		balancer_pass(b, *now);
		fetch(b, books);
		break;
	default:
		if (book->is_there)
			report(b, book, in, *now);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct book books[GUESTS] = {0};
	struct balancer_settings s;
	struct balancer *b;
	uint64_t now = 0;

	balancer_settings_init(&s);
	s.budget_pages = BUDGET;
	s.reserve_pages = RESERVE;
	s.first_action_ns = 0;
	fuzz_require(balancer_new(&s, 0, &b) == 0);
	while (in.at < in.end) {
		happen(b, books, &in, &now);
		check(b, books);
	}
	balancer_free(b);
	return 0;
}
