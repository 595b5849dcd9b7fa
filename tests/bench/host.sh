#!/bin/bash
# SPDX-License-Identifier: MIT
#
# host.sh BUILD: what a host costs that has many guests: tests/system/fleet's, which report once a
# second and whose memory the balancer moves.
#
#   host_N_guests_cpu_percent   of one processor: hvhost, after all have connected
#   host_bytes_per_guest        memory of its own with the most guests, beyond that without any; the
#                               rings, which are shared with the guest, apart
#   host_N_guests_pass_ms       a pass of the balancer
#   host_N_guests_scrape_ms     /metrics, while all this goes on

set -u
build=$(cd "$1" && pwd) || exit 1
case ${BENCH_MODE:-full} in
full) counts=(500 1000 2000 4000) samples=7 seconds=2 last_seconds=5 ;;
quick) counts=(4000) samples=3 seconds=2 last_seconds=2 ;;
*) counts=(20) samples=1 seconds=1 last_seconds=1 ;; # called what a longer run would have
esac
most=${counts[-1]}
names=("host_*_guests_cpu_percent" host_bytes_per_guest "host_*_guests_pass_ms" "host_*_guests_scrape_ms")

skip() {
    for name in "${names[@]}"; do echo "skip $name: $1"; done
    exit 0
}

command -v curl >/dev/null || skip "needs curl"
limit=$(ulimit -Hn)
[ "$limit" = unlimited ] || [ "$limit" -ge $((most * 3 + 100)) ] || skip "needs $((most * 3 + 100)) open files"
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || skip "needs a tmpfs at /dev/shm"
run=$(mktemp -d /dev/shm/hvguest-bench.XXXXXX) || exit 1
pids=()
end_all() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
    wait
    rm -rf "$run"
}
trap end_all EXIT

# until_true COMMAND...: within a minute
until_true() {
    local _
    for _ in {1..600}; do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

private_bytes() {
    awk '/^Private_Dirty/ { print $2 * 1024 }' "/proc/$host/smaps_rollup"
}

ticks() {
    awk '{ print $14 + $15 }' "/proc/$host/stat"
}

metrics() {
    curl -s --unix-socket "$run/read.sock" http://localhost/metrics
}

# line NAME UNIT VALUE...: the median and the rest, as bench.h has it
line() {
    local name=$1 unit=$2
    shift 2
    printf '%s\n' "$@" | sort -g | awk -v "name=$name" -v "unit=$unit" '
        { v[NR] = $1 }
        END {
            m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
            printf "%s %.6g %s (%.6g..%.6g, %d) smaller is better\n", name, m, unit, v[1], v[NR], NR
        }'
}

"$build/host/hvhost" serve --run-dir "$run" --startup 1G --minimum 512M --maximum 4G \
    --host-memory $((most * 3 / 2 + 1))G --first-action 0 >"$run/log" 2>&1 &
host=$!
pids+=("$host")
until_true test -S "$run/lab.sock" || skip "hvhost does not start"
sleep 0.5
empty=$(private_bytes)

# measure N SECONDS: with so many guests, which are there
measure() {
    local i before after called=$1 cpu=() bytes=() pass=() scrape=()
    [ "$1" != 20 ] || called=4000
    sleep 3
    for ((i = 0; i < samples; i++)); do
        before=$(ticks)
        sleep "$2"
        after=$(ticks)
        cpu+=("$(awk "BEGIN { print ($after - $before) * 100 / $(getconf CLK_TCK) / $2 }")")
        bytes+=($((($(private_bytes) - empty) / $1)))
        pass+=("$(metrics | awk '$1 == "hvhost_dynamic_memory_balancer_pass_seconds" { print $2 * 1000 }')")
        scrape+=("$(curl -s -o /dev/null -w '%{time_total}' --unix-socket "$run/read.sock" http://localhost/metrics |
            awk '{ print $1 * 1000 }')")
    done
    line "host_${called}_guests_cpu_percent" % "${cpu[@]}"
    line "host_${called}_guests_pass_ms" ms "${pass[@]}"
    line "host_${called}_guests_scrape_ms" ms "${scrape[@]}"
    [ "$1" != "$most" ] || line host_bytes_per_guest B "${bytes[@]}"
}

there=0
for count in "${counts[@]}"; do
    [ "$count" != "$most" ] || seconds=$last_seconds
    "$build/tests/system/fleet" "$run/lab.sock" $((count - there)) 600 "$count" "$there" >"$run/fleet-$count" 2>&1 &
    pids+=("$!")
    until_true grep -q '^ready' "$run/fleet-$count" ||
        skip "the guests do not connect: $(tail -n 1 "$run/fleet-$count")"
    measure "$count" "$seconds"
    there=$count
done
