/* SPDX-License-Identifier: MIT */

/*
 * Copying an image: a file, or a disk.
 *
 * The best copy moves no data: FICLONE makes the target share the source's blocks at one moment.
 * Any refusal of it leads to a real copy, also one for a reason such as a full disk, because the
 * real copy will then meet the reason itself and name it.
 *
 * The real copy keeps DEPTH pieces of CHUNK bytes moving with libaio. Each piece has a slot that
 * is first a read and then a write of the same range, so pieces finish in any order and none waits
 * for another. Only what SEEK_DATA finds is moved. With O_DIRECT all offsets and lengths are
 * multiples of ALIGN; the last piece may reach past the end of the file, is filled up with zeros,
 * and the file is cut to its size afterwards. Without O_DIRECT the same pieces go through the page
 * cache, which makes libaio wait in io_submit() and is slower but not different.
 *
 * A disk does not tell holes. Of it a piece that has nothing but zeros becomes a hole of the
 * target.
 *
 * A copy that has an earlier one to begin with reads only what has changed since. Then the parts
 * that are moved are listed, and SEEK_DATA is not asked: a hole in the source may be where data
 * was.
 *
 * The target grows under a temporary name in its own folder and is renamed when it is on disk. So
 * whoever finds a file with the target's name has a whole one, whenever the power failed. The
 * rename itself refuses to replace a file that has appeared since the first look.
 *
 * With base/stream.c this is all that knows libaio.
 */

#include "base/amount.h"
#include "base/copy.h"
#include "base/cleanup.h"

#include <assert.h>
#include <fcntl.h>
#include <libaio.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum {
	DEPTH = 8,
	CHUNK = 1024 * 1024, /* bytes */
	ALIGN = 4096,        /* bytes; no disk asks for more */
};

/* A piece as it was written. */
struct copy_sum {
	uint64_t offset;
	uint64_t len;
	uint64_t sum; /* XXH3, 64 bits */
};

/* A range on its way: read first, then written. `done` counts bytes of the present direction. */
struct slot {
	struct iocb iocb;
	uint8_t *buf; /* CHUNK bytes, aligned */
	uint64_t offset;
	size_t len;
	size_t done;
	bool writing;
	bool busy;
};

struct engine {
	io_context_t aio;
	int source_fd;
	int target_fd;
	uint64_t size;     /* bytes of the file */
	uint64_t position; /* where the next piece begins */
	uint64_t data_end; /* where the data around it ends, aligned */
	uint64_t data_bytes;
	bool skip_zeros;   /* the source does not tell its holes, and the target is empty */
	bool only_changed; /* only these parts are moved */
	const struct extent *changed;
	size_t n_changed;
	size_t next_changed;
	struct copy_sums *sums; /* NULL: none are made */
	unsigned int n_busy;
	uint8_t *memory;
	struct slot slots[DEPTH];
};

static uint64_t align_down(uint64_t n)
{
	return n & ~(uint64_t)(ALIGN - 1);
}

static uint64_t align_up(uint64_t n)
{
	return align_down(n + ALIGN - 1);
}

/* Also waits for what is still on its way, as io_destroy() does: the memory must outlive it. */
static void engine_fini(struct engine *e)
{
	if (e->aio)
		io_destroy(e->aio);
	free(e->memory);
}

static int engine_init(struct engine *e, int source_fd, int target_fd, uint64_t size)
{
	int r;

	*e = (struct engine){.source_fd = source_fd, .target_fd = target_fd, .size = size};
	e->memory = aligned_alloc(ALIGN, (size_t)DEPTH * CHUNK);
	if (!e->memory)
		return -ENOMEM;
	for (size_t i = 0; i < DEPTH; i++)
		e->slots[i].buf = e->memory + i * CHUNK;

	r = io_setup(DEPTH, &e->aio);
	return r < 0 ? r : 0;
}

/* As find_data(), among the parts that have changed. Two of them can meet in one aligned piece. */
static void find_changed(struct engine *e)
{
	while (e->next_changed < e->n_changed) {
		const struct extent *c = &e->changed[e->next_changed++];
		uint64_t end = min_u64(align_up(c->offset + c->len), align_up(e->size));

		if (end <= e->position)
			continue;
		if (align_down(c->offset) > e->position)
			e->position = align_down(c->offset);
		e->data_end = end;
		return;
	}
	e->position = e->size;
}

