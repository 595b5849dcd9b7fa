/* SPDX-License-Identifier: MIT */

/*
 * metrics: what Prometheus would be given, on standard output or in a file.
 *
 * The file is for node_exporter's textfile collector, where nothing may listen on TCP: it is there
 * whole or not at all.
 */

#include "cli/cli.h"

enum {
	OPTION_TEXTFILE,
	TIMEOUT_MS = 10000,
};

int verb_metrics(const struct cli *cli)
{
	return ask_metrics(&cli->to, cli->values[OPTION_TEXTFILE], cli->json, TIMEOUT_MS);
}
