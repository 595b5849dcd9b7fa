/* SPDX-License-Identifier: MIT */

/*
 * A guest at the host.
 *
 * It lives as long as its connection to the lab. Each of its services has one channel, found by
 * class; a service that cannot use its channel any more has it rescinded, and the guest may be
 * offered it again.
 *
 * A guest that is saved has no channel. The services do not know of it: to each of them its channel was
 * closed, as at any other time, and what it was doing is void. A guest that sleeps keeps the numbers
 * of the channels that it has lost, and there are only so many: what cannot be offered yet is wanted, and
 * offered when the guest lets go of one.
 */

#include "host/guest.h"

#include "base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	SERVICES_MAX = 8,
};

struct guest {
	char *name;
	uint64_t memory_pages;
	struct lab_guest *lab;
	struct guest_service services[SERVICES_MAX];
	bool offered[SERVICES_MAX]; /* their channels */
	bool wanted[SERVICES_MAX];  /* taken away by a save, and not offered again yet */
	bool saved;
	size_t n_services;
	struct guest_heartbeat *heartbeat;
	struct guest_memory *memory;
	struct guest_backup *backup;
	struct guest_shutdown *shutdown;
	struct guest_kvp *kvp;
	struct guest_fcopy *fcopy;
	struct guest_timesync *timesync;
};

/* The service's place; n_services if there is none. */
static size_t service_of(const struct guest *g, const struct vmbus_guid *class_id)
{
	size_t i = 0;

	while (i < g->n_services && !vmbus_guid_equal(g->services[i].class_id, class_id))
		i++;
	return i;
}

static size_t service_named(const struct guest *g, const char *name)
{
	size_t i = 0;

	while (i < g->n_services && strcmp(vmbus_class_name(g->services[i].class_id), name) != 0)
		i++;
	return i;
}

/* A service has found its ring corrupt. */
static void rescind_corrupt(void *self, const struct vmbus_guid *class_id)
{
	struct guest *g = self;

	log_error("%s: the %s ring is corrupt; taking the channel away", g->name,
		  vmbus_class_name(class_id));
	(void)!guest_rescind(g, vmbus_class_name(class_id));
}

static bool backup_runs(const void *self)
{
	const struct guest *g = self;

	return g->backup && guest_backup_is_running(g->backup);
}

static void describe(const void *self, struct board_services *ret_services)
{
	const struct guest *g = self;

	if (g->heartbeat)
		guest_heartbeat_show(g->heartbeat, ret_services);
	if (g->backup)
		ret_services->backup = guest_backup_state(g->backup);
}

static void add_service(struct guest *g, struct guest_service service)
{
	assert(g->n_services < SERVICES_MAX);
	g->services[g->n_services++] = service;
}

static int add_services(struct guest *g, const struct guest_config *config)
{
	const struct guest_service_context context = {
		.base = config->base,
		.guest_name = g->name,
		.rescind = rescind_corrupt,
		.backup_runs = backup_runs,
		.describe = describe,
		.guest = g,
	};
	int r;

	r = guest_heartbeat_new(&context, &g->heartbeat);
	if (r)
		return r;
	add_service(g, guest_heartbeat_service(g->heartbeat));
	r = guest_memory_new(&context, config->balance, config->balance_id, config->window_pfn,
			     &g->memory);
	if (r)
		return r;
	add_service(g, guest_memory_service(g->memory));
	r = guest_backup_new(&context, &config->workers, &g->backup);
	if (r)
		return r;
	add_service(g, guest_backup_service(g->backup));
	r = guest_shutdown_new(&context, &g->shutdown);
	if (r)
		return r;
	add_service(g, guest_shutdown_service(g->shutdown));
	r = guest_kvp_new(&context, &g->kvp);
	if (r)
		return r;
	add_service(g, guest_kvp_service(g->kvp));
	r = guest_fcopy_new(&context, &g->fcopy);
	if (r)
		return r;
	add_service(g, guest_fcopy_service(g->fcopy));
	r = guest_timesync_new(&context, &g->timesync);
	if (r)
		return r;
	add_service(g, guest_timesync_service(g->timesync));
	return 0;
}

int guest_new(const struct guest_config *config, struct guest **ret_guest)
{
	_cleanup_(cleanup_guestp) struct guest *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	g->memory_pages = config->memory_pages;
	g->lab = config->lab;
	g->name = strdup(config->name);
	if (!g->name)
		return -ENOMEM;
	r = add_services(g, config);
	if (r)
		return r;

	*ret_guest = steal_ptr(g);
	return 0;
}

