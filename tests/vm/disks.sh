#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Disks that grow under a running machine: QEMU makes a virtual disk larger, as a host does, and
# hvguestd has the partition and the ext4 on it grow while it is used. The disks are looked at from
# outside afterwards.
#
# systems: bookworm

. "$(dirname "$0")/system.sh"

start_mib=21 # of the second partition

# The disks: one with a GPT, one without a table, both with an ext4
make_disks() {
    truncate -s 200M "$vm_dir/parts.img" "$vm_dir/whole.img" &&
        printf 'label: gpt\nsize=20M\nsize=170M\n' | sfdisk -q "$vm_dir/parts.img" &&
        mke2fs -q -t ext4 -E offset=$((start_mib * MiB)) "$vm_dir/parts.img" $((170 * 1024))k &&
        mke2fs -q -t ext4 "$vm_dir/whole.img"
}
make_disks || bail_out "the disks cannot be made"
vm_disk parts "$vm_dir/parts.img"
vm_disk whole "$vm_dir/whole.img"
vm_add_lab <<'END'
[disks]
grow = auto
list = /dev/disk/by-id/virtio-parts,/dev/disk/by-id/virtio-whole
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
check "it ends" power_off
check "the partition table is without a fault" eval "sfdisk -V '$vm_dir/parts.img' | grep 'No errors detected'"
check "the ext4 without a table is clean" disk_is_clean "$vm_dir/whole.img"
dd if="$vm_dir/parts.img" of="$vm_dir/part.img" bs=1M skip="$start_mib" status=none conv=sparse
check "the ext4 of the partition is clean" disk_is_clean "$vm_dir/part.img"
done_testing
