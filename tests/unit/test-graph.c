/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/graph.c: made-up device graphs, also such as no machine should have.
 */

#include "fsfreeze/graph.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

#define FS(n)    {FREEZE_NODE_FS, n}
#define BLOCK(n) {FREEZE_NODE_BLOCK, n}

enum { FS_MAX = 8 };

/* File systems are numbered from 1; levels, cycles and disks are given in that order. */
struct row {
	const char *what;
	struct freeze_link links[12];
	size_t n_links;
	size_t n_fs;
	unsigned int levels[FS_MAX];
	bool in_cycle[FS_MAX];
	unsigned int disks[FS_MAX]; /* which have the same, not which number */
};

static const struct row rows[] = {
	{"two disks have nothing to do with each other",
	 {{FS(1), BLOCK(1)}, {FS(2), BLOCK(2)}}, 2, 2, {0, 0}, {0}, {1, 2}},
	{"an image on a file system, with the links in any order",
	 {{BLOCK(7), FS(1)}, {FS(1), BLOCK(1)}, {FS(2), BLOCK(7)}}, 3, 2, {1, 0}, {0}, {0}},
	{"images in images",
	 {{FS(1), BLOCK(1)}, {FS(2), BLOCK(7)}, {BLOCK(7), FS(1)}, {FS(3), BLOCK(8)}, {BLOCK(8), FS(2)}},
	 5, 3, {2, 1, 0}, {0}, {0}},
	{"the same link twice",
	 {{FS(2), BLOCK(7)}, {BLOCK(7), FS(1)}, {FS(2), BLOCK(7)}, {BLOCK(7), FS(1)}}, 4, 2, {1, 0}, {0}, {0}},
	{"partitions of one disk do not order what is on them",
	 {{FS(1), BLOCK(1)}, {FS(2), BLOCK(2)}, {BLOCK(1), BLOCK(9)}, {BLOCK(2), BLOCK(9)}}, 4, 2,
	 {0, 0}, {0}, {0}},
	{"a mirror of two images on two file systems",
	 {{FS(3), BLOCK(9)}, {BLOCK(9), BLOCK(7)}, {BLOCK(9), BLOCK(8)}, {BLOCK(7), FS(1)},
	  {BLOCK(8), FS(2)}}, 5, 3, {1, 1, 0}, {0}, {0}},
	{"a file system of two devices, one of them an image",
	 {{FS(2), BLOCK(1)}, {FS(2), BLOCK(7)}, {BLOCK(7), FS(1)}}, 3, 2, {1, 0}, {0}, {0}},
	{"two ways down, of different length",
	 {{FS(3), BLOCK(9)}, {BLOCK(9), FS(1)}, {BLOCK(9), BLOCK(8)}, {BLOCK(8), FS(2)},
	  {FS(2), BLOCK(7)}, {BLOCK(7), FS(1)}}, 6, 3, {2, 1, 0}, {0}, {0}},
	{"an image that lies on itself",
	 {{FS(1), BLOCK(7)}, {BLOCK(7), FS(1)}}, 2, 1, {0}, {true}, {0}},
	{"two file systems that hold each other's image, above a disk",
	 {{FS(1), BLOCK(7)}, {BLOCK(7), FS(2)}, {FS(2), BLOCK(8)}, {BLOCK(8), FS(1)},
	  {FS(1), BLOCK(1)}, {FS(3), BLOCK(2)}}, 6, 3, {0, 0, 0}, {true, true, false}, {1, 1, 2}},
	{"what lies above and below a cycle is in order, and not in the cycle",
	 {{FS(1), BLOCK(6)}, {BLOCK(6), FS(2)}, {FS(2), BLOCK(7)}, {BLOCK(7), FS(2)},
	  {FS(2), BLOCK(8)}, {BLOCK(8), FS(3)}}, 6, 3, {0, 1, 1}, {false, true, false}, {0}},
	{"what lies between two cycles is in neither",
	 {{FS(1), BLOCK(5)}, {BLOCK(5), FS(1)}, {FS(1), BLOCK(6)}, {BLOCK(6), FS(2)},
	  {FS(2), BLOCK(7)}, {BLOCK(7), FS(3)}, {FS(3), BLOCK(8)}, {BLOCK(8), FS(3)}}, 8, 3,
	 {0, 0, 1}, {true, false, true}, {0}},
	{"a file system that no link names",
	 {{FS(2), BLOCK(7)}, {BLOCK(7), FS(1)}}, 2, 3, {1, 0, 0}, {0}, {1, 1, 2}},
};

Test(graph, ranks_made_up_graphs)
{
	const uint64_t superblocks[FS_MAX] = {1, 2, 3, 4, 5, 6, 7, 8};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct freeze_rank ranks[FS_MAX];

		cr_assert(eq(int, freeze_graph_rank(row->links, row->n_links, superblocks,
						    row->n_fs, ranks), 0));
		for (size_t k = 0; k < row->n_fs; k++) {
			cr_expect(eq(uint, ranks[k].level, row->levels[k]), "%s: level of %zu",
				  row->what, k + 1);
			cr_expect(eq(int, ranks[k].in_cycle, row->in_cycle[k]), "%s: cycle of %zu",
				  row->what, k + 1);
			for (size_t l = 0; l < k; l++)
				cr_expect(eq(int, ranks[k].disks == ranks[l].disks,
					     row->disks[k] == row->disks[l]),
					  "%s: disks of %zu and %zu", row->what, l + 1, k + 1);
		}
	}
}

Test(graph, without_links_all_file_systems_have_the_same_level)
{
	const uint64_t superblocks[] = {3, 9};
	struct freeze_rank ranks[2];

	cr_assert(eq(int, freeze_graph_rank(NULL, 0, superblocks, 2, ranks), 0));
	cr_expect(eq(uint, ranks[0].level, 0));
	cr_expect(eq(uint, ranks[1].level, 0));
	cr_expect(ne(uint, ranks[0].disks, ranks[1].disks));
}

Test(graph, in_any_graph_what_is_above_comes_first_unless_it_is_in_a_cycle)
{
	enum { N = 12, LINKS = 20 };
	uint64_t superblocks[N];
	unsigned int seed = 20261129;

	for (size_t i = 0; i < N; i++)
		superblocks[i] = i;
	for (int round = 0; round < 2000; round++) {
		struct freeze_link links[2 * LINKS];
		struct freeze_rank ranks[N];

		for (size_t i = 0; i < LINKS; i++) {
			uint64_t upper = (uint64_t)rand_r(&seed) % N, lower = (uint64_t)rand_r(&seed) % N;

			/* Mostly upwards, so that there are not too many cycles. */
			if (upper < lower && rand_r(&seed) % 8)
				lower = upper ? upper - 1 : 0;
			links[2 * i] = (struct freeze_link){FS(upper), BLOCK(i)};
			links[2 * i + 1] = (struct freeze_link){BLOCK(i), FS(lower)};
		}
		cr_assert(eq(int, freeze_graph_rank(links, 2 * LINKS, superblocks, N, ranks), 0));
		for (size_t i = 0; i < LINKS; i++) {
			const struct freeze_rank *upper = &ranks[links[2 * i].upper.device];
			const struct freeze_rank *lower = &ranks[links[2 * i + 1].lower.device];

			cr_assert(ge(uint, lower->level, upper->level + !upper->in_cycle));
			cr_assert(eq(uint, lower->disks, upper->disks));
		}
	}
}
