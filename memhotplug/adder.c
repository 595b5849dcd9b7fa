/* SPDX-License-Identifier: MIT */

/*
 * Adding memory.
 *
 * There is no stable interface for it. Kernels with ARCH_MEMORY_PROBE have a file that takes the
 * address of a block. Others have soft-reserved memory: a range that the boot parameter
 * memmap=SIZE%ADDRESS+0xefffffff (or the firmware) sets apart, which the driver dax_hmem offers as
 * a region of device-dax. A piece of it becomes a device by writing its first and last address to
 * `mapping`, and memory when the driver kmem is bound to that device. The whole window is one
 * device at first, bound to a driver or not; as long as that is not kmem it is made empty, before
 * kmem is loaded and could take it.
 *
 * What was added is counted by looking: the blocks that are there now and were not before. A piece
 * of a window that fails is given up again, as far as the kernel allows.
 * Source: Linux drivers/dax/bus.c, drivers/dax/kmem.c, drivers/dax/hmem/hmem.c,
 * arch/x86/mm/init_64.c; Documentation/admin-guide/kernel-parameters.txt, memmap.
 */

#include "memhotplug/adder.h"

#include "base/module.h"
#include "memhotplug/blocks.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE_BYTES UINT64_C(4096)

enum {
	PATH_SIZE = 512,
	TEXT_SIZE = 128,
	NAME_SIZE = 32,
	WINDOWS_MAX = 64,
	PRESENT_MAX = 65536, /* ranges */
};

struct adder {
	struct adder_config config;
	enum adder_method method;
	const char *problem; /* why there is no method */
	uint64_t block_pages;
	struct rangeset windows; /* DAX */
};

static void cleanup_dirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static void cleanup_filep(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

/* 0 or the errno. */
static int write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0)
		return errno;
	return write(fd, text, strlen(text)) < 0 ? errno : 0;
}

static bool read_text(const char *path, char *text)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT_SIZE - 1);

	if (n < 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return true;
}

/* Whether that helped is seen by what is there afterwards. */
static void load_module(const struct adder *a, const char *name)
{
	if (a->config.modprobe)
		module_load(a->config.modprobe, MODULE_SYSTEMCTL, name);
}

/* Adds one line of /proc/iomem if it is soft-reserved memory: whole blocks of it. */
static int read_window(struct adder *a, const char *line)
{
	uint64_t first, last, block_bytes = a->block_pages * PAGE_BYTES;
	struct page_range window;
	char name[NAME_SIZE];
	int r;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " : %31[^\n]", &first, &last, name) != 3 ||
	    strcmp(name, "Soft Reserved") != 0 || last <= first || last == UINT64_MAX)
		return 0;
	first = (first + block_bytes - 1) / block_bytes;
	last = (last + 1) / block_bytes;
	if (first >= last)
		return 0;
	window = (struct page_range){first * a->block_pages, (last - first) * a->block_pages};
	r = rangeset_add(&a->windows, &window, 1);
	return r < 0 ? r : 0;
}

/* The windows that the machine was booted with. Without root the kernel says 0 to all addresses. */
static int read_windows(struct adder *a)
{
	_cleanup_(cleanup_filep) FILE *f = fopen(a->config.iomem, "re");
	char line[TEXT_SIZE];
	int r = 0;

	while (f && r == 0 && fgets(line, sizeof(line), f))
		if (line[0] != ' ')
			r = read_window(a, line);
	return r;
}

/* The pages that are memory already. */
static int read_present(const struct adder *a, struct rangeset *present)
{
	struct blocks blocks;
	int r;

	r = blocks_read(a->config.blocks_dir, &blocks);
	if (r)
		return r < 0 ? r : -EINVAL;
	for (size_t i = 0; i < blocks.n && r == 0; i++) {
		struct page_range block = {blocks.list[i].number * a->block_pages, a->block_pages};

		r = rangeset_add(present, &block, 1);
	}
	blocks_fini(&blocks);
	return r > 0 ? -E2BIG : r;
}

/* How many of @n_blocks blocks are there, from the first on. */
static uint64_t count_blocks(const struct adder *a, uint64_t first_block, uint64_t n_blocks)
{
	struct block block;
	uint64_t n = 0;

	while (n < n_blocks && block_read(a->config.blocks_dir, first_block + n, &block) == 0)
		n++;
	return n;
}

