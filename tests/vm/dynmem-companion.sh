#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Dynamic memory stays with the kernel's driver, and hvguestd beside it brings online what QEMU's
# hv-balloon adds: in the zone that its policy names, in time for the driver's answer.
#
# kernels: trixie

. "$(dirname "$0")/nested.sh"
. "$(dirname "$0")/dynmem.sh"

vm_hotadd_bytes=$((1024 * MiB))
added_bytes=$((256 * MiB))

# hotplug FILTER: of hvguestd's status; hotplug_is FILTER WANTED
hotplug() {
    status | jq -r ".hotplug$1"
}

hotplug_is() {
    local now
    now=$(hotplug "$1")
    echo "$1: $now"
    [ "$now" = "$2" ]
}

# Blocks above what the guest had at its start, which are online in zone Movable.
movable_blocks() {
    guest 'cd /sys/devices/system/memory && size=$((0x$(cat block_size_bytes))) && n=0
        for block in memory[0-9]*; do
            [ $((${block#memory} * size)) -lt $((32 << 30)) ] || [ "$(cat $block/state)" != online ] ||
                [ "$(cat $block/valid_zones)" != Movable ] || n=$((n + 1))
        done; echo $n'
}

vm_start
check "the kernel leaves new memory alone" guest 'echo offline >/sys/devices/system/memory/auto_online_blocks'
check "the kernel's driver has the device" guest 'modprobe hv_balloon && modprobe hv_vmbus'
is "it is bound" "$(dm_driver)" hv_balloon
check "hvguestd starts beside it" guest \
    'hvguestd --hotplug online_movable >>/run/hvguestd.log 2>&1 & echo $! >/run/hvguestd.pid'
check "it has its policy" eventually 60 hotplug_is .policy online_movable
check "it has left the device where it is" driver_is hv_balloon
blocks=$((added_bytes / $(hotplug .block_bytes)))
total=$(meminfo MemTotal)

check "the host's silence can be skipped" skip_silence
check "the host adds 256 MiB" set_memory $((vm_bytes + added_bytes))
check "the guest has them, in QEMU's view" eventually 60 actual_is $((vm_bytes + added_bytes))
check "hvguestd has brought them online" eventually 60 hotplug_is .onlined "$blocks"
is "... where they can be taken out again" "$(movable_blocks)" "$blocks"
is "the guest has as much more memory" "$(meminfo MemTotal)" $((total + added_bytes))
check "the driver's figures are in the status" guest 'mount -t debugfs none /sys/kernel/debug'
check "... with what was added" eventually 60 hotplug_is .kernel_balloon.added_bytes "$added_bytes"
check "... and brought online" hotplug_is .kernel_balloon.onlined_bytes "$added_bytes"

check "hvguestd ends" stop_daemon
check "the memory stays" actual_is $((vm_bytes + added_bytes))
check "QEMU had nothing to complain about" no_complaint
check "the kernel had nothing to complain about" guest '! dmesg | grep -e WARNING: -e BUG: -e Oops'
done_testing
