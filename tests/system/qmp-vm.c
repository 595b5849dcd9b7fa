/* SPDX-License-Identifier: MIT */

/*
 * qmp-vm SOCKET [OPTION...]: stands for a QEMU with a VM, for what a real one does not do on demand.
 *
 *   --memory MIB      that the VM is started with (default: 1024)
 *   --balloon KIND    virtio, hv or none (default: virtio)
 *   --use FILE        the memory that its guest uses, in MiB, read anew each time (default: 200 MiB)
 *   --rate MIB        that the guest gives or takes at a time, twenty times a second (default: 32)
 *   --conduct NAME    of what it does not do right:
 *     silent      does not greet              nonsense    greets with something else
 *     deaf        greets, and no more         huge        sends one message without an end
 *     hangs       stops answering after ten seconds' worth of balloon questions
 *     lies        says that it has no memory, or endless memory
 *     disobeys    its guest does not move     flood       an event after the other
 *
 * The guest has what it uses, and the rest is available. It ends at SIGTERM, and with its parent.
 */

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/unixsock.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define MIB (UINT64_C(1) << 20)

enum {
	TICK_MS = 50,
	HANGS_AFTER = 5, /* answers to query-balloon */
};

static struct {
	uint64_t memory_bytes;
	const char *balloon;
	const char *use_file;
	uint64_t rate_bytes;
	const char *conduct;
	uint64_t actual_bytes;
	uint64_t target_bytes;
	unsigned updates;
	unsigned sizes_said;
} vm = {.memory_bytes = 1024 * MIB, .balloon = "virtio", .rate_bytes = 32 * MIB, .conduct = ""};

static bool does(const char *conduct)
{
	return strcmp(vm.conduct, conduct) == 0;
}

static bool has(const char *balloon)
{
	return strcmp(vm.balloon, balloon) == 0;
}

/* What its guest uses now. */
static uint64_t used_bytes(void)
{
	FILE *file = vm.use_file ? fopen(vm.use_file, "re") : NULL;
	uint64_t mib = 200;

	if (file && fscanf(file, "%" SCNu64, &mib) != 1)
		mib = 200;
	if (file)
		(void)fclose(file);
	return mib * MIB;
}

static uint64_t available_bytes(void)
{
	uint64_t used = used_bytes();

	return vm.actual_bytes > used ? vm.actual_bytes - used : 0;
}

static bool say(int fd, json_t *take_message)
{
	char *text = json_dumps(take_message, JSON_COMPACT);
	bool sent = text && send(fd, text, strlen(text), MSG_NOSIGNAL) > 0 &&
		    send(fd, "\r\n", 2, MSG_NOSIGNAL) > 0;

	free(text);
	json_decref(take_message);
	return sent;
}

static json_t *devices_at(const char *path)
{
	json_t *list = json_array();

	json_array_append_new(list, json_pack("{s:s, s:s}", "name", "type", "type", "string"));
	if (strcmp(path, "/machine/peripheral") != 0)
		return list;
	if (has("virtio"))
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", "b0", "type",
						      "child<virtio-balloon-pci>"));
	if (has("hv"))
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", "b0", "type",
						      "child<hv-balloon>"));
	return list;
}

static json_t *size(void)
{
	if (has("none"))
		return NULL;
	vm.sizes_said++;
	if (does("lies") && vm.sizes_said > 2)
		return json_pack("{s:I}", "actual", (json_int_t)(vm.sizes_said % 2 ? 0 : -5));
	return json_pack("{s:I}", "actual", (json_int_t)vm.actual_bytes);
}

static json_t *statistics(void)
{
	return json_pack("{s:{s:I, s:I, s:I}, s:i}", "stats", "stat-total-memory",
			 (json_int_t)vm.actual_bytes, "stat-available-memory",
			 (json_int_t)available_bytes(), "stat-free-memory",
			 (json_int_t)available_bytes(), "last-update", (int)++vm.updates);
}

/* What QEMU returns; NULL: an error. */
static json_t *returned(const char *command, const json_t *arguments)
{
	const char *path = json_string_value(json_object_get(arguments, "path"));

	if (!strcmp(command, "qmp_capabilities") || !strcmp(command, "qom-set"))
		return json_object();
	if (!strcmp(command, "query-name"))
		return json_pack("{s:s}", "name", "stand-in");
	if (!strcmp(command, "query-status"))
		return json_pack("{s:b, s:s}", "running", true, "status", "running");
	if (!strcmp(command, "qom-list") && path)
		return devices_at(path);
	if (!strcmp(command, "query-memory-size-summary"))
		return json_pack("{s:I}", "base-memory", (json_int_t)vm.memory_bytes);
	if (!strcmp(command, "query-memory-devices"))
		return json_array();
	if (!strcmp(command, "query-balloon"))
		return size();
	if (!strcmp(command, "qom-get"))
		return statistics();
	if (!strcmp(command, "balloon")) {
		vm.target_bytes = (uint64_t)json_integer_value(json_object_get(arguments, "value"));
		return json_object();
	}
	return NULL;
}

