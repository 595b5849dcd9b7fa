# SPDX-License-Identifier: MIT
#
# A Debian 12 with systemd on a disk of its own, for what needs a real init; to be sourced first by a
# test. There is no Hyper-V: hvguestd has a lab host beside it.
#
#     # systems: bookworm
#     . "$(dirname "$0")/system.sh"
#     vm_disk data "$vm_dir/data.ext4"
#     vm_add_lab </dev/null
#     vm_start
#     check "hvguestd works" eventually 60 works
#     check "systemd is content" guest "systemctl is-system-running"
#     check "it ends" power_off
#     check "its disk is clean" disk_is_clean "$vm_root"
#     done_testing
#
# What is installed from the build is in the system from its first process on. Its own packages are
# those of image.sh.

. "$(dirname "$0")/vm.sh"

vm_bytes=$((1024 * MiB))   # its memory
vm_append=                 # more for its kernel's command line
vm_root=$vm_dir/root.ext4  # its disk: from outside, when it has ended
vm_audit=0                 # whether the kernel has its audit system: AppArmor complains by it
vm_add=$vm_dir/add         # what is added to it before its init starts: a tree

# vm_disk NAME FILE: another disk, /dev/disk/by-id/virtio-NAME in the guest
vm_disk() {
    vm_arguments+=(-drive "file=$2,if=none,id=$1,format=raw,cache=unsafe"
        -device "virtio-blk-pci,drive=$1,serial=$1")
}

# vm_add_file PATH [MODE]: a file of the system, from standard input
vm_add_file() {
    mkdir -p "$vm_add/$(dirname "$1")" && cat >"$vm_add/$1" && chmod "${2:-644}" "$vm_add/$1"
}

# vm_enable UNIT: at boot
vm_enable() {
    local wants=$vm_add/etc/systemd/system/multi-user.target.wants
    mkdir -p "$wants" && ln -s "/usr/local/lib/systemd/system/$1" "$wants/$1"
}

# vm_add_unit NAME: a unit that is started at boot, from standard input
vm_add_unit() {
    vm_add_file "usr/local/lib/systemd/system/$1" && vm_enable "$1"
}

# vm_enable_hvguestd: at boot, though this is not Hyper-V
vm_enable_hvguestd() {
    printf '[Unit]\nConditionVirtualization=\n' |
        vm_add_file etc/systemd/system/hvguestd.service.d/lab.conf && vm_enable hvguestd.service
}

# vm_add_lab: hvguestd with its lab host, both started at boot; more for its configuration comes from
# standard input
vm_add_lab() {
    { printf '[lab]\nsocket = /run/hvhost/lab.sock\n' && cat; } | vm_add_file usr/local/etc/hvguest/hvguest.conf &&
        vm_enable_hvguestd && vm_enable hvhost.service
}

# vm_add_apparmor: the profiles that are shipped, before hvguestd is started, as apparmor.service does it;
# fails if the build machine has no AppArmor
vm_add_apparmor() {
    local parser
    parser=$(command -v apparmor_parser) && [ -d /etc/apparmor.d/abstractions ] || return 1
    vm_audit=1
    vm_add_file usr/sbin/apparmor_parser 755 <"$parser" && mkdir -p "$vm_add/etc/apparmor.d" &&
        cp -a /etc/apparmor.d/{abi,abstractions,tunables} "$vm_add/etc/apparmor.d/" &&
        vm_add_unit profiles.service <<'END'
[Unit]
Description=AppArmor profiles of the VM test
Before=hvguestd.service

[Service]
Type=oneshot
ExecStart=/usr/sbin/apparmor_parser --replace --skip-cache /usr/local/etc/apparmor.d/hvguestd
RemainAfterExit=yes
END
}

# vm_adapter NAME MAC: a network adapter of the guest. All are on one segment, on which nobody else is.
vm_adapter() {
    vm_arguments+=(-netdev "hubport,id=$1,hubid=0" -device "virtio-net-pci,netdev=$1,mac=$2,romfile=")
}

# The initramfs that finds the disk, and the disk.
system_make_images() {
    local first=$vm_dir/first
    mkdir -p "$first"/{bin,lib,libraries} "$vm_add" &&
        cp "$vm_cache/tools/bin/busybox" "$first/bin/" &&
        cp -a "$vm_cache/kernel-$vm_kernel/lib/modules" "$first/lib/" &&
        cp "$vm_source"/{init-common,serve}.sh "$first/lib/" &&
        cp "$vm_source/init-system.sh" "$first/init" &&
        chmod +x "$first/init" &&
        cp -a "$vm_stage/." "$vm_add/" &&
        vm_add_file usr/local/lib/vm/serve.sh <"$vm_source/serve.sh" &&
        vm_add_unit vm-agent.service <"$vm_source/agent.service" &&
        mv "$vm_add" "$first/add" &&
        image_libraries "$first/add" "$first/libraries" &&
        image_pack "$first" >"$vm_dir/initramfs" &&
        rm -r "$first" &&
        cp --sparse=always "$vm_cache/system-$vm_kernel/root.ext4" "$vm_root"
}

# vm_boot_system ARGUMENT...: with more for QEMU
vm_boot_system() {
    vm_boot -m "$((vm_bytes / MiB))M,slots=4,maxmem=8G" -cpu max \
        -kernel "$vm_cache/kernel-$vm_kernel/vmlinuz" -initrd "$vm_dir/initramfs" \
        -append "console=hvc0 quiet panic=-1 mitigations=off audit=$vm_audit systemd.getty_auto=no $vm_append" \
        -chardev "pipe,id=qmp,path=$vm_dir/qmp" -mon chardev=qmp,mode=control \
        -drive "file=$vm_root,if=none,id=root,format=raw,cache=unsafe" \
        -device virtio-blk-pci,drive=root,serial=root "$@"
    vm_wait_for_guest
}

vm_start() {
    system_make_images || bail_out "the images cannot be made in $vm_dir"
    vm_port guest
    vm_open qmp
    vm_boot_system
}

# vm_start_again ARGUMENT...: a machine that has ended, with its disks as they are
vm_start_again() {
    vm_has_ended=no
    vm_boot_system "$@"
}

# power_off: as an administrator does it; waits until the machine is off
power_off() {
    guest 'systemctl poweroff' && vm_wait_for_end 90
}

# vm_ended_by REASON: of a machine that has ended, as QEMU has it: guest-shutdown, guest-reset
vm_ended_by() {
    local line
    while IFS= read -r -t 1 line <&"${vm_from[qmp]}"; do printf '%s\n' "$line"; done |
        tee -a "$vm_results/events.json" /dev/stderr | grep -q "\"reason\": \"$1\""
}

# disk_is_clean FILE: an ext4 that nobody uses any more
disk_is_clean() {
    e2fsck -fn "$1" && ! dumpe2fs -h "$1" 2>/dev/null | grep 'needs_recovery'
}

# status FILTER: of hvguestd, as jq finds it
status() {
    guest 'hvguestctl status --json' | jq -r "$1"
}

# status_is FILTER WANTED
status_is() {
    local now
    now=$(status "$1")
    echo "$1: $now"
    [ "$now" = "$2" ]
}

# works: hvguestd has a host, and each service its channel
works() {
    status_is '.host.state + " " + .memory.state + " " + .backup.state' 'connected ready idle'
}

# unit PROPERTY: of hvguestd.service; unit_is PROPERTY WANTED
unit() {
    guest "systemctl show -p $1 --value hvguestd"
}

unit_is() {
    local now
    now=$(unit "$1")
    echo "$1: $now"
    [ "$now" = "$2" ]
}
