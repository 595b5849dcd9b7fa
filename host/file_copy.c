/* SPDX-License-Identifier: MIT */

/*
 * Copies of files, from the host's disk to the channel.
 *
 * Fragments are small and a disk may be slow, so the file is read in blocks by a thread, one block
 * ahead of what is being sent: while the fragments of one block go out, the next is read. The event
 * loop never waits for the disk; a fragment whose block is not there yet does.
 *
 * Only regular files: a pipe could hold up the thread for ever. One that becomes shorter meanwhile
 * ends the copy, and one that grows is copied as it was when the copy began.
 */

#include "host/file_copy.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "vmbus/wire.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	BLOCK_BYTES = 171 * FCOPY_FRAGMENT_MAX, /* a whole number of fragments, about 1 MiB */
	N_BLOCKS = 2,
};

/* `wanted` and `asked` are the loop's; the rest is the thread's while a job is under way. */
struct block {
	uint64_t number; /* of what is in it; UINT64_MAX: nothing is */
	uint64_t wanted;
	bool asked;
	int error;
	uint8_t *data;
	struct job job;
	struct file_copy *copy;
};

struct file_copy {
	unsigned int id;
	char *guest, *source, *directory, *name;
	uint32_t flags;
	enum fcopy_host_fault fault;
	uint64_t fault_at;
	int fd;
	uint64_t size_bytes;
	struct jobs *jobs;
	struct event *closer; /* closes all that, once nobody is inside of it */
	struct block blocks[N_BLOCKS];
	void (*on_data)(void *user);
	void *user;
	bool waits;

	const char *state;
	uint64_t done_bytes;
	uint64_t begun_ns, ended_ns;
	bool ended;
	uint32_t status;
	char error[160];
};

