#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvhost and the QMP sockets of VMs: sockets that come and go, guests whose use of memory changes, and
# servers that hang, lie or flood. The VMs are stand-ins (qmp-vm.c), which do on demand what a real QEMU
# does not; real ones are in tests/vm.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/lab.sh"
watchdog 300

mib=1048576
mkdir "$run/vms"

# start_vm NAME OPTION...: $NAME_pid
start_vm() {
    local name=$1
    shift
    "$build/tests/system/qmp-vm" "$run/vms/$name.sock" "$@" 2>>"$run/$name.err" &
    printf -v "${name}_pid" %s $!
    on_exit stop "$!"
}

# vm NAME FILTER: what jq finds in the host's status of it
vm() {
    host_value "$1" "$2"
}

# vm_is NAME FILTER WANTED
vm_is() {
    [ "$(vm "$1" "$2")" = "$3" ]
}

assigned_mib() {
    echo $(($(vm "$1" .memory.assigned_bytes) / mib))
}

between() {
    local now
    now=$(assigned_mib "$1")
    echo "$1 has $now MiB"
    [ "$now" -ge "$2" ] && [ "$now" -le "$3" ]
}

start_host --qmp "$run/vms" --qmp-timeout 1 --minimum 128M --first-action 1 --spacing 1 --smoothing 1

# --- VMs that behave

echo 100 >"$run/use"
start_vm one --memory 512 --use "$run/use"
start_vm two --memory 1024 --balloon hv
start_vm three --memory 512 --balloon none
for name in one two three; do
    check "$name is found, and looked at" soon vm_is "$name" .qemu.state watching
done
is "one is known for what it is" "$(vm one .qemu.balloon)" virtio-balloon
is "so is two" "$(vm two .qemu.balloon)" hv-balloon
is "and three, which has no balloon" "$(vm three .qemu.problem)" "it has no balloon: its memory stays as it is"
check "hvhost status has a line for each" eval '[ "$(host status | grep -c watching)" = 3 ]'

# 100 MiB are used, and the floor that is kept for a guest of virtio is 40 MiB and a quarter.
check "one gives what it does not need" soon between one 200 310
check "two, whose guest has its own floor, gives more" soon between two 200 300
is "three keeps all" "$(assigned_mib three)" 512
echo 300 >"$run/use"
check "when one needs more, it gets more" soon between one 440 512
echo 100 >"$run/use"
check "... and gives it back" soon between one 200 310
check "by hand one has what is said" host memory one --assign 400M
check "... soon" soon between one 400 400
check "it is given back to the balancer" host memory one --assign auto
check "... which takes the rest again" soon between one 200 310
refuse "a fault is nothing for a real VM" 2 host memory one --fault none

# --- VMs that come and go

murder "$two_pid"
check "a VM that was killed is gone, and what it had is free" soon vm_is two .memory null
rm -f "$run/vms/two.sock"
check "... and is forgotten with its socket" soon eval '! host status two'
start_vm two --memory 256
check "it is found when it comes back" soon vm_is two .qemu.state watching
is "... with what it has now" "$(vm two '.machine_memory_bytes / 1048576')" 256
touch "$run/vms/file" "$run/vms/with space.sock"
start_vm four
check "a file that is no socket is passed over" soon vm_is four .qemu.state watching
refuse "... and is no VM" 1 host status file

# --- VMs that do not behave

start_vm silent --conduct silent
start_vm deaf --conduct deaf
start_vm nonsense --conduct nonsense
start_vm huge --conduct huge
start_vm lies --conduct lies
start_vm hangs --conduct hangs
start_vm flood --conduct flood
start_vm stubborn --conduct disobeys

