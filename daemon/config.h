/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "base/log.h"
#include "fsfreeze/mounts.h"
#include "fsfreeze/rules.h"
#include "memhotplug/hotadd.h"
#include "policy/floor.h"
#include "policy/report.h"
#include "services/timesync.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * hvguestd's configuration: defaults, then the configuration file, then the files of the folder
 * beside it, then the command line.
 */

#define CONFIG_RUN_DIR "/run/hvguest" /* unless something else is said */
/* Where the stock daemon has its pools, and other programs expect them. */
#define CONFIG_KVP_DIR "/var/lib/hyperv"

enum {
	CONFIG_ROOTS_MAX = 64,
	CONFIG_RULES_MAX = 64,
	CONFIG_DISKS_MAX = 32,
};

/* The services that can be taken over, as bits. */
enum config_service {
	CONFIG_HEARTBEAT = 1,
	CONFIG_VSS = 2,
	CONFIG_DYNMEM = 4,
	CONFIG_SHUTDOWN = 8,
	CONFIG_FCOPY = 64,
	CONFIG_TIMESYNC = 16,
	CONFIG_KVP = 128,
};

struct config {
	char *name;        /* this guest's, towards the host; default: the host name */
	char *run_dir;     /* sockets and the freezer's record live here; on a tmpfs */
	char *state_dir;   /* what is to be found again after a restart */
	char *lab_socket;  /* NULL: no lab host */
	char *freezer;     /* the helper program */
	enum log_level log_level;
	char *read_group;  /* whose members may look; NULL: root's */
	char *metrics_listen; /* ADDRESS:PORT; NULL: no TCP */
	bool page;            /* those who look get a page, too */

	/* [vmbus] */
	unsigned takeover; /* enum config_service: whose devices are taken from the kernel's drivers */

	char *vss_device; /* the kernel's, for backup unless that is taken over */
	char *kvp_device; /* likewise, for key-value exchange */

	/* [backup] */
	uint64_t freeze_timeout_ns; /* the longest that anything stays frozen */
	bool freeze_all;            /* every writable file system, / included */
	char *freeze_roots[CONFIG_ROOTS_MAX]; /* else what is mounted at or below these */
	size_t n_freeze_roots;
	struct config_rules {
		char *texts[CONFIG_RULES_MAX]; /* which the rules point into */
		struct freeze_rule rules[CONFIG_RULES_MAX];
		size_t n;
	} freeze_include, freeze_exclude;
	enum mounts_of freeze_mounts;
	bool freeze_strict;         /* freeze nothing if not everything can be frozen */
	bool expedite;              /* turn rcu_expedited on while file systems are being frozen */
	char *hook_dir;              /* of our own hooks */
	char *hook_runner;           /* the socket of who runs hooks; NULL: this process */
	unsigned hook_layouts;       /* enum hook_layout: whose hooks are run besides */
	uint64_t hook_timeout_ns;    /* of each run of a hook */
	uint64_t prepare_timeout_ns; /* of all that comes before the freeze */

	uint64_t notify_hold_ns;     /* the longest that a program may put a freeze off */
	unsigned n_receipts;         /* so many are kept */

	char *shutdown_command; /* takes the machine down; NULL: the init's own, in a lab nothing */
	bool shutdown_by_init;  /* the init's own in a lab, too: "default" is said */

	/* [time] */
	enum timesync_mode time_sync; /* what the host may do with the clock */
	char *chrony_socket;          /* where samples go */

	/* [kvp] */
	bool kvp;      /* take part in the key-value exchange */
	char *kvp_dir; /* of the pools' files */

	/* [memory] */
	bool memory;               /* take part in dynamic memory */
	uint64_t report_delay_ns;  /* from the handshake to the first status report */
	bool huge_pages;           /* take 2 MiB pages */
	bool overcommit;           /* where the pool has none, add to vm.nr_overcommit_hugepages */
	char *keeper;              /* the helper program that holds the memory */
	enum report_rule report;   /* how much of its memory this machine says that it needs */
	uint32_t stall_target_percent; /* REPORT_PSI: tasks may wait for so much of the time */
	char *report_cgroup;       /* what is suffered is looked at in this group; NULL: everywhere */
	struct floor_rule floor;   /* what stays available to this machine */
	uint32_t stall_limit_percent; /* give nothing while tasks wait for more of the time; 0: do */
	bool reclaim;              /* have cold memory freed before it is needed */
	bool memory_blocks;        /* take whole memory blocks offline where they are free */
	enum hotadd_policy hotplug; /* what to do with blocks that are added */
	uint32_t hotplug_ratio_percent; /* HOTADD_AUTO: Movable, for each hundred of the kernel's */

	bool ip_injection; /* [kvp]: a host may set the addresses of this machine's adapters */

	/* [disks] */
	bool disks_grow;               /* make those that are listed larger when the host has */
	char *disks[CONFIG_DISKS_MAX]; /* names or paths */
	size_t n_disks;
	char *disks_helper;            /* the program that does it */

	/* [fcopy] */
	char *fcopy_roots[CONFIG_ROOTS_MAX]; /* a host may put files at or beneath these; none: off */
	size_t n_fcopy_roots;
	unsigned fcopy_mode;       /* of these files */
	bool fcopy_has_owner;      /* else they are ours */
	unsigned fcopy_uid, fcopy_gid;
	unsigned n_fcopy_receipts; /* so many are kept */
	char *fcopy_device;        /* the kernel's, where it has a driver for file copy */

	struct config_value *values; /* of each setting: what was said, and where */
};

/* The conditions of the two below. All but the last have logged one line that says where and what. */
enum {
	CONFIG_BAD_USAGE = 1, /* the command line */
	CONFIG_BAD_FILE,      /* a configuration file */
	CONFIG_DONE,          /* --help, --version, --check-config and the like have been answered */
};

/*
 * Reads the command line, the file it names, or HVGUEST_SYSCONFDIR "/hvguest.conf" if that exists,
 * and the files *.conf of the folder of its name and ".d". CONFIG_BAD_USAGE, CONFIG_BAD_FILE,
 * CONFIG_DONE, -ENOMEM.
 */
_must_check_ int config_load(int argc, char **argv, struct config *ret_config);

/*
 * Reads everything anew and takes on what has changed, but for settings that need a restart, of
 * which it is said; counts what was taken on. After CONFIG_BAD_FILE nothing is changed. As above.
 */
_must_check_ int config_reload(int argc, char **argv, struct config *config, unsigned *ret_changes);
void config_fini(struct config *config);
