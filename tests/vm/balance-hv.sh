#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Both of our ends, with a device between them that is not ours: hvhost in the outer machine drives QEMU's
# hv-balloon by QMP, and hvguestd in the guest answers over VMBus. Memory follows a real load in the
# guest, and all three agree on it to the page.
#
# kernels: trixie

. "$(dirname "$0")/nested.sh"
. "$(dirname "$0")/dynmem.sh"

vm_hvhost=yes
vm_limit=$((vm_limit + 60))

start_host() {
    outer 'chroot /hv /bin/hvhost serve --run-dir /run/host --qmp /run/vms --log-level info --minimum 256M \
        --first-action 2 --spacing 1 --smoothing 2 >/run/hvhost.log 2>&1 &'
}

# host FILTER: what jq finds in hvhost's status of the guest
host() {
    outer 'chroot /hv /bin/hvhost status inner --json --run-dir /run/host' | jq -r "$1"
}

host_is() {
    local now
    now=$(host "$1")
    echo "$1: $now"
    [ "$now" = "$2" ]
}

assigned_mib() {
    echo $(($(host .memory.assigned_bytes) / MiB))
}

# assigned_within LOW HIGH, in MiB, and nothing is on its way
assigned_within() {
    local now
    now=$(assigned_mib)
    echo "$now MiB"
    [ "$now" -ge "$1" ] && [ "$now" -le "$2" ] && [ "$(host .memory.state)" = resting ]
}

# hvhost, QEMU and hvguestd count the same, at one moment
all_agree() {
    local ours=$(host .memory.assigned_bytes) qemus=$(actual) guests
    guests=$((vm_bytes - $(memory ballooned_bytes)))
    echo "hvhost $ours, QEMU $qemus, hvguestd $guests"
    [ "$ours" = "$qemus" ] && [ "$qemus" = "$guests" ]
}

vm_start
check "hvhost starts in the outer machine" start_host
check "it finds the guest" eventually 60 host_is .qemu.state watching
is "... with its device" "$(host .qemu.balloon)" hv-balloon
check "the guest has VMBus" guest 'modprobe hv_vmbus'
check "hvguestd starts in the guest" start_daemon
eventually 60 memory_is state ready >/dev/null || bail_out "hvguestd does not start: $(guest 'cat /run/hvguestd.log')"
ok "the handshake ends"
check "the host's silence can be skipped" skip_silence
check "what the guest reports is in hvhost's books" eventually 60 host_is '.memory.committed_bytes > 0' true

check "the guest does nothing, and gives memory" eventually 120 assigned_within 256 600
check "all three agree how much" eventually 60 all_agree
# It is taken in steps, with pauses in between: the last one was when nothing has moved for a while.
rests() {
    local before
    before=$(assigned_mib)
    sleep 8
    [ "$(assigned_mib)" = "$before" ]
}
check "... until it rests" eventually 120 rests
idle=$(assigned_mib)
diag "idle: $idle MiB; hvguestd's report: $(guest 'hvguestctl why' | grep -A4 ^report)"

# As fast as a host can follow: a guest that uses up all it has within a second is lost whatever anybody does.
check "200 MiB of real memory are used in the guest" \
    guest 'for i in $(seq 40); do dd if=/dev/zero bs=1M count=5 2>/dev/null >>/tmp/load || exit 1; sleep 0.5; done'
check "memory follows" eventually 120 assigned_within $((idle + 150)) 768
check "all three agree" eventually 60 all_agree
check "the load ends" guest 'rm /tmp/load'
# A guest whose tasks have waited for memory gives none for a minute, and the host asks once a minute.
check "memory follows again" eventually 180 assigned_within 256 $((idle + 60))
check "all three agree again" eventually 60 all_agree
check "every page that QEMU has is still the one that it was" \
    eventually 60 eval 'guest "hvguestctl memory --verify --json" | jq -e .ours'
check "the host says why" eval '[ -n "$(host .memory.why)" ]'

check "no program was killed for want of memory" guest '! dmesg | grep -i -e "out of memory" -e oom-kill'
check "QEMU had nothing to complain about" no_complaint
check "the kernel had nothing to complain about" guest '! dmesg | grep -e WARNING: -e BUG: -e Oops'
diag "$(outer 'cat /run/hvhost.log' | tail -n 20)"
done_testing
