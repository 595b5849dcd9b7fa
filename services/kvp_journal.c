/* SPDX-License-Identifier: MIT */

/*
 * Transactions of the pool files, as bytes and as what they mean.
 *
 * A pool file is written in place, because others hold its inode open and lock it. So there are
 * moments in which it is half old and half new; and the records behind one that is removed have to
 * close up. Each edit is therefore a list of slots with what they are to become and the file's
 * length afterwards, and it is on the disk before the first of them is written. What was begun is
 * done again at the next start, from whatever state the file is in.
 *
 * Meanwhile somebody else may have written, for a lock ends with its holder. What is ours and what
 * is not is told sector by sector: each sector of a slot is what it was before (the journal has
 * the sums of that) or what it was to become, or, in a slot that is new, zero. If one is neither,
 * another program has been there, and what it wrote stays. The same rule makes it harmless to redo
 * what was finished long ago.
 *
 * Transactions that only write slots in place, one behind the other, are a chain: the pool file has
 * to be waited for once for all of them. Of a chain each sector may be as any of its transactions
 * has found it or left it, whatever the others; it becomes what the last one wants.
 *
 *     new slots       the longest part of ours that is there is completed. If something that is not
 *                     ours is there, ours goes behind it, unless its key is there as well
 *     removed slots   are removed again if all of them are as they were; else they are somebody's
 *
 * A kill can end a write between two pages, and another program then append to the fragment. That
 * leaves records where no record can be; see kvp_redo.cut_at.
 *
 * Nothing here looks at a byte of a file or of the journal before it knows that it is there.
 */

#include "services/kvp_journal.h"

#include "base/bytes.h"

#include <string.h>

#define DONE_MAGIC UINT64_C(0x454e4f445056564b) /* "KVVPDONE" */
#define TXN_MAGIC  UINT64_C(0x334e58545056564b) /* "KVVPTXN3" */

enum {
	HEAD_SIZE = 48,
	SUMS_SIZE = KVP_RECORD_SECTORS * 8,
	WRITE_SIZE = 8 + SUMS_SIZE + KVP_RECORD_SIZE,
};

static_assert(KVP_JOURNAL_TXN_OFFSET + HEAD_SIZE + KVP_EDIT_MAX * (WRITE_SIZE + SUMS_SIZE) <=
	      KVP_JOURNAL_AREA_SIZE, "an area has room for the largest transaction");

struct kvp_txn *kvp_txn_new(size_t n_writes)
{
	struct kvp_txn *txn = calloc(1, sizeof(*txn) + n_writes * sizeof(txn->writes[0]));

	if (txn)
		txn->n_writes = (uint32_t)n_writes;
	return txn;
}

struct kvp_txn *kvp_txn_free(struct kvp_txn *txn)
{
	while (txn) {
		struct kvp_txn *earlier = txn->earlier;

		free(txn);
		txn = earlier;
	}
	return NULL;
}

struct kvp_sums kvp_sums_of(const uint8_t record[KVP_RECORD_SIZE])
{
	struct kvp_sums sums;

