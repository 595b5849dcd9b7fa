#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A kernel whose uio_hv_generic refuses devices that need a hypercall, as Debian 12's does: hvguestd
# says so, and the device is with its driver again, which works.
#
# kernels: bookworm

. "$(dirname "$0")/nested.sh"
. "$(dirname "$0")/dynmem.sh"

vm_start
check "the kernel's own driver has the device first" guest 'modprobe hv_vmbus && modprobe hv_balloon'
is "it is bound" "$(dm_driver)" hv_balloon

check "hvguestd starts" guest 'hvguestd --takeover dynmem >/run/hvguestd.log 2>&1 & echo $! >/run/hvguestd.pid'
check "it says that the kernel is too old, and what is new enough" \
    eventually 60 log_says 'refuses devices .* Linux 6.10 or newer'
check "its status says so too" guest 'hvguestctl status --json | grep "6.10 or newer"'
check "the device is with its driver again" eventually 60 driver_is hv_balloon
is "nothing is left overridden" "$(guest "cat $(dm_device)/driver_override")" "(null)"
check "it does not try again and again" test "$(guest 'sleep 5; grep -c "6.10 or newer" /run/hvguestd.log')" = 1

check "the driver works: the host's silence can be skipped" skip_silence
check "the guest gives 64 MiB and takes them back" inflate_and_deflate 64
check "hvguestd ends" stop_daemon
is "the driver still has the device" "$(dm_driver)" hv_balloon
done_testing