static int probe(const struct adder *a, const struct hotadd_plan *plan)
{
	char path[PATH_SIZE], text[TEXT_SIZE];
	int error = 0;

	snprintf(path, sizeof(path), "%s/probe", a->config.blocks_dir);
	for (uint64_t i = 0; i < plan->n_blocks && error == 0; i++) {
		uint64_t address = (plan->first_block + i) * a->block_pages * PAGE_BYTES;

		snprintf(text, sizeof(text), "0x%" PRIx64, address);
		error = write_text(path, text);
	}
	return error;
}

/* Path of a file of a dax device, or of the region it belongs to. */
static void dax_path(const struct adder *a, char path[PATH_SIZE], const char *device, const char *file)
{
	snprintf(path, PATH_SIZE, "%s/devices/%s/%s", a->config.dax_dir, device, file);
}

static bool is_empty(const struct adder *a, const char *device)
{
	char path[PATH_SIZE], text[TEXT_SIZE];

	dax_path(a, path, device, "size");
	return read_text(path, text) && strcmp(text, "0") == 0;
}

/* True if the driver of this name has the device. */
static bool has_driver(const struct adder *a, const char *device, const char *driver)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/drivers/%s/%s", a->config.dax_dir, driver, device);
	return access(path, F_OK) == 0;
}

static int command_driver(const struct adder *a, const char *device, const char *driver,
			  const char *command)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/drivers/%s/%s", a->config.dax_dir, driver, command);
	return write_text(path, device);
}

/* Makes a device that is not memory empty, so that its part of the window can be given out. */
static void empty_device(const struct adder *a, const char *device)
{
	char path[PATH_SIZE];

	if (has_driver(a, device, "kmem") || is_empty(a, device))
		return;
	if (has_driver(a, device, "device_dax"))
		(void)command_driver(a, device, "device_dax", "unbind");
	dax_path(a, path, device, "size");
	(void)write_text(path, "0");
}

/* Finds a device that is empty and no driver's; writes its name, and that of any device at all. */
static bool find_device(const struct adder *a, char ret_free[NAME_SIZE], char ret_any[NAME_SIZE])
{
	_cleanup_(cleanup_dirp) DIR *stream = NULL;
	char path[PATH_SIZE];
	struct dirent *entry;

	snprintf(path, sizeof(path), "%s/devices", a->config.dax_dir);
	stream = opendir(path);
	ret_any[0] = '\0';
	while (stream && (entry = readdir(stream))) {
		if (strncmp(entry->d_name, "dax", 3) != 0 || strlen(entry->d_name) >= NAME_SIZE)
			continue;
		strcpy(ret_any, entry->d_name);
		empty_device(a, ret_any);
		if (!has_driver(a, ret_any, "kmem") && is_empty(a, ret_any)) {
			strcpy(ret_free, ret_any);
			return true;
		}
	}
	return false;
}

/* Has the region make one more device if there is none that is free. */
static bool get_device(const struct adder *a, char ret_device[NAME_SIZE])
{
	char path[PATH_SIZE], any[NAME_SIZE];

	if (find_device(a, ret_device, any))
		return true;
	if (any[0] == '\0')
		return false;
	/* The region is beside its devices; the kernel follows the link before the dots. */
	dax_path(a, path, any, "../dax_region/create");
	return write_text(path, "1") == 0 && find_device(a, ret_device, any);
}

static bool has_kmem(const struct adder *a)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/drivers/kmem", a->config.dax_dir);
	return access(path, F_OK) == 0;
}

/* True if the region has room for another device; @device is one of it, or "". */
static bool has_more(const struct adder *a, const char *device)
{
	char path[PATH_SIZE], text[TEXT_SIZE];

	dax_path(a, path, device, "../dax_region/available_size");
	return *device && read_text(path, text) && strcmp(text, "0") != 0;
}

/*
 * kmem takes every device that has a size as soon as it is loaded, and there may be nothing behind
 * the window yet: so the devices are made empty before.
 */
static int find_method(struct adder *a)
{
	char path[PATH_SIZE], device[NAME_SIZE], free_device[NAME_SIZE];
	bool has_room;
	int r;

	snprintf(path, sizeof(path), "%s/probe", a->config.blocks_dir);
	if (access(path, W_OK) == 0) {
		a->method = ADDER_PROBE;
		return 0;
	}
	r = read_windows(a);
	if (r)
		return r;
	if (a->windows.pages == 0) {
		a->problem = "this kernel has no probe file, and was not booted with memmap= for a "
			     "window of memory";
		return 0;
	}
	load_module(a, "dax_hmem");
	has_room = find_device(a, free_device, device);
	load_module(a, "kmem");
	if (!has_kmem(a))
		a->problem = "the kernel's driver kmem is missing";
	else if (!has_room && !has_more(a, device))
		a->problem = "there is no device-dax for the window: dax_hmem is missing, or kmem has "
			     "taken all of it at boot";
	else
		a->method = ADDER_DAX;
	return 0;
}

