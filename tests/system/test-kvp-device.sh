#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Key-value exchange over the KVP device of a stock kernel: hvguestd with kvp-device, a stand-in that
# has the real driver's behaviour to the error number. What the host is answered is on its standard
# output.

. "$(dirname "$0")/tap.sh"
need_root
need_programs jq
[ -c /dev/fuse ] || skip_all "needs /dev/fuse"
in_private_mounts "$@"
watchdog 120
. "$(dirname "$0")/lab.sh"

device=$run/hv_kvp
tab=$(printf '\t')

device_starts() {
    : >"$device"
    rm -f "$run/commands"
    mkfifo "$run/commands"
    "$build/tests/system/kvp-device" "$device" <"$run/commands" >"$run/told" 2>"$run/device.err" &
    device_pid=$!
    exec 9>"$run/commands"
    on_exit stop "$device_pid"
    on_exit umount --lazy "$device"
    soon mountpoint -q "$device" || bail_out "kvp-device does not start: $(cat "$run/device.err")"
}

one_starts() {
    "$hvguestd" --kvp-device "$device" --vss-device "$run/none" --name one --run-dir "$run/one" \
        --state-dir "$run/state" --kvp-dir "$run/pools" --freezer "$freezer" --memory no "$@" \
        >>"$run/one.log" 2>&1 8>&- 9>&- &
    one_pid=$!
    on_exit stop "$one_pid"
    soon test -S "$run/one/api.sock" || bail_out "hvguestd does not start: $(cat "$run/one.log")"
}

# send WORD...: a command from here on; told: what was told since; gets TEXT: whether that was it
send() {
    told_before=$(wc -l <"$run/told")
    (IFS=$tab; printf '%s\n' "$*") >&9
}

told() {
    tail -n "+$((told_before + 1))" "$run/told" | tr '\n' ',' | sed 's/,$//'
}

was_told() {
    [ "$(told)" = "$1" ]
}

# answers NAME EXPECTED WORD...
answers() {
    local name=$1 expected=$2
    shift 2
    send "$@"
    soon was_told "$expected"
    is "$name" "$(told)" "$expected"
}

device_is() {
    [ "$(guest_value one .kvp.channel)" = "$1" ]
}

log_has() {
    grep -qF -- "$1" "$run/one.log"
}

device_starts
one_starts
check "the device is opened" soon device_is open
is "the kernel has seen the registration" "$(tr '\n' ' ' <"$run/told")" "open registered "

# --- requests

answers "an automatic key" "list ok ProcessorArchitecture=$(uname -m)" list 2 9
answers "the version is what the kernel said" "get ok 3.1" get 2 IntegrationServicesVersion
answers "a set" "set ok" set 0 "a key" "välue 😀"
answers "a get, where the kernel looks for it" "get ok välue 😀" get 0 "a key"
answers "a list" "list ok a key=välue 😀" list 0 0
answers "its end" "list 80070103" list 0 1
answers "no such key" "get 80070103" get 0 "another key"
answers "the guest's own pool is not the host's to change" "set 80004005" set 1 "a key" x
answers "a pool that is none" "list 80070057" list 77 0
answers "an empty key" "set 80070057" set 0 "" x
answers "an unknown operation" "op 17 80070032" op 17
answers "no such adapter" "get-ip 80041002" get-ip 00:00:5E:00:53:01
answers "a delete" "delete ok" delete 0 "a key"
answers "it is gone" "list 80070103" list 0 0

# --- the kernel does not wait, or drops it

kill -STOP "$one_pid"
send set 0 slow 1
send timeout
kill -CONT "$one_pid"
check "an answer that is too late is refused and the device opened anew" \
    soon eval '[ "$(told)" = "set timeout,refused,closed,open,registered" ]'
is "... as the driver wants it" "$(told)" "set timeout,refused,closed,open,registered"
answers "the change was made all the same, and may be repeated" "set ok" set 0 slow 1
kill -STOP "$one_pid"
send get 0 slow
send hibernate
kill -CONT "$one_pid"
check "after hibernation it is opened anew" soon eval '[[ $(told) == *,registered ]]'
answers "... and works" "get ok 1" get 0 slow

# --- the driver goes and comes

send remove
check "the device is closed at once when the driver goes" soon eval '[[ $(told) == *removed* ]]'
check "... and said so" soon log_has "the driver has been taken away"
send insert
check "it is opened again when it is back" soon device_is open
answers "... and works" "get ok 1" get 0 slow

# --- somebody else has it

ends "hvguestd ends" "$one_pid"
soon eval '[[ $(told) == *closed ]]'
: >"$run/one.log"
exec 8<>"$device"
one_starts
check "a device in use is named with the remedy" soon log_has "stop the stock one (hv_kvp_daemon"
exec 8>&-
check "... and taken when it is free" soon device_is open
answers "what was set is still there" "get ok 1" get 0 slow
murder "$one_pid"
check "the kernel knows at once that it was killed" soon eval '[[ $(told) == *closed ]]'
one_starts
check "the next one takes the device" soon device_is open
answers "what was acknowledged is there" "get ok 1" get 0 slow

# --- there is none any more

echo quit >&9
exec 9>&-
wait "$device_pid"
rm -f "$device"
check "without the device it says what to do" soon log_has "there is no $device: load hv_utils"
is "status has that, too" \
    "$(guest_value one .kvp.device_problem | grep -c 'let the host offer data exchange')" 1
device_starts
check "it is opened when it is there again" soon device_is open
ends "hvguestd ends" "$one_pid"

no_reports
done_testing
