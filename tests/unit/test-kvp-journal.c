/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_journal.c and kvp_record.c: transactions as bytes, and what is left to do of them.
 */

#include "services/kvp_journal.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

enum {
	SLOTS_MAX = 16,
};

/* A pool file. */
struct image {
	size_t size;
	uint8_t bytes[SLOTS_MAX * KVP_RECORD_SIZE];
};

static void put_record(uint8_t record[KVP_RECORD_SIZE], char key, const char *value)
{
	char text[2] = {key, '\0'}, long_value[KVP_VALUE_SIZE];

	/* Every sector differs from every other record's. */
	memset(long_value, key, sizeof(long_value) - 1);
	memcpy(long_value, value, strlen(value));
	long_value[sizeof(long_value) - 1] = '\0';
	kvp_record_write(record, text, long_value);
	memset(record + 2, *value ^ key, KVP_KEY_SIZE - 2);
}

/* Records whose keys are the letters of @keys. */
static struct image *new_image(const char *keys)
{
	struct image *image = calloc(1, sizeof(*image));

	cr_assert(ne(ptr, image, NULL));
	for (; *keys; keys++, image->size += KVP_RECORD_SIZE)
		put_record(image->bytes + image->size, *keys, "old");
	return image;
}

/* The keys, in order. */
static char *keys_of(const struct image *image)
{
	static char keys[SLOTS_MAX + 1];
	size_t n = image->size / KVP_RECORD_SIZE;

	for (size_t i = 0; i < n; i++)
		keys[i] = (char)image->bytes[i * KVP_RECORD_SIZE];
	keys[n] = '\0';
	return keys;
}

/* As the files' part does it: @edit as a transaction for @image. */
static struct kvp_txn *plan(const struct kvp_edit *edit, const struct image *image)
{
	uint32_t n = (uint32_t)(image->size / KVP_RECORD_SIZE);
	struct kvp_moves moves;
	struct kvp_txn *txn;

	cr_assert(eq(int, kvp_txn_plan(edit, 1, n, &txn, &moves), 0));
	for (size_t m = 0; m < moves.n_moves; m++)
		for (uint32_t i = 0; i < txn->n_writes && !moves.moves[m].rewritten; i++)
			if (txn->writes[i].slot == moves.moves[m].to)
				memcpy(txn->writes[i].after,
				       image->bytes + moves.moves[m].from * KVP_RECORD_SIZE,
				       KVP_RECORD_SIZE);
	for (uint32_t i = 0; i < txn->n_writes && txn->writes[i].slot < n; i++)
		txn->writes[i].before =
			kvp_sums_of(image->bytes + txn->writes[i].slot * KVP_RECORD_SIZE);
	for (uint32_t slot = txn->n_after; slot < n; slot++)
		txn->removed[slot - txn->n_after] = kvp_sums_of(image->bytes + slot * KVP_RECORD_SIZE);
	txn->number = 7;
	return txn;
}

/* The first @n_sectors sectors that the transaction writes, and then its new end. */
static void do_in_part(struct image *image, const struct kvp_txn *txn, size_t n_sectors)
{
	for (uint32_t i = 0; i < txn->n_writes; i++) {
		for (size_t s = 0; s < KVP_RECORD_SECTORS; s++) {
			size_t at = txn->writes[i].slot * KVP_RECORD_SIZE + s * KVP_SECTOR_SIZE;

			if (n_sectors == 0)
				return;
			n_sectors--;
			memcpy(image->bytes + at, txn->writes[i].after + s * KVP_SECTOR_SIZE,
			       KVP_SECTOR_SIZE);
			if (image->size < at + KVP_SECTOR_SIZE)
				image->size = at + KVP_SECTOR_SIZE;
		}
	}
	if (n_sectors > 0 && txn->n_after < txn->n_before)
		image->size = txn->n_after * KVP_RECORD_SIZE;
}

static void do_edit(struct image *image, const struct kvp_edit *edit)
{
	struct kvp_txn *txn;

	if (edit->drop_tail)
		image->size -= image->size % KVP_RECORD_SIZE;
	txn = plan(edit, image);
	do_in_part(image, txn, SIZE_MAX);
	kvp_txn_free(txn);
}

