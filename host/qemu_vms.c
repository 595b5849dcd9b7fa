/* SPDX-License-Identifier: MIT */

/*
 * The QEMU VMs of this machine.
 *
 * A VM is called as its socket is, without ".sock" and the like: QEMU's own -name need not be there and
 * need not be unique, a file's is. What is in a folder and is no socket, or has a name that no guest can
 * have, is passed over.
 *
 * The kernel tells of files that come and go (inotify). QEMU binds its socket before it listens, so at
 * the moment a socket appears nobody may be there; the VM tries again, as it does for ever while the
 * file is there. When the kernel has lost count, the folders are read anew. A socket that goes takes
 * its VM along only if nobody listens there any more: a file may be removed under a running QEMU, and
 * the memory is in use all the same.
 */

#include "host/qemu_vms.h"

#include "base/log.h"
#include "vmbus/shm_wire.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

struct folder {
	char *path;
	int watch;
};

struct qemu_vms {
	struct qemu_vm_context context;
	struct qemu_vm **vms;
	size_t n_vms;
	struct folder *folders;
	size_t n_folders;
	int inotify_fd;
	struct event *changed;
};

static int add_vm(struct qemu_vms *v, const char *name, const char *path)
{
	struct qemu_vm **more = reallocarray(v->vms, v->n_vms + 1, sizeof(*more));
	int r;

	if (!more)
		return -ENOMEM;
	v->vms = more;
	r = qemu_vm_new(&v->context, name, path, &v->vms[v->n_vms]);
	if (r == 0)
		v->n_vms++;
	return r;
}

/* "/run/vms/web1.sock" as "web1". False: no guest can be called so. */
static bool name_of(const char *path, char *ret_name, size_t size)
{
	static const char *const endings[] = {".sock", ".socket", ".qmp", ".monitor", ".mon"};
	const char *file = strrchr(path, '/');

	file = file ? file + 1 : path;
	if (snprintf(ret_name, size, "%s", file) >= (int)size)
		return false;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t length = strlen(ret_name), ending = strlen(endings[i]);

		if (length > ending && !strcmp(ret_name + length - ending, endings[i]))
			ret_name[length - ending] = '\0';
	}
	return shm_name_is_valid(ret_name);
}

static struct qemu_vm *at_path(const struct qemu_vms *v, const char *path)
{
	for (size_t i = 0; i < v->n_vms; i++)
		if (!strcmp(qemu_vm_path(v->vms[i]), path))
			return v->vms[i];
	return NULL;
}

/* A file is there, or is there anew. */
static void see_file(struct qemu_vms *v, const struct folder *folder, const char *file)
{
	struct qemu_vm *known;
	char path[PATH_MAX], name[64];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/%s", folder->path, file) >= (int)sizeof(path) ||
	    file[0] == '.' || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	known = at_path(v, path);
	if (known) {
		qemu_vm_hurry(known);
		return;
	}
	if (!name_of(path, name, sizeof(name)) || qemu_vms_find(v, name)) {
		log_warning("%s: passed over: no VM can be called so, or another one is", path);
		return;
	}
	log_info("%s: found at %s", name, path);
	if (add_vm(v, name, path))
		log_error("%s: no memory", name);
}

static void read_folder(struct qemu_vms *v, const struct folder *folder)
{
	DIR *dir = opendir(folder->path);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		see_file(v, folder, entry->d_name);
	if (dir)
		closedir(dir);
	else
		log_error("%s cannot be read: %m", folder->path);
}

static void forget(struct qemu_vms *v, size_t i)
{
	log_info("%s: its socket is gone", qemu_vm_name(v->vms[i]));
	(void)qemu_vm_free(v->vms[i]);
	v->vms[i] = v->vms[--v->n_vms];
}

/* Whether @path was in one of the folders: then it is nobody's wish that it stays. */
static bool is_found(const struct qemu_vms *v, const char *path)
{
	size_t length = (size_t)(strrchr(path, '/') - path);

	for (size_t i = 0; i < v->n_folders; i++)
		if (strlen(v->folders[i].path) == length &&
		    !strncmp(v->folders[i].path, path, length))
			return true;
	return false;
}

