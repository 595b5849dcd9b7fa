/* SPDX-License-Identifier: MIT */

/*
 * The pool files and the journal of key-value exchange, which other programs, a full disk or a
 * power cut may have left in any state.
 *
 * Input: u8 what.
 *
 *   0 mod 3: the rest is an area's chain of transactions with their sums put right, up to a byte u8 at
 *      the end of from which a pool file follows: how many records it has, and that its sectors are by
 *      turns what a transaction says, zero, and something else. Oracle: what is to be redone names
 *      slots that are there, no slot twice, nothing more than the chain had; planned anew it fits; and
 *      done it leaves nothing to be done. If the byte is more than 127, the area is the first
 *      transaction again and again, with the numbers that follow.
 *   1 mod 3: the same without the sum: nothing is accepted that is not as it was written.
 *   2 mod 3: the rest is a pool file, read into a table that has another one already. Oracle: what is
 *      enumerated is what is in its records, in order and as often.
 */

#include "tests/fuzz/fuzz.h"

#include "services/kvp_journal.h"
#include "services/kvp_store.h"
#include "services/kvp_table.h"

#include <stdbool.h>

enum {
	IMAGE_SLOTS_MAX = 80,
};

static uint64_t get_u64(const uint8_t *p)
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | p[i];
	return value;
}

static void put_u64(uint8_t *p, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)get_u64(p);
}

/*
 * Most inputs would end at the sum; so it is put right, for what the head says. Returns where the
 * next transaction would be; 0: nowhere.
 */
static size_t put_sum(uint8_t *area, size_t at)
{
	uint8_t *head = area + at;
	struct kvp_txn txn = {.n_before = get_u32(head + 28), .n_after = get_u32(head + 32),
			      .n_writes = get_u32(head + 36)};
	size_t size;

	if (txn.n_writes > KVP_EDIT_MAX ||
	    (txn.n_before > txn.n_after && txn.n_before - txn.n_after > KVP_EDIT_MAX))
		return 0;
	size = kvp_txn_size(&txn);
	if (size > KVP_JOURNAL_AREA_SIZE - at)
		return 0;
	put_u64(head + 8, kvp_sum(head + 16, size - 16));
	at = kvp_txn_end(&txn, at);
	return at < KVP_JOURNAL_AREA_SIZE ? at : 0;
}

/* Copies the first transaction to @at, with the next number and other contents. */
static void repeat(uint8_t *area, size_t at, uint8_t number)
{
	const uint8_t *first = area + KVP_JOURNAL_TXN_OFFSET;
	size_t size = KVP_JOURNAL_AREA_SIZE - at;

	memmove(area + at, first, size);
	put_u64(area + at + 16, get_u64(first + 16) + number);
	if (size > 1000)
		area[at + 1000] ^= number;
}

static void put_sums(uint8_t *area, bool repeated)
{
	size_t at = put_sum(area, KVP_JOURNAL_TXN_OFFSET);

	for (uint8_t number = 1; at > 0; number++) {
		if (repeated)
			repeat(area, at, number);
		at = put_sum(area, at);
	}
}

/* A pool file in which the transaction was done in part; *ret_size of it. */
static uint8_t *make_image(const struct kvp_txn *txn, uint8_t choice, size_t *ret_size)
{
	uint32_t slots = choice % IMAGE_SLOTS_MAX;
	size_t size = (size_t)slots * KVP_RECORD_SIZE + (choice % 7 == 0 ? choice * 5u : 0);
	uint8_t *image = calloc(1, size + 1);

	fuzz_require(image);
	for (uint32_t i = 0; i < txn->n_writes; i++) {
		for (size_t s = 0; s < KVP_RECORD_SECTORS; s++) {
			size_t at = (size_t)txn->writes[i].slot * KVP_RECORD_SIZE + s * KVP_SECTOR_SIZE;

			if (at + KVP_SECTOR_SIZE > size)
				continue;
			if ((choice + i + s) % 3 == 0)
				memcpy(image + at, txn->writes[i].after + s * KVP_SECTOR_SIZE,
				       KVP_SECTOR_SIZE);
			else if ((choice + i) % 5 == 0)
				memset(image + at, choice, KVP_SECTOR_SIZE);
		}
	}
	*ret_size = size;
	return image;
}

/* Does the edit as the files' part does it; the new image is of malloc(). */
static uint8_t *do_edit(const uint8_t *image, size_t *size, const struct kvp_edit *edit,
			const struct kvp_txn *plan, const struct kvp_moves *moves)
{
	uint8_t *after = calloc(1, (size_t)plan->n_after * KVP_RECORD_SIZE + KVP_RECORD_SIZE + *size);

	(void)edit;
	fuzz_require(after);
	memcpy(after, image, *size);
	for (uint32_t i = 0; i < plan->n_writes; i++) {
		const uint8_t *record = plan->writes[i].after;

		for (size_t m = 0; m < moves->n_moves; m++)
			if (moves->moves[m].to == plan->writes[i].slot && !moves->moves[m].rewritten)
				record = image + (size_t)moves->moves[m].from * KVP_RECORD_SIZE;
		memcpy(after + (size_t)plan->writes[i].slot * KVP_RECORD_SIZE, record, KVP_RECORD_SIZE);
	}
	*size = (size_t)plan->n_after * KVP_RECORD_SIZE;
	return after;
}

