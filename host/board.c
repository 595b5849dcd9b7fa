/* SPDX-License-Identifier: MIT */

/*
 * The board.
 *
 * A hash table of liburcu has a node for each guest, by its name. Whether a node is there at all is a
 * matter of RCU: readers walk the table between read_lock() and read_unlock(), and a node that was
 * taken out is freed when all of them have left. What is in a node changes in place, a few times a
 * second, behind a sequence number: odd while it is being written. A reader copies the words and
 * looks whether the number is the same as before, and even; else it copies again. So the writer never
 * waits, whoever reads, and a reader waits for no lock: only for a copy of some hundred bytes to end.
 *
 *     writer     sequence odd; words; sequence even
 *     reader     sequence even; words; the same sequence
 *
 * What there is of backups is one text; the writer puts another in its place, as it does with nodes.
 *
 * The words are atomic, one by one, because two threads touch them at a time: no store of one goes
 * before the sequence is odd, and no load of one is left for after the second look at it.
 */

#include "host/board.h"

#include "base/container.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <urcu/urcu-bp.h>
#include <urcu/rculfhash.h>

enum {
	BUCKETS_MIN = 64,
	GUEST_WORDS = sizeof(struct board_guest) / sizeof(uint64_t),
	HOST_WORDS = sizeof(struct board_host) / sizeof(uint64_t),
};

static_assert(sizeof(struct board_guest) % sizeof(uint64_t) == 0, "copied by words");
static_assert(sizeof(struct board_host) % sizeof(uint64_t) == 0, "copied by words");

struct node {
	struct cds_lfht_node in_table;
	struct rcu_head rcu;
	_Atomic uint32_t sequence;
	_Atomic uint64_t words[GUEST_WORDS];
	char name[];
};

/* What readers may still copy when the next one has taken its place. */
struct board_text {
	struct rcu_head rcu;
	char text[];
};

struct board {
	struct cds_lfht *table;
	struct board_text *backups; /* of RCU, too; NULL: nothing yet */
	struct node **nodes; /* by id; the writer's */
	uint32_t n_nodes;
	_Atomic uint32_t sequence;
	_Atomic uint64_t words[HOST_WORDS];
};

static void put_words(_Atomic uint32_t *sequence, _Atomic uint64_t *words, const void *from, size_t n)
{
	uint32_t s = atomic_load_explicit(sequence, memory_order_relaxed);
	const uint8_t *bytes = from;
	uint64_t word;

	atomic_store_explicit(sequence, s + 1, memory_order_relaxed);
	for (size_t i = 0; i < n; i++) {
		memcpy(&word, bytes + i * sizeof(word), sizeof(word));
		atomic_store_explicit(&words[i], word, memory_order_release);
	}
	atomic_store_explicit(sequence, s + 2, memory_order_release);
}

static void get_words(const _Atomic uint32_t *sequence, const _Atomic uint64_t *words, void *to,
		      size_t n)
{
	uint8_t *bytes = to;
	uint32_t before, after;
	uint64_t word;

	do {
		before = atomic_load_explicit(sequence, memory_order_acquire);
		for (size_t i = 0; i < n; i++) {
			word = atomic_load_explicit(&words[i], memory_order_acquire);
			memcpy(bytes + i * sizeof(word), &word, sizeof(word));
		}
		after = atomic_load_explicit(sequence, memory_order_relaxed);
	} while (before != after || before % 2 != 0);
}

/* FNV-1a: names are an administrator's, not an attacker's. */
static unsigned long hash_of(const char *name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	return hash;
}

static int has_name(struct cds_lfht_node *in_table, const void *name)
{
	return strcmp(container_of(in_table, struct node, in_table)->name, name) == 0;
}

int board_new(struct board **ret_board)
{
	_cleanup_(cleanup_boardp) struct board *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->table = cds_lfht_new_flavor(BUCKETS_MIN, BUCKETS_MIN, 0, CDS_LFHT_AUTO_RESIZE,
				       &urcu_bp_flavor, NULL);
	if (!b->table)
		return -ENOMEM;

	*ret_board = steal_ptr(b);
	return 0;
}

static void free_node(struct rcu_head *rcu)
{
	free(container_of(rcu, struct node, rcu));
}

void board_remove(struct board *b, uint32_t id)
{
	struct node *node = id < b->n_nodes ? b->nodes[id] : NULL;

	if (!node)
		return;
	b->nodes[id] = NULL;
	urcu_bp_read_lock();
	(void)cds_lfht_del(b->table, &node->in_table);
	urcu_bp_read_unlock();
	urcu_bp_call_rcu(&node->rcu, free_node);
}

