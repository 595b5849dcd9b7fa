/* SPDX-License-Identifier: MIT */

/*
 * notify: a subscriber to hvguestd's notices, for shells.
 *
 * It stays connected, runs a command with "freeze", "thaw" or "abort" as its last argument, and
 * answers by the command's exit status. If the connection is lost after "freeze", nothing stays
 * frozen, so the command gets "abort", and it connects again when somebody listens. A signal that
 * ends it does the same. So whatever happens, each "freeze" is followed by one of the others.
 */

#include "cli/cli.h"
#include "fsfreeze/hvguest_notify.h"

#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

enum {
	WORDS_MAX = 64,
	HOLD_DEFAULT_S = 10,
	RETRY_MS = 500,
};

static volatile sig_atomic_t ended;
static volatile sig_atomic_t subscribed_fd = -1;

/* It may come just before the next notice is waited for, so that wait has to end, too. */
static void on_signal(int number)
{
	int saved = errno;

	(void)number;
	ended = 1;
	if (subscribed_fd >= 0)
		(void)shutdown(subscribed_fd, SHUT_RDWR);
	errno = saved;
}

struct subscriber {
	const struct cli *cli;
	char path[PATH_MAX]; /* of the socket */
	const char *name;
	unsigned int hold_s;
	bool required;
	bool holding; /* the command has run with "freeze", and with nothing since */
};

/* Runs the command with @word; its exit status, or 128 and more. */
static int run(const struct subscriber *s, const char *word)
{
	char *argv[WORDS_MAX + 2];
	int n = s->cli->n_operands, status, r;
	pid_t pid;

	memcpy(argv, s->cli->operands, (size_t)n * sizeof(*argv));
	argv[n] = strdup(word);
	argv[n + 1] = NULL;
	r = argv[n] ? posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) : ENOMEM;
	free(argv[n]);
	if (r) {
		fprintf(stderr, "hvguestctl: %s cannot be run: %s\n", argv[0], strerror(r));
		return 127;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 128;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The same, and tells the program that has started this one, if it asked for it. */
static int run_and_tell(const struct subscriber *s, const char *word)
{
	int status = run(s, word);
	json_t *line;

	if (s->cli->json) {
		line = json_pack("{s:i, s:s, s:i}", "schema", 1, "event", word, "status", status);
		ask_print_json_line(line);
		json_decref(line);
	}
	return status;
}

static void let_go(struct subscriber *s, const char *word)
{
	if (s->holding)
		(void)run_and_tell(s, word);
	s->holding = false;
}

static void on_notice(struct subscriber *s, int fd, const struct hvguest_notice *notice)
{
	int status;

	switch (notice->event) {
	case HVGUEST_FREEZE:
		s->holding = true;
		status = run_and_tell(s, "freeze");
		/* If hvguestd is gone meanwhile, the next call tells. */
		if (status == 0)
			(void)hvguest_notify_ready(fd, notice->id);
		else
			(void)hvguest_notify_fail(fd, notice->id, "the command failed");
		break;
	case HVGUEST_THAW:
		let_go(s, "thaw");
		break;
	case HVGUEST_ABORT:
		let_go(s, "abort");
		break;
	}
}

/* Until the connection is lost, or this program is to end. */
static void serve(struct subscriber *s, int fd)
{
	struct hvguest_notice notice;
	int r = 0;

	subscribed_fd = fd;
	while (!ended && (r == 0 || r == -EINTR)) {
		r = hvguest_notify_next(fd, &notice);
		if (r == 0)
			on_notice(s, fd, &notice);
	}
	subscribed_fd = -1;
	(void)close(fd);
	let_go(s, "abort");
}

static int subscribe(struct subscriber *s)
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
	bool was_there = false;

	while (!ended) {
		int fd = hvguest_notify_open(s->path, s->name, s->hold_s, s->required);

		if (fd >= 0) {
			was_there = true;
			serve(s, fd);
		} else if (!was_there || fd == -EACCES) {
			fprintf(stderr, "hvguestctl: %s: %s\n", s->path,
				fd == -EACCES ? "hvguestd refuses this name, or one that is required "
						"and not root's"
					      : strerror(-fd));
			return EXIT_ERROR;
		} else {
			(void)nanosleep(&pause, NULL);
		}
	}
	return EXIT_OK;
}

/* The socket is beside the API's. */
static int find_socket(struct subscriber *s)
{
	char api[PATH_MAX];
	int n = snprintf(api, sizeof(api), "%s", s->cli->to.socket);

	if (n < (int)sizeof(api))
		n = snprintf(s->path, sizeof(s->path), "%s/notify.sock", dirname(api));
	if (n < (int)sizeof(s->path))
		return EXIT_OK;
	fprintf(stderr, "hvguestctl: %s is too long a path\n", s->cli->to.socket);
	return EXIT_USAGE;
}

int verb_notify(const struct cli *cli)
{
	struct subscriber s = {.cli = cli, .name = "hvguestctl", .hold_s = HOLD_DEFAULT_S};
	const struct sigaction act = {.sa_handler = on_signal}; /* no SA_RESTART: recv() returns */
	const char *hold = cli->values[1];
	char *end;
	int r = find_socket(&s);

	if (r)
		return r;
	if (cli->values[0])
		s.name = cli->values[0];
	if (hold) {
		s.hold_s = (unsigned int)strtoul(hold, &end, 10);
		if (*hold < '0' || *hold > '9' || *end != '\0') {
			fprintf(stderr, "hvguestctl: --hold %s: a number of seconds\n", hold);
			return EXIT_USAGE;
		}
	}
	s.required = cli->values[2] != NULL;
	(void)sigaction(SIGTERM, &act, NULL);
	(void)sigaction(SIGINT, &act, NULL);
	return subscribe(&s);
}
