/* SPDX-License-Identifier: MIT */

/*
 * The pool files.
 *
 * Others read, write and lock them, too, all on the same inode (kvp_pool_file.c). So a file is never
 * replaced, and it is locked while it is changed.
 *
 * A change (kvp_files_edit):
 *
 *     1  what is about to be overwritten is read
 *     2  unless the change may follow the last one in the journal, that is settled (5), so the
 *        journal's other area is free; room for new records is reserved
 *     3  the transaction goes to the journal, and the journal to the disk. From here on it will happen
 *     4  the file is written. If that fails it is put back, and the transaction taken back
 *
 * and some time after whoever asked has his answer (kvp_files_settle):
 *
 *     5  the file goes to the disk, and the journal's area is marked as done
 *
 * A change may follow the last one if both only overwrite records, so that the disk is waited for
 * once; but not over a change of somebody else, whose slots may be other ones.
 *
 * At the first lock after a start, what the journal has and is not done is done again, as a change
 * of its own (kvp_journal.c says how).
 *
 * Bytes that can be nobody's record are not thrown away when their place is needed: they are
 * appended to a file beside the pool's, ".aside" behind its name.
 */

#include "services/kvp_files.h"

#include "services/kvp_journal_io.h"
#include "services/kvp_pool_file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define STAMP_NAME ".kvp_stamp"

enum {
	NOTES_MAX = 8,
};

struct pool {
	struct kvp_pool_file file;
	int refused;    /* why it cannot be changed while this lock is held; 0: it can */
	bool read_anew; /* since our last change, for it was somebody else's turn */
};

struct kvp_files {
	char dir[PATH_MAX];
	int dir_fd;    /* -1: not open yet */
	struct pool pools[KVP_POOLS];
	struct kvp_journal journal;
	struct kvp_txn *unsettled; /* a chain: in its file, which may not be on the disk */
	struct kvp_txn *pending;   /* has to be done again: from before the start, or refused by the disk */
	bool refused_by_disk;      /* and then nobody waits for it: see kvp_files_settle() */
	size_t n_notes;
	char notes[NOTES_MAX][KVP_FILES_NOTE_SIZE];
};

static _printf_(2, 3) void note(struct kvp_files *f, const char *format, ...)
{
	va_list args;

	if (f->n_notes == NOTES_MAX)
		return;
	va_start(args, format);
	vsnprintf(f->notes[f->n_notes++], sizeof(f->notes[0]), format, args);
	va_end(args);
}

bool kvp_files_next_note(struct kvp_files *f, char ret_note[KVP_FILES_NOTE_SIZE])
{
	if (f->n_notes == 0)
		return false;
	memcpy(ret_note, f->notes[0], KVP_FILES_NOTE_SIZE);
	f->n_notes--;
	memmove(f->notes[0], f->notes[1], f->n_notes * sizeof(f->notes[0]));
	return true;
}

/* --- reading and writing --- */

static off_t slot_offset(uint32_t slot)
{
	return (off_t)slot * KVP_RECORD_SIZE;
}

static int read_slot(const struct kvp_pool_file *p, uint32_t slot, uint8_t record[KVP_RECORD_SIZE])
{
	ssize_t n = kvp_read_at(p->fd, record, KVP_RECORD_SIZE, slot_offset(slot));

	if (n < 0)
		return (int)n;
	return n == KVP_RECORD_SIZE ? 0 : -EIO;
}

static int cut(const struct kvp_pool_file *p, off_t size)
{
	return ftruncate(p->fd, size) < 0 ? negative_errno() : 0;
}

