#!/bin/bash
# SPDX-License-Identifier: MIT
#
# freeze.sh BUILD: makes file systems on loop devices and lets bench-freeze freeze them.
#
# Some peers freeze everything that they see. So all of this happens in a mount namespace of its own,
# in which bench-freeze makes a tmpfs with copies of the programs its root, and nothing else of the
# machine is left. The images lie in BENCH_DIR, or else /var/tmp: on a disk, written to directly.

set -u
build=$1
mode=${BENCH_MODE:-full}

skip() {
    for name in "freeze_*" thaw_after_kill_ms; do echo "skip $name: $1"; done
    exit 0
}

[ "$(id -u)" = 0 ] || skip "needs root"
for program in unshare losetup mkfs.ext4 mkfs.xfs mkfs.btrfs mount ldd; do
    command -v "$program" >/dev/null || skip "needs $program"
done
[ -e /dev/loop-control ] || skip "needs loop devices"
if [ -z "${BENCH_PRIVATE:-}" ]; then
    unshare -m --propagation private true 2>/dev/null || skip "needs a mount namespace of its own"
    BENCH_PRIVATE=yes exec unshare -m --propagation private bash "$0" "$@"
fi

dir=$(mktemp -d "${BENCH_DIR:-/var/tmp}/bench.XXXXXX") || exit 1
root=$dir/root
devices=()

clean_up() {
    umount -R --lazy "$root" 2>/dev/null
    for ((i = 0; i < ${#devices[@]}; i += 2)); do
        losetup -d "${devices[i]}" 2>/dev/null
    done
    rm -rf --one-file-system "$dir"
}
trap clean_up EXIT
trap 'exit 143' INT TERM HUP

# image TYPE FILE SIZE: sparse, so that 64 of them fit
image() {
    truncate -s "$3" "$2" || return 1
    case $1 in
    ext4) mkfs.ext4 -q -E lazy_itable_init=0,nodiscard "$2" ;;
    xfs) mkfs.xfs -q -K "$2" ;;
    btrfs) mkfs.btrfs -q -K "$2" >/dev/null 2>&1 ;;
    esac
}

# attach FILE: prints the loop device
attach() {
    losetup --find --show --direct-io=on "$1" 2>/dev/null || losetup --find --show "$1"
}

# copy PROGRAM AS: with the libraries it needs
copy() {
    [ -x "$1" ] || return 0
    mkdir -p "$root/$(dirname "$2")" && cp "$1" "$root/$2" || return 1
    ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        [ -e "$root$library" ] || cp --parents -L "$library" "$root" || exit 1
    done
}

make_root() {
    mkdir "$root" && mount -t tmpfs -o mode=755 hvguest-bench "$root" || return 1
    mkdir "$root"/{bin,run,mnt,proc,sys,dev,tmp,usr} || return 1
    mkdir -p "$root/usr/sbin" "$root/run/guest" "$root/etc" || return 1
    mount -t proc proc "$root/proc" && mount -t sysfs sysfs "$root/sys" &&
        mount -t devtmpfs devtmpfs "$root/dev" || return 1
    copy "$build/daemon/hvguestd" /bin/hvguestd &&
        copy "$build/fsfreeze/hvguest-freezer" /bin/hvguest-freezer &&
        copy "$build/tests/bench/hv_vss_device.so" /bin/hv_vss_device.so &&
        copy /usr/sbin/hv_vss_daemon /usr/sbin/hv_vss_daemon &&
        copy /usr/sbin/qemu-ga /usr/sbin/qemu-ga &&
        copy "$(command -v fsfreeze)" /usr/sbin/fsfreeze
}

make_devices() {
    local types=(ext4 xfs btrfs) n i type device size
    case $mode in
    full) n=64 ;;
    quick) n=32 ;;
    *) n=1 ;;
    esac
    for ((i = 0; i < n; i++)); do
        type=${types[i % 3]}
        size=512M
        [ $i != 0 ] || size=1G
        image "$type" "$dir/$i.img" "$size" && device=$(attach "$dir/$i.img") || return 1
        devices+=("$device" "$type")
    done
}

# The image that lies on the first file system, for the nested case.
make_inner() {
    mkdir "$dir/outer" && mount "${devices[0]}" "$dir/outer" || return 1
    image ext4 "$dir/outer/inner.img" 64M
    sync -f "$dir/outer" && umount "$dir/outer"
}

make_root || skip "cannot make a root of its own"
make_devices >&2 || skip "cannot make file systems on loop devices"
make_inner >&2 || skip "cannot make the inner image"
# What was written for all this is not for the first round to wait for.
sync -f "$dir"
# It changes the root of its whole namespace.
unshare -m --propagation private "$build/tests/bench/bench-freeze" "$root" "${devices[@]}"
