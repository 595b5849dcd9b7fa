/* SPDX-License-Identifier: MIT */

/*
 * Takes a device over, and gives it back.
 *
 *     lock -> driver's users checked -> module -> driver remembered -> override -> unbind -> bind
 *          -> wait for the maps
 *
 * The device is without a driver between unbind and bind only, and every way out of here leads to
 * a bind: to uio_hv_generic if all went well, else to the driver it had, or to whichever the kernel
 * chooses. The driver is remembered in the lock's file before anything is changed, so that the next
 * hvguestd can put right what a killed one left.
 *
 * Nothing is unbound that somebody uses. The kernel would wait, without end, for whoever has
 * /dev/vmbus/hv_vss or hv_kvp open; and unbinding uio_hv_generic under an open descriptor leaves the
 * channel open at the host and an interrupt without its driver's data. So both are looked for first.
 *
 * The override is set instead of new_id, because it concerns this device alone.
 * Sources: Linux drivers/hv/vmbus_drv.c, drivers/hv/hv_utils_transport.c,
 * drivers/uio/uio_hv_generic.c, drivers/base/bus.c, drivers/base/dd.c.
 */

#include "vmbus/takeover.h"

#include "base/clock.h"
#include "base/module.h"
#include "vmbus/sysfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

enum {
	PATH_SIZE = 256,
	POLL_NS = 10 * 1000 * 1000,
	KERNEL_ENOTSUPP = 524, /* Linux include/linux/errno.h; not for user space, and seen there */
};

#define NO_DRIVER "-"

struct takeover {
	char instance[VMBUS_GUID_TEXT_SIZE];
	char had_driver[VMBUS_DRIVER_SIZE]; /* NO_DRIVER: none */
	bool leave;                         /* it was bound before, and not by a predecessor */
	int bus_fd;                         /* /sys/bus/vmbus */
	int lock_fd;
	char proc[64];
	int uio;
	char node[64];
	size_t map_bytes;
	uint64_t extra_bytes;
};

void takeover_config_init(struct takeover_config *config, const char *run_dir)
{
	*config = (struct takeover_config){
		.sysfs = VMBUS_SYSFS,
		.dev = "/dev",
		.proc = "/proc",
		.run_dir = run_dir,
		.modprobe = MODULE_MODPROBE,
		.wait_ns = UINT64_C(2000000000),
		.retry_ns = UINT64_C(1000000000),
	};
}

const char *takeover_text(int condition)
{
	switch (condition) {
	case TAKEOVER_NO_MODULE:
		return "the kernel has no driver uio_hv_generic: "
		       "install the package with the kernel's extra modules, or do without takeover";
	case TAKEOVER_TOO_OLD:
		return "this kernel's uio_hv_generic refuses devices without a monitor bit (its log "
		       "says \"vmbus channel requires hypercall\"): it takes Linux 6.10 or newer";
	case TAKEOVER_BUSY:
		return "a process has it open: stop it";
	case TAKEOVER_LOCKED:
		return "another hvguestd has it: stop that one";
	case TAKEOVER_GONE:
		return "the host has taken the device away";
	case TAKEOVER_NO_UIO:
		return "uio_hv_generic has it, but no usable /dev/uioN came of it: "
		       "see the kernel's log";
	default:
		return "failed";
	}
}

static bool device_exists(const struct takeover *t)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "devices/%s", t->instance);
	return faccessat(t->bus_fd, path, F_OK, 0) == 0;
}

/* Writes the device's name to drivers/@driver/@command. */
static int command_driver(const struct takeover *t, const char *driver, const char *command)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "drivers/%s/%s", driver, command);
	return sysfs_write_text(t->bus_fd, path, t->instance);
}

static int set_override(const struct takeover *t, const char *driver)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "devices/%s/driver_override", t->instance);
	return sysfs_write_text(t->bus_fd, path, driver);
}

/* What the lock's file says: a driver, "-" for none, or nothing if nobody remembered any. */
static void recall_driver(const struct takeover *t, char *ret_driver, size_t size)
{
	ssize_t n = pread(t->lock_fd, ret_driver, size - 1, 0);

	ret_driver[n > 0 ? n : 0] = '\0';
	ret_driver[strcspn(ret_driver, "\n")] = '\0';
	if (strchr(ret_driver, '/'))
		ret_driver[0] = '\0';
}

