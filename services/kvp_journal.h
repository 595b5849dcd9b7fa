/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "services/kvp_record.h"

#include <stdbool.h>

/*
 * The journal of the pool files: what is about to be written into one of them, so that it can be
 * written again after a kill or a power cut. docs/PROTOCOL-kvp-pools.md has the format.
 */

enum {
	KVP_SECTOR_SIZE = 512, /* a disk writes this much or nothing */
	KVP_RECORD_SECTORS = KVP_RECORD_SIZE / KVP_SECTOR_SIZE,
	KVP_SLOTS_MAX = 65536, /* records that a pool may have */
	KVP_EDIT_MAX = 64,     /* slots that one transaction writes, or removes */
	KVP_BATCH_MAX = 16,    /* slots that an edit writes, adds and removes together; those of a
				  redo may have more, by what moves anew */

	KVP_JOURNAL_AREAS = 2, /* used in turn, by chains */
	KVP_JOURNAL_AREA_SIZE = 42 * 4096,
	KVP_JOURNAL_SIZE = KVP_JOURNAL_AREAS * KVP_JOURNAL_AREA_SIZE,
	KVP_JOURNAL_DONE_SIZE = 16, /* bytes at the start of an area, overwritten when it is done */
	KVP_JOURNAL_TXN_OFFSET = KVP_SECTOR_SIZE, /* the first transaction of an area */
	KVP_JOURNAL_TXN_ALIGN = 4096,             /* and those that follow it */
};

/* What is to be done with a pool file. The slots are those of the file before. */
struct kvp_edit {
	bool drop_tail; /* what is behind the last whole record is of no use */

	size_t n_writes; /* records that take the place of others */
	struct kvp_edit_write {
		uint32_t slot;
		const uint8_t *record; /* borrowed */
	} writes[KVP_EDIT_MAX];

	size_t n_appends; /* records that get new slots; borrowed */
	const uint8_t *appends[KVP_EDIT_MAX];

	size_t n_removes;
	uint32_t removes[KVP_EDIT_MAX];
};

/* The sums of the sectors of one record. */
struct kvp_sums {
	uint64_t of[KVP_RECORD_SECTORS];
};

/* An edit, slot by slot: one transaction of the journal, and those before it in its chain. */
struct kvp_txn {
	struct kvp_txn *earlier; /* owned; NULL: this one is the first */
	uint64_t number;   /* from 1 on */
	uint32_t pool;
	uint32_t n_before; /* records in the file */
	uint32_t n_after;
	struct kvp_sums removed[KVP_EDIT_MAX]; /* of slots n_after to n_before - 1 */
	uint32_t n_writes;
	struct kvp_txn_write {
		uint32_t slot;
		struct kvp_sums before; /* of slots below n_before */
		uint8_t after[KVP_RECORD_SIZE];
	} writes[]; /* by slot, no slot twice; all of slots n_before to n_after - 1 are there */
};

/* Where what is not written by an edit goes, and where what it adds. */
struct kvp_moves {
	uint32_t append_slots[KVP_EDIT_MAX];
	size_t n_moves;
	struct kvp_move {
		uint32_t from;
		uint32_t to;
		bool rewritten; /* the edit has another record for it, which is in its place already */
	} moves[KVP_EDIT_MAX];
};

/* A transaction with room for @n_writes; the caller's. NULL: no memory. */
struct kvp_txn *kvp_txn_new(size_t n_writes);

/* Frees it, with those before it. */
struct kvp_txn *kvp_txn_free(struct kvp_txn *txn);
DEFINE_CLEANUP(kvp_txn)

/* The condition of kvp_txn_plan(). */
enum {
	KVP_EDIT_TOO_LARGE = 1, /* more than KVP_EDIT_MAX slots, or the pool has KVP_SLOTS_MAX records */
};

/*
 * Turns @edit of @pool, which has @n_before records, into a transaction: added records take the
 * place of removed ones, then go to the end; where fewer are added, the last records move into the
 * holes. Sums and the records that move are zero: they are for who can read the file to fill in.
 * @edit names no slot twice. KVP_EDIT_TOO_LARGE, -ENOMEM.
 */
_must_check_ int kvp_txn_plan(const struct kvp_edit *edit, uint32_t pool, uint32_t n_before,
			      struct kvp_txn **ret_txn, struct kvp_moves *ret_moves);

/*
 * True if @txn may follow the chain that ends with @last (NULL: there is none): all of it then
 * writes slots of one pool in place, KVP_EDIT_MAX of them at most.
 */
bool kvp_txn_may_follow(const struct kvp_txn *txn, const struct kvp_txn *last);

/* The conditions of kvp_txn_decode() and kvp_area_decode(). */
enum {
	KVP_JOURNAL_EMPTY = 1,  /* nothing was ever written there */
	KVP_JOURNAL_UNREADABLE, /* it was not written to its end, or not by us */
};

/* Bytes that kvp_txn_encode() writes. */
size_t kvp_txn_size(const struct kvp_txn *txn);

/* Writes the transaction's bytes; @buf has kvp_txn_size() of them. */
void kvp_txn_encode(const struct kvp_txn *txn, uint8_t *buf);

/* Reads one transaction, of @size bytes at most. The two conditions above, -ENOMEM. */
_must_check_ int kvp_txn_decode(const uint8_t *bytes, size_t size, struct kvp_txn **ret_txn);

/* Where in an area the transaction behind @txn goes, which is at @offset. */
size_t kvp_txn_end(const struct kvp_txn *txn, size_t offset);

/* Writes the first bytes of an area that say that everything in it up to @number is done. */
void kvp_area_encode_done(uint64_t number, uint8_t buf[KVP_JOURNAL_DONE_SIZE]);

/* The number in the first bytes of an area; 0: nothing is done, or the area is not ours. */
uint64_t kvp_area_done(const uint8_t *area);

/*
 * Reads the chain in an area of KVP_JOURNAL_AREA_SIZE bytes, done or not: its last transaction, the
 * caller's, with those before it. The two conditions above, of the first transaction; -ENOMEM.
 */
_must_check_ int kvp_area_decode(const uint8_t *area, struct kvp_txn **ret_last);

/* The sums of the sectors of @record. */
struct kvp_sums kvp_sums_of(const uint8_t record[KVP_RECORD_SIZE]);

/* What kvp_txn_redo() found besides. */
struct kvp_redo {
	size_t overtaken; /* writes that were left out, because somebody else has written there since */
	/*
	 * Not 0: from this byte of the file on there is something half of ours and then somebody
	 * else's, not where a record can be: it is to be kept elsewhere and cut off first.
	 */
	uint64_t cut_at;
	uint64_t foreign_at; /* where in that somebody else's records begin */
};

/*
 * What is left to be done of the chain that ends with @last, given the @size bytes of its pool file
 * as they are now: any part of it may have been written, sector by sector, and others may have
 * written since. What others have written stays. The edit borrows from the chain and @image.
 */
void kvp_txn_redo(const struct kvp_txn *last, const uint8_t *image, size_t size,
		  struct kvp_edit *ret_edit, struct kvp_redo *ret_redo);
