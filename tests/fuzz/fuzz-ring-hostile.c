/* SPDX-License-Identifier: MIT */

/*
 * A channel whose other side rewrites the shared memory while it is being used.
 *
 * There is no second thread, so an input says exactly what happens, and happens the same each time:
 * before each access of vmbus/ring.c and vmbus/channel.c to shared memory (intercept.h) the attacks
 * that are due are carried out. An index can change between its check and its use, a descriptor
 * between two of its fields, a payload in the middle of its copy. ring-oracle.h judges.
 *
 * Input: u8 number of calls; two bytes for each: u8 what, u8 argument; then attacks of 8 bytes: u8
 * how many accesses to wait after the last attack, u8 what, u16 where, u32 value.
 *
 *     call      argument
 *     0, 1      receive, with a buffer of 8 times the argument
 *     2         send 8 times the argument, in bytes
 *     3         send 17 times the argument
 *     4         wake
 *     5         sleep
 *     6         collect the signal
 *     7         a pause, in which attacks happen
 *     8         queue 8 times the argument, in bytes
 *     9         poll
 *
 *     attack    where, value
 *     0 to 4    a control word of the ring to the other side := value
 *     5 to 9    a control word of the ring from it := value
 *     10        a word of data, anywhere
 *     11        one of the first 8 words of the packet that is read next
 *     12        publish value units of 8 bytes
 *     13        write (where + 1) packets that look good, and publish them
 *     14        read what was sent, but for value units of 8 bytes
 *     15        turn over bits of one of the first 8 words of the packet that is read next
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "tests/fuzz/ring-oracle.h"

#include <sys/mman.h>

enum {
	CALLS = 10,
	CALLS_MAX = 64,
	BUF_MAX = 8192,
	ATTACK_REST = 7, /* bytes of an attack behind its wait */
	DATA = ORACLE_DATA_SIZE,
};

struct attacker {
	struct bytes_reader script;
	uint64_t clock, due; /* in accesses */
	struct vmbus_ring_memory out, in;
	const struct vmbus_channel *victim;
};

struct arena {
	uint8_t *memory; /* ORACLE_MEMORY_SIZE bytes between pages that cannot be accessed */
	uint8_t *buf_end; /* of BUF_MAX bytes, before such a page */
};

static struct oracle oracle;

/* --- the other side */

static _Atomic uint32_t *word_of(const struct vmbus_ring_memory *memory, unsigned int n)
{
	struct vmbus_ring_header *header = memory->header;
	_Atomic uint32_t *const words[] = {&header->write_index, &header->read_index,
					   &header->interrupt_mask, &header->pending_send_size,
					   &header->feature_bits};

	return words[n];
}

static void put_data(const struct attacker *a, uint32_t at, uint32_t value, bool turn_over)
{
	uint32_t old;

	at = at % DATA / 4 * 4;
	memcpy(&old, a->in.data + at, sizeof(old));
	value ^= turn_over ? old : 0;
	memcpy(a->in.data + at, &value, sizeof(value));
}

/* Packets from where the victim reads; from some sizes on they are fewer than asked for. */
static void write_packets(const struct attacker *a, unsigned int n, uint32_t value)
{
	uint32_t offset8 = 2 + (value >> 8 & 1), len8 = offset8 + (value & 0x3f), used = 0;
	uint32_t at = a->victim->in.read_index;
	uint32_t type = (value >> 9 & 7) == 0 ? 7 : VMBUS_PACKET_INBAND;

	for (unsigned int i = 0; i < n && used + len8 * 8 + 8 < DATA; i++) {
		put_data(a, at, type | offset8 << 16, false);
		put_data(a, at + 4, len8, false);
		at = (at + len8 * 8 + 8) % DATA;
		used += len8 * 8 + 8;
	}
	atomic_store(&a->in.header->write_index, at);
}

static void attack(struct attacker *a, unsigned int what, uint32_t where, uint32_t value)
{
	uint32_t next = a->victim->in.read_index, written = a->victim->out.write_index;

	if (what < 5)
		atomic_store(word_of(&a->out, what), value);
	else if (what < 10)
		atomic_store(word_of(&a->in, what - 5), value);
	else if (what == 10)
		put_data(a, where * 4, value, false);
	else if (what == 12)
		atomic_store(&a->in.header->write_index, (next + value % (DATA / 8) * 8) % DATA);
	else if (what == 13)
		write_packets(a, 1 + where % 256, value);
	else if (what == 14)
		atomic_store(&a->out.header->read_index,
			     (written + DATA - value % (DATA / 8) * 8) % DATA);
	else
		put_data(a, next + where % 8 * 4, value, what == 15);
}

static void before_access(void *user)
{
	struct attacker *a = user;

	a->clock++;
	while (bytes_left(&a->script) >= ATTACK_REST && a->due <= a->clock) {
		unsigned int what;
		uint32_t where;

		what = bytes_get_u8(&a->script) % 16;
		where = bytes_get_u16(&a->script);
		attack(a, what, where, bytes_get_u32(&a->script));
		a->due += bytes_get_u8(&a->script);
	}
}

