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

static void get_status(struct httpd_request *request, void *user)
{
	struct api *api = user;

	httpd_reply_json(request, 200,
			 json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "schema", 1,
				   "program", "hvguestd", "version", PACKAGE_VERSION, "name",
				   api->config->name, "host", connection_status(*api->connection),
				   "missing_capabilities", missing_list(api), "heartbeat",
				   bind_heartbeat_status(api->heartbeat), "memory",
				   bind_dynmem_status(api->dynmem), "backup",
				   bind_vss_status(api->vss)));
}

static void get_last_backup(struct httpd_request *request, void *user)
{
	struct api *api = user;
	json_t *receipt = snapshot_receipt(api->snapshot);

	if (json_is_null(receipt))
		receipt = json_pack("{s:i}", "schema", 1);
	httpd_reply_json(request, 200, receipt);
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
	int r;

	r = httpd_route(httpd, "GET", "/v1/status", get_status, api);
	if (r)
		return r;
	r = httpd_route(httpd, "GET", "/v1/why", get_why, api);
	if (r)
		return r;
	r = httpd_route(httpd, "GET", "/v1/vmbus", get_vmbus, api);
	if (r)
		return r;
	return httpd_route(httpd, "GET", "/v1/backup/last", get_last_backup, api);
}
