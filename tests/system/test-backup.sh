#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Live backup by the two real programs, with everything that can go wrong while file systems are
# frozen. ext4, xfs and btrfs images lie in a datastore that can share blocks (the host's), are
# mounted by loop (the guest's), and each has a writer of acknowledged records.
#
# Most cases need the freeze to last until the test has done something. They copy to the vault, a
# file system that is the test's own and no business of the guest: while the test holds it frozen
# the host's copy cannot even create a file, so the guest stays frozen exactly as long as the test
# wants it to, on a machine of any speed.
#
# That something is frozen is shown by a write that does not end, that it is thawed by the same
# write ending. These writes run in the background, because a blocked one cannot be killed.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq fsfreeze losetup setsid dd e2fsck xfs_repair btrfs
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
for type in $image_types; do
    image_possible "$type" || skip_all "this machine cannot make or mount $type"
done
in_private_mounts "$@"
watchdog 240

build=$(realpath "${builddir:-.}")
recorder=$build/tests/system/recorder
memory=$tap_dir/memory # sockets, logs, records of the writers; images at the very bottom
store=$tap_dir/store
vault=$tap_dir/vault
guest=$tap_dir/guest
declare -A writers
host_pid= guest_pid= guest_starts=0

hvhost() {
    "$build/host/hvhost" "$@" --run-dir "$memory/host"
}

hvguestctl() {
    "$build/cli/hvguestctl" --api "$memory/guest/api.sock" "$@"
}

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -le "$end" ] || return 1
        sleep 0.02
    done
}

# status EXPRESSION, receipt EXPRESSION: what the guest says; is_true of it
status() {
    hvguestctl status --json | jq -r "$1"
}

receipt() {
    hvguestctl receipt --json | jq -r "$1"
}

is_true() {
    [ "$("$1" "$2")" = true ]
}

# The file systems.

# make_big TYPE FILE [OPTION...]: with room for copies of all images
make_big() {
    local type=$1 file=$2
    shift 2
    truncate -s 1536M "$file" && "mkfs.$type" -q "$@" "$file"
}

prepare() {
    local type
    mkdir "$memory" && mount -t tmpfs -o mode=700 hvguest-test "$memory" || return 1
    on_exit umount --lazy "$memory"
    mkdir "$memory/host" "$guest" || return 1
    make_big xfs "$memory/store.img" -m reflink=1 && image_mount "$memory/store.img" "$store" &&
        make_big ext4 "$memory/vault.img" && image_mount "$memory/vault.img" "$vault" || return 1
    for type in $image_types; do
        image_make "$type" "$store/$type.img" && image_mount "$store/$type.img" "$guest/$type" ||
            return 1
    done
}

# hold: the next copy to the vault waits, and with it the guest's thaw, until release
hold() {
    fsfreeze --freeze "$vault"
}

release() {
    fsfreeze --unfreeze "$vault"
}

# begin_writes TYPE...: one write with fsync on each
begin_writes() {
    local type
    for type; do
        rm -f "$memory/wrote.$type"
        (dd if=/dev/zero of="$guest/$type/probe" bs=4k count=1 conv=fsync && : >"$memory/wrote.$type") \
            >/dev/null 2>&1 &
    done
}

# writes_blocked TYPE...: none of the writes has ended, some time after
writes_blocked() {
    local type
    sleep 0.3
    for type; do
        [ ! -e "$memory/wrote.$type" ] || return 1
    done
}

writes_end() {
    local type
    for type; do
        wait_for 10 test -e "$memory/wrote.$type" || return 1
    done
}

nothing_frozen() {
    begin_writes $image_types
    writes_end $image_types
}

start_writers() {
    local type
    for type in $image_types; do
        "$recorder" write "$guest/$type" --state "$memory/state.$type" --interval-us 3000 &
        writers[$type]=$!
        on_exit stop $!
    done
    for type in $image_types; do
        wait_for 10 "$recorder" show --state "$memory/state.$type" || return 1
    done
}

# stalled_until TYPE SINCE: when the longest stall that ended after SINCE ended
stalled_until() {
    "$recorder" show --state "$memory/state.$1" --json --since "$2" | jq .stall_ended_ns
}

writer_goes_on() {
    [ "$("$recorder" show --state "$memory/state.$1" --json | jq ".last_ns > $2")" = true ]
}

# The programs. What runs on is started by its path: of a function, $! would be a subshell.

host_start() {
    "$build/host/hvhost" serve --run-dir "$memory/host" 2>>"$memory/host.log" &
    host_pid=$!
    wait_for 10 hvhost status || bail_out "hvhost does not start: $(cat "$memory/host.log")"
}