static int keep_aside(struct kvp_files *f, unsigned int pool, const void *data, size_t len)
{
	_cleanup_close_ int fd = -1;
	char name[KVP_POOL_NAME_SIZE + sizeof(".aside")];
	int r;

	snprintf(name, sizeof(name), KVP_POOL_NAME ".aside", pool);
	fd = openat(f->dir_fd, name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return negative_errno();
	r = kvp_write_at(fd, data, len, 0);
	if (!r && fsync(fd) < 0)
		r = negative_errno();
	if (!r)
		note(f, "%s/" KVP_POOL_NAME " had %zu bytes that are no record: they are kept in %s", f->dir,
		     pool, len, name);
	return r;
}

/* --- what others have changed --- */

bool kvp_files_have_changed(const struct kvp_files *f, unsigned int pool)
{
	return kvp_pool_file_has_changed(&f->pools[pool].file, f->dir_fd);
}

void kvp_files_forget(struct kvp_files *f, unsigned int pool)
{
	kvp_pool_file_forget(&f->pools[pool].file);
}

void kvp_files_note_unreadable(struct kvp_files *f, unsigned int pool, size_t n)
{
	note(f, "%s/" KVP_POOL_NAME " has %zu records without a key: they are left where they are, and "
		"not shown", f->dir, pool, n);
}

struct timespec kvp_files_time(const struct kvp_files *f, unsigned int pool)
{
	struct stat st = {0};

	(void)fstat(f->pools[pool].file.fd, &st);
	return st.st_mtim;
}

uint32_t kvp_files_slots(const struct kvp_files *f, unsigned int pool)
{
	uint64_t n = (uint64_t)f->pools[pool].file.seen.size / KVP_RECORD_SIZE;

	return n < KVP_SLOTS_MAX ? (uint32_t)n : KVP_SLOTS_MAX;
}

int kvp_files_read(struct kvp_files *f, unsigned int pool, uint8_t **ret_image, size_t *ret_size)
{
	struct kvp_pool_file *p = &f->pools[pool].file;
	_cleanup_free_ uint8_t *image = NULL;
	size_t size = (size_t)KVP_SLOTS_MAX * KVP_RECORD_SIZE;
	ssize_t n;

	kvp_pool_file_remember(p);
	f->pools[pool].read_anew = true;
	if ((uint64_t)p->seen.size <= size)
		size = (size_t)p->seen.size;
	else
		note(f, "%s/" KVP_POOL_NAME " has more than %d records: the others are left alone", f->dir,
		     pool, KVP_SLOTS_MAX);
	image = malloc(size + 1);
	if (!image)
		return -ENOMEM;
	n = kvp_read_at(p->fd, image, size, 0);
	if (n < 0)
		return (int)n;
	*ret_image = steal_ptr(image);
	*ret_size = (size_t)n;
	return 0;
}

/* --- opening and locking --- */

static int make_folders(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return negative_errno();
		*p = '/';
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? negative_errno() : 0;
}

static int open_dir(struct kvp_files *f)
{
	char path[PATH_MAX];
	int r;

	if (f->dir_fd >= 0)
		return 0;
	memcpy(path, f->dir, sizeof(path));
	r = make_folders(path);
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->dir_fd < 0)
		return r ? r : negative_errno();
	return 0;
}

void kvp_files_unlock(struct kvp_files *f, unsigned int pool)
{
	kvp_pool_file_unlock(&f->pools[pool].file);
}

/* --- the journal --- */

static int open_journal(struct kvp_files *f, bool make)
{
	struct kvp_txn *txn = NULL;
	int r = kvp_journal_open(&f->journal, f->dir_fd, make, &txn);

	if (txn)
		f->pending = txn;
	if (f->journal.aside[0])
		note(f, "%s/" KVP_JOURNAL_NAME " was no journal of ours: it is now %s", f->dir,
		     f->journal.aside);
	f->journal.aside[0] = '\0';
	return r;
}

/* What was half ours and half somebody else's is kept, and what of it is a record gets a slot. */
static int save_foreign(struct kvp_files *f, unsigned int pool, const uint8_t *image, size_t size,
			const struct kvp_redo *redo, struct kvp_edit *edit)
{
	int r = keep_aside(f, pool, image + redo->cut_at, size - redo->cut_at);

	for (uint64_t at = redo->foreign_at;
	     at + KVP_RECORD_SIZE <= size && edit->n_appends < KVP_BATCH_MAX; at += KVP_RECORD_SIZE)
		edit->appends[edit->n_appends++] = image + at;
	return r ? r : cut(&f->pools[pool].file, (off_t)redo->cut_at);
}

