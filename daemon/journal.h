/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/log.h"

/*
 * What hvguestd says that others may look for in the journal, by MESSAGE_ID. The table in journal.c makes
 * the journal's catalog and the list of the manual page.
 */
enum event_name {
	EVENT_READY,
	EVENT_ENDING,
	EVENT_HANDING_OVER,
	EVENT_CONFIG_READ,
	EVENT_CONFIG_REFUSED,
	EVENT_HOST_FOUND,
	EVENT_HOST_LOST,
	EVENT_CHANNEL_OPEN,
	EVENT_DEVICE_NOT_TAKEN,
	EVENT_RING_CORRUPT,
	EVENT_BACKUP_CONSISTENT,
	EVENT_BACKUP_NOT_CONSISTENT,
	EVENT_BACKUP_IMPOSSIBLE,
	EVENT_BACKUP_POSSIBLE,
	EVENT_THAWED_LATE,
	EVENT_STUCK_FROZEN,
	EVENT_HOOK_FAILED,
	EVENT_HOOK_NOT_RUN,
	EVENT_RECEIPT_NOT_SAVED,
	EVENT_BACKUP_RECEIPT,
	EVENT_COPY_RECEIPT,
	EVENT_KEEPER_LOST,
	EVENT_MEMORY_MOVED,
	EVENT_IN_NEED,
	EVENT_IN_NEED_NO_MORE,
	EVENT_BLOCK_CAME_ONLINE,
	EVENT_MEMORY_ADDED,
	EVENT_MEMORY_NOT_ADDED,
	EVENT_BLOCK_STAYS_OFFLINE,
	EVENT_DISK_GROWN,
	EVENT_DISK_NOT_GROWN,
	EVENT_CLOCK_SET,
	EVENT_CLOCK_NOT_SET,
	EVENT_ADDRESSES_SET,
	EVENT_ADDRESSES_NOT_SET,
	EVENT_FILE_COPIED,
	EVENT_FILE_NOT_COPIED,
	EVENT_SHUTDOWN_ASKED,
	EVENT_SHUTDOWN_REFUSED,
	N_EVENTS,
};

extern const struct log_event journal_events[N_EVENTS];

/* log_as(EVENT_..., subject or NULL, format, ...) */
#define log_as(event, subject, ...) log_event(&journal_events[event], subject, __VA_ARGS__)

/* To standard output: the catalog (journalctl -x), and the list for the manual page, as scdoc has it. */
void journal_print_catalog(void);
void journal_print_manual(void);
