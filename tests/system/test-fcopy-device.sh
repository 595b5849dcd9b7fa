#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Files from the host over the device of kernels before 6.10: hvguestd with fcopy-device, a stand-in that
# has the real driver's behaviour to the error number. What the host is answered is on its standard output.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq
[ -c /dev/fuse ] || skip_all "needs /dev/fuse"
in_private_mounts "$@"
watchdog 200
. "$(dirname "$0")/lab.sh"

device=$run/hv_fcopy
root=$tap_dir/in
mkdir "$root" "$tap_dir/outside"

device_starts() {
    : >"$device"
    rm -f "$run/commands"
    mkfifo "$run/commands"
    "$build/tests/system/fcopy-device" "$device" <"$run/commands" >"$run/told" 2>"$run/device.err" &
    device_pid=$!
    exec 9>"$run/commands"
    on_exit stop "$device_pid"
    on_exit umount --lazy "$device"
    soon mountpoint -q "$device" || bail_out "fcopy-device does not start: $(cat "$run/device.err")"
}

one_starts() {
    "$hvguestd" --fcopy-device "$device" --name one --run-dir "$run/one" --state-dir "$run/state" \
        --freezer "$freezer" --memory no --freeze-mounts own --hotplug off --vss-device "$run/none" --fcopy-roots "$root" \
        "$@" >>"$run/one.log" 2>&1 9>&- &
    one_pid=$!
    on_exit stop "$one_pid"
    soon test -S "$run/one/api.sock" || bail_out "hvguestd does not start: $(cat "$run/one.log")"
}

# send WORD...: a command, from here on; told: what was told since
send() {
    told_before=$(wc -l <"$run/told")
    (IFS=$'\t'; echo "$*" >&9)
}

told() {
    tail -n "+$((told_before + 1))" "$run/told" | tr '\n' ',' | sed 's/,$//'
}

told_is() {
    [ "$(told)" = "$1" ]
}

# asks NAME ANSWER WORD...: a test: the command is answered so
asks() {
    local name=$1 answer=$2
    shift 2
    send "$@"
    soon told_is "$answer" || diag "told: $(told)"
    is "$name" "$(told)" "$answer"
}

copy_is() {
    [ "$(guest_value one ".copy | $1")" = "$2" ]
}

device_starts
one_starts
check "the device is opened and registered at" soon copy_is .channel open
is "status says that it is used" "$(guest_value one .copy.device)" "$device"

# --- a file

asks "a file begins" "start 0" start "$root" $'n\xc3\xa4me \xf0\x9f\x90\xa7' 11 0
asks "takes data" "write 0" write 0 "hello "
asks "and more" "write 0" write 6 "there"
asks "and is there" "complete 0" complete
is "with its name and its content" "$(cat "$root"/$'n\xc3\xa4me \xf0\x9f\x90\xa7')" "hello there"
is "the receipt says where from" "$(guest one copies --json | jq -r '.copies[0].requester')" "Hyper-V host over $device"

head -c 2500000 /dev/urandom >"$tap_dir/large"
asks "a large one begins" "start 0" start "$root/x/y" large 2500000 2
asks "and is sent, fragment by fragment" "complete 0" file "$tap_dir/large"
check "it is whole" cmp "$tap_dir/large" "$root/x/y/large"

# --- what is refused, by the protocol's words

asks "a file that is there" "start 80070050" start "$root/x/y" large 5 0
asks "... is replaced when asked to" "start 0" start "$root/x/y" large 5 1
asks "..." "write 0" write 0 "small"
asks "..." "complete 0" complete
is "..." "$(cat "$root/x/y/large")" small
asks "a folder that is not there" "start 80004005" start "$root/none" f 5 0
asks "a place outside" "start 80004005" start "$tap_dir/outside" f 5 3
asks "a place outside by .." "start 80004005" start "$root/../outside" f 5 3
asks "bytes that are no UTF-8" "start 80004005" start "$root" $'half\xc3' 5 0
long=$(printf 'n%.0s' {1..300})
asks "a name that the kernel has cut" "start 80004005" start "$root" "$long" 5 0
asks "a disk that is too small" "start 80070070" start "$root" f 1000000000000000 0
asks "data before a file" "write 80070070" write 0 "x"
asks "an operation nobody knows" "op 9 80004005" op 9
asks "a cancel of nothing" "cancel 0" cancel
is "nothing is there but the two files" "$(find "$root" -type f | wc -l)" 2

asks "a hole" "start 0" start "$root" f 20 0
asks "... breaks the copy" "write 80004005" write 3 "x"
asks "... for good" "complete 80004005" complete
asks "a cancel in the middle" "start 0" start "$root" f 20 0
asks "..." "write 0" write 0 "x"
asks "... is answered when nothing is left" "cancel 0" cancel
is "and nothing is" "$(find "$root" -type f | wc -l)" 2

# --- the driver goes, the daemon goes

asks "a copy is under way" "start 0" start "$root" f 20 0
send remove
check "the driver can go, and the device is closed at once" soon told_is "closed,removed"
check "the copy is given up" soon copy_is .state idle
send insert
check "the driver comes back, and the device is opened again" soon eval '[ "$(told)" = "open,registered" ]'
asks "and files can be copied" "start 0" start "$root" g 1 0
asks "..." "write 0" write 0 "g"
asks "..." "complete 0" complete

asks "a copy is under way again" "start 0" start "$root" f 20 0
murder "$one_pid"
check "a killed daemon lets go of the device" soon eval 'told | grep -q closed'
is "and leaves nothing" "$(find "$root" -name f | wc -l)" 0
one_starts
check "the next one opens it" soon copy_is .channel open

# --- a second daemon

timeout 20 "$hvguestd" --fcopy-device "$device" --name two --run-dir "$run/two" --state-dir "$run/state2" \
    --freezer "$freezer" --memory no --hotplug off --freeze-mounts own --vss-device "$run/none" --fcopy-roots "$root" >"$run/two.log" 2>&1 9>&- &
two_pid=$!
on_exit stop "$two_pid"
check "a second daemon says who has the device" soon grep -q "in use by another daemon" "$run/two.log"
stop "$two_pid"

if [ "$(uname -r | cut -d. -f1)" -ge 7 ] || { [ "$(uname -r | cut -d. -f1)" = 6 ] && [ "$(uname -r | cut -d. -f2)" -ge 10 ]; }; then
    diag "on this kernel the device would not be there; the stand-in's presence decides"
fi
ends "the daemon ends" "$one_pid"
check "and the device is closed" soon eval 'tail -1 "$run/told" | grep -q closed'
send quit
no_reports
done_testing