static int remember_driver(const struct takeover *t)
{
	char text[VMBUS_DRIVER_SIZE + 1];
	int n = snprintf(text, sizeof(text), "%s\n", t->had_driver);

	if (ftruncate(t->lock_fd, 0) < 0)
		return negative_errno();
	return pwrite(t->lock_fd, text, n, 0) == n ? 0 : negative_errno();
}

static int lock_device(struct takeover *t, const struct takeover_config *config)
{
	char path[PATH_SIZE];

	if (snprintf(path, sizeof(path), "%s/vmbus-%s.lock", config->run_dir, t->instance) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	t->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (t->lock_fd < 0)
		return negative_errno();
	if (flock(t->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? TAKEOVER_LOCKED : negative_errno();
	return 0;
}

static int find_holder(const struct takeover *t, const char *path, struct fd_holder *ret_holder)
{
	return fd_holder_find(t->proc, path, ret_holder) == 0 ? TAKEOVER_BUSY : 0;
}

/* Is a stock daemon at work behind the driver? The kernel would wait for it to end. */
static int check_stock_daemon(const struct takeover *t, const struct takeover_config *config,
			      const struct vmbus_device *device, struct fd_holder *ret_holder)
{
	const char *class_name = vmbus_class_name(&device->class_id);
	char path[PATH_SIZE];

	if (strcmp(class_name, "vss") != 0 && strcmp(class_name, "kvp") != 0)
		return 0;
	snprintf(path, sizeof(path), "%s/vmbus/hv_%s", config->dev, class_name);
	return find_holder(t, path, ret_holder);
}

static bool module_is_there(const struct takeover *t)
{
	return faccessat(t->bus_fd, "drivers/" VMBUS_UIO_DRIVER, F_OK, 0) == 0;
}

static int need_module(const struct takeover *t, const struct takeover_config *config)
{
	if (!module_is_there(t))
		module_load(config->modprobe, MODULE_SYSTEMCTL, VMBUS_UIO_DRIVER);
	return module_is_there(t) ? 0 : TAKEOVER_NO_MODULE;
}

/*
 * Gives the device to the driver it had, or to the one that the kernel chooses. Everything is
 * tried, whatever fails; the first failure that counts is reported.
 */
static int put_back(struct takeover *t, bool is_bound)
{
	int r = 0, bound = -ENOENT;

	if (is_bound)
		r = command_driver(t, VMBUS_UIO_DRIVER, "unbind");
	/* A newline clears it. */
	(void)!set_override(t, "\n");
	if (strcmp(t->had_driver, NO_DRIVER) != 0)
		bound = command_driver(t, t->had_driver, "bind");
	if (bound)
		bound = sysfs_write_text(t->bus_fd, "drivers_probe", t->instance);
	if (!device_exists(t))
		return TAKEOVER_GONE;
	(void)!ftruncate(t->lock_fd, 0);
	return r ? r : bound;
}

/* What a kernel answers that does not serve devices without a monitor bit, or does not know them. */
static bool is_refusal(int r)
{
	return r == -KERNEL_ENOTSUPP || r == -EOPNOTSUPP || r == -EINVAL || r == -ENODEV;
}

static int rebind(struct takeover *t, const struct vmbus_device *device)
{
	int r;

	r = remember_driver(t);
	if (r)
		return r;
	r = set_override(t, VMBUS_UIO_DRIVER "\n");
	if (!r && device->driver[0])
		r = command_driver(t, device->driver, "unbind");
	if (r) {
		(void)!put_back(t, false);
		return device_exists(t) ? r : TAKEOVER_GONE;
	}

	r = command_driver(t, VMBUS_UIO_DRIVER, "bind");
	if (r) {
		(void)!put_back(t, false);
		if (!device_exists(t))
			return TAKEOVER_GONE;
		return is_refusal(r) ? TAKEOVER_TOO_OLD : r;
	}
	return 0;
}

/* Reads what the maps say; false if they are not all there yet. */
static bool read_maps(struct takeover *t)
{
	_cleanup_close_ int device_fd = -1;
	char path[PATH_SIZE];
	int64_t size;

	t->uio = vmbus_device_uio(t->bus_fd, t->instance);
	snprintf(path, sizeof(path), "devices/%s/uio/uio%d/maps/map0/size", t->instance, t->uio);
	size = t->uio < 0 ? -1 : sysfs_read_number(t->bus_fd, path, 16);
	if (size <= 0)
		return false;

	snprintf(path, sizeof(path), "devices/%s", t->instance);
	device_fd = openat(t->bus_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t->map_bytes = size;
	t->extra_bytes = device_fd < 0 ? 0 : vmbus_device_buffers(device_fd, t->uio);
	return true;
}

/* A kernel may make the attributes after the bind has returned. */
static int wait_for_maps(struct takeover *t, const struct takeover_config *config)
{
	const struct timespec pause = {.tv_nsec = POLL_NS};
	uint64_t deadline_ns = clock_monotonic_ns() + config->wait_ns;

	while (!read_maps(t)) {
		if (!device_exists(t))
			return TAKEOVER_GONE;
		if (clock_monotonic_ns() >= deadline_ns)
			return TAKEOVER_NO_UIO;
		(void)nanosleep(&pause, NULL);
	}
	snprintf(t->node, sizeof(t->node), "%s/uio%d", config->dev, t->uio);
	return 0;
}

/* The device is bound to uio_hv_generic already: by a predecessor, or by somebody else. */
static int adopt(struct takeover *t, const struct takeover_config *config, const char *remembered,
		 struct fd_holder *ret_holder)
{
	int r;

	t->leave = remembered[0] == '\0';
	strcpy(t->had_driver, remembered);
	r = wait_for_maps(t, config);
	if (r || config->is_open_here)
		return r;
	return find_holder(t, t->node, ret_holder);
}

static int take(struct takeover *t, const struct takeover_config *config,
		const struct vmbus_device *device, struct fd_holder *ret_holder)
{
	int r;

	r = check_stock_daemon(t, config, device, ret_holder);
	if (r)
		return r;
	r = need_module(t, config);
	if (r)
		return r;
	r = rebind(t, device);
	if (r)
		return r;
	r = wait_for_maps(t, config);
	if (r)
		(void)!put_back(t, true);
	return r;
}

static int acquire(struct takeover *t, const struct takeover_config *config,
		   const struct vmbus_device *device, struct fd_holder *ret_holder)
{
	char remembered[VMBUS_DRIVER_SIZE];
	int r;

	t->bus_fd = open(config->sysfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->bus_fd < 0)
		return negative_errno();
	if (!device_exists(t))
		return TAKEOVER_GONE;
	r = lock_device(t, config);
	if (r)
		return r;

	recall_driver(t, remembered, sizeof(remembered));
	if (strcmp(device->driver, VMBUS_UIO_DRIVER) == 0)
		return adopt(t, config, remembered, ret_holder);
	/* Without a driver: a predecessor may have been killed between unbind and bind. */
	if (device->driver[0])
		strcpy(t->had_driver, device->driver);
	else
		strcpy(t->had_driver, remembered[0] ? remembered : NO_DRIVER);
	return take(t, config, device, ret_holder);
}

int takeover_new(const struct takeover_config *config, const struct vmbus_device *device,
		 struct fd_holder *ret_holder, struct takeover **ret_takeover)
{
	_cleanup_(cleanup_takeoverp) struct takeover *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->bus_fd = t->lock_fd = t->uio = -1;
	strcpy(t->instance, device->instance);
	if (snprintf(t->proc, sizeof(t->proc), "%s", config->proc) >= (int)sizeof(t->proc))
		return -ENAMETOOLONG;
	r = acquire(t, config, device, ret_holder);
	if (r)
		return r;

	*ret_takeover = steal_ptr(t);
	return 0;
}

int takeover_give_back(struct takeover *t, struct fd_holder *ret_holder)
{
	int r;

	if (!device_exists(t))
		return TAKEOVER_GONE;
	if (t->leave || !takeover_is_bound(t))
		return 0;
	r = find_holder(t, t->node, ret_holder);
	return r ? r : put_back(t, true);
}

struct takeover *takeover_free(struct takeover *t)
{
	if (t) {
		close_fd(t->bus_fd);
		close_fd(t->lock_fd);
		free(t);
	}
	return NULL;
}

bool takeover_is_bound(const struct takeover *t)
{
	return vmbus_device_uio(t->bus_fd, t->instance) == t->uio;
}

const char *takeover_node(const struct takeover *t)
{
	return t->node;
}

size_t takeover_map_bytes(const struct takeover *t)
{
	return t->map_bytes;
}

uint64_t takeover_extra_bytes(const struct takeover *t)
{
	return t->extra_bytes;
}
