/* SPDX-License-Identifier: MIT */

/*
 * daemon/uio_host.c and daemon/vmbus_list.c on folders that stand for sysfs, /dev and /proc. A node
 * is an ordinary file here: it can be opened and mapped, and that is all that the host does to it.
 */

#include "daemon/uio_host.h"

#include "base/clock.h"
#include "daemon/vmbus_list.h"
#include "tests/unit/logged.h"
#include "tests/unit/tree.h"

#define GUID    "1eccfd72-4b41-45ef-b73a-4a6e44c12924"
#define DEVICE  "sys/devices/" GUID
#define UIO     "sys/drivers/uio_hv_generic"
#define BALLOON "sys/drivers/hv_balloon"

#define PATIENCE_NS UINT64_C(20000000000)
#define RETRY_NS    UINT64_C(30000000)

/* The service of the test; struct service's functions are below. */
static struct {
	int opened, closed;
	struct vmbus_port port;
} seen;

static struct event_base *base;
static struct connection *connection;
static struct service service;
static struct takeover_config config;
static char sysfs[PATH_MAX], dev[PATH_MAX], proc[PATH_MAX], run_dir[PATH_MAX];

static void open_port(void *self, struct vmbus_port *take_port)
{
	(void)self;
	seen.port = *take_port;
	seen.opened++;
}

static void close_port(void *self, const char *why)
{
	(void)self;
	(void)why;
	vmbus_port_fini(&seen.port);
	seen.closed++;
}

static json_t *port_traffic(const void *self)
{
	(void)self;
	return json_pack("{s:i}", "openings", seen.opened);
}

/* A device of the kernel's driver, which becomes /dev/uio@uio with rings of half of @map_bytes. */
static void make_device_as(const char *channel_id, int uio, int map_bytes)
{
	char path[80], size[32];

	snprintf(path, sizeof(path), DEVICE "/uio/uio%d/maps/map0/size", uio);
	snprintf(size, sizeof(size), "0x%x\n", map_bytes);
	tree_file(path, size);
	snprintf(path, sizeof(path), "dev/uio%d", uio);
	tree_sized(path, map_bytes);
	tree_file(DEVICE "/class_id", "{525074dc-8985-46e2-8057-a307dc18a502}\n");
	tree_file(DEVICE "/id", channel_id);
	tree_file(DEVICE "/driver_override", "(null)\n");
	tree_link(DEVICE "/driver", "../../drivers/hv_balloon");
}

static void make_device(const char *channel_id)
{
	make_device_as(channel_id, 0, 16384);
}

/* A process in the tree's /proc that has a file of the tree open. */
static void make_holder(const char *name, const char *node)
{
	tree_file("proc/4711/comm", name);
	tree_link("proc/4711/fd/3", tree_path(node));
}

static void forget_commands(void)
{
	tree_file(UIO "/bind", "");
	tree_file(UIO "/unbind", "");
	tree_file(BALLOON "/bind", "");
	tree_file(BALLOON "/unbind", "");
}

static void set_up(void)
{
	tree_init();
	logged_init(LOG_LEVEL_NOTICE);
	tree_file("sys/devices/README", "");
	tree_file("sys/drivers_probe", "");
	forget_commands();
	tree_file("run/here", "");
	tree_file("proc/here", "");
	snprintf(sysfs, sizeof(sysfs), "%s", tree_path("sys"));
	snprintf(dev, sizeof(dev), "%s", tree_path("dev"));
	snprintf(proc, sizeof(proc), "%s", tree_path("proc"));
	snprintf(run_dir, sizeof(run_dir), "%s", tree_path("run"));
	config = (struct takeover_config){sysfs, dev, proc, run_dir, "/bin/false", 50000000,
					  RETRY_NS, false};
	service = (struct service){.name = "dynmem", .class_id = &vmbus_class_dynmem, .self = &seen,
				   .open = open_port, .close = close_port, .traffic = port_traffic};
	base = event_base_new();
}

