#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Backup over the VSS device of a stock kernel: hvguestd with vss-device, a stand-in that has the
# real driver's behaviour to the error number. What the host is answered is on its standard output.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup
[ -c /dev/fuse ] || skip_all "needs /dev/fuse"
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 120
. "$(dirname "$0")/lab.sh"

data=$tap_dir/data
device=$run/hv_vss
mkdir "$run/hooks"
image_make ext4 "$tap_dir/data.img" && image_mount "$tap_dir/data.img" "$data" ||
    skip_all "cannot make and mount an image"

device_starts() {
    : >"$device"
    rm -f "$run/commands"
    mkfifo "$run/commands"
    "$build/tests/system/vss-device" "$device" <"$run/commands" >"$run/told" 2>"$run/device.err" &
    device_pid=$!
    exec 9>"$run/commands"
    on_exit stop "$device_pid"
    on_exit umount --lazy "$device"
    soon mountpoint -q "$device" || bail_out "vss-device does not start: $(cat "$run/device.err")"
}

one_starts() {
    "$hvguestd" --vss-device "$device" --name one --run-dir "$run/one" --state-dir "$run/state" \
        --freezer "$freezer" --memory no --kvp no --freeze-mounts own --freeze-roots "$data" --hook-dir "$run/hooks" \
        --freeze-timeout 60 "$@" >>"$run/one.log" 2>&1 8>&- 9>&- &
    one_pid=$!
    on_exit stop "$one_pid"
    soon test -S "$run/one/api.sock" || bail_out "hvguestd does not start: $(cat "$run/one.log")"
}

# mark, send COMMAND: from here on; told: what was told since
mark() {
    told_before=$(wc -l <"$run/told")
}

send() {
    mark
    echo "$1" >&9
}

told() {
    tail -n "+$((told_before + 1))" "$run/told" | tr '\n' ',' | sed 's/,$//'
}

was_told() {
    [ "$(told)" = "$1" ]
}

# answered NAME COMMAND ANSWER
answered() {
    send "$2"
    soon was_told "$3"
    is "$1" "$(told)" "$3"
}

open_again() {
    [ "$(guest_value one .backup.channel)" = open ]
}

phase_is() {
    [ "$(guest_value one .backup.phase)" = "$1" ]
}

receipt() {
    guest one receipt --json | jq -r "$1"
}

device_starts
send "freeze"
soon was_told "freeze fail: no daemon"
told_before=0
one_starts
check "the daemon opens and registers" soon open_again
is "in this order" "$(tail -n 2 "$run/told" | tr '\n' ' ')" "open registered "
is "the status names transport and device" "$(guest_value one '.host.transport + " " + .backup.device')" \
    "chardev $device"
check "the status is good" guest one status

answered "hot backup is answered" hot "hot ok"
answered "freeze" freeze "freeze ok"
check "is a freeze" phase_is frozen
answered "a repeated freeze is answered" freeze "freeze ok"
answered "thaw" thaw "thaw ok"
is "the receipt" "$(receipt '.requester + " " + .class')" "host file-system"
is "... which has the freeze that came twice" "$(receipt '.notes | join(" ")')" freeze-twice
check "... for people, too" grep -q "notes: freeze-twice" <(guest one receipt)
check "... and so has the log" grep -q "backup: freeze-twice (host)" "$run/one.log"
answered "a repeated thaw is answered" thaw "thaw ok"
check "... and logged" soon grep -q "backup: thaw-without-freeze (host)" "$run/one.log"
answered "an unknown operation is answered" "op 77" "op 77 ok"
answered "create is answered" "op 0" "op 0 ok"

# What hooks need does not hold up the answer to thaw.
printf '#!/bin/sh\n[ $1 = freeze ] || sleep 1\n' >"$run/hooks/10-app"
chmod 755 "$run/hooks/10-app"
answered "with a hook: freeze" freeze "freeze ok"
answered "with a hook: thaw" thaw "thaw ok"
check "with a hook: which still runs then" phase_is returning
soon phase_is idle
rm "$run/hooks/10-app"

