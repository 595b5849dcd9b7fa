/* SPDX-License-Identifier: MIT */

/*
 * vmbus/channel.c and vmbus/ring.c with a thread at each end, for ThreadSanitizer. Both ends send
 * and receive at once, over rings so small that they are full and empty all the time, and sleep
 * whenever there is nothing to do. It prints TAP by itself, for the reason given in
 * threads-worker.c, and runs in every other build, too.
 */

#include "tests/unit/rings.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	RING_SIZE = 2 * VMBUS_PAGE_SIZE,
	MESSAGES = 20000, /* each way */
	SIZE_MAX_BYTES = 400,
	LOST_MS = 10000, /* a bell that does not ring for so long is a lost wake-up */
};

struct end {
	struct vmbus_channel ch;
	int bell;
	int other_bell;
	uint64_t sent;
	uint64_t received;
	const char *failure;
};

static size_t size_of(uint64_t number)
{
	return sizeof(number) + number * 7 % (SIZE_MAX_BYTES - sizeof(number));
}

static bool send_next(struct end *end)
{
	uint8_t message[SIZE_MAX_BYTES];
	int r;

	if (end->sent == MESSAGES)
		return false;
	memset(message, (int)end->sent, sizeof(message));
	memcpy(message, &end->sent, sizeof(end->sent));
	r = vmbus_channel_send(&end->ch, end->sent, message, size_of(end->sent));
	if (r == 0)
		end->sent++;
	else if (r != VMBUS_CHANNEL_FULL)
		end->failure = "a message could not be sent";
	return r == 0;
}

static bool receive_next(struct end *end)
{
	uint8_t buf[SIZE_MAX_BYTES + VMBUS_RING_ALIGN];
	struct vmbus_message message;
	uint64_t number;
	int r;

	r = vmbus_channel_receive(&end->ch, buf, sizeof(buf), &message);
	if (r == VMBUS_CHANNEL_CORRUPT)
		end->failure = "the ring is said to be broken";
	if (r)
		return false;

	memcpy(&number, buf, sizeof(number));
	if (number != end->received || message.trans_id != number || message.size < size_of(number) ||
	    (size_of(number) > sizeof(number) && buf[size_of(number) - 1] != (uint8_t)number))
		end->failure = "a message is not the one that was sent";
	end->received++;
	return true;
}

static void ring_bell(int bell)
{
	uint64_t one = 1;

	if (write(bell, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void wait_for_bell(struct end *end)
{
	struct pollfd p = {.fd = end->bell, .events = POLLIN};
	uint64_t rings;

	if (poll(&p, 1, LOST_MS) != 1 || read(end->bell, &rings, sizeof(rings)) != sizeof(rings))
		end->failure = "a wake-up was lost";
}

/* The reader's loop of vmbus/channel.h. */
static void *run_end(void *user)
{
	struct end *end = user;

	while (!end->failure) {
		vmbus_channel_wake(&end->ch);
		do {
			while (receive_next(end))
				;
			while (send_next(end))
				;
		} while (!end->failure && !vmbus_channel_sleep(&end->ch));
		if (vmbus_channel_take_signal(&end->ch))
			ring_bell(end->other_bell);
		if (end->sent == MESSAGES && end->received == MESSAGES)
			break;
		wait_for_bell(end);
	}
	return NULL;
}

static bool report(int number, const struct end *end, const char *who)
{
	bool ok = !end->failure && end->received == MESSAGES;

	printf("%s %d - %s gets every message, in order\n", ok ? "ok" : "not ok", number, who);
	if (end->failure)
		printf("# %s\n", end->failure);
	return ok;
}

int main(void)
{
	struct rings rings = rings_new(RING_SIZE);
	struct end guest = {.bell = eventfd(0, EFD_CLOEXEC)};
	struct end host = {.bell = eventfd(0, EFD_CLOEXEC)};
	pthread_t thread;
	bool ok;

	guest.other_bell = host.bell;
	host.other_bell = guest.bell;
	rings_connect(&rings, &guest.ch, &host.ch);
	if (pthread_create(&thread, NULL, run_end, &host) != 0)
		return EXIT_FAILURE;
	run_end(&guest);
	pthread_join(thread, NULL);

	printf("1..2\n");
	ok = report(1, &guest, "the guest");
	ok &= report(2, &host, "the host");
	close(guest.bell);
	close(host.bell);
	rings_free(&rings);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
