/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

/*
 * Messages to standard error. Any thread may call any of these; none of them allocates.
 */

/* The numbers are those of syslog(3) and of the "<N>" prefix that sd-daemon(3) describes. */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

enum {
	LOG_TEXT_MAX = 240,  /* bytes of one message with its NUL; what is longer is cut */
	LOG_HELD_MAX = 256,  /* messages that log_hold() keeps; beyond that the oldest is lost */
};

/*
 * Sets the name before each message (@program is borrowed for good) and drops what is less urgent
 * than @level. Messages sent before are written under no name, at level info. Lines carry "<N>"
 * instead of the name when standard error is the journal's (systemd.exec(5), JOURNAL_STREAM).
 */
void log_open(const char *program, enum log_level level);

/* Writes one line, with control characters replaced by '?'. errno is kept, so %m may be used. */
void log_write(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * Something that programs and administrators look for, whatever its text is: MESSAGE_ID in the journal
 * (systemd.journal-fields(7)). The last two are for its catalog; they and the name are never NULL.
 */
struct log_event {
	const char *name;       /* short, of the words of the log: "backup-consistent" */
	const char *message_id; /* 32 hexadecimal digits, made once and never used for another */
	enum log_level level;
	const char *what;       /* one line */
	const char *more;       /* what follows from it, and what can be done */
};

enum {
	LOG_SUBJECT_MAX = 96, /* bytes of a subject with its NUL; what is longer is cut */
};

/*
 * Writes a line as log_write() does, at the event's level. In the journal it has the fields MESSAGE_ID,
 * HVGUEST_EVENT (the name) and, if @subject is not NULL, HVGUEST_SUBJECT: the file system, hook, disk,
 * ... that it is about. A journal that takes no datagram at once gets the line alone.
 */
void log_event(const struct log_event *event, const char *subject, const char *format, ...)
	_printf_(3, 4);

/*
 * From the return of log_hold() until log_release(), messages go to memory that is already there:
 * no write to any descriptor is made or under way. Calling it twice is the same as once.
 */
void log_hold(void);

/*
 * Writes what was held, each line with the UTC time at which it was said, after one line that
 * tells how many were lost, if any. Then messages are written directly again.
 */
void log_release(void);
