/* SPDX-License-Identifier: MIT */

/*
 * A guest at the host.
 *
 * It lives as long as its connection to the lab. Each of its services has one channel, found by
 * class; a service that cannot use its channel any more has it rescinded, and the guest may be
 * offered it again.
 */

#include "host/guest.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum guest_channel {
	CHANNEL_HEARTBEAT,
	CHANNEL_DYNMEM,
	CHANNEL_VSS,
	CHANNEL_SHUTDOWN,
	N_CHANNELS,
};

static const struct vmbus_guid *const classes[] = {
	[CHANNEL_HEARTBEAT] = &vmbus_class_heartbeat,
	[CHANNEL_DYNMEM] = &vmbus_class_dynmem,
	[CHANNEL_VSS] = &vmbus_class_vss,
	[CHANNEL_SHUTDOWN] = &vmbus_class_shutdown,
};

struct guest {
	char *name;
	uint64_t memory_pages;
	struct lab_guest *lab;
	bool offered[N_CHANNELS];
	struct guest_heartbeat *heartbeat;
	struct guest_memory *memory;
	struct guest_backup *backup;
	struct guest_shutdown *shutdown;
};

static enum guest_channel channel_of(const struct vmbus_guid *class_id)
{
	for (int i = 0; i < N_CHANNELS; i++)
		if (vmbus_guid_equal(classes[i], class_id))
			return i;
	return N_CHANNELS;
}

static enum guest_channel channel_named(const char *service)
{
	for (int i = 0; i < N_CHANNELS; i++)
		if (!strcmp(vmbus_class_name(classes[i]), service))
			return i;
	return N_CHANNELS;
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

static int add_services(struct guest *g, const struct guest_config *config)
{
	const struct guest_service_context context = {
		.base = config->base,
		.guest_name = g->name,
		.rescind = rescind_corrupt,
		.backup_runs = backup_runs,
		.guest = g,
	};
	int r;

	r = guest_heartbeat_new(&context, &g->heartbeat);
	if (r)
		return r;
	r = guest_memory_new(&context, config->settings, config->window_pfn, &g->memory);
	if (r)
		return r;
	r = guest_shutdown_new(&context, &g->shutdown);
	if (r)
		return r;
	return guest_backup_new(&context, &config->workers, &g->backup);
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
	(void)guest_heartbeat_free(g->heartbeat);
	(void)guest_memory_free(g->memory);
	(void)guest_backup_free(g->backup);
	(void)guest_shutdown_free(g->shutdown);
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

void guest_offer_all(struct guest *g)
{
	for (int i = 0; i < N_CHANNELS; i++)
		(void)!guest_offer(g, vmbus_class_name(classes[i]));
}

int guest_offer(struct guest *g, const char *service)
{
	enum guest_channel i = channel_named(service);

	if (i == N_CHANNELS)
		return GUEST_NO_SERVICE;
	if (g->offered[i] || lab_offer(g->lab, classes[i]))
		return GUEST_NOT_POSSIBLE;
	g->offered[i] = true;
	return 0;
}

int guest_rescind(struct guest *g, const char *service)
{
	enum guest_channel i = channel_named(service);

	if (i == N_CHANNELS)
		return GUEST_NO_SERVICE;
	if (!g->offered[i] || lab_rescind(g->lab, classes[i]))
		return GUEST_NOT_POSSIBLE;
	g->offered[i] = false;
	return 0;
}

void guest_channel_opened(struct guest *g, const struct vmbus_guid *class_id,
			  struct vmbus_port *take_port)
{
	log_info("%s: %s is open", g->name, vmbus_class_name(class_id));
	switch (channel_of(class_id)) {
	case CHANNEL_HEARTBEAT:
		guest_heartbeat_open(g->heartbeat, take_port);
		break;
	case CHANNEL_DYNMEM:
		guest_memory_open(g->memory, take_port);
		break;
	case CHANNEL_VSS:
		guest_backup_open(g->backup, take_port);
		break;
	case CHANNEL_SHUTDOWN:
		guest_shutdown_open(g->shutdown, take_port);
		break;
	case N_CHANNELS:
		vmbus_port_fini(take_port);
		break;
	}
}

void guest_channel_closed(struct guest *g, const struct vmbus_guid *class_id)
{
	log_info("%s: %s is closed", g->name, vmbus_class_name(class_id));
	switch (channel_of(class_id)) {
	case CHANNEL_HEARTBEAT:
		guest_heartbeat_close(g->heartbeat);
		break;
	case CHANNEL_DYNMEM:
		guest_memory_close(g->memory);
		break;
	case CHANNEL_VSS:
		guest_backup_close(g->backup);
		break;
	case CHANNEL_SHUTDOWN:
		guest_shutdown_close(g->shutdown);
		break;
	case N_CHANNELS:
		break;
	}
}

json_t *guest_status(const struct guest *g)
{
	return json_pack("{s:s, s:I, s:o, s:o, s:o, s:o}", "name", g->name, "machine_memory_bytes",
			 (json_int_t)(g->memory_pages * VMBUS_PAGE_SIZE), "heartbeat",
			 guest_heartbeat_status(g->heartbeat), "memory",
			 guest_memory_status(g->memory), "backup", guest_backup_status(g->backup),
			 "shutdown", guest_shutdown_status(g->shutdown));
}
