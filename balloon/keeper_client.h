/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/keeper_proto.h"

#include <sys/types.h>

/*
 * The daemon's end of the keeper: memory that stays out of use, and descriptors that stay open,
 * when the daemon dies. Any thread may call; one call waits for the other, and each for the keeper,
 * which is not for an event loop unless its comment says so.
 */

struct keeper_client;

/* The conditions of these functions. */
enum {
	KEEPER_CLIENT_NO_HELPER = 1, /* the program cannot be started, or gives no answer */
	KEEPER_CLIENT_LOST,          /* the keeper is gone: keeper_client_revive() */
	KEEPER_CLIENT_EXHAUSTED,     /* take: no allowed source has any more */
};

struct keeper_client_config {
	const char *helper;  /* NULL: the installed one */
	const char *run_dir;
	bool allowed[PAGES_N_SOURCES];
	bool overcommit;     /* take a share of vm.nr_overcommit_hugepages */
	size_t area_bytes;   /* of a new session's area */
};

/* What was there when the client was made. */
struct keeper_client_report {
	bool found;               /* a keeper, with what a predecessor left to it */
	bool replaced;            /* it was of another version: it has been ended, in order */
	pid_t dead_pid;           /* else 0, or a keeper that died; the next two are what it had */
	uint64_t freed_pages;     /* held: the kernel has freed them */
	uint64_t overcommit_pages; /* share of vm.nr_overcommit_hugepages: it was taken back */
};

/*
 * Finds the keeper of the run directory, or starts one. Waits some seconds at most; for the start
 * of the daemon. KEEPER_CLIENT_NO_HELPER; what pages_new() says, of the keeper.
 */
_must_check_ int keeper_client_new(const struct keeper_client_config *config,
				   struct keeper_client_report *ret_report,
				   struct keeper_client **ret_client);

/* Lets go of the keeper, which stays as long as it holds anything. */
struct keeper_client *keeper_client_free(struct keeper_client *c);
DEFINE_CLEANUP(keeper_client)

/* Ends the keeper in order: closes the channel, then puts everything back into use. */
void keeper_client_release(struct keeper_client *c);

/*
 * As pages_take() and pages_return(). At most KEEPER_RANGES_MAX ranges are taken at once; any
 * number is returned. KEEPER_CLIENT_EXHAUSTED, KEEPER_CLIENT_LOST, negative errno of the keeper.
 */
_must_check_ int keeper_client_take(struct keeper_client *c, uint64_t want_pages,
				    struct page_range *ranges, size_t *ret_n,
				    enum pages_source *ret_source);
_must_check_ int keeper_client_return(struct keeper_client *c, const struct page_range *ranges,
				      size_t n, uint64_t *ret_pages);

/*
 * Everything that is held and was not given back, in order, in an array that the caller frees.
 * KEEPER_CLIENT_LOST, -ENOMEM, negative errno of the keeper.
 */
_must_check_ int keeper_client_list(struct keeper_client *c, struct page_range **ret_ranges,
				    size_t *ret_n);

/* Has every frame looked at again: how many pages are held, and how many are elsewhere by now. */
_must_check_ int keeper_client_verify(struct keeper_client *c, uint64_t *ret_pages,
				      uint64_t *ret_moved_pages);

/*
 * Has copies of the descriptors of a channel kept, KEEPER_FD_HOST and higher; -1: none of these.
 * KEEPER_CLIENT_LOST: they will be with the next keeper. Negative errno.
 */
_must_check_ int keeper_client_park(struct keeper_client *c, const int fds[KEEPER_N_FDS]);

/* Has them closed. A channel is not closed before. */
void keeper_client_drop(struct keeper_client *c);

/* A descriptor that is kept, borrowed until the next park or drop; -1: there is none. */
int keeper_client_fd(struct keeper_client *c, enum keeper_fd which);

/* The session's area: memory that outlives the daemon; as long as the client. */
void *keeper_client_area(const struct keeper_client *c, size_t *ret_bytes);

/* Readable when the keeper is dead; changes with keeper_client_revive(). And its process. */
int keeper_client_pid_fd(const struct keeper_client *c);
pid_t keeper_client_pid(const struct keeper_client *c);

/*
 * After KEEPER_CLIENT_LOST: starts another keeper and hands it everything. How many pages had moved
 * meanwhile is in its stats, as lost. KEEPER_CLIENT_NO_HELPER, negative errno.
 */
_must_check_ int keeper_client_revive(struct keeper_client *c);

/* The keeper's figures as of its last answer. Never waits long. */
void keeper_client_get_stats(struct keeper_client *c, struct pages_stats *ret_stats);