static void redo(struct image *image, const struct kvp_txn *txn, struct kvp_redo *ret_redo)
{
	struct kvp_edit edit;

	kvp_txn_redo(txn, image->bytes, image->size, &edit, ret_redo);
	do_edit(image, &edit);
}

/* An edit of letters: writes lower case to upper case, appends, removes. */
static struct kvp_edit make_edit(const char *keys, const char *writes, const char *appends,
				 const char *removes, uint8_t (*records)[KVP_RECORD_SIZE])
{
	struct kvp_edit edit = {0};

	for (; *writes; writes++) {
		put_record(*records, *writes, "new");
		edit.writes[edit.n_writes++] = (struct kvp_edit_write){
			(uint32_t)(strchr(keys, *writes) - keys), *records++};
	}
	for (; *appends; appends++) {
		put_record(*records, *appends, "new");
		edit.appends[edit.n_appends++] = *records++;
	}
	for (; *removes; removes++)
		edit.removes[edit.n_removes++] = (uint32_t)(strchr(keys, *removes) - keys);
	return edit;
}

static const struct {
	const char *before, *writes, *appends, *removes, *after;
} edits[] = {
	{"abcd", "b", "", "", "abcd"},
	{"abcd", "ad", "", "", "abcd"},
	{"", "", "xy", "", "xy"},
	{"ab", "a", "xyz", "", "abxyz"},
	{"abcd", "", "", "b", "adc"},
	{"abcd", "", "", "d", "abc"},
	{"abcd", "", "", "ab", "dc"},
	{"abcd", "", "", "abcd", ""},
	{"abcd", "d", "", "a", "dbc"},
	{"abcd", "c", "x", "b", "axcd"},
	{"abcd", "c", "xyz", "ab", "xycdz"},
	{"abcdef", "ef", "x", "abc", "xfed"},
};

enum {
	N_EDITS = sizeof(edits) / sizeof(edits[0]),
};

static struct kvp_edit edit_number(size_t i, uint8_t (*records)[KVP_RECORD_SIZE])
{
	return make_edit(edits[i].before, edits[i].writes, edits[i].appends, edits[i].removes, records);
}

Test(kvp_journal, an_edit_leaves_no_holes)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];

	for (size_t i = 0; i < N_EDITS; i++) {
		struct image *image = new_image(edits[i].before);
		struct kvp_edit edit = edit_number(i, records);

		do_edit(image, &edit);
		cr_expect(eq(str, keys_of(image), (char *)(uintptr_t)edits[i].after), "row %zu", i);
		for (const char *w = edits[i].writes; *w; w++) {
			size_t slot = (size_t)(strchr(edits[i].after, *w) - edits[i].after);

			cr_expect(eq(int, memcmp(image->bytes + slot * KVP_RECORD_SIZE + KVP_KEY_SIZE,
						 "new", 3), 0),
				  "row %zu", i);
		}
		free(image);
	}
}

Test(kvp_journal, what_was_done_in_part_is_completed_from_every_sector_on)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];

	for (size_t i = 0; i < N_EDITS; i++) {
		struct image *before = new_image(edits[i].before), *after = new_image(edits[i].before);
		struct image *now = new_image("");
		struct kvp_edit edit = edit_number(i, records);
		struct kvp_txn *txn = plan(&edit, before);
		struct kvp_redo result;

		do_edit(after, &edit);
		for (size_t n = 0; n <= txn->n_writes * KVP_RECORD_SECTORS + 1; n++) {
			*now = *before;
			do_in_part(now, txn, n);
			redo(now, txn, &result);
			cr_expect(eq(sz, result.overtaken, 0), "row %zu, %zu sectors", i, n);
			cr_expect(eq(sz, now->size, after->size), "row %zu, %zu sectors", i, n);
			cr_expect(eq(int, memcmp(now->bytes, after->bytes, after->size), 0),
				  "row %zu, %zu sectors", i, n);
		}
		kvp_txn_free(txn);
		free(before);
		free(after);
		free(now);
	}
}

