# SPDX-License-Identifier: MIT
#
# What a shell test needs, to be sourced first: results in TAP, things to undo, and a watchdog.
#
#     . "$(dirname "$0")/tap.sh"
#     need_root
#     in_private_mounts "$@"
#     watchdog 60
#     check "a file can be made" touch "$tap_dir/file"
#     done_testing
#
# $tap_dir is a folder of the test's own, and is removed at the end. on_exit registers what has to
# be undone; the newest is undone first, however the test ends. A test that mounts must do it in a
# mount namespace of its own, and must register each mount by guard_mount: the watchdog is a separate
# process that thaws and unmounts these when the test runs too long or has died, even by SIGKILL,
# because a frozen file system outlives both its process and its mount. It also ends what a test that
# has died has left running: those processes whose environment has $HVGUEST_TEST_DIR.

set -u

tap_count=0
tap_failed=0
tap_undo=()
tap_watchdog=
tap_dir=$(mktemp -d "${TMPDIR:-/tmp}/hvguest-test.XXXXXX") || exit 1
export HVGUEST_TEST_DIR=$tap_dir
: >"$tap_dir/.mounts"

# diag TEXT...: lines for the log
diag() {
    printf '%s\n' "$@" | sed 's/^/# /'
}

# ok NAME, not_ok NAME
ok() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

not_ok() {
    tap_count=$((tap_count + 1))
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $1"
}

# skip NAME REASON
skip() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

# check NAME COMMAND...: ok if the command succeeds; its output goes to the log
check() {
    local name=$1 output status
    shift
    output=$("$@" 2>&1)
    status=$?
    [ -z "$output" ] || diag "$output"
    if [ "$status" = 0 ]; then ok "$name"; else diag "status $status: $*"; not_ok "$name"; fi
}

# refuse NAME STATUS COMMAND...: ok if the command ends with this status
refuse() {
    local name=$1 wanted=$2 output status
    shift 2
    output=$("$@" 2>&1)
    status=$?
    [ -z "$output" ] || diag "$output"
    if [ "$status" = "$wanted" ]; then ok "$name"; else diag "status $status: $*"; not_ok "$name"; fi
}

# is NAME GOT WANTED
is() {
    if [ "$2" = "$3" ]; then ok "$1"; else diag "got '$2'" "wanted '$3'"; not_ok "$1"; fi
}

# The plan; the test's last line.
done_testing() {
    echo "1..$tap_count"
    [ "$tap_failed" = 0 ]
    exit
}

# skip_all REASON: ends the test, which must not have given a result yet
skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

bail_out() {
    echo "Bail out! $1"
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || skip_all "needs root"
}

# need_programs NAME...
need_programs() {
    local program
    for program; do
        command -v "$program" >/dev/null || skip_all "needs $program"
    done
}

# on_exit COMMAND...: to be run when the test ends, however it does
on_exit() {
    tap_undo+=("$(printf '%q ' "$@")")
}

# take_turn: waits until no other test changes or measures the machine's memory; the turn ends with
# end_turn, or with the test. The lock is that of the unit tests. A process of its own has it, and
# its pipe is inherited by nobody, so what the test starts cannot keep it.
take_turn() {
    local lock=/proc/sys/vm/nr_overcommit_hugepages
    [ -e "$lock" ] || return 0
    coproc tap_turn { exec flock "$lock" bash -c 'echo && read -r'; }
    read -r <&"${tap_turn[0]}"
}

end_turn() {
    [ -z "${tap_turn_PID:-}" ] || stop "$tap_turn_PID"
}

# stop PID: ends a process that this shell has started, and waits for it; one that SIGSTOP holds, too.
# Only that one is told to go on: the leak sanitizer stops its process at its end, and waits for ever
# for the stop if SIGCONT takes it back.
stop() {
    kill -TERM "$1" 2>/dev/null
    ! grep -q '^State:.T' "/proc/$1/status" 2>/dev/null || kill -CONT "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    return 0
}

tap_exit() {
    local status=$? i
    trap '' INT TERM HUP
    for ((i = ${#tap_undo[@]} - 1; i >= 0; i--)); do
        eval "${tap_undo[i]}" || diag "undoing failed: ${tap_undo[i]}"
    done
    [ -z "$tap_watchdog" ] || stop "$tap_watchdog"
    rm -rf --one-file-system "$tap_dir"
    exit "$status"
}

trap tap_exit EXIT
trap 'exit 143' INT TERM HUP

need_private_mounts() {
    unshare -m --propagation private true 2>/dev/null || skip_all "needs a mount namespace of its own"
}

# in_private_mounts "$@": goes on in a mount namespace of its own, from the test's first line
in_private_mounts() {
    [ "${tap_is_private:-}" != yes ] || return 0
    need_private_mounts
    trap - EXIT
    rm -rf "$tap_dir"
    tap_is_private=yes exec unshare -m --propagation private bash "$0" "$@"
}

# guard_mount DIR: a mount point that the watchdog has to thaw and unmount when things go wrong
guard_mount() {
    printf '%s\n' "$1" >>"$tap_dir/.mounts"
}

# release_mounts: thaws and unmounts what is guarded; what is neither frozen nor mounted is left alone
release_mounts() {
    local dir
    while read -r dir; do
        fsfreeze --unfreeze "$dir"
        umount --lazy "$dir"
    done <"$1" 2>/dev/null
}

# end_strays DIR: kills what was started with it as $HVGUEST_TEST_DIR
end_strays() {
    local environs=(/proc/[0-9]*/environ) pid
    for pid in $(grep -lszxF "HVGUEST_TEST_DIR=$1" "${environs[@]}" | cut -d / -f 3); do
        kill -KILL "$pid"
    done
}

# watchdog SECONDS: when they have passed, or this test has died, releases the mounts and ends it, and
# if it has died, what it has left. The watchdog is not one of these itself. It asks a test to end until
# that has: a signal that comes just before the shell begins to wait is seen only when that is over.
watchdog() {
    HVGUEST_TEST_DIR='' setsid bash -c '
        '"$(declare -f release_mounts end_strays)"'
        trap "exit" TERM
        trap "" INT HUP
        while kill -0 "$1" && [ "$SECONDS" -lt "$2" ]; do sleep 0.2; done
        release_mounts "$3/.mounts"
        while kill -TERM "$1"; do sleep 0.2; done
        end_strays "$3"
        ' watchdog "$$" "$1" "$tap_dir" </dev/null >/dev/null 2>&1 &
    tap_watchdog=$!
}
