/* SPDX-License-Identifier: MIT */

/*
 * Configuration: where the values of the settings come from.
 *
 * Each source takes the place of the one before: the defaults, the configuration file, the files
 * *.conf of the folder beside it in the order of their names, the command line. With each value its
 * text is kept, and where it was said, so that the daemon can show both, and tell what has changed
 * when it reads everything anew. A value that cannot be read is refused with its place; a setting
 * that is not there is refused too, because a misspelt one would otherwise be ignored in silence. So
 * is one that a file gives twice; but a list goes on in each line that gives it or, as inih has it,
 * is indented.
 *
 * Reading anew is all or nothing: with one mistake anywhere the daemon goes on with what it has.
 */

#include "daemon/config.h"

#include "base/cleanup.h"
#include "base/nearest.h"
#include "base/scdoc.h"
#include "base/usage.h"
#include "daemon/journal.h"
#include "daemon/settings.h"
#include "vmbus/shm_wire.h"

#include <dirent.h>
#include <getopt.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	OPTION_CONFIG = SETTINGS_MAX,
	OPTION_CHECK,
	OPTION_DUMP,
	OPTION_EXAMPLE,
	OPTION_MANUAL,
	OPTION_CATALOG,
	OPTION_EVENTS,
	OPTION_HELP,
	OPTION_VERSION,
	N_COMMON_OPTIONS = OPTION_VERSION - OPTION_CONFIG + 1,
};

/* What the command line says besides settings. */
struct request {
	const char *file;
	bool check, dump;
};

/* Where a setting's value is from. */
struct config_value {
	char *text;   /* the lines of a list have "\n  " in between; NULL: nothing was said */
	char *origin; /* NULL: the default */
};

/* Keeps what was said, behind what a list has already. False: no memory. */
static bool keep(struct config_value *v, const char *text, const char *origin, bool goes_on)
{
	char *joined, *copy = origin ? strdup(origin) : NULL;
	int n = goes_on && v->text ? asprintf(&joined, "%s\n  %s", v->text, text)
				   : asprintf(&joined, "%s", text);

	if (n < 0 || (origin && !copy)) {
		free(n < 0 ? NULL : joined);
		free(copy);
		return false;
	}
	free(v->text);
	free(v->origin);
	*v = (struct config_value){.text = joined, .origin = copy};
	return true;
}

/* What people are told of a default: its value, or what it is worked out from. */
static void print_default(FILE *to, const struct setting *s)
{
	fputs(s->value_help ? s->value_help : s->value, to);
	if (s->lab_value)
		fprintf(to, "; with a lab host %s", *s->lab_value ? s->lab_value : "nothing");
}

static void print_help(void)
{
	puts("Usage: hvguestd [OPTION...]\n"
	     "The Hyper-V guest service: dynamic memory, live backup, and the smaller services.\n");
	for (size_t i = 0; i < n_settings; i++) {
		const struct setting *s = &settings[i];

		printf("  --%s %s\n        %s (default: ", s->option, s->argument, s->help);
		print_default(stdout, s);
		puts(")");
	}
	puts("  --config FILE\n        read this file, and then FILE.d/*.conf (default: " HVGUEST_SYSCONFDIR
	     "/hvguest.conf)\n"
	     "  --check-config\n        read everything, say what is wrong, and end\n"
	     "  --dump-config\n        show what each setting is, and who said so\n"
	     "  --example-config\n        write a file that has all settings, with their defaults\n"
	     "  --help, --version\n\n"
	     "Exit codes: 0 ok, 1 error, 2 usage, 4 not on Hyper-V and no lab host given.");
}

/* The text as comments of at most 100 columns. */
static void print_comment(const char *text)
{
	while (*text) {
		size_t n = strlen(text);

		if (n > 98)
			for (n = 98; n > 0 && text[n] != ' '; n--)
				;
		printf("# %.*s\n", (int)n, text);
		text += n + (text[n] == ' ');
	}
}

static void print_section(size_t i)
{
	if (i == 0 || strcmp(settings[i].section, settings[i - 1].section) != 0)
		printf("%s[%s]\n", i == 0 ? "" : "\n", settings[i].section);
}

static bool is_last_of_section(size_t i)
{
	return i + 1 == n_settings || strcmp(settings[i].section, settings[i + 1].section) != 0;
}

static void print_example(void)
{
	puts("# hvguest.conf: all settings of hvguestd, with their defaults.\n"
	     "# Written by hvguestd --example-config; hvguestd --check-config looks for mistakes.\n"
	     "# What is changed is best put into a file of its own, in hvguest.conf.d beside this one.\n");
	for (size_t i = 0; i < n_settings; i++) {
		const struct setting *s = &settings[i];

		print_section(i);
		print_comment(s->help);
		if (s->lab_value || !s->value) {
			fputs("# The default is ", stdout);
			print_default(stdout, s);
			puts(".");
		}
		if (!s->reloads)
			puts("# Takes a restart.");
		printf(";%s = %s\n%s", s->key, s->value ? s->value : s->argument,
		       is_last_of_section(i) ? "" : "\n");
	}
}

