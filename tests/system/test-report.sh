#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What the host is told that this machine needs, by each rule, on this machine's own figures: the sum
# of the terms that hvguestctl why shows, done again here. And under real load: a group of processes
# that may have 24 MiB reads a file of 96 MiB again and again, so that tasks wait and pages are
# refaulted; the reports rise, and do not wait for the next second.

. "$(dirname "$0")/tap.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/thrash.sh"
watchdog 300
take_turn

# why GUEST FILTER: what jq finds in hvguestctl why
why() {
    guest "$1" why --json | jq -r ".memory | $2"
}

# holds GUEST FILTER: whether it is true of one answer
holds() {
    guest "$1" why --json | jq -e ".memory | $2" >/dev/null
}

# What Linux's driver computes: drivers/hv/hv_balloon.c, post_status() and compute_balloon_floor().
kernel_formula='
    def floor_of: if . < 128 * 256 then 8 * 256 + . / 2
        elif . < 512 * 256 then 40 * 256 + . / 4
        elif . < 2048 * 256 then 104 * 256 + . / 8
        elif . < 8192 * 256 then 232 * 256 + . / 16
        else 488 * 256 + . / 32 end | floor;
    ((.inputs.committed_as_bytes / 4096 | floor) + (.inputs.mem_total_bytes / 4096 | floor | floor_of)) * 4096'

start_host --first-action 3600
start_guest one
start_guest two --report workingset
start_guest three --report psi --stall-target 2

for name in one two three; do
    check "$name connects" soon ready "$name"
    check "$name reports" soon holds "$name" '.report.committed_bytes > 0'
    check "$name's terms are the whole of its report" \
        holds "$name" '([.report.terms[].bytes] | add) == .report.committed_bytes'
    check "the host has heard it" soon eval \
        "[ \"\$(host_value $name .memory.committed_bytes)\" = \"\$(why $name .report.committed_bytes)\" ]"
done

is "the rule is the kernel's unless another is configured" "$(why one .report.rule)" compat
check "... to the page" holds one "(.report.committed_bytes) == ($kernel_formula)"
is "another rule is the configured one" "$(why two .report.rule)" workingset
check "... which counts what is in use" holds two '
    (.report.terms[] | select(.name == "used") | .bytes) == .inputs.mem_total_bytes - .inputs.mem_available_bytes'
is "the third is, too" "$(why three .report.rule)" psi
is "... with its target" "$(why three .report.suffered.stall_target_percent)" 2
check "what the other rules would say is shown" \
    holds one '.report.otherwise.by_rule | (.compat > 0) and (.workingset > 0) and (.psi > 0)'
check "... and is what they say, but for the time in between" eval '
    a=$(why one .report.otherwise.by_rule.workingset) b=$(why two .report.committed_bytes)
    [ $(((a > b ? a - b : b - a) * 10)) -lt "$b" ]'
check "people can read it" eval 'guest two why | grep -q "otherwise .*report = compat would say"'
check "... each term in its line" eval '[ "$(guest two why | grep -c "^ *+ ")" -ge 1 ]'

# --- load

share() {
    why "$1" "[.report.terms[] | select(.name == \"$2\") | .bytes] | add // 0"
}

if [ ! -e /proc/pressure/memory ]; then
    skip "a machine that stalls" "this kernel does not measure stalls"
elif ! make_group; then
    skip "a machine that stalls" "needs a memory cgroup"
else
    thrash 6
    if soon stalled; then
        check "tasks wait: the working set has a share for it" soon eval '[ "$(share two stalls)" -gt 0 ]'
        check "... and for what is read again" soon eval '[ "$(share two refaults)" -gt 0 ]'
        check "the controller asks for more" soon eval '[ "$(share three target)" -gt 0 ]'
        check "... by what was suffered above the target" holds three '.report.suffered.stalled_percent >= 0'
        check "reports do not wait for the next second" soon holds two \
            '.report.urgent > 0 and .report.suffered.seconds < 0.9'
        check "the terms are still the whole report" \
            holds two '([.report.terms[].bytes] | add) == .report.committed_bytes'
        check "the kernel's rule knows nothing of it" holds one \
            '.report.need_bytes > 0 or .report.otherwise.by_rule.compat == .report.committed_bytes'
        stop "$thrash_pid"
        before=$(share two stalls)
        check "when it is over the share falls" soon eval '[ "$(share two stalls)" -lt $((before / 2 + 1)) ]'
    else
        skip "a machine that stalls" "$(head -1 /proc/pressure/memory)"
    fi
    stop "$thrash_pid"
fi

# --- a group

mkdir "$run/group"
group_file() {
    cat >"$run/group/$1"
}
# refaults NUMBER: of four digits, written over what is there as the kernel does, at no time less
refaults() {
    printf 'workingset_refault_file %s' "$1" | dd of="$run/later/memory.stat" conv=notrunc status=none
}
group_file memory.current <<<1000000
printf 'workingset_refault_file 0000\nworkingset_refault_anon 0\nanon 1000\n' | group_file memory.stat
group_file memory.max <<<max
start_guest four --report workingset --report-cgroup "$run/later"
check "a guest with a group that is not there says so" soon grep -q "later is no group" "$run/four.log"
is "... and shows it" "$(why four .report.suffered.group.is_there)" false
mv "$run/group" "$run/later"
check "when it comes it is looked at" soon holds four '.report.suffered.group.is_there'
refaults 5000
check "what is read again there counts" soon eval '[ "$(share four refaults)" -gt 0 ]'
echo 1000000 >"$run/later/memory.max"
check "a group at its own limit is seen" soon holds four '.report.suffered.group.at_limit'
check "... and people are told" eval 'guest four why | grep -q "at its own limit"'

refuse "a rule that there is not is refused" 2 "$hvguestd" --report best
refuse "so is a target of nothing" 2 "$hvguestd" --stall-target 0
refuse "and a group that is no path" 2 "$hvguestd" --report-cgroup system.slice

no_reports
done_testing
