#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Whole memory blocks of this machine as memory for a host: taken offline, known to a daemon that
# starts after a kill, guarded against others, and back online at the end, whatever happens. The
# host takes the guest to have 2 GiB and leaves it 256 MiB.

. "$(dirname "$0")/tap.sh"
need_root
. "$(dirname "$0")/lab.sh"
take_turn

mib=1048576
startup_mib=2048
sysfs=/sys/devices/system/memory

[ -r "$sysfs/block_size_bytes" ] || skip_all "needs memory blocks"
block_mib=$((0x$(cat "$sysfs/block_size_bytes") / mib))
[ "$block_mib" -le 256 ] || skip_all "needs memory blocks of 256 MiB at most"
[ "$(awk '/^MemAvailable:/ { printf "%d\n", $2 / 1024 }' /proc/meminfo)" -gt 5120 ] ||
    skip_all "needs 5 GiB of available memory"

# offline: the numbers of the blocks that are offline
offline() {
    grep -lx offline "$sysfs"/memory*/state | sed 's/.*memory\([0-9]*\).state/\1/' | sort -n | xargs
}

[ -z "$(offline)" ] || skip_all "some memory blocks of this machine are offline already"

# What the test takes it gives back, also when it is killed: a shell of its own waits for its end.
put_back_all() {
    local number
    for number in $(offline); do
        echo online >"$sysfs/memory$number/state"
    done
} 2>/dev/null
setsid bash -c '
    '"$(declare -f offline put_back_all)"'
    sysfs=$2
    trap "exit" TERM
    trap "" INT HUP
    while kill -0 "$1" 2>/dev/null && [ "$SECONDS" -lt 120 ]; do sleep 0.2; done
    put_back_all
    ' watch "$$" "$sysfs" </dev/null >/dev/null 2>&1 &
on_exit stop "$!"
on_exit put_back_all

assign() {
    host memory one --assign "$1" >"$run/assign.out" 2>&1
}

# taken MIB: host and guest agree that so much is taken
taken() {
    local wanted=$(($1 * mib)) seen
    seen=$(host_value one '"\(.memory.state) \(.memory.ballooned_bytes) \(.memory.assigned_bytes)"')
    [ "$seen" = "ready $wanted $((startup_mib * mib - wanted))" ] || return 1
    seen=$(guest_value one '.memory | "\(.state) \(.ballooned_bytes) \(.pages.huge_bytes +
        .pages.small_bytes + .pages.block_bytes - .pages.remembered_bytes) \(.pages.foreign_pages)"')
    [ "$seen" = "ready $wanted $wanted 0" ]
}

agree() {
    if soon taken "$2"; then
        ok "$1"
    else
        diag "host: $(host_value one -c)" "guest: $(guest_value one -c)"
        diag "$(tail -q -n 5 "$run/one.log" "$run/host.log")"
        not_ok "$1"
    fi
}

blocks() {
    guest_value one ".memory.blocks.$1"
}

# total: MemTotal in MiB
total() {
    awk '/^MemTotal:/ { printf "%d\n", $2 / 1024 }' /proc/meminfo
}

# held_blocks_are_offline: as many blocks are offline as the guest says, and the record names them
held_blocks_are_offline() {
    [ "$(offline | wc -w)" = "$(blocks held)" ] &&
        [ "$(tail -n +2 "$run/one/memory-blocks" | cut -d' ' -f1 | sort -n | xargs)" = "$(offline)" ]
}

# held_by_record: as many blocks are offline as the record of a dead guest names
held_by_record() {
    [ -n "$(offline)" ] &&
        [ "$(tail -n +2 "$run/one/memory-blocks" | cut -d' ' -f1 | sort -n | xargs)" = "$(offline)" ]
}

start_host --startup ${startup_mib}M --minimum 256M --first-action 0 --spacing 0 --buffer 2000
start_guest one --huge-pages no
soon ready one || bail_out "the guest is not ready: $(cat "$run/one.log")"

# --- not unless they are wanted

assign 1G
agree "1 GiB is taken" 1024
is "by default no block is touched" "$(offline)" ""
check "... and the guest says why" eval 'guest one why | grep -q "memory blocks are switched off"'
ends "the guest ends" "$one_pid"

# --- taking

before=$(total)
start_guest one --huge-pages no --memory-blocks yes
soon ready one
assign 768M
agree "1280 MiB are taken" 1280
held=$(blocks held)
diag "$held blocks: $(offline); $(blocks reason)"
if [ "$held" = 0 ]; then
    diag "$(guest_value one .memory.blocks)"
    skip "blocks are taken" "no block of this machine is free enough just now"
    done_testing
fi
check "blocks are offline, and in the record" held_blocks_are_offline
check "... a part is in single pages" test "$(guest_value one .memory.pages.small_bytes)" -gt 0
is "... the machine's memory is less by just the blocks" "$((before - $(total)))" \
    "$((held * block_mib))"
is "the host saw no mistake" "$(host_value one .memory.violations)" 0

# --- somebody brings one online

victim=$(offline | cut -d' ' -f1)
echo online >"$sysfs/memory$victim/state"
guarded() {
    [ "$(cat "$sysfs/memory$victim/state")" = offline ] && [ "$(blocks came_online)" = 1 ]
}
check "a block that somebody brings online is offline again" soon guarded
check "... and the log says so" grep -q "somebody has brought a memory block online" "$run/one.log"

# --- giving back

assign 1G
agree "a part is given back" 1024
assign 2G
agree "all is given back" 0
is "every block is online" "$(offline)" ""
is "... and the machine's memory is what it was" "$(total)" "$before"

# --- a kill

assign 768M
agree "taken again" 1280
check "blocks are offline, and in the record" held_blocks_are_offline
murder "$one_pid"
check "a killed guest's blocks stay offline" held_by_record
start_guest one --huge-pages no --memory-blocks yes
check "the next one knows them" soon grep -q "an earlier hvguestd has left" "$run/one.log"
agree "it goes on with them" 1280
check "... as they were" held_blocks_are_offline
assign 2G
agree "all is given back to it" 0
is "... and every block is online" "$(offline)" ""
assign 1G
agree "it can give again" 1024
# --- a kill of both sides: the memory is nobody's until somebody says so

check "blocks are offline again" held_blocks_are_offline
left=$(offline)
murder "$host_pid"
murder "$one_pid"
check "the blocks stay offline" held_by_record
start_host --startup ${startup_mib}M --minimum 256M --first-action 0 --spacing 0 --buffer 2000
start_guest one --huge-pages no --memory-blocks yes
soon ready one
unreported() {
    [ "$(guest_value one '.memory | .ballooned_bytes + .unreported_bytes')" = $(($1 * mib)) ]
}
check "the next guest still has what no host knows of" soon unreported 1024
is "... the same blocks" "$(offline)" "$left"
check "hvguestctl memory release puts it back into use" guest one memory release
check "... all of it" soon eval '[ -z "$(offline)" ]'
assign 1G
agree "and it can be given again" 1024
ends "a guest with a balloon ends at Ctrl-C" "$one_pid"
is "... and its blocks are back" "$(offline)" ""
is "... and the machine's memory is what it was" "$(total)" "$before"
ends "the host ends at Ctrl-C" "$host_pid"
no_reports
done_testing
