#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Dynamic memory survives its daemon: hvguestd is killed at random moments while real memory goes to
# the host and comes back, its keeper is killed, both are killed. The host must not notice, except
# when both are dead; no page that it has may move or be free; at the end the machine has everything.
# HVGUEST_SEED repeats a run.

. "$(dirname "$0")/tap.sh"
need_root
. "$(dirname "$0")/lab.sh"
watchdog 240

mib=1048576
startup_mib=1536
overcommit=/proc/sys/vm/nr_overcommit_hugepages
seed=${HVGUEST_SEED:-$RANDOM}
RANDOM=$seed
diag "seed $seed"

[ "$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)" -gt 6144 ] ||
    skip_all "needs 6 GiB of available memory"
take_turn

# unused: bytes that are free or would be at once (caches, the processors' lists of free pages), and
# what other programs have meanwhile, who come and go. A balloon's huge pages are in none of these. Its
# small pages count as shared memory, as the files of others on a tmpfs do; they are gone with the
# process that holds them.
unused() {
    awk '/^(MemFree|Buffers|Cached|SReclaimable|AnonPages|SUnreclaim|PageTables|KernelStack):/ {
            n += $2 * 1024 }
        /^ +count:/ { n += $2 * 4096 }
        END { printf "%.0f\n", n }' /proc/meminfo /proc/zoneinfo
}

total=$(awk '/^MemTotal:/ { printf "%.0f\n", $2 * 1024 }' /proc/meminfo)
unused_before=$(unused)
overcommit_before=$(cat "$overcommit" 2>/dev/null)

# all_unused: what was free at the beginning is free again, to 1 % of this machine's memory
all_unused() {
    [ $((unused_before - $(unused))) -lt $((total / 100)) ]
}

limit_is_back() {
    [ "$(cat "$overcommit" 2>/dev/null)" = "$overcommit_before" ]
}

# One guest with the options of now, after another one under the same name.
options=()
start_one() {
    rm -f "$run/one/api.sock"
    start_guest one "${options[@]}"
}

assign() {
    host memory one --assign "$1M" >>"$run/assign.out" 2>&1
}

keeper_pid() {
    guest_value one .memory.keeper.pid
}

# taken MIB: both sides agree that so much is taken, nothing is under way, and all of it is ours
taken() {
    local wanted=$(($1 * mib))
    [ "$(host_value one '"\(.memory.state) \(.memory.ballooned_bytes) \(.memory.violations)"')" = \
        "ready $wanted 0" ] || return 1
    [ "$(guest one memory --verify --json |
        jq -r '"\(.ours) \(.ballooned_bytes) \(.held_bytes) \(.looked_at_bytes >= .held_bytes)
            \(.unreported_bytes)"' | tr -s ' \n' ' ')" = "true $wanted $wanted true 0 " ]
}

# agree NAME MIB
agree() {
    if soon taken "$2"; then
        ok "$1"
    else
        diag "host: $(host_value one -c)" "guest: $(guest_value one .memory)"
        diag "verified: $(guest one memory --verify --json)" "$(tail -q -n 20 "$run/one.log" "$run/host.log")"
        not_ok "$1"
    fi
}

# connections: how often a guest came and went, as the host saw it
connections() {
    echo "$(grep -c 'one: connected' "$run/host.log") $(grep -c 'one: gone' "$run/host.log")"
}

# random_kills ROUNDS: each time while memory moves, one way or the other; verified after each
random_kills() {
    local round amount good=0
    for ((round = 1; round <= $1; round++)); do
        amount=$((256 + RANDOM % (startup_mib - 256)))
        assign "$amount"
        sleep "0.$((RANDOM % 3))$((RANDOM % 10))"
        diag "round $round: killed at $(host_value one '.memory.ballooned_bytes / 1048576') MiB," \
            "of $((startup_mib - amount)) asked for"
        murder "$one_pid"
        start_one
        soon connected one || break
        guest one memory --verify >"$run/verify.out" 2>&1 || { diag "$(cat "$run/verify.out")"; break; }
        good=$((good + 1))
    done
    is "killed at $1 random moments: after each, all that the host has is ours" "$good" "$1"
}

