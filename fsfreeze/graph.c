/* SPDX-License-Identifier: MIT */

/*
 * The device graph.
 *
 * Nodes are file systems and block devices; a link leads down, to what the data is kept on: a file
 * system to its disks, a partition to the whole, dm and md to their parts, a loop device to the
 * file system that holds its file. Freezing writes, down all links, and a write to what is frozen
 * does not end. So whatever is frozen must be frozen before all that is below it: its level is
 * lower. What has the same level has nothing to do with each other.
 *
 * A file system from which links lead back to itself cannot be frozen at all: its last write would
 * have to go through it when it is frozen already. Such cycles are found here, before anything is
 * frozen. The order still leads through them, from what is above to what is below, because writes
 * do.
 *
 * What links connect shares a disk, or several: partitions of one, volumes of one group, a loop device
 * and the file system that holds its file.
 *
 * All questions are answered by going over all links until nothing changes. That takes as many
 * passes as the longest chain has links, which are few.
 */

#include "fsfreeze/graph.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

struct node {
	struct freeze_node id;
	unsigned int level;
	unsigned int disks;
	bool in_cycle;
	bool alive;   /* may be in a cycle */
	bool reached; /* from the node in question */
};

struct edge {
	struct node *upper;
	struct node *lower;
};

struct graph {
	struct node *nodes; /* sorted, each once */
	size_t n_nodes;
	struct edge *edges;
	size_t n_edges;
};

static int compare_ids(const void *a, const void *b)
{
	const struct freeze_node *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind > y->kind ? 1 : -1;
	return (x->device > y->device) - (x->device < y->device);
}

/* A node begins with its id. */
static struct node *find_node(const struct graph *graph, struct freeze_node id)
{
	return bsearch(&id, graph->nodes, graph->n_nodes, sizeof(*graph->nodes), compare_ids);
}

static int build(struct graph *graph, const struct freeze_link *links, size_t n_links)
{
	size_t n = 0;

	graph->nodes = calloc(2 * n_links + 1, sizeof(*graph->nodes));
	graph->edges = calloc(n_links + 1, sizeof(*graph->edges));
	if (!graph->nodes || !graph->edges)
		return -ENOMEM;

	for (size_t i = 0; i < n_links; i++) {
		graph->nodes[n++].id = links[i].upper;
		graph->nodes[n++].id = links[i].lower;
	}
	qsort(graph->nodes, n, sizeof(*graph->nodes), compare_ids);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || compare_ids(&graph->nodes[i].id, &graph->nodes[i - 1].id) != 0)
			graph->nodes[graph->n_nodes++] = graph->nodes[i];

	for (size_t i = 0; i < n_links; i++)
		graph->edges[graph->n_edges++] = (struct edge){
			.upper = find_node(graph, links[i].upper),
			.lower = find_node(graph, links[i].lower),
		};
	return 0;
}

/* Buries what no living node leads to, or leads to none. False: nothing was left to bury. */
static bool peel(struct graph *graph)
{
	bool changed = false;

	for (int down = 0; down <= 1; down++) {
		for (size_t i = 0; i < graph->n_nodes; i++)
			graph->nodes[i].reached = false;
		for (size_t i = 0; i < graph->n_edges; i++) {
			const struct edge *e = &graph->edges[i];

			if (e->upper->alive && e->lower->alive)
				(down ? e->lower : e->upper)->reached = true;
		}
		for (size_t i = 0; i < graph->n_nodes; i++) {
			changed |= graph->nodes[i].alive && !graph->nodes[i].reached;
			graph->nodes[i].alive &= graph->nodes[i].reached;
		}
	}
	return changed;
}

/* Do links lead from @node back to it? */
static bool reaches_itself(struct graph *graph, const struct node *node)
{
	bool changed;

	for (size_t i = 0; i < graph->n_nodes; i++)
		graph->nodes[i].reached = false;
	do {
		changed = false;
		for (size_t i = 0; i < graph->n_edges; i++) {
			const struct edge *e = &graph->edges[i];

			if ((e->upper == node || e->upper->reached) && !e->lower->reached)
				e->lower->reached = changed = true;
		}
	} while (changed && !node->reached);
	return node->reached;
}

static void find_cycles(struct graph *graph)
{
	for (size_t i = 0; i < graph->n_nodes; i++)
		graph->nodes[i].alive = true;
	while (peel(graph))
		;
	/* What is left is in a cycle, or between two of them. */
	for (size_t i = 0; i < graph->n_nodes; i++)
		if (graph->nodes[i].alive)
			graph->nodes[i].in_cycle = reaches_itself(graph, &graph->nodes[i]);
}

/* Only what will be frozen adds to a level, and what is in a cycle will not, so this ends. */
static void find_levels(struct graph *graph)
{
	bool changed;

	do {
		changed = false;
		for (size_t i = 0; i < graph->n_edges; i++) {
			const struct edge *e = &graph->edges[i];
			bool counts = e->upper->id.kind == FREEZE_NODE_FS && !e->upper->in_cycle;
			unsigned int least = e->upper->level + counts;

			if (e->lower->level < least) {
				e->lower->level = least;
				changed = true;
			}
		}
	} while (changed);
}

/* Whatever is connected gets the smallest number in it. */
static void find_disks(struct graph *graph)
{
	bool changed;

	for (size_t i = 0; i < graph->n_nodes; i++)
		graph->nodes[i].disks = (unsigned int)i;
	do {
		changed = false;
		for (size_t i = 0; i < graph->n_edges; i++) {
			struct node *upper = graph->edges[i].upper, *lower = graph->edges[i].lower;

			if (upper->disks == lower->disks)
				continue;
			changed = true;
			if (upper->disks > lower->disks)
				upper->disks = lower->disks;
			else
				lower->disks = upper->disks;
		}
	} while (changed);
}

int freeze_graph_rank(const struct freeze_link *links, size_t n_links, const uint64_t *superblocks,
		      size_t n, struct freeze_rank *ret_ranks)
{
	struct graph graph = {0};
	int r;

	r = build(&graph, links, n_links);
	if (r == 0) {
		find_cycles(&graph);
		find_levels(&graph);
		find_disks(&graph);
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct node *node = find_node(
			&graph, (struct freeze_node){FREEZE_NODE_FS, superblocks[i]});

		/* What nothing is known of is on disks of its own. */
		ret_ranks[i] = (struct freeze_rank){.disks = (unsigned int)(graph.n_nodes + i)};
		if (node)
			ret_ranks[i] = (struct freeze_rank){node->level, node->in_cycle, node->disks};
	}
	free(graph.nodes);
	free(graph.edges);
	return r;
}