/* Moves `position` to the next data, and `data_end` behind it; to the end if there is no more. */
static int find_data(struct engine *e)
{
	off_t start, end;

	if (e->only_changed) {
		find_changed(e);
		return 0;
	}
	start = lseek(e->source_fd, (off_t)e->position, SEEK_DATA);
	if (start < 0 && errno == ENXIO) {
		e->position = e->size;
		return 0;
	}
	if (start < 0 && errno == EINVAL) {
		/* A file system that does not tell holes: all is data. */
		e->data_end = align_up(e->size);
		return 0;
	}
	if (start < 0)
		return negative_errno();
	end = lseek(e->source_fd, start, SEEK_HOLE);
	if (end < 0)
		return negative_errno();

	/* Rounding down must not go back into a piece that was handed out already. */
	if (align_down((uint64_t)start) > e->position)
		e->position = align_down((uint64_t)start);
	e->data_end = min_u64(align_up((uint64_t)end), align_up(e->size));
	return 0;
}

static int submit(struct engine *e, struct slot *s)
{
	struct iocb *iocb = &s->iocb;
	long long at = (long long)(s->offset + s->done);
	int r;

	if (s->writing)
		io_prep_pwrite(iocb, e->target_fd, s->buf + s->done, s->len - s->done, at);
	else
		io_prep_pread(iocb, e->source_fd, s->buf + s->done, s->len - s->done, at);
	iocb->data = s;

	r = io_submit(e->aio, 1, &iocb);
	if (r < 0)
		return r;
	assert(r == 1);
	return 0;
}

/* Starts the next piece in @s, if there is one. */
static int start_piece(struct engine *e, struct slot *s)
{
	int r;

	if (e->position < e->size && e->position >= e->data_end) {
		r = find_data(e);
		if (r < 0)
			return r;
	}
	if (e->position >= e->size)
		return 0;

	s->offset = e->position;
	s->len = min_u64(CHUNK, e->data_end - e->position);
	s->done = 0;
	s->writing = false;
	e->position += s->len;
	r = submit(e, s);
	if (r < 0)
		return r;
	s->busy = true;
	e->n_busy++;
	return 0;
}

static int add_sum(struct copy_sums *sums, const struct slot *s, size_t len)
{
	if (sums->n == sums->capacity) {
		size_t capacity = 2 * sums->capacity + 64;
		struct copy_sum *more = reallocarray(sums->sums, capacity, sizeof(*more));

		if (!more)
			return -ENOMEM;
		sums->sums = more;
		sums->capacity = capacity;
	}
	sums->sums[sums->n++] = (struct copy_sum){
		.offset = s->offset,
		.len = len,
		.sum = XXH3_64bits(s->buf, len),
	};
	return 0;
}

static void end_piece(struct engine *e, struct slot *s)
{
	s->busy = false;
	e->n_busy--;
}

static bool is_zero(const uint8_t *buf, size_t len)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, len - 1) == 0;
}

static int read_done(struct engine *e, struct slot *s)
{
	size_t expected = min_u64(s->len, e->size - s->offset);
	int r;

	if (s->done < expected)
		return submit(e, s);
	r = e->sums ? add_sum(e->sums, s, expected) : 0;
	if (r)
		return r;
	if (e->skip_zeros && is_zero(s->buf, expected)) {
		end_piece(e, s);
		return 0;
	}
	/* Zeros up to the alignment, and in place of what was appended since we looked. */
	memset(s->buf + expected, 0, s->len - expected);
	e->data_bytes += expected;
	s->writing = true;
	s->done = 0;
	return submit(e, s);
}

static int write_done(struct engine *e, struct slot *s)
{
	if (s->done < s->len)
		return submit(e, s);
	end_piece(e, s);
	return 0;
}

/* @result is a count of bytes or a negative errno. Nothing at all is the end of a shorter file. */
static int piece_done(struct engine *e, struct slot *s, long result)
{
	if (result < 0)
		return (int)result;
	if (result == 0)
		return -EIO;
	s->done += (size_t)result;
	return s->writing ? write_done(e, s) : read_done(e, s);
}

