/* SPDX-License-Identifier: MIT */

/*
 * The connection of a guest that takes nothing from its kernel.
 *
 * There is nothing to open, to keep or to lose here: each service that has a device of the kernel
 * looks after it by itself. All this does is to stand where a connection is expected, and to answer
 * for it.
 */

#include "daemon/stock_host.h"

struct stock_host {
	struct connection connection;
	bool (*is_open)(const void *user);
	const void *user;
};

static void stock_free(struct connection *c)
{
	free((struct stock_host *)c);
}

static void stock_close_channel(struct connection *c, const void *self, bool again)
{
	(void)c;
	(void)self;
	(void)again;
}

static json_t *stock_status(struct connection *c)
{
	const struct stock_host *h = (struct stock_host *)c;

	return json_pack("{s:s, s:s}", "transport", "chardev", "state",
			 h->is_open(h->user) ? "connected" : "disconnected");
}

static const char *stock_channel_state(struct connection *c, const void *self)
{
	(void)c;
	(void)self;
	return "none";
}

static const struct connection_ops stock_ops = {
	.transport = "chardev",
	.free = stock_free,
	.close_channel = stock_close_channel,
	.status = stock_status,
	.channel_state = stock_channel_state,
};

int stock_host_new(bool (*is_open)(const void *user), const void *user,
		   struct connection **ret_connection)
{
	struct stock_host *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	*h = (struct stock_host){
		.connection = {.ops = &stock_ops},
		.is_open = is_open,
		.user = user,
	};
	*ret_connection = &h->connection;
	return 0;
}