int adder_new(const struct adder_config *config, struct adder **ret_adder)
{
	_cleanup_(cleanup_adderp) struct adder *a = calloc(1, sizeof(*a));
	uint64_t block_bytes;
	int r;

	if (!a)
		return -ENOMEM;
	a->config = *config;
	rangeset_init(&a->windows, WINDOWS_MAX);
	a->problem = "this kernel has no memory blocks";
	if (blocks_read_size(config->blocks_dir, &block_bytes) == 0) {
		a->block_pages = block_bytes / PAGE_BYTES;
		r = find_method(a);
		if (r)
			return r;
	}
	*ret_adder = steal_ptr(a);
	return 0;
}

struct adder *adder_free(struct adder *a)
{
	if (!a)
		return NULL;
	rangeset_fini(&a->windows);
	free(a);
	return NULL;
}

enum adder_method adder_method(const struct adder *a)
{
	return a->method;
}

const char *adder_method_name(enum adder_method method)
{
	static const char *const names[ADDER_N_METHODS] = {
		[ADDER_NONE] = "none",
		[ADDER_PROBE] = "probe",
		[ADDER_DAX] = "dax",
	};

	return names[method];
}

static int map_and_bind(const struct adder *a, const char *device, const struct hotadd_plan *plan)
{
	uint64_t block_bytes = a->block_pages * PAGE_BYTES;
	uint64_t first = plan->first_block * block_bytes;
	char path[PATH_SIZE], text[TEXT_SIZE];
	int error;

	dax_path(a, path, device, "mapping");
	snprintf(text, sizeof(text), "%" PRIx64 "-%" PRIx64, first,
		 first + plan->n_blocks * block_bytes - 1);
	error = write_text(path, text);
	if (error)
		return error;
	error = command_driver(a, device, "kmem", "bind");
	if (error)
		error = command_driver(a, device, "kmem", "new_id");
	if (error) {
		dax_path(a, path, device, "size");
		(void)write_text(path, "0");
	}
	return error;
}

static int add_by_dax(const struct adder *a, const struct hotadd_plan *plan)
{
	char device[NAME_SIZE];

	return get_device(a, device) ? map_and_bind(a, device, plan) : ENODEV;
}

/* Adds what is planned; what came of it. */
static void perform(const struct adder *a, const struct hotadd_plan *plan,
		    struct adder_result *result)
{
	int error = a->method == ADDER_PROBE ? probe(a, plan) : add_by_dax(a, plan);

	uint64_t pages = count_blocks(a, plan->first_block, plan->n_blocks) * a->block_pages;

	result->pages += pages;
	if (pages == plan->pages)
		return;
	result->may_pass = error == ENOMEM;
	result->why = error == ENOMEM	? "there is no memory to manage it"
		      : error == EEXIST ? "something else is at that address"
		      : error == ENODEV ? "the window has no room for another device"
					: "the kernel refuses it: see its log";
}

/* Takes what an earlier attempt has added off the beginning of a request. */
static uint64_t skip_added(const struct adder *a, struct hotadd_request *request)
{
	struct page_range *range = &request->range;
	uint64_t pages;

	if (range->first % a->block_pages != 0)
		return 0;
	pages = count_blocks(a, range->first / a->block_pages, range->count / a->block_pages) *
		a->block_pages;
	range->first += pages;
	range->count -= pages;
	return pages;
}

void adder_add(struct adder *a, const struct hotadd_request *request, bool again,
	       struct adder_result *ret_result)
{
	struct hotadd_request left = *request;
	struct adder_result result = {0};
	struct rangeset present;
	struct hotadd_plan plan;

	rangeset_init(&present, PRESENT_MAX);
	if (a->method == ADDER_NONE) {
		result.why = a->problem;
	} else if (read_present(a, &present)) {
		result.why = "the memory blocks cannot be listed";
	} else {
		if (again)
			result.pages = skip_added(a, &left);
		hotadd_make_plan(&left, a->block_pages, &present,
				 a->method == ADDER_DAX ? &a->windows : NULL, &plan);
		if (plan.n_blocks > 0)
			perform(a, &plan, &result);
		if (!result.why && plan.reason != HOTADD_WHOLE && left.range.count > 0)
			result.why = hotadd_reason_text(plan.reason);
	}
	rangeset_fini(&present);
	*ret_result = result;
}
