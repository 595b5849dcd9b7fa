#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Disks. First those that grow under a running machine: QEMU makes a virtual disk larger, as a host does,
# and hvguestd has the partition and the ext4 on it grow while it is used. The disks are looked at from
# outside afterwards.
#
# Then backups of logical volumes, thick and thin: the guest stands still while LVM makes a snapshot, and the
# copy is made of that. A volume's file system is mounted through a loop device, which stands for the VM
# that has the volume as its disk. What is copied to can be frozen, and holds a copy up then.
#
# systems: bookworm

. "$(dirname "$0")/system.sh"

start_mib=21             # of the second partition
vault=$vm_dir/vault.ext4 # a disk with room for copies

# The disks: one with a GPT, one without a table, both with an ext4; one for a volume group, one for copies,
# one with nothing
make_disks() {
    truncate -s 200M "$vm_dir/parts.img" "$vm_dir/whole.img" &&
        printf 'label: gpt\nsize=20M\nsize=170M\n' | sfdisk -q "$vm_dir/parts.img" &&
        mke2fs -q -t ext4 -E offset=$((start_mib * MiB)) "$vm_dir/parts.img" $((170 * 1024))k &&
        mke2fs -q -t ext4 "$vm_dir/whole.img" &&
        truncate -s 1G "$vm_dir/group.img" && truncate -s 32M "$vm_dir/plain.img" &&
        truncate -s 700M "$vault" && mke2fs -q -t ext4 "$vault"
}
make_disks || bail_out "the disks cannot be made"
vm_disk parts "$vm_dir/parts.img"
vm_disk whole "$vm_dir/whole.img"
vm_disk group "$vm_dir/group.img"
vm_disk vault "$vault"
vm_disk plain "$vm_dir/plain.img"
vm_add_lab <<'END'
[disks]
grow = auto
list = /dev/disk/by-id/virtio-parts,/dev/disk/by-id/virtio-whole
[backup]
freeze_roots = /srv
freeze_timeout = 60
END
vm_start

# resize NAME MIB: as a host does it
resize() {
    qmp block_resize "{\"device\":\"$1\",\"size\":$(($2 * MiB))}"
}

# mib MOUNT: of the file system, in whole MiB of its superblock
mib() {
    guest "dumpe2fs -h \$(findmnt -no SOURCE $1) 2>/dev/null" |
        awk '/^Block count:/ { n = $3 } /^Block size:/ { s = $3 } END { printf "%d\n", n * s / 1048576 }'
}

mib_is() {
    local now
    now=$(mib "$1")
    echo "$1: $now MiB"
    [ "$now" = "$2" ]
}

