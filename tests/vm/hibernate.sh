#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The host has a machine hibernate, in the middle of a freeze: it thaws, sleeps on a disk and is off. Started
# again, with a clock that is wrong, it goes on where it was: the same processes, and the same channels
# until its host offers them anew and has the clock set. Its disks are clean when it ends.
#
# systems: bookworm

. "$(dirname "$0")/system.sh"

make_disks() {
    truncate -s 64M "$vm_dir/data.ext4" && mke2fs -q -t ext4 "$vm_dir/data.ext4" &&
        truncate -s 1G "$vm_dir/swap" && mkswap -q "$vm_dir/swap"
}
make_disks || bail_out "the disks cannot be made"
vm_disk data "$vm_dir/data.ext4"
vm_disk swap "$vm_dir/swap"
vm_append=resume=/dev/disk/by-id/virtio-swap
vm_add_lab <<'END'
[backup]
freeze_roots = /srv
[shutdown]
command = default
[time]
sync = step
END
vm_start

# host VERB...: the lab host in the guest
host() {
    guest "hvhost $* --run-dir /run/hvhost"
}

# host_sees FILTER: true of the guest's status
host_sees() {
    host status guest --json | jq -e "$1"
}

# Somebody writes, and there is a place to sleep; as little as possible is to be written there.
prepare() {
    guest 'mount /dev/disk/by-id/virtio-data /srv && swapon /dev/disk/by-id/virtio-swap || exit
        echo 0 >/sys/power/image_size
        echo 0 >/srv/n
        setsid sh -c "i=0; while :; do i=\$((i + 1)); echo \$i >/srv/n && sync /srv/n; sleep 0.1; done" \
            >/dev/null 2>&1 </dev/null &'
}

has_written() {
    [ "$(guest 'cat /srv/n')" -gt "$1" ]
}

# is_off_by SECONDS: the guest's clock, from that of the build machine, give or take five minutes
is_off_by() {
    local off=$(($(guest 'date +%s') - $(date +%s)))
    echo "off by $off s"
    [ "$off" -gt $(($1 - 300)) ] && [ "$off" -lt $(($1 + 300)) ]
}

# What has hibernated marks the disk that it sleeps on.
sleeps_on() {
    [ "$(dd if="$1" bs=4096 count=1 status=none | tail -c 10 | tr -d '\0')" = S1SUSPEND ]
}

check "hvguestd works" eventually 60 works
check "somebody writes" eval 'prepare && eventually 30 has_written 0'
boot=$(guest 'cat /proc/sys/kernel/random/boot_id')
pid=$(unit MainPID)
check "all is frozen by hand" guest 'hvguestctl freeze --deadline 60'
check "the host asks for hibernation" host hibernate guest --reason moving
check "the machine is off" vm_wait_for_end 90
check "... because it wanted to be" vm_ended_by guest-shutdown
check "... and sleeps on its disk" sleeps_on "$vm_dir/swap"

vm_start_again -rtc "base=$(date -u -d '+3 hours' +%FT%T)"
is "it goes on: it is the same boot" "$(guest 'cat /proc/sys/kernel/random/boot_id')" "$boot"
is "... with the same hvguestd" "$(unit MainPID)" "$pid"
check "who writes goes on, so nothing is frozen" eventually 30 has_written "$(guest 'cat /srv/n')"
check "the receipt says what ended the freeze" guest 'hvguestctl receipt --json | grep "the machine goes down"'
check "the log says why it slept" guest \
    'journalctl -u hvguestd --no-pager | grep "the host asks for hibernate, reason 0x80000000: moving"'
check "the host may ask again" eventually 30 status_is '.shutdown.last | "\(.kind) \(.running)"' "hibernate false"
steps=$(status .time.steps)
check "the clock has woken up in another time" is_off_by 10800
check "... of which the host knows" host time guest --offset -10800 --every 600
is "... and sets no clock by that" "$(status .time.steps)" "$steps"
check "the host offers all channels anew" host move guest
check "every service is ready again" eventually 60 host_sees '.heartbeat.state == "ok" and
    .memory.state == "ready" and .backup.version == "5.0" and .kvp.version == "5.0" and .time.version == "4.0"'
check "the clock is right, for that is asked for first" eventually 60 is_off_by 0
check "keys can be set" host kvp set guest color blue
check "it ends" power_off
check "its disk is clean" disk_is_clean "$vm_root"
check "so is the one with the data" disk_is_clean "$vm_dir/data.ext4"
done_testing
