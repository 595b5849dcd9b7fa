# SPDX-License-Identifier: MIT
#
# File systems to mistreat: made in image files and mounted by loop. To be sourced after tap.sh, in
# a private mount namespace. What is mounted here is thawed and unmounted when the test ends, and
# the kernel lets go of the loop device with the last mount.

image_types="ext4 xfs btrfs"

# image_possible TYPE: whether this machine can make and mount it
image_possible() {
    command -v "mkfs.$1" >/dev/null || return 1
    [ -e /dev/loop-control ] || return 1
    grep -qw "$1" /proc/filesystems || modprobe "$1" 2>/dev/null
}

# image_make TYPE FILE [OPTION...]: a fresh file system; xfs takes 300 MiB at least, most of it a hole
image_make() {
    local type=$1 file=$2
    shift 2
    rm -f "$file"
    truncate -s 320M "$file" || return 1
    case $type in
    ext4) mkfs.ext4 -q "$@" "$file" ;;
    xfs | btrfs) "mkfs.$type" -q "$@" "$file" ;;
    *) return 1 ;;
    esac
}

# image_mount FILE DIR [OPTIONS]: OPTIONS as for mount -o
image_mount() {
    mkdir -p "$2" && mount -o "loop${3:+,$3}" "$1" "$2" || return 1
    guard_mount "$2"
    on_exit image_unmount "$2"
}

# image_unmount DIR: thaws it first, since it would stay frozen for good without a mount
image_unmount() {
    local _
    mountpoint -q "$1" || return 0
    fsfreeze --unfreeze "$1" 2>/dev/null
    for _ in {1..50}; do
        umount "$1" 2>/dev/null && return 0
        sleep 0.1
    done
    umount --lazy "$1"
    return 1
}

# image_check TYPE FILE: the verdict of the type's own checker on an unmounted image
image_check() {
    case $1 in
    ext4) e2fsck -fn "$2" ;;
    xfs) xfs_repair -n "$2" ;;
    btrfs) btrfs check "$2" ;;
    esac
}
