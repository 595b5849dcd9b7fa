/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"

/*
 * The sockets of a daemon's API that are for looking only.
 */

enum {
	READERS_TEXT_MAX = 512,
};

/* The condition of readers_let_in(). */
enum {
	READERS_NOT_POSSIBLE = 1,
};

/*
 * A server of its own for them, whose routes should be for GET only; else as below. It must be freed
 * before its event loop.
 */
_must_check_ int readers_new(struct event_base *events, const char *folder, const char *group,
			     const char *address, struct httpd **ret_httpd,
			     char text[READERS_TEXT_MAX]);

/*
 * Opens read.sock in @folder, for root and the members of @group (NULL: root's), and "ADDRESS:PORT"
 * @address on TCP (NULL: none). READERS_NOT_POSSIBLE, with what is wrong and what helps, as one line,
 * in @text.
 */
_must_check_ int readers_let_in(struct httpd *httpd, const char *folder, const char *group,
				const char *address, char text[READERS_TEXT_MAX]);