/* The settings, for the manual page, as scdoc has it. */
static void print_manual(void)
{
	for (size_t i = 0; i < n_settings; i++) {
		const struct setting *s = &settings[i];

		if (i == 0 || strcmp(s->section, settings[i - 1].section) != 0)
			printf("## [%s]\n\n", s->section);
		printf("*%s* = ", s->key);
		scdoc_print(s->argument);
		fputs(s->reloads ? " *(reloads)*\n\t" : "\n\t", stdout);
		scdoc_print(s->help);
		fputs(". The default is: ", stdout);
		scdoc_print(s->value_help ? s->value_help : s->value);
		if (s->lab_value) {
			fputs("; with a lab host: ", stdout);
			scdoc_print(*s->lab_value ? s->lab_value : "nothing");
		}
		puts(".\n");
	}
}

static void print_values(const struct config *config)
{
	for (size_t i = 0; i < n_settings; i++) {
		const struct config_value *v = &config->values[i];

		print_section(i);
		printf("# %s%s\n", v->origin ? v->origin : "default",
		       settings[i].reloads ? "" : " (a change needs a restart)");
		if (v->text)
			printf("%s = %s\n", settings[i].key, v->text);
		else
			printf(";%s =\n", settings[i].key);
	}
}

/* What the configuration file's parser carries along. */
struct file_context {
	struct config *config;
	const char *path;
	FILE *stream;
	int line;            /* that was read last */
	const char *trouble; /* why the reading stopped before the end */
	bool seen[SETTINGS_MAX];
	char complaint[512]; /* what was wrong with the first line that was refused */
};

/* As ini_parse_stream() wants it. inih takes the rest of a long line for the next one. */
static char *read_line(char *buf, int size, void *user)
{
	struct file_context *context = user;
	char *line = context->trouble ? NULL : fgets(buf, size, context->stream);

	context->line++;
	if (!line && ferror(context->stream))
		context->trouble = strerror(errno);
	if (line && !strchr(line, '\n') && !feof(context->stream)) {
		context->trouble = "the line is too long: a list may go on in the next, indented";
		return NULL;
	}
	return line;
}

/* Always false. */
__attribute__((format(printf, 2, 3))) static bool complain(struct file_context *context,
							    const char *format, ...)
{
	va_list args;

	if (context->complaint[0])
		return false;
	va_start(args, format);
	vsnprintf(context->complaint, sizeof(context->complaint), format, args);
	va_end(args);
	return false;
}

/* Names what was probably meant. */
static bool complain_of_unknown(struct file_context *context, const char *section, const char *key)
{
	const char *names[SETTINGS_MAX + 1] = {NULL};
	const char *meant;
	size_t n = 0;

	for (size_t i = 0; i < n_settings; i++)
		if (!strcmp(settings[i].key, key))
			return complain(context, "there is no setting '%s' in [%s], but in [%s]", key,
					section, settings[i].section);
	for (size_t i = 0; i < n_settings; i++)
		if (!strcmp(settings[i].section, section))
			names[n++] = settings[i].key;
	meant = nearest_word(key, names);
	return complain(context, "there is no setting '%s' in [%s]: %s%s%s", key, section,
			meant ? "did you mean '" : "hvguestd --help lists them", meant ? meant : "",
			meant ? "'?" : "");
}

static int on_ini_value(void *user, const char *section, const char *key, const char *value)
{
	struct file_context *context = user;
	size_t i = setting_find(section, key);
	const struct setting *s = &settings[i];
	char origin[4096];

	if (i == n_settings)
		return complain_of_unknown(context, section, key);
	if (context->seen[i] && !s->forget)
		return complain(context, "this setting is given twice: %s", key);
	if (!context->seen[i] && s->forget)
		s->forget(context->config);
	snprintf(origin, sizeof(origin), "%s:%d", context->path, context->line);
	if (!s->set(context->config, value) ||
	    !keep(&context->config->values[i], value, origin, context->seen[i]))
		return complain(context, "%s = %s: %s", key, value, s->help);
	context->seen[i] = true;
	return true;
}

static int refuse_file(const char *path, int line, const char *why)
{
	log_error("%s:%d: %s", path, line, why);
	return CONFIG_BAD_FILE;
}

