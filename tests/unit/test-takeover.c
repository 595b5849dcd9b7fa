/* SPDX-License-Identifier: MIT */

/*
 * vmbus/takeover.c on folders that stand for sysfs, /dev and /proc.
 *
 * Ordinary files take every command and do nothing, so what is shown here is which commands are
 * given, in which order, and what follows when one of them fails. What the kernel makes of them
 * (links and folders that come and go with the driver) can only be shown on a kernel with VMBus.
 */

#include "vmbus/takeover.h"

#include "tests/unit/tree.h"

#include <fcntl.h>
#include <sys/inotify.h>

#define GUID    "1eccfd72-4b41-45ef-b73a-4a6e44c12924"
#define DEVICE  "sys/devices/" GUID
#define UIO     "sys/drivers/uio_hv_generic"
#define BALLOON "sys/drivers/hv_balloon"
#define LOCK    "run/vmbus-" GUID ".lock"

static struct takeover_config config;
static struct fd_holder holder;
static struct takeover *takeover;
static char sysfs[PATH_MAX], dev[PATH_MAX], proc[PATH_MAX], run_dir[PATH_MAX];
static int watch_fd;
static struct {
	int id;
	const char *name;
} watched[4];

static void make_device(const char *class_id, const char *driver)
{
	char target[64];

	tree_remove(DEVICE);
	tree_file(DEVICE "/class_id", class_id);
	tree_file(DEVICE "/id", "21\n");
	tree_file(DEVICE "/driver_override", "(null)\n");
	snprintf(target, sizeof(target), "../../drivers/%s", driver);
	if (*driver)
		tree_link(DEVICE "/driver", target);
}

/* What uio_hv_generic makes below the device. */
static void make_uio(void)
{
	tree_file(DEVICE "/uio/uio0/maps/map0/size", "0x0000000000400000\n");
	tree_file(DEVICE "/uio/uio0/maps/map3/size", "0x0000000001f00000\n");
	tree_file(DEVICE "/uio/uio0/maps/map4/size", "0x0000000001000000\n");
}

static void watch(size_t i, const char *path, const char *name)
{
	watched[i].id = inotify_add_watch(watch_fd, tree_path(path), IN_CLOSE_WRITE);
	watched[i].name = name;
	cr_assert(ge(int, watched[i].id, 0));
}

static void set_up(void)
{
	tree_init();
	make_device("{525074dc-8985-46e2-8057-a307dc18a502}\n", "hv_balloon");
	tree_file("sys/drivers_probe", "");
	tree_file(UIO "/bind", "");
	tree_file(UIO "/unbind", "");
	tree_file(BALLOON "/bind", "");
	tree_file(BALLOON "/unbind", "");
	tree_file("run/here", "");
	tree_file("dev/uio0", "");
	tree_file("proc/self-is-no-number/comm", "");

	snprintf(sysfs, sizeof(sysfs), "%s", tree_path("sys"));
	snprintf(dev, sizeof(dev), "%s", tree_path("dev"));
	snprintf(proc, sizeof(proc), "%s", tree_path("proc"));
	snprintf(run_dir, sizeof(run_dir), "%s", tree_path("run"));
	config = (struct takeover_config){
		.sysfs = sysfs,
		.dev = dev,
		.proc = proc,
		.run_dir = run_dir,
		.modprobe = "/bin/true",
		.wait_ns = 50 * 1000 * 1000,
	};
	watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	watch(0, DEVICE, "device");
	watch(1, UIO, "uio");
	watch(2, BALLOON, "balloon");
	watch(3, "sys", "bus");
}

static void tear_down(void)
{
	takeover = takeover_free(takeover);
	close(watch_fd);
	tree_fini();
}

/* What was written since the last call, in order: "device/driver_override balloon/unbind ". */
static const char *commands(void)
{
	static char text[512];
	_Alignas(struct inotify_event) char buf[4096];
	ssize_t n = read(watch_fd, buf, sizeof(buf));

	text[0] = '\0';
	for (ssize_t i = 0; i < n;) {
		const struct inotify_event *e = (const struct inotify_event *)(const void *)&buf[i];

		for (size_t w = 0; w < 4; w++)
			if (watched[w].id == e->wd && e->len > 0)
				snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s/%s ",
					 watched[w].name, e->name);
		i += sizeof(*e) + e->len;
	}
	return text;
}

/* Drops what the making of the tree has left. */
static void begin(void)
{
	(void)commands();
}

static int take(void)
{
	struct vmbus_device devices[2];
	size_t n;

	cr_assert(eq(int, vmbus_discover(sysfs, devices, 2, &n), 0));
	cr_assert(eq(sz, n, 1));
	return takeover_new(&config, &devices[0], &holder, &takeover);
}

static bool override_is_clear(void)
{
	return tree_text(DEVICE "/driver_override")[0] == '\n';
}

/* A process in the tree's /proc that has a file of the tree open. */
static void make_holder(const char *node)
{
	tree_file("proc/4711/comm", "hv_vss_daemon\n");
	tree_link("proc/4711/fd/3", tree_path(node));
}

