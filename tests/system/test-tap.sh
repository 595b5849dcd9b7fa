#!/bin/bash
# SPDX-License-Identifier: MIT
#
# However a test dies, nothing stays frozen, mounted or attached.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs fsfreeze losetup setsid
need_private_mounts
image_possible ext4 || skip_all "needs ext4 and loop devices"

# A test that freezes a file system and does not end by itself.
cat >"$tap_dir/victim.sh" <<'END'
. "$1/tap.sh"
. "$1/images.sh"
in_private_mounts "$@"
watchdog "$3"
image_make ext4 "$tap_dir/image" && image_mount "$tap_dir/image" "$tap_dir/mnt" &&
    fsfreeze --freeze "$tap_dir/mnt" && echo "$$" >"$2"
sleep 20 &
on_exit stop "$!"
wait "$!"
END

attached() {
    losetup --noheadings --output BACK-FILE | grep -qF "$tap_dir/"
}

# soon COMMAND...: whether it comes true within ten seconds
soon() {
    local _
    for _ in {1..100}; do
        "$@" && return 0
        sleep 0.1
    done
    return 1
}

# A frozen file system cannot be torn down, so a loop device that is let go has been thawed.
let_go() {
    ! attached
}

# victim NAME WATCHDOG_SECONDS [SIGNAL]: starts it, sees it freeze, and ends it
victim() {
    local mark=$tap_dir/frozen
    rm -f "$mark"
    TMPDIR=$tap_dir bash "$tap_dir/victim.sh" "$(dirname "$0")" "$mark" "$2" >"$mark.log" 2>&1 &
    soon test -s "$mark" || bail_out "the victim does not freeze: $(cat "$mark.log")"
    if [ -n "${3:-}" ]; then
        attached || bail_out "the victim has nothing attached"
        kill "-$3" "$(cat "$mark")"
    fi
    check "$1: all is thawed and let go" soon let_go
    wait "$!" 2>/dev/null
}

victim "ended by SIGTERM" 60 TERM
victim "killed" 60 KILL
victim "too slow" 1
is "SIGTERM and the watchdog leave no folder behind" \
    "$(find "$tap_dir" -mindepth 1 -maxdepth 1 -type d | wc -l)" 1 # the killed one's
done_testing
