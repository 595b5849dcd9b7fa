#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvguestd asks systemd-logind to take the machine down: a stand-in (login1.c), on a bus of this test's
# own. The real one is met by the VM tests `unit` and `freeze-root`. systemctl, which is what is left when
# there is no logind, is a script here, put over the real one in this test's mount namespace.

. "$(dirname "$0")/tap.sh"
need_root
need_programs dbus-daemon systemctl
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 180

login1=$build/tests/system/login1
[ -x "$login1" ] || skip_all "the build has no libsystemd"
[ -d /run/systemd ] || skip_all "needs a folder /run/systemd to mount on"
mount -t tmpfs none /run/systemd && mkdir /run/systemd/system || skip_all "cannot mount on /run/systemd"

printf '#!/bin/sh\necho "${0##*/} $*" >>%s/calls\n' "$run" >"$run/systemctl"
chmod +x "$run/systemctl"
mount --bind "$run/systemctl" "$(readlink -f /bin/systemctl)" || skip_all "cannot mount on systemctl"
/bin/systemctl here
[ "$(cat "$run/calls")" = "systemctl here" ] || bail_out "this would call the real systemctl"
rm "$run/calls"

export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$run/bus SYSTEMD_BUS_TIMEOUT=2s

start_bus() {
    cat >"$run/bus.conf" <<END
<busconfig><type>system</type><listen>$DBUS_SYSTEM_BUS_ADDRESS</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy></busconfig>
END
    dbus-daemon --config-file="$run/bus.conf" --nofork --nopidfile >"$run/bus.log" 2>&1 &
    bus_pid=$!
    on_exit stop "$bus_pid"
    soon test -S "$run/bus" || bail_out "dbus-daemon does not start: $(cat "$run/bus.log")"
}

# start_logind WORD...: as login1.c has them
start_logind() {
    : >"$run/login1.log"
    "$login1" "$run" "$@" >"$run/login1.log" 2>&1 &
    login1_pid=$!
    on_exit stop "$login1_pid"
    soon grep -q ready "$run/login1.log" || bail_out "the stand-in does not start: $(cat "$run/login1.log")"
}

end_logind() {
    kill "$login1_pid"
    wait "$login1_pid" 2>/dev/null
    rm -f "$run/calls"
}

called() {
    [ "$(cat "$run/calls" 2>/dev/null)" = "$(printf '%s\n' "$@")" ]
}

idle() {
    [ "$(guest_value one .shutdown.last.running)" = false ]
}

log_has() {
    grep -q -- "$1" "$run/one.log"
}

start_bus
start_host
start_guest one --memory no --shutdown-command default
check "the guest is ready" soon eval '[ "$(guest_value one .shutdown.version)" = 3.2 ]'

# --- nobody is in the way

start_logind
check "the host asks for a power-off" host shutdown one
check "logind is asked, twice" soon called "ListInhibitors " "PowerOffWithFlags 1"
check "the log says that it is under way" soon log_has "power off is under way"
rm "$run/calls"
check "the host asks for a reboot instead" host reboot one
check "... which logind is asked for" soon called "ListInhibitors " "RebootWithFlags 1"
end_logind

# --- somebody is

echo "shutdown upgrade block" >"$run/inhibitor"
start_logind
check "the host asks while an upgrade runs" host shutdown one
check "... and nothing is done, for a reason with a name" \
    soon log_has "power off is inhibited by upgrade (process 3 of user 0): half way"
check "that is all that was asked" called "ListInhibitors "
check "it is not under way" soon idle
rm "$run/calls"
check "the host forces it" host reboot one --force
check "... and logind is not asked" soon called "systemctl reboot --ignore-inhibitors"
rm "$run/calls"
echo "sleep:shutdown-not upgrade block" >"$run/inhibitor"
check "who inhibits something else" host shutdown one
check "... is in nobody's way" soon called "ListInhibitors " "PowerOffWithFlags 1"
rm "$run/calls"
echo "idle:shutdown upgrade delay" >"$run/inhibitor"
check "who wants to be waited for" host reboot one
check "... is waited for by logind" soon called "ListInhibitors " "RebootWithFlags 1"
rm "$run/inhibitor"
end_logind