static int edit_again(struct kvp_files *f, unsigned int pool, struct kvp_edit *edit)
{
	struct kvp_moves moves;
	int r = kvp_files_edit(f, pool, edit, &moves);

	if (r == KVP_EDIT_TOO_LARGE && edit->n_removes > 0) {
		note(f, "%s/" KVP_POOL_NAME " may have some keys twice after what was interrupted there",
		     f->dir, pool);
		edit->n_removes = 0;
		r = kvp_files_edit(f, pool, edit, &moves);
	}
	return r > 0 ? -EFBIG : r;
}

/*
 * What is there already is there in memory, and a kernel that could not write it to the disk takes it
 * for written: only to write it again helps.
 */
static int write_again(const struct kvp_pool_file *p, const struct kvp_txn *last)
{
	uint8_t record[KVP_RECORD_SIZE];
	int r;

	for (const struct kvp_txn *txn = last; txn; txn = txn->earlier) {
		for (uint32_t i = 0; i < txn->n_writes; i++) {
			const struct kvp_txn_write *w = &txn->writes[i];

			if (read_slot(p, w->slot, record) || memcmp(record, w->after, sizeof(record)) != 0)
				continue;
			r = kvp_write_at(p->fd, record, sizeof(record), slot_offset(w->slot));
			if (r)
				return r;
		}
	}
	return fsync(p->fd) < 0 ? negative_errno() : 0;
}

static int redo(struct kvp_files *f, const struct kvp_txn *txn)
{
	_cleanup_free_ uint8_t *image = NULL;
	struct kvp_redo result;
	struct kvp_edit edit;
	size_t size;
	int r;

	r = kvp_files_read(f, txn->pool, &image, &size);
	if (r)
		return r;
	kvp_txn_redo(txn, image, size, &edit, &result);
	if (result.cut_at)
		r = save_foreign(f, txn->pool, image, size, &result, &edit);
	if (r)
		return r;
	if (result.overtaken)
		note(f, "%s/" KVP_POOL_NAME ": %zu records of an interrupted change were left as another "
			"program has written them since", f->dir, txn->pool, result.overtaken);
	kvp_pool_file_remember(&f->pools[txn->pool].file);
	/* It has to be on the disk before the journal has something else. */
	r = write_again(&f->pools[txn->pool].file, txn);
	if (r)
		return r;
	if (edit.n_writes + edit.n_appends + edit.n_removes > 0)
		return edit_again(f, txn->pool, &edit);
	kvp_journal_done(&f->journal, txn->number);
	return 0;
}

/* What the journal has and is not known to be done. The lock of @locked_pool is held. */
static int redo_pending(struct kvp_files *f, unsigned int locked_pool)
{
	struct kvp_txn *txn = f->pending;
	unsigned int pool;
	int r = 0;

	if (!txn)
		return 0;
	pool = txn->pool;
	if (pool != locked_pool)
		r = kvp_pool_file_try_lock(&f->pools[pool].file, f->dir_fd);
	if (!r)
		r = f->pools[pool].refused = f->pools[pool].file.open_error;
	if (!r) {
		f->pending = NULL;
		r = redo(f, txn);
		kvp_pool_file_forget(&f->pools[pool].file);
		if (r && !f->pending)
			f->pending = steal_ptr(txn);
		kvp_txn_free(txn);
		f->refused_by_disk &= f->pending != NULL;
	}
	if (pool != locked_pool)
		kvp_files_unlock(f, pool);
	return r;
}

