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
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int open_socket(struct httpd *httpd, const char *folder, const char *name,
		       char text[READERS_TEXT_MAX])
{
	const struct group *group;
	char path[256];
	int r;

	r = snprintf(path, sizeof(path), "%s/read.sock", folder) < (int)sizeof(path)
		    ? httpd_open_read_only(httpd, path, 0660)
		    : -ENAMETOOLONG;
	if (r) {
		snprintf(text, READERS_TEXT_MAX,
			 "read.sock cannot be made in %s: %s: make room there, or name another folder by "
			 "--run-dir",
			 folder, r < 0 ? strerror(-r) : "somebody listens there");
		return READERS_NOT_POSSIBLE;
	}
	group = name ? getgrnam(name) : NULL;
	if (!name || (group && chown(path, (uid_t)-1, group->gr_gid) == 0))
		return 0;
	snprintf(text, READERS_TEXT_MAX, "%s cannot be given to the group %s: %s: name another one", path,
		 name, group ? strerror(errno) : "there is no such group");
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

int readers_let_in(struct httpd *httpd, const char *folder, const char *group, const char *address,
		   char text[READERS_TEXT_MAX])
{
	int r = open_socket(httpd, folder, group, text);

	return r || !address ? r : open_address(httpd, address, text);
}
