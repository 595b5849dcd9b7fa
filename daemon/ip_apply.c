/* SPDX-License-Identifier: MIT */

/*
 * Giving an adapter other addresses.
 *
 *     manager          file                                                        made to count by
 *     networkd         /etc/systemd/network/05-hvguest-IF.network                  networkctl reload
 *     NetworkManager   /etc/NetworkManager/system-connections/hvguest-IF.nmconnection   nmcli connection
 *                                                                                  load, up
 *     netplan          /etc/netplan/90-hvguest-IF.yaml                             netplan apply
 *
 * networkd takes the first file that matches, so ours is named to be before those of others.
 * NetworkManager takes the connection of the highest priority. netplan puts all its files together and
 * adds lists up, so what others say of the addresses of this interface has to go: "netplan set" takes
 * it out of their files, and leaves the rest of them.
 *
 * The order is made for a machine whose only way in may be this adapter:
 *
 *   1. every file that will change goes into the record, which is on the disk before the first change
 *   2. files are written beside and renamed
 *   3. the manager's own command makes them count; no shell is involved
 *   4. the kernel must have all the addresses, and keep them for a moment, within IP_APPLY_SECONDS, for
 *      commands succeed when they have been understood
 *   5. the record goes; or, when anything went wrong, the files are put back and made to count
 *
 * If the process ends in between, the record is found by the next one (ip_apply_recover()).
 */

#include "daemon/ip_apply.h"

#include "base/clock.h"
#include "base/cleanup.h"
#include "fsfreeze/hook_process.h"
#include "services/addresses.h"
#include "services/kvp_ip_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define NS_PER_SECOND UINT64_C(1000000000)

enum {
	FILES_MAX = 64,
	FILE_SIZE_MAX = 256 * 1024, /* bytes of a file that is put back */
	OWNER_SECONDS = 5,          /* until an adapter that nobody has is nobody's */
	LOOK_MS = 100,              /* between looks at the addresses */
	LOOKS = 3,                  /* in a row that must find all of them */
};

/* A file as it was before. */
struct old_file {
	char path[PATH_MAX];
	mode_t mode;
	char *text; /* NULL: there was none */
};

struct change {
	const struct ip_apply_system *system;
	struct adapter adapter;
	struct adapter_owner owner;
	struct old_file *files; /* ours is the first */
	size_t n_files;
	uint64_t deadline_ns;
	char problem[IP_APPLY_PROBLEM_SIZE]; /* the first that occurred */
};

static void complain(struct change *c, const char *format, ...) _printf_(2, 3);

static void complain(struct change *c, const char *format, ...)
{
	va_list args;

	if (c->problem[0])
		return;
	va_start(args, format);
	(void)vsnprintf(c->problem, sizeof(c->problem), format, args);
	va_end(args);
}

static void free_files(struct change *c)
{
	for (size_t i = 0; i < c->n_files; i++)
		free(c->files[i].text);
	free(c->files);
}

/* --- files */

static int sync_folder_of(const char *path)
{
	char folder[PATH_MAX];
	_cleanup_close_ int fd = -1;
	const char *slash = strrchr(path, '/');

	snprintf(folder, sizeof(folder), "%.*s", slash && slash > path ? (int)(slash - path) : 1,
		 slash ? path : ".");
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? negative_errno() : 0;
}

/* systemd's folder for the administrator need not be there. */
static int make_folder_of(const char *path)
{
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	return mkdir(folder, 0755) < 0 && errno != EEXIST ? negative_errno() : 0;
}

/* 0: files can be made in the folder of @path, or in the nearest above it that is there. */
static int can_write_beside(const char *path)
{
	char folder[PATH_MAX];
	char *slash;
	int r = -ENOENT;

	snprintf(folder, sizeof(folder), "%s", path);
	while (r == -ENOENT && (slash = strrchr(folder, '/')) && slash > folder) {
		*slash = '\0';
		r = access(folder, W_OK) < 0 ? negative_errno() : 0;
	}
	return r;
}

static int write_all(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return negative_errno();
		text += n;
		left -= (size_t)n;
	}
	return fsync(fd) < 0 ? negative_errno() : 0;
}

/* Replaces a file, or makes it, so that at any instant there is the old one or the new one. */
static int replace_file(const char *path, mode_t mode, const char *text)
{
	_cleanup_close_ int fd = -1;
	char beside[PATH_MAX];
	int r;

	/* Managers pass over names with this ending. */
	if (snprintf(beside, sizeof(beside), "%s.hvguest-new~", path) >= (int)sizeof(beside))
		return -ENAMETOOLONG;
	(void)unlink(beside);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return negative_errno();
	r = fchmod(fd, mode) < 0 ? negative_errno() : write_all(fd, text);
	if (r == 0 && rename(beside, path) < 0)
		r = negative_errno();
	if (r) {
		(void)unlink(beside);
		return r;
	}
	return sync_folder_of(path);
}