/* VMs whose sockets are gone, and that do not run. */
static void forget_gone(struct qemu_vms *v)
{
	struct stat st;

	for (size_t i = v->n_vms; i > 0; i--) {
		struct qemu_vm *vm = v->vms[i - 1];

		if (is_found(v, qemu_vm_path(vm)) && lstat(qemu_vm_path(vm), &st) < 0 &&
		    !qemu_vm_qmp(vm))
			forget(v, i - 1);
	}
}

static void take_event(struct qemu_vms *v, const struct inotify_event *event)
{
	for (size_t i = 0; i < v->n_folders; i++) {
		if (event->mask & IN_Q_OVERFLOW)
			read_folder(v, &v->folders[i]);
		else if (event->wd == v->folders[i].watch && event->len > 0 &&
			 event->mask & (IN_CREATE | IN_MOVED_TO))
			see_file(v, &v->folders[i], event->name);
		else if (event->wd == v->folders[i].watch && event->mask & IN_IGNORED)
			log_error("%s is gone: VMs in it are not found any more", v->folders[i].path);
	}
}

static void on_changed(evutil_socket_t fd, short what, void *user)
{
	_Alignas(struct inotify_event) char buffer[8192];
	struct qemu_vms *v = user;
	ssize_t size = read(fd, buffer, sizeof(buffer));
	const struct inotify_event *event;

	(void)what;
	for (ssize_t at = 0; at < size; at += (ssize_t)(sizeof(*event) + event->len)) {
		event = (const struct inotify_event *)(const void *)(buffer + at);
		take_event(v, event);
	}
	forget_gone(v);
}

int qemu_vms_new(const struct qemu_vm_context *context, struct qemu_vms **ret_vms)
{
	_cleanup_(cleanup_qemu_vmsp) struct qemu_vms *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->context = *context;
	v->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (v->inotify_fd < 0)
		return negative_errno();
	v->changed = event_new(context->base, v->inotify_fd, EV_READ | EV_PERSIST, on_changed, v);
	if (!v->changed || event_add(v->changed, NULL) < 0)
		return -ENOMEM;
	*ret_vms = steal_ptr(v);
	return 0;
}

struct qemu_vms *qemu_vms_free(struct qemu_vms *v)
{
	if (!v)
		return NULL;
	for (size_t i = 0; i < v->n_vms; i++)
		(void)qemu_vm_free(v->vms[i]);
	for (size_t i = 0; i < v->n_folders; i++)
		free(v->folders[i].path);
	if (v->changed)
		event_free(v->changed);
	close_fd(v->inotify_fd);
	free(v->vms);
	free(v->folders);
	free(v);
	return NULL;
}

static int add_folder(struct qemu_vms *v, const char *path)
{
	struct folder *more = reallocarray(v->folders, v->n_folders + 1, sizeof(*more));
	struct folder folder = {.path = strdup(path)};
	size_t length = strlen(path);

	if (more)
		v->folders = more;
	if (!more || !folder.path) {
		free(folder.path);
		return -ENOMEM;
	}
	while (length > 1 && folder.path[length - 1] == '/')
		folder.path[--length] = '\0';
	folder.watch = inotify_add_watch(v->inotify_fd, folder.path,
					 IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM);
	if (folder.watch < 0) {
		free(folder.path);
		return negative_errno();
	}
	v->folders[v->n_folders++] = folder;
	read_folder(v, &folder);
	return 0;
}

int qemu_vms_add(struct qemu_vms *v, const char *path)
{
	struct stat st;
	char name[64];

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return add_folder(v, path);
	if (!name_of(path, name, sizeof(name)))
		return -EINVAL;
	return qemu_vms_find(v, name) ? -EEXIST : add_vm(v, name, path);
}

struct qemu_vm *qemu_vms_find(const struct qemu_vms *v, const char *name)
{
	for (size_t i = 0; i < v->n_vms; i++)
		if (!strcmp(qemu_vm_name(v->vms[i]), name))
			return v->vms[i];
	return NULL;
}

void qemu_vms_add_status(const struct qemu_vms *v, json_t *array)
{
	for (size_t i = 0; i < v->n_vms; i++)
		json_array_append_new(array, qemu_vm_status(v->vms[i]));
}
