#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# The guest: nothing but a shell at the other end of a port. No driver is loaded but those which that
# takes; a test loads what it is about.

. /lib/init-common.sh

echo 1 >/proc/sys/kernel/panic_on_oops
exec >/dev/hvc0 2>&1 </dev/null
serve guest
