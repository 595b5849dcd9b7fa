/* SPDX-License-Identifier: MIT */

/*
 * hvguestd's API.
 *
 * Every answer is made from what the binders hold in memory, in the event loop, so it is given at
 * any time, also while everything is frozen. Each binder describes itself; here the descriptions
 * are put together.
 */

#include "daemon/api.h"

#include "daemon/vmbus_list.h"
#include "vmbus/discover.h"

static json_t *missing_list(const struct api *api)
{
	json_t *list = json_array();

	for (size_t i = 0; i < api->n_missing; i++)
		json_array_append_new(list, json_string(api->missing[i]));
	return list;
}

static json_t *backup_status(struct api *api)
{
	json_t *backup = bind_vss_status(api->vss);
	json_t *last = receipts_get(api->receipts, 1);

	if (backup)
		json_object_set_new(backup, "last", last ?: json_null());
	else
		json_decref(last);
	return backup;
}

json_t *api_status(struct api *api)
{
	json_t *status = json_pack("{s:i, s:s, s:s, s:s}", "schema", 1, "program", "hvguestd",
				   "version", PACKAGE_VERSION, "name", api->config->name);

	json_object_set_new(status, "host", connection_status(*api->connection));
	json_object_set_new(status, "missing_capabilities", missing_list(api));
	json_object_set_new(status, "heartbeat", bind_heartbeat_status(api->heartbeat));
	json_object_set_new(status, "shutdown", bind_shutdown_status(api->shutdown));
	json_object_set_new(status, "time", bind_timesync_status(api->timesync));
	json_object_set_new(status, "memory", bind_dynmem_status(api->dynmem));
	json_object_set_new(status, "hotplug", bind_hotplug_status(api->hotplug));
	json_object_set_new(status, "backup", backup_status(api));
	json_object_set_new(status, "copy", bind_fcopy_status(api->fcopy));
	json_object_set_new(status, "kvp", api->kvp ? bind_kvp_status(api->kvp) : json_null());
	json_object_set_new(status, "disks", bind_disks_status(api->disks));
	return status;
}

static void get_status(struct httpd_request *request, void *user)
{
	httpd_reply_json(request, 200, api_status(user));
}

/* A machine that has never made a backup answers with nothing but the schema. */
static void reply_receipt(struct httpd_request *request, const struct api *api, size_t n)
{
	json_t *receipt = receipts_get(api->receipts, n);

	if (!receipt && n > 1)
		httpd_reply_error(request, 404, "there are not so many receipts",
				  "hvguestctl receipts lists them");
	else
		httpd_reply_json(request, 200, receipt ?: json_pack("{s:i}", "schema", 1));
}

/* The next host would be given it first; and it has to be sure that the last one has forgotten it. */
static void post_memory_release(struct httpd_request *request, void *user)
{
	struct api *api = user;

	httpd_reply_json(request, 200, bind_dynmem_release(api->dynmem));
}

static void on_verified(void *user, json_t *take_answer)
{
	struct httpd_request *request = user;

	if (take_answer)
		httpd_reply_json(request, 200, take_answer);
	else
		httpd_reply_error(request, 500, "the memory that the host has could not be looked at",
				  "see the log of hvguestd");
}

static void post_memory_verify(struct httpd_request *request, void *user)
{
	struct api *api = user;

	if (!bind_dynmem_verify(api->dynmem, on_verified, request))
		httpd_reply_error(request, 409, "memory is not served, or is being verified already",
				  "hvguestctl status says what is served");
}

static void get_last_backup(struct httpd_request *request, void *user)
{
	reply_receipt(request, user, 1);
}

static void get_receipt(struct httpd_request *request, void *user)
{
	const char *text = httpd_request_param(request, "n");
	unsigned long n;
	char *end;

	n = strtoul(text, &end, 10);
	if (*text < '1' || *text > '9' || *end != '\0')
		httpd_reply_error(request, 400, "a receipt's number is 1 (the newest) or more", NULL);
	else
		reply_receipt(request, user, n);
}

static void get_receipts(struct httpd_request *request, void *user)
{
	const struct api *api = user;

	httpd_reply_json(request, 200, json_pack("{s:i, s:o}", "schema", 1, "receipts",
						 receipts_list(api->receipts)));
}

static void get_plan(struct httpd_request *request, void *user)
{
	const struct api *api = user;

	httpd_reply_json(request, 200, snapshot_plan(api->snapshot));
}

static void get_vmbus(struct httpd_request *request, void *user)
{
	struct api *api = user;

	httpd_reply_json(request, 200, vmbus_list(*api->connection, VMBUS_SYSFS, api->services,
						  api->n_services));
}

static void get_why(struct httpd_request *request, void *user)
{
	struct api *api = user;

	httpd_reply_json(request, 200,
			 json_pack("{s:i, s:o}", "schema", 1, "memory", bind_dynmem_why(api->dynmem)));
}

int api_add_routes(struct api *api, struct httpd *httpd)
{
	static const struct {
		const char *path;
		void (*handle)(struct httpd_request *request, void *user);
	} routes[] = {
		{"/v1/status", get_status},
		{"/v1/why", get_why},
		{"/v1/vmbus", get_vmbus},
		{"/v1/backup/last", get_last_backup},
		{"/v1/backup/plan", get_plan},
		{"/v1/backup/receipts", get_receipts},
		{"/v1/backup/receipts/{n}", get_receipt},
	};

	int r;

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		r = httpd_route(httpd, "GET", routes[i].path, routes[i].handle, api);

		if (r)
			return r;
	}
	r = httpd_route(httpd, "POST", "/v1/memory/release", post_memory_release, api);
	if (r)
		return r;
	r = httpd_route(httpd, "POST", "/v1/memory/verify", post_memory_verify, api);
	if (r)
		return r;
	r = bind_heartbeat_add_routes(api->heartbeat, httpd);
	if (r)
		return r;
	r = bind_fcopy_add_routes(api->fcopy, httpd);
	if (r)
		return r;
	r = bind_disks_add_routes(api->disks, httpd);
	if (r)
		return r;
	r = api_kvp_add_routes(api->pools, httpd);
	if (r)
		return r;
	return bind_manual_add_routes(api->manual, httpd);
}