static int read_file(struct config *config, const char *path)
{
	struct file_context context = {.config = config, .path = path, .stream = fopen(path, "re")};
	int line;

	if (!context.stream) {
		log_error("%s cannot be read: %m", path);
		return CONFIG_BAD_FILE;
	}
	line = ini_parse_stream(read_line, &context, on_ini_value, &context);
	(void)fclose(context.stream);

	if (line < 0)
		return -ENOMEM;
	if (line > 0)
		return refuse_file(path, line, context.complaint[0] ? context.complaint
								    : "neither [section] nor key = value");
	if (context.trouble)
		return refuse_file(path, context.line, context.trouble);
	return 0;
}

static int is_drop_in(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 5 && !strcmp(entry->d_name + n - 5, ".conf");
}

/* The files of @path.d, in the order of their names. */
static int read_drop_ins(struct config *config, const char *path)
{
	_cleanup_free_ char *folder = NULL;
	struct dirent **entries;
	int n, r = 0;

	if (asprintf(&folder, "%s.d", path) < 0)
		return -ENOMEM;
	n = scandir(folder, &entries, is_drop_in, alphasort);
	if (n < 0 && errno != ENOENT) {
		log_error("%s cannot be read: %m", folder);
		return CONFIG_BAD_FILE;
	}
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *file = NULL;

		if (r == 0)
			r = asprintf(&file, "%s/%s", folder, entries[i]->d_name) < 0
				    ? -ENOMEM
				    : read_file(config, file);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return r;
}

static bool apply(struct config *config, size_t i, const char *value, const char *origin)
{
	if (settings[i].forget)
		settings[i].forget(config);
	return (*value == '\0' || settings[i].set(config, value)) &&
	       keep(&config->values[i], value, origin, false);
}

static int set_defaults(struct config *config)
{
	char name[64] = "";

	config->values = calloc(n_settings, sizeof(config->values[0]));
	if (!config->values)
		return -ENOMEM;
	if (gethostname(name, sizeof(name) - 1) < 0 || !shm_name_is_valid(name))
		strcpy(name, "guest");
	for (size_t i = 0; i < n_settings; i++)
		if (settings[i].value && !apply(config, i, settings[i].value, NULL))
			return -ENOMEM;
	return apply(config, setting_find("daemon", "name"), name, NULL) ? 0 : -ENOMEM;
}

/* What nobody has said is something else with a lab host. */
static int set_lab_defaults(struct config *config)
{
	if (!config->lab_socket)
		return 0;
	for (size_t i = 0; i < n_settings; i++)
		if (!config->values[i].origin && settings[i].lab_value &&
		    !apply(config, i, settings[i].lab_value, NULL))
			return -ENOMEM;
	return 0;
}

/* The folder @setting, unless it was said: @usual, or in a lab @beside in the run directory. */
static int choose_dir(struct config *config, size_t setting, const char *usual, const char *beside)
{
	_cleanup_free_ char *path = NULL;

	if (config->values[setting].origin)
		return 0;
	if (asprintf(&path, "%s/%s", config->run_dir, beside) < 0)
		return -ENOMEM;
	return apply(config, setting, config->lab_socket ? path : usual, NULL) ? 0 : -ENOMEM;
}

/* What a lab's guest leaves is of no use when its run directory is gone. */
static int choose_dirs(struct config *config)
{
	int r;

	r = choose_dir(config, setting_find("daemon", "state_dir"), HVGUEST_STATEDIR, "state");
	if (r)
		return r;
	return choose_dir(config, setting_find("kvp", "dir"), CONFIG_KVP_DIR, "kvp");
}

static int take_option(struct config *config, size_t i, const char *value)
{
	if (*value && apply(config, i, value, "command line"))
		return 0;
	log_error("--%s %s: %s", settings[i].option, value, settings[i].help);
	return CONFIG_BAD_USAGE;
}

static void make_option_table(struct option table[SETTINGS_MAX + N_COMMON_OPTIONS + 1])
{
	static const struct option common[N_COMMON_OPTIONS + 1] = {
		{"config", required_argument, NULL, OPTION_CONFIG},
		{"check-config", no_argument, NULL, OPTION_CHECK},
		{"dump-config", no_argument, NULL, OPTION_DUMP},
		{"example-config", no_argument, NULL, OPTION_EXAMPLE},
		{"manual", no_argument, NULL, OPTION_MANUAL}, /* these three are for the build */
		{"catalog", no_argument, NULL, OPTION_CATALOG},
		{"manual-events", no_argument, NULL, OPTION_EVENTS},
		{"help", no_argument, NULL, OPTION_HELP},
		{"version", no_argument, NULL, OPTION_VERSION},
		{NULL, 0, NULL, 0},
	};

	for (size_t i = 0; i < n_settings; i++)
		table[i] = (struct option){settings[i].option, required_argument, NULL, (int)i};
	memcpy(&table[n_settings], common, sizeof(common));
}

