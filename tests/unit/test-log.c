/* SPDX-License-Identifier: MIT */

/*
 * base/log.c, with standard error replaced by a file in memory.
 */

#include "base/cleanup.h"
#include "base/log.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int real_stderr;

static void redirect(void)
{
	_cleanup_close_ int fd = memfd_create("stderr", MFD_CLOEXEC);

	real_stderr = dup(STDERR_FILENO);
	cr_assert(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
	unsetenv("JOURNAL_STREAM");
}

/* What was written so far; puts the real standard error back. */
static const char *written(void)
{
	static char text[256 * 1024];
	ssize_t n = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);

	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	cr_assert(n >= 0);
	text[n] = '\0';
	return text;
}

static size_t size_written(void)
{
	struct stat st;

	cr_assert(fstat(STDERR_FILENO, &st) == 0);
	return (size_t)st.st_size;
}

static int count(const char *text, const char *what)
{
	int n = 0;

	while ((text = strstr(text, what))) {
		text++;
		n++;
	}
	return n;
}

Test(log, a_line_has_the_program_and_what_is_less_urgent_is_dropped)
{
	redirect();
	log_open("hvguestd", LOG_LEVEL_NOTICE);
	log_info("not this");
	log_notice("but %s", "this");
	cr_expect(eq(str, (char *)(uintptr_t)written(), "hvguestd: but this\n"));
}

Test(log, lines_carry_the_level_when_standard_error_is_the_journal)
{
	char stream[64];
	struct stat st;

	redirect();
	cr_assert(fstat(STDERR_FILENO, &st) == 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_open("hvguestd", LOG_LEVEL_DEBUG);
	log_error("bad");
	log_debug("detail");
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_open("hvguestd", LOG_LEVEL_DEBUG);
	log_warning("elsewhere");
	cr_expect(eq(str, (char *)(uintptr_t)written(),
		     "<3>bad\n<7>detail\nhvguestd: elsewhere\n"));
}

Test(log, a_message_cannot_forge_a_line_and_is_cut_when_it_is_too_long)
{
	char longer[2 * LOG_TEXT_MAX];
	const char *text;

	redirect();
	log_open("p", LOG_LEVEL_INFO);
	log_info("a\nb\x1b[2J");
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	log_info("%s", longer);
	text = written();
	cr_expect(strncmp(text, "p: a?b?[2J\np: xxx", 17) == 0);
	cr_expect(eq(sz, strlen(text), 11 + 3 + LOG_TEXT_MAX - 1 + 1));
}

Test(log, errno_is_kept_and_may_be_printed)
{
	redirect();
	log_open("p", LOG_LEVEL_INFO);
	errno = ENOSPC;
	log_info("%m");
	cr_expect(eq(int, errno, ENOSPC));
	cr_expect(eq(str, (char *)(uintptr_t)written(), "p: No space left on device\n"));
}

Test(log, held_messages_are_not_written_until_release_and_then_have_their_time)
{
	const char *text;
	size_t allocated;

	redirect();
	log_open("p", LOG_LEVEL_INFO);
	log_info("before");
	log_hold();
	allocated = mallinfo2().uordblks;
	log_info("one");
	log_hold();
	log_error("two");
	log_debug("dropped");
	cr_expect(eq(sz, mallinfo2().uordblks, allocated));
	cr_expect(eq(sz, size_written(), strlen("p: before\n")));
	log_release();
	log_release();
	log_info("after");

	text = written();
	cr_expect(strncmp(text, "p: before\np: [2", 15) == 0, "%s", text);
	cr_expect(eq(int, count(text, "Z] one\n"), 1));
	cr_expect(eq(int, count(text, "Z] two\n"), 1));
	cr_expect(strstr(text, "two\np: after\n") != NULL);
	cr_expect(eq(int, count(text, "\n"), 4));
}

Test(log, a_full_ring_loses_the_oldest_and_says_how_many)
{
	const char *text;

	redirect();
	log_open("p", LOG_LEVEL_INFO);
	log_hold();
	for (int i = 0; i < LOG_HELD_MAX + 3; i++)
		log_info("number %d.", i);
	log_release();

	text = written();
	cr_expect(strncmp(text, "p: 3 older messages were lost", 29) == 0, "%.80s", text);
	cr_expect(eq(int, count(text, "\n"), LOG_HELD_MAX + 1));
	cr_expect(eq(int, count(text, "number 2."), 0));
	cr_expect(eq(int, count(text, "number 3."), 1));
	cr_expect(strstr(text, "number 258.\n") != NULL);
}