# It takes no part in dynamic memory: that is another test.
hvguestd=("$build/daemon/hvguestd" --lab "$memory/host/lab.sock" --run-dir "$memory/guest"
    --name guest --freezer "$build/fsfreeze/hvguest-freezer" --memory no)

# guest_start OPTION...: with a log of its own, and ready for backups
guest_start() {
    guest_starts=$((guest_starts + 1))
    guest_log=$memory/guest-$guest_starts.log
    "${hvguestd[@]}" "$@" 2>"$guest_log" &
    guest_pid=$!
    wait_for 10 ready || bail_out "the guest is not ready: $(cat "$guest_log")"
}

# The host has a channel to the guest, and no backup under way.
ready() {
    [ "$(hvhost status guest --json | jq '.backup | .version != null and
        (.state | . == "idle" or . == "done" or . == "failed")')" = true ]
}

# host_waits_for STEP: of the backup that is under way
host_waits_for() {
    [ "$(hvhost status guest --json | jq -r .backup.state)" = "$1" ]
}

# Waits for what was killed, without the shell's announcement of its death.
killed() {
    wait "$1" 2>/dev/null
    return 0
}

stop_programs() {
    release 2>/dev/null
    stop "$guest_pid"
    stop "$host_pid"
}

# Backups. Each has a directory of its own below the vault or the store.

images=()
for type in $image_types; do
    images+=(--image "$store/$type.img")
done

# backup DIR OPTION...: from begin to end; its answer is in backup.json, its complaint in backup.err
backup() {
    local dir=$1
    shift
    [ -d "$dir" ] || mkdir "$dir" || return 1
    hvhost backup guest "${images[@]}" --to "$dir" --json "$@" >"$memory/backup.json" 2>"$memory/backup.err"
}

# begin_held DIR: a backup to the vault, as far as it comes: the guest is frozen while it is copied
begin_held() {
    mkdir "$vault/$1"
    hold
    backup "$vault/$1" --no-snapshot &
    backup_pid=$!
    wait_for 10 is_true status '.backup.state == "frozen"' || diag "$1: the guest does not freeze"
    begin_writes $image_types
    check "$1: all file systems are frozen" writes_blocked $image_types
}

# end_backup NAME STATUS PATTERN: how hvhost backup must end
end_backup() {
    wait "$backup_pid"
    is "$1: hvhost backup ends with $2" $? "$2"
    check "$1: and says why" grep "$3" "$memory/backup.err"
    is "$1: no copy is left" "$(ls -A "$vault/$1")" ""
}

# again NAME: the next backup works
again() {
    wait_for 10 ready || diag "$1: the guest is not ready"
    check "$1: the next backup works" backup "$store/after-$1"
    diag "$(cat "$memory/backup.err")"
    rm -r "$store/after-$1"
}

reflink_backup() {
    check "reflink: hvhost backup" backup "$store/reflink"
    check "reflink: nothing is frozen" nothing_frozen
    reflink_frozen_ns=$(jq .frozen_monotonic_ns "$memory/backup.json")
    reflink_sum=$(cd "$store/reflink" && cksum ./*)
    is "reflink: no data was moved" "$(jq -r '[.images[].method] | unique[]' "$memory/backup.json")" reflink
    is "reflink: the receipt has all three, with times" \
        "$(receipt ".file_systems[] | select(.freeze_us > 0 and .thaw_us >= 0 and
            .thawed_at > .frozen_at and .state == \"frozen\") | .target" | sort)" \
        "$(printf "$guest/%s\n" $image_types | sort)"
    check "reflink: the receipt says that it is consistent" is_true receipt '.consistent'
    is "reflink: the receipt says why others were not frozen" \
        "$(receipt ".file_systems[] | select(.target == \"$store\" or .target == \"$vault\") |
            .state + \": \" + .reason" | sort -u)" \
        "not-allowed: no mount of it is at or below an allowed path"
    is "reflink: no other was frozen" "$(receipt '[.file_systems[] | select(.freeze_us)] | length')" 3
}

full_backup() {
    local answered
    begin_held full
    check "full: the guest tells when it will thaw" is_true status \
        '.backup.remaining_seconds | . > 0 and . < 60'
    answered=$(status .heartbeat.answered)
    check "full: heartbeats are answered meanwhile" \
        wait_for 10 is_true status ".heartbeat.answered >= $answered + 2"
    check "full: and everything is frozen still" writes_blocked $image_types
    kill -STOP "$guest_pid"
    release
    check "full: the host asks for the thaw" wait_for 10 host_waits_for thaw
    is "full: nothing looks like a backup until the guest has confirmed it" "$(ls "$vault/full")" ""
    kill -CONT "$guest_pid"
    wait "$backup_pid"
    is "full: hvhost backup" $? 0
    is "full: the copies have the names of the images" "$(ls -A "$vault/full" | sort)" \
        "$(printf '%s.img\n' $image_types | sort)"
    check "full: the writes end" writes_end $image_types
    full_frozen_ns=$(jq .frozen_monotonic_ns "$memory/backup.json")
    full_sum=$(cd "$vault/full" && cksum ./*)
    is "full: each image was copied" \
        "$(jq '[.images[] | select(.method != "reflink" and .data_bytes > 0)] | length' "$memory/backup.json")" 3
    check "full: consistent" is_true receipt '.consistent'
}

on_terminal() {
    if ! command -v script >/dev/null; then
        skip "terminal: there is a bar" "needs script"
        return
    fi
    mkdir "$vault/terminal"
    hold
    script -qefc "$build/host/hvhost backup guest ${images[*]} --to $vault/terminal --no-snapshot --run-dir $memory/host" \
        /dev/null </dev/null >"$memory/terminal.out" &
    backup_pid=$!
    check "terminal: there is a bar" wait_for 10 grep -q '\[[#.]*\]' "$memory/terminal.out"
    release
    wait "$backup_pid"
    is "terminal: hvhost backup" $? 0
}

guest_lost() {
    begin_held guest-lost
    kill -KILL "$guest_pid"
    killed "$guest_pid"
    check "guest-lost: the writes end" writes_end $image_types
    release
    end_backup guest-lost 1 "the guest is gone"
    check "guest-lost: the host goes on" hvhost status
    guest_start --freeze-roots "$guest" --freeze-timeout 60
    again guest-lost
}

# A host that hangs in its storage cannot die at once, so it is stopped before that is released.
host_lost() {
    begin_held host-lost
    kill -STOP "$host_pid"
    release
    kill -KILL "$host_pid"
    killed "$host_pid"
    check "host-lost: the writes end" writes_end $image_types
    wait "$backup_pid"
    is "host-lost: hvhost backup ends with 1" $? 1
    check "host-lost: the receipt says so" \
        is_true receipt '.result == "thawed because the host or its channel was lost" and (.consistent | not)'
    check "host-lost: and the status" is_true status '.backup.last.result | test("lost")'
    is "host-lost: no copy is left that could be taken for one" "$(ls "$vault/host-lost")" ""
    host_start
    again host-lost
}

# The end of the host waits for its worker, so the storage is released first.
host_ended() {
    begin_held host-ended
    kill -TERM "$host_pid"
    release
    wait "$host_pid"
    is "host-ended: hvhost ends with 0" $? 0
    check "host-ended: the writes end" writes_end $image_types
    wait "$backup_pid"
    is "host-ended: hvhost backup ends with 1" $? 1
    is "host-ended: no copy is left" "$(ls -A "$vault/host-ended")" ""
    host_start
    again host-ended
}

host_silent() {
    stop "$guest_pid"
    guest_start --freeze-roots "$guest" --freeze-timeout 2
    begin_held host-silent
    kill -STOP "$host_pid"
    release
    check "host-silent: the writes end" writes_end $image_types
    check "host-silent: the receipt names the deadline" \
        is_true receipt '(.result | test("at the deadline")) and (.consistent | not)'
    check "host-silent: which is two seconds" \
        is_true receipt '.frozen_us | . > 1500000 and . < 2500000'
    kill -CONT "$host_pid"
    end_backup host-silent 5 "the guest thawed by itself"
    again host-silent
    stop "$guest_pid"
    guest_start --freeze-roots "$guest" --freeze-timeout 60
}

# How long it takes from the kill to the last writer's next acknowledgement, with all that the test
# adds: it must be 50 ms at most. The best of five rounds counts. A machine that has other things to
# do can spoil some, and there are writers and programs waiting for a processor in each; a mechanism
# that is too slow spoils them all.
daemon_killed() {
    local round killed_ns type ended slowest all=()
    for round in 1 2 3 4 5; do
        begin_held "daemon-killed-$round"
        killed_ns=$("$recorder" now)
        kill -KILL "$guest_pid"
        killed "$guest_pid"
        check "daemon-killed-$round: the writes end" writes_end $image_types
        slowest=0
        for type in $image_types; do
            wait_for 10 writer_goes_on "$type" "$killed_ns"
            ended=$(stalled_until "$type" "$killed_ns")
            diag "$type: thawed $(((ended - killed_ns) / 1000)) us after the kill"
            [ "$ended" -le "$slowest" ] || slowest=$ended
        done
        all+=($(((slowest - killed_ns) / 1000)))
        release
        end_backup "daemon-killed-$round" 1 "the guest is gone"
        guest_start --freeze-roots "$guest" --freeze-timeout 60
    done
    mapfile -t all < <(printf '%s\n' "${all[@]}" | sort -n)
    diag "from kill to thaw: ${all[*]} us"
    check "daemon-killed: thawed within 50 ms" [ "${all[0]}" -le 50000 ]
}

freezer_killed() {
    local freezer
    freezer=$(status .backup.freezer_pid)
    begin_held freezer-killed
    kill -KILL "$freezer"
    check "freezer-killed: the writes end" writes_end $image_types
    check "freezer-killed: the receipt says so" \
        is_true receipt '(.result | test("the freezer died")) and (.consistent | not)'
    release
    end_backup freezer-killed 5 "the guest thawed by itself"
    check "freezer-killed: another is started" \
        wait_for 10 is_true status ".backup | .freezer_pid > 0 and .freezer_pid != $freezer"
    again freezer-killed
}

# Both are stopped first, so that neither can act on the other's death.
both_killed() {
    local freezer
    freezer=$(status .backup.freezer_pid)
    begin_held both-killed
    kill -STOP "$guest_pid" "$freezer"
    kill -KILL "$guest_pid" "$freezer"
    killed "$guest_pid"
    check "both-killed: everything is frozen still" writes_blocked $image_types
    release
    end_backup both-killed 1 "the guest is gone"
    guest_start --freeze-roots "$guest" --freeze-timeout 60
    check "both-killed: the next start thaws" writes_end $image_types
    is "both-killed: and says so before anything else" \
        "$(head -n 3 "$guest_log" | grep -c "was left frozen by a predecessor; it is thawed")" 3
    again both-killed
}

rescinded() {
    begin_held rescinded
    check "rescinded: hvhost rescind" hvhost rescind guest vss
    check "rescinded: the writes end" writes_end $image_types
    check "rescinded: the receipt says so" \
        is_true receipt '(.result | test("channel was lost")) and (.consistent | not)'
    release
    end_backup rescinded 1 "the guest is gone"
    refuse "rescinded: no backup without the channel" 1 backup "$store/refused"
    check "rescinded: hvhost offer" hvhost offer guest vss
    again rescinded
}

daemon_ended() {
    begin_held daemon-ended
    kill -TERM "$guest_pid"
    check "daemon-ended: the writes end" writes_end $image_types
    wait "$guest_pid"
    is "daemon-ended: hvguestd ends with 0" $? 0
    check "daemon-ended: and says what it did to the backup" \
        grep "backup: ended-early (daemon-stop)" "$guest_log"
    release
    end_backup daemon-ended 1 "the guest is gone"
    guest_start --freeze-roots "$guest" --freeze-timeout 60
    again daemon-ended
}

second_daemon() {
    "${hvguestd[@]}" >"$memory/second.log" 2>&1
    is "second-daemon: it is refused" $? 1
    check "second-daemon: and says why" grep "another hvguestd .* has $memory/guest" "$memory/second.log"
    again second-daemon
}

frozen_by_others() {
    fsfreeze --freeze "$guest/ext4"
    begin_writes ext4
    check "frozen-by-others: hvhost backup" backup "$store/foreign"
    check "frozen-by-others: what was frozen stays so" writes_blocked ext4
    is "frozen-by-others: the receipt names it" \
        "$(receipt ".file_systems[] | select(.target == \"$guest/ext4\") | .state + \": \" + .reason")" \
        "foreign: somebody else had frozen it; it is left to them"
    check "frozen-by-others: and so does one line of the log" \
        grep -q "not everything was frozen: $guest/ext4: somebody else had frozen it" "$guest_log"
    fsfreeze --unfreeze "$guest/ext4"
    check "frozen-by-others: nothing is frozen" nothing_frozen
    rm -r "$store/foreign"
}

# wrong NAME PATTERN DIR COMMAND...: ends with 1 and this line; nothing new in DIR, nothing frozen
wrong() {
    local name=$1 pattern=$2 dir=$3 before
    shift 3
    before=$(cd "$dir" && cksum -- * 2>/dev/null; ls -A)
    refuse "$name: refused" 1 "$@"
    check "$name: and says why" grep -- "$pattern" "$memory/backup.err"
    is "$name: nothing is left" "$(cd "$dir" && cksum -- * 2>/dev/null; ls -A)" "$before"
    check "$name: nothing is frozen" nothing_frozen
}

# ask_backup ARGUMENT...
ask_backup() {
    hvhost backup "$@" 2>"$memory/backup.err"
}

bad_requests() {
    local dir=$store/bad freezes
    mkdir "$dir" "$memory/small"
    echo precious >"$dir/xfs.img"
    mount -t tmpfs -o size=1m hvguest-test "$memory/small" || bail_out "cannot mount a tmpfs"
    on_exit umount --lazy "$memory/small"

    freezes=$(status .backup.freezes)
    wrong unknown-guest "no guest 'nobody' is connected" "$dir" \
        ask_backup nobody "${images[@]}" --to "$dir"
    wrong no-image "nothing.img: No such file" "$dir" \
        ask_backup guest --image "$store/nothing.img" --to "$dir"
    wrong no-directory "nowhere: No such file" "$dir" ask_backup guest "${images[@]}" --to "$dir/nowhere"
    wrong target-exists "$dir/xfs.img" "$dir" ask_backup guest "${images[@]}" --to "$dir"
    is "bad requests freeze nothing" "$(status .backup.freezes)" "$freezes"
    wrong disk-full "No space left" "$memory/small" \
        ask_backup guest "${images[@]}" --to "$memory/small"
    is "disk-full: the freeze itself was in order" "$(receipt .consistent)" true
    rm -r "$dir"
}

nothing_allowed() {
    stop "$guest_pid"
    guest_start
    mkdir "$store/none"
    wrong nothing-allowed "could not freeze its file systems" "$store/none" backup "$store/none"
    check "nothing-allowed: the receipt says so" is_true receipt '.result | test("--freeze-roots")'
    is "nothing-allowed: and why, for each of them" \
        "$(receipt ".file_systems[] | select(.target | startswith(\"$guest/\")) |
            .state + \": \" + .reason" | sort | uniq -c | xargs)" \
        "3 not-allowed: no mount of it is at or below an allowed path"
}

programs_end() {
    kill -TERM "$guest_pid"
    wait "$guest_pid"
    is "hvguestd ends with 0" $? 0
    kill -TERM "$host_pid"
    wait "$host_pid"
    is "hvhost ends with 0" $? 0
    guest_pid= host_pid=
    is "no sanitizer has anything to say" "$(cat "$memory"/sanitizer.* 2>/dev/null)" ""
}

# copy_is_good TYPE COPY FROZEN_NS: looked at in a scratch clone, because it has to be mounted once:
# a freeze leaves logs to be replayed. Not beside the original, which has the same UUID.
copy_is_good() {
    local clone=$store/clone.img
    cp --reflink=auto --sparse=auto "$2" "$clone" &&
        image_mount "$clone" "$tap_dir/clone" &&
        "$recorder" verify "$tap_dir/clone" --state "$memory/state.$1" --acked-before "$3" &&
        image_unmount "$tap_dir/clone" &&
        image_check "$1" "$clone"
}

verify() {
    local type
    for type in $image_types; do
        check "$type: nothing that was ever acknowledged is lost" \
            "$recorder" verify "$guest/$type" --state "$memory/state.$type" --acked-before "$("$recorder" now)"
    done
    for type in $image_types; do
        stop "${writers[$type]}"
        image_unmount "$guest/$type" || diag "$type cannot be unmounted"
    done
    for type in $image_types; do
        check "$type: the shared copy is good" copy_is_good "$type" "$store/reflink/$type.img" "$reflink_frozen_ns"
        check "$type: the full copy is good" copy_is_good "$type" "$vault/full/$type.img" "$full_frozen_ns"
    done
    is "the shared copies are as they were taken" "$(cd "$store/reflink" && cksum ./*)" "$reflink_sum"
    is "the full copies are as they were taken" "$(cd "$vault/full" && cksum ./*)" "$full_sum"
}

prepare >"$tap_dir/prepare.log" 2>&1 || skip_all "cannot make and mount images: $(tail -n 1 "$tap_dir/prepare.log")"
# Not of the freezer: it has no environment. If a sanitizer ends it, the daemon loses it, and a case fails.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}log_path=$memory/sanitizer"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:+$UBSAN_OPTIONS:}log_path=$memory/sanitizer"
on_exit stop_programs
host_start
guest_start --freeze-roots "$guest" --freeze-timeout 60
start_writers || bail_out "the writers do not write"

reflink_backup
full_backup
on_terminal
guest_lost
host_lost
host_ended
host_silent
daemon_killed
freezer_killed
both_killed
rescinded
daemon_ended
second_daemon
frozen_by_others
bad_requests
nothing_allowed
programs_end
verify
done_testing