start_logind race
check "somebody inhibits between the two questions" host shutdown one
check "... and nothing is done" soon log_has "power off is inhibited by Access denied to root"
check "it is not under way" soon idle
end_logind

# --- hibernation

# What the kernel says of it is said by files of this test.
echo "freeze mem" >"$run/states"
printf 'Filename Type Size Used Priority\n' >"$run/swaps"
if mount --bind "$run/states" /sys/power/state && mount --bind "$run/swaps" /proc/swaps; then
    check "a machine that cannot hibernate refuses to" eval "host hibernate one 2>&1 | grep 'the guest refuses'"
    check "... for a reason" soon log_has "this machine cannot hibernate"
    echo "freeze mem disk" >"$run/states"
    refuse "... and so does one without swap" 1 host hibernate one
    echo "/dev/vdb partition 1048572 0 -2" >>"$run/swaps"
    echo "sleep film block" >"$run/inhibitor"
    start_logind
    check "the host asks for hibernation, which somebody does not want" host hibernate one
    check "... and nothing is done" soon log_has "hibernate is inhibited by film"
    rm "$run/inhibitor" "$run/calls"
    check "the host asks again" host hibernate one
    check "... and nobody is in the way" soon called "ListInhibitors " "HibernateWithFlags 1"
    check "a machine that is back may be asked again" soon idle
    end_logind
else
    skip "a machine that can hibernate" "this kernel has no /sys/power/state to mount on"
fi

# --- other logind

start_logind old
check "a logind without flags" host reboot one
check "... is asked as it was then" soon called "ListInhibitors " "Reboot false"
end_logind

start_logind broken
check "a logind that cannot" host shutdown one
check "... is believed" soon log_has "systemd-logind refuses power off: Sleep verb not supported"
check "it is not under way" soon idle
end_logind

start_logind silent
check "a logind that does not answer" host reboot one
check "... is waited for, and then done without" soon called "ListInhibitors " "systemctl reboot"
rm "$run/calls"
check "it is asked once more" host shutdown one
check "... and has not answered" soon called "ListInhibitors "
check "the host forces a reboot" host reboot one --force
check "... for which nobody is waited for" soon called "ListInhibitors " "systemctl reboot --ignore-inhibitors"
sleep 2.5
check "... and which is not done twice" called "ListInhibitors " "systemctl reboot --ignore-inhibitors"
end_logind

check "no logind at all" host shutdown one
check "... is done without" soon called "systemctl poweroff"
rm "$run/calls"
kill "$bus_pid"
wait "$bus_pid" 2>/dev/null
check "no bus at all" host reboot one
check "... is done without" soon called "systemctl reboot"
ends "the guest ends" "$one_pid"

# --- another init

if [ "$(readlink -f /sbin/shutdown)" = "$(readlink -f /bin/systemctl)" ]; then
    rmdir /run/systemd/system && rm "$run/calls"
    start_guest one --memory no --shutdown-command default
    check "a guest without systemd is ready" soon eval '[ "$(guest_value one .shutdown.version)" = 3.2 ]'
    check "the host asks for a power-off" host shutdown one
    check "... which the init has a command for" soon called "shutdown -h now"
    check "the host asks for a reboot" host reboot one --force
    check "... too" soon called "shutdown -h now" "shutdown -r now"
    refuse "hibernation is none that it has" 1 host hibernate one
    check "... so nothing is done" called "shutdown -h now" "shutdown -r now"
    ends "the guest ends" "$one_pid"
else
    skip "another init" "/sbin/shutdown is not systemd's"
fi
ends "the host ends" "$host_pid"
no_reports
done_testing
