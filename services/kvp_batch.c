/* SPDX-License-Identifier: MIT */

/*
 * A batch of changes.
 *
 * Changes that came while the disk was busy go together: one transaction, one wait for the disk,
 * and then all of them are answered. They are of one pool and count in the order in which they
 * came, so of two for one key the last one is made, and each is answered as if it had been made
 * alone.
 *
 * The file is what counts, memory follows it. While the file is locked it is read if somebody else
 * has changed it; what there is then is changed, first in the file, then in memory, where nothing
 * can fail any more, because everything that needs memory was made before.
 *
 * A key that several records have gets one when it is set, and none when it is removed. If these
 * are more than a transaction can take, the others are removed before, by transactions of their
 * own.
 */

#include "services/kvp_batch.h"

#include <string.h>

/* One key of the batch. */
struct touched {
	const struct kvp_change *last; /* that counts */
	struct kvp_item *old;          /* the records that there are */
	struct kvp_item *fresh;        /* the one that there will be */
	bool exists;                   /* after the changes so far */
	size_t append;                 /* its number among what the edit appends */
	uint8_t record[KVP_RECORD_SIZE];
};

struct batch {
	struct kvp_files *files;
	struct kvp_table *table;
	unsigned int pool;
	size_t n_touched;
	struct touched touched[KVP_BATCH_MAX];
	struct kvp_edit edit;
	struct kvp_moves moves;
};

/* --- what others have changed --- */

static int load(struct kvp_files *files, struct kvp_table *table, unsigned int pool)
{
	_cleanup_free_ uint8_t *image = NULL;
	size_t size, unreadable;
	int r;

	r = kvp_files_read(files, pool, &image, &size);
	if (r)
		return r;
	kvp_table_lock(table);
	r = kvp_table_load(table, pool, image, size, &unreadable);
	kvp_table_reclaim(table);
	kvp_table_unlock(table);
	if (r < 0)
		kvp_files_forget(files, pool);
	else if (unreadable)
		kvp_files_note_unreadable(files, pool, unreadable);
	return r;
}

static int refresh_locked(struct kvp_files *files, struct kvp_table *table, unsigned int pool)
{
	return kvp_files_have_changed(files, pool) ? load(files, table, pool) : KVP_TABLE_SAME;
}

int kvp_batch_refresh(struct kvp_files *files, struct kvp_table *table, unsigned int pool,
		      int wait_ms)
{
	int r = kvp_files_lock(files, pool, wait_ms);

	if (r)
		return r;
	r = refresh_locked(files, table, pool);
	kvp_files_unlock(files, pool);
	return r;
}

/* --- which keys there are, and what becomes of them --- */

static struct touched *touch(struct batch *b, const struct kvp_change *change)
{
	struct touched *t;

	for (size_t i = 0; i < b->n_touched; i++)
		if (strcmp(b->touched[i].last->entry.key, change->entry.key) == 0)
			return &b->touched[i];
	t = &b->touched[b->n_touched++];
	t->last = change;
	t->old = kvp_table_find(b->table, b->pool, change->entry.key);
	t->exists = t->old;
	return t;
}

/* How many records the pool will have, as far as it is known. */
static size_t count_after(const struct batch *b)
{
	size_t count = kvp_files_slots(b->files, b->pool);

	for (size_t i = 0; i < b->n_touched; i++) {
		count += b->touched[i].exists;
		count -= b->touched[i].old != NULL;
	}
	return count;
}

/* What this change comes to, after those before it. */
static int take_change(struct batch *b, const struct kvp_change *change)
{
	struct touched *t = touch(b, change);

	if (change->remove && !t->exists)
		return KVP_STORE_NONE;
	if (!change->remove && !t->exists && count_after(b) >= KVP_SLOTS_MAX)
		return KVP_STORE_FULL;
	t->last = change;
	t->exists = !change->remove;
	return 0;
}

static size_t chain_length(const struct kvp_item *item)
{
	size_t n = 0;

	for (; item; item = item->next)
		n++;
	return n;
}

static void remove_chain(struct batch *b, const struct kvp_item *item)
{
	for (; item; item = item->next)
		b->edit.removes[b->edit.n_removes++] = item->slot;
}

static int add_to_edit(struct batch *b, struct touched *t)
{
	if (!t->exists) {
		remove_chain(b, t->old);
		return 0;
	}
	kvp_record_write(t->record, t->last->entry.key, t->last->entry.value);
	if (t->old) {
		b->edit.writes[b->edit.n_writes++] = (struct kvp_edit_write){t->old->slot, t->record};
		remove_chain(b, t->old->next);
	} else {
		t->append = b->edit.n_appends;
		b->edit.appends[b->edit.n_appends++] = t->record;
	}
	return kvp_item_new(t->last->entry.key, t->last->entry.value, &t->fresh);
}