Test(kvp_journal, what_others_have_written_since_stays)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];
	struct kvp_edit edit = make_edit("abcd", "bc", "", "", records);
	struct image *image = new_image("abcd");
	struct kvp_txn *txn = plan(&edit, image);
	struct kvp_redo result;

	put_record(image->bytes + KVP_RECORD_SIZE, 'b', "theirs");
	redo(image, txn, &result);
	cr_expect(eq(sz, result.overtaken, 1));
	cr_expect(eq(int, memcmp(image->bytes + KVP_RECORD_SIZE + KVP_KEY_SIZE, "theirs", 6), 0));
	cr_expect(eq(int, memcmp(image->bytes + 2 * KVP_RECORD_SIZE + KVP_KEY_SIZE, "new", 3), 0));
	image->size = 0;
	redo(image, txn, &result);
	cr_expect(eq(sz, image->size, 0));
	kvp_txn_free(txn);
	free(image);
}

Test(kvp_journal, what_others_have_appended_stays)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];
	static const struct {
		const char *before, *appends, *removes;
		size_t sectors; /* done before they appended */
		const char *after;
	} rows[] = {
		{"ab", "x", "", 0, "abTx"},
		{"ab", "x", "", 5, "abxT"},
		{"ab", "xy", "", 0, "abTxy"},
		{"abcd", "", "b", 0, "adcT"},  /* as if it had come later */
		{"abcd", "", "b", 5, "adcT"},
		{"abcd", "", "b", 6, "adcT"},
		{"abcd", "", "d", 1, "abcT"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kvp_edit edit = make_edit(rows[i].before, "", rows[i].appends, rows[i].removes,
						 records);
		struct image *image = new_image(rows[i].before);
		struct kvp_txn *txn = plan(&edit, image);
		struct kvp_redo result;
		char keys[SLOTS_MAX + 1];

		do_in_part(image, txn, rows[i].sectors);
		put_record(image->bytes + image->size, 'T', "theirs");
		image->size += KVP_RECORD_SIZE;
		redo(image, txn, &result);
		strcpy(keys, keys_of(image));
		/* Which of two records is moved into a hole is not of interest. */
		cr_expect(eq(sz, strlen(keys), strlen(rows[i].after)), "row %zu: %s", i, keys);
		for (const char *k = rows[i].after; *k; k++)
			cr_expect(ne(ptr, strchr(keys, *k), NULL), "row %zu: %s", i, keys);
		redo(image, txn, &result);
		cr_expect(eq(str, keys_of(image), keys), "row %zu, once more", i);
		kvp_txn_free(txn);
		free(image);
	}
}

Test(kvp_journal, what_others_have_appended_to_half_of_ours_is_found)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];
	struct kvp_edit edit = make_edit("ab", "", "x", "", records);
	struct image *image = new_image("ab");
	struct kvp_txn *txn = plan(&edit, image);
	struct kvp_redo result;

	do_in_part(image, txn, 3);
	cr_assert(eq(sz, image->size, 2 * KVP_RECORD_SIZE + 3 * KVP_SECTOR_SIZE));
	put_record(image->bytes + image->size, 'T', "theirs");
	image->size += KVP_RECORD_SIZE;
	kvp_txn_redo(txn, image->bytes, image->size, &edit, &result);
	cr_expect(eq(u64, result.cut_at, 2 * KVP_RECORD_SIZE));
	cr_expect(eq(u64, result.foreign_at, 2 * KVP_RECORD_SIZE + 3 * KVP_SECTOR_SIZE));
	cr_expect(eq(sz, edit.n_appends, 1));
	kvp_txn_free(txn);
	free(image);
}

/* In place, one behind the other, as number 7 and on; the chain is the result. */
static struct kvp_txn *plan_chain(const char *keys, const char *const *writes, size_t n,
				  uint8_t (*records)[KVP_RECORD_SIZE])
{
	struct image *image = new_image(keys);
	struct kvp_txn *last = NULL;

	for (size_t i = 0; i < n; i++) {
		struct kvp_edit edit = make_edit(keys, writes[i], "", "", records);
		struct kvp_txn *txn;

		for (size_t w = 0; w < edit.n_writes; w++, records++)
			memset(*records + KVP_KEY_SIZE, (int)('0' + i), 1000 + w);
		txn = plan(&edit, image);
		txn->number = 7 + i;
		do_in_part(image, txn, SIZE_MAX);
		cr_assert(i == 0 || kvp_txn_may_follow(txn, last));
		txn->earlier = last;
		last = txn;
	}
	free(image);
	return last;
}

