/* SPDX-License-Identifier: MIT */

/*
 * Finds VMBus devices.
 *
 * Each device is a folder named by its instance GUID, with attributes that differ between kernels:
 * whatever is missing or makes no sense is left out of the description, never an error, because a
 * device can also go away while it is looked at. The size of a ring is shown in three ways, of
 * which a kernel may have any: by the map of a device bound to uio_hv_generic, by the `ring` file
 * of the channel, and as the sum of what can be read and written.
 * Sources: Linux drivers/hv/vmbus_drv.c, drivers/uio/uio.c.
 */

#include "vmbus/discover.h"

#include "base/cleanup.h"
#include "vmbus/sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	PATH_SIZE = 128,
	FIRST_BUFFER_MAP = 3, /* Linux drivers/uio/uio_hv_generic.c, enum hv_uio_map */
	LAST_BUFFER_MAP = 4,
};

static void cleanup_dirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* The N of the folder uio/uioN below @path, or -1. */
static int find_uio(int dir_fd, const char *path)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(cleanup_dirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int n, length;

	if (!dir) {
		close_fd(fd);
		return -1;
	}
	while ((entry = readdir(dir)))
		if (sscanf(entry->d_name, "uio%d%n", &n, &length) == 1 && n >= 0 &&
		    entry->d_name[length] == '\0')
			return n;
	return -1;
}

int vmbus_device_uio(int bus_fd, const char *instance)
{
	char path[PATH_SIZE];

	if (snprintf(path, sizeof(path), "devices/%s/uio", instance) >= (int)sizeof(path))
		return -1;
	return find_uio(bus_fd, path);
}

/* A number among the attributes of the device's own channel. */
static int64_t channel_number(int fd, const struct vmbus_device *d, const char *name)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "channels/%lld/%s", (long long)d->channel_id, name);
	return sysfs_read_number(fd, path, 10);
}

static int64_t ring_size(int fd, const struct vmbus_device *d)
{
	int64_t map, readable, writable;
	char path[PATH_SIZE];
	struct stat st;

	snprintf(path, sizeof(path), "uio/uio%d/maps/map0/size", d->uio);
	map = d->uio < 0 ? -1 : sysfs_read_number(fd, path, 16);
	if (map > 0)
		return map / 2;

	snprintf(path, sizeof(path), "channels/%lld/ring", (long long)d->channel_id);
	if (fstatat(fd, path, &st, 0) == 0 && st.st_size > 0)
		return st.st_size / 2;

	readable = sysfs_read_number(fd, "in_read_bytes_avail", 10);
	writable = sysfs_read_number(fd, "in_write_bytes_avail", 10);
	return readable < 0 || writable < 0 ? -1 : readable + writable + sysconf(_SC_PAGESIZE);
}

uint64_t vmbus_device_buffers(int device_fd, int uio)
{
	uint64_t bytes = 0;

	for (int i = FIRST_BUFFER_MAP; i <= LAST_BUFFER_MAP; i++) {
		char path[PATH_SIZE];
		int64_t size;

		snprintf(path, sizeof(path), "uio/uio%d/maps/map%d/size", uio, i);
		size = sysfs_read_number(device_fd, path, 16);
		bytes += size > 0 ? size : 0;
	}
	return bytes;
}

static void read_names(int fd, struct vmbus_device *d)
{
	char text[VMBUS_GUID_TEXT_SIZE + 2];

	if (sysfs_read_text(fd, "class_id", text, sizeof(text)) ||
	    !vmbus_guid_parse(text, &d->class_id))
		d->class_id = (struct vmbus_guid){0};
	if (sysfs_read_link(fd, "driver", d->driver, sizeof(d->driver)))
		d->driver[0] = '\0';
	/* A kernel prints a NULL that way. */
	if (sysfs_read_text(fd, "driver_override", d->driver_override, sizeof(d->driver_override)) ||
	    strcmp(d->driver_override, "(null)") == 0)
		d->driver_override[0] = '\0';
}

static void read_numbers(int fd, struct vmbus_device *d)
{
	d->uio = find_uio(fd, "uio");
	d->channel_id = sysfs_read_number(fd, "id", 10);
	d->state = sysfs_read_number(fd, "state", 10);
	d->ring_bytes = ring_size(fd, d);
	d->in_bytes = sysfs_read_number(fd, "in_read_bytes_avail", 10);
	d->out_bytes = sysfs_read_number(fd, "out_read_bytes_avail", 10);
	d->interrupts = channel_number(fd, d, "interrupts");
	d->signals = channel_number(fd, d, "events");
	d->buffer_bytes = d->uio < 0 ? -1 : (int64_t)vmbus_device_buffers(fd, d->uio);
	d->has_monitor = faccessat(fd, "monitor_id", F_OK, 0) == 0;
}

/* False if there is no such device any more. */
static bool read_device(int dir_fd, const char *name, struct vmbus_device *ret_device)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct vmbus_device device = {.uio = -1};

	if (fd < 0)
		return false;
	strcpy(device.instance, name);
	read_names(fd, &device);
	read_numbers(fd, &device);
	*ret_device = device;
	return true;
}

static int compare_devices(const void *a, const void *b)
{
	const struct vmbus_device *x = a, *y = b;

	return strcmp(x->instance, y->instance);
}

int vmbus_discover(const char *sysfs, struct vmbus_device *ret_devices, size_t max, size_t *ret_n)
{
	_cleanup_(cleanup_dirp) DIR *dir = NULL;
	struct dirent *entry;
	char path[PATH_SIZE];
	size_t n = 0;

	if (snprintf(path, sizeof(path), "%s/devices", sysfs) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? VMBUS_NO_BUS : negative_errno();
	while (n < max && (errno = 0, entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strlen(entry->d_name) < VMBUS_GUID_TEXT_SIZE)
			n += read_device(dirfd(dir), entry->d_name, &ret_devices[n]);
	if (n < max && errno)
		return negative_errno();

	qsort(ret_devices, n, sizeof(*ret_devices), compare_devices);
	*ret_n = n;
	return 0;
}

int vmbus_discover_class(const char *sysfs, const struct vmbus_guid *class_id,
			 struct vmbus_device *ret_device)
{
	_cleanup_free_ struct vmbus_device *devices = calloc(VMBUS_DEVICES_MAX, sizeof(*devices));
	size_t n;
	int r;

	if (!devices)
		return -ENOMEM;
	r = vmbus_discover(sysfs, devices, VMBUS_DEVICES_MAX, &n);
	if (r)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (vmbus_guid_equal(&devices[i].class_id, class_id)) {
			*ret_device = devices[i];
			return 0;
		}
	}
	return VMBUS_NO_DEVICE;
}

const char *vmbus_device_state_name(int64_t state)
{
	static const char *const names[] = {"offered", "opening", "ready", "opened"};

	return state >= 0 && state < (int64_t)(sizeof(names) / sizeof(names[0])) ? names[state]
										 : "-";
}
