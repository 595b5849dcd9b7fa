#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A host that opens every channel and never says a word on it: hvguestd says what it misses, does
# not spin, and works with the next host. That integration services complain after a minute is shown
# by tests/unit/test-ic-channel, on a shorter minute.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/lab.sh"
watchdog 120

mkdir "$run/host"
"$build/tests/system/rogue" silent "$run/host/lab.sock" 1 60 >"$run/rogue.out" &
rogue_pid=$!
on_exit stop "$rogue_pid"
start_guest one --huge-pages no
channels() {
    guest_value one '"\(.heartbeat.channel) \(.memory.channel) \(.backup.channel)"'
}
check "every channel is open" soon eval '[ "$(channels)" = "open open open" ]'
check "dynamic memory gives up and says why" \
    soon grep "memory: closing the channel: the host did not answer the version request" "$run/one.log"
check "its channel is left, the others wait" soon eval '[ "$(channels)" = "open offered open" ]'
refuse "... and status is degraded" 3 eval 'guest one status >"$run/status"'
check "... and says why" \
    grep "given up: the host did not answer the version request; restart hvguestd" "$run/status"
is "no version is made up" "$(guest_value one '"\(.heartbeat.version) \(.backup.version)"')" "null null"
before=$(awk '{ print $14 + $15 }' "/proc/$one_pid/stat")
sleep 1
after=$(awk '{ print $14 + $15 }' "/proc/$one_pid/stat")
check "nothing spins" test $((after - before)) -lt 50
is "it is not tried again and again" "$(grep -c "closing the channel" "$run/one.log")" 1

stop "$rogue_pid"
rm -f "$run/host/lab.sock"
start_host --startup 1G --minimum 1000M --first-action 0
check "with the next host every service is ready" soon ready one
check "... and nothing is given up any more" guest one status
ends "the guest ends well" "$one_pid"
ends "the host ends well" "$host_pid"
no_reports
done_testing