/* The first character of a key's value. */
static char value_of(const struct image *image, char key)
{
	size_t slot = (size_t)(strchr(keys_of(image), key) - keys_of(image));

	return (char)image->bytes[slot * KVP_RECORD_SIZE + KVP_KEY_SIZE];
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (*seed >> 33) % n;
}

static const char *const chain_writes[] = {"b", "bc", "a", "b", "c"};

enum {
	N_CHAIN = sizeof(chain_writes) / sizeof(chain_writes[0]),
};

/* Each sector may have stayed as any of them has left it, or as it was. */
Test(kvp_journal, a_chain_is_completed_whatever_of_it_has_arrived)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];
	struct kvp_txn *last = plan_chain("abcd", chain_writes, N_CHAIN, records);
	struct image *now = new_image("");
	uint64_t seed = 1;

	for (int round = 0; round < 1000; round++) {
		struct image *before = new_image("abcd");
		struct kvp_redo result;

		*now = *before;
		for (size_t at = 0; at < now->size; at += KVP_SECTOR_SIZE) {
			uint64_t state = below(&seed, N_CHAIN + 1), t = N_CHAIN;

			for (const struct kvp_txn *txn = last; txn; txn = txn->earlier, t--)
				for (uint32_t i = 0; i < txn->n_writes; i++) {
					size_t slot_at = txn->writes[i].slot * KVP_RECORD_SIZE;

					if (t > state || at < slot_at || at >= slot_at + KVP_RECORD_SIZE)
						continue;
					memcpy(now->bytes + at, txn->writes[i].after + (at - slot_at),
					       KVP_SECTOR_SIZE);
					state = 0; /* nothing older */
				}
		}
		redo(now, last, &result);
		cr_assert(eq(sz, result.overtaken, 0), "round %d", round);
		cr_assert(value_of(now, 'a') == '2' && value_of(now, 'b') == '3' &&
				  value_of(now, 'c') == '4' && value_of(now, 'd') == 'o',
			  "round %d", round);
		cr_assert(now->bytes[2 * KVP_RECORD_SIZE - 1] == before->bytes[2 * KVP_RECORD_SIZE - 1]);
		redo(now, last, &result);
		free(before);
	}
	kvp_txn_free(last);
	free(now);
}

Test(kvp_journal, what_others_have_written_over_a_chain_stays)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];
	struct kvp_txn *last = plan_chain("abcd", chain_writes, N_CHAIN, records);
	struct image *image = new_image("abcd");
	struct kvp_redo result;

	put_record(image->bytes + KVP_RECORD_SIZE, 'b', "theirs");
	redo(image, last, &result);
	cr_expect(eq(sz, result.overtaken, 1));
	cr_expect(value_of(image, 'a') == '2' && value_of(image, 'b') == 't' &&
		  value_of(image, 'c') == '4');
	kvp_txn_free(last);
	free(image);
}

Test(kvp_journal, only_what_writes_in_place_in_one_pool_may_follow)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];
	static const struct {
		const char *before, *writes, *appends, *removes;
		uint32_t pool;
		bool may;
	} rows[] = {
		{"abcd", "b", "", "", 1, true},      {"abcd", "b", "", "", 2, false},
		{"abcd", "", "x", "", 1, false},     {"abcd", "", "", "d", 1, false},
		{"abcd", "", "x", "b", 1, true},     {"abcde", "b", "", "", 1, false},
	};
	struct kvp_txn *last = plan_chain("abcd", chain_writes, 2, records);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kvp_edit edit = make_edit(rows[i].before, rows[i].writes, rows[i].appends,
						 rows[i].removes, records);
		struct image *image = new_image(rows[i].before);
		struct kvp_txn *txn = plan(&edit, image);

		txn->pool = rows[i].pool;
		cr_expect(eq(int, kvp_txn_may_follow(txn, last), rows[i].may), "row %zu", i);
		cr_expect(not(kvp_txn_may_follow(txn, NULL)), "row %zu", i);
		kvp_txn_free(txn);
		free(image);
	}
	kvp_txn_free(last);
}

