#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Dynamic memory with a host that does wrong, one fault after the other, with the real programs and a
# few MiB of real pages. Whatever the host sends, the guest answers what can be answered, counts it,
# says it once, and has exactly the pages that the host has. What "lost" does takes a minute here;
# tests/scenario/test-dynmem-faults has it.

. "$(dirname "$0")/tap.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 120

mib=1048576

start_host --startup 1G --minimum 512M --first-action 0 --spacing 0 --buffer 2000
start_guest one --huge-pages no
check "a guest is ready" soon ready one

# agreed MIB: both have so much, and nothing is under way; with no argument: as much as the other
agreed() {
    local host guest
    host=$(host_value one '.memory | "\(.state) \(.ballooned_bytes)"')
    guest=$(guest_value one '.memory | "\(.state) \(.ballooned_bytes)"')
    [ "$host" = "$guest" ] && [ "${host% *}" = ready ] &&
        { [ $# = 0 ] || [ "${host#* }" = $(($1 * mib)) ]; }
}

counter() {
    guest_value one ".memory.counters.$1"
}

assign() {
    host memory one --assign "$1" >/dev/null
}

# fault NAME: one after the other, for the host does nothing else meanwhile
fault() {
    soon agreed && host memory one --fault "$1" >/dev/null
}

assign 1008M
check "16 MiB are taken" soon agreed 16

# row FAULT COUNTER LEAST
while read -r name count least; do
    before=$(counter "$count")
    check "$name: the host does it" fault "$name"
    check "... it is over, and both have the same pages" soon agreed
    more=$(($(counter "$count") - before))
    check "... it is counted ($count $more)" test "$more" -ge "$least"
done <<END
foreign foreign_pages 1
overlap foreign_pages 1
empty unballoon_requests 1
count clipped 1
short malformed 1
unknown unexpected 1
info unexpected 1
answer unexpected 1
nothing balloon_requests 1
unaligned hot_add_requests 1
existing hot_add_requests 1
region hot_add_requests 1
END

# What is wrong with the next request.
before=$(counter overlaps)
check "duplicate: the host is told" fault duplicate
assign 1000M
check "a request that comes twice is obeyed once" soon agreed 24
check "... the second one was refused" test "$(counter overlaps)" -gt "$before"
check "late: the host is told" fault late
assign 992M
sleep 0.5
is "a late request has not come yet" "$(host_value one .memory.operation.running)" true
check "... and is obeyed when it comes" soon agreed 32

check "a fault that there is not" eval 'host memory one --fault nosuch 2>&1 | grep -q "no fault"'
assign 1G
check "everything can be given back" soon agreed 0
is "the host saw no violation" "$(host_value one .memory.violations)" 0
is "... and no answer that it did not wait for" "$(host_value one .memory.unexpected)" 0
for said in "returned pages that it did not have" "fewer ranges than it claimed" \
    "lengths do not fit" "of an unknown type" "unknown kind of info" "has no place here" \
    "before the last answer"; do
    is "one line says: ... $said" "$(grep -c "memory: the host .*$said" "$run/one.log")" 1
done
ends "the guest ends at Ctrl-C" "$one_pid"
ends "the host ends at Ctrl-C" "$host_pid"
no_reports
done_testing
