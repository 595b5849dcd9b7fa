#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The recorder finds each kind of damage. If it did not, a backup test could not fail.

. "$(dirname "$0")/tap.sh"
need_programs jq

recorder=${builddir:-.}/tests/system/recorder
good=$tap_dir/good
bad=$tap_dir/bad
state=$tap_dir/state
mkdir "$good" "$bad"

shown() {
    "$recorder" show --state "$state" --json | jq "$@"
}

# after EXPRESSION: waits until it is true of what `recorder show` says
after() {
    local _
    for _ in {1..200}; do
        [ -e "$state" ] && [ "$(shown "$1" 2>/dev/null)" = true ] && return 0
        sleep 0.05
    done
    return 1
}

verify() {
    "$recorder" verify "$bad" --state "$state" --acked-before "${1:-$end}"
}

# spoil SCRIPT: a fresh copy of the good records with something done to it
spoil() {
    cp "$good/records" "$bad/records" || return 1
    (cd "$bad" && eval "$1") 2>/dev/null
}

# put N AT: copies record N of the good records to place AT
put() {
    dd if="$good/records" of=records bs=512 skip=$(($1 - 1)) seek=$(($2 - 1)) count=1 conv=notrunc
}

# found NAME PATTERN: verify must refuse the spoilt copy with a line like this
found() {
    local output status
    output=$(verify)
    status=$?
    diag "$output"
    if [ "$status" = 1 ] && [[ $output == $2 ]]; then ok "$1"; else not_ok "$1"; fi
}

start=$("$recorder" now)
"$recorder" write "$good" --state "$state" --interval-us 500 --for 60 &
writer=$!
on_exit stop "$writer"
check "records are acknowledged" after '.records >= 20'
kill -TERM "$writer"
wait "$writer"
is "SIGTERM ends the writer cleanly" $? 0
end=$("$recorder" now)
n=$(shown .records)

is "every acknowledged record is in the file" "$(stat -c %s "$good/records")" $((n * 512))
refuse "records are never appended to those of another run" 1 \
    "$recorder" write "$good" --state "$tap_dir/other"

spoil ""
check "an unspoilt copy is good" verify
spoil "truncate -s $((n * 512 - 512)) records"
found "the last acknowledged record is missing" "damaged: record $n: *ends before it*"
spoil "truncate -s $((n * 512 - 1)) records"
found "the last acknowledged record is torn" "damaged: record $n: *ends before it*"
spoil ": >records"
found "the file is empty" "damaged: record 1: *ends before it*"
spoil "printf X | dd of=records bs=1 seek=$((9 * 512 + 100)) conv=notrunc"
found "a byte is wrong" "damaged: record 10: *checksum*"
spoil "dd if=/dev/zero of=records bs=512 seek=4 count=1 conv=notrunc"
found "a block of zeros" "damaged: record 5: *checksum*"
spoil "put 9 8"
found "a record is twice there, and one is missing" "damaged: record 8: another*"
spoil "put 4 3; put 3 4"
found "two records have changed places" "damaged: record 3: another*"
spoil "{ head -c $((6 * 512)) $good/records; tail -c +$((7 * 512 + 1)) $good/records; } >records"
found "a record is missing from the middle" "damaged: record 7: another*"

spoil "truncate -s $((5 * 512 + 17)) records"
check "what was not acknowledged by then may be missing or torn" verify "$start"
spoil "dd if=/dev/zero of=records bs=512 seek=4 count=1 conv=notrunc"
refuse "but it may not be torn if a later record is there" 1 verify "$start"
rm "$bad/records"
refuse "no file at all" 1 verify "$start"

refuse "a state file that is none" 1 "$recorder" show --state "$good/records"
refuse "an unknown option" 2 "$recorder" show --state "$state" --nonsense
refuse "a number that is none" 2 "$recorder" verify "$good" --state "$state" --acked-before 1x
check "a stall before the time that is asked for does not count" \
    test "$(shown .longest_stall_ms)" != 0 -a \
    "$("$recorder" show --state "$state" --json --since "$((end * 2))" | jq .longest_stall_ms)" = 0
done_testing
