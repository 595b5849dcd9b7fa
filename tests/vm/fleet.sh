# SPDX-License-Identifier: MIT
#
# Several small VMs of QEMU's at a time, emulated, each with virtio-balloon and a QMP socket in a folder
# that hvhost watches; to be sourced first by a test.
#
#     # kernels: trixie
#     . "$(dirname "$0")/fleet.sh"
#     fleet_make_images
#     fleet_host --host-memory 640M
#     fleet_start one
#     check "hvhost has found it" eventually 60 fleet_is one watching
#     fleet_guest one 'memeater 64M &'
#     fleet_kill one
#     done_testing
#
# hvhost is the only one who speaks QMP with them, as it should be. A VM's guest runs scripts that come
# through a port of its own; one that has been killed may be started again.

. "$(dirname "$0")/vm.sh"

fleet_mib=256 # memory of each VM
declare -A fleet_pids
mkdir -p "$vm_dir/qmp"

# One initramfs for all: a shell at a port, and memeater.
fleet_make_images() {
    local guest=$vm_dir/guest
    mkdir -p "$guest"/{bin,lib} && cp "$vm_cache/tools/bin/busybox" "$guest/bin/" &&
        cp -a "$vm_cache/kernel-$vm_kernel/lib/modules" "$guest/lib/" &&
        cp "$vm_source"/{init-common,serve}.sh "$guest/lib/" && cp "$vm_source/init-guest.sh" "$guest/init" &&
        cp "$(dirname "$vm_shim")/../system/memeater" "$guest/bin/" && image_libraries "$guest" &&
        chmod +x "$guest/init" && image_pack "$guest" | gzip -1 >"$vm_dir/initramfs" && rm -r "$guest" ||
        bail_out "the image cannot be made in $vm_dir"
}

# fleet_host OPTION...: hvhost on this machine; its pid is in $fleet_host_pid
fleet_host() {
    local hvhost
    hvhost=$(find "$vm_stage" -type f -path '*/bin/hvhost') || bail_out "hvhost is not installed"
    fleet_program=$hvhost
    "$hvhost" serve --run-dir "$vm_dir/host" --qmp "$vm_dir/qmp" --log-level info "$@" \
        >"$vm_results/hvhost.txt" 2>&1 </dev/null &
    fleet_host_pid=$!
    on_exit stop "$fleet_host_pid"
    eventually 20 fleet "status" >/dev/null || bail_out "hvhost does not start: $(cat "$vm_results/hvhost.txt")"
}

# fleet VERB...: asks hvhost
fleet() {
    "$fleet_program" "$@" --run-dir "$vm_dir/host"
}

# fleet_start NAME: boots a VM, which ends with the shell that does this; fleet_up waits for its own
# shell. A kernel that looks whether its timer works takes a busy machine for a broken one.
fleet_start() {
    local tools=$vm_cache/tools
    rm -f "$vm_dir/$1.in" "$vm_dir/$1.out"
    vm_open "$1"
    setpriv --pdeathsig KILL timeout -k 5 "$vm_limit" \
        "$tools/usr/lib64/ld-linux-x86-64.so.2" --library-path "$tools/usr/lib/x86_64-linux-gnu" \
        "$tools/usr/bin/qemu-system-x86_64" -L "$tools/usr/share/qemu" \
        -nodefaults -no-user-config -display none -no-reboot -accel tcg,tb-size=64 -cpu max \
        -machine q35,usb=off,graphics=off,sata=off,smbus=off,i8042=off,vmport=off,hpet=off,smm=off \
        -name "$1" -smp 1 -m "${fleet_mib}M" -device virtio-serial-pci \
        -chardev stdio,id=console,signal=off -device virtconsole,chardev=console \
        -chardev "file,id=serial,path=$vm_results/serial-$1.txt" -device isa-serial,chardev=serial \
        -chardev "pipe,id=guest,path=$vm_dir/$1" -device virtserialport,chardev=guest,name=guest \
        -device virtio-balloon-pci,id=balloon -qmp "unix:$vm_dir/qmp/$1.sock,server=on,wait=off" \
        -kernel "$vm_cache/kernel-$vm_kernel/vmlinuz" -initrd "$vm_dir/initramfs" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable audit=0 no_timer_check" \
        </dev/null >"$vm_results/console-$1.txt" 2>&1 &
    fleet_pids[$1]=$!
    on_exit fleet_kill "$1"
}

# fleet_guest NAME SCRIPT [SECONDS]: runs it in that VM
fleet_guest() {
    local status vm_pid=${fleet_pids[$1]}
    ln -sf "serial-$1.txt" "$vm_results/console.txt"
    vm_shell "$1" "$2" "${3:-90}"
    status=$?
    [ "$status" != 255 ] || vm_lost "$1 does not answer"
    return "$status"
}

# fleet_up NAME: its shell answers, and its balloon has a driver
fleet_up() {
    fleet_guest "$1" 'modprobe virtio_balloon' "$vm_limit" || bail_out "$1 has no balloon"
    diag "$1 is up after $SECONDS s"
}

# fleet_kill NAME: SIGKILL, no chance to put anything in order
fleet_kill() {
    local pid=${fleet_pids[$1]:-}
    [ -n "$pid" ] || return 0
    fleet_pids[$1]=
    pkill -KILL -P "$pid"
    { kill -KILL "$pid"; wait "$pid"; } 2>/dev/null
    return 0
}

# fleet_value NAME FILTER: what jq finds in a VM's status; nothing if there is no such VM
fleet_value() {
    fleet status "$1" --json 2>/dev/null | jq -r "$2"
}

# fleet_is NAME STATE
fleet_is() {
    local now
    now=$(fleet_value "$1" .qemu.state)
    echo "$1: $now"
    [ "$now" = "$2" ]
}

# fleet_mib_of NAME: what it has, by hvhost
fleet_mib_of() {
    echo $(($(fleet_value "$1" .memory.assigned_bytes) / MiB))
}

# fleet_has_no NAME: it is charged with no memory
fleet_has_no() {
    local memory
    memory=$(fleet_value "$1" .memory)
    echo "$1: $memory"
    [ -z "$memory" ] || [ "$memory" = null ]
}

# fleet_at_most NAME MIB, fleet_at_least NAME MIB
fleet_at_most() {
    local now
    now=$(fleet_mib_of "$1")
    echo "$1 has $now MiB"
    [ "$now" -le "$2" ]
}

fleet_at_least() {
    local now
    now=$(fleet_mib_of "$1")
    echo "$1 has $now MiB"
    [ "$now" -ge "$2" ]
}

# fleet_reserve NAME: memory for a VM that is to start; fleet_is_reserved NAME: all of it is there
fleet_reserve() {
    fleet reserve "$1" "${fleet_mib}M" --seconds 600
}

fleet_is_reserved() {
    fleet reserve "$1" --json | jq -e .complete
}

# fleet_sample: from now on what all VMs have together is noted, five times a second
fleet_sample() {
    (while :; do
        fleet status --json 2>/dev/null | jq -c '[.guests[] | select(.memory) |
            {(.name): (.memory.assigned_bytes / 1048576 | floor)}] | add // {}'
        sleep 0.2
    done) >"$vm_results/memory.txt" 2>/dev/null &
    on_exit stop "$!"
}

# fleet_most: the most that all had together at any time, in MiB
fleet_most() {
    jq -s 'map(add // 0) | max' "$vm_results/memory.txt"
}
