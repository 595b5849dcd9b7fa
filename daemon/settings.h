/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"

/*
 * The table of hvguestd's settings.
 */

enum {
	SETTINGS_MAX = 96,
};

struct setting {
	const char *section;
	const char *key;
	const char *option; /* on the command line, without the dashes */
	const char *argument;
	const char *help;       /* what it means, and what it can be */
	const char *value;      /* unless it is said; NULL: worked out by the daemon, or nothing */
	const char *lab_value;  /* the same with a lab host, if that is another; "" is nothing */
	const char *value_help; /* what the two above are for people, where they do not say it */
	bool reloads;           /* a running daemon can take on another value */
	/* Reads @value, or adds it to a list. False if it cannot be one, or there is no memory. */
	bool (*set)(struct config *config, const char *value);
	void (*forget)(struct config *config); /* of a list: all of it. NULL: it is no list */
};

extern const struct setting settings[];
extern const size_t n_settings;

/* The setting's number; n_settings if there is none. */
size_t setting_find(const char *section, const char *key);

/* Frees what the settings have put into @config. */
void settings_fini(struct config *config);
