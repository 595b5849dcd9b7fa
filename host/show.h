/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/metrics.h"
#include "base/readers.h"
#include "host/board.h"

/*
 * The thread that shows the board to whoever looks: read.sock, TCP, the dashboard.
 *
 *     GET /                        the dashboard
 *     GET /metrics                 for Prometheus
 *     GET /v1/events               server-sent events: the guests, each second
 *     GET /v1/board                the host and all guests, once
 *     GET /v1/board/{name}         one guest, with the last decision about it
 *     GET /v1/backups              the backups of this host, with their receipts
 *     GET /v1/targets              this host as a target, for Prometheus' http_sd_configs
 */

struct show;

struct show_config {
	const struct board *board; /* borrowed until show_free() */
	const char *run_dir;
	const char *read_group; /* or NULL */
	const char *listen;     /* ADDRESS:PORT, or NULL */
};

/* Starts the thread. READERS_NOT_POSSIBLE, with a line for people in @text; negative errno. */
_must_check_ int show_new(const struct show_config *config, struct show **ret_show,
			  char text[READERS_TEXT_MAX]);

/* Ends it, and drops whoever looks. */
struct show *show_free(struct show *s);
DEFINE_CLEANUP(show)

/* What of it is in files of their own. */

/* Writes all metrics of the board. */
void show_write_metrics(FILE *to, enum metrics_format format, void *board);

/* The board as JSON; a guest by itself has the last decision, too. */
json_t *show_board(const struct board *board);
json_t *show_guest(const struct board *board, const char *name);