static void start(void)
{
	cr_assert(eq(int, uio_host_new(base, &config, &service, 1, NULL, &connection), 0));
}

static void tear_down(void)
{
	connection = connection_free(connection);
	event_base_free(base);
	tree_fini();
}

/* Runs the loop until the channel is in @state and *@count has reached @n. */
static void wait_for(const char *state, const int *count, int n)
{
	uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;

	while (clock_monotonic_ns() < end_ns) {
		if (!strcmp(connection_channel_state(connection, &seen), state) && *count >= n)
			return;
		(void)event_base_loop(base, EVLOOP_ONCE);
	}
	cr_assert(0, "the channel is '%s' and not '%s', %d of %d",
		  connection_channel_state(connection, &seen), state, *count, n);
}

/* Runs the loop for so many of its timers. */
static void run_turns(int n)
{
	for (int i = 0; i < n; i++)
		(void)event_base_loop(base, EVLOOP_ONCE);
}

/* The error in the status; valid until the next call. */
static const char *status_error(void)
{
	static char text[256];
	json_t *status = connection_status(connection);
	const char *error = json_string_value(json_object_get(status, "error"));

	snprintf(text, sizeof(text), "%s", error ? error : "");
	json_decref(status);
	return text;
}

static void wait_for_error(const char *part)
{
	uint64_t end_ns = clock_monotonic_ns() + PATIENCE_NS;

	while (!strstr(status_error(), part) && clock_monotonic_ns() < end_ns)
		(void)event_base_loop(base, EVLOOP_ONCE);
	cr_assert(strstr(status_error(), part) != NULL, "'%s' has no '%s'", status_error(), part);
}

TestSuite(uio_host, .init = set_up, .fini = tear_down, .timeout = 60);

Test(uio_host, a_device_is_opened_and_given_back_at_the_end)
{
	make_device("21\n");
	start();
	wait_for("open", &seen.opened, 1);
	cr_expect(eq(sz, seen.port.map_size, 16384));
	expect_text(tree_text(BALLOON "/unbind"), GUID);
	expect_text(tree_text(UIO "/bind"), GUID);
	expect_text(tree_text(UIO "/unbind"), "");
	expect_text(status_error(), "");

	connection = connection_free(connection);
	cr_expect(eq(int, seen.closed, 1));
	expect_text(tree_text(UIO "/unbind"), GUID);
	expect_text(tree_text(BALLOON "/bind"), GUID);
	cr_expect(eq(int, tree_text(DEVICE "/driver_override")[0], '\n'));
}

Test(uio_host, a_channel_that_is_to_be_opened_again_is_opened_without_another_takeover)
{
	make_device("21\n");
	start();
	wait_for("open", &seen.opened, 1);
	forget_commands();
	connection_close_channel(connection, &seen, true);
	cr_expect(eq(int, seen.closed, 1));
	wait_for("open", &seen.opened, 2);
	expect_text(tree_text(UIO "/bind"), "");
}

Test(uio_host, a_device_that_its_service_gives_up_goes_back_until_it_is_offered_anew)
{
	make_device("21\n");
	start();
	wait_for("open", &seen.opened, 1);
	connection_close_channel(connection, &seen, false);
	wait_for("offered", &seen.closed, 1);
	for (int i = 0; i < 6 && !*tree_text(BALLOON "/bind"); i++)
		(void)event_base_loop(base, EVLOOP_ONCE);
	expect_text(tree_text(UIO "/unbind"), GUID);
	expect_text(tree_text(BALLOON "/bind"), GUID);
	for (int i = 0; i < 6; i++)
		(void)event_base_loop(base, EVLOOP_ONCE);
	cr_expect(eq(int, seen.opened, 1), "it is not tried again");

	tree_file(DEVICE "/id", "22\n");
	wait_for("open", &seen.opened, 2);
}