# --- the daemon dies

start_host --startup ${startup_mib}M --minimum 256M --first-action 0 --spacing 0 --buffer 2000
start_one
check "a guest is ready" soon ready one
assign 512
agree "1 GiB is taken" 1024
first_keeper=$(keeper_pid)
reports=$(host_value one .memory.status_reports)
murder "$one_pid"
check "killed: the host sees no end" eval '! grep -q "one: gone" "$run/host.log"'
check "... and the keeper holds everything" kill -0 "$first_keeper"
start_one
check "its successor goes on" soon grep -q "dynmem: channel .* is still open: going on" "$run/one.log"
agree "... with everything where it was" 1024
reported() {
    [ "$(host_value one .memory.status_reports)" -gt "$reports" ]
}
check "... and reports again" soon reported
check "the other services are back" soon ready one
random_kills 7
assign 512
agree "after all that both sides agree" 1024
is "the host has seen one guest, which never went" "$(connections)" "1 0"
is "the keeper is still the first one" "$(keeper_pid)" "$first_keeper"

# --- an upgrade

kill -USR2 "$one_pid"
wait "$one_pid"
is "at SIGUSR2 it ends" "$?" 0
start_one
check "... and the next one goes on" soon connected one
agree "... with everything where it was" 1024
is "... unnoticed" "$(connections)" "1 0"

# --- the keeper dies

murder_keeper() {
    kill -KILL "$(keeper_pid)"
}
another_keeper() {
    local now
    now=$(keeper_pid)
    [ -n "$now" ] && [ "$now" != "$first_keeper" ]
}
murder_keeper
check "a keeper that is killed is replaced" soon another_keeper
agree "... and no page has moved" 1024
assign 300
sleep 0.1
murder_keeper
agree "killed again, while memory is taken: nothing is missing" $((startup_mib - 300))
murder "$one_pid"
start_one
agree "and the daemon: the new keeper hands over, too" $((startup_mib - 300))
is "... all that unnoticed" "$(connections)" "1 0"

# --- all is given back

assign $startup_mib
agree "everything is given back" 0
check "this machine's memory is free again, to 1 %" soon all_unused
check "vm.nr_overcommit_hugepages is what it was" soon limit_is_back

# --- both die

assign 1024
agree "512 MiB are taken" 512
last_keeper=$(keeper_pid)
kill -STOP "$one_pid" # lest it starts another keeper
kill -KILL "$last_keeper"
murder "$one_pid"
gone() {
    [ "$(connections)" = "1 1" ]
}
check "both killed: the host sees the end" soon gone
check "... and the memory is free" soon all_unused
start_one
check "the next start says what was lost" soon grep -q \
    "the last keeper (process $last_keeper) was killed together with hvguestd.*freed the 512 MiB" \
    "$run/one.log"
if [ "${overcommit_before:-1}" = 0 ]; then
    check "... and takes back what was added to vm.nr_overcommit_hugepages" \
        grep -q "nr_overcommit_hugepages is lowered by [1-9]" "$run/one.log"
else
    skip "... and takes back what was added to vm.nr_overcommit_hugepages" "this machine has room for huge pages already"
fi
assign 1024
agree "... and can give memory again" 512

# --- 4 KiB pages

ends "SIGTERM ends it in order" "$one_pid" TERM
check "... with its keeper" eval '! pgrep -f "hvguest-keeper $run/one" >/dev/null'
check "... and all memory free" soon all_unused
check "... and the limit as it was" limit_is_back
options=(--huge-pages no)
start_one
soon ready one
assign 1024
agree "a guest with 4 KiB pages only" 512
random_kills 3
assign $startup_mib
agree "after that everything can be given back" 0
ends "the guest ends at Ctrl-C" "$one_pid"
check "... with its keeper" eval '! pgrep -f "hvguest-keeper $run/one" >/dev/null'
ends "the host ends at Ctrl-C" "$host_pid"
check "this machine's memory is free again, to 1 %" soon all_unused
no_reports
done_testing
