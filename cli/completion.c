/* SPDX-License-Identifier: MIT */

/*
 * Completion for shells, from the table of verbs.
 *
 * The build writes what this prints into files that the shells read. A verb's own options are offered
 * behind it, the common ones everywhere, and operands that can be only a few words as those words.
 */

#include "cli/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char common[] = "--json --api --help --version";

/* The words that can stand in the place of operands like "get|set [KEY]" or "[grow DISK]". */
static void print_words(const char *operands)
{
	for (const char *p = operands ? operands : ""; *p;) {
		size_t n = strcspn(p, "|[] ");

		if (n > 0 && islower((unsigned char)*p))
			printf(" %.*s", (int)n, p);
		p += n + (p[n] != '\0');
	}
}

static void print_bash(const struct verb *verbs, size_t n)
{
	puts("# bash completion for hvguestctl; written by hvguestctl --completion bash\n"
	     "_hvguestctl() {\n"
	     "    local word=${COMP_WORDS[COMP_CWORD]} verb= i\n"
	     "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
	     "        case ${COMP_WORDS[i]} in --api) ((i++)) ;; -*) ;; *) verb=${COMP_WORDS[i]} && break ;; esac\n"
	     "    done\n"
	     "    if [ \"${COMP_WORDS[COMP_CWORD - 1]}\" = --api ]; then\n"
	     "        COMPREPLY=($(compgen -f -- \"$word\"))\n"
	     "        return\n"
	     "    fi\n"
	     "    case $verb in");
	for (size_t i = 0; i < n; i++) {
		printf("    %s) COMPREPLY=($(compgen -W \"%s", verbs[i].name, common);
		for (const struct cli_option *o = verbs[i].options; o->name; o++)
			printf(" --%s", o->name);
		print_words(verbs[i].operands);
		puts("\" -- \"$word\")) ;;");
	}
	printf("    *) COMPREPLY=($(compgen -W \"%s", common);
	for (size_t i = 0; i < n; i++)
		printf(" %s", verbs[i].name);
	puts("\" -- \"$word\")) ;;\n    esac\n}\ncomplete -F _hvguestctl hvguestctl");
}

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

static void print_zsh(const struct verb *verbs, size_t n)
{
	puts("#compdef hvguestctl\n# written by hvguestctl --completion zsh\n"
	     "local -a verbs\nverbs=(");
	for (size_t i = 0; i < n; i++) {
		printf("    '%s:", verbs[i].name);
		print_quoted(verbs[i].help);
		puts("'");
	}
	puts(")\n"
	     "_arguments -C '--json[the answer as JSON]' '--api[the daemon]:socket:_files' '--help[help]' "
	     "'--version[version]' '1:verb:->verb' '*::operand:->operand'\n"
	     "case $state in\n"
	     "verb) _describe verb verbs ;;\n"
	     "operand)\n"
	     "    case $words[1] in");
	for (size_t i = 0; i < n; i++) {
		printf("    %s) _arguments", verbs[i].name);
		for (const struct cli_option *o = verbs[i].options; o->name; o++) {
			printf(" '--%s[", o->name);
			print_quoted(o->help);
			printf("]%s%s'", o->argument ? ":" : "", o->argument ? o->argument : "");
		}
		fputs(" '*:operand:(", stdout);
		print_words(verbs[i].operands);
		puts(")' ;;");
	}
	puts("    esac ;;\nesac");
}

int completion_print(const char *shell, const struct verb *verbs, size_t n)
{
	if (!strcmp(shell, "bash"))
		print_bash(verbs, n);
	else if (!strcmp(shell, "zsh"))
		print_zsh(verbs, n);
	else
		return EXIT_USAGE;
	return EXIT_OK;
}