TestSuite(takeover, .init = set_up, .fini = tear_down);

Test(takeover, a_device_is_taken_and_given_back_in_the_right_order)
{
	make_uio();
	begin();
	cr_assert(eq(int, take(), 0));
	expect_text(commands(), "device/driver_override balloon/unbind uio/bind ");
	cr_expect(eq(int, strncmp(tree_text(DEVICE "/driver_override"), "uio_hv_generic\n", 15), 0));
	expect_text(tree_text(BALLOON "/unbind"), GUID);
	expect_text(tree_text(UIO "/bind"), GUID);
	expect_text(tree_text(LOCK), "hv_balloon\n");
	expect_text(takeover_node(takeover), tree_path("dev/uio0"));
	cr_expect(eq(sz, takeover_map_bytes(takeover), 4194304));
	cr_expect(eq(u64, takeover_extra_bytes(takeover), 47 << 20));
	cr_expect(takeover_is_bound(takeover));

	cr_assert(eq(int, takeover_give_back(takeover, &holder), 0));
	expect_text(commands(), "uio/unbind device/driver_override balloon/bind ");
	cr_expect(override_is_clear());
	expect_text(tree_text(BALLOON "/bind"), GUID);
	expect_text(tree_text(LOCK), "");
}

Test(takeover, a_device_without_a_driver_is_given_back_to_the_kernels_choice)
{
	make_device("{525074dc-8985-46e2-8057-a307dc18a502}\n", "");
	watch(0, DEVICE, "device");
	make_uio();
	begin();
	cr_assert(eq(int, take(), 0));
	expect_text(commands(), "device/driver_override uio/bind ");
	cr_assert(eq(int, takeover_give_back(takeover, &holder), 0));
	expect_text(commands(), "uio/unbind device/driver_override bus/drivers_probe ");
}

/* Each row breaks one file of the tree; the device must end with its driver all the same. */
static const struct {
	const char *what;
	const char *path;
	const char *target; /* what the file becomes a link to; NULL: it is removed */
	bool has_uio;
	int result; /* negative: any negative */
	const char *commands;
} failures[] = {
	{"the override cannot be written", DEVICE "/driver_override", "/dev/full", true, -1,
	 "balloon/bind "},
	{"the driver cannot be unbound", BALLOON "/unbind", "/dev/full", true, -1,
	 "device/driver_override balloon/bind "}, /* two equal events in a row are one */
	{"uio_hv_generic fails", UIO "/bind", "/dev/full", true, -1,
	 "device/driver_override balloon/unbind device/driver_override balloon/bind "},
	{"uio_hv_generic has no bind file", UIO "/bind", NULL, true, -1,
	 "device/driver_override balloon/unbind device/driver_override balloon/bind "},
	/* A file that refuses what is no number, with EINVAL, and changes nothing. */
	{"uio_hv_generic refuses the device", UIO "/bind", "/proc/self/oom_score_adj", true,
	 TAKEOVER_TOO_OLD,
	 "device/driver_override balloon/unbind device/driver_override balloon/bind "},
	{"no uio folder appears", "dev/nothing", "nothing", false, TAKEOVER_NO_UIO,
	 "device/driver_override balloon/unbind uio/bind "
	 "uio/unbind device/driver_override balloon/bind "},
	{"uio_hv_generic is not there", UIO, NULL, true, TAKEOVER_NO_MODULE, ""},
	{"the lock cannot be made", "run", NULL, true, -1, ""},
};

Test(takeover, whatever_fails_half_way_the_device_is_back_with_its_driver)
{
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		int r;

		tree_fini();
		strcpy(tree + strlen(tree) - 6, "XXXXXX");
		close(watch_fd);
		set_up();
		if (failures[i].has_uio)
			make_uio();
		if (failures[i].target)
			tree_link(failures[i].path, failures[i].target);
		else
			tree_remove(failures[i].path);
		begin();
		r = take();
		if (failures[i].result < 0)
			cr_expect(lt(int, r, 0), "%s", failures[i].what);
		else
			cr_expect(eq(int, r, failures[i].result), "%s", failures[i].what);
		cr_expect(eq(ptr, takeover, NULL));
		expect_text(commands(), failures[i].commands);
		if (strstr(failures[i].commands, "device/driver_override")) {
			cr_expect(override_is_clear(), "%s", failures[i].what);
			expect_text(tree_text(LOCK), "");
		}
	}
}

Test(takeover, a_driver_that_does_not_take_its_device_back_leaves_the_choice_to_the_kernel)
{
	make_uio();
	cr_assert(eq(int, take(), 0));
	tree_remove(BALLOON);
	begin();
	cr_expect(eq(int, takeover_give_back(takeover, &holder), 0));
	expect_text(commands(), "uio/unbind device/driver_override bus/drivers_probe ");
	expect_text(tree_text("sys/drivers_probe"), GUID);
}