static void note_access(void *user, const struct access *access)
{
	(void)user;
	oracle_note(&oracle, access);
}

static const struct intercept_ops intercept_ops = {
	.before = before_access,
	.note = note_access,
};

/* --- the victim */

static void receive(struct vmbus_channel *ch, const struct arena *arena, size_t size)
{
	struct vmbus_message message;
	int r;

	oracle_begin_receive(&oracle, size);
	r = vmbus_channel_receive(ch, arena->buf_end - size, size, &message);
	oracle_end_receive(&oracle, r, arena->buf_end - size, &message);
}

static void send(struct vmbus_channel *ch, const struct arena *arena, enum oracle_call how,
		 size_t size)
{
	uint8_t *payload = arena->buf_end - size;
	int r;

	memset(payload, 0x5a + (int)size, size);
	oracle_begin_send(&oracle, how, size, payload, size);
	r = how == ORACLE_SEND ? vmbus_channel_send(ch, size, payload, size)
			       : vmbus_channel_queue(ch, size, payload, size);
	oracle_end_send(&oracle, r);
}

static void call(struct vmbus_channel *ch, const struct arena *arena, unsigned int what, size_t n,
		 struct attacker *attacker)
{
	switch (what) {
	case 2:
		send(ch, arena, ORACLE_SEND, n * 8);
		break;
	case 3:
		send(ch, arena, ORACLE_SEND, n * 17);
		break;
	case 4:
		oracle_begin(&oracle, ORACLE_WAKE);
		vmbus_channel_wake(ch);
		oracle_end_wake(&oracle);
		break;
	case 5:
		oracle_begin(&oracle, ORACLE_SLEEP);
		oracle_end_sleep(&oracle, vmbus_channel_sleep(ch));
		break;
	case 6:
		oracle_begin(&oracle, ORACLE_TAKE_SIGNAL);
		oracle_end_take_signal(&oracle, vmbus_channel_take_signal(ch));
		break;
	case 7:
		before_access(attacker);
		break;
	case 8:
		send(ch, arena, ORACLE_QUEUE, n * 8);
		break;
	case 9:
		oracle_begin(&oracle, ORACLE_POLL);
		oracle_end_poll(&oracle, vmbus_channel_poll(ch));
		break;
	default:
		receive(ch, arena, n * 8);
	}
}

static struct arena make_arena(void)
{
	const size_t page = VMBUS_PAGE_SIZE, rings = ORACLE_MEMORY_SIZE;
	/* A page, the rings with a page between them, a page, the buffer, a page. */
	uint8_t *all = mmap(NULL, page + rings + page + BUF_MAX + page, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct arena arena = {all + page, all + page + rings + page + BUF_MAX};
	const int access = PROT_READ | PROT_WRITE;

	fuzz_require(all != MAP_FAILED);
	fuzz_require(mprotect(arena.memory + ORACLE_OUT, ORACLE_RING_SIZE, access) == 0);
	fuzz_require(mprotect(arena.memory + ORACLE_IN, ORACLE_RING_SIZE, access) == 0);
	fuzz_require(mprotect(arena.buf_end - BUF_MAX, BUF_MAX, access) == 0);
	return arena;
}

static void open_rings(const struct arena *arena, struct vmbus_ring_memory *ret_out,
		       struct vmbus_ring_memory *ret_in)
{
	memset(arena->memory + ORACLE_OUT, 0, ORACLE_RING_SIZE);
	memset(arena->memory + ORACLE_IN, 0, ORACLE_RING_SIZE);
	fuzz_require(!vmbus_ring_memory_init(ret_out, arena->memory + ORACLE_OUT, ORACLE_RING_SIZE));
	fuzz_require(!vmbus_ring_memory_init(ret_in, arena->memory + ORACLE_IN, ORACLE_RING_SIZE));
	vmbus_ring_format(ret_out);
	vmbus_ring_format(ret_in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena;
	struct attacker attacker = {0};
	struct bytes_reader calls;
	struct vmbus_channel ch;
	size_t n;

	if (!arena.memory)
		arena = make_arena();
	bytes_reader_init(&calls, data, size);
	n = bytes_get_u8(&calls) % (CALLS_MAX + 1);
	if (size < 1 + 2 * n)
		return 0;

	open_rings(&arena, &attacker.out, &attacker.in);
	vmbus_channel_init(&ch, &attacker.out, &attacker.in);
	oracle_init(&oracle, &ch, arena.memory);
	bytes_reader_init(&attacker.script, data + 1 + 2 * n, size - 1 - 2 * n);
	attacker.victim = &ch;
	attacker.due = bytes_get_u8(&attacker.script);

	intercept_start(arena.memory, ORACLE_MEMORY_SIZE, &intercept_ops, &attacker);
	for (size_t i = 0; i < n; i++) {
		unsigned int what = bytes_get_u8(&calls) % CALLS;

		call(&ch, &arena, what, bytes_get_u8(&calls), &attacker);
	}
	intercept_stop();
	return 0;
}