/* In an area, with the chain's earlier ones; behind it what was left of an older one. */
static uint8_t *encode(const struct kvp_txn *last)
{
	uint8_t *area = calloc(1, KVP_JOURNAL_AREA_SIZE);
	size_t at = KVP_JOURNAL_TXN_OFFSET;

	cr_assert(ne(ptr, area, NULL));
	for (uint64_t number = 7; number <= last->number; number++) {
		const struct kvp_txn *txn = last;

		while (txn->number != number)
			txn = txn->earlier;
		kvp_txn_encode(txn, area + at);
		at = kvp_txn_end(txn, at);
		cr_assert(eq(sz, at % KVP_JOURNAL_TXN_ALIGN, 0));
	}
	return area;
}

static bool is_same(const struct kvp_txn *a, const struct kvp_txn *b)
{
	return kvp_txn_size(a) == kvp_txn_size(b) && a->number == b->number && a->pool == b->pool &&
	       a->n_before == b->n_before && a->n_after == b->n_after &&
	       memcmp(a->removed, b->removed, sizeof(a->removed)) == 0 &&
	       memcmp(a->writes, b->writes, a->n_writes * sizeof(a->writes[0])) == 0;
}

Test(kvp_journal, a_transaction_is_read_as_it_was_written)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];

	for (size_t i = 0; i < N_EDITS; i++) {
		struct kvp_edit edit = edit_number(i, records);
		struct image *image = new_image(edits[i].before);
		struct kvp_txn *txn = plan(&edit, image), *read;
		uint8_t *area = encode(txn);

		cr_assert(eq(int, kvp_area_decode(area, &read), 0), "row %zu", i);
		cr_expect(eq(ptr, read->earlier, NULL));
		cr_expect(is_same(read, txn), "row %zu", i);
		kvp_txn_free(read);
		kvp_txn_free(txn);
		free(area);
		free(image);
	}
}

Test(kvp_journal, a_chain_is_read_up_to_what_was_not_written_to_its_end)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];
	struct kvp_txn *last = plan_chain("abcd", chain_writes, N_CHAIN, records);
	uint8_t *whole = encode(last), *area = malloc(KVP_JOURNAL_AREA_SIZE);
	struct kvp_txn *read;
	size_t at = KVP_JOURNAL_TXN_OFFSET;

	for (uint64_t broken = 7; broken <= 7 + N_CHAIN; broken++) {
		const struct kvp_txn *txn = last, *other;

		memcpy(area, whole, KVP_JOURNAL_AREA_SIZE);
		area[at + 20] ^= 1;
		if (broken == 7) {
			cr_expect(eq(int, kvp_area_decode(area, &read), KVP_JOURNAL_UNREADABLE));
		} else {
			cr_assert(eq(int, kvp_area_decode(area, &read), 0));
			cr_expect(eq(u64, read->number, broken - 1));
			while (txn->number >= broken)
				txn = txn->earlier;
			for (other = read; txn; txn = txn->earlier, other = other->earlier)
				cr_assert(is_same(other, txn), "number %zu", (size_t)txn->number);
			cr_expect(eq(ptr, (void *)(uintptr_t)other, NULL));
			kvp_txn_free(read);
		}
		for (txn = last; txn && txn->number != broken;)
			txn = txn->earlier;
		at = txn ? kvp_txn_end(txn, at) : at;
	}
	/* One that is left of an older chain has another number. */
	memcpy(area, whole, KVP_JOURNAL_AREA_SIZE);
	last->earlier->number = 3;
	kvp_txn_encode(last->earlier, area + at - 2 * KVP_JOURNAL_TXN_ALIGN);
	cr_assert(eq(int, kvp_area_decode(area, &read), 0));
	cr_expect(eq(u64, read->number, 7 + N_CHAIN - 3));
	kvp_txn_free(read);
	kvp_txn_free(last);
	free(whole);
	free(area);
}

Test(kvp_journal, an_area_says_what_of_it_is_done)
{
	uint8_t area[KVP_JOURNAL_DONE_SIZE] = {0};

	cr_expect(eq(u64, kvp_area_done(area), 0));
	kvp_area_encode_done(7, area);
	cr_expect(eq(u64, kvp_area_done(area), 7));
	area[0] ^= 1;
	cr_expect(eq(u64, kvp_area_done(area), 0));
}

