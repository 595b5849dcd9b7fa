/* SPDX-License-Identifier: MIT */

/*
 * Who may look.
 *
 * A daemon's state is not secret to its administrators, but what hooks have printed may be: so a
 * Unix socket for looking belongs to root and to one group, by its mode, and TCP is off unless an
 * address is given. Behind both, nothing can be changed (base/httpd).
 */

#include "base/readers.h"

#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Lets the members of a group in, too. */
static int give_to_group(const char *path, const char *name, char text[READERS_TEXT_MAX])
{
	const struct group *group = name ? getgrnam(name) : NULL;

	if (!name || (group && chown(path, (uid_t)-1, group->gr_gid) == 0))
		return 0;
	snprintf(text, READERS_TEXT_MAX, "%s cannot be given to the group %s: %s: name another one", path,
		 name, group ? strerror(errno) : "there is no such group");
	return READERS_NOT_POSSIBLE;
}

static int say_socket(const char *folder, int r, char text[READERS_TEXT_MAX])
{
	snprintf(text, READERS_TEXT_MAX,
		 "read.sock cannot be made in %s: %s: make room there, or name another folder by --run-dir",
		 folder, r < 0 ? strerror(-r) : "somebody listens there");
	return READERS_NOT_POSSIBLE;
}

static int open_address(struct httpd *httpd, const char *address, char text[READERS_TEXT_MAX])
{
	int r = httpd_open_tcp(httpd, address);

	if (r == 0)
		return 0;
	snprintf(text, READERS_TEXT_MAX,
		 "cannot listen on %s: %s: name a free ADDRESS:PORT of this machine", address,
		 r == HTTPD_IN_USE ? "somebody does"
		 : r == -EINVAL    ? "this is no address"
				   : strerror(-r));
	return READERS_NOT_POSSIBLE;
}

static int path_of(const char *folder, char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s/read.sock", folder) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int readers_let_in(struct httpd *httpd, const char *folder, const char *group, const char *address,
		   char text[READERS_TEXT_MAX])
{
	char path[PATH_MAX];
	int r = path_of(folder, path);

	if (r == 0)
		r = httpd_open_read_only(httpd, path, 0660);
	if (r)
		return say_socket(folder, r, text);
	r = give_to_group(path, group, text);
	return r || !address ? r : open_address(httpd, address, text);
}

int readers_new(struct event_base *events, const char *folder, const char *group,
		const char *address, struct httpd **ret_httpd, char text[READERS_TEXT_MAX])
{
	_cleanup_(cleanup_httpdp) struct httpd *httpd = NULL;
	char path[PATH_MAX];
	int r = path_of(folder, path);

	if (r == 0)
		r = httpd_new(events, path, 0660, &httpd);
	if (r)
		return say_socket(folder, r, text);
	r = give_to_group(path, group, text);
	if (r == 0 && address)
		r = open_address(httpd, address, text);
	if (r)
		return r;

	*ret_httpd = steal_ptr(httpd);
	return 0;
}
