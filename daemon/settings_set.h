/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"

/*
 * How the values of the settings are read; the table of daemon/settings.c names them. Each takes a text
 * as a file or the command line has it, and false says that it cannot be one, or that there is no
 * memory. Those of lists add to what is there, and have one that forgets all of it.
 */

/* [daemon] */
bool settings_set_name(struct config *c, const char *value);
bool settings_set_run_dir(struct config *c, const char *value);
bool settings_set_state_dir(struct config *c, const char *value);
bool settings_set_log_level(struct config *c, const char *value);

/* [api] */
bool settings_set_read_group(struct config *c, const char *value);
bool settings_set_metrics_listen(struct config *c, const char *value);
bool settings_set_page(struct config *c, const char *value);

/* [lab] */
bool settings_set_lab(struct config *c, const char *value);

/* [vmbus] */
bool settings_add_takeover(struct config *c, const char *value);
void settings_forget_takeover(struct config *c);
bool settings_set_vss_device(struct config *c, const char *value);
bool settings_set_kvp_device(struct config *c, const char *value);

/* [backup] */
bool settings_add_freeze_roots(struct config *c, const char *value);
void settings_forget_freeze_roots(struct config *c);
bool settings_add_include(struct config *c, const char *value);
void settings_forget_include(struct config *c);
bool settings_add_exclude(struct config *c, const char *value);
void settings_forget_exclude(struct config *c);
bool settings_set_freeze_mounts(struct config *c, const char *value);
bool settings_set_freeze_policy(struct config *c, const char *value);
bool settings_set_expedite(struct config *c, const char *value);
bool settings_set_freeze_timeout(struct config *c, const char *value);
bool settings_set_freezer(struct config *c, const char *value);
bool settings_set_hook_dir(struct config *c, const char *value);
bool settings_set_hook_runner(struct config *c, const char *value);
bool settings_add_hook_layouts(struct config *c, const char *value);
void settings_forget_hook_layouts(struct config *c);
bool settings_set_hook_timeout(struct config *c, const char *value);
bool settings_set_prepare_timeout(struct config *c, const char *value);
bool settings_set_notify_hold(struct config *c, const char *value);
bool settings_set_receipts(struct config *c, const char *value);

/* [shutdown] */
bool settings_set_shutdown_command(struct config *c, const char *value);

/* [time] */
bool settings_set_time_sync(struct config *c, const char *value);
bool settings_set_chrony_socket(struct config *c, const char *value);

/* [memory] */
bool settings_set_memory(struct config *c, const char *value);
bool settings_set_report_delay(struct config *c, const char *value);
bool settings_set_huge_pages(struct config *c, const char *value);
bool settings_set_overcommit(struct config *c, const char *value);
bool settings_set_keeper(struct config *c, const char *value);
bool settings_set_floor(struct config *c, const char *value);
bool settings_set_report(struct config *c, const char *value);
bool settings_set_stall_target(struct config *c, const char *value);
bool settings_set_report_cgroup(struct config *c, const char *value);
bool settings_set_stall_limit(struct config *c, const char *value);
bool settings_set_reclaim(struct config *c, const char *value);
bool settings_set_memory_blocks(struct config *c, const char *value);
bool settings_set_hotplug(struct config *c, const char *value);
bool settings_set_hotplug_ratio(struct config *c, const char *value);

/* [kvp] */
bool settings_set_kvp(struct config *c, const char *value);
bool settings_set_kvp_dir(struct config *c, const char *value);
bool settings_set_ip_injection(struct config *c, const char *value);

/* [disks] */
bool settings_set_disks_grow(struct config *c, const char *value);
bool settings_add_disks(struct config *c, const char *value);
void settings_forget_disks(struct config *c);
bool settings_set_disks_helper(struct config *c, const char *value);

/* [fcopy] */
bool settings_add_fcopy_roots(struct config *c, const char *value);
void settings_forget_fcopy_roots(struct config *c);
bool settings_set_fcopy_mode(struct config *c, const char *value);
bool settings_set_fcopy_owner(struct config *c, const char *value);
bool settings_set_fcopy_receipts(struct config *c, const char *value);
bool settings_set_fcopy_device(struct config *c, const char *value);
