/* SPDX-License-Identifier: MIT */

/*
 * main() of a fuzz target that was built without libFuzzer: runs the target over its corpus and
 * over a fixed number of mutations of it, and reports in TAP. So the targets are compiled and run
 * with every `make check`, under each compiler and sanitizer, and what a fuzzer once found stays
 * found.
 *
 * Arguments are files, or folders of them; without any it takes the folder of the corpus that has
 * the program's name. Mutations depend on nothing but the seed and the file: a crash comes again.
 * Files are taken in the order of their names.
 */

#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"
#include "base/error.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MUTATIONS_PER_FILE = 2000,
	CHANGES_MAX = 4, /* to one mutation */
	INPUT_MAX = 65536, /* bytes */
	TIME_LIMIT_SECONDS = 120,
};

#define SEED UINT64_C(0x68766775657374)

struct input {
	uint8_t bytes[INPUT_MAX];
	size_t size;
};

struct replay {
	unsigned int n_cases;
	unsigned int n_failed;
	struct input original;
	struct input mutant;
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static size_t below(uint64_t *state, size_t limit)
{
	return limit > 0 ? next_random(state) % limit : 0;
}

/* Writes a number at which code tends to break over 1, 2 or 4 bytes. */
static void put_extreme(struct input *input, uint64_t *state)
{
	static const uint32_t extremes[] = {
		0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff,
		0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff,
	};
	uint32_t value = extremes[below(state, sizeof(extremes) / sizeof(extremes[0]))];
	size_t width = (size_t)1 << below(state, 3), at = below(state, input->size);

	for (size_t i = 0; i < width && at + i < input->size; i++)
		input->bytes[at + i] = (uint8_t)(value >> (8 * i));
}

static void move_piece(struct input *input, uint64_t *state)
{
	size_t from = below(state, input->size), to = below(state, input->size);
	size_t n = below(state, input->size - (from > to ? from : to)) + 1;

	memmove(input->bytes + to, input->bytes + from, n);
}

static void grow(struct input *input, uint64_t *state)
{
	size_t n = below(state, 64);

	if (n > INPUT_MAX - input->size)
		n = INPUT_MAX - input->size;
	memset(input->bytes + input->size, (int)next_random(state), n);
	input->size += n;
}

static void change(struct input *input, uint64_t *state)
{
	size_t kind = below(state, 6);

	if (input->size == 0 || kind == 0)
		grow(input, state);
	else if (kind == 1)
		input->size = below(state, input->size);
	else if (kind == 2)
		put_extreme(input, state);
	else if (kind == 3)
		move_piece(input, state);
	else if (kind == 4)
		input->bytes[below(state, input->size)] ^= (uint8_t)(1 << below(state, 8));
	else
		input->bytes[below(state, input->size)] = (uint8_t)next_random(state);
}

static void run(const struct input *input)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(input->bytes, input->size);

	(void)LLVMFuzzerTestOneInput(copy, input->size);
}

static void run_mutations(struct replay *replay)
{
	uint64_t state = SEED;

	for (int i = 0; i < MUTATIONS_PER_FILE; i++) {
		replay->mutant = replay->original;
		for (size_t n = below(&state, CHANGES_MAX) + 1; n > 0; n--)
			change(&replay->mutant, &state);
		run(&replay->mutant);
	}
}

static int read_input(const char *path, struct input *ret_input)
{
	FILE *file = fopen(path, "re");
	bool good;

	if (!file)
		return negative_errno();
	ret_input->size = fread(ret_input->bytes, 1, INPUT_MAX, file);
	good = !ferror(file) && fgetc(file) == EOF;
	fclose(file);
	return good ? 0 : -EFBIG;
}

static void replay_file(struct replay *replay, const char *path)
{
	int r = read_input(path, &replay->original);

	replay->n_cases++;
	if (r < 0) {
		replay->n_failed++;
		printf("not ok %u - %s: %s\n", replay->n_cases, path, strerror(-r));
		return;
	}

	printf("# %s\n", path);
	fflush(stdout);
	run(&replay->original);
	run_mutations(replay);
	printf("ok %u - %s and %d mutations\n", replay->n_cases, strrchr(path, '/') ?
	       strrchr(path, '/') + 1 : path, MUTATIONS_PER_FILE);
}

static void replay_path(struct replay *replay, const char *path)
{
	struct dirent **entries = NULL;
	struct stat st;
	int n;

	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		replay_file(replay, path);
		return;
	}

	n = scandir(path, &entries, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		_cleanup_free_ struct dirent *entry = entries[i];
		_cleanup_free_ char *file = NULL;

		if (entry->d_name[0] == '.')
			continue;
		fuzz_require(asprintf(&file, "%s/%s", path, entry->d_name) > 0);
		replay_file(replay, file);
	}
	free(entries);
}

static void replay_own_corpus(struct replay *replay, const char *program)
{
	const char *slash = strrchr(program, '/'), *top = getenv("srcdir");
	_cleanup_free_ char *path = NULL;

	fuzz_require(asprintf(&path, "%s/tests/data/fuzz/%s", top ? top : ".",
			      slash ? slash + 1 : program) > 0);
	replay_path(replay, path);
}

int main(int argc, char **argv)
{
	static struct replay replay;

	/* A target that does not end is a finding. */
	alarm(TIME_LIMIT_SECONDS);

	for (int i = 1; i < argc; i++)
		replay_path(&replay, argv[i]);
	if (argc < 2)
		replay_own_corpus(&replay, argv[0]);

	printf("1..%u\n", replay.n_cases);
	return replay.n_failed > 0 || replay.n_cases == 0;
}