Test(uio_host, a_device_that_is_taken_away_is_waited_for)
{
	start();
	wait_for_error("no such device");
	make_device("21\n");
	wait_for("open", &seen.opened, 1);
	expect_text(status_error(), "");

	tree_remove(DEVICE);
	connection_close_channel(connection, &seen, true);
	wait_for_error("no such device");
	forget_commands();
	make_device("21\n");
	wait_for("open", &seen.opened, 2);
	expect_text(tree_text(BALLOON "/unbind"), GUID);
}

Test(uio_host, a_device_that_comes_back_with_another_node_and_other_rings_is_taken_as_it_is_now)
{
	make_device("21\n");
	start();
	wait_for("open", &seen.opened, 1);

	tree_remove(DEVICE);
	tree_remove("dev/uio0");
	connection_close_channel(connection, &seen, true);
	forget_commands();
	make_device_as("35\n", 3, 65536);
	wait_for("open", &seen.opened, 2);
	cr_expect(eq(sz, seen.port.map_size, 65536));
	expect_text(tree_text(BALLOON "/unbind"), GUID);
	expect_text(tree_text(UIO "/bind"), GUID);
	cr_expect(eq(int, logged_lines("cannot hibernate"), 1), "said once, not at each opening");
}

Test(uio_host, a_device_that_vanishes_while_it_is_opened_is_waited_for)
{
	make_device("21\n");
	tree_remove("dev/uio0");
	start();
	wait_for_error("uio0");
	tree_remove(DEVICE);
	wait_for_error("no such device");
	make_device_as("22\n", 1, 16384);
	wait_for("open", &seen.opened, 1);
}

Test(uio_host, a_node_that_does_not_open_the_first_time_is_tried_again_while_it_is_taken)
{
	make_device("21\n");
	tree_remove("dev/uio0");
	start();
	wait_for_error("udev");
	cr_expect(strstr(status_error(), "device " GUID ": ") != NULL);
	expect_text(tree_text(UIO "/unbind"), "");
	tree_sized("dev/uio0", 16384);
	wait_for("open", &seen.opened, 1);
	expect_text(status_error(), "");
}

Test(uio_host, a_node_that_never_opens_sends_the_device_back)
{
	make_device("21\n");
	tree_remove("dev/uio0");
	start();
	wait_for("offered", &seen.opened, 0);
	expect_text(tree_text(UIO "/unbind"), GUID);
	expect_text(tree_text(BALLOON "/bind"), GUID);
	cr_expect(eq(int, tree_text(DEVICE "/driver_override")[0], '\n'));
}

Test(uio_host, a_stock_daemon_at_work_is_named_and_waited_for)
{
	service.class_id = &vmbus_class_vss;
	make_device("21\n");
	tree_file(DEVICE "/class_id", "{35fa2e29-ea23-4236-96ae-3a6ebacba440}\n");
	make_holder("hv_vss_daemon\n", "dev/vmbus/hv_vss");
	start();
	wait_for_error("process 4711 (hv_vss_daemon) has ");
	cr_expect(strstr(status_error(), "device " GUID ": ") != NULL);
	cr_expect(strstr(status_error(), "stop it first") != NULL);
	run_turns(2);
	expect_text(tree_text(BALLOON "/unbind"), "");
	cr_expect(eq(int, logged_lines("hv_vss_daemon"), 1), "said once");

	tree_remove("proc/4711");
	wait_for("open", &seen.opened, 1);
}

Test(uio_host, two_daemons_at_once_do_not_share_a_device)
{
	struct connection *second;

	make_device("21\n");
	start();
	wait_for("open", &seen.opened, 1);
	forget_commands();

	/* The first is found by its lock, or, with another run directory, by its open node. */
	tree_link(DEVICE "/driver", "../../drivers/uio_hv_generic");
	second = connection;
	start();
	wait_for_error("another hvguestd has it: stop that one");
	connection = connection_free(connection);
	snprintf(run_dir, sizeof(run_dir), "%s", tree_path("run2"));
	tree_file("run2/here", "");
	make_holder("hvguestd\n", "dev/uio0");
	start();
	wait_for_error("process 4711 (hvguestd) has ");
	connection = connection_free(connection);
	expect_text(tree_text(UIO "/unbind"), "");
	expect_text(tree_text(BALLOON "/bind"), "");
	connection = second;
}

