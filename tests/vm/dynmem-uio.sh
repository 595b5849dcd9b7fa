#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Dynamic memory by hvguestd over real VMBus: it takes the device from the kernel's driver, works with
# QEMU's hv-balloon, and gives the device back. What QEMU says is compared with what the guest says.
#
# kernels: trixie bookworm-backports sid

. "$(dirname "$0")/vm.sh"

status() {
    guest 'hvguestctl status --json'
}

# memory KEY: of hvguestd's status
memory() {
    status | jq -r ".memory.$1"
}

memory_is() {
    local now
    now=$(memory "$1")
    echo "$1: $now"
    [ "$now" = "$2" ]
}

# What hvguestctl vmbus has about the device.
listed() {
    guest 'hvguestctl vmbus --json' | jq -c '.devices[] | select(.class == "dynmem")'
}

is_listed_right() {
    local device=$(listed)
    echo "$device"
    jq -e --arg instance "$(basename "$(dm_device)")" '.instance == $instance and
        .driver == "uio_hv_generic" and .service_state == "open" and .state == "opened" and
        .ring_bytes == 2097152 and .interrupts > 0' <<<"$device" >/dev/null
}

# Another hvguestd, which must find the device taken, name who has it, and leave it alone.
second_daemon() {
    guest 'hvguestd --run-dir /run/second --takeover dynmem >/run/second.log 2>&1 & second=$!
        named="process $(cat /run/hvguestd.pid) (hvguestd) has /dev/uio"
        for i in $(seq 100); do grep -q "$named" /run/second.log && break; usleep 100000; done
        kill $second; wait $second; cat /run/second.log; grep -q "$named" /run/second.log'
}

start_daemon() {
    guest 'hvguestd --takeover dynmem --report-delay 0 >>/run/hvguestd.log 2>&1 & echo $! >/run/hvguestd.pid'
}

meminfo() {
    guest "awk '/^$1:/ { print \$2 * 1024 }' /proc/meminfo"
}

# What nobody uses. MemAvailable lacks what waits on the processors' lists of free pages, which is
# where a balloon's pages go first: 50 MiB and more, until the kernel trims the lists.
unused_bytes() {
    local lists
    lists=$(guest "awk '/^ +count:/ { pages += \$2 } END { print pages * 4096 }' /proc/zoneinfo")
    echo $(($(meminfo MemAvailable) + lists))
}

# The guest's memory that the outer machine keeps for it, in KiB.
kept_kib() {
    outer "awk '/^RssAnon:/ { print \$2 }' /proc/\$(pidof qemu-system-x86_64)/status"
}

# near A B: whether they differ by 1 % at most
near() {
    echo "$1 and $2"
    [ $((($1 > $2 ? $1 - $2 : $2 - $1) * 100)) -le "$2" ]
}

# The last report that QEMU has, and /proc/meminfo. The committed memory in a report contains a floor.
report_is_right() {
    local report
    report=$(qmp query-hv-balloon-status-report) &&
        near "$(jq .available <<<"$report")" "$(meminfo MemAvailable)" &&
        near "$(jq .committed <<<"$report")" $(($(meminfo Committed_AS) + $(memory floor_bytes)))
}

at_least() {
    echo "$1, at least $2"
    [ "$1" -ge "$2" ]
}

# Six reports in a row, by QEMU's clock: about a second from each to the next.
reports_each_second() {
    events HV_BALLOON_STATUS_REPORT | tail -n 6 | jq -s -e '
        map(.timestamp | .seconds + .microseconds / 1e6) | [.[1:], .[:-1]] | transpose |
        map(.[0] - .[1]) | (length == 5 and all(. > 0.5 and . < 2.5)), .' | tee /dev/stderr | head -n 1 |
        grep -q true
}

# nothing_wrong: no warning of QEMU about what the guest sent
no_complaint() {
    ! grep -i -e 'unexpected .* state' -e 'too short' -e 'unknown DM' -e 'ignoring' "$vm_results/console.txt"
}

at_the_floor() {
    memory_is operation.running false && [ "$(memory operation.kind)" = balloon ] &&
        [ "$(actual)" = $((vm_bytes - $(memory ballooned_bytes))) ]
}

vm_start
check "the kernel's own driver has the device first" guest 'modprobe hv_balloon && modprobe hv_vmbus'
is "it is bound" "$(dm_driver)" hv_balloon
unused_before=$(unused_bytes)

