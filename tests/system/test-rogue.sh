#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The real daemons against an other side that misbehaves (rogue.c): they survive, answer their API
# all the time, count what was wrong, and work with a good other side afterwards, with no descriptor
# left open and no spinning. ROGUE_SEED and ROGUE_SECONDS repeat or lengthen a run.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/lab.sh"
watchdog $((120 + 6 * ${ROGUE_SECONDS:-5}))

rogue=$build/tests/system/rogue
seed=${ROGUE_SEED:-20260101}
seconds=${ROGUE_SECONDS:-5}
diag "ROGUE_SEED=$seed ROGUE_SECONDS=$seconds"

fds() {
    ls "/proc/$1/fd" | wc -l
}

# ticks PID: hundredths of a second of processor time
ticks() {
    awk '{ print $14 + $15 }' "/proc/$1/stat"
}

# idle PID: less than half of a processor for a while
idle() {
    local before
    before=$(ticks "$1")
    sleep 1
    [ $(($(ticks "$1") - before)) -lt 50 ]
}

# answering COMMAND...: until the rogue ends, the command gets its answer within two seconds
answering() {
    local calls=0 status
    while kill -0 "$rogue_pid" 2>/dev/null; do
        timeout 2 "$@" >/dev/null 2>&1
        # 3 is "degraded": the rogue is not there just now
        status=$?
        case $status in
        0 | 3) calls=$((calls + 1)) ;;
        *)
            diag "status $status: $*"
            return 1
            ;;
        esac
        sleep 0.05
    done
    diag "$calls calls were answered"
    [ "$calls" -gt 0 ]
}

# ran FILE: the rogue got somewhere
ran() {
    diag "$(cat "$@")"
    [ "$(jq -s 'map(select(.sessions > 0 and .opened > 0 and .messages > 0)) | length' "$@")" = $# ]
}

# --- a rogue host

good_host() {
    start_host --startup 1G --minimum 1000M --first-action 0 --spacing 0 --buffer 2000
}

# A daemon must not take more than the few MiB that the rogue asks for. Sanitizers need addresses.
limit=()
if ! grep -q __asan_init "$hvguestd" && command -v prlimit >/dev/null; then
    limit=(prlimit --as=8589934592)
fi

good_host
hvguestd_plain=$hvguestd
printf '#!/bin/sh\nexec %s "%s" "$@"\n' "${limit[*]}" "$hvguestd" >"$run/limited"
chmod +x "$run/limited"
hvguestd=$run/limited
start_guest victim --huge-pages no
hvguestd=$hvguestd_plain
check "a guest is at work" soon ready victim
before=$(fds "$victim_pid")
ends "its host ends" "$host_pid"

for i in 1 2 3; do
    "$rogue" host "$run/host/lab.sock" $((seed + i)) "$seconds" >"$run/rogue-$i.out" &
    rogue_pid=$!
    on_exit stop "$rogue_pid"
    check "rogue host $i: the guest's API answers meanwhile" answering \
        "$hvguestctl" status --api "$run/victim/api.sock"
    wait "$rogue_pid"
    check "... and it was let in" ran "$run/rogue-$i.out"
    check "... and the guest lives" kill -0 "$victim_pid"
done
counted=$(guest_value victim '.memory.counters.malformed + .memory.counters.unexpected')
check "dynamic memory has counted what was wrong ($counted)" test "$counted" -gt 0
counted=$(guest_value victim .backup.malformed)
check "backup has, too ($counted)" test "$counted" -gt 0

good_host
check "a good host finds the guest at work" soon ready victim
agreed() {
    [ "$(host_value victim .memory.ballooned_bytes)" = $((24 * 1048576)) ] &&
        [ "$(guest_value victim .memory.ballooned_bytes)" = $((24 * 1048576)) ]
}
if [ "$(id -u)" = 0 ]; then
    host memory victim --assign 1000M >/dev/null
    check "... and memory moves" soon agreed
    host memory victim --assign 1G >/dev/null
    # What a rogue host had and never gave back is held for whoever comes, and was used first.
    check "... and back" soon eval '[ "$(guest_value victim \
        ".memory | .ballooned_bytes + .pages.small_bytes - (.unreported_bytes // 0)")" = 0 ]'
else
    skip "... and memory moves" "needs root"
fi
# A receipt that goes to the journal leaves a socket to it, for good.
check "no descriptor is left open" test "$(fds "$victim_pid")" -le $((before + 1))
check "nothing spins" idle "$victim_pid"
ends "the guest ends well" "$victim_pid"

# --- rogue guests

before=$(fds "$host_pid")
# What an administrator does to them meanwhile.
pester() {
    local n name services=(heartbeat dynmem vss)
    : >"$run/image"
    for ((n = 0; n < 1000; n++)); do
        name=rogue-$((seed + 1 + RANDOM % 3))
        case $((RANDOM % 5)) in
        0) host memory "$name" --assign $((1000 + RANDOM % 24))M ;;
        1) host rescind "$name" "${services[RANDOM % 3]}" ;;
        2 | 3) host offer "$name" "${services[RANDOM % 3]}" ;;
        4) timeout 1 "$hvhost" backup "$name" --image "$run/image" --to "$run" --run-dir "$run/host" ;;
        esac
        rm -f "$run"/image.*
        sleep 0.02
    done >/dev/null 2>"$run/pester.err"
}

pids=()
for i in 1 2 3; do
    "$rogue" guest "$run/host/lab.sock" $((seed + i)) $((seconds * 2)) >"$run/rogue-$i.out" &
    pids+=($!)
    on_exit stop "$!"
done
rogue_pid=$!
pester &
pester_pid=$!
on_exit stop "$pester_pid"
check "rogue guests: the host's API answers meanwhile" answering \
    "$hvhost" status --run-dir "$run/host"
for pid in "${pids[@]}"; do wait "$pid"; done
stop "$pester_pid"
check "... and they were let in" ran "$run"/rogue-{1,2,3}.out
check "... and the host lives" kill -0 "$host_pid"
check "they are gone" soon eval '[ "$(host status --json | jq ".guests | length")" = 0 ]'

start_guest good --huge-pages no
check "a good guest is served afterwards" soon ready good
ends "it ends well" "$good_pid"
check "no descriptor is left open" soon eval '[ "$(fds "$host_pid")" -le "$before" ]'
check "nothing spins" idle "$host_pid"
ends "the host ends well" "$host_pid"
no_reports
done_testing
