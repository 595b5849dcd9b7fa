/* SPDX-License-Identifier: MIT */

/*
 * Unix sockets in the file system.
 *
 * Who may connect is decided by the mode of the socket's file. It is set between bind() and
 * listen(), so at no moment can somebody connect who should not.
 *
 * A file that is in the way is removed only if it is a socket that refuses connections: then its
 * owner is gone, because a program that dies leaves the file behind. Between that look and the
 * removal another instance could start to listen; not to start two at once is the service
 * manager's job. On the way out the file is removed only if it is still the one made here.
 */

#include "base/unixsock.h"
#include "base/cleanup.h"

#include <libgen.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

static int make_address(const char *path, struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	*ret_address = address;
	return 0;
}

static int make_folder_of(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	if (mkdir(dirname(copy), 0755) < 0 && errno != EEXIST)
		return negative_errno();
	return 0;
}

/* Takes a dead socket out of the way; UNIXSOCK_IN_USE if it is not dead. */
static int remove_stale(const struct sockaddr_un *address, int type)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : negative_errno();
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;

	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return negative_errno();
	/* A full backlog (EAGAIN) and a socket of another type have somebody behind them, too. */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
	    errno == EAGAIN || errno == EPROTOTYPE)
		return UNIXSOCK_IN_USE;
	if (errno != ECONNREFUSED && errno != ENOENT)
		return negative_errno();
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return negative_errno();
	return 0;
}

void unixsock_init(struct unixsock *sock)
{
	*sock = (struct unixsock){.fd = -1};
}

void unixsock_fini(struct unixsock *sock)
{
	struct stat st;

	close_fd(sock->fd);
	if (sock->path && lstat(sock->path, &st) == 0 && st.st_dev == sock->dev &&
	    st.st_ino == sock->ino)
		unlink(sock->path);
	free(sock->path);
	unixsock_init(sock);
}

/* Binds @fd and from then on remembers the file, so that unixsock_fini() can remove it. */
static int bind_file(struct unixsock *sock, const struct sockaddr_un *address)
{
	struct stat st;

	sock->path = strdup(address->sun_path);
	if (!sock->path)
		return -ENOMEM;
	if (bind(sock->fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return negative_errno();
	if (lstat(sock->path, &st) < 0)
		return negative_errno();
	sock->dev = st.st_dev;
	sock->ino = st.st_ino;
	return 0;
}

int unixsock_listen(struct unixsock *sock, const char *path, int type, mode_t mode)
{
	_cleanup_(unixsock_fini) struct unixsock new;
	struct sockaddr_un address;
	int r;

	unixsock_init(&new);
	r = make_address(path, &address);
	if (r)
		return r;
	r = make_folder_of(path);
	if (r)
		return r;
	r = remove_stale(&address, type);
	if (r)
		return r;

	new.fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (new.fd < 0)
		return negative_errno();
	r = bind_file(&new, &address);
	if (r)
		return r;
	if (chmod(path, mode) < 0 || listen(new.fd, SOMAXCONN) < 0)
		return negative_errno();

	*sock = new;
	unixsock_init(&new);
	return 0;
}

int unixsock_connect(const char *path, int type, int timeout_ms, int *ret_fd)
{
	struct timeval timeout = {.tv_sec = timeout_ms / 1000,
				  .tv_usec = timeout_ms % 1000 * 1000 + 1};
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	int r;

	r = make_address(path, &address);
	if (r)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return negative_errno();
	/* The send timeout is also connect()'s; 0 would mean to wait for ever. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return negative_errno();

	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return UNIXSOCK_NOBODY;
		if (errno == EACCES || errno == EPERM)
			return UNIXSOCK_DENIED;
		return errno == EAGAIN ? UNIXSOCK_TIMED_OUT : negative_errno();
	}
	*ret_fd = steal_fd(fd);
	return 0;
}