static int remove_file(const char *path)
{
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : negative_errno();
	return sync_folder_of(path);
}

/* The whole text of a file; *ret_text is NULL if there is none. */
static int read_text(const char *path, mode_t *ret_mode, char **ret_text)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	ssize_t n;

	*ret_text = NULL;
	if (fd < 0)
		return errno == ENOENT ? 0 : negative_errno();
	if (fstat(fd, &st) < 0)
		return negative_errno();
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_SIZE_MAX)
		return -EFBIG;
	text = calloc(1, FILE_SIZE_MAX + 1);
	if (!text)
		return -ENOMEM;
	n = read(fd, text, FILE_SIZE_MAX);
	if (n < 0)
		return negative_errno();
	if (strlen(text) != (size_t)n)
		return -EILSEQ;
	*ret_mode = st.st_mode & 07777;
	*ret_text = steal_ptr(text);
	return 0;
}

/* Notes what a file is now. */
static int remember(struct change *c, const char *path)
{
	struct old_file *file;
	int r;

	if (c->n_files == FILES_MAX)
		return -E2BIG;
	file = &c->files[c->n_files];
	if (snprintf(file->path, sizeof(file->path), "%s", path) >= (int)sizeof(file->path))
		return -ENAMETOOLONG;
	r = read_text(path, &file->mode, &file->text);
	if (r == 0)
		c->n_files++;
	else
		complain(c, "%s cannot be kept: %s", path, strerror(-r));
	return r;
}

/* All that netplan reads of its folder in /etc, besides our own file. */
static int remember_netplan(struct change *c)
{
	char folder[PATH_MAX / 2], path[PATH_MAX];
	const struct dirent *entry;
	int r = 0;
	DIR *dir;

	snprintf(folder, sizeof(folder), "%s/etc/netplan", c->system->adapters.root);
	dir = opendir(folder);
	while (dir && r == 0 && (entry = readdir(dir))) {
		size_t length = strlen(entry->d_name);

		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (length > 5 && strcmp(entry->d_name + length - 5, ".yaml") == 0 &&
		    strcmp(path, c->files[0].path) != 0)
			r = remember(c, path);
	}
	if (dir)
		(void)closedir(dir);
	return r;
}

static int our_path(const struct change *c, char path[PATH_MAX])
{
	const char *root = c->system->adapters.root, *name = c->adapter.name;

	switch (c->owner.manager) {
	case NET_MANAGER_NETWORKD:
		snprintf(path, PATH_MAX, "%s/etc/systemd/network/05-hvguest-%s.network", root, name);
		return 0;
	case NET_MANAGER_NETWORKMANAGER:
		snprintf(path, PATH_MAX, "%s/etc/NetworkManager/system-connections/hvguest-%s.nmconnection",
			 root, name);
		return 0;
	case NET_MANAGER_NETPLAN:
		snprintf(path, PATH_MAX, "%s/etc/netplan/90-hvguest-%s.yaml", root, name);
		return 0;
	case NET_MANAGER_NONE:
		break;
	}
	return IP_APPLY_UNMANAGED;
}

static int put_back_files(struct change *c)
{
	int first = 0;

	for (size_t i = 0; i < c->n_files; i++) {
		const struct old_file *file = &c->files[i];
		int r = file->text ? replace_file(file->path, file->mode, file->text)
				   : remove_file(file->path);

		if (r)
			complain(c, "%s cannot be put back: %s", file->path, strerror(-r));
		first = first ? first : r;
	}
	return first;
}

/* --- the record */

static int write_record(const struct change *c)
{
	json_t *files = json_array(), *record;
	_cleanup_free_ char *text = NULL;

	for (size_t i = 0; i < c->n_files; i++)
		json_array_append_new(files, json_pack("{s:s, s:i, s:s?}", "path", c->files[i].path,
						       "mode", (int)c->files[i].mode, "text",
						       c->files[i].text));
	record = json_pack("{s:i, s:s, s:i, s:s, s:o}", "schema", 1, "interface", c->adapter.name,
			   "manager", (int)c->owner.manager, "connection", c->owner.connection,
			   "files", files);
	/* A file that is no text cannot be written down here, and so is not changed. */
	if (!record || json_array_size(files) != c->n_files) {
		json_decref(record);
		return -EILSEQ;
	}
	text = json_dumps(record, JSON_INDENT(1));
	json_decref(record);
	return text ? replace_file(c->system->record, 0600, text) : -ENOMEM;
}

