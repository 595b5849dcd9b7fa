#!/bin/bash
# SPDX-License-Identifier: MIT
#
# memeater takes what it says, gives it back, and refuses to take too much.

. "$(dirname "$0")/tap.sh"

memeater=${builddir:-.}/tests/system/memeater

# holding PID KIB: waits until the process has at least so much memory of its own
holding() {
    local _ kib
    for _ in {1..200}; do
        kib=$(awk '/^RssAnon:/ { print $2 }' "/proc/$1/status" 2>/dev/null)
        [ "${kib:-0}" -ge "$2" ] && return 0
        sleep 0.05
    done
    return 1
}

refuse "more than 2 GiB" 2 "$memeater" 2049M
refuse "a number that overflows" 2 "$memeater" 99999999999999999999
refuse "a negative number" 2 "$memeater" -- -1M
refuse "an unknown unit" 2 "$memeater" 5X
refuse "no size" 2 "$memeater"

"$memeater" 64M --hold 60 --step 16M >"$tap_dir/out" &
eater=$!
on_exit stop "$eater"
check "it takes 64 MiB" holding "$eater" 65536
kill -TERM "$eater"
wait "$eater"
is "SIGTERM ends it cleanly" "$?" 0
is "it said what it held" "$(cat "$tap_dir/out")" "holding 67108864 bytes"
check "it ends by itself" "$memeater" 1M --hold 0
done_testing
