#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvguestctl check for monitors, top for people, and completion for shells.

. "$(dirname "$0")/tap.sh"
need_programs jq
watchdog 120
. "$(dirname "$0")/lab.sh"

# status_of STATUS COMMAND...: its output in $run/out
status_of() {
    local wanted=$1
    shift
    "$@" >"$run/out" 2>"$run/err"
    [ $? = "$wanted" ]
}

says() {
    grep -qE -- "$1" "$run/out"
}

check "nobody there: unknown" status_of 3 guest one check
check "... in one line" says '^UNKNOWN - hvguestd does not answer$'

start_host --startup 1G --minimum 1000M --first-action 0
start_guest one --memory yes
check "it is ready" soon ready one
check "all is well" soon status_of 0 guest one check
check "... in one line, with amounts" says '^OK - connected to the host, last backup: none \| ballooned=[0-9]+B available=[0-9]+B;;[0-9]+:$'
is "... and it is one" "$(wc -l <"$run/out")" 1
check "a backup that was never made is a warning where one is wanted" status_of 1 guest one check --backup-age 24
check "... and says so" says '^WARNING - no backup has been made \|'
check "a freeze that failed" eval '! guest one freeze 2>/dev/null'
check "a program that is critical" guest one health set critical "no disk"
check "... is critical" status_of 2 guest one check --backup-age 24
check "... the worst is named first" says '^CRITICAL - a program here says that it is critical .*; no backup|^CRITICAL - .*critical'
check "as JSON" status_of 2 guest one check --json
is "... with the level" "$(jq .level "$run/out")" 2
check "an age that is none" status_of 3 guest one check --backup-age 0
check "... is said" grep -q "backup-age 0: hours" "$run/err"
guest one health set healthy >/dev/null

check "top: two pictures" status_of 0 guest one top --count 2
is "... with the channels" "$(grep -c '^heartbeat  *open' "$run/out")" 2
check "... without what only a terminal understands" eval '! grep -q $'"'\\\\033'"' "$run/out"'
check "top as JSON: a line each" status_of 0 guest one top --count 2 --json
is "... each whole" "$(jq -s 'map(.status.name, .why.memory.inputs.mem_total_bytes > 0) | tostring' "$run/out")" '"[\"one\",true,\"one\",true]"'
check "top: an interval that is none" status_of 2 guest one top --interval x
check "a verb that is misspelt" status_of 2 guest one staus
check "... is understood" grep -q "did you mean 'status'" "$run/err"

murder "$host_pid"
lost() {
    status_of 2 guest one check && says '^CRITICAL - no host'
}
check "a host that is gone is critical" soon lost

# completes WORD...: what bash would offer for the last one
completes() {
    bash -c '
        . "$0"
        COMP_WORDS=("$@")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _hvguestctl
        echo "${COMPREPLY[*]}"' "$run/completion" "$@"
}
check "completion for bash" status_of 0 "$hvguestctl" --completion bash
cp "$run/out" "$run/completion"
is "verbs" "$(completes hvguestctl st)" status
is "options of a verb" "$(completes hvguestctl notify --re)" --required
is "operands that are words" "$(completes hvguestctl kvp w)" watch
is "behind an option with a value" "$(completes hvguestctl --api x sta)" status
check "completion for zsh" status_of 0 "$hvguestctl" --completion zsh
check "... has all verbs" test "$(grep -c "^    '[a-z]*:" "$run/out")" = \
    "$("$hvguestctl" --help | grep -cE '^  [a-z]+( |$)')"
check "no other shell" status_of 2 "$hvguestctl" --completion fish

# Manual pages, if they were built.
page=$build/packaging/man/hvguest.conf.5
if [ -e "$page" ]; then
    is "every setting is in the manual" "$("$hvguestd" --example-config | sed -n 's/^;\([a-z_]*\) =.*/\1/p' | while read -r key; do
        grep -qF "fB$key\\f" "$page" || echo "$key"; done)" ""
    is "every verb is in the manual" "$("$hvguestctl" --help | sed -n 's/^  \([a-z]\+\)\( .*\|$\)/\1/p' | while read -r verb; do
        grep -q "fB$verb" "$build/packaging/man/hvguestctl.1" || echo "$verb"; done)" ""
else
    skip "every setting and verb is in the manual" "needs scdoc"
fi

ends "the guest ends well" "$one_pid"
no_reports
done_testing
