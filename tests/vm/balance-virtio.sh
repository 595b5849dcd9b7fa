#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvhost drives the memory of real VMs by QMP: virtio-balloon, programs in the guests that really use
# memory, VMs that are killed and started in between. Memory follows the load, no program is killed for
# want of memory, and all VMs together never have more than the budget.
#
# kernels: trixie

. "$(dirname "$0")/fleet.sh"

budget_mib=640

# total_mib NAME: the memory that the guest sees, which its own kernel says
total_mib() {
    fleet_guest "$1" "awk '/^MemTotal:/ { print int(\$2 / 1024) }' /proc/meminfo"
}

# load NAME MIB: a program that really uses so much, 10 MiB a second: a guest of virtio-balloon speaks once
# a second, and whoever takes all that it has in that time is killed, whatever the host does. It ends with its parent, so it has one that stays.
load() {
    fleet_guest "$1" "{ memeater ${2}M --step 1M; :; } >/run/memeater.out 2>&1 &"
}

is_loaded() {
    fleet_guest "$1" 'grep holding /run/memeater.out'
}

unload() {
    fleet_guest "$1" 'kill $(pidof memeater)'
}

nobody_was_killed() {
    fleet_guest "$1" '! dmesg | grep -i -e "out of memory" -e oom-kill'
}

fleet_make_images
fleet_host --minimum 96M --host-memory "${budget_mib}M" --first-action 2 --spacing 1 --smoothing 3
fleet_sample
for name in one two; do fleet_start "$name"; done
for name in one two; do
    fleet_up "$name"
    check "hvhost finds $name" eventually 60 fleet_is "$name" watching
    is "$name has virtio-balloon" "$(fleet_value "$name" .qemu.balloon)" virtio-balloon
done
seen=$(total_mib one)

check "a third VM is to start, and needs more than is free" fleet_reserve three
check "the first two, which do nothing, give it" eventually 120 fleet_is_reserved three
diag "$(fleet status)"
check "their own kernels agree" [ "$(total_mib one)" -lt $((seen - 20)) ]
check "the host says why" eval 'fleet why one | grep -q .'

fleet_kill two
check "the second is killed, and its memory is free" eventually 60 fleet_has_no two
fleet_start three
given=$(fleet_mib_of one)
load one 110
check "a program uses 110 MiB in the first, while the third is booted" eventually 120 is_loaded one
check "memory follows" eventually 60 fleet_at_least one $((given + 20))
fleet_up three
check "hvhost has found the third" eventually 60 fleet_is three watching
check "the program in the first is still there" is_loaded one
check "it ends" unload one

check "the second is to start again" fleet_reserve two
check "the others give what it needs" eventually 120 fleet_is_reserved two
fleet_start two
fleet_up two
check "hvhost finds the second again" eventually 60 fleet_is two watching
load two 110
check "a program uses 110 MiB there" eventually 120 is_loaded two
diag "$(fleet status)"

for name in one two three; do
    check "no program of $name was killed for want of memory" nobody_was_killed "$name"
done
most=$(fleet_most)
diag "the most that all had together: $most of $budget_mib MiB, $(wc -l <"$vm_results/memory.txt") samples"
check "all together never had more than the budget" [ "$most" -le "$budget_mib" ]
check "... and the samples are not empty" [ "$most" -ge 256 ]
done_testing