# A group with two volumes, each with an ext4 that holds 20 MiB and is written to.
make_volumes() {
    guest 'modprobe -a dm_snapshot dm_thin_pool
        mkdir -p /vault && mount /dev/disk/by-id/virtio-vault /vault || exit
        vgcreate -q group /dev/disk/by-id/virtio-group && lvcreate -q -y -L 160M -n thick group &&
            lvcreate -q -y -L 300M -T group/pool && lvcreate -q -V 160M -T group/pool -n thin || exit
        for v in thick thin; do
            mkfs.ext4 -q /dev/group/$v && mkdir -p /srv/$v &&
                mount $(losetup --direct-io=on --show -f /dev/group/$v) /srv/$v &&
                head -c 20M /dev/urandom >/srv/$v/data || exit
        done
        sync; sha256sum /srv/*/data >/run/sums'
}

begin_writers() {
    guest 'for v in thick thin; do
            sh -c "while sleep 0.02; do n=\$((n + 1)); echo \$n >>/srv/$v/all; sync -f /srv/$v/all; done" \
                >/dev/null 2>&1 </dev/null &
        done'
}

# backup FOLDER OPTION...: as JSON in /run/backup.json; what it complains of in /run/backup.err
backup() {
    local folder=$1
    shift
    guest "mkdir -p /vault/$folder && hvhost backup guest --run-dir /run/hvhost --to /vault/$folder $* --json \
        >/run/backup.json 2>/run/backup.err; status=\$?; cat /run/backup.err; exit \$status"
}

# backed_up FILTER: what jq finds in the last one
backed_up() {
    guest 'cat /run/backup.json' | jq -r "$1"
}

said() {
    guest "grep -- '$1' /run/backup.err"
}

# The copy is held up by the frozen vault: the snapshot is there, and the guest goes on.
begin_held_backup() {
    guest "mkdir -p /vault/$1 && fsfreeze -f /vault && touch /run/held.log && rm -f /run/held.status
        (hvhost backup guest --run-dir /run/hvhost --to /vault/$1 $2 >/run/held.log 2>&1; echo \$? >/run/held.status) &"
}

end_held_backup() {
    guest "fsfreeze -u /vault
        for i in \$(seq 300); do [ -e /run/held.status ] && break; sleep 0.1; done
        cat /run/held.log; [ \$(cat /run/held.status) != 0 ]"
}

# snapshots: how many there are
snapshots() {
    guest "lvs --noheadings -o lv_name group | grep -c hvguest"
}

snapshots_are() {
    local now
    now=$(snapshots)
    echo "$now snapshots"
    [ "$now" = "$1" ]
}

can_be_written() {
    guest 'timeout 10 sh -c "echo more >>/srv/thick/more && sync -f /srv/thick/more"'
}

# In the copy, outside: an ext4 without a log to replay, with what was there, and what was written until then
copy_is_good() {
    local copy=$vm_dir/copy.ext4 n
    rm -f "$copy" && debugfs -R "dump /$1/$2 $copy" "$vault" 2>&1 && disk_is_clean "$copy" || return 1
    debugfs -R "cat /data" "$copy" 2>/dev/null | sha256sum | cut -d' ' -f1 |
        grep -qf - <(guest_sums) || return 1
    n=$(debugfs -R "cat /all" "$copy" 2>/dev/null | tail -n 1)
    echo "$n written by then"
    [ "${n:-0}" -gt 0 ] && debugfs -R "cat /all" "$copy" 2>/dev/null | cmp - <(seq "$n")
}

guest_sums() {
    printf '%s\n' "$sums"
}

# --- disks that grow

check "hvguestd works" eventually 60 works
check "the file systems are mounted" guest "mkdir /parts /whole &&
    mount /dev/disk/by-id/virtio-parts-part2 /parts && mount /dev/disk/by-id/virtio-whole /whole"
guest 'setsid sh -c "for i in 1 2 3 4 5 6 7 8 9; do for d in /parts /whole; do
    dd if=/dev/zero of=\$d/busy\$i bs=1M count=6 conv=fsync; done; done" >/dev/null 2>&1 </dev/null &'
check "the host makes the disk with a GPT larger" resize parts 500
check "its ext4 has grown, while it is written to" eventually 90 mib_is /parts 478
check "the host makes the disk without a table larger" resize whole 400
check "its ext4 has grown, too" eventually 90 mib_is /whole 400
check "hvguestd tells" eventually 30 status_is .disks.grown 2
check "hvguestctl disks shows them full" guest "hvguestctl disks"
check "systemd is content" guest "systemctl is-failed hvguestd; [ \$? != 0 ]"

# --- volumes: by snapshots

check "there are volumes" make_volumes
sums=$(guest 'cat /run/sums')
check "somebody writes to them" begin_writers
check "a backup of both is made, and verified" backup first --image /dev/group/thick --image /dev/mapper/group-thin --verify
diag "frozen for $(backed_up .frozen_seconds) s"
is "by a snapshot of each kind" "$(backed_up '[.images[] | .snapshot] | join(" ")')" "lvm lvm-thin"
is "... copied past the page cache, and verified" "$(backed_up '[.images[] | .method, .verified] | map(tostring) | join(" ")')" \
    "direct true direct true"
is "the copies have the volumes' names" "$(guest 'ls -A /vault/first')" "group-thin
thick"
check "zeros have become holes" guest '[ $(du -k /vault/first/thick | cut -f1) -lt 60000 ]'
is "no snapshot is left" "$(snapshots)" 0
check "the receipt says that it is consistent" eventually 60 guest "hvguestctl receipt"
check "the guest goes on" can_be_written

# --- a snapshot that is too small

check "a backup with room for 4 MiB" begin_held_backup small "--image /dev/group/thick --cow 4M"
check "... of which there is a snapshot" eventually 60 snapshots_are 1
check "... when the guest goes on" eventually 60 can_be_written
check "more than that is written" guest 'head -c 12M /dev/urandom >/srv/thick/more && sync -f /srv/thick/more'
check "the backup fails" end_held_backup
check "... and says why" guest 'grep "more was written to the volume meanwhile than its snapshot holds (4 MiB)" /run/held.log'
is "no snapshot is left of it" "$(snapshots)" 0
is "... nor a copy" "$(guest 'ls -A /vault/small')" ""
check "the volume goes on" can_be_written

# --- a host that is killed

check "a backup of both is begun" begin_held_backup killed "--image /dev/group/thick --image /dev/group/thin"
check "... of which there are snapshots" eventually 60 snapshots_are 2
check "hvhost is killed" guest 'systemctl kill -s KILL hvhost'
check "... and ends" end_held_backup
is "the snapshots are still there" "$(snapshots)" 2
check "hvhost is started again" guest 'systemctl restart hvhost'
check "it has removed them" eventually 60 snapshots_are 0
check "... and says so" guest 'journalctl -u hvhost --no-pager | grep "was left by a predecessor: it is removed"'
check "hvguestd has the new one" eventually 60 works
check "a backup works" backup killed --image /dev/group/thick --image /dev/group/thin
is "... by snapshots" "$(backed_up '[.images[] | .snapshot] | join(" ")')" "lvm lvm-thin"

# --- what cannot be

freezes=$(status .backup.freezes)
check "the group is filled" guest 'lvcreate -q -y -l 100%FREE -n full group'
check "there is no backup without room for a snapshot" eval '! backup none --image /dev/group/thick'
check "... which is said" said "no room for a snapshot, volume group group has 0 B free: vgextend it"
is "... before anything is frozen" "$(status .backup.freezes)" "$freezes"
check "a thin volume needs none" backup thin --image /dev/group/thin
check "it can be copied while it is frozen" backup none --image /dev/group/thick --no-snapshot
is "... without a snapshot" "$(backed_up '.images[0].snapshot')" null
check "there is room again" guest 'lvremove -q -y group/full'
check "more than there is cannot be had" eval '! backup much --image /dev/group/thick --cow 100G'
check "a disk without LVM is copied while it is frozen" backup plain --image /dev/disk/by-id/virtio-plain
is "... to a file of its size" "$(guest 'stat -c %s /vault/plain/virtio-plain')" $((32 * MiB))
check "a volume that is mounted itself" guest 'lvcreate -q -y -L 32M -n own group && mkfs.ext4 -q /dev/group/own &&
    mkdir /srv/own && mount /dev/group/own /srv/own'
check "... has no snapshot on this kernel" eval '! backup own --image /dev/group/own'
check "... which is said" said "this kernel makes no snapshot of a volume that is mounted on this machine itself"
check "... and it is not left frozen" guest 'timeout 10 sh -c "echo 1 >/srv/own/1; sync -f /srv/own/1"'
is "no snapshot is left after all" "$(snapshots)" 0
check "no volume is suspended" guest '! dmsetup info -c --noheadings -o suspended | grep -i suspended'

check "it ends" power_off
check "the partition table is without a fault" eval "sfdisk -V '$vm_dir/parts.img' | grep 'No errors detected'"
check "the ext4 without a table is clean" disk_is_clean "$vm_dir/whole.img"
dd if="$vm_dir/parts.img" of="$vm_dir/part.img" bs=1M skip="$start_mib" status=none conv=sparse
check "the ext4 of the partition is clean" disk_is_clean "$vm_dir/part.img"
for copy in first/thick first/group-thin killed/thick killed/thin thin/thin none/thick; do
    check "the copy $copy is good" copy_is_good "${copy%/*}" "${copy#*/}"
done
done_testing
