/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <libaio.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Writes files from the first byte to the last in large pieces, several of which are on their way
 * at once. It blocks, and is used by one thread at a time.
 */

struct stream;

enum {
	STREAM_PIECE_BYTES = 1024 * 1024,
	STREAM_IN_FLIGHT_MAX = 8,
};

/* A piece of a file. Its user sets the first three members, and may not touch it until `done`. */
struct stream_piece {
	uint8_t *buf;    /* STREAM_PIECE_BYTES, aligned to a page */
	size_t len;      /* STREAM_PIECE_BYTES, less only for the last of a file */
	uint64_t offset; /* in the file */
	atomic_bool done; /* may be looked at by any thread */

	/* The stream's own. */
	struct iocb iocb;
	size_t written;
	size_t padded;
};

/* A stream without a file. -ENOMEM. */
_must_check_ int stream_new(struct stream **ret_stream);

/* Also waits for what is on its way. */
struct stream *stream_free(struct stream *s);
DEFINE_CLEANUP(stream)

/*
 * Begins a file of @size bytes at @fd, which is borrowed until stream_end() or stream_drop() and
 * has nothing in it. Its blocks are allocated now: -ENOSPC, -EFBIG if they cannot be. Negative
 * errno.
 */
_must_check_ int stream_begin(struct stream *s, int fd, uint64_t size);

/*
 * Starts to write @piece, and waits until only half of STREAM_IN_FLIGHT_MAX are on their way.
 * Negative errno of this piece or an earlier one; then stream_drop().
 */
_must_check_ int stream_put(struct stream *s, struct stream_piece *piece);

/* Waits until all is written, gives the file its size, and has it on disk. Negative errno. */
_must_check_ int stream_end(struct stream *s);

/* Waits until nothing is on its way; what becomes of it does not matter. */
void stream_drop(struct stream *s);