static int read_record(struct change *c)
{
	const char *interface, *connection, *path;
	json_t *record = json_load_file(c->system->record, 0, NULL), *files, *file, *text;
	int manager, mode, r = -EINVAL;
	size_t i;

	if (json_unpack(record, "{s:s, s:i, s:s, s:o}", "interface", &interface, "manager", &manager,
			"connection", &connection, "files", &files) < 0 ||
	    manager < 0 || manager > NET_MANAGER_NETPLAN)
		goto out;
	snprintf(c->adapter.name, sizeof(c->adapter.name), "%s", interface);
	snprintf(c->owner.connection, sizeof(c->owner.connection), "%s", connection);
	c->owner.manager = (enum net_manager)manager;
	json_array_foreach(files, i, file) {
		struct old_file *old = &c->files[c->n_files];

		if (i == FILES_MAX ||
		    json_unpack(file, "{s:s, s:i, s:o}", "path", &path, "mode", &mode, "text", &text) < 0)
			goto out;
		snprintf(old->path, sizeof(old->path), "%s", path);
		old->mode = (mode_t)mode & 07777;
		c->n_files++;
		if (json_is_null(text))
			continue;
		old->text = json_is_string(text) ? strdup(json_string_value(text)) : NULL;
		/* Without its text it would be removed. */
		if (!old->text)
			goto out;
	}
	r = 0;
out:
	json_decref(record);
	return r;
}

/* --- commands */

/* Waits until the process has ended, or ends it at the deadline. */
static int wait_for(struct change *c, struct hook_process *p)
{
	int status;

	while (!hook_process_reap(p, &status)) {
		uint64_t now = clock_monotonic_ns();
		struct pollfd ended = {.fd = p->end_fd, .events = POLLIN};

		if (now >= c->deadline_ns)
			hook_process_kill(p, SIGKILL);
		(void)poll(&ended, 1, now >= c->deadline_ns ? 1000 : LOOK_MS);
		hook_process_read(p);
	}
	return status;
}

/* With the first line of what it said. */
static void complain_of_command(struct change *c, const char *name, const struct hook_process *p)
{
	bool is_late = clock_monotonic_ns() >= c->deadline_ns;
	size_t n = p->n_output < 150 ? p->n_output : 150;
	char line[151];

	memcpy(line, p->output, n);
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	complain(c, "%s %s%s%s", name, is_late ? "took too long" : "failed", line[0] ? ": " : "", line);
}

/*
 * Runs @name with the words that follow, up to NULL. What it needs a file for meanwhile ("netplan set"
 * does) is beside the record: AppArmor's profile of hvguestd, which it stays in, has no /tmp.
 */
static int run(struct change *c, const char *name, ...)
{
	char folder[PATH_MAX];
	char *environment[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, (char[]){"LC_ALL=C"},
			       folder, NULL};
	const char *record = c->system->record;
	char program[PATH_MAX], words[8][512], *argv[9] = {program};
	struct hook_process p;
	const char *word;
	va_list args;
	size_t n = 1;
	int r;

	va_start(args, name);
	for (; n < 9 && (word = va_arg(args, const char *)); n++) {
		snprintf(words[n - 1], sizeof(words[0]), "%s", word);
		argv[n] = words[n - 1];
	}
	va_end(args);
	argv[n < 9 ? n : 8] = NULL;
	if (snprintf(folder, sizeof(folder), "TMPDIR=%.*s", (int)(strrchr(record, '/') - record),
		     record) >= (int)sizeof(folder))
		return -ENAMETOOLONG;

	if (!hook_process_find(name, program, sizeof(program))) {
		complain(c, "%s is not there", name);
		return IP_APPLY_FAILED;
	}
	r = hook_process_start(&p, argv, environment);
	if (r)
		return r;
	r = wait_for(c, &p);
	if (r == 0)
		return 0;
	complain_of_command(c, name, &p);
	return IP_APPLY_FAILED;
}

/* Takes what others say of the addresses out of their files. A dot in the id is not a separator. */
static int clear_netplan(struct change *c)
{
	char id[ADAPTER_NAME_SIZE * 2], *out = id, setting[512];

	for (const char *p = c->owner.netplan_id; *p; p++) {
		if (*p == '.')
			*out++ = '\\';
		*out++ = *p;
	}
	*out = '\0';
	snprintf(setting, sizeof(setting),
		 "ethernets.%s={addresses: null, gateway4: null, gateway6: null, routes: null, "
		 "nameservers: null, dhcp4: null, dhcp6: null, accept-ra: null}", id);
	return run(c, "netplan", "set", setting, NULL);
}