Test(kvp_journal, no_bit_of_a_transaction_may_be_wrong_and_no_byte_may_be_missing)
{
	static uint8_t records[SLOTS_MAX][KVP_RECORD_SIZE];
	struct kvp_edit edit = make_edit("abcd", "c", "", "b", records);
	struct image *image = new_image("abcd");
	struct kvp_txn *txn = plan(&edit, image), *read;
	uint8_t *area = encode(txn), *txn_bytes = area + KVP_JOURNAL_TXN_OFFSET;
	size_t size = kvp_txn_size(txn), room = KVP_JOURNAL_AREA_SIZE - KVP_JOURNAL_TXN_OFFSET;

	for (size_t bit = 0; bit < size * 8; bit++) {
		txn_bytes[bit / 8] ^= 1u << bit % 8;
		cr_assert(eq(int, kvp_txn_decode(txn_bytes, room, &read), KVP_JOURNAL_UNREADABLE),
			  "bit %zu", bit);
		txn_bytes[bit / 8] ^= 1u << bit % 8;
	}
	for (size_t less = 0; less < size; less++)
		cr_assert(eq(int, kvp_txn_decode(txn_bytes, less, &read), KVP_JOURNAL_UNREADABLE));
	for (size_t end = size; end > 0; end--) {
		int expected = txn_bytes[end - 1] ? KVP_JOURNAL_UNREADABLE : 0;

		txn_bytes[end - 1] = 0;
		if (expected == 0)
			continue;
		cr_assert(eq(int, kvp_txn_decode(txn_bytes, room, &read),
			     end <= 1 ? KVP_JOURNAL_EMPTY : KVP_JOURNAL_UNREADABLE),
			  "cut off at %zu", end - 1);
	}
	kvp_txn_free(txn);
	free(area);
	free(image);
}

Test(kvp_journal, more_than_a_transaction_can_take_is_refused)
{
	struct kvp_edit edit = {.n_appends = 1};
	struct kvp_moves moves;
	struct kvp_txn *txn;
	uint8_t record[KVP_RECORD_SIZE] = {0};

	edit.appends[0] = record;
	cr_expect(eq(int, kvp_txn_plan(&edit, 0, KVP_SLOTS_MAX, &txn, &moves), KVP_EDIT_TOO_LARGE));
	cr_expect(eq(int, kvp_txn_plan(&edit, 0, KVP_SLOTS_MAX - 1, &txn, &moves), 0));
	kvp_txn_free(txn);
	edit.n_appends = 0;
	edit.n_writes = 40;
	edit.n_removes = 40;
	for (uint32_t i = 0; i < 40; i++) {
		edit.writes[i] = (struct kvp_edit_write){i, record};
		edit.removes[i] = 50 + i;
	}
	cr_expect(eq(int, kvp_txn_plan(&edit, 0, 500, &txn, &moves), KVP_EDIT_TOO_LARGE));
	edit.n_removes = 20;
	cr_expect(eq(int, kvp_txn_plan(&edit, 0, 500, &txn, &moves), 0));
	kvp_txn_free(txn);
}

Test(kvp_record, texts_end_at_a_nul_or_with_their_field)
{
	uint8_t record[KVP_RECORD_SIZE];
	size_t key_len, value_len;

	memset(record, 'x', sizeof(record));
	cr_assert(eq(int, kvp_record_read(record, &key_len, &value_len), 0));
	cr_expect(eq(sz, key_len, KVP_KEY_SIZE - 1));
	cr_expect(eq(sz, value_len, KVP_VALUE_SIZE - 1));
	record[1] = '\0';
	record[KVP_KEY_SIZE] = '\0';
	cr_assert(eq(int, kvp_record_read(record, &key_len, &value_len), 0));
	cr_expect(eq(sz, key_len, 1));
	cr_expect(eq(sz, value_len, 0));
	record[0] = '\0';
	cr_expect(eq(int, kvp_record_read(record, &key_len, &value_len), KVP_RECORD_NO_KEY));
}
