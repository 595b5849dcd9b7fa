#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Several guests and one budget, with the real programs: a guest that starts has memory reserved that
# others give; shares by weight; limits that change while all run; pause, dry run, why. Each guest is
# this whole machine and wants all it can have, so what they get is decided by the budget alone.

. "$(dirname "$0")/tap.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 300
take_turn

mib=$((1 << 20))

# why NAME FILTER; balance FILTER
why() {
    host why "$1" --json 2>/dev/null | jq -r "$2"
}

balance() {
    host balance status --json 2>/dev/null | jq -r "$1"
}

# has NAME MIB: it is assigned that, give or take two
has() {
    local bytes
    bytes=$(host_value "$1" .memory.assigned_bytes)
    [ -n "$bytes" ] && [ $((bytes / mib)) -ge $(($2 - 2)) ] && [ $((bytes / mib)) -le $(($2 + 2)) ]
}

# within_budget: never more than the budget is charged, at any look
within_budget() {
    [ "$(balance '.charged_bytes + .held_bytes + .reserve_bytes <= .budget_bytes')" = true ]
}

cat >"$run/guests.conf" <<END
[guest one]
weight = 1000
[guest two]
weight = 3000
END

start_host --host-memory 1088M --reserve 64M --startup 768M --minimum 256M --first-action 0 --spacing 0 \
    --guests "$run/guests.conf"
start_guest one
check "the first guest has its startup memory" soon has one 768
check "... and is ready" soon eval '[ "$(host_value one .memory.state)" = ready ]'
start_guest two
check "the second finds room, because the first has given" soon has two 768
check "... which was reserved for it" grep -q "two: .* are set aside for it" "$run/host.log"
check "... within the budget" within_budget

# 1024 MiB for two that want 768 each, 1 : 3, none below 256
check "memory is shared by weight: the light one has its minimum" soon has one 256
check "... and the heavy one the rest" soon has two 768
cat >"$run/guests.conf" <<END
[guest one]
weight = 5000
[guest two]
weight = 5000
END
kill -HUP "$host_pid"
check "weights change while they run: each has half" soon eval 'has one 512 && has two 512'
check "... within the budget" within_budget
check "why: the host has not what it wants" soon eval 'why one .why | grep -q "has its share of what the host has"'
is "... its goal" "$(why one '.goal_bytes / 1048576')" 512
is "... what it wants" "$(why one '.wanted_bytes / 1048576')" 768
is "... and its weight" "$(why one .limits.weight)" 5000
check "why says it to people" eval 'host why one | grep -q "its share"'
check "... and what would have changed it" soon eval \
    'host why one | grep -A1 "what would have changed it" | grep -q "256 MiB more free memory of the host"'

host balance pause >/dev/null
is "a pause is shown" "$(balance .paused)" true
is "... and is why nothing is done" "$(why one .why)" "balancing is paused"
host memory one --assign 300M >/dev/null
sleep 1
check "nothing moves then" has one 512
host balance dry-run >/dev/null
check "a dry run decides" eval '[ "$(why one .target_bytes)" -le $((300 * mib)) ]'
is "... and says so" "$(why one .dry_run)" true
sleep 1
check "... without effect" has one 512
host balance resume >/dev/null
check "then it is done" soon has one 300
check "... and what it gave is the other's" soon has two 724
check "... within the budget" within_budget

printf '[guest one]\nminimum = 2G\nmaximum = 1G\n' >"$run/guests.conf"
kill -HUP "$host_pid"
check "limits that contradict each other are refused with file and line" \
    soon grep -q "guests.conf:3: \[guest one\]: not minimum <= startup <= maximum" "$run/host.log"
printf '[guest one]\nminimum = 640M\nweigth = 3\n' >"$run/guests.conf"
kill -HUP "$host_pid"
check "an unknown key is, too" soon grep -q "guests.conf:3: 'weigth' is not" "$run/host.log"
check "and the old ones stay" has one 300
printf '[guest one]\nstartup = 1000M\nminimum = 1000M\nmaximum = 1000M\n' >"$run/guests.conf"
kill -HUP "$host_pid"
check "minima that the host cannot keep are refused" soon grep -q "one: keeps its limits" "$run/host.log"

start_guest three
check "one for which there can be no room is told so" soon grep -q \
    "refuses this guest: the host's budget has no room for this guest, even if all others had their minimum" "$run/three.log"
ends "... and ends at Ctrl-C all the same" "$three_pid"
reserved=$(host reserve x 800M 2>&1)
is "a reservation that cannot be is refused" $? 1
check "... with the reason" grep -q "the host has not the memory for it, even if all other guests had their minimum" \
    <<<"$reserved"
host reserve x 200M --wait >"$run/reserved"
is "a reservation is filled by others" "$(cat "$run/reserved")" "x: 200 MiB of 200 MiB are set aside"
check "... within the budget" within_budget
is "... and shown" "$(host reserve x --json | jq -c '[.bytes, .complete]')" "[$((200 * mib)),true]"
host reserve x 100M >/dev/null 2>&1
is "there is one of a name at most" $? 1
host reserve x --cancel >/dev/null
check "given up, it is given back" soon has two 724
host reserve x >/dev/null 2>&1
is "... and not known any more" $? 1
host reserve y 100M --seconds 4000 >/dev/null 2>&1
is "nothing is reserved for ever" $? 2

"$hvhost" serve --run-dir "$run/other" --host-memory 1G --reserve 2G >"$run/other.out" 2>&1
is "a reserve above the host's memory is refused" $? 2
"$hvhost" serve --run-dir "$run/other" --guests "$run/missing" >"$run/other.out" 2>&1
is "so is a file that is not there" $? 2
check "... by name" grep -q "$run/missing: No such file" "$run/other.out"

ends "the guest ends at Ctrl-C" "$one_pid"
check "what it had is free for the other" soon has two 768
ends "so does the other" "$two_pid"
is "nothing is charged then" "$(balance .charged_bytes)" 0
ends "and the host" "$host_pid"
no_reports
done_testing
