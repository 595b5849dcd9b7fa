/* SPDX-License-Identifier: MIT */

/*
 * Places for copied files.
 *
 * The host names a folder and a file, and is trusted with neither. The folder must be one of the
 * allowed roots or beneath one, by its text first: no "..", nothing that is not a plain name. The
 * way from the root on is then walked by the kernel under RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and
 * RESOLVE_NO_MAGICLINKS, so that nobody who may change folders there can lead it astray, at any
 * moment; everything afterwards is done by the descriptor of the folder. What has the file's name
 * already is never opened. If it is to be replaced it must be a regular file, and is, as a whole,
 * by rename.
 *
 * The new file has no name while it grows (O_TMPFILE): whoever dies, the kernel removes it. It gets
 * its name by a link, which fails if there is something of that name. To replace a file takes a
 * rename, so for that moment it has a temporary name; and from the beginning on a file system
 * without O_TMPFILE. That name is written to a record first, and synced, so that after a crash it
 * is known what to remove: that one name, if it is a regular file with one link that belongs to who
 * made it. Nothing is found by searching.
 *
 * docs/PROTOCOL-fcopy.md section 5. Folders that were made are removed again with the file if they
 * are empty; after a crash they stay.
 */

#include "services/fcopy_place.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TEMPORARY_PREFIX ".hvguest-copy-"

enum {
	FOLDER_MODE = 0755,
	NAME_BYTES_MAX = 255, /* NAME_MAX of Linux */
	TEMPORARY_LENGTH = sizeof(TEMPORARY_PREFIX) - 1 + 16,
};

void fcopy_place_init(struct fcopy_place *p, const struct fcopy_place_config *config)
{
	p->config = config;
	p->root_fd = p->folder_fd = p->file_fd = -1;
	p->temporary[0] = p->why[0] = p->path[0] = '\0';
	p->first_made = SIZE_MAX;
}

static enum fcopy_result refuse(struct fcopy_place *p, const char *why)
{
	snprintf(p->why, sizeof(p->why), "%s", why);
	return FCOPY_REFUSED;
}

enum fcopy_result fcopy_place_fail(struct fcopy_place *p, const char *what, int error)
{
	error = error < 0 ? -error : error;
	snprintf(p->why, sizeof(p->why), "%s: %s", what, strerror(error));
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return FCOPY_DISK_FULL;
	case EEXIST:
		return FCOPY_EXISTS;
	case ELOOP:
	case EXDEV:
		return refuse(p, "a symbolic link is in the way, and none is followed");
	case ENAMETOOLONG:
		return refuse(p, "a name is too long for the file system");
	}
	return FCOPY_FAILED;
}

/* A name for a file or a folder: of any alphabet, but no control characters. */
static bool is_name(const char *name, size_t n)
{
	if (n == 0 || n > NAME_BYTES_MAX || (n == 1 && name[0] == '.') ||
	    (n == 2 && name[0] == '.' && name[1] == '.'))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f || name[i] == '/')
			return false;
	return true;
}

/* Writes @path with single slashes and without "."; false if it is not one that is understood. */
static bool normalize(const char *path, char *ret_path)
{
	size_t used = 0;

	if (*path != '/' || strlen(path) >= FCOPY_PATH_SIZE / 2)
		return false;
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n > 0 && !(n == 1 && *path == '.')) {
			if (!is_name(path, n))
				return false;
			ret_path[used++] = '/';
			memcpy(ret_path + used, path, n);
			used += n;
		}
		path += n + (path[n] == '/');
	}
	ret_path[used] = '\0'; /* "" is "/" */
	return true;
}

bool fcopy_place_is_root(const char *path)
{
	char normal[FCOPY_PATH_SIZE];

	return normalize(path, normal);
}

/* Finds the longest root that @folder is at or beneath. False: none. */
static bool find_root(struct fcopy_place *p, const char *folder)
{
	size_t longest = 0;

	p->root = NULL;
	for (size_t i = 0; i < p->config->n_roots; i++) {
		char root[FCOPY_PATH_SIZE];
		size_t n;

		if (!normalize(p->config->roots[i], root))
			continue;
		n = strlen(root);
		if (strncmp(folder, root, n) != 0 || (folder[n] != '/' && folder[n] != '\0') ||
		    (p->root && n < longest))
			continue;
		longest = n;
		p->root = p->config->roots[i];
		snprintf(p->relative, sizeof(p->relative), "%s", folder[n] ? folder + n + 1 : ".");
	}
	return p->root != NULL;
}

