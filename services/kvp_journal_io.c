/* SPDX-License-Identifier: MIT */

/*
 * The journal's file.
 *
 * It has two areas, each with one chain of transactions. A new chain goes into the other area, and
 * only when the last one is done and on the disk, so a write that is cut off half way leaves that,
 * which is harmless to redo. A transaction that follows in a chain has disk blocks of its own; if it
 * is cut off half way, the chain ends before it. Of two readable areas the one with the higher number
 * counts. A number is never used twice, whatever becomes of its transaction.
 *
 * The file is made as long as it will ever be, and written with zeros, so that later no write needs
 * room and the disk has to be told of nothing but the data. It is locked as long as it is open: the
 * pools have one owner of our kind. (Other programs lock the pools' files, not this one.)
 *
 * If there is anything in this file but neither a transaction nor our mark, it is not ours. It is
 * renamed, not overwritten.
 */

#include "services/kvp_journal_io.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum {
	ASIDE_MAX = 100, /* files that are kept because they were no journal */
};

void kvp_journal_init(struct kvp_journal *j)
{
	*j = (struct kvp_journal){.fd = -1};
}

void kvp_journal_fini(struct kvp_journal *j)
{
	j->fd = close_fd(j->fd);
}

static off_t area_offset(unsigned int area)
{
	return (off_t)area * KVP_JOURNAL_AREA_SIZE;
}

int kvp_write_at(int fd, const void *data, size_t len, off_t offset)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return negative_errno();
		if (n == 0)
			return -EIO;
		p += n;
		len -= (size_t)n;
		offset += n;
	}
	return 0;
}

