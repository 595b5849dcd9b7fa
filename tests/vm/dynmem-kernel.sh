#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The kernel's own driver for dynamic memory with QEMU's hv-balloon: if this fails, the lab is broken,
# not hvguest.
#
# kernels: trixie

. "$(dirname "$0")/nested.sh"

handshake_is_done() {
    guest 'dmesg | grep "Using Dynamic Memory protocol version 2.0"'
}

reported() {
    qmp query-hv-balloon-status-report
}

vm_start
check "the guest finds VMBus" guest 'modprobe hv_vmbus && dmesg | grep "Vmbus version"'
check "there is one device for dynamic memory" test "$(dm_device | wc -l)" = 1
check "the kernel's driver loads" guest 'modprobe hv_balloon pressure_report_delay=1'
check "driver and host agree on a version" eventually 60 handshake_is_done
is "the driver has the device" "$(dm_driver)" hv_balloon
check "the guest reports its memory" eventually 60 reported
is "all memory is there" "$(actual)" "$vm_bytes"

check "the host's silence can be skipped" skip_silence
check "the host can ask for 128 MiB" set_memory $((vm_bytes - 128 * MiB))
check "it gets them" eventually 60 actual_is $((vm_bytes - 128 * MiB))
check "the host can give them back" set_memory "$vm_bytes"
check "the guest takes them" eventually 60 actual_is "$vm_bytes"
done_testing
