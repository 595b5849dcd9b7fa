#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Dynamic memory with real pages: a host assigns memory to a guest on this machine, by hand. What
# either side says is compared with the other side and with the kernel. The host takes the guest to
# have 2 GiB and leaves it 256 MiB, so at most 1792 MiB are ever taken.

. "$(dirname "$0")/tap.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 380

mib=1048576
startup_mib=2048
overcommit=/proc/sys/vm/nr_overcommit_hugepages

# meminfo FIELD: in bytes
meminfo() {
    awk -v field="$1:" '$1 == field { printf "%.0f\n", $2 * 1024 }' /proc/meminfo
}

[ "$(meminfo MemAvailable)" -gt $((6144 * mib)) ] || skip_all "needs 6 GiB of available memory"

# held: bytes that the kernel has pinned for the guest's keeper
held() {
    awk '/^VmPin:/ { printf "%.0f\n", $2 * 1024 }' \
        "/proc/$(guest_value one .memory.keeper.pid)/status" 2>/dev/null
}

assign() {
    host memory one --assign "$1" >"$run/assign.out" 2>&1
}

# taken MIB: host, guest and kernel agree that so much is taken, and nothing is under way
taken() {
    local wanted=$(($1 * mib)) seen
    seen=$(host_value one '"\(.memory.state) \(.memory.ballooned_bytes) \(.memory.assigned_bytes)"')
    [ "$seen" = "ready $wanted $((startup_mib * mib - wanted))" ] || return 1
    seen=$(guest_value one '.memory | "\(.state) \(.ballooned_bytes) \(.pages.huge_bytes +
        .pages.small_bytes) \(.pages.foreign_pages)"')
    [ "$seen" = "ready $wanted $wanted 0" ] && [ "$(held)" = "$wanted" ]
}

# agree NAME MIB
agree() {
    if soon taken "$2"; then
        ok "$1"
    else
        diag "host: $(host_value one -c)" "guest: $(guest_value one -c)" "held: $(held)"
        diag "$(tail -q -n 5 "$run/one.log" "$run/host.log")"
        not_ok "$1"
    fi
}

# Nothing of the guest is the host's any more, whether the host is there or not.
all_back() {
    [ "$(guest_value one '.memory | "\(.ballooned_bytes) \(.pages.small_bytes)"')" = "0 0" ] &&
        [ "$(held)" = 0 ]
}

# The host is gone; what it had is out of use, held, and said to be so.
is_kept() {
    local kept seen
    kept=$(guest_value one .memory.unreported_bytes)
    seen=$(guest_value one '.memory | "\(.ballooned_bytes) \(.pages.small_bytes)"')
    [ "$seen" = "0 $kept" ] && [ "$(held "$one_pid")" = "$kept" ]
}

# With so large a buffer nothing is ever taken by demand.
serve() {
    start_host --startup ${startup_mib}M --minimum 256M --first-action 0 --spacing 0 --buffer 2000
}

# The huge pages of this machine are for other tests, except in the case about them.
serve
start_guest one --huge-pages no
check "a guest is ready" soon ready one

# --- reports

# range FIELD FILE PERCENT: the least and the most that was seen, with PERCENT on either side, in bytes
range() {
    awk -v field="$1:" -v slack="$3" '$1 == field { v = $2 * 1024; if (!n++ || v < min) min = v; if (v > max) max = v }
        END { printf "%.0f %.0f\n", min * (1 - slack / 100), max * (1 + slack / 100) }' "$2"
}

# report_agrees NAME BALLOONED_MIB: the report that comes now is what the kernel says meanwhile
report_agrees() {
    local before sample min max available committed floor
    before=$(host_value one .memory.status_reports)
    : >"$run/samples"
    for sample in {1..40}; do
        cat /proc/meminfo >>"$run/samples"
        [ "$sample" -lt 15 ] || [ "$(host_value one .memory.status_reports)" -le "$before" ] || break
        sleep 0.1
    done
    read -r available committed < <(host_value one '.memory | "\(.available_bytes) \(.committed_bytes)"')
    read -r min max < <(range MemAvailable "$run/samples" 2)
    check "$1: available memory is the kernel's" \
        test "$available" -ge "$min" -a "$available" -le "$max"
    # The kernel driver's floor of what is not ballooned; small pages are in Committed_AS already.
    floor=$(awk -v taken="$2" '/^MemTotal:/ {
        t = $2 / 1024 - taken
        if (t < 128) f = 8 + t / 2; else if (t < 512) f = 40 + t / 4; else if (t < 2048) f = 104 + t / 8
        else if (t < 8192) f = 232 + t / 16; else f = 488 + t / 32
        printf "%.0f\n", f * 1048576 }' /proc/meminfo)
    # A compiler beside this commits hundreds of MiB for less time than is between two samples.
    read -r min max < <(range Committed_AS "$run/samples" 10)
    diag "reported: available $available, committed $committed; floor $floor"
    check "$1: committed memory is the kernel's, and the floor" \
        test $((committed - floor)) -ge "$min" -a $((committed - floor)) -le "$max"
}

