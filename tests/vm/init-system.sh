#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# The initramfs of a system: mounts its disk, adds to it what is to be tested, and makes way for its
# own init. Libraries are those of the build machine where the system has none of that name.

. /lib/init-common.sh

exec >/dev/hvc0 2>&1 </dev/null
modprobe virtio_blk
modprobe ext4

# disk NAME: waits for it; disks are known by their serial numbers
disk() {
    local tries=500 file
    while [ "$tries" -gt 0 ]; do
        for file in /sys/block/vd*/serial; do
            [ "$(cat "$file" 2>/dev/null)" != "$1" ] || { basename "${file%/serial}"; return; }
        done
        tries=$((tries - 1))
        sleep 0.02
    done
}

# If the machine hibernated, this kernel ends here, and that one goes on. No disk may be mounted before.
for word in $(cat /proc/cmdline); do
    case $word in
    resume=*) cat "/sys/block/$(disk "${word##*virtio-}")/dev" >/sys/power/resume ;;
    esac
done

root=/root-fs
mkdir -p "$root"
mount -t ext4 -o noatime "/dev/$(disk root)" "$root" || poweroff -f

cp -a /lib/modules "$root/usr/lib/"
cp -a /add/. "$root/"
cd /libraries
find . -type f | while read -r file; do
    [ -e "$root/$file" ] || cp "$file" "$root/$file"
done
cd /

umount /tmp
for dir in dev proc sys run; do mount --move "/$dir" "$root/$dir"; done
exec switch_root "$root" /sbin/init
