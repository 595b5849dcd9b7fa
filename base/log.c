/* SPDX-License-Identifier: MIT */

/*
 * The log.
 *
 * One line is one write(2) to standard error; whoever started the program decides where that goes.
 * There is no file, no rotation and no allocation at any time. Only if standard error is the journal's,
 * an event is one datagram to the journal's own socket instead, because a line cannot have fields. Its
 * queue is that of all programs, so it is never waited for.
 *
 * While file systems are frozen, standard error must not be touched: it may be a file on a frozen
 * file system, or a pipe or socket whose reader writes to one, and then the program that has to
 * thaw would wait for ever. So log_hold() turns to a ring of fixed slots in the program's own
 * memory. It writes every byte of the ring first, so that no page of it has to be made or fetched
 * later (the daemon locks its memory besides). When the ring is full the oldest message goes: the
 * end of the story says whether everything was thawed.
 *
 * The state is one object of this file and not a parameter. Standard error belongs to the process,
 * and so does the promise of log_hold(): a second logger that did not know of it would break it.
 * The mutex makes that promise exact, because log_hold() waits for a line that is being written.
 */

#include "base/log.h"

#include "base/cleanup.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct held_message {
	struct timespec time; /* CLOCK_REALTIME */
	enum log_level level;
	const struct log_event *event; /* NULL: a line and nothing else */
	char subject[LOG_SUBJECT_MAX];
	char text[LOG_TEXT_MAX];
};

static struct {
	pthread_mutex_t lock;
	const char *program;
	enum log_level level;
	bool journal;
	bool held;
	uint64_t n_held; /* messages since log_hold(); the last LOG_HELD_MAX of them are in the ring */
	struct held_message ring[LOG_HELD_MAX];
} logger = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.level = LOG_LEVEL_INFO,
};

static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *program, enum log_level level)
{
	pthread_mutex_lock(&logger.lock);
	logger.program = program;
	logger.level = level;
	logger.journal = stderr_is_journal();
	pthread_mutex_unlock(&logger.lock);
}

/* Sends an event with its fields to the journal. False: it has not taken it. */
static bool send_event(const struct log_event *event, const char *subject, const char *stamp,
		       const char *text)
{
	static const struct sockaddr_un journal = {
		.sun_family = AF_UNIX,
		.sun_path = "/run/systemd/journal/socket",
	};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char fields[LOG_TEXT_MAX + LOG_SUBJECT_MAX + 512];
	int len;

	/* No value has a newline in it: log_event() sees to that. */
	len = snprintf(fields, sizeof(fields),
		       "MESSAGE=%s%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=%.64s\nMESSAGE_ID=%.32s\n"
		       "HVGUEST_EVENT=%.64s\n%s%s%s",
		       stamp, text, (int)event->level, logger.program ? logger.program : "hvguest",
		       event->message_id, event->name, subject[0] ? "HVGUEST_SUBJECT=" : "", subject,
		       subject[0] ? "\n" : "");
	return fd >= 0 && len > 0 && len < (int)sizeof(fields) &&
	       sendto(fd, fields, (size_t)len, MSG_NOSIGNAL, (const struct sockaddr *)&journal,
		      sizeof(journal)) == len;
}

/* Writes one message; @time is NULL for one of this moment, @event for a plain line. With the lock. */
static void write_message(enum log_level level, const struct log_event *event, const char *subject,
			  const char *text, const struct timespec *time)
{
	char line[LOG_TEXT_MAX + 192], stamp[96] = "";
	struct tm tm;
	int len;

	if (time && gmtime_r(&time->tv_sec, &tm))
		snprintf(stamp, sizeof(stamp), "[%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ] ",
			 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			 tm.tm_sec, time->tv_nsec / 1000000);

	if (logger.journal && event && send_event(event, subject, stamp, text))
		return;
	if (logger.journal)
		len = snprintf(line, sizeof(line), "<%d>%s%s\n", (int)level, stamp, text);
	else if (logger.program)
		len = snprintf(line, sizeof(line), "%.64s: %s%s\n", logger.program, stamp, text);
	else
		len = snprintf(line, sizeof(line), "%s%s\n", stamp, text);

	/* There is nobody to tell that the log cannot be written. */
	if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
		return;
}

static void hold_message(enum log_level level, const struct log_event *event, const char *subject,
			 const char *text)
{
	struct held_message *slot = &logger.ring[logger.n_held++ % LOG_HELD_MAX];

	clock_gettime(CLOCK_REALTIME, &slot->time);
	slot->level = level;
	slot->event = event;
	memcpy(slot->subject, subject, LOG_SUBJECT_MAX);
	memcpy(slot->text, text, LOG_TEXT_MAX);
}

static void replace_controls(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void take_message(enum log_level level, const struct log_event *event, char *subject,
			 const char *format, va_list args) _printf_(4, 0);

/* @subject has LOG_SUBJECT_MAX bytes. */
static void take_message(enum log_level level, const struct log_event *event, char *subject,
			 const char *format, va_list args)
{
	char text[LOG_TEXT_MAX] = "";

	vsnprintf(text, sizeof(text), format, args);
	replace_controls(text);
	replace_controls(subject);

	pthread_mutex_lock(&logger.lock);
	if (level <= logger.level) {
		if (logger.held)
			hold_message(level, event, subject, text);
		else
			write_message(level, event, subject, text, NULL);
	}
	pthread_mutex_unlock(&logger.lock);
}

void log_write(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char none[LOG_SUBJECT_MAX] = "";
	va_list args;

	va_start(args, format);
	take_message(level, NULL, none, format, args);
	va_end(args);
	errno = saved_errno;
}

void log_event(const struct log_event *event, const char *subject, const char *format, ...)
{
	int saved_errno = errno;
	char copy[LOG_SUBJECT_MAX] = "";
	va_list args;

	if (subject)
		(void)snprintf(copy, sizeof(copy), "%s", subject);
	errno = saved_errno; /* for %m */
	va_start(args, format);
	take_message(event->level, event, copy, format, args);
	va_end(args);
	errno = saved_errno;
}

void log_hold(void)
{
	pthread_mutex_lock(&logger.lock);
	if (!logger.held) {
		memset(logger.ring, 0, sizeof(logger.ring));
		logger.n_held = 0;
		logger.held = true;
	}
	pthread_mutex_unlock(&logger.lock);
}

void log_release(void)
{
	uint64_t first = 0;
	char text[LOG_TEXT_MAX];

	pthread_mutex_lock(&logger.lock);
	if (logger.held && logger.n_held > LOG_HELD_MAX) {
		first = logger.n_held - LOG_HELD_MAX;
		snprintf(text, sizeof(text), "%llu older messages were lost while the log was held",
			 (unsigned long long)first);
		write_message(LOG_LEVEL_WARNING, NULL, "", text, NULL);
	}
	for (uint64_t i = first; logger.held && i < logger.n_held; i++) {
		const struct held_message *m = &logger.ring[i % LOG_HELD_MAX];

		write_message(m->level, m->event, m->subject, m->text, &m->time);
	}
	logger.held = false;
	pthread_mutex_unlock(&logger.lock);
}
