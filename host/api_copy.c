/* SPDX-License-Identifier: MIT */

/*
 * Copies of files into guests.
 *
 * A copy is started by one request, answered with its number, and asked after by that number;
 * another request has the guest forget it. The last ones are kept for whoever asks what became of
 * them.
 */

#include "host/api.h"

#include <stdio.h>
#include <string.h>

static bool make_room(struct host *h)
{
	if (h->n_file_copies < FILE_COPIES_MAX)
		return true;
	for (size_t i = 0; i < h->n_file_copies; i++) {
		if (!file_copy_has_ended(h->file_copies[i]))
			continue;
		(void)file_copy_free(h->file_copies[i]);
		h->n_file_copies--;
		memmove(&h->file_copies[i], &h->file_copies[i + 1],
			(h->n_file_copies - i) * sizeof(h->file_copies[0]));
		return true;
	}
	return false;
}

static void start_copy(struct host *h, struct guest *g, struct httpd_request *request,
		       struct file_copy *take_copy)
{
	switch (guest_fcopy_start(guest_fcopy_of(g), take_copy)) {
	case 0:
		h->file_copies[h->n_file_copies++] = take_copy;
		api_reply(request, 202, file_copy_status(take_copy));
		return;
	case GUEST_FCOPY_NOT_READY:
		httpd_reply_error(request, 409, "the guest takes no files",
				  "set fcopy_roots in its configuration; hvguestctl status shows it");
		break;
	case GUEST_FCOPY_RUNNING:
		httpd_reply_error(request, 409, "a file is being copied to this guest",
				  "wait for its end, or cancel it");
		break;
	case GUEST_FCOPY_BAD_NAME:
		httpd_reply_error(request, 400,
				  "the file's name and its folder's path have to be text of 259 UTF-16 units at most",
				  NULL);
		break;
	default:
		httpd_reply_error(request, 500, "no memory for a copy", NULL);
	}
	(void)file_copy_free(take_copy);
}

static void post_copy(struct httpd_request *request, void *user)
{
	struct host *h = user;
	struct guest *g = api_guest_awake(h, request);
	struct file_copy *copy;
	char message[160];
	int r;

	if (!g)
		return;
	if (!make_room(h)) {
		httpd_reply_error(request, 409, "too many copies are under way", "wait for one");
		return;
	}
	r = file_copy_new(++h->last_file_copy_id, guest_name(g), httpd_request_body(request), &copy);
	if (r == FILE_COPY_MALFORMED) {
		httpd_reply_error(request, 400,
				  "'source' must be an absolute path here, 'directory' and 'name' say where "
				  "it goes in the guest; host/fcopy_host.c lists the faults",
				  NULL);
	} else if (r) {
		snprintf(message, sizeof(message), "the source cannot be read: %s",
			 r == -EINVAL ? "it is no regular file" : strerror(-r));
		httpd_reply_error(request, 409, message, NULL);
	} else {
		start_copy(h, g, request, copy);
	}
}

/* NULL, and the request is answered, if there is none. */
static struct file_copy *find_copy(struct host *h, struct httpd_request *request)
{
	unsigned long id = strtoul(httpd_request_param(request, "id"), NULL, 10);

	for (size_t i = 0; i < h->n_file_copies; i++)
		if (file_copy_id(h->file_copies[i]) == id)
			return h->file_copies[i];
	httpd_reply_error(request, 404, "there is no such copy (any more)", NULL);
	return NULL;
}

static void get_copy(struct httpd_request *request, void *user)
{
	struct file_copy *copy = find_copy(user, request);

	if (copy)
		api_reply(request, 200, file_copy_status(copy));
}

/* Its status is that of the moment; that it has ended is seen by asking again. */
static void post_cancel(struct httpd_request *request, void *user)
{
	struct host *h = user;
	struct file_copy *copy = find_copy(h, request);
	struct seat *seat;
	size_t at = 0;

	if (!copy)
		return;
	while ((seat = host_next_seat(h, &at)))
		guest_fcopy_cancel(guest_fcopy_of(seat->guest), copy);
	api_reply(request, 202, file_copy_status(copy));
}

const struct api_route api_copy_routes[] = {
	{"POST", "/v1/guests/{name}/copy", post_copy},
	{"GET", "/v1/copies/{id}", get_copy},
	{"POST", "/v1/copies/{id}/cancel", post_cancel},
	{0},
};