struct guest *guest_free(struct guest *g)
{
	if (!g)
		return NULL;
	for (size_t i = 0; i < g->n_services; i++)
		g->services[i].free(g->services[i].self);
	free(g->name);
	free(g);
	return NULL;
}

const char *guest_name(const struct guest *g)
{
	return g->name;
}

struct guest_memory *guest_memory_of(struct guest *g)
{
	return g->memory;
}

struct guest_backup *guest_backup_of(struct guest *g)
{
	return g->backup;
}

struct guest_shutdown *guest_shutdown_of(struct guest *g)
{
	return g->shutdown;
}

struct guest_kvp *guest_kvp_of(struct guest *g)
{
	return g->kvp;
}

struct guest_fcopy *guest_fcopy_of(struct guest *g)
{
	return g->fcopy;
}

struct guest_timesync *guest_timesync_of(struct guest *g)
{
	return g->timesync;
}

void guest_offer_all(struct guest *g)
{
	for (size_t i = 0; i < g->n_services; i++)
		(void)!guest_offer(g, vmbus_class_name(g->services[i].class_id));
}

static int offer(struct guest *g, size_t i)
{
	if (g->offered[i] || lab_offer(g->lab, g->services[i].class_id))
		return GUEST_NOT_POSSIBLE;
	g->offered[i] = true;
	g->wanted[i] = false;
	return 0;
}

int guest_offer(struct guest *g, const char *service)
{
	size_t i = service_named(g, service);

	if (i == g->n_services)
		return GUEST_NO_SERVICE;
	return g->saved ? GUEST_SAVED : offer(g, i);
}

int guest_rescind(struct guest *g, const char *service)
{
	size_t i = service_named(g, service);

	if (i == g->n_services)
		return GUEST_NO_SERVICE;
	if (g->wanted[i]) {
		g->wanted[i] = false; /* nor will it be offered again */
		return 0;
	}
	if (!g->offered[i] || lab_rescind(g->lab, g->services[i].class_id))
		return GUEST_NOT_POSSIBLE;
	g->offered[i] = false;
	return 0;
}

int guest_save(struct guest *g)
{
	if (g->saved)
		return GUEST_NOT_POSSIBLE;
	log_info("%s: saved: all its channels are taken away", g->name);
	for (size_t i = 0; i < g->n_services; i++)
		if (g->offered[i] && guest_rescind(g, vmbus_class_name(g->services[i].class_id)) == 0)
			g->wanted[i] = true;
	g->saved = true;
	return 0;
}

/* As many as the guest has let go of others for. */
static void offer_wanted(struct guest *g)
{
	for (size_t i = 0; i < g->n_services && !g->saved; i++)
		if (g->wanted[i])
			(void)!offer(g, i);
}

int guest_restore(struct guest *g)
{
	if (!g->saved)
		return GUEST_NOT_POSSIBLE;
	log_info("%s: restored: its channels are offered again", g->name);
	g->saved = false;
	offer_wanted(g);
	return 0;
}

bool guest_is_saved(const struct guest *g)
{
	return g->saved;
}

int guest_move(struct guest *g)
{
	int r = guest_save(g);

	return r ? r : guest_restore(g);
}

void guest_channel_released(struct guest *g)
{
	offer_wanted(g);
}

void guest_channel_opened(struct guest *g, const struct vmbus_guid *class_id,
			  struct vmbus_port *take_port)
{
	size_t i = service_of(g, class_id);

	log_info("%s: %s is open", g->name, vmbus_class_name(class_id));
	if (i < g->n_services)
		g->services[i].open(g->services[i].self, take_port);
	else
		vmbus_port_fini(take_port);
}

void guest_channel_closed(struct guest *g, const struct vmbus_guid *class_id)
{
	size_t i = service_of(g, class_id);

	log_info("%s: %s is closed", g->name, vmbus_class_name(class_id));
	if (i < g->n_services)
		g->services[i].close(g->services[i].self);
}

json_t *guest_status(const struct guest *g)
{
	json_t *status = json_pack("{s:s, s:I, s:b}", "name", g->name, "machine_memory_bytes",
				   (json_int_t)(g->memory_pages * VMBUS_PAGE_SIZE), "saved", g->saved);

	for (size_t i = 0; i < g->n_services; i++)
		json_object_set_new(status, g->services[i].status_name,
				    g->services[i].status(g->services[i].self));
	return status;
}
