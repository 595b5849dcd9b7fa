#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Memory that is added to a running machine: DIMMs are plugged in from outside, and hvguestd brings
# their blocks online by policy, says what it did or why not, and leaves alone what others took
# offline. There is no Hyper-V in this machine; the kernel's messages are the same.
#
# systems: bookworm

. "$(dirname "$0")/system.sh"

sysfs=/sys/devices/system/memory
dimm_mib=256

vm_add_file usr/local/etc/hvguest/hvguest.conf <<'END'
[lab]
socket = /run/hvhost/lab.sock
[memory]
hotplug = online_movable
END

# start POLICY: hvguestd anew
start() {
    guest "sed -i 's/^hotplug = .*/hotplug = $1/' /usr/local/etc/hvguest/hvguest.conf &&
        systemctl restart hvguestd" && eventually 60 status_is .hotplug.policy "$1"
}

# by_itself WORD: what the kernel does with new blocks
by_itself() {
    guest "echo $1 >$sysfs/auto_online_blocks"
}

# plug NAME, unplug NAME
plug() {
    qmp object-add "{\"qom-type\":\"memory-backend-ram\",\"id\":\"ram-$1\",\"size\":$((dimm_mib * MiB))}" &&
        qmp device_add "{\"driver\":\"pc-dimm\",\"id\":\"dimm-$1\",\"memdev\":\"ram-$1\"}"
}

unplug() {
    qmp device_del "{\"id\":\"dimm-$1\"}"
}

# total: the guest's memory, in MiB
total() {
    guest "awk '/^MemTotal:/ { printf \"%d\\n\", \$2 / 1024 }' /proc/meminfo"
}

total_is() {
    local now
    now=$(total)
    echo "MemTotal: $now MiB"
    [ "$now" = "$1" ]
}

# zones: of all blocks, each once
zones() {
    guest "for b in $sysfs/memory*; do [ \"\$(cat \$b/state)\" != online ] || cat \$b/valid_zones; done |
        sort -u | tr '\n' ' '"
}

offline() {
    guest "grep -lx offline $sysfs/memory*/state | wc -l"
}

vm_enable_hvguestd
vm_start

check "hvguestd is there" eventually 60 status_is .hotplug.policy online_movable
block_mib=$(($(status .hotplug.block_bytes) / MiB))
is "it knows the size of a block" "$block_mib" "$((0x$(guest "cat $sysfs/block_size_bytes") / MiB))"
blocks=$((dimm_mib / block_mib))
before=$(total)

# --- by policy

check "the kernel is told to leave new blocks alone" by_itself offline
check "a DIMM is plugged in" plug one
check "its memory is there" eventually 60 total_is $((before + dimm_mib))
check "... by hvguestd" eventually 60 status_is '.hotplug | "\(.added) \(.onlined) \(.failed)"' \
    "$blocks $blocks 0"
check "... in zone Movable" eval 'zones | grep -q Movable'
diag "the slowest block was online $(status .hotplug.longest_seconds) s after its message"
check "hvguestctl tells" eval "guest 'hvguestctl status' | grep -q 'brought online $blocks, failed 0'"

check "the DIMM is taken out again" unplug one
check "... and its memory leaves" eventually 60 total_is "$before"

# --- the kernel is first

check "the kernel is told to bring new blocks online" by_itself online_kernel
check "a DIMM is plugged in" plug two
check "its memory is there" eventually 60 total_is $((before + dimm_mib))
check "hvguestd says that the kernel was first" eventually 60 status_is .hotplug.by_kernel "$blocks"
check "... and what to change" eval 'status .hotplug.last_failure | grep -q memhp_default_state=offline'

# --- not at all

check "a hvguestd that is not to touch new memory" start off
check "the kernel is told to leave it alone, too" by_itself offline
check "a DIMM is plugged in" plug three
check "its blocks are seen" eventually 60 status_is .hotplug.left "$blocks"
is "... and stay offline" "$(offline)" "$blocks"

# --- blocks that were offline before

check "a hvguestd that starts later" start auto
check "a DIMM is plugged in" plug four
check "its blocks are brought online" eventually 60 status_is .hotplug.onlined "$blocks"
is "... and those from before stay as they are" "$(offline)" "$blocks"

check "the machine ends" power_off
done_testing
