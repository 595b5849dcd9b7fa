/* SPDX-License-Identifier: MIT */

/*
 * Completion for shells.
 *
 * For bash it is a function with a case for each verb, and in it a case for what stands before the
 * word: an option that takes a value has that completed, else options and operands are offered. For
 * zsh each verb is a call of _arguments.
 */

#include "base/completion.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static bool is_bash(const struct completion *c)
{
	return strcmp(c->shell, "bash") == 0;
}

bool completion_knows(const char *shell)
{
	return !strcmp(shell, "bash") || !strcmp(shell, "zsh");
}

/* The words in small letters of "get|set [KEY]" or "[grow DISK]"; options and what follows are not. */
static void print_words(const char *text)
{
	for (const char *p = text ? text : ""; *p && *p != '-';) {
		size_t n = strcspn(p, "|[] ");

		if (n > 0 && islower((unsigned char)*p))
			printf(" %.*s", (int)n, p);
		p += n + (p[n] != '\0');
	}
}

static bool has_words(const char *text)
{
	for (const char *p = text; p && *p && *p != '-';) {
		size_t n = strcspn(p, "|[] ");

		if (n > 0 && islower((unsigned char)*p))
			return true;
		p += n + (p[n] != '\0');
	}
	return false;
}

/* Whether one of the words is something that the file system has. */
static bool names_files(const char *text)
{
	static const char *const words[] = {"FILE", "DIR", "SOCKET", "PATH"};

	for (size_t i = 0; text && i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(text, words[i]))
			return true;
	return false;
}

static bool names_guests(const char *text)
{
	return text && strstr(text, "GUEST");
}

/* bash. */

/* The cases of options of @list that take a value. */
static void print_bash_values(const struct completion_option *list)
{
	for (const struct completion_option *o = list; o->name; o++) {
		if (!o->argument)
			continue;
		printf("        --%s) ", o->name);
		if (has_words(o->argument)) {
			fputs("COMPREPLY=($(compgen -W \"", stdout);
			print_words(o->argument);
			fputs("\" -- \"$word\")) ", stdout);
		} else if (names_files(o->argument)) {
			fputs("COMPREPLY=($(compgen -f -- \"$word\")) ", stdout);
		}
		puts(";;");
	}
}

static void print_bash_names(const struct completion_option *list)
{
	for (const struct completion_option *o = list; o->name; o++)
		printf(" --%s", o->name);
}

static void begin_bash(const struct completion *c)
{
	printf("# bash completion for %s; written by %s --completion bash\n"
	       "_%s() {\n"
	       "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb= i\n"
	       "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "        case ${COMP_WORDS[i]} in\n",
	       c->program, c->program, c->program);
	for (const struct completion_option *o = c->options; o->name; o++)
		if (o->argument)
			printf("        --%s) ((i++)) ;;\n", o->name);
	puts("        -*) ;;\n"
	     "        *) verb=${COMP_WORDS[i]} && break ;;\n"
	     "        esac\n"
	     "    done\n"
	     "    COMPREPLY=()\n"
	     "    case $verb in");
}

static void print_bash_verb(const struct completion *c, const char *name, const char *operands,
			    const struct completion_option *options)
{
	printf("    %s)\n        case $before in\n", name);
	print_bash_values(options);
	print_bash_values(c->options);
	fputs("        *) COMPREPLY=($(compgen -W \"", stdout);
	print_bash_names(options);
	print_bash_names(c->options);
	print_words(operands);
	if (names_guests(operands))
		printf(" $(%s status --names 2>/dev/null)", c->program);
	fputs("\" -- \"$word\")", stdout);
	if (names_files(operands))
		fputs(" $(compgen -f -- \"$word\")", stdout);
	puts(") ;;\n        esac ;;");
}

static void end_bash(const struct completion *c)
{
	puts("    *)\n        case $before in");
	print_bash_values(c->options);
	fputs("        *) COMPREPLY=($(compgen -W \"", stdout);
	print_bash_names(c->options);
	for (size_t i = 0; i < c->n_verbs; i++)
		printf(" %s", c->verbs[i].name);
	printf("\" -- \"$word\")) ;;\n        esac ;;\n    esac\n}\ncomplete -F _%s %s\n", c->program,
	       c->program);
}

/* zsh. */

/* Inside of single quotes and brackets. */
static void print_quoted(const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", stdout);
		else if (strchr("[]:", *text))
			printf("\\%c", *text);
		else
			putchar(*text);
	}
}

static void print_zsh_options(const struct completion_option *list)
{
	for (const struct completion_option *o = list; o->name; o++) {
		printf(" '*--%s[", o->name);
		print_quoted(o->help);
		putchar(']');
		if (o->argument) {
			putchar(':');
			print_quoted(o->argument);
			putchar(':');
			if (has_words(o->argument)) {
				putchar('(');
				print_words(o->argument);
				fputs(" )", stdout);
			} else if (names_files(o->argument)) {
				fputs("_files", stdout);
			}
		}
		putchar('\'');
	}
}

static void begin_zsh(const struct completion *c)
{
	printf("#compdef %s\n# written by %s --completion zsh\nlocal -a verbs\nverbs=(\n", c->program,
	       c->program);
	for (size_t i = 0; i < c->n_verbs; i++) {
		printf("    '%s:", c->verbs[i].name);
		print_quoted(c->verbs[i].help);
		puts("'");
	}
	fputs(")\n_arguments -C", stdout);
	print_zsh_options(c->options);
	puts(" '1:verb:->verb' '*::operand:->operand'\n"
	     "case $state in\n"
	     "verb) _describe verb verbs ;;\n"
	     "operand)\n"
	     "    case $words[1] in");
}

static void print_zsh_verb(const struct completion *c, const char *name, const char *operands,
			   const struct completion_option *options)
{
	printf("    %s) _arguments", name);
	print_zsh_options(options);
	print_zsh_options(c->options);
	fputs(" '*:operand:{ compadd --", stdout);
	print_words(operands);
	if (names_guests(operands))
		printf(" $(%s status --names 2>/dev/null)", c->program);
	if (names_files(operands))
		fputs("; _files", stdout);
	puts(" }' ;;");
}

void completion_begin(const struct completion *c)
{
	if (is_bash(c))
		begin_bash(c);
	else
		begin_zsh(c);
}

void completion_verb(const struct completion *c, const char *name, const char *operands,
		     const struct completion_option *options)
{
	if (is_bash(c))
		print_bash_verb(c, name, operands, options);
	else
		print_zsh_verb(c, name, operands, options);
}

void completion_end(const struct completion *c)
{
	if (is_bash(c))
		end_bash(c);
	else
		puts("    esac ;;\nesac");
}
