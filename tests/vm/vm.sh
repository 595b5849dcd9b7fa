# SPDX-License-Identifier: MIT
#
# What both kinds of VM test share: a machine that QEMU emulates, ports into it, its QMP and its end.
# A test sources `nested.sh` (a guest with VMBus) or `system.sh` (a Debian with systemd), which
# source this; it brings the test functions of tests/system/tap.sh.
#
# The test is outside. It has shell scripts run in the guest, and speaks QMP with the guest's QEMU.
# Requests are answered one after the other. An answer that does not come ends the test.
#
# `run` gives each test, in the environment, vm_dir (a folder for work), vm_results, vm_cache,
# vm_stage (what is installed in the guest), vm_packages (for the test of that name), vm_shim, vm_kernel
# and vm_limit (in seconds).

. "$(dirname "$0")/../system/tap.sh"
. "$(dirname "$0")/image.sh"

: "${vm_dir:?a VM test is started by tests/vm/run}" "${vm_results:?}" "${vm_cache:?}"
: "${vm_stage:?}" "${vm_shim:?}" "${vm_kernel:?}" "${vm_limit:?}"

readonly MiB=$((1 << 20))
vm_source=$(dirname "$0")
vm_pid=
vm_is_up=no
vm_has_ended=no # as it should
vm_patience=90  # seconds for an answer of QEMU
vm_arguments=() # of QEMU, for the ports
declare -A vm_to vm_from # descriptors of each port, for requests and answers
exec {vm_tap}>&1         # where results go, also from within $(...)

# vm_open PORT: its two pipes, which stay open at this end
vm_open() {
    local to from
    mkfifo "$vm_dir/$1.in" "$vm_dir/$1.out" || bail_out "no pipes can be made in $vm_dir"
    exec {to}<>"$vm_dir/$1.in" {from}<>"$vm_dir/$1.out"
    vm_to[$1]=$to vm_from[$1]=$from
}

# vm_port NAME...: ports into the machine, which is not booted yet
vm_port() {
    local name
    for name; do
        vm_open "$name"
        vm_arguments+=(-chardev "pipe,id=$name,path=$vm_dir/$name"
            -device "virtserialport,chardev=$name,name=$name")
    done
}

# vm_boot ARGUMENT...: a machine with two processors, a console and the ports that were made
vm_boot() {
    local tools=$vm_cache/tools
    [ -n "$vm_pid" ] || on_exit vm_end
    setpriv --pdeathsig TERM timeout -k 5 "$vm_limit" \
        "$tools/usr/lib64/ld-linux-x86-64.so.2" --library-path "$tools/usr/lib/x86_64-linux-gnu" \
        "$tools/usr/bin/qemu-system-x86_64" -L "$tools/usr/share/qemu" \
        -nodefaults -no-user-config -display none -no-reboot -accel tcg,thread=multi \
        -machine q35,usb=off,graphics=off,sata=off,smbus=off,i8042=off,vmport=off,hpet=off,smm=off \
        -smp 2 -device virtio-serial-pci,max_ports=8 \
        -chardev stdio,id=console,signal=off -device virtconsole,chardev=console \
        "${vm_arguments[@]}" "$@" </dev/null >>"$vm_results/console.txt" 2>&1 &
    vm_pid=$!
}

# The first answers of a machine that was booted.
vm_wait_for_guest() {
    vm_patience=$vm_limit
    qmp qmp_capabilities >/dev/null
    vm_patience=90
    guest true "$vm_limit" || bail_out "the guest has no shell"
    vm_is_up=yes
    diag "the guest is up after $SECONDS s: $(guest 'uname -r')"
}

# vm_wait_for_end SECONDS: whether the machine has ended by then
vm_wait_for_end() {
    local deadline=$((SECONDS + $1))
    vm_is_up=no
    while kill -0 "$vm_pid" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
    vm_has_ended=yes
}

# vm_lost WHAT: no answer came; ends the test, from any depth
vm_lost() {
    [ ! -e "$vm_dir/lost" ] || exit 1
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

# qmp COMMAND [ARGUMENTS]: prints what QEMU returns; events go to events.json of the results
qmp() {
    local id=$EPOCHREALTIME line
    printf '{"execute":"%s","arguments":%s,"id":"%s"}\n' "$1" "${2:-{\}}" "$id" >&"${vm_to[qmp]}"
    while line=$(vm_read qmp "$vm_patience"); do
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
        vm_shell guest 'dmesg; tail -n +1 /run/*.log; journalctl -b --no-pager' 20 2>/dev/null >"$vm_results/guest.txt"
    fi
    if [ "$vm_has_ended" = no ] && ! kill -0 "$vm_pid" 2>/dev/null; then
        wait "$vm_pid"
        diag "the machine had ended by itself, with status $?"
    fi
    stop "$vm_pid"
}

# eventually SECONDS COMMAND...: whether it comes true in time; its last output is shown
eventually() {
    local deadline=$((SECONDS + $1)) output
    shift
    while :; do
        output=$("$@" 2>&1) && break
        [ "$SECONDS" -lt "$deadline" ] && [ ! -e "$vm_dir/lost" ] || { echo "$output"; return 1; }
        sleep 0.2
    done
    echo "$output"
}