int kvp_files_lock(struct kvp_files *f, unsigned int pool, int wait_ms)
{
	int r = open_dir(f);

	if (r)
		return r;
	r = kvp_pool_file_lock(&f->pools[pool].file, f->dir_fd, wait_ms);
	if (r < 0)
		return r;
	if (r == KVP_POOL_FILE_READERS)
		note(f, "%s/" KVP_POOL_NAME " is locked by a program that can only read it, which is not "
			"waited for: /proc/locks names it", f->dir, pool);
	f->pools[pool].refused = f->pools[pool].file.open_error;
	r = open_journal(f, false);
	if (r >= 0)
		r = redo_pending(f, pool);
	if (r < 0) {
		note(f, "%s/" KVP_JOURNAL_NAME ": %s: key-value pairs cannot be changed%s", f->dir,
		     strerror(-r), r == -EBUSY ? ", because another program has it locked" : "");
		f->pools[pool].refused = r;
	}
	return 0;
}

static int sync_file(const struct kvp_pool_file *p, const struct kvp_txn *txn)
{
	int r = txn->n_after < txn->n_before ? fsync(p->fd) : fdatasync(p->fd);

	return r < 0 ? negative_errno() : 0;
}

/* --- changes --- */

/* What is in the slots that a transaction writes, to be put back if need be. */
struct old_slots {
	uint8_t records[KVP_EDIT_MAX][KVP_RECORD_SIZE];
};

static int write_txn(const struct kvp_pool_file *p, const struct kvp_txn *txn)
{
	int r;

	for (uint32_t i = 0; i < txn->n_writes; i++) {
		r = kvp_write_at(p->fd, txn->writes[i].after, KVP_RECORD_SIZE,
			     slot_offset(txn->writes[i].slot));
		if (r)
			return r;
	}
	return txn->n_after < txn->n_before ? cut(p, slot_offset(txn->n_after)) : 0;
}

bool kvp_files_are_unsettled(const struct kvp_files *f)
{
	return f->unsettled || f->refused_by_disk;
}

/* By who has locked the pool: others may have changed it since. What is wrong was said before. */
static int settle_refused(struct kvp_files *f)
{
	unsigned int pool = f->pending->pool;
	size_t n_notes = f->n_notes;
	int r = kvp_files_lock(f, pool, 0);

	if (!r) {
		r = f->pools[pool].refused;
		kvp_files_unlock(f, pool);
	}
	if (r)
		f->n_notes = n_notes;
	return r;
}

int kvp_files_settle(struct kvp_files *f)
{
	struct kvp_txn *txn = f->unsettled;
	int r;

	if (f->refused_by_disk)
		return settle_refused(f);
	if (!txn)
		return 0;
	r = sync_file(&f->pools[txn->pool].file, txn);
	if (r) {
		note(f, "%s/" KVP_POOL_NAME " cannot be written to the disk: %s: the journal has it, "
			"and nothing else is changed before it can", f->dir, txn->pool, strerror(-r));
		f->pending = steal_ptr(f->unsettled);
		f->refused_by_disk = true;
		return r;
	}
	kvp_journal_done(&f->journal, txn->number);
	f->unsettled = kvp_txn_free(txn);
	return 0;
}

/* Records that move are read where they are, and what is overwritten is remembered. */
static int fill_txn(const struct kvp_pool_file *p, const struct kvp_moves *moves, struct kvp_txn *txn,
		    struct old_slots *old)
{
	uint8_t record[KVP_RECORD_SIZE];
	int r;

	for (size_t m = 0; m < moves->n_moves; m++) {
		for (uint32_t i = 0; !moves->moves[m].rewritten && i < txn->n_writes; i++) {
			if (txn->writes[i].slot != moves->moves[m].to)
				continue;
			r = read_slot(p, moves->moves[m].from, txn->writes[i].after);
			if (r)
				return r;
		}
	}
	for (uint32_t i = 0; i < txn->n_writes && txn->writes[i].slot < txn->n_before; i++) {
		r = read_slot(p, txn->writes[i].slot, old->records[i]);
		if (r)
			return r;
		txn->writes[i].before = kvp_sums_of(old->records[i]);
	}
	for (uint32_t slot = txn->n_after; slot < txn->n_before; slot++) {
		r = read_slot(p, slot, record);
		if (r)
			return r;
		txn->removed[slot - txn->n_after] = kvp_sums_of(record);
	}
	return 0;
}