/* Nothing that is followed on the way leads anywhere else. */
static int open_beneath(int folder_fd, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, folder_fd, path, &how, sizeof(how));
}

static int open_root(struct fcopy_place *p)
{
	p->root_fd = open(p->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return p->root_fd < 0 ? negative_errno() : 0;
}

/* Makes the folder @name in @folder_fd, and syncs that it is there; or it has been made meanwhile. */
static int make_folder(const struct fcopy_place *p, int folder_fd, const char *name)
{
	const struct fcopy_place_config *c = p->config;

	if (mkdirat(folder_fd, name, FOLDER_MODE) < 0)
		return errno == EEXIST ? 0 : negative_errno();
	if (c->has_owner && fchownat(folder_fd, name, c->uid, c->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return negative_errno();
	return fsync(folder_fd) < 0 ? negative_errno() : 0;
}

/* Opens the folder of `relative`, and makes what is missing of it. */
static int make_path(struct fcopy_place *p)
{
	_cleanup_close_ int at = open_beneath(p->root_fd, ".");
	char name[NAME_BYTES_MAX + 1];

	for (size_t start = 0, n; p->relative[start] && at >= 0; start += n + (p->relative[start + n] == '/')) {
		int next, r;

		n = strcspn(p->relative + start, "/");
		memcpy(name, p->relative + start, n);
		name[n] = '\0';
		next = open_beneath(at, name);
		if (next < 0 && errno == ENOENT) {
			if (p->first_made == SIZE_MAX)
				p->first_made = start;
			r = make_folder(p, at, name);
			if (r)
				return r;
			next = open_beneath(at, name);
		}
		if (next < 0)
			return negative_errno();
		(void)close_fd(at);
		at = next;
	}
	p->folder_fd = steal_fd(at);
	return p->folder_fd < 0 ? -ENOENT : 0;
}

static enum fcopy_result open_folder(struct fcopy_place *p, bool make)
{
	int r = open_root(p);

	if (r)
		return fcopy_place_fail(p, "the root cannot be opened", r);
	p->folder_fd = open_beneath(p->root_fd, p->relative);
	if (p->folder_fd >= 0)
		return FCOPY_OK;
	if (errno != ENOENT)
		return fcopy_place_fail(p, "the folder cannot be opened", errno);
	if (!make)
		return refuse(p, "there is no such folder, and it was not asked to make it");
	r = make_path(p);
	return r ? fcopy_place_fail(p, "the folder cannot be made", r) : FCOPY_OK;
}

/* What is there under the file's name. It is not touched. */
static enum fcopy_result look_at_target(struct fcopy_place *p)
{
	struct stat st;

	if (fstatat(p->folder_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? FCOPY_OK
				       : fcopy_place_fail(p, "the file cannot be looked at", errno);
	if (!p->overwrite) {
		snprintf(p->why, sizeof(p->why), "it exists");
		return FCOPY_EXISTS;
	}
	return S_ISREG(st.st_mode) ? FCOPY_OK : refuse(p, "what is there is no regular file");
}

/* The record. */

static int write_record(const struct fcopy_place *p)
{
	char text[3 * FCOPY_PATH_SIZE];
	int n = snprintf(text, sizeof(text), "%s\n%s\n%s\n", p->root, p->relative, p->temporary);
	_cleanup_close_ int fd = open(p->config->record,
				      O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return negative_errno();
	if (write(fd, text, (size_t)n) != n)
		return errno == ENOSPC ? -ENOSPC : -EIO;
	return fsync(fd) < 0 ? negative_errno() : 0;
}

static void forget_record(struct fcopy_place *p)
{
	if (p->temporary[0])
		(void)unlink(p->config->record);
	p->temporary[0] = '\0';
}

static bool is_temporary(const char *name)
{
	size_t n = sizeof(TEMPORARY_PREFIX) - 1;

	return strlen(name) == TEMPORARY_LENGTH && !strncmp(name, TEMPORARY_PREFIX, n) &&
	       strspn(name + n, "0123456789abcdef") == TEMPORARY_LENGTH - n;
}

/* Chooses a name and records it. */
static int choose_temporary(struct fcopy_place *p)
{
	uint64_t number;
	int r;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -EIO;
	snprintf(p->temporary, sizeof(p->temporary), TEMPORARY_PREFIX "%016llx",
		 (unsigned long long)number);
	r = write_record(p);
	if (r)
		forget_record(p);
	return r;
}

/* Reads the three lines of the record into the place; false if they are not what was written. */
static bool read_record(struct fcopy_place *p, char *text, size_t size)
{
	_cleanup_close_ int fd = open(p->config->record, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char *save = NULL, *root, *relative, *temporary;
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	root = strtok_r(text, "\n", &save);
	relative = strtok_r(NULL, "\n", &save);
	temporary = strtok_r(NULL, "\n", &save);
	if (!temporary || !is_temporary(temporary) || strlen(relative) >= sizeof(p->relative))
		return false;
	p->root = NULL;
	for (size_t i = 0; i < p->config->n_roots; i++)
		if (!strcmp(p->config->roots[i], root))
			p->root = p->config->roots[i];
	snprintf(p->relative, sizeof(p->relative), "%s", relative);
	snprintf(p->temporary, sizeof(p->temporary), "%s", temporary);
	return true;
}

static void close_all(struct fcopy_place *p)
{
	p->file_fd = close_fd(p->file_fd);
	p->folder_fd = close_fd(p->folder_fd);
	p->root_fd = close_fd(p->root_fd);
}

/* NULL, or why the file is left where it is. */
static const char *remove_stale(struct fcopy_place *p)
{
	struct stat st;

	if (!p->root)
		return "its root is not allowed any more";
	if (open_root(p))
		return "its root cannot be opened";
	p->folder_fd = open_beneath(p->root_fd, p->relative);
	if (p->folder_fd < 0 || fstatat(p->folder_fd, p->temporary, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? NULL : "it cannot be looked at";
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1 ||
	    (st.st_uid != geteuid() && !(p->config->has_owner && st.st_uid == p->config->uid)))
		return "it is not what was left there";
	return unlinkat(p->folder_fd, p->temporary, 0) < 0 ? "it cannot be removed" : NULL;
}

bool fcopy_place_sweep(struct fcopy_place *p)
{
	char text[3 * FCOPY_PATH_SIZE];
	const char *problem;

	if (access(p->config->record, F_OK) < 0)
		return false;
	if (!read_record(p, text, sizeof(text))) {
		/* It was being written: the file does not exist yet. */
		(void)unlink(p->config->record);
		return false;
	}
	problem = remove_stale(p);
	snprintf(p->why, sizeof(p->why), "%.90s/%.90s/%s: %s", p->root ? p->root : "?", p->relative,
		 p->temporary, problem ? problem : "removed");
	close_all(p);
	forget_record(p);
	return true;
}

/* The new file. */

static enum fcopy_result open_file(struct fcopy_place *p)
{
	int r;

	errno = EOPNOTSUPP;
	if (!p->config->always_named)
		p->file_fd = openat(p->folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (p->file_fd >= 0)
		return FCOPY_OK;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)
		return fcopy_place_fail(p, "a file cannot be made there", errno);
	r = choose_temporary(p);
	if (r)
		return fcopy_place_fail(p, "the record of copies cannot be written", r);
	p->file_fd = openat(p->folder_fd, p->temporary,
			    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (p->file_fd >= 0)
		return FCOPY_OK;
	r = negative_errno();
	forget_record(p);
	return fcopy_place_fail(p, "a file cannot be made there", r);
}

static enum fcopy_result set_path(struct fcopy_place *p, const struct fcopy_start *start)
{
	char folder[FCOPY_PATH_SIZE / 2];

	snprintf(p->path, sizeof(p->path), "%s/%s", start->directory, start->name);
	p->name = p->path + strlen(start->directory) + 1;
	if (!normalize(start->directory, folder))
		return refuse(p, "the folder's path is not absolute, or has names that are not taken");
	if (!is_name(start->name, strlen(start->name)) ||
	    !strncmp(start->name, TEMPORARY_PREFIX, sizeof(TEMPORARY_PREFIX) - 1))
		return refuse(p, "the file's name is not taken");
	snprintf(p->path, sizeof(p->path), "%s/%s", folder, start->name);
	p->name = p->path + strlen(folder) + 1;
	if (!find_root(p, folder))
		return refuse(p, "it is beneath none of fcopy_roots");
	return FCOPY_OK;
}

enum fcopy_result fcopy_place_open(struct fcopy_place *p, const struct fcopy_start *start)
{
	enum fcopy_result r;

	fcopy_place_init(p, p->config);
	p->overwrite = start->flags & FCOPY_FLAG_OVERWRITE;
	r = set_path(p, start);
	if (r == FCOPY_OK)
		r = open_folder(p, start->flags & FCOPY_FLAG_CREATE_PATH);
	if (r == FCOPY_OK)
		r = look_at_target(p);
	if (r == FCOPY_OK)
		r = open_file(p);
	if (r != FCOPY_OK)
		fcopy_place_discard(p);
	return r;
}

/* Gives the file without a name the name @name. */
static int link_file(const struct fcopy_place *p, const char *name)
{
	char self[32];

	if (linkat(p->file_fd, "", p->folder_fd, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT)
		return negative_errno();
	/* Without CAP_DAC_READ_SEARCH. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", p->file_fd);
	return linkat(AT_FDCWD, self, p->folder_fd, name, AT_SYMLINK_FOLLOW) < 0 ? negative_errno() : 0;
}

/* From the temporary name to the file's own. */
static int rename_file(struct fcopy_place *p)
{
	unsigned int flags = p->overwrite ? 0 : RENAME_NOREPLACE;

	if (renameat2(p->folder_fd, p->temporary, p->folder_fd, p->name, flags) < 0)
		return negative_errno();
	forget_record(p);
	return 0;
}

static enum fcopy_result name_file(struct fcopy_place *p)
{
	enum fcopy_result result = look_at_target(p);
	int r;

	if (result != FCOPY_OK)
		return result;
	if (!p->temporary[0]) {
		r = link_file(p, p->name);
		if (r != -EEXIST || !p->overwrite)
			return r ? fcopy_place_fail(p, "the file cannot be given its name", r) : FCOPY_OK;
		r = choose_temporary(p);
		if (r)
			return fcopy_place_fail(p, "the record of copies cannot be written", r);
		r = link_file(p, p->temporary);
		if (r)
			return fcopy_place_fail(p, "the file cannot be given a name", r);
	}
	r = rename_file(p);
	return r ? fcopy_place_fail(p, "the file cannot be given its name", r) : FCOPY_OK;
}

enum fcopy_result fcopy_place_publish(struct fcopy_place *p)
{
	const struct fcopy_place_config *c = p->config;
	enum fcopy_result r;

	if (c->has_owner && fchown(p->file_fd, c->uid, c->gid) < 0)
		return fcopy_place_fail(p, "the file cannot be given its owner", errno);
	if (fchmod(p->file_fd, c->mode) < 0 || fsync(p->file_fd) < 0)
		return fcopy_place_fail(p, "the file cannot be written", errno);
	r = name_file(p);
	if (r != FCOPY_OK)
		return r;
	p->first_made = SIZE_MAX;
	/* Both ends of the name: not every file system writes one of them with the other. */
	if (fsync(p->file_fd) < 0 || fsync(p->folder_fd) < 0) {
		if (!p->overwrite)
			(void)unlinkat(p->folder_fd, p->name, 0);
		return fcopy_place_fail(p, "the folder cannot be written", errno);
	}
	close_all(p);
	return FCOPY_OK;
}

/* Removes the folders that were made, from the deepest on, as far as they are empty. */
static void remove_made(struct fcopy_place *p)
{
	while (p->first_made != SIZE_MAX && p->root_fd >= 0 && p->relative[p->first_made]) {
		char *last = strrchr(p->relative + p->first_made, '/');
		const char *name = last ? last + 1 : p->relative + p->first_made;
		_cleanup_close_ int above = -1;
		char parent[FCOPY_PATH_SIZE];
		size_t n = (size_t)(name - p->relative);

		memcpy(parent, p->relative, n);
		parent[n] = '\0';
		above = open_beneath(p->root_fd, n ? parent : ".");
		if ((above < 0 || unlinkat(above, name, AT_REMOVEDIR) < 0) && errno != ENOENT)
			return;
		p->relative[last ? n - 1 : n] = '\0';
	}
}

void fcopy_place_discard(struct fcopy_place *p)
{
	struct stat ours, there;

	/* Under that name there may be something else by now. */
	if (p->temporary[0] && p->file_fd >= 0 && fstat(p->file_fd, &ours) == 0 &&
	    fstatat(p->folder_fd, p->temporary, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	    ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
		(void)unlinkat(p->folder_fd, p->temporary, 0);
	forget_record(p);
	p->folder_fd = close_fd(p->folder_fd);
	p->file_fd = close_fd(p->file_fd);
	remove_made(p);
	close_all(p);
}
