#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The main job, end to end, on one machine: a live backup of three file systems under load, and
# memory that follows a guest's demand. Called by `./quickstart demo`.
#
# The guest and the host are the real programs, joined by VMBus rings in shared memory. Everything
# happens in a mount namespace of its own; only the three file systems made here are ever frozen.
# Exit code 0 means that every check below has held. With --short, which is for the test suite, memory
# is watched until it has moved as it should, and no longer; 77 says that it cannot run on this machine.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"

build= short=
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2; shift 2 ;;
    --short) short=yes; shift ;;
    *) echo "demo: unknown option $1" >&2; exit 2 ;;
    esac
done
build=$(cd "$build" 2>/dev/null && pwd)
[ -x "$build/daemon/hvguestd" ] || { echo "demo: nothing is built in '$build': ./quickstart demo builds it" >&2; exit 1; }
cannot() {
    echo "demo: $*" >&2
    exit "$([ -n "$short" ] && echo 77 || echo 1)"
}
[ "$(id -u)" = 0 ] || cannot "needs root: it mounts and freezes file systems of its own"
[ -e /dev/loop-control ] || cannot "needs loop devices: modprobe loop"
unshare -m --propagation private true 2>/dev/null ||
    cannot "cannot make a mount namespace of its own: run it outside of a restricted container"
in_private_mounts --build "$build" ${short:+--short}
watchdog 300

recorder=$build/tests/system/recorder
memeater=$build/tests/system/memeater
hvhost() { "$build/host/hvhost" "$@" --run-dir "$work/host"; }
hvguestctl() { "$build/cli/hvguestctl" --api "$work/guest/api.sock" "$@"; }

title() {
    printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi
}