	for (size_t i = 0; i < KVP_RECORD_SECTORS; i++)
		sums.of[i] = kvp_sum(record + i * KVP_SECTOR_SIZE, KVP_SECTOR_SIZE);
	return sums;
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static uint32_t n_removed(const struct kvp_txn *txn)
{
	return txn->n_before > txn->n_after ? txn->n_before - txn->n_after : 0;
}

/* --- chains --- */

static bool is_in_place(const struct kvp_txn *txn)
{
	return txn->n_before == txn->n_after;
}

bool kvp_txn_may_follow(const struct kvp_txn *txn, const struct kvp_txn *last)
{
	size_t n_writes = txn->n_writes;

	for (const struct kvp_txn *t = last; t; t = t->earlier)
		n_writes += t->n_writes;
	return last && last->pool == txn->pool && is_in_place(last) && is_in_place(txn) &&
	       last->n_after == txn->n_before && n_writes <= KVP_EDIT_MAX;
}

static const struct kvp_txn_write *find_write(const struct kvp_txn *txn, uint32_t slot)
{
	for (uint32_t i = 0; i < txn->n_writes; i++)
		if (txn->writes[i].slot == slot)
			return &txn->writes[i];
	return NULL;
}

/* --- from an edit to slots --- */

/* What becomes of which slot; NULL: the record that moves there. */
struct placed {
	uint32_t slot;
	const uint8_t *record;
};

struct plan {
	size_t n;
	struct placed placed[3 * KVP_EDIT_MAX];
	uint32_t removes[KVP_EDIT_MAX];
	uint32_t n_after;
};

static int compare_slots(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void place(struct plan *plan, uint32_t slot, const uint8_t *record)
{
	plan->placed[plan->n++] = (struct placed){slot, record};
}

/* The new record that the edit has for @slot, which is then taken from there; NULL: none. */
static const uint8_t *take_placed(struct plan *plan, uint32_t slot)
{
	for (size_t i = 0; i < plan->n; i++) {
		const uint8_t *record = plan->placed[i].record;

		if (plan->placed[i].slot != slot)
			continue;
		plan->placed[i] = plan->placed[--plan->n];
		return record;
	}
	return NULL;
}

/* The last records go into the @n_holes holes that lie before the new end. */
static void close_holes(struct plan *plan, const uint32_t *holes, size_t n_holes, uint32_t n_before,
			struct kvp_moves *moves)
{
	uint32_t from = n_before;
	size_t last = n_holes;

	for (size_t i = 0; i < n_holes && holes[i] < plan->n_after; i++) {
		const uint8_t *record;

		for (from--; last > 0 && holes[last - 1] == from; from--)
			last--;
		record = take_placed(plan, from);
		place(plan, holes[i], record);
		moves->moves[moves->n_moves++] = (struct kvp_move){from, holes[i], record};
	}
}

static int compare_placed(const void *a, const void *b)
{
	return compare_slots(&((const struct placed *)a)->slot, &((const struct placed *)b)->slot);
}

static int plan_edit(const struct kvp_edit *edit, uint32_t n_before, struct plan *plan,
		     struct kvp_moves *moves)
{
	size_t n_fill = min_size(edit->n_appends, edit->n_removes);
	size_t n_holes = edit->n_removes - n_fill;

	if (edit->n_writes > KVP_EDIT_MAX || edit->n_appends > KVP_EDIT_MAX ||
	    edit->n_removes > KVP_EDIT_MAX || n_before + edit->n_appends - n_fill > KVP_SLOTS_MAX)
		return KVP_EDIT_TOO_LARGE;
	memcpy(plan->removes, edit->removes, edit->n_removes * sizeof(plan->removes[0]));
	qsort(plan->removes, edit->n_removes, sizeof(plan->removes[0]), compare_slots);
	plan->n_after = (uint32_t)(n_before + edit->n_appends - n_fill - n_holes);

	for (size_t i = 0; i < edit->n_writes; i++)
		place(plan, edit->writes[i].slot, edit->writes[i].record);
	for (size_t i = 0; i < edit->n_appends; i++) {
		uint32_t slot = i < n_fill ? plan->removes[i] : (uint32_t)(n_before + i - n_fill);

		moves->append_slots[i] = slot;
		place(plan, slot, edit->appends[i]);
	}
	close_holes(plan, plan->removes + n_fill, n_holes, n_before, moves);
	qsort(plan->placed, plan->n, sizeof(plan->placed[0]), compare_placed);
	return plan->n > KVP_EDIT_MAX ? KVP_EDIT_TOO_LARGE : 0;
}

int kvp_txn_plan(const struct kvp_edit *edit, uint32_t pool, uint32_t n_before,
		 struct kvp_txn **ret_txn, struct kvp_moves *ret_moves)
{
	struct plan plan = {0};
	struct kvp_txn *txn;
	int r;

	ret_moves->n_moves = 0;
	r = plan_edit(edit, n_before, &plan, ret_moves);
	if (r)
		return r;
	txn = kvp_txn_new(plan.n);
	if (!txn)
		return -ENOMEM;
	txn->pool = pool;
	txn->n_before = n_before;
	txn->n_after = plan.n_after;
	for (size_t i = 0; i < plan.n; i++) {
		txn->writes[i].slot = plan.placed[i].slot;
		if (plan.placed[i].record)
			memcpy(txn->writes[i].after, plan.placed[i].record, KVP_RECORD_SIZE);
	}
	*ret_txn = txn;
	return 0;
}

/* --- bytes --- */

/*
 * An area: u64 "done", u64 number of what is done, zeros up to byte 512; then the transactions of
 * one chain, the first there, each other at the next multiple of 4096. A transaction: u64 magic, u64 sum of all that follows, u64 number, u32 pool, u32 n_before, u32 n_after,
 * u32 n_writes, u64 zero; n_writes times (u32 slot, u32 zero, sums, record); sums of the removed.
 */

size_t kvp_txn_size(const struct kvp_txn *txn)
{
	return HEAD_SIZE + (size_t)txn->n_writes * WRITE_SIZE + (size_t)n_removed(txn) * SUMS_SIZE;
}

static void put_sums(struct bytes_writer *out, const struct kvp_sums *sums)
{
	for (size_t i = 0; i < KVP_RECORD_SECTORS; i++)
		bytes_put_u64(out, sums->of[i]);
}

static void get_sums(struct bytes_reader *in, struct kvp_sums *sums)
{
	for (size_t i = 0; i < KVP_RECORD_SECTORS; i++)
		sums->of[i] = bytes_get_u64(in);
}

void kvp_txn_encode(const struct kvp_txn *txn, uint8_t *buf)
{
	size_t size = kvp_txn_size(txn);
	struct bytes_writer out;

	bytes_writer_init(&out, buf, size);
	bytes_put_u64(&out, TXN_MAGIC);
	bytes_put_u64(&out, 0);
	bytes_put_u64(&out, txn->number);
	bytes_put_u32(&out, txn->pool);
	bytes_put_u32(&out, txn->n_before);
	bytes_put_u32(&out, txn->n_after);
	bytes_put_u32(&out, txn->n_writes);
	bytes_put_u64(&out, 0);
	for (uint32_t i = 0; i < txn->n_writes; i++) {
		bytes_put_u32(&out, txn->writes[i].slot);
		bytes_put_u32(&out, 0);
		put_sums(&out, &txn->writes[i].before);
		bytes_put(&out, txn->writes[i].after, KVP_RECORD_SIZE);
	}
	for (uint32_t i = 0; i < n_removed(txn); i++)
		put_sums(&out, &txn->removed[i]);

	bytes_writer_init(&out, buf + 8, 8);
	bytes_put_u64(&out, kvp_sum(buf + 16, size - 16));
}

void kvp_area_encode_done(uint64_t number, uint8_t buf[KVP_JOURNAL_DONE_SIZE])
{
	struct bytes_writer out;

	bytes_writer_init(&out, buf, KVP_JOURNAL_DONE_SIZE);
	bytes_put_u64(&out, DONE_MAGIC);
	bytes_put_u64(&out, number);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* The head, into @txn, which has no writes yet. */
static int get_head(struct bytes_reader *in, struct kvp_txn *txn, uint64_t *ret_sum)
{
	if (bytes_get_u64(in) != TXN_MAGIC)
		return KVP_JOURNAL_UNREADABLE;
	*ret_sum = bytes_get_u64(in);
	txn->number = bytes_get_u64(in);
	txn->pool = bytes_get_u32(in);
	txn->n_before = bytes_get_u32(in);
	txn->n_after = bytes_get_u32(in);
	txn->n_writes = bytes_get_u32(in);
	bytes_skip(in, 8);
	if (!bytes_reader_ok(in) || txn->pool >= KVP_POOLS || txn->n_before > KVP_SLOTS_MAX ||
	    txn->n_after > KVP_SLOTS_MAX || txn->n_writes > KVP_EDIT_MAX ||
	    n_removed(txn) > KVP_EDIT_MAX)
		return KVP_JOURNAL_UNREADABLE;
	return 0;
}

/* Are the slots in order, inside, and are all new ones there? */
static bool is_whole(const struct kvp_txn *txn)
{
	uint32_t n_new = txn->n_after > txn->n_before ? txn->n_after - txn->n_before : 0;

	if (txn->number == 0 || n_new > txn->n_writes)
		return false;
	for (uint32_t i = 0; i < txn->n_writes; i++) {
		if (txn->writes[i].slot >= txn->n_after ||
		    (i > 0 && txn->writes[i].slot <= txn->writes[i - 1].slot))
			return false;
	}
	return n_new == 0 || txn->writes[txn->n_writes - n_new].slot == txn->n_before;
}

static int get_body(struct bytes_reader *in, const struct kvp_txn *head, struct kvp_txn *txn)
{
	uint32_t n = txn->n_writes;

	*txn = *head;
	txn->n_writes = n;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *record;

		txn->writes[i].slot = bytes_get_u32(in);
		bytes_skip(in, 4);
		get_sums(in, &txn->writes[i].before);
		record = bytes_get_direct(in, KVP_RECORD_SIZE);
		if (record)
			memcpy(txn->writes[i].after, record, KVP_RECORD_SIZE);
	}
	for (uint32_t i = 0; i < n_removed(txn); i++)
		get_sums(in, &txn->removed[i]);
	return bytes_reader_ok(in) && is_whole(txn) ? 0 : KVP_JOURNAL_UNREADABLE;
}

int kvp_txn_decode(const uint8_t *bytes, size_t size, struct kvp_txn **ret_txn)
{
	_cleanup_(cleanup_kvp_txnp) struct kvp_txn *txn = NULL;
	struct kvp_txn head = {0};
	struct bytes_reader in;
	uint64_t sum;

	if (size < HEAD_SIZE)
		return KVP_JOURNAL_UNREADABLE;
	if (is_zero(bytes, HEAD_SIZE))
		return KVP_JOURNAL_EMPTY;
	bytes_reader_init(&in, bytes, size);
	if (get_head(&in, &head, &sum) || kvp_txn_size(&head) > size ||
	    kvp_sum(bytes + 16, kvp_txn_size(&head) - 16) != sum)
		return KVP_JOURNAL_UNREADABLE;
	txn = kvp_txn_new(head.n_writes);
	if (!txn)
		return -ENOMEM;
	if (get_body(&in, &head, txn))
		return KVP_JOURNAL_UNREADABLE;
	*ret_txn = steal_ptr(txn);
	return 0;
}

uint64_t kvp_area_done(const uint8_t *area)
{
	struct bytes_reader in;

	bytes_reader_init(&in, area, KVP_JOURNAL_DONE_SIZE);
	return bytes_get_u64(&in) == DONE_MAGIC ? bytes_get_u64(&in) : 0;
}

size_t kvp_txn_end(const struct kvp_txn *txn, size_t offset)
{
	return (offset + kvp_txn_size(txn) + KVP_JOURNAL_TXN_ALIGN - 1) &
	       ~(size_t)(KVP_JOURNAL_TXN_ALIGN - 1);
}

/* What is left of another chain behind this one has older numbers. */
static bool is_next(const struct kvp_txn *txn, const struct kvp_txn *last)
{
	return txn->number == last->number + 1 && kvp_txn_may_follow(txn, last);
}

int kvp_area_decode(const uint8_t *area, struct kvp_txn **ret_last)
{
	_cleanup_(cleanup_kvp_txnp) struct kvp_txn *last = NULL, *txn = NULL;
	size_t at = KVP_JOURNAL_TXN_OFFSET;
	int r;

	r = kvp_txn_decode(area + at, KVP_JOURNAL_AREA_SIZE - at, &last);
	if (r)
		return r;
	for (;;) {
		at = kvp_txn_end(last, at);
		if (at >= KVP_JOURNAL_AREA_SIZE)
			break;
		r = kvp_txn_decode(area + at, KVP_JOURNAL_AREA_SIZE - at, &txn);
		if (r < 0)
			return r;
		if (r > 0 || !is_next(txn, last))
			break;
		txn->earlier = last;
		last = steal_ptr(txn);
	}
	*ret_last = steal_ptr(last);
	return 0;
}

/* --- again --- */

/* A pool file's bytes. */
struct image {
	const uint8_t *bytes;
	size_t size;
	uint32_t slots; /* whole records */
	size_t tail;    /* bytes behind them */
};

static const uint8_t *slot_of(const struct image *image, uint32_t slot)
{
	return image->bytes + (size_t)slot * KVP_RECORD_SIZE;
}

/* Is sector number @i of @slot what one of the chain has found there, or wanted there? */
static bool is_ours(const struct kvp_txn *last, uint32_t slot, size_t i, const uint8_t *sector)
{
	uint64_t sum = kvp_sum(sector, KVP_SECTOR_SIZE);

	for (const struct kvp_txn *txn = last; txn; txn = txn->earlier) {
		const struct kvp_txn_write *w = find_write(txn, slot);

		if (w && (sum == w->before.of[i] ||
			  memcmp(sector, w->after + i * KVP_SECTOR_SIZE, KVP_SECTOR_SIZE) == 0))
			return true;
	}
	return false;
}

static bool are_ours(const struct kvp_txn *last, uint32_t slot, const uint8_t *record)
{
	for (size_t i = 0; i < KVP_RECORD_SECTORS; i++)
		if (!is_ours(last, slot, i, record + i * KVP_SECTOR_SIZE))
			return false;
	return true;
}

/* The same for the first @len bytes of a slot that is new: ours, or zero because it never came. */
static bool is_ours_or_zero(const struct kvp_txn_write *w, const uint8_t *record, size_t len)
{
	for (size_t at = 0; at < len; at += KVP_SECTOR_SIZE) {
		size_t n = min_size(KVP_SECTOR_SIZE, len - at);

		if (memcmp(record + at, w->after + at, n) != 0 && !is_zero(record + at, n))
			return false;
	}
	return true;
}

static void redo_write(const struct kvp_txn_write *w, struct kvp_edit *edit)
{
	edit->writes[edit->n_writes++] = (struct kvp_edit_write){w->slot, w->after};
}

/* @w is the last of the chain that writes this slot. */
static void redo_in_place(const struct kvp_txn *last, const struct kvp_txn_write *w,
			  const struct image *image, struct kvp_edit *edit, struct kvp_redo *redo)
{
	if (w->slot >= image->slots || !are_ours(last, w->slot, slot_of(image, w->slot)))
		redo->overtaken++;
	else if (memcmp(slot_of(image, w->slot), w->after, KVP_RECORD_SIZE) != 0)
		redo_write(w, edit);
}

static bool has_key_of(const struct image *image, const uint8_t *record)
{
	size_t len = strnlen((const char *)record, KVP_KEY_SIZE - 1) + 1;

	for (uint32_t slot = 0; slot < image->slots; slot++)
		if (strncmp((const char *)slot_of(image, slot), (const char *)record, len) == 0)
			return true;
	return false;
}

/* New slots, the first of which is at @w, with something in the file that is not ours. */
static void redo_behind(const struct kvp_txn_write *w, const struct kvp_txn_write *end,
			const struct image *image, struct kvp_edit *edit, struct kvp_redo *redo)
{
	uint64_t at = (uint64_t)w->slot * KVP_RECORD_SIZE;

	if (image->tail > 0 && memcmp(image->bytes + at, w->after, image->tail) == 0) {
		redo->cut_at = at;
		redo->foreign_at = at + image->tail;
	}
	for (; w < end; w++) {
		if (redo->cut_at == 0 && has_key_of(image, w->after))
			redo->overtaken++;
		else
			edit->appends[edit->n_appends++] = w->after;
	}
}

static void redo_new(const struct kvp_txn_write *w, const struct kvp_txn_write *end,
		     const struct image *image, struct kvp_edit *edit, struct kvp_redo *redo)
{
	for (; w < end && w->slot < image->slots; w++) {
		const uint8_t *record = slot_of(image, w->slot);

		if (!is_ours_or_zero(w, record, KVP_RECORD_SIZE)) {
			redo_behind(w, end, image, edit, redo);
			return;
		}
		if (memcmp(record, w->after, KVP_RECORD_SIZE) != 0)
			redo_write(w, edit);
	}
	if (w < end && image->tail > 0 && w->slot == image->slots)
		edit->drop_tail = is_ours_or_zero(w, slot_of(image, w->slot), image->tail);
	for (; w < end; w++)
		edit->appends[edit->n_appends++] = w->after;
}

static void redo_removes(const struct kvp_txn *txn, const struct image *image,
			 struct kvp_edit *edit)
{
	if (image->slots < txn->n_before)
		return;
	for (uint32_t i = 0; i < n_removed(txn); i++) {
		struct kvp_sums sums = kvp_sums_of(slot_of(image, txn->n_after + i));

		if (memcmp(&sums, &txn->removed[i], sizeof(sums)) != 0)
			return;
	}
	for (uint32_t i = 0; i < n_removed(txn); i++)
		edit->removes[edit->n_removes++] = txn->n_after + i;
}

static bool is_written_later(const struct kvp_txn *last, const struct kvp_txn *txn, uint32_t slot)
{
	for (; last != txn; last = last->earlier)
		if (find_write(last, slot))
			return true;
	return false;
}

void kvp_txn_redo(const struct kvp_txn *last, const uint8_t *image, size_t size,
		  struct kvp_edit *ret_edit, struct kvp_redo *ret_redo)
{
	const struct image file = {image, size, (uint32_t)(size / KVP_RECORD_SIZE),
				   size % KVP_RECORD_SIZE};
	const struct kvp_txn_write *w = last->writes, *end = last->writes + last->n_writes;

	*ret_edit = (struct kvp_edit){0};
	*ret_redo = (struct kvp_redo){0};
	for (; w < end && w->slot < last->n_before; w++)
		redo_in_place(last, w, &file, ret_edit, ret_redo);
	redo_new(w, end, &file, ret_edit, ret_redo);
	redo_removes(last, &file, ret_edit);
	for (const struct kvp_txn *txn = last->earlier; txn; txn = txn->earlier)
		for (uint32_t i = 0; i < txn->n_writes; i++)
			if (!is_written_later(last, txn, txn->writes[i].slot))
				redo_in_place(last, &txn->writes[i], &file, ret_edit, ret_redo);
}