Test(takeover, a_module_that_modprobe_cannot_load_is_a_condition)
{
	static const char *const programs[] = {"/bin/false", "/nonexistent/modprobe"};

	tree_remove(UIO);
	for (size_t i = 0; i < 2; i++) {
		config.modprobe = programs[i];
		begin();
		cr_expect(eq(int, take(), TAKEOVER_NO_MODULE));
		expect_text(commands(), "");
	}
}

Test(takeover, a_stock_daemon_at_work_is_named_and_nothing_is_changed)
{
	make_device("{35fa2e29-ea23-4236-96ae-3a6ebacba440}\n", "hv_utils");
	make_uio();
	make_holder("dev/vmbus/hv_vss");
	begin();
	cr_expect(eq(int, take(), TAKEOVER_BUSY));
	cr_expect(eq(int, holder.pid, 4711));
	expect_text(holder.name, "hv_vss_daemon");
	expect_text(holder.path, tree_path("dev/vmbus/hv_vss"));
	expect_text(commands(), "");
}

Test(takeover, a_node_that_is_still_open_is_never_unbound)
{
	make_uio();
	cr_assert(eq(int, take(), 0));
	make_holder("dev/uio0");
	begin();
	cr_expect(eq(int, takeover_give_back(takeover, &holder), TAKEOVER_BUSY));
	cr_expect(eq(int, holder.pid, 4711));
	expect_text(commands(), "");
	tree_remove("proc/4711");
	cr_expect(eq(int, takeover_give_back(takeover, &holder), 0));
}

Test(takeover, two_at_once_are_kept_apart)
{
	struct takeover *first;

	make_uio();
	cr_assert(eq(int, take(), 0));
	first = takeover;
	takeover = NULL;
	begin();
	cr_expect(eq(int, take(), TAKEOVER_LOCKED));
	expect_text(commands(), "");
	(void)takeover_free(first);
}

Test(takeover, what_a_killed_predecessor_took_goes_back_to_the_driver_it_had)
{
	make_uio();
	cr_assert(eq(int, take(), 0));
	takeover = takeover_free(takeover);
	tree_link(DEVICE "/driver", "../../drivers/uio_hv_generic");
	begin();
	cr_assert(eq(int, take(), 0));
	expect_text(commands(), "");
	cr_assert(eq(int, takeover_give_back(takeover, &holder), 0));
	expect_text(commands(), "uio/unbind device/driver_override balloon/bind ");
}

Test(takeover, what_a_predecessor_left_without_a_driver_goes_back_to_the_driver_it_had)
{
	make_uio();
	cr_assert(eq(int, take(), 0));
	takeover = takeover_free(takeover);
	cr_assert(eq(int, unlink(tree_path(DEVICE "/driver")), 0));
	cr_assert(eq(int, take(), 0));
	begin();
	cr_assert(eq(int, takeover_give_back(takeover, &holder), 0));
	expect_text(commands(), "uio/unbind device/driver_override balloon/bind ");
}

Test(takeover, what_somebody_else_has_bound_to_uio_is_left_as_it_is)
{
	make_uio();
	tree_link(DEVICE "/driver", "../../drivers/uio_hv_generic");
	begin();
	cr_assert(eq(int, take(), 0));
	cr_assert(eq(int, takeover_give_back(takeover, &holder), 0));
	expect_text(commands(), "");
	takeover = takeover_free(takeover);

	make_holder("dev/uio0");
	cr_expect(eq(int, take(), TAKEOVER_BUSY), "and not shared with whoever uses it");
}

Test(takeover, a_device_that_is_gone_is_a_condition)
{
	struct vmbus_device device = {.instance = GUID};

	tree_remove(DEVICE);
	cr_expect(eq(int, takeover_new(&config, &device, &holder, &takeover), TAKEOVER_GONE));

	make_device("{525074dc-8985-46e2-8057-a307dc18a502}\n", "hv_balloon");
	make_uio();
	cr_assert(eq(int, take(), 0));
	tree_remove(DEVICE "/uio");
	cr_expect(not(takeover_is_bound(takeover)));
	cr_expect(eq(int, takeover_give_back(takeover, &holder), 0), "somebody else was faster");
	tree_remove(DEVICE);
	cr_expect(eq(int, takeover_give_back(takeover, &holder), TAKEOVER_GONE));
}

Test(takeover, every_condition_has_a_text)
{
	for (int i = TAKEOVER_NO_MODULE; i <= TAKEOVER_NO_UIO; i++)
		cr_expect(strcmp(takeover_text(i), "failed") != 0);
}

Test(fd_holder, an_open_file_is_found_by_its_path)
{
	char path[] = "/tmp/hvguest-held-XXXXXX";
	int fd = mkstemp(path);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, fd_holder_find("/proc", path, &holder), 0));
	cr_expect(eq(int, holder.pid, getpid()));
	close(fd);
	cr_expect(eq(int, fd_holder_find("/proc", path, &holder), FD_HOLDER_NONE));
	unlink(path);
}
