# SPDX-License-Identifier: MIT
#
# What a VM test needs, to be sourced first; it brings the test functions of tests/system/tap.sh.
#
#     # kernels: trixie
#     . "$(dirname "$0")/vm.sh"
#     vm_start
#     check "VMBus loads" guest "modprobe hv_vmbus"
#     is "the memory is whole" "$(actual)" "$vm_bytes"
#     done_testing
#
# QEMU emulates an outer machine, which runs the guest under KVM with the Hyper-V interfaces. The
# test is outside of both: it speaks QMP with the guest's QEMU, and has shell scripts run in the
# guest. Requests are answered one after the other. An answer that does not come ends the test.
#
# `run` gives each test, in the environment, vm_dir (a folder for work), vm_results, vm_cache,
# vm_stage (what is installed in the guest), vm_shim, vm_kernel and vm_limit (in seconds).

. "$(dirname "$0")/../system/tap.sh"
. "$(dirname "$0")/image.sh"

: "${vm_dir:?a VM test is started by tests/vm/run}" "${vm_results:?}" "${vm_cache:?}"
: "${vm_stage:?}" "${vm_shim:?}" "${vm_kernel:?}" "${vm_limit:?}"

readonly MiB=$((1 << 20))
vm_bytes=$((768 * MiB)) # the guest's memory
vm_source=$(dirname "$0")
vm_pid=
vm_is_up=no
declare -A vm_to vm_from # descriptors of each port, for requests and answers
exec {vm_tap}>&1         # where results go, also from within $(...)

# The guest's initramfs, and the outer machine's with the guest inside.
vm_make_images() {
    local guest=$vm_dir/guest outer=$vm_dir/outer

    mkdir -p "$guest"/{bin,lib} "$outer"/{guest,lib} &&
        cp "$vm_cache/tools/bin/busybox" "$guest/bin/" &&
        cp -a "$vm_cache/kernel-$vm_kernel/lib/modules" "$guest/lib/" &&
        cp "$vm_source/init-common.sh" "$guest/lib/" &&
        cp "$vm_source/init-guest.sh" "$guest/init" &&
        cp -a "$vm_stage/." "$guest/" &&
        image_libraries "$guest" &&
        cp -a "$vm_cache/kernel-trixie/lib/modules" "$outer/lib/" &&
        cp "$vm_source/init-common.sh" "$vm_shim" "$outer/lib/" &&
        cp "$vm_source/init-outer.sh" "$outer/init" &&
        cp "$vm_cache/kernel-$vm_kernel/vmlinuz" "$outer/guest/" &&
        chmod +x "$guest/init" "$outer/init" &&
        image_pack "$guest" >"$outer/guest/initramfs" &&
        image_pack "$vm_cache/tools" >"$vm_dir/initramfs" &&
        image_pack "$outer" >>"$vm_dir/initramfs" &&
        rm -r "$guest" "$outer"
}

# vm_open PORT: its two pipes, which stay open at this end
vm_open() {
    local to from
    mkfifo "$vm_dir/$1.in" "$vm_dir/$1.out" || bail_out "no pipes can be made in $vm_dir"
    exec {to}<>"$vm_dir/$1.in" {from}<>"$vm_dir/$1.out"
    vm_to[$1]=$to vm_from[$1]=$from
}

# The outer machine: a processor with SVM, without what the emulation of XSAVE lacks.
vm_boot() {
    local tools=$vm_cache/tools name port=()
    for name in outer guest qmp; do
        port+=(-chardev "pipe,id=$name,path=$vm_dir/$name" -device "virtserialport,chardev=$name,name=$name")
    done
    setpriv --pdeathsig TERM timeout -k 5 "$vm_limit" \
        "$tools/usr/lib64/ld-linux-x86-64.so.2" --library-path "$tools/usr/lib/x86_64-linux-gnu" \
        "$tools/usr/bin/qemu-system-x86_64" -L "$tools/usr/share/qemu" \
        -nodefaults -no-user-config -display none -no-reboot -accel tcg,thread=multi \
        -machine q35,usb=off,graphics=off,sata=off,smbus=off,i8042=off,vmport=off,hpet=off,smm=off \
        -cpu EPYC,-xsave,-xsaveopt,-xsavec,-xgetbv1,-avx,-avx2,-fma,-f16c,-fxsr-opt,-misalignsse,-osvw,-topoext,-nrip-save \
        -smp 2 -m 2G -kernel "$vm_cache/kernel-trixie/vmlinuz" -initrd "$vm_dir/initramfs" \
        -append "console=hvc0 quiet panic=-1 mitigations=off nokaslr tsc=reliable audit=0 guest_bytes=$vm_bytes" \
        -device virtio-serial-pci \
        -chardev stdio,id=console,signal=off -device virtconsole,chardev=console "${port[@]}" \
        -chardev "file,id=trace,path=$vm_results/trace.txt" -device virtserialport,chardev=trace,name=trace \
        </dev/null >"$vm_results/console.txt" 2>&1 &
    vm_pid=$!
}

