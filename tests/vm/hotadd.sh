#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Memory that the host adds: QEMU's hv-balloon asks, hvguestd hands a piece of a window of soft-reserved
# memory to the kernel, which a boot parameter has set apart for it, and brings it online.
#
# kernels: trixie

. "$(dirname "$0")/nested.sh"
. "$(dirname "$0")/dynmem.sh"

vm_guest_append='memmap=1G%32G+0xefffffff'
vm_hotadd_bytes=$((1024 * MiB))

# total_grew MIB: the guest's memory, since hvguestd began
total_grew() {
    local grew=$((($(meminfo MemTotal) - total) / MiB))
    echo "MemTotal: $grew MiB more"
    [ "$grew" = "$1" ]
}

hotplug_is() {
    local now
    now=$(status | jq -r ".hotplug.$1")
    echo "$1: $now"
    [ "$now" = "$2" ]
}

vm_start
check "the kernel's own driver has the device first" guest 'modprobe hv_balloon && modprobe hv_vmbus'
[ -n "$(guest 'find /lib/modules -name "dax_hmem*"')" ] || bail_out "the kernel in the cache lacks dax_hmem: remove it from there"
guest 'echo offline >/sys/devices/system/memory/auto_online_blocks'
total=$(meminfo MemTotal)

check "hvguestd starts" start_daemon
check "the handshake ends" eventually 30 memory_is state ready
is "it can add memory" "$(memory hot_add.method)" dax
is "QEMU has seen the capabilities: hot add, too, as from the kernel's driver" "$(traced 'incoming caps 0x1f$')" 2

check "the host's silence can be skipped" skip_silence
check "the host adds 256 MiB" set_memory $((vm_bytes + 256 * MiB))
check "the guest takes them to the page" eventually 60 actual_is $((vm_bytes + 256 * MiB))
is "hvguestd counts the same" "$(memory hot_add.added_bytes)" $((256 * MiB))
check "they are online" eventually 30 hotplug_is onlined 2
check "the kernel has them" eventually 30 total_grew 256

check "the host adds 256 MiB more" set_memory $((vm_bytes + 512 * MiB))
check "the guest takes these, too" eventually 60 actual_is $((vm_bytes + 512 * MiB))
check "they are online" eventually 30 hotplug_is onlined 4
check "the kernel has them" eventually 30 total_grew 512
check "they can be used" guest 'mkdir -p /mnt && mount -t tmpfs -o size=900M none /mnt
    dd if=/dev/zero of=/mnt/file bs=1M count=800 2>/dev/null && rm /mnt/file && umount /mnt'

check "the host asks for 128 MiB" set_memory $((vm_bytes + 384 * MiB))
check "it gets them to the page" eventually 60 actual_is $((vm_bytes + 384 * MiB))

check "the host gives these back, and adds the rest of the window" set_memory $((vm_bytes + 1024 * MiB))
check "the guest takes both" eventually 60 actual_is $((vm_bytes + 1024 * MiB))
check "hvguestd ends" stop_daemon
check "QEMU has nothing to complain about" no_complaint
done_testing
