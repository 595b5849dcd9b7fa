#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvguestd is killed, and handed over, while QEMU has memory of the guest: the keeper keeps the memory
# and the channel, QEMU notices nothing, and the next hvguestd goes on. When both are killed the
# channel is closed and QEMU forgets.
#
# kernels: trixie sid

. "$(dirname "$0")/nested.sh"
. "$(dirname "$0")/dynmem.sh"

# all_is_ours MIB: hvguestd has looked at each page that QEMU has
all_is_ours() {
    local verified
    verified=$(guest 'hvguestctl memory --verify --json')
    echo "$verified"
    jq -e ".ours and .ballooned_bytes == $1 * 1048576 and .held_bytes == $1 * 1048576" <<<"$verified"
}

# Hands over, as systemd has it at a restart.
hand_over() {
    guest 'pid=$(cat /run/hvguestd.pid); kill -USR2 $pid
        for i in $(seq 300); do [ -d /proc/$pid ] || exit 0; usleep 100000; done; exit 1'
}

went_on() {
    local times
    times=$(guest 'grep -c "dynmem: channel .* is still open: .*: going on" /run/hvguestd.log')
    echo "gone on $times times"
    [ "$times" = "$1" ]
}

reports() {
    qmp query-hv-balloon-status-report
}

# How many times the guest has said which versions it has: once for each channel that was opened.
handshakes() {
    traced 'incoming proto version 2.0'
}

keeper() {
    guest 'pidof hvguest-keeper'
}

low=$((vm_bytes - 128 * MiB)) # what the guest has left when QEMU has its share

vm_start
check "the kernel's own driver has the device first" guest 'modprobe hv_balloon && modprobe hv_vmbus'
check "hvguestd starts" start_daemon
check "the handshake ends" eventually 60 memory_is state ready
check "the host's silence can be skipped" skip_silence
check "the host asks for 128 MiB" set_memory "$low"
check "it gets them" eventually 60 actual_is "$low"
before=$(handshakes)
first_keeper=$(keeper)

check "hvguestd is killed" kill_daemon
is "the keeper is not" "$(keeper)" "$first_keeper"
is "uio_hv_generic has the device" "$(dm_driver)" uio_hv_generic
check "QEMU has heard nothing" guest 'sleep 2'
is "it has the same memory" "$(actual)" "$low"
is "it had the guest's last report, which it would have forgotten" "$(reports | jq 'has("committed")')" true

check "another hvguestd starts" start_daemon
check "it goes on where the first one was" eventually 60 went_on 1
check "it is ready" eventually 60 memory_is state ready
is "QEMU has the same memory as before" "$(actual)" "$low"
check "every page of it is still the one that it was" all_is_ours 128
is "there was no other handshake" "$(handshakes)" "$before"
reports_before=$(events HV_BALLOON_STATUS_REPORT | wc -l)
more_reports() {
    [ "$(events HV_BALLOON_STATUS_REPORT | wc -l)" -gt "$reports_before" ]
}
check "reports go on" eventually 60 more_reports
check "the host can ask for more" set_memory $((low - 64 * MiB))
check "it gets it" eventually 60 actual_is $((low - 64 * MiB))

check "hvguestd hands over" hand_over
is "QEMU has the same memory after that" "$(actual)" $((low - 64 * MiB))
check "the next one starts" start_daemon
check "it goes on" eventually 60 went_on 2
check "it is ready again" eventually 60 memory_is state ready
check "every page is still the same" all_is_ours 192
is "there was no other handshake at all" "$(handshakes)" "$before"
is "the keeper is the first one" "$(keeper)" "$first_keeper"

check "the host gives everything back" set_memory "$vm_bytes"
check "the guest takes all of it" eventually 60 actual_is "$vm_bytes"
is "hvguestd has none left" "$(memory ballooned_bytes)" 0

check "the host asks for 128 MiB again" set_memory "$low"
check "it gets them again" eventually 60 actual_is "$low"
check "hvguestd and its keeper are killed" kill_both
check "QEMU has forgotten" eventually 60 actual_is "$vm_bytes"
is "the device is where it was" "$(dm_driver)" uio_hv_generic

# QEMU keeps the last target, and asks for it again when its silence is over.
check "hvguestd starts after that" start_daemon
check "there is another handshake" eventually 60 memory_is state ready
check "the host may ask now" skip_silence
check "it gives what was asked before, and takes it back" inflate_and_deflate 128
check "hvguestd ends" stop_daemon
check "the keeper has ended" test -z "$(keeper)"
check "the kernel's driver has the device" eventually 60 driver_is hv_balloon
check "QEMU had nothing to complain about" no_complaint
check "the kernel had nothing to complain about" guest '! dmesg | grep -e WARNING: -e BUG: -e Oops'
done_testing