static void check_edit(const struct kvp_txn *txn, const struct kvp_edit *edit, uint32_t slots)
{
	bool *named = calloc(slots + 1, sizeof(*named));
	size_t n_writes = 0;

	fuzz_require(named);
	for (const struct kvp_txn *t = txn; t; t = t->earlier)
		n_writes += t->n_writes;
	fuzz_require(edit->n_writes + edit->n_appends <= n_writes && n_writes <= KVP_EDIT_MAX);
	fuzz_require(edit->n_removes <= KVP_EDIT_MAX);
	for (size_t i = 0; i < edit->n_writes; i++) {
		fuzz_require(edit->writes[i].slot < slots && !named[edit->writes[i].slot]);
		named[edit->writes[i].slot] = true;
	}
	for (size_t i = 0; i < edit->n_removes; i++) {
		fuzz_require(edit->removes[i] < slots && !named[edit->removes[i]]);
		named[edit->removes[i]] = true;
	}
	free(named);
}

static void check_redo(struct kvp_txn *txn, uint8_t choice)
{
	static const uint8_t zeros[KVP_RECORD_SIZE];
	size_t size;
	uint8_t *image = make_image(txn, choice, &size), *after;
	struct kvp_moves moves;
	struct kvp_redo redo;
	struct kvp_edit edit;
	struct kvp_txn *plan;
	uint32_t slots = (uint32_t)(size / KVP_RECORD_SIZE);

	for (uint32_t i = 0; choice % 2 && i < txn->n_writes; i++)
		txn->writes[i].before = kvp_sums_of(zeros);
	kvp_txn_redo(txn, image, size, &edit, &redo);
	check_edit(txn, &edit, slots);
	fuzz_require(redo.cut_at == 0 || (redo.cut_at < redo.foreign_at && redo.foreign_at <= size));
	if (redo.cut_at == 0 &&
	    kvp_txn_plan(&edit, txn->pool, slots, &plan, &moves) == 0) {
		fuzz_require(plan->n_writes <= KVP_EDIT_MAX);
		after = do_edit(image, &size, &edit, plan, &moves);
		/* In a file that somebody has made shorter, slots are not what they were. */
		if (redo.overtaken == 0 && slots >= txn->n_before) {
			kvp_txn_redo(txn, after, size, &edit, &redo);
			fuzz_require(edit.n_writes == 0);
		}
		free(after);
		kvp_txn_free(plan);
	}
	free(image);
}

static void check_journal(const uint8_t *data, size_t size, bool sum_right)
{
	uint8_t *area = calloc(1, KVP_JOURNAL_AREA_SIZE), *again;
	uint8_t choice = data[size - 1];
	struct kvp_txn *txn = NULL;
	int r;

	fuzz_require(area);
	size--;
	if (size > KVP_JOURNAL_AREA_SIZE - KVP_JOURNAL_TXN_OFFSET)
		size = KVP_JOURNAL_AREA_SIZE - KVP_JOURNAL_TXN_OFFSET;
	memcpy(area + KVP_JOURNAL_TXN_OFFSET, data, size);
	if (sum_right)
		put_sums(area, choice > 127);
	r = kvp_area_decode(area, &txn);
	if (r == 0) {
		const struct kvp_txn *first = txn;

		while (first->earlier)
			first = first->earlier;
		again = calloc(1, kvp_txn_size(first));
		fuzz_require(again);
		kvp_txn_encode(first, again);
		/* Reserved bytes are ignored; everything else is as it was. */
		fuzz_require(get_u64(area + KVP_JOURNAL_TXN_OFFSET) == get_u64(again));
		fuzz_require(memcmp(area + KVP_JOURNAL_TXN_OFFSET + 16, again + 16, 24) == 0);
		check_redo(txn, choice);
		free(again);
	}
	kvp_txn_free(txn);
	free(area);
}

/* The first place among all records where this one stands. */
static void check_table(const uint8_t *data, size_t size)
{
	static uint8_t other[3 * KVP_RECORD_SIZE];
	struct kvp_entry entry;
	struct kvp_walk walk = {0};
	struct kvp_table *t;
	size_t unreadable, n = 0, key_len, value_len;

	kvp_record_write(other, "a", "1");
	kvp_record_write(other + KVP_RECORD_SIZE, "b", "2");
	kvp_record_write(other + 2 * KVP_RECORD_SIZE, "a", "3");
	fuzz_require(kvp_table_new(&t) == 0);
	kvp_table_lock(t);
	for (int i = 0; i < 3; i++) {
		const uint8_t *image = i == 1 ? data : other;

		fuzz_require(kvp_table_load(t, 1, image, i == 1 ? size : sizeof(other), &unreadable) >= 0);
		kvp_table_reclaim(t);
		if (i != 1)
			continue;
		for (size_t slot = 0; slot < size / KVP_RECORD_SIZE; slot++)
			n += kvp_record_read(data + slot * KVP_RECORD_SIZE, &key_len, &value_len) == 0;
		fuzz_require(n + unreadable == size / KVP_RECORD_SIZE);
		fuzz_require(kvp_table_count(t, 1) == n);
		for (uint32_t k = 0; k < n; k++)
			fuzz_require(kvp_table_nth(t, 1, k, &walk, entry.key, entry.value) == 0);
		fuzz_require(kvp_table_nth(t, 1, (uint32_t)n, &walk, entry.key, entry.value) ==
			     KVP_TABLE_NONE);
	}
	fuzz_require(kvp_table_get(t, 1, "a", entry.value) == 0 && strcmp(entry.value, "1") == 0);
	fuzz_require(kvp_table_count(t, 1) == 3);
	kvp_table_unlock(t);
	kvp_table_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] % 3 == 2)
		check_table(data + 1, size - 1);
	else
		check_journal(data + 1, size - 1, data[0] % 3 == 0);
	return 0;
}
