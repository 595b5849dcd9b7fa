#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs the checks of this folder on the tree, in TAP, for `make check`. Before each it is shown that
# the check can fail: every kind of mistake is planted in a small tree that is right otherwise.
#
# Environment: srcdir, builddir, PURE_ARCHIVES (relative to builddir), CC, AR, NM.

set -u
: "${srcdir:=.}" "${builddir:=.}" "${PURE_ARCHIVES:=}" "${CC:=cc}" "${AR:=ar}"
tools=$srcdir/tools
number=0
failed=0

tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT
trap 'exit 1' HUP INT TERM

result()
{
	number=$((number + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $number - $2"
	else
		echo "not ok $number - $2"
		printf '%s\n' "$output" | sed 's/^/# /'
		failed=1
	fi
}

# passes WHAT COMMAND...
passes()
{
	what=$1
	shift
	output=$("$@" 2>&1)
	result $? "$what"
}

# finds WHAT TEXT COMMAND...: the command must fail and say TEXT, in one line and no other
finds()
{
	what=$1
	text=$2
	shift 2
	if output=$("$@" 2>&1); then
		result 1 "$what"
		return
	fi
	[ "$(printf '%s\n' "$output" | wc -l)" -eq 1 ] &&
		printf '%s\n' "$output" | grep -qF -- "$text"
	result $? "$what"
}

# A tree in which every check is content.
plant_good_tree()
{
	rm -rf "$tree"/*
	mkdir "$tree/base" "$tree/vmbus" "$tree/vss" "$tree/tests"
	cat >"$tree/base/a.h" <<'END'
/* SPDX-License-Identifier: MIT */
#pragma once

struct a;

/* Makes two. */
int a_new(struct a **ret_a);
int a_new_again(int x,
		struct a **ret_a);
END
	cat >"$tree/base/a.c" <<'END'
/* SPDX-License-Identifier: MIT */

/*
 * What it is,
 * what always holds,
 * what it refuses.
 */

#include "base/a.h"
#include <stdlib.h>
END
	sed 's/base/vmbus/' "$tree/base/a.c" >"$tree/vmbus/a.c"
	cp "$tree/base/a.h" "$tree/vmbus/wire.h"
	cp "$tree/base/a.h" "$tree/vmbus/a.h"
	sed 's,base/a.h,vmbus/wire.h,' "$tree/base/a.c" >"$tree/vss/a.c"
	printf '%s\n\n/* A test. */\n\n#include "vss/b.h"\n#include "vmbus/a.h"\n' \
		'/* SPDX-License-Identifier: MIT */' >"$tree/tests/a.c"
	cat >"$tree/README.md" <<'END'
| part | state |
|---|---|
| a | works |

| folder | what is there |
|---|---|
| `base/` | a |
| `vmbus/` | a |
| `vss/` | a |
| `tests/` | a |
END
}

# planted_include FOLDER INCLUDE TEXT
planted_include()
{
	plant_good_tree
	echo "#include $2" >>"$tree/$1/a.c"
	finds "check-deps finds $2 in $1/" "$3" "$tools/check-deps" "$tree"
}

test_check_deps()
{
	plant_good_tree
	passes "check-deps is content with a good tree" "$tools/check-deps" "$tree"
	planted_include base '"vmbus/wire.h"' 'base/ may not include "vmbus/wire.h"'
	planted_include vss '"vmbus/a.h"' 'vss/ may not include "vmbus/a.h"'
	planted_include vmbus '"tests/a.h"' 'vmbus/ may not include "tests/a.h"'
	planted_include base '"a.h"' 'does not say its folder'
	planted_include tests '"a.h"' 'does not say its folder'
	planted_include base '"../base/a.h"' 'does not say its folder'
	planted_include base '"nowhere/a.h"' 'is in no folder of the table'
	planted_include base '<vmbus/a.h>' 'use quotes'
	plant_good_tree
	mkdir "$tree/util"
	cp "$tree/base/a.c" "$tree/util/a.c"
	finds "check-deps finds a folder that the table does not know" "does not know" \
		"$tools/check-deps" "$tree"
	passes "check-deps: every include of the tree is allowed" "$tools/check-deps" "$srcdir"
}

# archive NAME SOURCE: makes $tree/NAME.a
archive()
{
	printf '%s\n' "$2" >"$tree/$1.c"
	$CC -O0 -c -o "$tree/$1.o" "$tree/$1.c" && "$AR" cr "$tree/$1.a" "$tree/$1.o"
}

test_check_pure()
{
	plant_good_tree
	archive clean '#include <stdlib.h>
		#include <string.h>
		void *clean(void); void *clean(void) { return strdup("x"); }' &&
	archive caller 'void *clean(void); void *caller(void);
		void *caller(void) { return clean(); }' &&
	archive dirty 'int getpid(void); int dirty(void); int dirty(void) { return getpid(); }' &&
	archive fortified 'int __printf_chk(int, const char *, ...); int fortified(void);
		int fortified(void) { return __printf_chk(1, "x"); }'
	output="cannot compile"
	result $? "check-pure: the archives for the test are made"
	passes "check-pure is content with archives that need each other and memory" \
		"$tools/check-pure" "$tree/clean.a" "$tree/caller.a"
	finds "check-pure finds a system call" "needs getpid" \
		"$tools/check-pure" "$tree/clean.a" "$tree/dirty.a"
	finds "check-pure finds a fortified printf" "needs __printf_chk" \
		"$tools/check-pure" "$tree/fortified.a"
	finds "check-pure finds what is in none of the archives" "needs clean" \
		"$tools/check-pure" "$tree/caller.a"
	output=$("$tools/check-pure" "$tree/missing.a" 2>&1)
	[ $? -eq 1 ]
	result $? "check-pure finds an archive that is not there"
	set --
	for archive in $PURE_ARCHIVES; do
		set -- "$@" "$builddir/$archive"
	done
	passes "check-pure: the pure archives are pure ($#)" "$tools/check-pure" "$@"
}

# planted_edit WHAT FILE SED-SCRIPT TEXT
planted_edit()
{
	plant_good_tree
	sed "$3" "$tree/$2" >"$tree/edited" && mv "$tree/edited" "$tree/$2"
	finds "check-docs finds $1" "$4" "$tools/check-docs" "$tree"
}

test_check_docs()
{
	plant_good_tree
	passes "check-docs is content with a good tree" "$tools/check-docs" "$tree"
	planted_edit "a header without a licence" base/a.h 1d "does not name the licence"
	planted_edit "a source without a licence" base/a.c "1s/MIT/GPL/" "does not name the licence"
	planted_edit "an essay that is too short" base/a.c 5d "does not begin with an essay"
	planted_edit "a source without an essay" base/a.c '3,7d' "does not begin with an essay"
	planted_edit "a function without a comment" base/a.h '6d;8,9d' "no comment above: int a_new("
	planted_edit "a group cut off from its comment" base/a.h 7G \
		"no comment above: int a_new_again("
	planted_edit "a folder missing in the map" README.md '/vss/d' "does not have vss/"
	planted_edit "a folder missing in the tree" README.md '/vss/{p;s/vss/gone/;}' \
		"there is no folder gone/"
	planted_edit "a README without a status table" README.md '1,3d' "no table of what works"
	planted_edit "a link to a file that is not there" README.md '$a [more](docs/more.md)' \
		"leads nowhere: docs/more.md"
	planted_edit "a link to a heading that is not there" README.md '$a [more](#more-of-it)' \
		"leads nowhere: #more-of-it"
	plant_good_tree
	printf '\n# More, of it\n[a](#more-of-it) [b](base/a.c) [c](https://x.example/y) `[d](no)`\n```\n[e](no)\n```\n' \
		>>"$tree/README.md"
	passes "check-docs follows links, and nothing that is code" "$tools/check-docs" "$tree"
	plant_good_tree
	: >"$tree/README.md"
	passes "check-docs passes over an empty README" "$tools/check-docs" "$tree"
	passes "check-docs: the tree has the texts it must have" "$tools/check-docs" "$srcdir"
}

test_check_deps
test_check_pure
test_check_docs
echo "1..$number"
exit $failed