before=$(host_value one .memory.status_reports)
sleep 5
n=$(($(host_value one .memory.status_reports) - before))
check "a report comes each second ($n in 5 s)" test "$n" -ge 4 -a "$n" -le 6
report_agrees "with nothing taken" 0

# --- assignment by hand

# In use for good, as the kernel sees it: bytes in the keeper's memory files. Neither MemAvailable nor
# Shmem is a measure for it: the kernel keeps up to a gigabyte of freed pages in lists for each
# processor, which count as neither free nor available (linux/mmzone.h, high_max), and others have
# memory files, too.
in_files() {
    find -L "/proc/$(guest_value one .memory.keeper.pid)/fd" -type f -printf '%b\n' |
        awk '{ n += $1 * 512 } END { printf "%.0f\n", n }'
}

see_the_fall() {
    local before percent
    before=$(in_files)
    assign 768M
    soon taken 1280
    percent=$((($(in_files) - before) * 100 / (1280 * mib)))
    diag "by $percent % of what was taken"
    check "memory is out of use, as the kernel sees it" test "$percent" -gt 90 -a "$percent" -lt 110
}

assign 768M
agree "exactly what is not assigned is taken" 1280
report_agrees "with 1280 MiB taken" 1280
assign 1G
agree "giving some back gives exactly that" 1024
assign 1M
agree "less than the minimum is not assigned" 1792
check "... and the answer says so" grep -q "1 MiB is below the guest's minimum: it keeps 256 MiB" \
    "$run/assign.out"
assign 5G
agree "more than it began with: everything is given back" 0
check "... and the answer says so" grep -q "5 GiB is above the guest's maximum: it gets 2 GiB" \
    "$run/assign.out"
see_the_fall
assign 1G
agree "by hand again" 1024
assign auto
agree "by demand, with its buffer, it gets everything back" 0

# --- nothing waits for memory

missed=$(host_value one .heartbeat.missed)
longest=0 calls=0
assign 1G
while ! taken 1024 && [ "$calls" -lt 200 ]; do
    start=${EPOCHREALTIME/./}
    guest one status >/dev/null || bail_out "no status while memory is taken"
    took=$((${EPOCHREALTIME/./} - start))
    [ "$took" -le "$longest" ] || longest=$took
    calls=$((calls + 1))
done
agree "1 GiB is taken" 1024
check "meanwhile status is answered each time ($calls calls, longest $longest us)" \
    test "$calls" -ge 1 -a "$longest" -lt 1000000
is "... and every heartbeat" "$(host_value one .heartbeat.missed)" "$missed"

# --- the channel goes away while memory is being taken

moving() {
    local n
    n=$(guest_value one .memory.ballooned_bytes)
    [ "$n" -gt 0 ] && [ "$n" -lt $((1792 * mib)) ]
}

assign 2G
agree "a fresh start" 0
assign 256M
for round in 1 2 3 4; do
    for _ in {1..100}; do moving && break; done
    sleep "0.$((round - 1))"
    diag "rescinded at $(guest_value one '.memory.ballooned_bytes / 1048576') MiB"
    host rescind one dynmem >/dev/null
    check "rescinded, round $round: what was taken stays out of use" soon is_kept
    is "... and the host forgets" "$(host_value one .memory.ballooned_bytes)" 0
    host offer one dynmem >/dev/null
done
agree "offered again: the assignment by hand still holds" 1792
assign 2G
agree "... and can be taken back" 0
is "the host saw no mistake" "$(host_value one .memory.violations)" 0

# --- one of the two dies