ssize_t kvp_read_at(int fd, void *data, size_t len, off_t offset)
{
	uint8_t *p = data;
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(fd, p + got, len - got, offset + (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return negative_errno();
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

static int sync_data(int fd)
{
	return fdatasync(fd) < 0 ? negative_errno() : 0;
}

static int make_file(int fd, int dir_fd)
{
	_cleanup_free_ uint8_t *zeros = calloc(1, KVP_JOURNAL_SIZE);
	int r;

	if (!zeros)
		return -ENOMEM;
	for (size_t i = 0; i < KVP_JOURNAL_AREAS; i++)
		kvp_area_encode_done(0, zeros + i * KVP_JOURNAL_AREA_SIZE);
	r = kvp_write_at(fd, zeros, KVP_JOURNAL_SIZE, 0);
	if (r)
		return r;
	return fsync(fd) < 0 || fsync(dir_fd) < 0 ? negative_errno() : 0;
}

/* Empty, or nothing but zeros, or begun by us: a mark at the start of one of the areas at least. */
static bool is_ours(const uint8_t *data, size_t len)
{
	uint8_t mark[KVP_JOURNAL_DONE_SIZE];

	if (len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0))
		return true;
	kvp_area_encode_done(0, mark);
	for (size_t i = 0; i < KVP_JOURNAL_AREAS; i++)
		if (memcmp(data + i * KVP_JOURNAL_AREA_SIZE, mark, sizeof(mark) / 2) == 0)
			return true;
	return false;
}

/* What of the chain is not done. */
static struct kvp_txn *drop_done(struct kvp_txn *take_last, uint64_t done)
{
	if (take_last->number <= done)
		return kvp_txn_free(take_last);
	for (struct kvp_txn *txn = take_last; txn; txn = txn->earlier)
		if (txn->earlier && txn->earlier->number <= done)
			txn->earlier = kvp_txn_free(txn->earlier);
	return take_last;
}

/* The last chain of both areas. */
static int read_areas(struct kvp_journal *j, const uint8_t *data, struct kvp_txn **ret_txn)
{
	_cleanup_(cleanup_kvp_txnp) struct kvp_txn *last = NULL;

	j->number = j->end = 0;
	j->area = 0;
	for (unsigned int i = 0; i < KVP_JOURNAL_AREAS; i++) {
		_cleanup_(cleanup_kvp_txnp) struct kvp_txn *txn = NULL;
		int r = kvp_area_decode(data + area_offset(i), &txn);

		if (r < 0)
			return r;
		if (!txn || txn->number <= j->number)
			continue;
		j->number = txn->number;
		j->area = i;
		kvp_txn_free(last);
		last = steal_ptr(txn);
	}
	*ret_txn = last ? drop_done(steal_ptr(last), kvp_area_done(data + area_offset(j->area))) : NULL;
	return 0;
}

static int read_file(struct kvp_journal *j, bool *ret_foreign, struct kvp_txn **ret_txn)
{
	_cleanup_free_ uint8_t *data = calloc(1, KVP_JOURNAL_SIZE);
	ssize_t n;
	int r;

	if (!data)
		return -ENOMEM;
	n = kvp_read_at(j->fd, data, KVP_JOURNAL_SIZE, 0);
	if (n < 0)
		return (int)n;
	r = read_areas(j, data, ret_txn);
	*ret_foreign = r == 0 && j->number == 0 && !is_ours(data, (size_t)n);
	return r;
}

static int open_file(struct kvp_journal *j, int dir_fd, bool make)
{
	struct stat st;

	j->fd = openat(dir_fd, KVP_JOURNAL_NAME,
		       O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (make ? O_CREAT : 0), 0600);
	if (j->fd < 0)
		return errno == ENOENT && !make ? KVP_JOURNAL_ABSENT : negative_errno();
	if (fstat(j->fd, &st) < 0)
		return negative_errno();
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (flock(j->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : negative_errno();
	return 0;
}

/* One that was not made to its end is as good as none. */
static int complete_file(struct kvp_journal *j, int dir_fd)
{
	struct stat st;

	if (fstat(j->fd, &st) < 0)
		return negative_errno();
	return st.st_size < KVP_JOURNAL_SIZE ? make_file(j->fd, dir_fd) : 0;
}

static int try_open(struct kvp_journal *j, int dir_fd, bool make, bool *ret_foreign,
		    struct kvp_txn **ret_txn)
{
	int r = open_file(j, dir_fd, make);

	if (!r)
		r = read_file(j, ret_foreign, ret_txn);
	if (!r && !*ret_foreign)
		r = complete_file(j, dir_fd);
	if (r || *ret_foreign) {
		*ret_txn = kvp_txn_free(*ret_txn);
		kvp_journal_fini(j);
	}
	return r;
}

/* Under a name that nothing has yet. */
static int set_aside(struct kvp_journal *j, int dir_fd)
{
	for (unsigned int i = 0; i < ASIDE_MAX; i++) {
		snprintf(j->aside, sizeof(j->aside), KVP_JOURNAL_NAME ".unreadable");
		if (i > 0)
			snprintf(j->aside, sizeof(j->aside), KVP_JOURNAL_NAME ".unreadable.%u", i);
		if (renameat2(dir_fd, KVP_JOURNAL_NAME, dir_fd, j->aside, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	j->aside[0] = '\0';
	return negative_errno();
}

int kvp_journal_open(struct kvp_journal *j, int dir_fd, bool make, struct kvp_txn **ret_txn)
{
	bool foreign = false;
	int r;

	*ret_txn = NULL;
	if (j->fd >= 0)
		return 0;
	r = try_open(j, dir_fd, make, &foreign, ret_txn);
	if (r || !foreign)
		return r;
	r = set_aside(j, dir_fd);
	if (r)
		return r;
	return try_open(j, dir_fd, make, &foreign, ret_txn);
}

static int erase(struct kvp_journal *j, unsigned int area, size_t at)
{
	static const uint8_t zeros[KVP_SECTOR_SIZE];
	int r = kvp_write_at(j->fd, zeros, sizeof(zeros), area_offset(area) + (off_t)at);

	return r ? r : sync_data(j->fd);
}

bool kvp_journal_may_follow(const struct kvp_journal *j, const struct kvp_txn *txn,
			    const struct kvp_txn *last)
{
	return j->end > 0 && kvp_txn_may_follow(txn, last) &&
	       j->end + kvp_txn_size(txn) <= KVP_JOURNAL_AREA_SIZE;
}

static int write_and_sync(struct kvp_journal *j, const struct kvp_txn *txn, unsigned int area,
			  size_t at)
{
	_cleanup_free_ uint8_t *buf = NULL;
	size_t size = kvp_txn_size(txn);
	int r;

	buf = malloc(size);
	if (!buf)
		return -ENOMEM;
	kvp_txn_encode(txn, buf);
	r = kvp_write_at(j->fd, buf, size, area_offset(area) + (off_t)at);
	return r ? r : sync_data(j->fd);
}

int kvp_journal_write(struct kvp_journal *j, struct kvp_txn *txn, bool follows)
{
	unsigned int area = follows ? j->area : (j->area + 1) % KVP_JOURNAL_AREAS;
	size_t at = follows ? j->end : KVP_JOURNAL_TXN_OFFSET;
	int r;

	assert(!follows || j->end > 0);
	txn->number = ++j->number;
	r = write_and_sync(j, txn, area, at);
	if (r) {
		(void)erase(j, area, at);
		j->end = 0;
		return r;
	}
	j->area = area;
	j->last_at = at;
	j->end = kvp_txn_end(txn, at);
	return 0;
}

int kvp_journal_abort(struct kvp_journal *j)
{
	j->end = 0;
	return erase(j, j->area, j->last_at);
}

void kvp_journal_done(struct kvp_journal *j, uint64_t number)
{
	uint8_t done[KVP_JOURNAL_DONE_SIZE];

	j->end = 0;
	kvp_area_encode_done(number, done);
	(void)!kvp_write_at(j->fd, done, sizeof(done), area_offset(j->area));
}
