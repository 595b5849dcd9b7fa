/* SPDX-License-Identifier: MIT */

/*
 * Lists VMBus devices as JSON.
 *
 * The list is read from sysfs when it is asked for. That is memory of the kernel, so it can be had
 * while file systems are frozen too. A member is left out where the kernel does not say.
 */

#include "daemon/vmbus_list.h"

#include "vmbus/discover.h"

#include <string.h>

static const struct service *find_service(const struct vmbus_device *d,
					  const struct service *services, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (vmbus_guid_equal(services[i].class_id, &d->class_id))
			return &services[i];
	return NULL;
}

static void add_number(json_t *object, const char *key, int64_t number)
{
	if (number >= 0)
		json_object_set_new(object, key, json_integer(number));
}

static json_t *describe(const struct vmbus_device *d)
{
	char class_id[VMBUS_GUID_TEXT_SIZE];
	json_t *object;

	vmbus_guid_format(&d->class_id, class_id);
	object = json_pack("{s:s, s:s, s:s, s:s*, s:s*, s:s, s:b}", "class",
			   vmbus_class_name(&d->class_id), "class_id", class_id, "instance",
			   d->instance, "driver", d->driver[0] ? d->driver : NULL,
			   "driver_override", d->driver_override[0] ? d->driver_override : NULL,
			   "state", vmbus_device_state_name(d->state), "monitor", d->has_monitor);
	add_number(object, "uio", d->uio);
	add_number(object, "channel_id", d->channel_id);
	add_number(object, "ring_bytes", d->ring_bytes);
	add_number(object, "in_bytes", d->in_bytes);
	add_number(object, "out_bytes", d->out_bytes);
	add_number(object, "interrupts", d->interrupts);
	add_number(object, "signals", d->signals);
	add_number(object, "buffer_bytes", d->buffer_bytes);
	return object;
}

/* Linux drivers/hv/vmbus_drv.c, vmbus_suspend(): one driver without suspend is enough. */
static bool blocks_hibernation(const json_t *devices)
{
	size_t i;
	json_t *d;

	json_array_foreach(devices, i, d) {
		const char *driver = json_string_value(json_object_get(d, "driver"));

		if (driver && !strcmp(driver, VMBUS_UIO_DRIVER))
			return true;
	}
	return false;
}

static json_t *list_devices(struct connection *connection, const char *sysfs,
			    const struct service *services, size_t n_services)
{
	_cleanup_free_ struct vmbus_device *devices = calloc(VMBUS_DEVICES_MAX, sizeof(*devices));
	json_t *list = json_array();
	size_t n = 0;

	if (!devices || vmbus_discover(sysfs, devices, VMBUS_DEVICES_MAX, &n))
		return list;
	for (size_t i = 0; i < n; i++) {
		const struct service *s = find_service(&devices[i], services, n_services);
		json_t *object = describe(&devices[i]);

		if (s)
			json_object_set_new(object, "service_state",
					    json_string(connection_channel_state(connection, s->self)));
		json_array_append_new(list, object);
	}
	return list;
}

json_t *channel_list(struct connection *connection, const struct service *services, size_t n)
{
	json_t *channels = json_array();

	for (size_t i = 0; i < n; i++) {
		const struct service *s = &services[i];
		json_t *channel = json_pack("{s:s, s:s}", "service", s->name, "state",
					    connection_channel_state(connection, s->self));
		json_t *traffic = s->traffic(s->self);

		json_object_update(channel, traffic);
		json_decref(traffic);
		json_array_append_new(channels, channel);
	}
	return channels;
}

json_t *vmbus_list(struct connection *connection, const char *sysfs, const struct service *services,
		   size_t n)
{
	bool is_lab = strcmp(connection->ops->transport, "uio") != 0;
	json_t *devices;

	devices = is_lab ? json_array() : list_devices(connection, sysfs, services, n);
	return json_pack("{s:i, s:s, s:b, s:o, s:o}", "schema", 1, "transport",
			 connection->ops->transport, "blocks_hibernation",
			 blocks_hibernation(devices), "devices", devices, "channels",
			 channel_list(connection, services, n));
}
