#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Dynamic memory by hvguestd over real VMBus: it takes the device from the kernel's driver, works with
# QEMU's hv-balloon, and gives the device back. What QEMU says is compared with what the guest says.
#
# kernels: trixie bookworm-backports sid

. "$(dirname "$0")/nested.sh"
. "$(dirname "$0")/dynmem.sh"

# What hvguestctl vmbus has about the device: every column. What waits in the rings is a matter of the
# moment, but it is less than a ring.
listed() {
    guest 'hvguestctl vmbus --json' | jq -c '.devices[] | select(.class == "dynmem")'
}

is_listed_right() {
    local device=$(listed)
    echo "$device"
    jq -e --arg instance "$(basename "$(dm_device)")" '.instance == $instance and
        .driver == "uio_hv_generic" and .driver_override == "uio_hv_generic" and .uio == 0 and
        .service_state == "open" and .state == "opened" and .ring_bytes == 2097152 and
        (.in_bytes | numbers) < .ring_bytes and (.out_bytes | numbers) < .ring_bytes and
        .interrupts > 0' <<<"$device" >/dev/null
}

# The guest's memory that the outer machine keeps for it, in KiB.
kept_kib() {
    outer "awk '/^RssAnon:/ { print \$2 }' /proc/\$(pidof qemu-system-x86_64)/status"
}

# The last report that QEMU has, and /proc/meminfo. The committed memory in a report contains a floor,
# and the huge pages that QEMU has, which the kernel does not count.
report_is_right() {
    local report
    report=$(qmp query-hv-balloon-status-report) &&
        near "$(jq .available <<<"$report")" "$(meminfo MemAvailable)" &&
        near "$(jq .committed <<<"$report")" $(($(meminfo Committed_AS) + $(memory floor_bytes) + $(memory pages.huge_bytes)))
}

# Six reports in a row, by QEMU's clock: about a second from each to the next.
reports_each_second() {
    events HV_BALLOON_STATUS_REPORT | tail -n 6 | jq -s -e '
        map(.timestamp | .seconds + .microseconds / 1e6) | [.[1:], .[:-1]] | transpose |
        map(.[0] - .[1]) | (length == 5 and all(. > 0.5 and . < 2.5)), .' | tee /dev/stderr | head -n 1 |
        grep -q true
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
check "it has taken the device over" eventually 60 driver_is uio_hv_generic
check "the handshake ends" eventually 60 memory_is state ready
is "both sides have version 2.0" "$(memory version)" 2.0
is "QEMU has seen the version, after that of the kernel's driver" "$(traced 'incoming proto version 2.0')" 2
is "QEMU has seen the capabilities: all but hot add" "$(traced 'incoming caps 0x1d$')" 1
check "reports arrive" eventually 60 qmp query-hv-balloon-status-report
check "a report agrees with /proc/meminfo" eventually 60 report_is_right
check "one arrives each second" eventually 60 reports_each_second
check "hvguestctl vmbus shows the device and its channel" is_listed_right
diag "$((unused_before / MiB)) MiB were unused before, and $(($(unused_bytes) / MiB)) MiB now"

check "the host's silence can be skipped" skip_silence
check "the host asks for 128 MiB" set_memory $((vm_bytes - 128 * MiB))
check "it gets them to the page" eventually 60 actual_is $((vm_bytes - 128 * MiB))
is "hvguestd counts the same" "$(memory ballooned_bytes)" $((128 * MiB))
check "a report still agrees" eventually 60 report_is_right
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
check "QEMU has forgotten them" eventually 60 actual_is "$vm_bytes"
check "the kernel's driver has the device again" eventually 60 driver_is hv_balloon
check "the guest has its memory again" near "$(unused_bytes)" "$unused_before"
check "the kernel's driver works: the host's silence can be skipped" skip_silence
check "it gives 64 MiB and takes them back" inflate_and_deflate 64

# Memory that the guest has used is kept for it; the kernel clears huge pages when it makes them.
check "the guest has a pool of 2 MiB pages" guest 'echo 32 >/proc/sys/vm/nr_hugepages; grep -x 32 /proc/sys/vm/nr_hugepages'

check "hvguestd starts again" start_daemon
check "the handshake ends again" eventually 60 memory_is state ready
check "the host's silence can be skipped again" skip_silence
kept_before=$(kept_kib)
check "the host asks for 64 MiB" set_memory $((vm_bytes - 64 * MiB))
check "it gets them again" eventually 60 actual_is $((vm_bytes - 64 * MiB))
is "they are from the pool" "$(memory pages.huge_bytes)" $((64 * MiB))
check "the machine around it has 64 MiB more to use" at_least $((kept_before - $(kept_kib))) $((60 * 1024))
check "the host gives them back again" set_memory "$vm_bytes"
check "the guest takes them again" eventually 60 actual_is "$vm_bytes"
check "hvguestd ends" stop_daemon
check "the kernel's driver has the device at the end" eventually 60 driver_is hv_balloon

check "QEMU had nothing to complain about" no_complaint
check "the kernel had nothing to complain about" guest '! dmesg | grep -e WARNING: -e BUG: -e Oops'
done_testing
