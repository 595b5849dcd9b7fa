#!/bin/bash
# SPDX-License-Identifier: MIT
#
# However a test dies, nothing stays frozen, mounted, attached or running.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs fsfreeze losetup setsid setpriv
need_private_mounts
image_possible ext4 || skip_all "needs ext4 and loop devices"

# A test that freezes a file system and does not end by itself.
cat >"$tap_dir/victim.sh" <<'END'
. "$1/tap.sh"
. "$1/images.sh"
in_private_mounts "$@"
image_make ext4 "$tap_dir/image" && image_mount "$tap_dir/image" "$tap_dir/mnt" &&
    fsfreeze --freeze "$tap_dir/mnt" || exit
started() {
    until tr '\0' ' ' <"/proc/$1/cmdline" | grep -q '^sleep'; do sleep 0.01; done
}
sleep 21 &
on_exit stop "$!"
started "$!" # before that it is a shell, with that one's environment
kill -STOP "$!"
stopped=$!
sleep 20 &
on_exit stop "$!"
started "$!"
echo "$stopped $!" >"$2.started"
watchdog "$3" # not before: how long the rest takes is nobody's business here
echo "$$" >"$2"
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

# none_runs PID...: none of these; one that only waits to be taken note of does not
none_runs() {
    local pid
    for pid; do [ -z "$(tr -d '\0' 2>/dev/null <"/proc/$pid/cmdline")" ] || return 1; done
}

# victim NAME WATCHDOG_SECONDS [SIGNAL]: starts it, sees it freeze, and ends it
victim() {
    local mark=$tap_dir/frozen
    rm -f "$mark" "$mark.started"
    TMPDIR=$tap_dir bash "$tap_dir/victim.sh" "$(dirname "$0")" "$mark" "$2" >"$mark.log" 2>&1 &
    soon test -s "$mark" || bail_out "the victim does not freeze: $(cat "$mark.log")"
    if [ -n "${3:-}" ]; then
        attached || bail_out "the victim has nothing attached"
        kill "-$3" "$(cat "$mark")"
    fi
    check "$1: all is thawed and let go" soon let_go
    # shellcheck disable=SC2046
    check "$1: what it has started has ended" soon none_runs $(cat "$mark.started")
    wait "$!" 2>/dev/null
}

victim "ended by SIGTERM" 60 TERM
victim "killed" 60 KILL
victim "too slow" 1

# stop: SIGCONT is for one that is stopped.
cat >"$tap_dir/talker.sh" <<'END'
trap 'echo "told to go on" >>"$1"' CONT
trap 'echo "told to end" >>"$1"; sleep 0.2; ended=yes' TERM
until [ -n "${ended:-}" ]; do
    : >>"$1"
    sleep 0.1
done
END

# told HOW: what a process is told that stop ends: one that "runs", or "is stopped"
told() {
    rm -f "$tap_dir/told"
    bash "$tap_dir/talker.sh" "$tap_dir/told" &
    soon test -e "$tap_dir/told"
    [ "$1" = runs ] || kill -STOP "$!"
    stop "$!"
    sort "$tap_dir/told" | xargs
}

is "stop: one that runs is told to end" "$(told runs)" "told to end"
is "stop: one that is stopped is told to go on, too" "$(told "is stopped")" "told to end told to go on"

# What `make check` runs each test with.
cat >"$tap_dir/leaver.sh" <<'END'
sleep 300 &
echo "$!" >"$1"
[ "$2" = ends ] || sleep 300
END

# limited SECONDS ends|hangs: whether nothing runs any more; what it says is in $tap_dir/limited
limited() {
    HVGUEST_TEST_LIMIT=$1 TMPDIR=$tap_dir "$limit" bash "$tap_dir/leaver.sh" "$tap_dir/left" "$2" >"$tap_dir/limited" 2>&1
    none_runs "$(cat "$tap_dir/left")"
}

limit=$(dirname "$0")/../limit
check "limit: what a test leaves running is killed" limited 60 ends
check "limit: and named" grep -q "left running, and killed now: process $(cat "$tap_dir/left"), sleep 300" "$tap_dir/limited"
check "limit: what a test has that takes too long has ended" limited 1 hangs
check "limit: which is said" grep -q "ran for more than 1 s" "$tap_dir/limited"
rm "$tap_dir/left"
TMPDIR=$tap_dir "$limit" bash "$tap_dir/leaver.sh" "$tap_dir/left" hangs &
soon test -s "$tap_dir/left"
kill -KILL "$!"
check "limit: killed itself, its test ends" soon none_runs "$(cat "$tap_dir/left")"
rm -rf "$tap_dir"/hvguest-reports.* # the killed one's

is "SIGTERM and the watchdog leave no folder behind" \
    "$(find "$tap_dir" -mindepth 1 -maxdepth 1 -type d | wc -l)" 1 # the killed one's
done_testing
