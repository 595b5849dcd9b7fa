/* SPDX-License-Identifier: MIT */

/*
 * The automatic keys, bound to what they are about.
 *
 * The keys are read anew when the kernel says that an address or the host name has changed, in the
 * turn of the event loop that brings the message; there is no timer. Reading them takes two questions
 * to the kernel and one file, and only what has changed is put into the store.
 *
 * The fully qualified name is another matter: it may take the resolver half a minute to find, and
 * libraries of anybody's making (nsswitch.conf(5)) that would stay in this process. So the question is
 * left to a process of its own, "getent ahosts NAME", which is ended after LOOKUP_SECONDS. It is asked
 * at the start, and again when any of the other keys has changed.
 * Until there is an answer, and where there is none, the host name stands for it.
 */

#include "daemon/bind_kvp_keys.h"

#include "base/log.h"
#include "fsfreeze/hook_process.h"
#include "services/addresses.h"
#include "services/kvp_keys.h"
#include "services/osinfo.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
	NAME_SIZE = 256,     /* of a host, with its NUL: more than DNS has */
	VERSION_SIZE = 32,
	LOOKUP_SECONDS = 20, /* glibc's resolver gives up after 5 s for each of 3 servers, twice */
};

/* A process that finds out the canonical name. */
struct lookup {
	struct hook_process process;
	struct event *ended;
};

struct bind_kvp_keys {
	struct event_base *base;
	struct kvp_store *store;
	int addresses_fd;
	struct osinfo_watch host_name;
	struct event *addresses_event;
	struct event *host_name_event;
	const char *addresses_problem; /* why changes are not heard; NULL: they are */
	const char *host_name_problem;

	char version[VERSION_SIZE];
	char fqdn[NAME_SIZE]; /* "": not known */
	struct lookup *lookup; /* NULL: none is running */
	bool look_again;       /* when that has ended: it was asked before the last change */

	uint64_t refreshes;
	uint64_t lookups;
	uint64_t failed_lookups;
};

/* Puts @value unless it is there already; true if it was not. */
static bool put_if_new(struct bind_kvp_keys *b, const struct kvp_key_value *entry)
{
	char old[KVP_VALUE_SIZE];
	int r;

	if (kvp_store_get(b->store, KVP_POOL_AUTO, entry->key, old) == 0 &&
	    strcmp(old, entry->value) == 0)
		return false;
	r = kvp_store_put(b->store, KVP_POOL_AUTO, entry->key, entry->value);
	if (r)
		log_error("key-value exchange: %s cannot be kept: %s", entry->key, strerror(-r));
	return true;
}

/* What a refresh works on: too large for the stack, and of no use in between. */
struct reading {
	struct osinfo os;
	struct kvp_keys keys;
};

static struct kvp_address *plain_addresses(const struct adapter_address *list, size_t n)
{
	struct kvp_address *addresses = calloc(n ? n : 1, sizeof(*addresses));

	for (size_t i = 0; addresses && i < n; i++)
		addresses[i] = list[i].address;
	return addresses;
}

static void make_keys(const struct bind_kvp_keys *b, struct reading *reading)
{
	_cleanup_free_ struct adapter_address *list = NULL;
	_cleanup_free_ struct kvp_address *addresses = NULL;
	size_t n = 0;
	int r = addresses_list(&list, &n);

	if (r)
		log_warning("key-value exchange: the kernel does not list its addresses: %s",
			    strerror(-r));
	addresses = plain_addresses(list, n);
	osinfo_read("", &reading->os);
	kvp_keys_make(&(struct kvp_keys_facts){
			      .host_name = reading->os.uname.nodename,
			      .fqdn = b->fqdn[0] ? b->fqdn : NULL,
			      .os_release = reading->os.os_release,
			      .kernel_name = reading->os.uname.sysname,
			      .kernel_release = reading->os.uname.release,
			      .machine = reading->os.uname.machine,
			      .services_version = b->version,
			      .addresses = addresses,
			      .n_addresses = addresses ? n : 0,
		      },
		      &reading->keys);
}

/* Reads all keys and puts what is new; true if something is. */
static bool refresh(struct bind_kvp_keys *b)
{
	_cleanup_free_ struct reading *reading = malloc(sizeof(*reading));
	bool changed = false;

	if (!reading) {
		log_error("key-value exchange: no memory to read the automatic keys");
		return false;
	}
	b->refreshes++;
	make_keys(b, reading);
	for (size_t i = 0; i < KVP_KEYS_N; i++)
		changed |= put_if_new(b, &reading->keys.list[i]);
	return changed;
}

static void look_up(struct bind_kvp_keys *b);

static struct lookup *free_lookup(struct lookup *lookup)
{
	if (lookup->ended)
		event_free(lookup->ended);
	hook_process_leave(&lookup->process);
	free(lookup);
	return NULL;
}

static void take_answer(struct bind_kvp_keys *b, int status)
{
	struct hook_process *p = &b->lookup->process;
	char name[NAME_SIZE], output[NAME_SIZE * 2];
	size_t n = p->n_output < sizeof(output) ? p->n_output : sizeof(output) - 1;

	memcpy(output, p->output, n);
	output[n] = '\0';
	if (status == 0 && kvp_keys_canonical_name(output, name, sizeof(name))) {
		memcpy(b->fqdn, name, sizeof(name));
	} else {
		b->fqdn[0] = '\0';
		b->failed_lookups++;
	}
}

static void on_lookup_ended(evutil_socket_t fd, short what, void *user)
{
	struct bind_kvp_keys *b = user;
	int status;

	(void)fd;
	if (what & EV_TIMEOUT)
		hook_process_kill(&b->lookup->process, SIGKILL);
	if (!hook_process_reap(&b->lookup->process, &status)) {
		(void)event_add(b->lookup->ended, NULL);
		return;
	}
	take_answer(b, status);
	b->lookup = free_lookup(b->lookup);
	(void)refresh(b);
	if (b->look_again)
		look_up(b);
}

