# SPDX-License-Identifier: MIT
#
# A guest with real VMBus, and QEMU's hv-balloon as its host; to be sourced first by a test.
#
#     # kernels: trixie
#     . "$(dirname "$0")/nested.sh"
#     vm_start
#     check "VMBus loads" guest "modprobe hv_vmbus"
#     is "the memory is whole" "$(actual)" "$vm_bytes"
#     done_testing
#
# QEMU emulates an outer machine, which runs the guest under KVM with the Hyper-V interfaces. The
# guest's QMP and its shell are passed through, as if there were one machine.

. "$(dirname "$0")/vm.sh"

vm_bytes=$((768 * MiB)) # the guest's memory
vm_guest_append=        # more for its kernel's command line
vm_hotadd_bytes=0       # memory that hv-balloon can add to it
vm_hvhost=no            # yes: hvhost is in the outer machine, below /hv with its libraries

# What init-outer.sh reads.
nested_settings() {
    printf '%s=%q\n' guest_bytes "$vm_bytes" guest_append "$vm_guest_append" hotadd_bytes "$vm_hotadd_bytes"
}

# hvhost and what it needs, in a folder of its own: the libraries are not those of the outer machine.
nested_add_hvhost() {
    [ "$vm_hvhost" = yes ] || return 0
    mkdir -p "$1"/{bin,run/vms} && cp "$(find "$vm_stage" -type f -path '*/bin/hvhost')" "$1/bin/" &&
        image_libraries "$1"
}

# The guest's initramfs, and the outer machine's with the guest inside.
nested_make_images() {
    local guest=$vm_dir/guest outer=$vm_dir/outer

    mkdir -p "$guest"/{bin,lib} "$outer"/{guest,lib} &&
        cp "$vm_cache/tools/bin/busybox" "$guest/bin/" &&
        cp -a "$vm_cache/kernel-$vm_kernel/lib/modules" "$guest/lib/" &&
        cp "$vm_source"/{init-common,serve}.sh "$guest/lib/" &&
        cp "$vm_source/init-guest.sh" "$guest/init" &&
        cp -a "$vm_stage/." "$guest/" &&
        image_libraries "$guest" &&
        cp -a "$vm_cache/kernel-trixie/lib/modules" "$outer/lib/" &&
        cp "$vm_source"/{init-common,serve}.sh "$vm_shim" "$outer/lib/" &&
        cp "$vm_source/init-outer.sh" "$outer/init" &&
        cp "$vm_cache/kernel-$vm_kernel/vmlinuz" "$outer/guest/" &&
        nested_settings >"$outer/guest/settings" &&
        nested_add_hvhost "$outer/hv" &&
        chmod +x "$guest/init" "$outer/init" &&
        image_pack "$guest" >"$outer/guest/initramfs" &&
        image_pack "$vm_cache/tools" >"$vm_dir/initramfs" &&
        image_pack "$outer" >>"$vm_dir/initramfs" &&
        rm -r "$guest" "$outer"
}

# The outer machine: a processor with SVM, without what the emulation of XSAVE lacks.
vm_start() {
    nested_make_images || bail_out "the images cannot be made in $vm_dir"
    vm_port outer guest qmp
    vm_boot -m 2G \
        -cpu EPYC,-xsave,-xsaveopt,-xsavec,-xgetbv1,-avx,-avx2,-fma,-f16c,-fxsr-opt,-misalignsse,-osvw,-topoext,-nrip-save \
        -kernel "$vm_cache/kernel-trixie/vmlinuz" -initrd "$vm_dir/initramfs" \
        -append "console=hvc0 quiet panic=-1 mitigations=off nokaslr tsc=reliable audit=0" \
        -chardev "file,id=trace,path=$vm_results/trace.txt" -device virtserialport,chardev=trace,name=trace
    vm_wait_for_guest
}

# outer SCRIPT: runs it in the machine around the guest
outer() {
    local status
    vm_shell outer "$1" 60
    status=$?
    [ "$status" != 255 ] || vm_lost "the outer machine does not answer"
    return "$status"
}

# The memory that the guest has in QEMU's view, in bytes.
actual() {
    qmp query-balloon | jq .actual
}

actual_is() {
    local now
    now=$(actual)
    echo "actual $((now / MiB)) MiB ($now bytes)"
    [ "$now" = "$1" ]
}

# set_memory BYTES: asks the guest for the rest. QEMU 10.0 aborts when it is asked while a packet of
# the guest is not yet read; a guest that stands still sends none.
set_memory() {
    qmp stop && qmp query-status && qmp balloon "{\"value\":$1}" && qmp cont
} >/dev/null

# Lets the 50 s pass which QEMU is silent after each handshake.
skip_silence() {
    outer 'total=$(($(cat /run/shifted) + 51))
        echo $total >/run/shifted
        printf "\\x$(printf %02x $((total & 255)))\\x$(printf %02x $((total >> 8)))" |
            dd of=/run/clock-shift conv=notrunc 2>/dev/null' && qmp query-status >/dev/null
}

# events NAME: those so far, one in a line
events() {
    qmp query-status >/dev/null
    jq -c --arg name "$1" 'select(.event == $name)' "$vm_results/events.json"
}

# dm_device: the dynamic memory device's folder in sysfs; dm_driver: who has it
dm_device() {
    guest 'grep -l 525074dc-8985-46e2-8057-a307dc18a502 /sys/bus/vmbus/devices/*/class_id | xargs dirname'
}

dm_driver() {
    guest "readlink '$(dm_device)/driver' | sed 's,.*/,,'"
}

# traced PATTERN: how often QEMU's trace shows it
traced() {
    grep -c -e "$1" "$vm_results/trace.txt"
}

driver_is() {
    local now
    now=$(dm_driver)
    echo "driver: $now"
    [ "$now" = "$1" ]
}

# inflate_and_deflate MIB: to the page, both ways
inflate_and_deflate() {
    set_memory $((vm_bytes - $1 * MiB)) && eventually 60 actual_is $((vm_bytes - $1 * MiB)) &&
        set_memory "$vm_bytes" && eventually 60 actual_is "$vm_bytes"
}