static int make_txn(struct kvp_files *f, unsigned int pool, const struct kvp_edit *edit,
		    struct old_slots *old, struct kvp_txn **ret_txn, struct kvp_moves *ret_moves)
{
	_cleanup_(cleanup_kvp_txnp) struct kvp_txn *txn = NULL;
	int r;

	r = kvp_txn_plan(edit, pool, kvp_files_slots(f, pool), &txn, ret_moves);
	if (r)
		return r;
	r = fill_txn(&f->pools[pool].file, ret_moves, txn, old);
	if (r)
		return r;
	*ret_txn = steal_ptr(txn);
	return 0;
}

/* What is behind the last record, when its place is needed. */
static int clear_tail(struct kvp_files *f, unsigned int pool, bool drop)
{
	uint32_t n = kvp_files_slots(f, pool);
	struct kvp_pool_file *p = &f->pools[pool].file;
	uint8_t tail[KVP_RECORD_SIZE];
	ssize_t len;
	int r;

	if (p->seen.size <= slot_offset(n))
		return 0;
	if (n == KVP_SLOTS_MAX)
		return KVP_EDIT_TOO_LARGE;
	len = kvp_read_at(p->fd, tail, sizeof(tail), slot_offset(n));
	if (len < 0)
		return (int)len;
	r = drop ? 0 : keep_aside(f, pool, tail, (size_t)len);
	return r ? r : cut(p, slot_offset(n));
}

static int reserve_room(const struct kvp_pool_file *p, const struct kvp_txn *txn)
{
	if (txn->n_after <= txn->n_before)
		return 0;
	if (fallocate(p->fd, FALLOC_FL_KEEP_SIZE, slot_offset(txn->n_before),
		      slot_offset(txn->n_after - txn->n_before)) == 0)
		return 0;
	/* Some file systems cannot; then the write itself will tell. */
	return errno == EOPNOTSUPP || errno == ENOSYS ? 0 : negative_errno();
}

static int put_back(const struct kvp_pool_file *p, const struct kvp_txn *txn, const struct old_slots *old)
{
	int r = 0;

	for (uint32_t i = 0; i < txn->n_writes && txn->writes[i].slot < txn->n_before; i++) {
		int error = kvp_write_at(p->fd, old->records[i], KVP_RECORD_SIZE,
				     slot_offset(txn->writes[i].slot));

		r = r ? r : error;
	}
	return r || txn->n_after <= txn->n_before ? r : cut(p, slot_offset(txn->n_before));
}

/* A transaction that the file does not take: @error. */
static int take_back(struct kvp_files *f, struct kvp_txn **txn, const struct old_slots *old, int error)
{
	const struct kvp_pool_file *p = &f->pools[(*txn)->pool].file;
	int r = put_back(p, *txn, old);

	if (!r)
		r = kvp_journal_abort(&f->journal);
	if (r) {
		note(f, "%s/" KVP_POOL_NAME " is half changed, and cannot be put back: %s: it will be tried "
			"again before the next change", f->dir, (*txn)->pool, strerror(-r));
		(*txn)->earlier = steal_ptr(f->unsettled);
		f->pending = steal_ptr(*txn);
		f->refused_by_disk = true;
	}
	return error;
}

static int may_edit(struct kvp_files *f, unsigned int pool)
{
	int r = f->pools[pool].refused;

	if (!r)
		r = open_journal(f, true);
	if (!r && f->pending) /* to be redone by the next lock */
		r = -EBUSY;
	return r;
}

