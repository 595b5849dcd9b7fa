/* SPDX-License-Identifier: MIT */

/*
 * The other side, misbehaving: `rogue host SOCKET` for a real hvguestd, `rogue guest SOCKET` for a
 * real hvhost serve. `rogue silent SOCKET` is a host that offers every channel, opens it, and never
 * says a word on it; `rogue refusing SOCKET` is one that refuses every version of dynamic memory, and
 * takes that channel away at SIGUSR1.
 *
 * It speaks the lab transport well enough to be let in, opens or offers channels, and answers a
 * handshake often enough to get behind it. In between it does whatever its random numbers say:
 * garbage, wrong lengths, requests and answers out of place, indices and data scribbled into the
 * rings, floods, descriptors that are none, closing in the middle. The seed decides all but the
 * moment at which the other side does its part, and is printed.
 *
 * It ends after SECONDS, and each session after a number of steps. A rogue host never asks for more
 * than a few MiB at a time, however its message was garbled: guests give real memory.
 */

#include "tests/system/rogue.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/unixsock.h"
#include "vmbus/guid.h"
#include "vmbus/shm_wire.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum {
	STEPS = 3000, /* per session */
	WELCOME_MS = 1000,
};

static const struct vmbus_guid *const classes[] = {
	&vmbus_class_heartbeat,
	&vmbus_class_vss,
	&vmbus_class_dynmem,
};

static void close_channel(struct rogue_channel *ch)
{
	if (ch->open)
		vmbus_port_fini(&ch->port);
	ch->open = false;
}

static struct rogue_channel *find_channel(struct rogue *r, uint32_t id)
{
	for (size_t i = 0; i < ROGUE_CHANNELS; i++)
		if (r->channels[i].id == id && id != 0)
			return &r->channels[i];
	return NULL;
}

/* A channel in some state; NULL if the dice say so. */
static struct rogue_channel *any_channel(struct rogue *r)
{
	struct rogue_channel *ch = &r->channels[below(r, ROGUE_CHANNELS)];

	return ch->id != 0 ? ch : NULL;
}

static void send_control(struct rogue *r, const struct shm_message *m, const int *fds, size_t n)
{
	uint8_t wire[SHM_MESSAGE_SIZE];

	shm_encode(m, wire);
	r->controls++;
	(void)!fdpass_send(r->fd, wire, sizeof(wire), fds, n);
}

/* A datagram that nothing expects: of any size, or well-formed, or with descriptors. */
static void send_surprise(struct rogue *r)
{
	struct shm_message m = {
		.type = (uint32_t)below(r, SHM_RELEASE + 2),
		.channel_id = (uint32_t)below(r, ROGUE_CHANNELS + 2),
		.version = (uint32_t)below(r, 3),
		.status = (uint32_t)below(r, SHM_N_STATUSES + 1),
		.ring_size = chance(r, 2) ? ROGUE_RING_SIZE : (uint32_t)next_random(r),
		.memory_pages = next_random(r),
		.class_id = *classes[below(r, 3)],
	};
	int fds[8];

	r->controls++;
	if (chance(r, 6)) {
		fill(r, r->message, 300);
		(void)!fdpass_send(r->fd, r->message, 1 + below(r, 300), NULL, 0);
		return;
	}
	fill(r, m.name, sizeof(m.name));
	for (int i = 0; i < 8; i++)
		fds[i] = r->fd;
	send_control(r, &m, fds, chance(r, 3) ? below(r, 8) : 0);
}