assign 1G
agree "1 GiB is taken" 1024
murder "$host_pid"
check "a host that is killed: what it had stays out of use" soon is_kept
is "... all of it" "$(guest_value one .memory.unreported_bytes)" $((1024 * mib))
check "... until it is released" eval 'guest one memory release | grep -qx "1 GiB are put back into use."'
check "... and then the guest has all its memory again" soon all_back
serve
check "a new host finds the guest" soon ready one
agree "... with nothing taken" 0
assign 1G
agree "... and can take" 1024
murder "$host_pid"
check "a host that is killed again: the guest keeps what it had" soon is_kept
serve
soon ready one
assign 512M
agree "... and gives it to the next one, and some more" 1536
murder "$one_pid"
rm -f "$run/one/api.sock"
start_guest one --huge-pages no
soon ready one
agree "a guest that is killed: its successor goes on (test-restart has more)" 1536
assign 1G
agree "... and gives and takes" 1024
ends "a guest with a balloon ends at Ctrl-C" "$one_pid"

# --- huge pages

# The lock is the one of the unit tests; nothing that outlives it may inherit it.
huge_pages() {
    local lent=64 before lock
    exec {lock}<"$overcommit"
    flock "$lock"
    before=$(cat "$overcommit")
    on_exit eval "echo $before >$overcommit"
    if [ "$before" != 0 ] || [ "$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)" != 0 ]; then
        skip "huge pages first" "this machine has some already"
    else
        echo "$lent" >"$overcommit"
        assign $((startup_mib - 256))M
        agree "256 MiB, half of them in huge pages" 256
        is "the huge pages are used up" "$(guest_value one .memory.pages.huge_bytes)" $((lent * 2 * mib))
        is "... before small ones" "$(guest_value one .memory.pages.small_bytes)" $((128 * mib))
        assign 2G
        agree "all are given back" 0
        is "... the huge ones to the pool" "$(awk '/^HugePages_Surp:/ { print $2 }' /proc/meminfo)" 0
    fi
    echo "$before" >"$overcommit"
    exec {lock}<&-
}

if [ -e "$overcommit" ]; then
    start_guest one --huge-page-overcommit no
    soon ready one
    huge_pages
    ends "the guest ends at Ctrl-C" "$one_pid"
else
    skip "huge pages first" "this kernel has none"
fi

# --- the floor

# claim MIB: the guest believes that so much of 4 GiB is available; written in place, in one go
claim() {
    awk -v kb=$(($1 * 1024)) '/^MemTotal:/ { $0 = sprintf("MemTotal:       %10d kB", 4194304) }
        /^MemAvailable:/ { $0 = sprintf("MemAvailable:   %10d kB", kb) } { print }' \
        "$run/meminfo.real" >"$run/meminfo.new"
    dd if="$run/meminfo.new" of="$run/meminfo" conv=notrunc bs=64k 2>/dev/null
}

# The floor of 4 GiB is 488 MiB: 232 MiB and a sixteenth.
cat /proc/meminfo >"$run/meminfo.real"
cp "$run/meminfo.real" "$run/meminfo"
claim 480
mount --bind "$run/meminfo" /proc/meminfo || bail_out "cannot mount over /proc/meminfo"
start_guest one --huge-pages no
umount --lazy /proc/meminfo # the guest has it open
check "a guest that believes to have little is ready" soon ready one
is "its floor" "$(guest_value one .memory.floor_bytes)" $((488 * mib))
assign 256M
refused() {
    [ "$(host_value one '.memory.operation | "\(.kind) \(.done_bytes) \(.running)"')" = \
        "balloon 0 false" ]
}
check "at its floor it gives nothing" soon refused
agree "... and nothing is taken" 0
diag "$(grep asked "$run/one.log")"
check "... it says why" grep -q "asked for 1 GiB and gets 0 B: no more is available above the floor" \
    "$run/one.log"
host_says_why() {
    host_value one .memory.why | grep -q "did not do what it was asked; waiting"
}
check "... and so does the host" soon host_says_why
claim 4000
host rescind one dynmem >/dev/null && host offer one dynmem >/dev/null
agree "with more it gives more" 1792
ends "the guest ends at Ctrl-C" "$one_pid"
ends "the host ends at Ctrl-C" "$host_pid"
no_reports
done_testing
