/* SPDX-License-Identifier: MIT */

/*
 * Streams into files.
 *
 * A large file is written past the page cache, by libaio: its data is not read again soon, so
 * caching it would only push out what is. A disk has a cache of its own, though, and is told again
 * and again to empty it, while the next pieces come: so when the last one is written there is little
 * left for the final fsync(). All blocks are allocated at the beginning, so that a disk that is too
 * full says so before anything is sent, and what is written then does not have to find room. The last
 * piece is filled up to the alignment, and the file is cut to its size.
 *
 * A file that fits into one piece, or is on a file system without O_DIRECT, goes through the page
 * cache. libaio would write that synchronously anyway, so it is not asked.
 *
 * What fails is remembered: the pieces behind it are not begun any more, and each call says it.
 * With base/copy.c this is all that knows libaio.
 */

#include "base/stream.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
	ALIGN = 4096,
	/* What the disk may have in its cache at the end, when somebody waits. Each flush is a commit. */
	FLUSH_BYTES = 32 * STREAM_PIECE_BYTES,
	REQUESTS_MAX = STREAM_IN_FLIGHT_MAX + 1, /* and a flush */
};

struct stream {
	io_context_t aio; /* made for the first file that needs it: to destroy one takes long */
	int fd;
	uint64_t size;
	bool direct;
	unsigned int n_busy;
	uint64_t n_written; /* bytes, since the last flush began */
	struct iocb flush;
	bool flushing;
	int error;
};

int stream_new(struct stream **ret_stream)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->fd = -1;
	*ret_stream = s;
	return 0;
}

struct stream *stream_free(struct stream *s)
{
	if (!s)
		return NULL;
	if (s->aio)
		io_destroy(s->aio);
	free(s);
	return NULL;
}

/* Tries to; a file system that cannot is no failure. */
static void set_direct(struct stream *s)
{
	int flags;

	if (!s->aio && io_setup(REQUESTS_MAX, &s->aio) < 0) {
		s->aio = NULL;
		return;
	}
	flags = fcntl(s->fd, F_GETFL);
	s->direct = flags >= 0 && fcntl(s->fd, F_SETFL, flags | O_DIRECT) == 0;
}

int stream_begin(struct stream *s, int fd, uint64_t size)
{
	assert(s->n_busy == 0);
	s->fd = fd;
	s->size = size;
	s->direct = false;
	s->error = 0;
	s->n_written = 0;
	if (size > INT64_MAX - ALIGN)
		return -EFBIG;
	if (size > 0 && fallocate(fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP)
		return negative_errno();
	if (size > STREAM_PIECE_BYTES)
		set_direct(s);
	return 0;
}

static void piece_ended(struct stream *s, struct stream_piece *piece)
{
	s->n_busy--;
	atomic_store_explicit(&piece->done, true, memory_order_release);
}

static int submit(struct stream *s, struct stream_piece *piece)
{
	struct iocb *iocb = &piece->iocb;
	int r;

	io_prep_pwrite(iocb, s->fd, piece->buf + piece->written, piece->padded - piece->written,
		       (long long)(piece->offset + piece->written));
	iocb->data = piece;
	r = io_submit(s->aio, 1, &iocb);
	return r < 0 ? r : 0;
}

/* @result is a count of bytes or a negative errno. */
static void piece_returned(struct stream *s, struct stream_piece *piece, long result)
{
	int r = result < 0 ? (int)result : 0;

	if (result == 0)
		r = -EIO;
	if (result > 0)
		piece->written += (size_t)result;
	if (r == 0 && piece->written < piece->padded && s->error == 0) {
		/* With O_DIRECT what is left has to be aligned as well. */
		piece->written &= ~(size_t)(ALIGN - 1);
		r = submit(s, piece);
		if (r == 0)
			return;
	}
	if (r && s->error == 0)
		s->error = r;
	piece_ended(s, piece);
}

static void flush_returned(struct stream *s, long result)
{
	s->flushing = false;
	/* The final fsync() would not say it again. */
	if (result < 0 && s->error == 0)
		s->error = (int)result;
}

/* One at a time; a kernel that has none is told at the end only. */
static void begin_flush(struct stream *s)
{
	struct iocb *iocb = &s->flush;

	if (s->flushing || s->n_written < FLUSH_BYTES)
		return;
	s->n_written = 0;
	io_prep_fdsync(iocb, s->fd);
	iocb->data = NULL;
	s->flushing = io_submit(s->aio, 1, &iocb) == 1;
}

/* Until @n_busy pieces are on their way, or nothing at all. */
static void wait_until(struct stream *s, unsigned int n_busy)
{
	struct io_event events[REQUESTS_MAX];
	int n;

	while (s->n_busy > n_busy || (n_busy == 0 && s->flushing)) {
		n = io_getevents(s->aio, 1, REQUESTS_MAX, events, NULL);
		if (n < 0 && n != -EINTR)
			abort(); /* not without a wrong argument; and buffers cannot be given back */
		for (int i = 0; i < n; i++)
			if (events[i].data)
				piece_returned(s, events[i].data, (long)events[i].res);
			else
				flush_returned(s, (long)events[i].res);
	}
}

static int write_buffered(struct stream *s, struct stream_piece *piece)
{
	while (piece->written < piece->len) {
		ssize_t n = pwrite(s->fd, piece->buf + piece->written, piece->len - piece->written,
				   (off_t)(piece->offset + piece->written));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? negative_errno() : -EIO;
		piece->written += (size_t)n;
	}
	return 0;
}

int stream_put(struct stream *s, struct stream_piece *piece)
{
	assert(piece->len <= STREAM_PIECE_BYTES);
	piece->written = 0;
	piece->padded = (piece->len + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	s->n_busy++;
	if (s->error == 0 && s->direct) {
		memset(piece->buf + piece->len, 0, piece->padded - piece->len);
		s->error = submit(s, piece);
		if (s->error == 0) {
			wait_until(s, STREAM_IN_FLIGHT_MAX / 2);
			s->n_written += piece->len;
			begin_flush(s);
			return s->error;
		}
	} else if (s->error == 0) {
		s->error = write_buffered(s, piece);
	}
	piece_ended(s, piece);
	return s->error;
}

int stream_end(struct stream *s)
{
	wait_until(s, 0);
	if (s->error)
		return s->error;
	if (ftruncate(s->fd, (off_t)s->size) < 0 || fsync(s->fd) < 0)
		return negative_errno();
	s->fd = -1;
	return 0;
}

void stream_drop(struct stream *s)
{
	wait_until(s, 0);
	s->fd = -1;
}