/* Leaves no key with so many records that the batch would not fit. */
static int thin_out(struct batch *b, const struct kvp_item *item)
{
	struct kvp_edit edit = {0};
	struct kvp_moves moves;
	int r;

	for (item = item->next; item && edit.n_removes < KVP_BATCH_MAX; item = item->next)
		edit.removes[edit.n_removes++] = item->slot;
	r = kvp_files_edit(b->files, b->pool, &edit, &moves);
	if (!r)
		r = load(b->files, b->table, b->pool);
	return r == KVP_TABLE_SAME ? 0 : r;
}

static int thin_out_all(struct batch *b, struct kvp_change *const *changes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct kvp_item *item;
		int r;

		while ((item = kvp_table_find(b->table, b->pool, changes[i]->entry.key)) &&
		       chain_length(item) > KVP_EDIT_MAX / KVP_BATCH_MAX / 2) {
			r = thin_out(b, item);
			if (r)
				return r;
		}
	}
	return 0;
}

/* --- making them --- */

/* Nothing here can fail. */
static void follow(struct batch *b)
{
	kvp_table_lock(b->table);
	for (size_t i = 0; i < b->n_touched; i++)
		if (b->touched[i].old && !b->touched[i].exists)
			(void)!kvp_table_remove(b->table, b->pool, b->touched[i].last->entry.key);
	for (size_t i = 0; i < b->moves.n_moves; i++)
		kvp_table_move(b->table, b->pool, b->moves.moves[i].from, b->moves.moves[i].to);
	for (size_t i = 0; i < b->n_touched; i++) {
		struct touched *t = &b->touched[i];

		if (t->exists)
			kvp_table_set(b->table, b->pool, steal_ptr(t->fresh),
				      t->old ? t->old->slot : b->moves.append_slots[t->append]);
	}
	kvp_table_set_slots(b->table, b->pool, kvp_files_slots(b->files, b->pool));
	kvp_table_reclaim(b->table);
	kvp_table_unlock(b->table);
}

static int make_edit(struct batch *b)
{
	int r;

	for (size_t i = 0; i < b->n_touched; i++) {
		r = add_to_edit(b, &b->touched[i]);
		if (r)
			return r;
	}
	kvp_table_lock(b->table);
	r = kvp_table_reserve(b->table, b->pool, b->edit.n_appends);
	kvp_table_unlock(b->table);
	return r;
}

static int commit(struct batch *b)
{
	int r = make_edit(b);

	if (!r && b->edit.n_writes + b->edit.n_appends + b->edit.n_removes > 0)
		r = kvp_files_edit(b->files, b->pool, &b->edit, &b->moves);
	if (!r)
		follow(b);
	for (size_t i = 0; i < b->n_touched; i++)
		b->touched[i].fresh = kvp_item_free(b->touched[i].fresh);
	return r == KVP_EDIT_TOO_LARGE ? KVP_STORE_FULL : r;
}

static int run_locked(struct batch *b, struct kvp_change *const *changes, size_t n, int *results)
{
	int r;

	r = thin_out_all(b, changes, n);
	if (r)
		return r;
	for (size_t i = 0; i < n; i++)
		results[i] = take_change(b, changes[i]);
	return commit(b);
}

bool kvp_batch_run(struct kvp_files *files, struct kvp_table *table,
		   struct kvp_change *const *changes, size_t n, int *ret_results)
{
	_cleanup_free_ struct batch *b = calloc(1, sizeof(*b));
	unsigned int pool = changes[0]->pool;
	bool visible = false;
	int r;

	memset(ret_results, 0, n * sizeof(ret_results[0]));
	r = b ? kvp_files_lock(files, pool, KVP_LOCK_WAIT_MS) : -ENOMEM;
	if (!r) {
		b->files = files;
		b->table = table;
		b->pool = pool;
		r = refresh_locked(files, table, pool);
		visible = r == 0;
		if (r >= 0)
			r = run_locked(b, changes, n, ret_results);
		kvp_files_unlock(files, pool);
	}
	for (size_t i = 0; r && i < n; i++)
		if (ret_results[i] == 0)
			ret_results[i] = r;
	for (size_t i = 0; i < n; i++)
		visible |= ret_results[i] == 0;
	return visible;
}