check "one that does not greet is lost" soon vm_is silent .qemu.problem "it does not greet: another client may have it"
check "so is one that answers nothing" soon vm_is deaf .qemu.problem "it does not answer in time"
check "one that is no QMP server" soon vm_is nonsense .qemu.problem "what it sends is no QMP"
check "one that does not come to an end" soon vm_is huge .qemu.problem "a message of it is too long"
check "one that has less memory than nothing" soon eval 'vm lies .qemu.problem | grep "makes no sense"'
check "one that hangs after a while" soon vm_is hangs .qemu.problem "it does not answer in time"
check "... keeps its memory in the books, because it has it" vm_is hangs '.memory.assigned_bytes > 0' true
check "one that floods is served" soon vm_is flood '.memory.status_reports > 0' true
check "one that does not move is found out" soon vm_is stubborn \
    '.memory.why | test("did not do|does not do")' true
is "... and has all that it had" "$(assigned_mib stubborn)" 1024
check "all that is said of them is said to people, too" eval 'host status | grep -q "^silent"'

check "the others are driven all the while" host memory one --assign 420M
check "... as before" soon between one 420 420
check "the API has answered at once" eval '
    begin=$EPOCHREALTIME; host status >/dev/null; end=$EPOCHREALTIME
    [ $(((${end/./} - ${begin/./}) / 1000000)) -lt 2 ]'

ends "hvhost ends in order" "$host_pid" TERM

# --- sockets that are named

start_host --qmp "$run/vms/one.sock" --qmp "$run/later.sock" --minimum 128M
check "a socket may be named" soon vm_is one .qemu.state watching
check "... before it is there" soon vm_is later .qemu.problem "nobody listens at its socket"
"$build/tests/system/qmp-vm" "$run/later.sock" &
on_exit stop "$!"
check "it is found when it comes" soon vm_is later .qemu.state watching
refuse "a path that is not absolute is refused" 2 "$hvhost" serve --run-dir "$run/other" --qmp vms
refuse "a socket whose name no guest can have is refused" 1 "$hvhost" serve --run-dir "$run/other" \
    --qmp "$run/a b.sock"

ends "it ends in order, too" "$host_pid" TERM

# --- a budget

for name in silent deaf nonsense huge lies hangs flood stubborn; do
    pid=${name}_pid
    murder "${!pid}"
done
rm -rf "$run/vms"
mkdir "$run/vms"
echo 60 >"$run/use"
start_host --qmp "$run/vms" --host-memory 640M --minimum 96M --first-action 0 --spacing 1 --smoothing 1
# What all have together, five times a second.
(while :; do host status --json | jq '[.guests[].memory.assigned_bytes // 0] | add // 0 | . / 1048576 | ceil'; sleep 0.2; done) \
    >"$run/samples" 2>/dev/null &
on_exit stop "$!"
start_vm one --memory 256 --use "$run/use"
start_vm two --memory 256 --use "$run/use"
check "two VMs fit" soon eval 'vm_is one .qemu.state watching && vm_is two .qemu.state watching'

api() {
    curl -sS --fail --unix-socket "$run/host/api.sock" -X "$1" ${3:+-H 'Content-Type: application/json' -d "$3"} \
        "http://localhost$2"
}
if command -v curl >/dev/null; then
    check "a third is to start" api POST /v1/reservations '{"name": "three", "bytes": 268435456, "seconds": 300}'
    check "... and the others give what it needs" soon eval 'api GET /v1/reservations/three | jq -e .complete'
    check "the host says why" eval 'host why one | grep -q .'
    start_vm three --memory 256 --use "$run/use"
    check "it starts" soon vm_is three .qemu.state watching
else
    skip "a third is to start" "needs curl"
fi
murder "$two_pid"
rm "$run/vms/two.sock"
echo 150 >"$run/use"
check "another is killed, and those that need more get it" soon between one 230 256
check "all together never had more than the budget" eval '[ "$(sort -n "$run/samples" | tail -n 1)" -le 640 ]'
diag "the most: $(sort -n "$run/samples" | tail -n 1) MiB"

no_reports
done_testing