Test(uio_host, memory_that_the_kernel_keeps_is_said_with_its_size)
{
	make_device("21\n");
	tree_file(DEVICE "/uio/uio0/maps/map3/size", "0x0000000001f00000\n");
	tree_file(DEVICE "/uio/uio0/maps/map4/size", "0x0000000001000000\n");
	start();
	wait_for("open", &seen.opened, 1);
	cr_expect(eq(int, logged_lines("keeps 47 MiB of memory for device " GUID), 1));
}

Test(uio_host, a_kernel_that_refuses_is_tried_once_and_the_device_is_back)
{
	make_device("21\n");
	tree_link(UIO "/bind", "/proc/self/oom_score_adj");
	start();
	wait_for("offered", &seen.opened, 0);
	cr_expect(strstr(status_error(), "6.10") != NULL);
	expect_text(tree_text(BALLOON "/bind"), GUID);
	tree_file(BALLOON "/bind", "");
	for (int i = 0; i < 6; i++)
		(void)event_base_loop(base, EVLOOP_ONCE);
	expect_text(tree_text(BALLOON "/bind"), "");
	cr_expect(eq(int, logged_lines("vmbus channel requires hypercall"), 1));
}

Test(uio_host, rings_of_an_odd_size_send_the_device_back)
{
	make_device("21\n");
	tree_file(DEVICE "/uio/uio0/maps/map0/size", "0x3000\n");
	start();
	wait_for("offered", &seen.opened, 0);
	cr_expect(strstr(status_error(), "odd size") != NULL);
	expect_text(tree_text(BALLOON "/bind"), GUID);
}

Test(uio_host, without_the_module_nothing_is_touched_and_it_is_looked_for_again)
{
	make_device("21\n");
	tree_remove(UIO);
	start();
	wait_for_error("uio_hv_generic");
	expect_text(tree_text(BALLOON "/unbind"), "");
	forget_commands();
	wait_for("open", &seen.opened, 1);
}

static bool blocks_hibernation(const json_t *list)
{
	return json_is_true(json_object_get(list, "blocks_hibernation"));
}

Test(uio_host, every_device_is_listed_with_what_is_made_of_it)
{
	json_t *list, *d;

	make_device("21\n");
	start();
	wait_for("open", &seen.opened, 1);
	list = vmbus_list(connection, sysfs, &service, 1);
	cr_assert(ne(ptr, list, NULL));
	d = json_array_get(json_object_get(list, "devices"), 0);
	expect_text(json_string_value(json_object_get(d, "class")), "dynmem");
	expect_text(json_string_value(json_object_get(d, "instance")), GUID);
	expect_text(json_string_value(json_object_get(d, "driver")), "hv_balloon");
	expect_text(json_string_value(json_object_get(d, "service_state")), "open");
	cr_expect(eq(i64, json_integer_value(json_object_get(d, "ring_bytes")), 8192));
	cr_expect(eq(ptr, json_object_get(d, "interrupts"), NULL));
	cr_expect(not(blocks_hibernation(list)));
	d = json_array_get(json_object_get(list, "channels"), 0);
	expect_text(json_string_value(json_object_get(d, "service")), "dynmem");
	cr_expect(eq(i64, json_integer_value(json_object_get(d, "openings")), 1));
	json_decref(list);

	/* As it is when the kernel has followed the commands. */
	tree_link(DEVICE "/driver", "../../drivers/uio_hv_generic");
	list = vmbus_list(connection, sysfs, &service, 1);
	cr_expect(blocks_hibernation(list));
	d = json_array_get(json_object_get(list, "devices"), 0);
	expect_text(json_string_value(json_object_get(d, "driver")), "uio_hv_generic");
	cr_expect(eq(i64, json_integer_value(json_object_get(d, "uio")), 0));
	json_decref(list);
}