/* Memory and doorbells of which something is wrong. */
static void send_bad_opened(struct rogue *r, const struct shm_message *opened)
{
	size_t size = 2 * ROGUE_RING_SIZE;
	unsigned int what = below(r, 6);
	int fds[3], ends[2] = {-1, -1};

	fds[0] = memfd_create("rogue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	(void)!ftruncate(fds[0], what == 0 ? size / 2 : size);
	if (what != 1)
		(void)fcntl(fds[0], F_ADD_SEALS,
			    F_SEAL_SHRINK | F_SEAL_GROW | (what == 2 ? F_SEAL_WRITE : 0));
	fds[1] = eventfd(0, EFD_CLOEXEC);
	fds[2] = eventfd(0, EFD_CLOEXEC);
	if (what == 3 && pipe2(ends, O_CLOEXEC) == 0) {
		close_fd(fds[1]);
		fds[1] = ends[0]; /* readable for ever, once the other end is closed */
		close_fd(ends[1]);
	}
	if (what == 4) {
		close_fd(fds[1]);
		fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
	}
	send_control(r, opened, fds, what == 5 ? 2 : 3);
	for (int i = 0; i < 3; i++)
		close_fd(fds[i]);
}

static bool grant_channel(struct rogue *r, struct rogue_channel *ch, const struct shm_message *opened)
{
	int fds[3];

	close_channel(ch);
	if (vmbus_port_create(ROGUE_RING_SIZE, &ch->port, fds))
		return false;
	send_control(r, opened, fds, 3);
	if (!r->is_silent && chance(r, 16))
		send_control(r, opened, fds, 3);
	for (int i = 0; i < 3; i++)
		close_fd(fds[i]);
	return true;
}

static void answer_open(struct rogue *r, const struct shm_message *m)
{
	struct rogue_channel *ch = find_channel(r, m->channel_id);
	struct shm_message opened = {
		.type = SHM_OPENED,
		.channel_id = m->channel_id,
		.ring_size = m->ring_size,
	};

	if (r->is_silent && ch) {
		ch->open = grant_channel(r, ch, &opened);
		return;
	}
	if (!ch || chance(r, 16))
		opened.status = (uint32_t)below(r, SHM_N_STATUSES + 2);
	if (!ch || opened.status != SHM_OK) {
		send_control(r, &opened, NULL, 0);
		return;
	}
	if (chance(r, 32)) {
		send_bad_opened(r, &opened);
		return;
	}
	if (!grant_channel(r, ch, &opened))
		return;
	rogue_begin_channel(r, ch);
}

/* Offers a class, mostly under a number that is free. */
static void send_offer(struct rogue *r, size_t class)
{
	struct rogue_channel *ch = &r->channels[below(r, ROGUE_CHANNELS)];
	struct shm_message m = {.type = SHM_OFFER, .class_id = *classes[class]};

	if (chance(r, 16))
		fill(r, &m.class_id, sizeof(m.class_id));
	if (ch->id == 0) {
		ch->id = ch - r->channels + 1;
		ch->class_id = classes[class];
	}
	m.channel_id = ch->id;
	send_control(r, &m, NULL, 0);
}

static void rescind_some(struct rogue *r)
{
	struct rogue_channel *ch = any_channel(r);
	struct shm_message m = {.type = SHM_RESCIND, .channel_id = (uint32_t)below(r, 20)};

	if (ch) {
		m.channel_id = ch->id;
		close_channel(ch);
		ch->id = 0;
	}
	send_control(r, &m, NULL, 0);
}

/* Refuses a channel that may be open already. */
static void refuse_late(struct rogue *r)
{
	const struct rogue_channel *ch = any_channel(r);
	const struct shm_message m = {
		.type = SHM_OPENED,
		.channel_id = ch ? ch->id : 0,
		.status = SHM_NO_MEMORY,
	};

	if (ch)
		send_control(r, &m, NULL, 0);
}

static void host_control(struct rogue *r)
{
	if (chance(r, 100)) {
		send_surprise(r);
		return;
	}
	switch (below(r, 6)) {
	case 0:
		refuse_late(r);
		break;
	case 1:
		rescind_some(r);
		break;
	default:
		send_offer(r, below(r, 3));
	}
}

static void host_hears(struct rogue *r, const struct shm_message *m)
{
	struct rogue_channel *ch = find_channel(r, m->channel_id);

	if (m->type == SHM_OPEN && (r->is_silent || !chance(r, 24)))
		answer_open(r, m);
	if (m->type == SHM_CLOSE && ch)
		close_channel(ch);
}

static void send_open(struct rogue *r, const struct rogue_channel *ch)
{
	const struct shm_message m = {
		.type = SHM_OPEN,
		.channel_id = ch ? ch->id : (uint32_t)below(r, 20),
		.ring_size = chance(r, 8) ? (uint32_t)next_random(r) : ROGUE_RING_SIZE,
	};

	send_control(r, &m, NULL, 0);
}

static void guest_control(struct rogue *r)
{
	struct rogue_channel *ch = any_channel(r);
	struct shm_message m = {.type = SHM_CLOSE, .channel_id = ch ? ch->id : 3};

	if (chance(r, 100)) {
		send_surprise(r);
		return;
	}
	switch (below(r, 8)) {
	case 1:
		send_control(r, &m, NULL, 0);
		if (ch)
			close_channel(ch);
		break;
	case 2:
		m.type = SHM_RELEASE;
		send_control(r, &m, NULL, 0);
		break;
	default:
		if (!ch || !ch->open || chance(r, 8))
			send_open(r, ch);
	}
}

static void guest_opened(struct rogue *r, const struct shm_message *m, int fds[3], size_t n_fds)
{
	struct rogue_channel *ch = find_channel(r, m->channel_id);

	if (!ch || n_fds != 3)
		return;
	close_channel(ch);
	if (vmbus_port_adopt(m->ring_size, fds, &ch->port) == 0)
		rogue_begin_channel(r, ch);
}

static void guest_hears(struct rogue *r, const struct shm_message *m, int fds[3], size_t n_fds)
{
	struct rogue_channel *ch = &r->channels[m->channel_id % ROGUE_CHANNELS];
	const struct shm_message release = {.type = SHM_RELEASE, .channel_id = m->channel_id};

	if (m->type == SHM_OFFER) {
		close_channel(ch);
		ch->id = m->channel_id;
		for (size_t i = 0; i < 3; i++)
			if (vmbus_guid_equal(classes[i], &m->class_id))
				ch->class_id = classes[i];
		send_open(r, ch);
	}
	if (m->type == SHM_OPENED)
		guest_opened(r, m, fds, n_fds);
	if (m->type == SHM_RESCIND && !chance(r, 3)) {
		close_channel(ch);
		ch->id = 0;
		send_control(r, &release, NULL, 0);
	}
}

/* Hears what has come. False if the other side has had enough. */
static bool hear(struct rogue *r, int timeout_ms)
{
	struct pollfd p = {.fd = r->fd, .events = POLLIN};
	uint8_t wire[SHM_MESSAGE_SIZE];
	int fds[3] = {-1, -1, -1};
	struct shm_message m;
	size_t size, n_fds = 0;

	if (poll(&p, 1, timeout_ms) <= 0)
		return true;
	if (fdpass_receive(r->fd, wire, sizeof(wire), fds, 3, &size, &n_fds))
		return false;
	if (shm_decode(wire, size, &m) == 0) {
		if (r->is_host)
			host_hears(r, &m);
		else
			guest_hears(r, &m, fds, n_fds);
	}
	for (int i = 0; i < 3; i++)
		close_fd(fds[i]);
	return true;
}

/* The first words. False if they were bad enough for one session. */
static bool introduce(struct rogue *r)
{
	struct shm_message m = {
		.type = r->is_host ? SHM_WELCOME : SHM_HELLO,
		.version = SHM_VERSION,
		.status = SHM_OK,
		.memory_pages = chance(r, 8) ? next_random(r) : chance(r, 8) ? 0 : 1 << 20,
	};

	snprintf(m.name, sizeof(m.name), "rogue-%" PRIu64, r->seed);
	if (r->is_host && !hear(r, WELCOME_MS))
		return false;
	if (chance(r, 24))
		send_surprise(r);
	if (chance(r, 12))
		m.version = (uint32_t)next_random(r);
	if (chance(r, 12))
		m.status = (uint32_t)below(r, SHM_N_STATUSES + 2);
	if (chance(r, 12))
		fill(r, m.name, sizeof(m.name));
	send_control(r, &m, NULL, 0);
	for (size_t i = 0; i < 3 && r->is_host; i++)
		send_offer(r, i);
	return true;
}

/* From the first words until the steps are used up or the other side hangs up. */
static void run_session(struct rogue *r)
{
	bool going = introduce(r);
	struct rogue_channel *ch;
	int steps = 0;

	r->sessions++;
	r->balloons = 0;
	while (going && steps++ < STEPS && clock_monotonic_ns() < r->end_ns) {
		going = hear(r, chance(r, 4) ? 1 : 0);
		ch = any_channel(r);
		if (ch && ch->open)
			rogue_act_on_channel(r, ch);
		else if (chance(r, 16) && r->is_host)
			host_control(r);
		else if (chance(r, 4) && !r->is_host)
			guest_control(r);
	}
	for (size_t i = 0; i < ROGUE_CHANNELS; i++) {
		close_channel(&r->channels[i]);
		r->channels[i].id = 0;
	}
	r->fd = close_fd(r->fd);
}

static volatile sig_atomic_t wants_rescind;

static void on_signal(int number)
{
	(void)number;
	wants_rescind = 1;
}

/* What a refusing host does on its channels. */
static void refuse(struct rogue *r)
{
	for (size_t i = 0; i < ROGUE_CHANNELS; i++) {
		struct rogue_channel *ch = &r->channels[i];
		const struct shm_message rescind = {.type = SHM_RESCIND, .channel_id = ch->id};

		if (ch->class_id != &vmbus_class_dynmem)
			continue;
		if (ch->open)
			rogue_refuse_version(r, ch);
		if (!wants_rescind)
			continue;
		close_channel(ch);
		ch->class_id = NULL;
		send_control(r, &rescind, NULL, 0);
	}
}

static void run_silent_session(struct rogue *r)
{
	const struct shm_message welcome = {.type = SHM_WELCOME, .version = SHM_VERSION};
	bool going = hear(r, WELCOME_MS);

	send_control(r, &welcome, NULL, 0);
	for (size_t i = 0; i < 3; i++) {
		struct shm_message m = {.type = SHM_OFFER, .class_id = *classes[i]};

		r->channels[i].class_id = classes[i];
		m.channel_id = r->channels[i].id = i + 1;
		send_control(r, &m, NULL, 0);
	}
	while (going && clock_monotonic_ns() < r->end_ns) {
		going = hear(r, r->refuses ? 10 : 100);
		if (r->refuses)
			refuse(r);
	}
	r->fd = close_fd(r->fd);
}

static void run_host(struct rogue *r)
{
	_cleanup_(unixsock_fini) struct unixsock sock;
	struct pollfd p;

	unixsock_init(&sock);
	if (unixsock_listen(&sock, r->socket, SOCK_SEQPACKET, 0600)) {
		fputs("rogue: cannot listen\n", stderr);
		return;
	}
	p = (struct pollfd){.fd = sock.fd, .events = POLLIN};
	while (clock_monotonic_ns() < r->end_ns) {
		if (poll(&p, 1, 100) <= 0)
			continue;
		r->fd = accept4(sock.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (r->fd >= 0 && r->is_silent)
			run_silent_session(r);
		else if (r->fd >= 0)
			run_session(r);
	}
}

static void run_guest(struct rogue *r)
{
	while (clock_monotonic_ns() < r->end_ns) {
		if (unixsock_connect(r->socket, SOCK_SEQPACKET, 100, &r->fd)) {
			(void)poll(NULL, 0, 50);
			continue;
		}
		(void)fcntl(r->fd, F_SETFL, O_NONBLOCK);
		run_session(r);
	}
}

int main(int argc, char **argv)
{
	static struct rogue r;

	if (argc != 5 || (strcmp(argv[1], "host") != 0 && strcmp(argv[1], "guest") != 0 &&
			  strcmp(argv[1], "silent") != 0 && strcmp(argv[1], "refusing") != 0)) {
		fputs("usage: rogue host|guest|silent|refusing SOCKET SEED SECONDS\n", stderr);
		return 2;
	}
	r.refuses = !strcmp(argv[1], "refusing");
	r.is_silent = r.refuses || !strcmp(argv[1], "silent");
	(void)signal(SIGUSR1, on_signal);
	r.is_host = r.is_silent || !strcmp(argv[1], "host");
	r.socket = argv[2];
	r.seed = strtoull(argv[3], NULL, 10);
	r.random = r.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	r.end_ns = clock_monotonic_ns() + strtoull(argv[4], NULL, 10) * UINT64_C(1000000000);
	r.fd = -1;
	for (size_t i = 0; i < ROGUE_CHANNELS; i++)
		r.channels[i].port = (struct vmbus_port)VMBUS_PORT_INIT;

	if (r.is_host)
		run_host(&r);
	else
		run_guest(&r);
	printf("{\"seed\": %" PRIu64 ", \"sessions\": %" PRIu64 ", \"opened\": %" PRIu64
	       ", \"messages\": %" PRIu64 ", \"controls\": %" PRIu64 "}\n",
	       r.seed, r.sessions, r.opened, r.messages, r.controls);
	return 0;
}
