#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Backup of disks that QEMU has open: hvguestd freezes, QEMU begins a copy of that moment, hvguestd
# thaws, and QEMU copies while the file system is written to. The disk is served by qemu-storage-daemon,
# QEMU's block layer as a program of its own, so that this machine can mount it: every write of the
# guest goes through QEMU.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq fsfreeze losetup e2fsck qemu-storage-daemon qemu-img socat
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
[ -c /dev/fuse ] || skip_all "needs /dev/fuse"
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 200

disk=$tap_dir/disk.img guest_dir=$tap_dir/guest vault=$tap_dir/vault
mkdir "$run/vms" "$vault" "$run/export"

# QEMU unmounts it when it ends in order.
release_export() {
    ! mountpoint -q "$run/export/$1" || umount --lazy "$run/export/$1"
}

# serve NAME IMAGE FORMAT: the disk's QEMU; $NAME_pid
serve() {
    : >"$run/export/$1"
    qemu-storage-daemon --blockdev "driver=file,node-name=file,filename=$2" \
        --blockdev "driver=$3,node-name=disk,file=file" \
        --export "type=fuse,id=fuse,node-name=disk,mountpoint=$run/export/$1,writable=on" \
        --chardev "socket,id=monitor,path=$run/vms/$1.sock,server=on,wait=off" --monitor chardev=monitor \
        >"$run/$1.qsd" 2>&1 &
    printf -v "$1_pid" %s $!
    on_exit release_export "$1"
    on_exit stop "$!"
    soon test -S "$run/vms/$1.sock" && soon mountpoint -q "$run/export/$1"
}

# backup OPTION...: as JSON in $run/backup.json
backup() {
    host backup one --to "$vault" --json "$@" >"$run/backup.json" 2>"$run/backup.err"
}

said() {
    cat "$run/backup.err"
    grep -q "$1" "$run/backup.err"
}

thawed() {
    [ "$(guest_value one .backup.state)" != frozen ] && touch "$guest_dir/probe" &&
        timeout 10 sync -f "$guest_dir"
}

looked_at() {
    [ "$(host_value "$1" .qemu.state)" = watching ]
}

prepare() {
    image_make ext4 "$disk" && serve disk "$disk" raw && image_mount "$run/export/disk" "$guest_dir" &&
        head -c 60M /dev/urandom >"$guest_dir/data" && sync -f "$guest_dir"
}

prepare >"$tap_dir/prepare.log" 2>&1 || skip_all "QEMU cannot serve a disk here: $(cat "$tap_dir/prepare.log" "$run"/*.qsd | tail -n 1)"
start_host --qmp "$run/vms" --qmp-timeout 2
start_guest one --memory no --freeze-roots "$guest_dir"
check "the guest is ready for backups" soon eval '[ "$(host_value one .backup.version)" = 5.0 ]'
check "hvhost has found the disk's QEMU" soon looked_at disk
is "... which has no machine" "$(host_value disk .qemu.problem)" "it has no machine: only its disks are of use"

# --- a backup under load

(while :; do dd if=/dev/urandom of="$guest_dir/churn" bs=1M count=40 conv=notrunc,fdatasync; done) 2>/dev/null &
churn_pid=$!
on_exit stop "$churn_pid"
soon test -s "$guest_dir/churn"
check "a backup by QEMU works" backup --vm disk --image "$disk"
diag "$(cat "$run/backup.err")" "frozen for $(jq .frozen_seconds "$run/backup.json") s"
is "the copy was made by QEMU" "$(jq -r '.images[0].method' "$run/backup.json")" qemu
is "it has the image's name, and nothing else is there" "$(ls -A "$vault")" disk.img
stop "$churn_pid"
is "it is as large" "$(stat -c %s "$vault/disk.img")" "$(stat -c %s "$disk")"
check "its file system is in order, as it was frozen" e2fsck -fn "$vault/disk.img"
check "... without a journal to replay" eval '! dumpe2fs -h "$vault/disk.img" 2>/dev/null | grep needs_recovery'
check "it can be mounted" image_mount "$vault/disk.img" "$tap_dir/copy" ro
check "what was there before is there" cmp "$guest_dir/data" "$tap_dir/copy/data"
check "what was written since is not" eval '! cmp -s "$guest_dir/churn" "$tap_dir/copy/churn"'
image_unmount "$tap_dir/copy"
check "the guest goes on" thawed

refuse "a copy that is there already is not replaced" 1 backup --vm disk --image "$disk"
rm "$vault/disk.img"

# --- what cannot be

refuse "a VM that is not there" 1 backup --vm nobody --image "$disk"
check "... is named" said "no VM of this name"
refuse "a verification, which QEMU does not make" 2 backup --vm disk --image "$disk" --verify
truncate -s 1M "$tap_dir/other.img"
refuse "an image that the VM does not have" 1 backup --vm disk --image "$tap_dir/other.img"
check "... is named" said "the VM has no such image open"
check "... and the guest is thawed at once" thawed
qemu-img create -q -f qcow2 "$tap_dir/cow.img" 64M
serve cow "$tap_dir/cow.img" qcow2
check "a disk of another format is served, and found" soon looked_at cow
refuse "it is not copied as if it were raw" 1 backup --vm cow --image "$tap_dir/cow.img"
check "... and that is said" said "not a raw image"
truncate -s 1G "$tap_dir/second.img"
serve second "$tap_dir/second.img" raw
check "another disk is served, and found" soon looked_at second
kill -STOP "$second_pid"
refuse "a QEMU that hangs fails the backup" 1 backup --vm second --image "$tap_dir/second.img"
check "... in time, and the guest is thawed" thawed
kill -CONT "$second_pid"
is "nothing is left of those that failed" "$(ls -A "$vault")" ""
check "the log has the reasons" eval 'grep -q "the VM has no such image open" "$run/host.log" && grep -q "not a raw image" "$run/host.log"'

stop "$host_pid"
nodes() {
    { printf '{"execute":"qmp_capabilities"}{"execute":"query-named-block-nodes"}\n'; sleep 1; } |
        socat - "UNIX-CONNECT:$run/vms/disk.sock" | jq -r 'select(.return | arrays) | .return[]."node-name"' | sort | xargs
}
is "QEMU has nothing left of us" "$(nodes)" "disk file"
no_reports
done_testing