static void free_text(struct rcu_head *rcu)
{
	free(container_of(rcu, struct board_text, rcu));
}

int board_put_backups(struct board *b, const char *text)
{
	struct board_text *before = b->backups;
	size_t size = strlen(text) + 1;
	struct board_text *now = calloc(1, sizeof(*now) + size);

	if (!now)
		return -ENOMEM;
	memcpy(now->text, text, size);
	rcu_assign_pointer(b->backups, now);
	if (before)
		urcu_bp_call_rcu(&before->rcu, free_text);
	return 0;
}

char *board_get_backups(const struct board *b)
{
	const struct board_text *now;
	char *text;

	urcu_bp_read_lock();
	now = rcu_dereference(b->backups);
	text = strdup(now ? now->text : "{}");
	urcu_bp_read_unlock();
	return text;
}

struct board *board_free(struct board *b)
{
	if (!b)
		return NULL;
	if (b->backups)
		urcu_bp_call_rcu(&b->backups->rcu, free_text);
	for (uint32_t id = 0; id < b->n_nodes; id++)
		board_remove(b, id);
	urcu_bp_barrier();
	if (b->table)
		(void)cds_lfht_destroy(b->table, NULL);
	free(b->nodes);
	free(b);
	return NULL;
}

/* Room for @id. */
static int make_room(struct board *b, uint32_t id)
{
	uint32_t n = 2 * (id + 1);
	struct node **more;

	if (id < b->n_nodes)
		return 0;
	more = reallocarray(b->nodes, n, sizeof(*more));
	if (!more)
		return -ENOMEM;
	memset(more + b->n_nodes, 0, (n - b->n_nodes) * sizeof(*more));
	b->nodes = more;
	b->n_nodes = n;
	return 0;
}

/* Its first words have to be there before a reader can find it. */
static int add_node(struct board *b, uint32_t id, const char *name, const struct board_guest *guest)
{
	size_t size = strlen(name) + 1;
	struct node *node = calloc(1, sizeof(*node) + size);

	if (!node)
		return -ENOMEM;
	memcpy(node->name, name, size);
	put_words(&node->sequence, node->words, guest, GUEST_WORDS);
	cds_lfht_node_init(&node->in_table);
	urcu_bp_read_lock();
	cds_lfht_add(b->table, hash_of(name), &node->in_table);
	urcu_bp_read_unlock();
	b->nodes[id] = node;
	return 0;
}

int board_put(struct board *b, uint32_t id, const char *name, const struct board_guest *guest)
{
	int r = make_room(b, id);

	if (r)
		return r;
	if (!b->nodes[id])
		return add_node(b, id, name, guest);
	put_words(&b->nodes[id]->sequence, b->nodes[id]->words, guest, GUEST_WORDS);
	return 0;
}

void board_put_host(struct board *b, const struct board_host *host)
{
	put_words(&b->sequence, b->words, host, HOST_WORDS);
}

void board_get_host(const struct board *b, struct board_host *ret_host)
{
	get_words(&b->sequence, b->words, ret_host, HOST_WORDS);
}

void board_each(const struct board *b,
		void (*visit)(void *user, const char *name, const struct board_guest *guest),
		void *user)
{
	struct cds_lfht_iter at;
	struct cds_lfht_node *in_table;

	urcu_bp_read_lock();
	cds_lfht_first(b->table, &at);
	while ((in_table = cds_lfht_iter_get_node(&at))) {
		const struct node *node = container_of(in_table, struct node, in_table);
		struct board_guest guest;

		get_words(&node->sequence, node->words, &guest, GUEST_WORDS);
		visit(user, node->name, &guest);
		cds_lfht_next(b->table, &at);
	}
	urcu_bp_read_unlock();
}

bool board_get(const struct board *b, const char *name, struct board_guest *ret_guest)
{
	struct cds_lfht_iter at;
	struct cds_lfht_node *in_table;

	urcu_bp_read_lock();
	cds_lfht_lookup(b->table, hash_of(name), has_name, name, &at);
	in_table = cds_lfht_iter_get_node(&at);
	if (in_table) {
		const struct node *node = container_of(in_table, struct node, in_table);

		get_words(&node->sequence, node->words, ret_guest, GUEST_WORDS);
	}
	urcu_bp_read_unlock();
	return in_table != NULL;
}
