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
# refuse_status TEXT: status is degraded, and says so
refuse_status() {
    guest one status >"$run/status"
    [ $? = 3 ] && grep -q "$1" "$run/status"
}
check "every channel is open" soon eval '[ "$(channels)" = "open open open" ]'
check "dynamic memory says what it misses" \
    soon grep "memory: the host did not answer the version request within 5 s; opening the channel anew" \
    "$run/one.log"
check "... and so does status, which is degraded" soon refuse_status \
    "the host did not answer the version request; trying again"
is "no version is made up" "$(guest_value one '"\(.heartbeat.version) \(.backup.version)"')" "null null"
before=$(awk '{ print $14 + $15 }' "/proc/$one_pid/stat")
sleep 1
after=$(awk '{ print $14 + $15 }' "/proc/$one_pid/stat")
check "nothing spins" test $((after - before)) -lt 50
opened() {
    grep -c "dynmem: channel .* is open" "$run/one.log"
}
# After 5, 10 and 20 s; each time a second later.
check "it is tried again, with more patience" soon eval '[ "$(opened)" -gt 1 ]'
check "... which is not all the time" test "$(opened)" -lt 6
is "... and said once" "$(grep -c "did not answer" "$run/one.log")" 1

stop "$rogue_pid"
rm -f "$run/host/lab.sock"
start_host --startup 1G --minimum 1000M --first-action 0
check "with the next host every service is ready" soon ready one
check "... and nothing is missed any more" guest one status
ends "the guest ends well" "$one_pid"
ends "the host ends well" "$host_pid"

# A host that refuses would do so again; only when it offers the channel anew it is asked again.
rm -f "$run/host/lab.sock" "$run/one/api.sock"
"$build/tests/system/rogue" refusing "$run/host/lab.sock" 1 60 >"$run/rogue.out" &
rogue_pid=$!
on_exit stop "$rogue_pid"
start_guest one --huge-pages no
check "refused: dynamic memory gives up and says why" \
    soon grep "memory: closing the channel: the host refused every protocol version" "$run/one.log"
check "refused: its channel is left, the others wait" soon eval '[ "$(channels)" = "open offered open" ]'
check "refused: status is degraded, and says why" refuse_status \
    "given up: the host refused every protocol version; restart hvguestd"
kill -USR1 "$rogue_pid"
check "refused, and taken away: the channel is gone" soon eval '[ "$(channels)" = "open none open" ]'
is "refused, and taken away: nothing is given up any more" "$(guest_value one .memory.given_up)" null
ends "the guest ends well" "$one_pid"
no_reports
done_testing
