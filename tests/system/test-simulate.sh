#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Policies compared without a host, and what a host's guests report: hvhost simulate, record and replay,
# with the real programs.

. "$(dirname "$0")/tap.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 300

simulate=("$hvhost" simulate --hours 1 --host-memory 32G)

"${simulate[@]}" --json >"$run/one.json"
is "simulate ends well" $? 0
is "... and has all policies" "$(jq '.policies | length' "$run/one.json")" 7
"${simulate[@]}" --json >"$run/two.json"
check "the same seed gives the same result" cmp "$run/one.json" "$run/two.json"
"${simulate[@]}" --json --seed 2 >"$run/three.json"
check "another seed another one" eval '! cmp -s "$run/one.json" "$run/three.json"'
"${simulate[@]}" --policy hvguest --policy mom --svg "$run/plot.svg" >"$run/table"
is "two policies, as a table" "$(grep -cE '^(hvguest|mom) ' "$run/table")" 2
is "... and no other" "$(grep -cE '^(static|proxmox) ' "$run/table")" 0
is "... and as a chart with a line for each" "$(grep -c '<polyline' "$run/plot.svg")" 2
check "... which ends" eval 'tail -1 "$run/plot.svg" | grep -q "^</svg>$"'

# wrong NAME PATTERN OPTION...: is a usage error that says why
wrong() {
    local name=$1 pattern=$2
    shift 2
    "$hvhost" simulate "$@" >"$run/wrong.out" 2>&1
    is "$name is refused" $? 2
    check "... and it says why" grep -q -- "$pattern" "$run/wrong.out"
}
wrong "an unknown kind of guest" "--fleet lazy=1: this is not like" --fleet lazy=1
wrong "an unknown policy" "no policy 'best': they are hvguest" --policy best
wrong "no hour at all" "--hours 0: this is not 1 to 168" --hours 0
wrong "a stall of nothing" "--stall 0: this is not a percentage" --stall 0

start_host --startup 1G --minimum 512M --first-action 3600
start_guest one
check "a guest is ready" soon eval '[ "$(host_value one .memory.state)" = ready ]'
check "... and has reported" soon eval '[ "$(host_value one .memory.committed_bytes)" -gt 0 ]'
host record --seconds 4 --to "$run/recording"
is "record ends after as many seconds as it was told" $? 0
is "... with a head" "$(head -1 "$run/recording")" "hvguest-recording 1"
is "... the guest's limits" "$(grep ^limits "$run/recording")" "limits one 262144 131072 262144 20 5000"
check "... and its reports" eval '[ "$(grep -c "^status [0-9]* one 262144 0 " "$run/recording")" -ge 3 ]'
check "replay runs it" "$hvhost" replay "$run/recording"
is "... by one policy" \
    "$("$hvhost" replay "$run/recording" --policy hvguest --json | jq -r '.policies[] | "\(.policy) \(.guests) \(.fits)"')" \
    "hvguest 1 true"
is "... not on a host that is too small" \
    "$("$hvhost" replay "$run/recording" --policy hvguest --host-memory 400M --json | jq -r '.policies[].fits')" false
echo "status 1 two 1 1 1 1 1" >>"$run/recording"
"$hvhost" replay "$run/recording" >"$run/wrong.out" 2>&1
is "a line that is wrong is refused" $? 1
check "... by its number" grep -q "recording:[0-9]*: there are no limits of this guest before" "$run/wrong.out"

ends "the guest ends at Ctrl-C" "$one_pid"
ends "and the host" "$host_pid"
no_reports
done_testing