/*
 * netplan changes interfaces by itself; the others' commands only ask their managers to. The unit of
 * hvguestd may not do that, so there a unit of its own does it. One that has not come to its end is
 * ended before, and not waited for: it has read the files as they were.
 */
static int apply_netplan(struct change *c)
{
	if (prctl(PR_CAPBSET_READ, CAP_NET_ADMIN, 0, 0, 0) != 0)
		return run(c, "netplan", "apply", NULL);
	return run(c, "systemctl", "restart", "hvguest-netplan.service", NULL);
}

static int make_files_count(struct change *c)
{
	char uuid[KVP_IP_UUID_SIZE];
	int r;

	switch (c->owner.manager) {
	case NET_MANAGER_NETWORKD:
		/* It configures those interfaces anew whose file has changed. */
		return run(c, "networkctl", "reload", NULL);
	case NET_MANAGER_NETWORKMANAGER:
		kvp_ip_uuid(c->adapter.mac, uuid);
		r = run(c, "nmcli", "connection", "load", c->files[0].path, NULL);
		return r ? r : run(c, "nmcli", "connection", "up", "uuid", uuid, "ifname",
				   c->adapter.name, NULL);
	case NET_MANAGER_NETPLAN:
		return apply_netplan(c);
	case NET_MANAGER_NONE:
		break;
	}
	return IP_APPLY_FAILED;
}

/* What was active before is so again. */
static int make_old_files_count(struct change *c)
{
	int r;

	switch (c->owner.manager) {
	case NET_MANAGER_NETWORKMANAGER:
		r = run(c, "nmcli", "connection", "reload", NULL);
		if (r || !c->owner.connection[0])
			return r;
		return run(c, "nmcli", "connection", "up", "uuid", c->owner.connection, "ifname",
			   c->adapter.name, NULL);
	case NET_MANAGER_NETWORKD:
	case NET_MANAGER_NETPLAN:
	case NET_MANAGER_NONE:
		break;
	}
	return make_files_count(c);
}

/* --- all together */

static int make_text(struct change *c, const struct kvp_ip_info *info, char *text)
{
	const struct kvp_ip_target target = {
		.interface = c->adapter.name,
		.mac = c->adapter.mac,
		.netplan_id = c->owner.netplan_id,
	};
	int r;

	if (c->owner.manager == NET_MANAGER_NETWORKD)
		r = kvp_ip_networkd_text(&target, info, text);
	else if (c->owner.manager == NET_MANAGER_NETWORKMANAGER)
		r = kvp_ip_keyfile_text(&target, info, text);
	else
		r = kvp_ip_netplan_text(&target, info, text);
	if (r == 0)
		return 0;
	complain(c, "the name of the interface cannot be written into a file of %s",
		 net_manager_name(c->owner.manager));
	return IP_APPLY_FAILED;
}

static bool has_address(const struct adapter_address *list, size_t n, unsigned index,
			const struct kvp_ip_address *wanted)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].adapter == index && list[i].prefix == wanted->prefix &&
		    memcmp(&list[i].address, &wanted->address, sizeof(wanted->address)) == 0)
			return true;
	return false;
}

/* Whether the kernel has all of the addresses; else *ret_missing is one that it does not have. */
static bool has_all(const struct change *c, const struct kvp_ip_info *info, size_t *ret_missing)
{
	_cleanup_free_ struct adapter_address *list = NULL;
	size_t n = 0;

	if (addresses_list(&list, &n))
		n = 0;
	for (size_t i = 0; i < info->n_addresses; i++) {
		*ret_missing = i;
		if (kvp_ip_is_set(&info->addresses[i]) &&
		    !has_address(list, n, c->adapter.index, &info->addresses[i]))
			return false;
	}
	return true;
}

static int wait_for_addresses(struct change *c, const struct kvp_ip_info *info)
{
	char text[KVP_ADDRESS_TEXT_SIZE];
	size_t missing = 0;

	for (unsigned looks = 0; looks < LOOKS;) {
		looks = has_all(c, info, &missing) ? looks + 1 : 0;
		if (looks == 0 && clock_monotonic_ns() >= c->deadline_ns) {
			kvp_address_format(&info->addresses[missing].address, text);
			complain(c, "%s did not come to be on %s within %d seconds", text,
				 c->adapter.name, IP_APPLY_SECONDS);
			return IP_APPLY_FAILED;
		}
		(void)poll(NULL, 0, LOOK_MS);
	}
	return 0;
}