static int open_source(struct file_copy *c)
{
	struct stat st;

	c->fd = open(c->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (c->fd < 0 || fstat(c->fd, &st) < 0)
		return negative_errno();
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	c->size_bytes = (uint64_t)st.st_size;
	(void)posix_fadvise(c->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

static bool take_text(const json_t *body, const char *key, char **ret_text)
{
	const char *text = json_string_value(json_object_get(body, key));

	*ret_text = text && *text ? strdup(text) : NULL;
	return *ret_text != NULL;
}

static bool take_body(struct file_copy *c, const json_t *body)
{
	const json_t *fault = json_object_get(body, "fault");
	const json_t *fault_at = json_object_get(body, "fault_at");

	if (!take_text(body, "source", &c->source) || *c->source != '/' ||
	    !take_text(body, "directory", &c->directory) || !take_text(body, "name", &c->name))
		return false;
	if (json_is_true(json_object_get(body, "overwrite")))
		c->flags |= FCOPY_FLAG_OVERWRITE;
	if (json_is_true(json_object_get(body, "create_path")))
		c->flags |= FCOPY_FLAG_CREATE_PATH;
	if (fault)
		c->fault = json_is_string(fault) ? fcopy_host_fault_named(json_string_value(fault))
						 : FCOPY_FAULTS;
	c->fault_at = json_is_integer(fault_at) ? (uint64_t)json_integer_value(fault_at) : 0;
	return c->fault != FCOPY_FAULTS;
}

int file_copy_new(unsigned int id, const char *guest_name, const json_t *body,
		  struct file_copy **ret_copy)
{
	_cleanup_(cleanup_file_copyp) struct file_copy *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->id = id;
	c->fd = -1;
	c->state = "waiting";
	c->guest = strdup(guest_name);
	if (!c->guest)
		return -ENOMEM;
	if (!take_body(c, body))
		return FILE_COPY_MALFORMED;
	r = open_source(c);
	if (r)
		return r;
	*ret_copy = steal_ptr(c);
	return 0;
}

/* What it takes to go on; what is known of it stays. */
static void close_source(struct file_copy *c)
{
	c->jobs = jobs_free(c->jobs);
	if (c->closer)
		event_free(c->closer);
	c->closer = NULL;
	for (size_t i = 0; i < N_BLOCKS; i++) {
		free(c->blocks[i].data);
		c->blocks[i].data = NULL;
	}
	c->fd = close_fd(c->fd);
}

struct file_copy *file_copy_free(struct file_copy *c)
{
	if (!c)
		return NULL;
	close_source(c);
	free(c->guest);
	free(c->source);
	free(c->directory);
	free(c->name);
	free(c);
	return NULL;
}

static size_t block_size(const struct file_copy *c, uint64_t number)
{
	uint64_t left = c->size_bytes - number * BLOCK_BYTES;

	return left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
}

static void read_block(struct worker_job *work)
{
	struct block *b = container_of(container_of(work, struct job, work), struct block, job);
	size_t size = block_size(b->copy, b->wanted), done = 0;

	b->error = 0;
	b->number = UINT64_MAX;
	while (done < size && b->error == 0) {
		ssize_t n = pread(b->copy->fd, b->data + done, size - done,
				  (off_t)(b->wanted * BLOCK_BYTES + done));

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			b->error = -EIO;
		else if (errno != EINTR)
			b->error = negative_errno();
	}
	if (b->error == 0)
		b->number = b->wanted;
}

static void on_block(struct job *job)
{
	struct block *b = container_of(job, struct block, job);
	struct file_copy *c = b->copy;

	b->asked = false;
	if (!c->waits)
		return;
	c->waits = false;
	if (!c->ended)
		c->on_data(c->user);
}

/* Has the block read, unless it is there or on its way. */
static void want_block(struct file_copy *c, uint64_t number)
{
	struct block *b = &c->blocks[number % N_BLOCKS];

	if (number * BLOCK_BYTES >= c->size_bytes || b->asked || b->number == number || b->error)
		return;
	b->wanted = number;
	b->asked = jobs_submit(c->jobs, &b->job) == 0;
}

static void on_closer(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	close_source(user);
}

int file_copy_begin(struct file_copy *c, struct event_base *base, void (*on_data)(void *user),
		    void *user)
{
	int r = jobs_new(base, &c->jobs);

	if (r)
		return r;
	c->closer = event_new(base, -1, 0, on_closer, c);
	if (!c->closer)
		return -ENOMEM;
	for (size_t i = 0; i < N_BLOCKS; i++) {
		struct block *b = &c->blocks[i];

		*b = (struct block){.number = UINT64_MAX, .copy = c, .data = malloc(BLOCK_BYTES)};
		b->job.work.run = read_block;
		b->job.done = on_block;
		if (!b->data)
			return -ENOMEM;
	}
	c->on_data = on_data;
	c->user = user;
	c->begun_ns = clock_monotonic_ns();
	want_block(c, 0);
	return 0;
}

int file_copy_start_host(struct file_copy *c, struct fcopy_host *host, uint64_t now_ns)
{
	return fcopy_host_start(host, c->directory, c->name, c->flags, c->size_bytes, c->fault,
				c->fault_at, now_ns);
}

int file_copy_data(struct file_copy *c, uint64_t offset, uint32_t size, const uint8_t **ret_data)
{
	uint64_t number = offset / BLOCK_BYTES;
	struct block *b = &c->blocks[number % N_BLOCKS];

	if (offset + size > c->size_bytes)
		return -EINVAL;
	want_block(c, number);
	if (b->asked) {
		c->waits = true;
		return FILE_COPY_WAIT;
	}
	if (b->number != number)
		return b->error ? b->error : -ENOMEM;
	want_block(c, number + 1);
	*ret_data = b->data + offset % BLOCK_BYTES;
	return 0;
}

void file_copy_progress(struct file_copy *c, const char *state, uint64_t done_bytes)
{
	c->state = state;
	c->done_bytes = done_bytes;
}

static const char *refusal(uint32_t status)
{
	switch (status) {
	case IC_E_ALREADY_EXISTS:
		return "the guest has a file of this name, and it was not to be replaced (--force)";
	case IC_E_DISK_FULL:
		return "the guest's disk is full";
	default:
		return "the guest refuses it: hvguestctl copies and its log say why";
	}
}

void file_copy_end(struct file_copy *c, enum fcopy_host_result result, uint32_t status,
		   const char *error)
{
	static const char *const states[] = {
		[FCOPY_HOST_DONE] = "done",       [FCOPY_HOST_REFUSED] = "failed",
		[FCOPY_HOST_CANCELLED] = "cancelled", [FCOPY_HOST_LOST] = "failed",
		[FCOPY_HOST_TIMEOUT] = "failed",
	};
	static const char *const errors[] = {
		[FCOPY_HOST_DONE] = "",
		[FCOPY_HOST_REFUSED] = NULL,
		[FCOPY_HOST_CANCELLED] = "cancelled",
		[FCOPY_HOST_LOST] = "the guest, or its channel, was lost",
		[FCOPY_HOST_TIMEOUT] = "the guest does not answer",
	};

	if (!error)
		error = errors[result] ? errors[result] : refusal(status);
	else
		result = FCOPY_HOST_LOST;
	c->state = states[result];
	c->status = status;
	c->ended = true;
	c->ended_ns = clock_monotonic_ns();
	if (result == FCOPY_HOST_DONE)
		c->done_bytes = c->size_bytes;
	snprintf(c->error, sizeof(c->error), "%s", error);
	timer_set(c->closer, c->ended_ns);
}

bool file_copy_has_ended(const struct file_copy *c)
{
	return c->ended;
}

unsigned int file_copy_id(const struct file_copy *c)
{
	return c->id;
}

json_t *file_copy_status(const struct file_copy *c)
{
	uint64_t until_ns = c->ended ? c->ended_ns : clock_monotonic_ns();
	char id[16], status[16];
	json_t *json;

	snprintf(id, sizeof(id), "%u", c->id);
	snprintf(status, sizeof(status), "0x%08x", c->status);
	json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:f}", "id", id, "guest", c->guest,
			 "source", c->source, "directory", c->directory, "name", c->name, "state",
			 c->state, "ended", c->ended, "total_bytes", (json_int_t)c->size_bytes,
			 "done_bytes", (json_int_t)c->done_bytes, "seconds",
			 c->begun_ns ? (double)(until_ns - c->begun_ns) / 1e9 : 0.0);
	if (json && c->ended)
		json_object_set_new(json, "status", json_string(status));
	if (json && c->error[0])
		json_object_set_new(json, "error", json_string(c->error));
	return json;
}
