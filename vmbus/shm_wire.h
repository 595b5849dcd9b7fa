/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "vmbus/guid.h"

#include <stddef.h>

/*
 * The control messages of the shm transport: what a lab host and a guest on the same machine say
 * to each other on a SOCK_SEQPACKET socket. Channel data never takes this way; it goes through
 * rings in memory that OPENED hands over. docs/PROTOCOL-vmbus.md section 10.
 */

enum {
	SHM_VERSION = 1,
	SHM_MESSAGE_SIZE = 128, /* every message; what a type does not use is zero */
	SHM_NAME_SIZE = 64,     /* a guest's name and the zero behind it */
	SHM_OPENED_FDS = 3,     /* memfd, the guest's doorbell, the host's doorbell */
	SHM_RING_SIZE_MIN = 8192,
	SHM_RING_SIZE_MAX = 4 * 1024 * 1024,
};

enum shm_type {
	SHM_HELLO = 1, /* guest: version, name, memory_pages; the first message */
	SHM_WELCOME,   /* host: version, status; with a status other than OK the host closes */
	SHM_OFFER,     /* host: channel_id, class_id, instance_id */
	SHM_OPEN,      /* guest: channel_id, ring_size */
	SHM_OPENED,    /* host: channel_id, ring_size, status; descriptors if OK */
	SHM_CLOSE,     /* guest: channel_id; it may be opened again */
	SHM_RESCIND,   /* host: channel_id is gone; the guest closes it and answers RELEASE */
	SHM_RELEASE,   /* guest: channel_id; the number may be offered anew */
};

enum shm_status {
	SHM_OK,
	SHM_BAD_VERSION,
	SHM_BAD_NAME,
	SHM_NAME_TAKEN,
	SHM_NO_SUCH_CHANNEL,
	SHM_ALREADY_OPEN,
	SHM_BAD_RING_SIZE,
	SHM_NO_MEMORY,
	SHM_NO_ROOM,     /* for a guest, beside the others */
	SHM_NO_ROOM_NOW, /* the same, until others have given memory: worth trying again */
	SHM_BAD_LIMITS,  /* what the host's administrator wants for the guest */
	SHM_N_STATUSES,
};

struct shm_message {
	uint32_t type;         /* enum shm_type */
	uint32_t channel_id;
	uint32_t version;
	uint32_t status;       /* enum shm_status */
	uint32_t ring_size;    /* bytes of each ring, control page included */
	uint64_t memory_pages; /* the guest's memory, in pages of 4096 bytes */
	char name[SHM_NAME_SIZE];
	struct vmbus_guid class_id;
	struct vmbus_guid instance_id;
};

/* The condition of shm_decode(). */
enum {
	SHM_MALFORMED = 1, /* not 128 bytes, or a type that does not exist */
};

/* Writes all fields of @message, also those that its type does not use. */
void shm_encode(const struct shm_message *message, uint8_t ret_wire[SHM_MESSAGE_SIZE]);

/* Reads @size bytes; the name is always terminated. SHM_MALFORMED. */
_must_check_ int shm_decode(const void *wire, size_t size, struct shm_message *ret_message);

/* True for 1 to 63 of the characters A-Z a-z 0-9 . _ -, not beginning with a dot or a dash. */
bool shm_name_is_valid(const char *name);

/* What went wrong, for people. */
const char *shm_status_text(uint32_t status);