vm_start() {
    local name
    vm_make_images || bail_out "the images cannot be made in $vm_dir"
    for name in outer guest qmp; do vm_open "$name"; done
    on_exit vm_end
    vm_boot
    qmp qmp_capabilities >/dev/null
    guest true || bail_out "the guest has no shell"
    vm_is_up=yes
    diag "the guest is up after $SECONDS s: $(guest 'uname -r')"
}

# vm_lost WHAT: no answer came; ends the test, from any depth
vm_lost() {
    touch "$vm_dir/lost"
    tail -n 5 "$vm_results/console.txt" | sed 's/^/# console: /' >&"$vm_tap"
    echo "Bail out! $1: see $vm_results" >&"$vm_tap"
    kill -TERM $$
    exit 1
}

# vm_read PORT SECONDS: prints one line of answer; fails if none comes, or the machine has ended
vm_read() {
    local line="" part deadline=$((SECONDS + $2))
    while [ "$SECONDS" -le "$deadline" ]; do
        if IFS= read -r -t 1 part <&"${vm_from[$1]}"; then
            printf '%s\n' "$line$part"
            return 0
        fi
        line+=$part
        kill -0 "$vm_pid" 2>/dev/null || return 1
    done
    return 1
}

# vm_shell PORT SCRIPT SECONDS: prints what the script printed, and returns its status; 255 if lost
vm_shell() {
    local answer
    printf '%s\n' "$(base64 -w0 <<<"$2")" >&"${vm_to[$1]}"
    answer=$(vm_read "$1" "$3") || return 255
    base64 -d <<<"${answer#* }"
    return "${answer%% *}"
}

# guest SCRIPT [SECONDS]: runs it in the guest
guest() {
    local status
    vm_shell guest "$1" "${2:-90}"
    status=$?
    [ "$status" != 255 ] || vm_lost "the guest does not answer"
    return "$status"
}

# outer SCRIPT: runs it in the machine around the guest
outer() {
    local status
    vm_shell outer "$1" 60
    status=$?
    [ "$status" != 255 ] || vm_lost "the outer machine does not answer"
    return "$status"
}

# qmp COMMAND [ARGUMENTS]: prints what QEMU returns; events go to events.json of the results
qmp() {
    local id=$EPOCHREALTIME line
    printf '{"execute":"%s","arguments":%s,"id":"%s"}\n' "$1" "${2:-{\}}" "$id" >&"${vm_to[qmp]}"
    while line=$(vm_read qmp 90); do
        case $line in
        *'"event":'*) printf '%s\n' "$line" >>"$vm_results/events.json" ;;
        *"\"id\": \"$id\""*)
            jq -e -c 'if .error then error(.error.desc) else .return end' <<<"$line"
            return
            ;;
        esac
    done
    vm_lost "QEMU does not answer $1"
}

# Saves what the guest can tell, if it still does, and ends the machines.
vm_end() {
    if [ "$vm_is_up" = yes ] && [ ! -e "$vm_dir/lost" ]; then
        vm_shell guest 'dmesg; tail -n +1 /run/*.log 2>/dev/null' 10 >"$vm_results/guest.txt"
    fi
    stop "$vm_pid"
}

# eventually SECONDS COMMAND...: whether it comes true in time; its last output is shown
eventually() {
    local deadline=$((SECONDS + $1)) output
    shift
    while :; do
        output=$("$@" 2>&1) && break
        [ "$SECONDS" -lt "$deadline" ] || { echo "$output"; return 1; }
        sleep 0.2
    done
    echo "$output"
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

# Ends hvguestd, whose process is in /run/hvguestd.pid: it gives the device back first.
stop_daemon() {
    guest 'kill $(cat /run/hvguestd.pid)
        for i in $(seq 300); do [ -d /proc/$(cat /run/hvguestd.pid) ] || exit 0; usleep 100000; done
        exit 1'
}
