#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The tools of the system tests, put together by hand: a writer on each type of file system, a
# freeze, a copy of the image, a thaw; the copy is good and the stall is seen.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq fsfreeze losetup setsid
in_private_mounts "$@"
watchdog 120

recorder=${builddir:-.}/tests/system/recorder

shown() {
    "$recorder" show --state "$state" --json "$@"
}

# after EXPRESSION: waits until it is true of what `recorder show` says
after() {
    local _
    for _ in {1..200}; do
        [ -e "$state" ] && [ "$(shown 2>/dev/null | jq "$1")" = true ] && return 0
        sleep 0.05
    done
    return 1
}

# The copy is mounted once, because logs are replayed by mounting only; not beside the original,
# which has the same UUID.
copy_is_good() {
    image_unmount "$tap_dir/mnt" &&
        image_mount "$tap_dir/copy" "$tap_dir/restored" &&
        "$recorder" verify "$tap_dir/restored" --state "$state" --acked-before "$frozen" &&
        image_unmount "$tap_dir/restored"
}

for type in $image_types; do
    if ! image_possible "$type"; then
        skip "$type" "this machine cannot make or mount it"
        continue
    fi
    state=/dev/shm/$(basename "$tap_dir")-$type
    on_exit rm -f "$state"

    check "$type: an image is made" image_make "$type" "$tap_dir/$type"
    image_mount "$tap_dir/$type" "$tap_dir/mnt" || bail_out "cannot mount $type"
    "$recorder" write "$tap_dir/mnt" --state "$state" --for 60 &
    writer=$!
    check "$type: records are written" after '.records >= 50'

    fsfreeze --freeze "$tap_dir/mnt"
    frozen=$("$recorder" now)
    cp --sparse=always "$tap_dir/$type" "$tap_dir/copy"
    sleep 0.3
    blocked=$(shown --since "$frozen" | jq '.longest_stall_ms >= 250')
    fsfreeze --unfreeze "$tap_dir/mnt"
    before=$(shown | jq .records)

    is "$type: the writer is seen to be blocked while it is" "$blocked" true
    check "$type: it goes on after the thaw" after ".records > $before"
    is "$type: the stall is known afterwards" \
        "$(shown --since "$frozen" | jq '.longest_stall_ms >= 250')" true
    stop "$writer"
    check "$type: the copy has all that was acknowledged before the freeze" \
        copy_is_good
    check "$type: the copy is clean" image_check "$type" "$tap_dir/copy"
    rm "$tap_dir/copy" "$tap_dir/$type"
done
done_testing
