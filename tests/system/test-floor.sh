#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What a machine keeps for itself: a host asks for more than is available above the floor, and for
# memory while tasks of this machine wait for memory. The floor is put just below what is available,
# so little is taken whatever this machine has. The stalls are real: a group of processes that may
# have 24 MiB reads a file of 96 MiB again and again.

. "$(dirname "$0")/tap.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/thrash.sh"
watchdog 300
take_turn

mib=1048576

available_mib() {
    awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo
}

[ "$(available_mib)" -gt 4096 ] || skip_all "needs 4 GiB of available memory"

# why FILTER: what jq finds in hvguestctl why
why() {
    guest one why --json | jq -r ".memory | $1"
}

assign() {
    host memory one --assign "$1" >"$run/assign.out" 2>&1
}

# ended REASON: the last request is over, and this is why it got less
ended() {
    [ "$(why '"\(.last_request.running) \(.last_request.why)"')" = "false $1" ]
}

log_has() {
    grep -q "$1" "$run/one.log"
}

start_host --startup 4G

# --- the floor

floor_mib=$(($(available_mib) - 512))
start_guest one --floor "${floor_mib}M"
check "it connects" soon ready one
is "the floor is the configured one" "$(why .floor.bytes)" $((floor_mib * mib))
is "... by the rule of that name" "$(why .floor.rule)" absolute
assign 2G
check "a request for 2 GiB ends at the floor" soon ended "no more is available above the floor"
given=$(why .last_request.given_bytes)
asked=$(why .last_request.asked_bytes)
diag "asked $((asked / mib)) MiB, given $((given / mib)) MiB"
check "... with some of it given" [ "$given" -gt 0 ]
check "... and not all" [ "$given" -lt "$asked" ]
# The host asks again from time to time, and gets what has become available since.
check "both sides count the same" soon eval \
    '[ "$(host_value one .memory.ballooned_bytes)" = "$(guest_value one .memory.ballooned_bytes)" ]'
check "the log says how much, and why" log_has "asked for .* and gets .* above the floor"
check "hvguestctl why says it to people" eval 'guest one why | grep -q "got .* above the floor"'
assign 4G
check "the guest takes it back" soon eval '[ "$(guest_value one .memory.ballooned_bytes)" = 0 ]'
ends "the guest ends" "$one_pid"

# --- need: less than half of the floor is available

start_guest one --floor "$(($(available_mib) * 3))M"
check "a guest far below its floor says that it is in need" soon log_has "in need, less than half"
check "... asks the host for more" eval '[ "$(why .report.need_bytes)" -gt 0 ]'
is "... and shows it" "$(guest_value one .memory.need)" "less than half of the floor is available"
ends "it ends" "$one_pid"

# --- stalls

if [ ! -e /proc/pressure/memory ]; then
    skip "a machine that stalls" "this kernel does not measure stalls"
elif ! make_group; then
    skip "a machine that stalls" "needs a memory cgroup"
else
    start_guest one --stall-limit 2
    check "another guest connects" soon ready one
    thrash 3
    if soon stalled; then
        assign 3G
        check "a request gets nothing while tasks wait for memory" soon ended "tasks wait for memory"
        is "... not a page" "$(guest_value one .memory.ballooned_bytes)" 0
        check "reports are made when tasks begin to wait" soon eval '[ "$(why .report.urgent)" -gt 0 ]'
        stop "$thrash_pid"
        ends "it ends" "$one_pid"
        start_guest one --stall-limit 0
        check "a guest without a limit connects" soon ready one
        thrash 3
        assign 3G
        check "... and gives all the same" soon eval '[ "$(why .last_request.given_bytes)" = $((1024 * mib)) ]'
    else
        skip "a machine that stalls" "$(head -1 /proc/pressure/memory)"
    fi
    stop "$thrash_pid"
fi

no_reports
done_testing
