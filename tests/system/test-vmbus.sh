#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvguestd on VMBus devices that it cannot get: each says one line that names the device and what
# helps, and the device ends with the driver it had. A tmpfs over /sys, in a mount namespace of its
# own, stands for the kernel, whose answer to a bind is the error of a file that takes no text.
# What needs a kernel with VMBus is not tested here.

. "$(dirname "$0")/tap.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 60

instance=1eccfd72-4b41-45ef-b73a-4a6e44c12924
bus=/sys/bus/vmbus
device=$bus/devices/$instance
uio=$bus/drivers/uio_hv_generic
balloon=$bus/drivers/hv_balloon

mount -t tmpfs hvguest-test /sys || skip_all "needs to mount a tmpfs over /sys"

# A device of dynamic memory with the kernel's driver, as sysfs shows it.
make_bus() {
    rm -rf /sys/bus
    mkdir -p "$device" "$uio" "$balloon"
    echo '{525074dc-8985-46e2-8057-a307dc18a502}' >"$device/class_id"
    echo 21 >"$device/id"
    echo 2 >"$device/state"
    echo '(null)' >"$device/driver_override"
    ln -s ../../drivers/hv_balloon "$device/driver"
    touch "$bus/drivers_probe" "$uio"/{bind,unbind} "$balloon"/{bind,unbind}
}

# start_daemon OPTION...: $daemon; waits until it answers
start_daemon() {
    : >"$run/one.log"
    "$hvguestd" --name one --run-dir "$run/one" --state-dir "$run/state" \
        --freezer "$freezer" --kvp-dir "$run/kvp" "$@" 2>>"$run/one.log" &
    daemon=$!
    on_exit stop "$daemon"
    soon test -S "$run/one/api.sock" || bail_out "hvguestd does not start: $(cat "$run/one.log")"
}

said() {
    grep -qF -- "$1" "$run/one.log"
}

# is_back NAME: the device is with its driver, and nothing of the takeover is left
is_back() {
    is "$1" "$(cat "$balloon/bind") $(head -c 1 "$device/driver_override" | od -An -tx1 | tr -d ' ')" \
        "$instance 0a"
}

device_value() {
    guest one vmbus --json | jq -r ".devices[0] | $1"
}

rm -rf /sys/bus
refuse "a machine without VMBus is not a guest of Hyper-V" 4 \
    "$hvguestd" --takeover dynmem --run-dir "$run/one" --kvp-dir "$run/kvp"
make_bus
start_daemon
check "without takeover, backup looks for the kernel's device" soon said "there is no /dev/vmbus/hv_vss"
refuse "without it the daemon is degraded" 3 guest one status
ends "it ends" "$daemon" TERM
refuse "a service that cannot be taken over is refused" 2 "$hvguestd" --takeover dynmem,scsi

start_daemon --takeover heartbeat,dynmem
check "a device that the host does not offer is named" soon said "heartbeat: the host offers no such device"
check "a kernel that makes no device node is told of" soon said "$instance: uio_hv_generic has it, but no usable"
is_back "the device is back with its driver"
is "hvguestctl lists the device" "$(device_value '.class + " " + .driver + " " + .service_state')" \
    "dynmem hv_balloon offered"
check "hvguestctl lists it for people too" eval 'guest one vmbus | grep -q "^dynmem  *$instance  *hv_balloon"'
refuse "without its devices the daemon is degraded" 3 guest one status
ends "it ends" "$daemon" TERM

make_bus
ln -sf /proc/self/oom_score_adj "$uio/bind"
start_daemon --takeover dynmem
check "a kernel that is too old is told of" soon said "$instance: this kernel's uio_hv_generic refuses"
is_back "the device is back with its driver"
ends "it ends" "$daemon" TERM

make_bus
rm -r "$uio"
start_daemon --takeover dynmem
check "a missing module is told of" soon said "$instance: the kernel has no driver uio_hv_generic"
is "the device was not touched" "$(cat "$balloon/unbind" "$device/driver_override")" "(null)"
ends "it ends" "$daemon" TERM

make_bus
ln -sf /dev/full "$balloon/unbind"
start_daemon --takeover dynmem
check "a driver that does not let go is told of" soon said "$instance: cannot be taken over: No space left"
is_back "the device is back with its driver"
ends "it ends" "$daemon" TERM

no_reports
done_testing