fail() {
    [ -z "${work:-}" ] || cat "$work"/*.log >&2 2>/dev/null
    echo "demo: $*" >&2
    exit 1
}

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
    local tries=$(($1 * 10))
    shift
    while [ "$tries" -gt 0 ]; do
        "$@" >/dev/null 2>&1 && return 0
        tries=$((tries - 1))
        sleep 0.1
    done
    return 1
}

# A run directory in memory, and on disk a datastore that can share blocks between files.
prepare() {
    local disk=$build/demo type
    work=$tap_dir/work
    mkdir -p "$work" "$disk"
    mount -t tmpfs -o size=64m hvguest-demo "$work" || fail "cannot mount a tmpfs"
    on_exit umount --lazy "$work"

    rm -f "$disk/datastore.img"
    on_exit rm -f "$disk/datastore.img"
    truncate -s 3G "$disk/datastore.img" || fail "cannot make $disk/datastore.img"
    mkfs.xfs -q -m reflink=1 "$disk/datastore.img" || fail "mkfs.xfs failed: is the disk full?"
    store=$work/datastore
    mkdir -p "$work/mnt" "$work/state" "$work/scratch"
    image_mount "$disk/datastore.img" "$store" || fail "cannot mount the datastore"
    mkdir "$store/backup"
    for type in $image_types; do
        image_possible "$type" || fail "this kernel or machine has no $type"
        image_make "$type" "$store/$type.img" >/dev/null 2>&1 || fail "cannot make $type"
        image_mount "$store/$type.img" "$work/mnt/$type" || fail "cannot mount $type"
    done
}

start_writers() {
    local type
    writers=()
    for type in $image_types; do
        "$recorder" write "$work/mnt/$type" --state "$work/state/$type" --interval-us 2000 &
        writers+=($!)
        on_exit stop $!
    done
    for type in $image_types; do
        wait_for 10 test -s "$work/state/$type" || fail "no writer on $type"
    done
}

# The kernel driver's floor for this machine, and what is committed now: where demand begins, in MiB.
idle_demand_mib() {
    awk '/^MemTotal:/ { t = $2 / 1024 }
         /^Committed_AS:/ { c = $2 / 1024 }
         function floor(t) {
             if (t < 128) return 8 + t / 2
             if (t < 512) return 40 + t / 4
             if (t < 2048) return 104 + t / 8
             if (t < 8192) return 232 + t / 16
             return 488 + t / 32
         }
         END { printf "%d\n", c + floor(t) }' /proc/meminfo
}

start_programs() {
    # What the guest is started with: what it will want when idle, and 2.5 GiB that can be taken.
    local startup
    startup=$(($(idle_demand_mib) * 12 / 10 + 2560)) || fail "cannot read /proc/meminfo"
    "$build/host/hvhost" serve --run-dir "$work/host" --startup "${startup}M" \
        --minimum 512M --first-action 0 --spacing 1 --smoothing 2 2>"$work/host.log" &
    on_exit stop $!
    wait_for 5 test -S "$work/host/lab.sock" || fail "hvhost does not start"
    "$build/daemon/hvguestd" --lab "$work/host/lab.sock" --name demo --run-dir "$work/guest" \
        --freezer "$build/fsfreeze/hvguest-freezer" --keeper "$build/balloon/hvguest-keeper" \
        --freeze-roots "$work/mnt" 2>"$work/guest.log" &
    on_exit stop $!
    wait_for 5 guest_is_ready || fail "hvguestd does not connect"
}

guest_is_ready() {
    [ "$(hvhost status demo --json | jq -r '.backup.version')" = 5.0 ]
}

# The file systems and their copies have the same identifiers, so only one of each can be mounted.
stop_writers() {
    local pid type
    for pid in "${writers[@]}"; do
        stop "$pid"
    done
    for type in $image_types; do
        image_unmount "$work/mnt/$type" || fail "$type cannot be unmounted"
    done
}

# A copy is good if the checker says so after its log was replayed, and every record that was
# acknowledged before the freeze is there. The replay is made on a clone: the copy stays as taken.
verify_copy() {
    local type=$1 frozen_ns=$2 clone=$store/scratch.img dir=$work/scratch result=0
    cp --reflink=always "$store/backup/$type.img" "$clone" || return 1
    mount -o loop "$clone" "$dir" || return 1
    "$recorder" verify "$dir" --state "$work/state/$type" --acked-before "$frozen_ns" || result=1
    umount "$dir" || return 1
    image_check "$type" "$clone" >"$work/check.log" 2>&1 || { result=1; cat "$work/check.log"; }
    rm -f "$clone"
    return $result
}

backup() {
    local before frozen_ns type sum
    title "1. Live backup of ext4, xfs and btrfs, each with a writer of fsync'ed records"
    before=$("$recorder" now)
    # shellcheck disable=SC2046
    hvhost backup demo $(printf -- "--image $store/%s.img " $image_types) --to "$store/backup" \
        --json >"$work/backup.json" || fail "the backup failed"
    frozen_ns=$(jq .frozen_monotonic_ns "$work/backup.json")
    sum=$(sha256sum "$store"/backup/*.img)
    jq -r '"host: froze in \(.freeze_seconds * 1e3 | round) ms, copied \(.images | length) images by \(.images[0].method), frozen for \(.frozen_seconds * 1e3 | round) ms"' "$work/backup.json"

    echo
    echo "receipt of the guest, and how long each writer stalled:"
    hvguestctl receipt --json >"$work/receipt.json"
    printf '  %-8s %-8s %12s %12s %14s\n' MOUNT RESULT FREEZE THAW "WRITER STALLED"
    for type in $image_types; do
        jq -r --arg target "$work/mnt/$type" --arg type "$type" \
            --argjson stall "$("$recorder" show --state "$work/state/$type" --json --since "$before" | jq .longest_stall_ms)" '
            def ms: . * 1e5 | round / 1e2 | tostring + " ms";
            .file_systems[] | select(.target == $target) |
            [$type, .state, (.freeze_us / 1e3 | . * 100 | round / 100 | tostring + " ms"),
             (.thaw_us / 1e3 | . * 100 | round / 100 | tostring + " ms"),
             ($stall * 100 | round / 100 | tostring + " ms")] | @tsv' "$work/receipt.json" |
            while IFS=$'\t' read -r mount result freeze thaw stall; do
                printf '  %-8s %-8s %12s %12s %14s\n' "$mount" "$result" "$freeze" "$thaw" "$stall"
            done
    done
    jq -r '[.file_systems[] | select(.state != "frozen")] | "  and \(length) other file systems left alone: " +
           ([.[] | "\(.target) (\(.reason))"] | join("; "))' "$work/receipt.json" | cut -c1-300
    [ "$(jq '[.file_systems[] | select(.state == "frozen")] | length' "$work/receipt.json")" = 3 ] ||
        fail "not all three were frozen"
    [ "$(jq .consistent "$work/receipt.json")" = true ] || fail "the guest says it is not consistent"

    stop_writers
    echo
    echo "verifying a scratch clone of each copy: mount once, look for every acknowledged record, check:"
    for type in $image_types; do
        printf '  %-6s ' "$type"
        verify_copy "$type" "$frozen_ns" || fail "the copy of $type is damaged"
    done
    [ "$sum" = "$(sha256sum "$store"/backup/*.img)" ] || fail "a copy has changed since it was taken"
    echo "  the copies themselves are as they were taken"
}

# row PHASE: one line of the table; remembers the figures
row() {
    local status
    status=$(hvhost status demo --json) || fail "the host does not answer"
    read -r assigned demand available pressure ballooned <<<"$(jq -r '.memory |
        [.assigned_bytes, .demand_bytes, .available_bytes, .pressure_percent * 1048576, .ballooned_bytes] |
        map(. / 1048576 | round) | @tsv' <<<"$status")"
    printf '  %4d s  %-10s %9d %8d %10d %8d%% %10d\n' "$((SECONDS - memory_start))" "$1" \
        "$assigned" "$demand" "$available" "$pressure" "$ballooned"
}

# watch PHASE SECONDS CONDITION: what happens to memory in that time; if it is short, until CONDITION is
# true of $ballooned, or for four times as long
watch() {
    local end=$((SECONDS + ${short:+4*}$2))
    while [ "$SECONDS" -lt "$end" ]; do
        row "$1"
        if [ -n "$short" ] && eval "$3"; then return; fi
        sleep 2
    done
}

memory() {
    local idle eaten
    memory_start=$SECONDS
    title "2. Memory that follows demand (MiB)"
    printf '  %6s  %-10s %9s %8s %10s %9s %10s\n' TIME GUEST ASSIGNED DEMAND AVAILABLE PRESSURE BALLOONED
    watch idle 16 '[ "$ballooned" -ge 1536 ]'
    idle=$ballooned
    "$memeater" 2G --step 512M >/dev/null &
    eater=$!
    on_exit stop $eater
    watch "eats 2 GiB" 10 '[ "$ballooned" -le $((idle - 1024)) ]'
    eaten=$ballooned
    stop $eater
    watch "has ended" 20 '[ "$ballooned" -ge $((eaten + 1024)) ]'
    echo
    [ "$idle" -ge 1024 ] || fail "the host took only $idle MiB of the idle guest"
    [ "$((idle - eaten))" -ge 1024 ] || fail "the host gave back only $((idle - eaten)) MiB under load"
    [ "$((ballooned - eaten))" -ge 1024 ] || fail "the host took only $((ballooned - eaten)) MiB again"
    echo "the host took $idle MiB of the idle guest, gave $((idle - eaten)) MiB back under load, and took $((ballooned - eaten)) MiB again"
}

prepare
start_writers
start_programs
backup
memory
title "Both have worked."
