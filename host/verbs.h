/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The verbs of hvhost. Each gets the arguments from its own name on, and returns the exit code.
 */

/* Where serve's sockets are unless somebody says otherwise. */
#define HVHOST_RUN_DIR "/run/hvhost"

/* What the verb does whose name @usage begins with: a clause without its full stop. */
const char *verb_help(const char *usage);

/* Being the host. */
int verb_serve(int argc, char **argv);

/* Asking a running host. */
int verb_status(int argc, char **argv);
int verb_top(int argc, char **argv);
int verb_watch(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_metrics(int argc, char **argv);
int verb_backup(int argc, char **argv);
int verb_backups(int argc, char **argv);
int verb_copy(int argc, char **argv);
int verb_memory(int argc, char **argv);
int verb_why(int argc, char **argv);
int verb_balance(int argc, char **argv);
int verb_reserve(int argc, char **argv);
int verb_record(int argc, char **argv);
int verb_shutdown(int argc, char **argv);
int verb_reboot(int argc, char **argv);
int verb_hibernate(int argc, char **argv);
int verb_kvp(int argc, char **argv);
int verb_time(int argc, char **argv);
int verb_rescind(int argc, char **argv);
int verb_offer(int argc, char **argv);
int verb_save(int argc, char **argv);
int verb_restore(int argc, char **argv);
int verb_move(int argc, char **argv);

/* Without a host. */
int verb_simulate(int argc, char **argv);
int verb_replay(int argc, char **argv);
