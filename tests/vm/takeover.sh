#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What can be in the way when hvguestd takes a device from the kernel's driver, and when it gives it
# back. Each time a line names what it is, and the device has a driver all the while: the one that
# it had, or uio_hv_generic.
#
# kernels: trixie

. "$(dirname "$0")/nested.sh"
. "$(dirname "$0")/dynmem.sh"

module='/lib/modules/$(uname -r)/kernel/drivers/uio/uio_hv_generic.ko'

# Somebody else who has the device's node open, until it is released.
hold_node() {
    guest 'sh -c "exec 3<>/dev/uio0; exec sleep 1000" & echo $! >/run/holder.pid; sleep 1; ls -l /proc/$!/fd/3'
}

release_node() {
    guest 'kill $(cat /run/holder.pid)'
}

says_who_holds() {
    log_says "process $(guest 'cat /run/holder.pid') (sleep) has /dev/uio0 open"
}

# Another hvguestd, with a folder of its own: it must name who has the device, and leave it alone.
second_daemon() {
    guest 'hvguestd --run-dir /run/second --takeover dynmem >/run/second.log 2>&1 & second=$!
        named="process $(cat /run/hvguestd.pid) (hvguestd) has /dev/uio"
        for i in $(seq 100); do grep -q "$named" /run/second.log && break; usleep 100000; done
        kill $second; wait $second; cat /run/second.log; grep -q "$named" /run/second.log'
}

# One that wants the same folder ends at once.
daemon_in_same_folder() {
    guest 'hvguestd --takeover dynmem'
}

# By hand, as an administrator does it: from its driver, if any, to uio_hv_generic.
bind_by_hand() {
    guest "cd '$(dm_device)' && echo uio_hv_generic >driver_override &&
        if [ -e driver ]; then basename \$PWD >driver/unbind; fi &&
        basename \$PWD >/sys/bus/vmbus/drivers/uio_hv_generic/bind"
}

unbind_by_hand() {
    guest "cd '$(dm_device)' && basename \$PWD >driver/unbind"
}

return_by_hand() {
    unbind_by_hand && guest "cd '$(dm_device)' && echo >driver_override && basename \$PWD >/sys/bus/vmbus/drivers_probe"
}

nothing_is_overridden() {
    local override
    override=$(guest "cat '$(dm_device)/driver_override'")
    echo "$override"
    [ "$override" = "(null)" ]
}

vm_start
diag "nobody has the device"
check "there is VMBus" guest 'modprobe hv_vmbus'
is "the device has no driver" "$(dm_driver)" ""
check "hvguestd takes the device" start_daemon
check "it works from the start" eventually 60 memory_is state ready
check "it ends with nobody to give the device to" stop_daemon
is "the device is as it was" "$(dm_driver)" ""
check "the kernel's driver loads" guest 'modprobe hv_balloon'
check "nothing keeps it from the device" eventually 60 driver_is hv_balloon

diag "no uio_hv_generic"
check "the module is not there" guest "rmmod uio_hv_generic; mv $module /run/"
check "hvguestd starts" start_daemon
check "it says what is missing, and what helps" eventually 60 log_says \
    'the kernel has no driver uio_hv_generic: install'
is "the device is still with its driver" "$(dm_driver)" hv_balloon
check "its status says so" guest 'hvguestctl status --json | grep "no driver uio_hv_generic"'
check "the module is there again" guest "mv /run/uio_hv_generic.ko $module"
check "hvguestd finds out by itself" eventually 90 driver_is uio_hv_generic
check "it works" eventually 60 memory_is state ready

diag "two of them"
refuse "a second hvguestd in the same folder ends" 1 daemon_in_same_folder
check "a third in another folder names the first" second_daemon
is "the device is where it was" "$(dm_driver)" uio_hv_generic
check "the first goes on" memory_is state ready

diag "somebody else has the node open when hvguestd ends"
check "the node can be opened again" hold_node
check "hvguestd ends" stop_daemon
check "it says who is in the way" says_who_holds
is "the device is not torn from its user" "$(dm_driver)" uio_hv_generic
check "the user goes" release_node

diag "what was left is put right at the next start"
check "hvguestd starts again" start_daemon
check "it works again" eventually 60 memory_is state ready
check "it ends" stop_daemon
check "the device is with the driver that it had at first" eventually 60 driver_is hv_balloon
check "nothing is left overridden" nothing_is_overridden

diag "killed, and the device left without a driver"
check "hvguestd starts for that" start_daemon
check "it works once more" eventually 60 memory_is state ready
check "it is killed, and its keeper too" kill_both
check "the device is unbound, as if it had been killed a moment earlier" unbind_by_hand
check "the next one starts" start_daemon
check "it has taken the device" eventually 60 memory_is state ready
check "it ends as it should" stop_daemon
check "the driver has the device" eventually 60 driver_is hv_balloon

diag "somebody else uses the device already"
check "the device is bound to uio_hv_generic by hand" bind_by_hand
check "somebody opens it" hold_node
check "hvguestd starts beside that" start_daemon
check "it names the one who has it" eventually 60 says_who_holds
check "it has not opened the device" memory_is state closed
is "nothing was rebound" "$(dm_driver)" uio_hv_generic
check "the other one goes" release_node
check "hvguestd uses the device then" eventually 90 memory_is state ready
check "it ends after that" stop_daemon
is "what others have bound stays as they have bound it" "$(dm_driver)" uio_hv_generic
check "the device goes back by hand" return_by_hand

check "the kernel's driver works: the host's silence can be skipped" skip_silence
check "it gives 64 MiB and takes them back" inflate_and_deflate 64
check "the kernel had nothing to complain about" guest '! dmesg | grep -e WARNING: -e BUG: -e Oops'
done_testing