static int start_lookup(struct bind_kvp_keys *b, struct lookup *lookup, char *name)
{
	static const struct timeval limit = {.tv_sec = LOOKUP_SECONDS};
	char *argv[] = {(char[]){"/usr/bin/getent"}, (char[]){"ahosts"}, name, NULL};
	char *environment[] = {(char[]){"PATH=/usr/bin:/bin"}, NULL};
	int r = hook_process_start(&lookup->process, argv, environment);

	if (r)
		return r;
	lookup->ended = event_new(b->base, lookup->process.end_fd, EV_READ, on_lookup_ended, b);
	return lookup->ended && event_add(lookup->ended, &limit) == 0 ? 0 : -ENOMEM;
}

/* Asks for the canonical name of the host name, as it is now. */
static void look_up(struct bind_kvp_keys *b)
{
	char name[NAME_SIZE] = "";

	b->look_again = b->lookup != NULL;
	if (b->lookup)
		return;
	/* A name that getent would take for an option is none. */
	if (gethostname(name, sizeof(name) - 1) < 0 || name[0] == '\0' || name[0] == '-')
		return;
	b->lookup = calloc(1, sizeof(*b->lookup));
	if (!b->lookup)
		return;
	hook_process_init(&b->lookup->process);
	b->lookups++;
	if (start_lookup(b, b->lookup, name) == 0)
		return;
	hook_process_kill(&b->lookup->process, SIGKILL);
	b->lookup = free_lookup(b->lookup);
	b->failed_lookups++;
}

static void stop_listening(struct event *event, const char **problem, const char *what, int r)
{
	log_error("key-value exchange: %s: %s; changes are not noticed any more", what, strerror(-r));
	*problem = "the kernel's messages cannot be read";
	event_del(event);
}

static void on_addresses(evutil_socket_t fd, short what, void *user)
{
	struct bind_kvp_keys *b = user;
	int r = addresses_receive(fd);

	(void)what;
	if (r < 0)
		stop_listening(b->addresses_event, &b->addresses_problem, "addresses", r);
	else if (r == 0 && refresh(b))
		look_up(b);
}

static void on_host_name(evutil_socket_t fd, short what, void *user)
{
	struct bind_kvp_keys *b = user;

	(void)fd;
	(void)what;
	osinfo_watch_seen(&b->host_name);
	if (refresh(b))
		look_up(b);
}

static int watch(struct bind_kvp_keys *b, int fd, event_callback_fn on_readable,
		 struct event **ret_event)
{
	struct event *event = event_new(b->base, fd, EV_READ | EV_PERSIST, on_readable, b);

	*ret_event = event;
	return event && event_add(event, NULL) == 0 ? 0 : -ENOMEM;
}

/* A machine that does not let us listen has keys all the same. */
static int listen_to_kernel(struct bind_kvp_keys *b)
{
	int r = addresses_open(&b->addresses_fd);

	if (r) {
		b->addresses_problem = "netlink is not permitted";
		log_warning("key-value exchange: changes of addresses are not noticed: %s", strerror(-r));
	} else if (watch(b, b->addresses_fd, on_addresses, &b->addresses_event)) {
		return -ENOMEM;
	}
	r = osinfo_watch_init(&b->host_name);
	if (r) {
		b->host_name_problem = "/proc/sys/kernel/hostname cannot be watched";
		log_warning("key-value exchange: changes of the host name are not noticed: %s",
			    strerror(-r));
		return 0;
	}
	return watch(b, b->host_name.fd, on_host_name, &b->host_name_event);
}

int bind_kvp_keys_new(struct event_base *base, struct kvp_store *store,
		      struct bind_kvp_keys **ret_binding)
{
	_cleanup_(cleanup_bind_kvp_keysp) struct bind_kvp_keys *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->base = base;
	b->store = store;
	b->addresses_fd = b->host_name.fd = b->host_name.file = -1;
	/* Linux drivers/hv/hv_kvp.c, HV_DRV_VERSION. */
	snprintf(b->version, sizeof(b->version), "3.1");
	/* First listen, then look: what changes in between is seen twice, and not never. */
	r = listen_to_kernel(b);
	if (r)
		return r;
	(void)refresh(b);
	look_up(b);
	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_kvp_keys *bind_kvp_keys_free(struct bind_kvp_keys *b)
{
	if (!b)
		return NULL;
	if (b->lookup) {
		hook_process_kill(&b->lookup->process, SIGKILL);
		b->lookup = free_lookup(b->lookup);
	}
	if (b->addresses_event)
		event_free(b->addresses_event);
	if (b->host_name_event)
		event_free(b->host_name_event);
	(void)close_fd(b->addresses_fd);
	osinfo_watch_fini(&b->host_name);
	free(b);
	return NULL;
}

void bind_kvp_keys_set_version(struct bind_kvp_keys *b, const char *version)
{
	snprintf(b->version, sizeof(b->version), "%s", version);
	(void)refresh(b);
}

json_t *bind_kvp_keys_status(const struct bind_kvp_keys *b)
{
	return json_pack("{s:I, s:I, s:I, s:b, s:s*, s:s*}", "refreshes", (json_int_t)b->refreshes,
			 "name_lookups", (json_int_t)b->lookups, "failed_name_lookups",
			 (json_int_t)b->failed_lookups, "looking_up", b->lookup != NULL,
			 "addresses_problem", b->addresses_problem, "host_name_problem",
			 b->host_name_problem);
}