# A hook that fails.
printf '#!/bin/sh\n[ $1 != freeze ]\n' >"$run/hooks/10-app"
chmod 755 "$run/hooks/10-app"
answered "a hook that fails: freeze fails" freeze "freeze fail"
answered "a hook that fails: the thaw after it is answered" thaw "thaw ok"
rm "$run/hooks/10-app"

# Freezing by hand excludes the host.
guest one freeze >/dev/null
answered "by hand: hot backup is refused" hot "hot fail"
answered "by hand: freeze is refused" freeze "freeze fail"
answered "by hand: thaw is answered, and ends nothing" thaw "thaw ok"
check "by hand: it goes on" phase_is frozen
check "by hand: and is whole" guest one thaw
answered "afterwards the host may" freeze "freeze ok"
refuse "by hand: and not while the host's runs" 1 guest one freeze
answered "which is whole" thaw "thaw ok"

# The stock daemon has the device.
mark
stop "$one_pid"
soon was_told "closed"
exec 8<>"$device"
one_starts
check "busy: a device that another daemon has is named" \
    soon grep -q "in use by another daemon: stop the stock one (hv_vss_daemon" "$run/one.log"
check "busy: in the status, too" grep -q "in use by another" <(guest_value one .backup.device_problem)
refuse "busy: the status is degraded" 3 guest one status
exec 8>&-
check "busy: it is taken when it is free" soon open_again

# The host takes too long.
stop "$one_pid"
one_starts --freeze-timeout 1
soon open_again
answered "deadline: freeze" freeze "freeze ok"
soon phase_is idle
answered "deadline: the first thaw after it fails" thaw "thaw fail"
answered "deadline: the next does not" thaw "thaw ok"
stop "$one_pid"
one_starts
soon open_again

# Hibernation: a made-up thaw, whose answer is dropped.
answered "hibernate: freeze" freeze "freeze ok"
send hibernate
check "hibernate: thaws" soon phase_is idle
check "hibernate: the answer is refused, and the device opened again" \
    soon was_told "refused,closed,open,registered"
answered "hibernate: the host's thaw fails, for it was not the one that thawed" thaw "thaw fail"
answered "hibernate: once" thaw "thaw ok"

# The kernel waits no longer for the answer.
printf '#!/bin/sh\n[ $1 != freeze ] || sleep 1\n' >"$run/hooks/10-slow"
chmod 755 "$run/hooks/10-slow"
send freeze
soon phase_is preparing
echo timeout >&9
check "timeout: the late answer is refused, and the device opened again" \
    soon was_told "freeze timeout,refused,closed,open,registered"
check "timeout: nothing stays frozen" soon phase_is idle
rm "$run/hooks/10-slow"
answered "timeout: the next freeze" freeze "freeze ok"
answered "timeout: and its thaw" thaw "thaw ok"

# The driver goes while frozen.
answered "removed: freeze" freeze "freeze ok"
send remove
check "removed: the device is closed at once" soon was_told "closed,removed"
check "removed: nothing stays frozen" soon phase_is idle
is "removed: the receipt" "$(receipt '.class + ": " + .result')" \
    "crash: thawed because the host or its channel was lost"
echo insert >&9
check "removed: it is opened again when it is back" soon open_again
answered "removed: the host's thaw fails" thaw "thaw fail"
answered "removed: the next freeze works" freeze "freeze ok"

# A crash while frozen.
murder "$one_pid"
one_starts
check "killed: the next daemon opens the device" soon open_again
answered "killed: the host's thaw fails" thaw "thaw fail"
answered "killed: once" thaw "thaw ok"
check "killed: nothing is frozen" timeout 10 touch "$data/free"
answered "killed: the next freeze works" freeze "freeze ok"
answered "killed: and its thaw" thaw "thaw ok"

ends "hvguestd ends" "$one_pid" TERM
check "hvguestd leaves no mark" test ! -e "$run/one/vss.frozen"
no_reports
done_testing