/* One pass over the command line; the file has to be known before its other options count. */
static int read_command_line(int argc, char **argv, struct config *config, struct request *request)
{
	struct option options[SETTINGS_MAX + N_COMMON_OPTIONS + 1];
	int o, r = 0;

	make_option_table(options);
	optind = 0; /* it may be read again */
	opterr = 0;
	while (r == 0 && (o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (o) {
		case OPTION_CONFIG:
			request->file = optarg;
			break;
		case OPTION_CHECK:
			request->check = true;
			break;
		case OPTION_DUMP:
			request->dump = true;
			break;
		case OPTION_EXAMPLE:
			print_example();
			return CONFIG_DONE;
		case OPTION_MANUAL:
			print_manual();
			return CONFIG_DONE;
		case OPTION_CATALOG:
			journal_print_catalog();
			return CONFIG_DONE;
		case OPTION_EVENTS:
			journal_print_manual();
			return CONFIG_DONE;
		case OPTION_HELP:
			print_help();
			return CONFIG_DONE;
		case OPTION_VERSION:
			puts("hvguestd " PACKAGE_VERSION);
			return CONFIG_DONE;
		case ':':
		case '?':
			(void)usage_complain(o, argv, "hvguestd", "hvguestd --help");
			return CONFIG_BAD_USAGE;
		default:
			if (config)
				r = take_option(config, (size_t)o, optarg);
		}
	}
	if (r == 0 && optind < argc) {
		log_error("what is '%s'? see hvguestd --help", argv[optind]);
		return CONFIG_BAD_USAGE;
	}
	return r;
}

static int read_files(struct config *config, const char *file)
{
	static const char default_file[] = HVGUEST_SYSCONFDIR "/hvguest.conf";
	struct stat st;
	int r = 0;

	if (file || stat(default_file, &st) == 0)
		r = read_file(config, file ? file : default_file);
	return r ? r : read_drop_ins(config, file ? file : default_file);
}

/* From all sources. */
static int read_all(int argc, char **argv, struct config *config, struct request *request)
{
	int r;

	r = set_defaults(config);
	if (r)
		return r;
	r = read_command_line(argc, argv, NULL, request);
	if (r)
		return r;
	r = read_files(config, request->file);
	if (r)
		return r;
	r = read_command_line(argc, argv, config, request);
	if (r)
		return r;
	r = set_lab_defaults(config);
	return r ? r : choose_dirs(config);
}

int config_load(int argc, char **argv, struct config *ret_config)
{
	struct config config = {0};
	struct request request = {0};
	int r;

	r = read_all(argc, argv, &config, &request);
	if (r == 0 && request.dump)
		print_values(&config);
	if (r == 0 && (request.check || request.dump))
		r = CONFIG_DONE;
	if (r) {
		config_fini(&config);
		return r;
	}
	*ret_config = config;
	return 0;
}

static bool is_same(const struct config_value *a, const struct config_value *b)
{
	return a->text && b->text ? !strcmp(a->text, b->text) : a->text == b->text;
}

/* Gives the setting the text of @from, which has been read without a mistake before. */
static bool take_on(struct config *config, size_t i, const struct config_value *from)
{
	_cleanup_free_ char *copy = strdup(from->text ? from->text : "");
	struct config_value *v = &config->values[i];
	char *save = NULL;
	bool ok = copy;

	if (settings[i].forget)
		settings[i].forget(config);
	for (char *line = ok ? strtok_r(copy, "\n", &save) : NULL; line && ok;
	     line = strtok_r(NULL, "\n", &save))
		ok = settings[i].set(config, line + strspn(line, " "));
	return ok && keep(v, from->text ? from->text : "", from->origin, false);
}

int config_reload(int argc, char **argv, struct config *config, unsigned *ret_changes)
{
	struct config fresh = {0};
	struct request request = {0};
	unsigned changes = 0;
	int r = read_all(argc, argv, &fresh, &request);

	for (size_t i = 0; r == 0 && i < n_settings; i++) {
		const struct setting *s = &settings[i];
		const struct config_value *v = &fresh.values[i];

		if (is_same(&config->values[i], v))
			continue;
		if (!s->reloads) {
			log_warning("%s in [%s] has changed (%s): it takes effect when hvguestd is restarted",
				    s->key, s->section, v->origin ? v->origin : "default");
			continue;
		}
		if (!take_on(config, i, v))
			r = -ENOMEM;
		log_notice("%s in [%s] is now: %s", s->key, s->section, v->text ? v->text : "nothing");
		changes++;
	}
	config_fini(&fresh);
	*ret_changes = changes;
	return r;
}

void config_fini(struct config *config)
{
	settings_fini(config);
	for (size_t i = 0; config->values && i < n_settings; i++) {
		free(config->values[i].text);
		free(config->values[i].origin);
	}
	free(config->values);
	*config = (struct config){0};
}
