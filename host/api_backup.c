/* SPDX-License-Identifier: MIT */

/*
 * Backups.
 *
 * A backup is started by one request, answered with its number, and asked after by that number. The
 * last ones are kept for whoever asks what became of them (host/backups); one that is under way is never
 * dropped for a new one.
 */

#include "host/api.h"

#include <stdlib.h>

static void start_backup(struct host *h, struct guest *g, struct httpd_request *request,
			 struct backup *take_backup)
{
	if (backups_add(h->backups, guest_name(g), take_backup)) {
		(void)backup_free(take_backup);
		httpd_reply_json(request, 500, NULL);
		return;
	}
	switch (guest_backup_start(guest_backup_of(g), take_backup)) {
	case 0:
		api_reply(request, 202, backup_status(take_backup));
		return;
	case GUEST_BACKUP_RUNNING:
		httpd_reply_error(request, 409, "a backup of this guest is under way",
				  "wait for its end");
		break;
	default:
		httpd_reply_error(request, 409, "the guest takes no part in backups",
				  "hvguestctl status in the guest says why");
	}
	backups_refused(h->backups);
}

static struct qmp *get_qmp(void *user, const char *name)
{
	struct host *h = user;
	struct qemu_vm *vm = h->vms ? qemu_vms_find(h->vms, name) : NULL;

	return vm ? qemu_vm_qmp(vm) : NULL;
}

/* If the request names a VM, its QEMU makes the copies. False: it cannot, and that is answered. */
static bool choose_copier(struct host *h, struct backup *backup, struct httpd_request *request)
{
	const char *name =
		json_string_value(json_object_get(httpd_request_body(request), "vm"));
	const struct qemu_vm *known = name ? qemu_vms_find(h->vms, name) : NULL;
	struct qemu_backup_vm vm = {.base = h->base, .get_qmp = get_qmp, .user = h};

	if (!name)
		return true;
	if (!known || !get_qmp(h, name)) {
		httpd_reply_error(request, 409, "no VM of this name is connected by QMP",
				  "hvhost status lists them; hvhost serve --qmp names their sockets");
		return false;
	}
	vm.name = qemu_vm_name(known);
	if (backup_use_vm(backup, &vm) == 0)
		return true;
	httpd_reply_error(request, 400,
			  "a copy by QEMU has no verification and no choice of the way",
			  "leave out one or the other");
	return false;
}

static void post_backup(struct httpd_request *request, void *user)
{
	struct host *h = user;
	struct guest *g = api_guest_awake(h, request);
	struct backup *backup;
	const json_t *body;
	char why[1024];

	if (!g)
		return;
	body = httpd_request_body(request);
	if (!backups_make_room(h->backups)) {
		httpd_reply_error(request, 409, "too many backups are under way", "wait for one");
		return;
	}
	if (backup_new(backups_next_id(h->backups), guest_name(g), body, &backup)) {
		httpd_reply_error(request, 400,
				  "'images' must be absolute paths of files with different names, "
				  "'directory' and 'since' absolute paths",
				  NULL);
		return;
	}
	if (!choose_copier(h, backup, request)) {
		(void)backup_free(backup);
		return;
	}
	if (backup_check(backup, why, sizeof(why))) {
		httpd_reply_error(request, 409, why, NULL);
		(void)backup_free(backup);
		return;
	}
	start_backup(h, g, request, backup);
}

static void get_backup(struct httpd_request *request, void *user)
{
	struct host *h = user;
	unsigned long id = strtoul(httpd_request_param(request, "id"), NULL, 10);
	json_t *backup = id <= UINT32_MAX ? backups_get(h->backups, (unsigned int)id) : NULL;

	if (backup)
		api_reply(request, 200, backup);
	else
		httpd_reply_error(request, 404, "there is no such backup (any more)",
				  "hvhost backups lists those that there are");
}

static void get_backups(struct httpd_request *request, void *user)
{
	const struct host *h = user;

	httpd_reply_json(request, 200, backups_list(h->backups));
}

const struct api_route api_backup_routes[] = {
	{"POST", "/v1/guests/{name}/backup", post_backup},
	{"GET", "/v1/backups", get_backups},
	{"GET", "/v1/backups/{id}", get_backup},
	{0},
};