static int change_it(struct change *c, const struct kvp_ip_info *info, const char *text)
{
	mode_t mode = c->owner.manager == NET_MANAGER_NETWORKD ? 0644 : 0600;
	int r = 0;

	if (c->owner.manager == NET_MANAGER_NETPLAN) {
		/* What "netplan set" finds in our own file would be kept there. */
		r = remove_file(c->files[0].path);
		r = r ? r : clear_netplan(c);
	}
	if (r == 0 && c->owner.manager == NET_MANAGER_NETWORKD)
		(void)make_folder_of(c->files[0].path);
	r = r ? r : replace_file(c->files[0].path, mode, text);
	if (r < 0)
		complain(c, "%s cannot be written: %s", c->files[0].path, strerror(-r));
	r = r ? r : make_files_count(c);
	return r ? r : wait_for_addresses(c, info);
}

static void take_back(struct change *c)
{
	char first[IP_APPLY_PROBLEM_SIZE];
	int r;

	memcpy(first, c->problem, sizeof(first));
	c->problem[0] = '\0';
	c->deadline_ns = clock_monotonic_ns() + IP_APPLY_BACK_SECONDS * NS_PER_SECOND;
	r = put_back_files(c);
	if (make_old_files_count(c) || r) {
		char second[IP_APPLY_PROBLEM_SIZE];

		memcpy(second, c->problem, sizeof(second));
		snprintf(c->problem, sizeof(c->problem), "%.80s%s%.90s", first,
			 first[0] ? "; and to take it back: " : "", second);
	} else {
		memcpy(c->problem, first, sizeof(first));
	}
	/* Files that could not be put back are tried again by the next process. */
	if (r == 0)
		(void)remove_file(c->system->record);
}

static int apply(struct change *c, const struct kvp_ip_info *info)
{
	_cleanup_free_ char *text = malloc(KVP_IP_FILE_MAX);
	char path[PATH_MAX];
	int r;

	c->files = calloc(FILES_MAX, sizeof(*c->files));
	if (!text || !c->files)
		return -ENOMEM;
	r = our_path(c, path);
	if (r) {
		complain(c, "no network manager that is known has %s", c->adapter.name);
		return r;
	}
	/* Where nothing can be written, nothing could be taken back. */
	r = can_write_beside(path);
	if (r) {
		complain(c, "%s: %s: ip_injection needs a folder that can be written to", path, strerror(-r));
		return IP_APPLY_FAILED;
	}
	r = make_text(c, info, text);
	r = r ? r : remember(c, path);
	if (r == 0 && c->owner.manager == NET_MANAGER_NETPLAN)
		r = remember_netplan(c);
	if (r == 0) {
		r = write_record(c);
		if (r)
			complain(c, "%s cannot be written: %s", c->system->record, strerror(-r));
	}
	if (r)
		return IP_APPLY_FAILED;

	r = change_it(c, info, text);
	if (r) {
		complain(c, "%s", r < 0 ? strerror(-r) : "it failed");
		take_back(c);
		return IP_APPLY_FAILED;
	}
	return remove_file(c->system->record);
}

/* A host may ask early in the boot: managers are given a moment to say what is theirs. */
static void find_owner(struct change *c)
{
	uint64_t until = clock_monotonic_ns() + OWNER_SECONDS * NS_PER_SECOND;

	for (;;) {
		adapters_owner(&c->system->adapters, &c->adapter, &c->owner);
		if (c->owner.manager != NET_MANAGER_NONE || clock_monotonic_ns() >= until)
			return;
		(void)poll(NULL, 0, LOOK_MS);
	}
}

int ip_apply(const struct ip_apply_system *system, const struct adapter *adapter,
	     const struct kvp_ip_info *info, char *ret_problem)
{
	struct change c = {
		.system = system,
		.adapter = *adapter,
		.deadline_ns = clock_monotonic_ns() + IP_APPLY_SECONDS * NS_PER_SECOND,
	};
	int r;

	find_owner(&c);
	r = apply(&c, info);
	free_files(&c);
	memcpy(ret_problem, c.problem, IP_APPLY_PROBLEM_SIZE);
	return r;
}

bool ip_apply_recover(const struct ip_apply_system *system, char *ret_problem)
{
	struct change c = {.system = system};

	ret_problem[0] = '\0';
	if (access(system->record, F_OK) < 0)
		return false;
	c.files = calloc(FILES_MAX, sizeof(*c.files));
	if (c.files && read_record(&c) == 0)
		take_back(&c);
	else
		complain(&c, "%s cannot be read: look at the network's configuration and remove it",
			 system->record);
	free_files(&c);
	memcpy(ret_problem, c.problem, IP_APPLY_PROBLEM_SIZE);
	return true;
}
