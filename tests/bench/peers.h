/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Who freezes: hvguestd, driven by VSS messages over the lab's transport, and its peers, each driven
 * as their host does it. All freeze what is mounted below PEERS_MOUNTS, in a mount namespace that
 * has no other file system on a disk.
 */

#define PEERS_MOUNTS "/mnt"

struct peer_ops {
	const char *name; /* as in the names of the lines */
	const char *program;
	void (*start)(void);
	void (*stop)(void);
	bool (*freeze)(size_t n); /* asks, and waits for the answer; false: it says no */
	bool (*thaw)(size_t n);
	bool skips_loops; /* never freezes a file system on a loop device that lies on another one */
};

/*
 * peer_hvguest_plain may not have the kernel expedite grace periods; peer_syncfs only writes back, on
 * all file systems at once; peer_nobody does nothing.
 */
extern const struct peer_ops peer_hvguest, peer_hvguest_plain;
extern const struct peer_ops peer_hv_vss, peer_qemu_ga, peer_fsfreeze, peer_syncfs, peer_nobody;

/* True if its program is there. */
bool peer_exists(const struct peer_ops *peer);

/* Kills hvguestd; peer_hvguest.stop() and _start() make a new one. */
void peers_kill_hvguestd(void);