check "hvguestd starts" start_daemon
check "it has taken the device over" eventually 20 driver_is uio_hv_generic
check "the handshake ends" eventually 20 memory_is state ready
is "both sides have version 2.0" "$(memory version)" 2.0
is "QEMU has seen the version, after that of the kernel's driver" "$(traced 'incoming proto version 2.0')" 2
is "QEMU has seen the capabilities: all but hot add" "$(traced 'incoming caps 0x1d$')" 1
check "reports arrive" eventually 20 qmp query-hv-balloon-status-report
check "a report agrees with /proc/meminfo" eventually 20 report_is_right
check "one arrives each second" eventually 20 reports_each_second
check "hvguestctl vmbus shows the device and its channel" is_listed_right
check "a second hvguestd finds the device taken, and says so" second_daemon
check "the first goes on" memory_is state ready
diag "$((unused_before / MiB)) MiB were unused before, and $(($(unused_bytes) / MiB)) MiB now"

check "the host's silence can be skipped" skip_silence
check "the host asks for 128 MiB" set_memory $((vm_bytes - 128 * MiB))
check "it gets them to the page" eventually 60 actual_is $((vm_bytes - 128 * MiB))
is "hvguestd counts the same" "$(memory ballooned_bytes)" $((128 * MiB))
check "a report still agrees" eventually 20 report_is_right
check "the host gives them back" set_memory "$vm_bytes"
check "the guest takes them to the page" eventually 60 actual_is "$vm_bytes"
is "hvguestd has none left" "$(memory ballooned_bytes)" 0

check "the host asks for more than there is" set_memory $((64 * MiB))
check "it gets what is above the floor" eventually 60 at_the_floor
diag "floor: QEMU has the guest at $(($(actual) / MiB)) MiB"
check "the guest is alive and has run out of nothing" guest '! dmesg | grep -i -e "out of memory" -e oom-kill'
check "the host gives everything back" set_memory "$vm_bytes"
check "the guest takes everything" eventually 60 actual_is "$vm_bytes"

check "the host asks for 128 MiB again" set_memory $((vm_bytes - 128 * MiB))
check "it gets them" eventually 60 actual_is $((vm_bytes - 128 * MiB))
check "hvguestd ends while they are away" stop_daemon
check "QEMU has forgotten them" eventually 10 actual_is "$vm_bytes"
check "the kernel's driver has the device again" eventually 10 driver_is hv_balloon
check "the guest has its memory again" near "$(unused_bytes)" "$unused_before"
check "the kernel's driver works: the host's silence can be skipped" skip_silence
check "it gives 64 MiB and takes them back" inflate_and_deflate 64

# Memory that the guest has used is kept for it; the kernel clears huge pages when it makes them.
check "the guest has a pool of 2 MiB pages" guest 'echo 32 >/proc/sys/vm/nr_hugepages; grep -x 32 /proc/sys/vm/nr_hugepages'

check "hvguestd starts again" start_daemon
check "the handshake ends again" eventually 20 memory_is state ready
check "the host's silence can be skipped again" skip_silence
kept_before=$(kept_kib)
check "the host asks for 64 MiB" set_memory $((vm_bytes - 64 * MiB))
check "it gets them again" eventually 60 actual_is $((vm_bytes - 64 * MiB))
is "they are from the pool" "$(memory pages.huge_bytes)" $((64 * MiB))
check "the machine around it has 64 MiB more to use" at_least $((kept_before - $(kept_kib))) $((60 * 1024))
check "hvguestd is killed while they are away" guest 'kill -KILL $(cat /run/hvguestd.pid)'
check "QEMU has forgotten them again" eventually 10 actual_is "$vm_bytes"
is "the device is where it was" "$(dm_driver)" uio_hv_generic

# QEMU has not: it keeps the last target, and asks for it again when its silence is over.
check "hvguestd starts after that" start_daemon
check "the handshake ends a third time" eventually 20 memory_is state ready
check "the host may ask now" skip_silence
check "it gives what was asked before, and takes it back" inflate_and_deflate 64
check "hvguestd ends" stop_daemon
check "the kernel's driver has the device at the end" eventually 10 driver_is hv_balloon

check "QEMU had nothing to complain about" no_complaint
check "the kernel had nothing to complain about" guest '! dmesg | grep -e WARNING: -e BUG: -e Oops'
done_testing
