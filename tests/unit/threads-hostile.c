/* SPDX-License-Identifier: MIT */

/*
 * vmbus/channel.c and vmbus/ring.c against a peer that rewrites the shared memory all the time:
 * both control pages, and the packets while they are being read. Nothing of what comes out can be
 * right; what is asked for is that the victim stays inside its memory (which ends at the rings'
 * exact size, for the address sanitizer), that every length it reports fits its buffer, and that it
 * is never held up. Each time the ring is found to be corrupt the channel begins anew. The race is
 * the point, so this test is not one for ThreadSanitizer. It prints TAP by itself, as Criterion
 * would stop at the first word.
 */

#include "tests/unit/rings.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
	RING_SIZE = 2 * VMBUS_PAGE_SIZE,
	DATA_WORDS = VMBUS_PAGE_SIZE / 4,
	BUF_SIZE = 512,
	STEPS = 3000000,
	STEPS_MAX = 100 * STEPS, /* if the peer gets no processor meanwhile */
	ENOUGH = 100,            /* of each thing that has to happen */
};

struct enemy {
	struct rings *rings;
	atomic_bool stop;
	uint64_t writes;
};

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* Mostly a plausible index, now and then anything. */
static uint32_t some_index(uint64_t *random)
{
	uint32_t r = next_random(random);

	return r % 16 == 0 ? r : r % DATA_WORDS * 4 / 8 * 8;
}

static void attack_header(struct vmbus_ring_header *header, uint64_t *random)
{
	switch (next_random(random) % 5) {
	case 0:
		atomic_store(&header->write_index, some_index(random));
		break;
	case 1:
		atomic_store(&header->read_index, some_index(random));
		break;
	case 2:
		atomic_store(&header->pending_send_size, next_random(random) % 8192);
		break;
	case 3:
		atomic_store(&header->interrupt_mask, next_random(random) % 2);
		break;
	default:
		atomic_store(&header->feature_bits, next_random(random) % 4);
	}
}

/* Words that are plausible as the first of a descriptor: type and offset8, or len8 and flags. */
static void attack_data(uint8_t *data, uint64_t *random)
{
	static const uint32_t words[] = {0x00020006, 0x00000003, 0x00000040, 0x00020007,
					 0x00010006, 0x0000ffff, 0xffff0006, 0x00000002};
	volatile uint32_t *word = (volatile uint32_t *)(void *)data + next_random(random) % DATA_WORDS;

	*word = words[next_random(random) % 8];
}

static void *run_enemy(void *user)
{
	struct enemy *enemy = user;
	uint64_t random = 7;

	while (!atomic_load(&enemy->stop)) {
		const struct vmbus_ring_memory *memory =
			&enemy->rings->memory[next_random(&random) % 2];

		if (next_random(&random) % 4 == 0)
			attack_header(memory->header, &random);
		else
			attack_data(memory->data, &random);
		enemy->writes++;
	}
	return NULL;
}

struct outcome {
	uint64_t received, sent, corrupt;
	const char *failure;
};

static void send_something(struct vmbus_channel *ch, uint64_t *random, struct outcome *o)
{
	uint8_t *exact;
	size_t size = next_random(random) % 200;

	exact = calloc(1, size + 1);
	if (vmbus_channel_send(ch, 1, exact, size) == 0)
		o->sent++;
	free(exact);
}

static void receive_something(struct vmbus_channel *ch, uint8_t *buf, struct outcome *o)
{
	struct vmbus_message message;

	if (vmbus_channel_receive(ch, buf, BUF_SIZE, &message))
		return;
	o->received++;
	if (message.size > BUF_SIZE)
		o->failure = "a message is larger than the buffer it is in";
}

/* Whether the peer was there at all: on busy processors it may not run for a while. */
static bool is_enough(const struct outcome *o)
{
	return o->corrupt > ENOUGH && o->received > ENOUGH && o->sent > ENOUGH;
}

static struct outcome run_victim(struct rings *rings)
{
	uint8_t *buf = malloc(BUF_SIZE);
	struct vmbus_channel ch, peer;
	struct outcome o = {0};
	uint64_t random = 11;

	rings_connect(rings, &ch, &peer);
	for (int i = 0; (i < STEPS || (i < STEPS_MAX && !is_enough(&o))) && !o.failure; i++) {
		switch (next_random(&random) % 4) {
		case 0:
			send_something(&ch, &random, &o);
			break;
		case 1:
			vmbus_channel_wake(&ch);
			break;
		case 2:
			(void)!vmbus_channel_sleep(&ch);
			(void)!vmbus_channel_take_signal(&ch);
			break;
		default:
			receive_something(&ch, buf, &o);
		}
		if (ch.corrupt) {
			o.corrupt++;
			vmbus_ring_format(&rings->memory[0]);
			vmbus_ring_format(&rings->memory[1]);
			rings_connect(rings, &ch, &peer);
		}
	}
	free(buf);
	return o;
}

static bool report(int number, bool ok, const char *what)
{
	printf("%s %d - %s\n", ok ? "ok" : "not ok", number, what);
	return ok;
}

int main(void)
{
	struct rings rings = rings_new(RING_SIZE);
	struct enemy enemy = {.rings = &rings};
	struct outcome o;
	pthread_t thread;
	bool ok;

	if (pthread_create(&thread, NULL, run_enemy, &enemy) != 0)
		return EXIT_FAILURE;
	o = run_victim(&rings);
	atomic_store(&enemy.stop, true);
	pthread_join(thread, NULL);

	printf("1..3\n# %llu writes, %llu messages in, %llu out, %llu times corrupt\n",
	       (unsigned long long)enemy.writes, (unsigned long long)o.received,
	       (unsigned long long)o.sent, (unsigned long long)o.corrupt);
	ok = report(1, !o.failure, "every message fits its buffer");
	ok &= report(2, o.corrupt > ENOUGH, "corruption is noticed, again and again");
	ok &= report(3, o.received > ENOUGH && o.sent > ENOUGH, "what looks right gets through");
	rings_free(&rings);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