static int wait_for_pieces(struct engine *e)
{
	struct io_event events[DEPTH];
	int n, r;

	do
		n = io_getevents(e->aio, 1, DEPTH, events, NULL);
	while (n == -EINTR);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		r = piece_done(e, events[i].data, (long)events[i].res);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool keep_going(const struct copy_options *options, uint64_t done, uint64_t total)
{
	return !options->keep_going || options->keep_going(options->user, done, total);
}

static int engine_run(struct engine *e, const struct copy_options *options)
{
	int r;

	do {
		for (size_t i = 0; i < DEPTH; i++) {
			r = e->slots[i].busy ? 0 : start_piece(e, &e->slots[i]);
			if (r < 0)
				return r;
		}
		if (!keep_going(options, min_u64(e->position, e->size), e->size))
			return COPY_CANCELLED;
		r = e->n_busy > 0 ? wait_for_pieces(e) : 0;
		if (r < 0)
			return r;
	} while (e->n_busy > 0 || e->position < e->size);
	return 0;
}

/* What is copied. */
struct source {
	uint64_t size; /* bytes */
	mode_t mode;
	bool is_disk;
};

static int look_at(int fd, struct source *ret_source)
{
	struct source source = {0};
	struct stat st;

	if (fstat(fd, &st) < 0)
		return negative_errno();
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return COPY_NOT_A_FILE;
	source.size = (uint64_t)st.st_size;
	source.mode = st.st_mode & 0777;
	source.is_disk = S_ISBLK(st.st_mode);
	if (source.is_disk && ioctl(fd, BLKGETSIZE64, &source.size) < 0)
		return negative_errno();
	*ret_source = source;
	return 0;
}

/* Both files or none: true if from now on they bypass the page cache. */
static bool set_direct(int source_fd, int target_fd)
{
	int source_flags = fcntl(source_fd, F_GETFL), target_flags = fcntl(target_fd, F_GETFL);

	if (source_flags < 0 || target_flags < 0 ||
	    fcntl(source_fd, F_SETFL, source_flags | O_DIRECT) < 0)
		return false;
	if (fcntl(target_fd, F_SETFL, target_flags | O_DIRECT) == 0)
		return true;
	fcntl(source_fd, F_SETFL, source_flags);
	return false;
}

static int copy_data(int source_fd, int target_fd, uint64_t size,
		     const struct copy_options *options, struct copy_result *ret_result)
{
	bool direct = set_direct(source_fd, target_fd);
	_cleanup_(engine_fini) struct engine e;
	struct source now;
	int r;

	r = look_at(source_fd, &now);
	if (r)
		return r;
	r = engine_init(&e, source_fd, target_fd, size);
	if (r < 0)
		return r;
	e.only_changed = options->base != NULL;
	e.skip_zeros = now.is_disk && !options->base;
	e.changed = options->changed;
	e.n_changed = options->n_changed;
	e.sums = options->sums;
	r = engine_run(&e, options);
	if (r)
		return r;
	/* What was cut off while we read looks like a hole. */
	r = look_at(source_fd, &now);
	if (r || now.size < size)
		return r ? r : -EIO;
	/* Gives a hole at the end its length, or takes the alignment off. */
	if (ftruncate(target_fd, (off_t)size) < 0)
		return negative_errno();

	*ret_result = (struct copy_result){.method = direct ? COPY_DIRECT : COPY_BUFFERED,
					   .size_bytes = size,
					   .data_bytes = e.data_bytes};
	return 0;
}

/* Of an earlier copy, which may be longer or shorter than the target becomes. */
static int copy_base(const char *base, int target_fd, const struct copy_options *options)
{
	_cleanup_close_ int fd = open(base, O_RDONLY | O_CLOEXEC);
	const struct copy_options whole = {0};
	struct copy_result result;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return negative_errno();
	if (!options->no_reflink && ioctl(target_fd, FICLONE, fd) == 0)
		return 0;
	return copy_data(fd, target_fd, (uint64_t)st.st_size, &whole, &result);
}

static int copy_changes(int source_fd, int target_fd, uint64_t size,
			const struct copy_options *options, struct copy_result *ret_result)
{
	int r = copy_base(options->base, target_fd, options);

	return r ? r : copy_data(source_fd, target_fd, size, options, ret_result);
}

static int copy_contents(int source_fd, int target_fd, uint64_t size,
			 const struct copy_options *options, struct copy_result *ret_result)
{
	if (!options->no_reflink && ioctl(target_fd, FICLONE, source_fd) == 0) {
		*ret_result = (struct copy_result){.method = COPY_REFLINK, .size_bytes = size};
		return keep_going(options, size, size) ? 0 : COPY_CANCELLED;
	}
	if (options->only_reflink)
		return COPY_NOT_SHARED;
	if (options->base)
		return copy_changes(source_fd, target_fd, size, options, ret_result);
	return copy_data(source_fd, target_fd, size, options, ret_result);
}

/* A file that is still under its temporary name, and the folder it is in. */
struct partial {
	int fd;
	int folder_fd;
	char *path; /* NULL once there is nothing to remove */
};

static void partial_fini(struct partial *p)
{
	if (p->path)
		unlink(p->path);
	free(p->path);
	close_fd(p->fd);
	close_fd(p->folder_fd);
}

static int partial_open(struct partial *p, const char *target)
{
	_cleanup_free_ char *for_dirname = strdup(target), *for_basename = strdup(target);
	_cleanup_free_ char *path = NULL;
	const char *folder;

	if (!for_dirname || !for_basename)
		return -ENOMEM;
	folder = dirname(for_dirname);
	p->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->folder_fd < 0)
		return negative_errno();
	if (asprintf(&path, "%s/.%s.XXXXXX", folder, basename(for_basename)) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	p->fd = mkostemp(path, O_CLOEXEC);
	if (p->fd < 0)
		return negative_errno();
	p->path = steal_ptr(path);
	return 0;
}

/* Gives the complete file its name, for good. */
static int partial_publish(struct partial *p, const char *target, bool replace)
{
	if (fsync(p->fd) < 0)
		return negative_errno();
	if (renameat2(AT_FDCWD, p->path, AT_FDCWD, target, replace ? 0 : RENAME_NOREPLACE) < 0)
		return errno == EEXIST ? COPY_EXISTS : negative_errno();
	free(steal_ptr(p->path));
	return fsync(p->folder_fd) < 0 ? negative_errno() : 0;
}

int copy_file(const char *source, const char *target, const struct copy_options *options,
	      struct copy_result *ret_result)
{
	_cleanup_(partial_fini) struct partial partial = {.fd = -1, .folder_fd = -1};
	_cleanup_close_ int source_fd = -1;
	struct copy_result result;
	struct source found;
	int r;

	/* O_NONBLOCK: a pipe must be refused and not waited for. */
	source_fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (source_fd < 0)
		return negative_errno();
	r = look_at(source_fd, &found);
	if (r)
		return r;
	if (!options->replace && faccessat(AT_FDCWD, target, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return COPY_EXISTS;

	r = partial_open(&partial, target);
	if (r < 0)
		return r;
	if (fchmod(partial.fd, found.mode) < 0)
		return negative_errno();
	r = copy_contents(source_fd, partial.fd, found.size, options, &result);
	if (r)
		return r;
	r = partial_publish(&partial, target, options->replace);
	if (r)
		return r;

	*ret_result = result;
	return 0;
}

int copy_size(const char *source, uint64_t *ret_bytes)
{
	_cleanup_close_ int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct source found;
	int r = fd < 0 ? negative_errno() : look_at(fd, &found);

	if (r == 0)
		*ret_bytes = found.size;
	return r;
}

void copy_sums_fini(struct copy_sums *sums)
{
	free(sums->sums);
	*sums = (struct copy_sums){0};
}

/* Reads @len bytes, which O_DIRECT wants to be a multiple of ALIGN, up to the end of the file. */
static int read_piece(int fd, uint8_t *buf, uint64_t offset, size_t len)
{
	size_t done = 0, aligned = align_up(len);

	while (done < len) {
		ssize_t n = pread(fd, buf + done, aligned - done, (off_t)(offset + done));

		if (n < 0 && errno != EINTR)
			return negative_errno();
		if (n == 0)
			return COPY_DIFFERS;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int copy_verify(const char *path, const struct copy_sums *sums, const struct copy_options *options)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	_cleanup_free_ uint8_t *buf = aligned_alloc(ALIGN, CHUNK);
	uint64_t done = 0, total = 0;
	int r;

	if (fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return negative_errno();
	if (!buf)
		return -ENOMEM;
	for (size_t i = 0; i < sums->n; i++)
		total += sums->sums[i].len;
	for (size_t i = 0; i < sums->n; i++) {
		const struct copy_sum *sum = &sums->sums[i];

		r = read_piece(fd, buf, sum->offset, sum->len);
		if (r)
			return r;
		if (XXH3_64bits(buf, sum->len) != sum->sum)
			return COPY_DIFFERS;
		done += sum->len;
		if (!keep_going(options, done, total))
			return COPY_CANCELLED;
	}
	return 0;
}

const char *copy_method_name(enum copy_method method)
{
	switch (method) {
	case COPY_REFLINK:
		return "reflink";
	case COPY_DIRECT:
		return "direct";
	case COPY_BUFFERED:
		return "buffered";
	}
	assert(false);
	return "";
}