static bool answer(int fd, const char *line)
{
	json_t *request = json_loads(line, 0, NULL);
	const char *command = json_string_value(json_object_get(request, "execute"));
	json_t *value = command ? returned(command, json_object_get(request, "arguments")) : NULL;
	json_t *message;

	if (does("deaf") || (does("hangs") && vm.sizes_said > HANGS_AFTER)) {
		json_decref(value);
		json_decref(request);
		return true;
	}
	message = value ? json_pack("{s:o}", "return", value)
			: json_pack("{s:{s:s, s:s}}", "error", "class", "GenericError", "desc", "no");
	json_object_set(message, "id", json_object_get(request, "id"));
	json_decref(request);
	return say(fd, message);
}

/* Takes what has come; false: the client has gone. */
static bool listen_to(int fd)
{
	static char buffer[65536];
	static size_t length;
	ssize_t n = recv(fd, buffer + length, sizeof(buffer) - 1 - length, MSG_DONTWAIT);
	char *line = buffer, *end;

	if (n <= 0) {
		length = 0;
		return n < 0 && errno == EAGAIN;
	}
	length += (size_t)n;
	buffer[length] = '\0';
	while ((end = strchr(line, '\n'))) {
		*end = '\0';
		if (!answer(fd, line))
			return false;
		line = end + 1;
	}
	length -= (size_t)(line - buffer);
	memmove(buffer, line, length);
	return true;
}

/* The guest moves towards what it was told. */
static bool move(int fd)
{
	uint64_t step = does("disobeys") ? 0 : vm.rate_bytes, before = vm.actual_bytes;
	uint64_t goal = vm.target_bytes < vm.memory_bytes ? vm.target_bytes : vm.memory_bytes;

	if (vm.actual_bytes > goal)
		vm.actual_bytes -= vm.actual_bytes - goal < step ? vm.actual_bytes - goal : step;
	else if (vm.actual_bytes < goal)
		vm.actual_bytes += goal - vm.actual_bytes < step ? goal - vm.actual_bytes : step;
	if (vm.actual_bytes == before || !has("virtio"))
		return true;
	return say(fd, json_pack("{s:s, s:{s:I}}", "event", "BALLOON_CHANGE", "data", "actual",
				 (json_int_t)vm.actual_bytes));
}

static bool report(int fd)
{
	uint64_t ballooned = vm.memory_bytes - vm.actual_bytes;

	return say(fd, json_pack("{s:s, s:{s:I, s:I}}", "event", "HV_BALLOON_STATUS_REPORT", "data",
				 "committed", (json_int_t)(used_bytes() + ballooned), "available",
				 (json_int_t)available_bytes()));
}

static bool greet(int fd)
{
	static char filler[65536];

	if (does("silent"))
		return true;
	if (does("nonsense"))
		return send(fd, "220 mail ESMTP\r\n", 16, MSG_NOSIGNAL) > 0;
	if (does("huge")) {
		memset(filler, 'x', sizeof(filler));
		if (send(fd, "{\"", 2, MSG_NOSIGNAL) < 0)
			return false;
		while (send(fd, filler, sizeof(filler), MSG_NOSIGNAL) > 0)
			;
		return false;
	}
	return say(fd, json_pack("{s:{s:{}, s:[]}}", "QMP", "version", "capabilities"));
}

static void serve(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	bool good = greet(fd);

	for (unsigned tick = 0; good; tick++) {
		uint64_t until_ns = clock_monotonic_ns() + TICK_MS * UINT64_C(1000000);

		while (good && clock_monotonic_ns() < until_ns) {
			if (poll(&p, 1, TICK_MS) > 0)
				good = listen_to(fd);
			if (does("flood"))
				good = good && say(fd, json_pack("{s:s}", "event", "FLOOD"));
		}
		good = good && move(fd);
		if (has("hv") && tick % (1000 / TICK_MS) == 0)
			good = good && report(fd);
	}
}

static bool take_option(int option)
{
	switch (option) {
	case 'm':
		vm.memory_bytes = strtoull(optarg, NULL, 10) * MIB;
		return vm.memory_bytes > 0;
	case 'b':
		vm.balloon = optarg;
		return true;
	case 'u':
		vm.use_file = optarg;
		return true;
	case 'r':
		vm.rate_bytes = strtoull(optarg, NULL, 10) * MIB;
		return true;
	case 'c':
		vm.conduct = optarg;
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"memory", required_argument, NULL, 'm'}, {"balloon", required_argument, NULL, 'b'},
		{"use", required_argument, NULL, 'u'},    {"rate", required_argument, NULL, 'r'},
		{"conduct", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0},
	};
	struct unixsock sock;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!take_option(o))
			return 2;
	if (optind != argc - 1)
		return 2;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	vm.actual_bytes = vm.target_bytes = vm.memory_bytes;
	unixsock_init(&sock);
	if (unixsock_listen(&sock, argv[optind], SOCK_STREAM, 0600)) {
		perror(argv[optind]);
		return 1;
	}
	for (;;) {
		struct pollfd p = {.fd = sock.fd, .events = POLLIN};
		int fd;

		(void)poll(&p, 1, -1);
		fd = accept(sock.fd, NULL, NULL);
		if (fd < 0)
			continue;
		serve(fd);
		close(fd);
	}
}