/* Where the disk need not be waited for twice. */
static bool may_follow(const struct kvp_files *f, const struct kvp_txn *txn)
{
	return !f->pools[txn->pool].read_anew && kvp_journal_may_follow(&f->journal, txn, f->unsettled);
}

int kvp_files_edit(struct kvp_files *f, unsigned int pool, const struct kvp_edit *edit,
		   struct kvp_moves *ret_moves)
{
	_cleanup_(cleanup_kvp_txnp) struct kvp_txn *txn = NULL;
	_cleanup_free_ struct old_slots *old = malloc(sizeof(*old));
	struct kvp_pool_file *p = &f->pools[pool].file;
	bool follows;
	int r;

	if (!old)
		return -ENOMEM;
	r = may_edit(f, pool);
	if (!r)
		r = make_txn(f, pool, edit, old, &txn, ret_moves);
	if (r)
		return r;
	follows = may_follow(f, txn);
	if (!follows)
		r = kvp_files_settle(f);
	if (!r && txn->n_after != txn->n_before)
		r = clear_tail(f, pool, edit->drop_tail);
	if (!r)
		r = reserve_room(p, txn);
	if (!r)
		r = kvp_journal_write(&f->journal, txn, follows);
	if (r)
		return r;
	r = write_txn(p, txn);
	if (r) {
		r = take_back(f, &txn, old, r);
	} else {
		txn->earlier = f->unsettled;
		f->unsettled = steal_ptr(txn);
	}
	f->pools[pool].read_anew = false;
	kvp_pool_file_remember_own(p);
	return r;
}

int kvp_files_clear(struct kvp_files *f, unsigned int pool)
{
	struct kvp_pool_file *p = &f->pools[pool].file;
	int r = f->pools[pool].refused;

	if (!r && f->pending)
		r = -EBUSY;
	if (!r)
		r = kvp_files_settle(f);
	if (!r)
		r = cut(p, 0);
	if (!r && fsync(p->fd) < 0)
		r = negative_errno();
	kvp_pool_file_forget(p);
	return r;
}

/* --- the stamp --- */

void kvp_files_get_stamp(const struct kvp_files *f, char *ret_text, size_t size)
{
	_cleanup_close_ int fd = openat(f->dir_fd, STAMP_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : kvp_read_at(fd, ret_text, size - 1, 0);

	ret_text[n > 0 ? n : 0] = '\0';
}

/* This file is nobody's but ours, so it is replaced. */
int kvp_files_put_stamp(struct kvp_files *f, const char *text)
{
	static const char fresh[] = STAMP_NAME ".new";
	_cleanup_close_ int fd = -1;
	int r;

	fd = openat(f->dir_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return negative_errno();
	r = kvp_write_at(fd, text, strlen(text), 0);
	if (!r && (fsync(fd) < 0 || renameat(f->dir_fd, fresh, f->dir_fd, STAMP_NAME) < 0 ||
		   fsync(f->dir_fd) < 0))
		r = negative_errno();
	return r;
}

/* --- */

int kvp_files_new(const char *dir, struct kvp_files **ret_files)
{
	struct kvp_files *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	if (snprintf(f->dir, sizeof(f->dir), "%s", dir) >= (int)sizeof(f->dir)) {
		free(f);
		return -ENAMETOOLONG;
	}
	f->dir_fd = -1;
	kvp_journal_init(&f->journal);
	for (size_t i = 0; i < KVP_POOLS; i++)
		kvp_pool_file_init(&f->pools[i].file, (unsigned int)i);
	*ret_files = f;
	return 0;
}

struct kvp_files *kvp_files_free(struct kvp_files *f)
{
	if (!f)
		return NULL;
	for (size_t i = 0; i < KVP_POOLS; i++)
		kvp_pool_file_close(&f->pools[i].file);
	kvp_journal_fini(&f->journal);
	f->dir_fd = close_fd(f->dir_fd);
	kvp_txn_free(f->pending);
	kvp_txn_free(f->unsettled);
	free(f);
	return NULL;
}
