#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The host takes channels away and offers them again, as it does around a save and restore or a live
# migration, at each step of each service. After each: nothing is frozen, no memory is missing, no file
# is half there, and the service is ready again.
#
# Here one channel at a time is taken, and the other services go on meanwhile; with REOFFER=save, as
# test-save.sh has it, all of them are, by hvhost save and restore.
#
# To hold a step still, whoever would end it is stopped: the guest's daemon, its freezer, or the
# host's copy, which goes to a file system that the test holds frozen (the vault).

. "$(dirname "$0")/tap.sh"
need_root
need_programs fsfreeze dd
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/images.sh"
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
watchdog 360

mib=1048576
data=$run/data
vault=$run/vault

for dir in "$data" "$vault"; do
    image_make ext4 "$dir.img" && image_mount "$dir.img" "$dir" || skip_all "cannot mount an ext4 image"
done
# The guest may set its clock, which is one of its own, in a file.
cat >"$run/hvguestd" <<END
#!/bin/sh
LD_PRELOAD=$build/tests/system/clock-stand-in.so CLOCK_STAND_IN=$run/clock \\
    ASAN_OPTIONS=\${ASAN_OPTIONS:+\$ASAN_OPTIONS:}verify_asan_link_order=0 exec $hvguestd "\$@"
END
chmod +x "$run/hvguestd"
head -c 8 /dev/zero >"$run/clock"
hvguestd=$run/hvguestd

# set_clock SECONDS: so much ahead of this machine's; clock_is SECONDS: give or take half a second
set_clock() {
    local ns=$(($1 * 1000000000)) i
    for i in 0 8 16 24 32 40 48 56; do printf "\\x$(printf %x $((ns >> i & 255)))"; done |
        dd of="$run/clock" conv=notrunc status=none
}

clock_is() {
    local off=$(($(od -An -td8 "$run/clock") - $1 * 1000000000))
    [ "$off" -gt -500000000 ] && [ "$off" -lt 500000000 ]
}

start_host --startup 1G --minimum 256M --first-action 0 --spacing 0 --buffer 2000
mkdir "$run/files"
start_guest one --time-sync step --huge-pages no --freeze-roots "$data" --freeze-timeout 60 --fcopy-roots "$run/files:$vault"
check "every service is ready" soon ready one
fds=$(ls "/proc/$one_pid/fd" | wc -l)

# take_away SERVICE, offer SERVICE: what the host does, for which the guest need not be awake; others
# NAME COMMAND...: a check of the services that have their channels still
if [ "${REOFFER:-}" = save ]; then
    take_away() {
        host save one >/dev/null || diag "the guest cannot be saved"
    }
    offer() {
        host restore one >/dev/null || diag "the guest cannot be restored"
    }
    others() {
        :
    }
else
    take_away() {
        host rescind one "$1" >/dev/null || diag "$1 cannot be rescinded"
    }
    offer() {
        host offer one "$1" >/dev/null || diag "$1 cannot be offered"
    }
    others() {
        check "$@"
    }
fi

# guest_is FILTER VALUE
guest_is() {
    [ "$(guest_value one "$1")" = "$2" ]
}

answers_heartbeats() {
    local before
    before=$(guest_value one .heartbeat.answered)
    soon eval '[ "$(guest_value one .heartbeat.answered)" -gt '"$before"' ]'
}

# ready_again NAME SERVICE: offers it
ready_again() {
    offer "$2"
    check "$1: offered again, every service is ready" soon ready one
}

# --- heartbeat

take_away heartbeat
check "heartbeat: the guest closes the channel" soon guest_is .heartbeat.channel none
others "heartbeat: dynamic memory goes on" guest_is .memory.channel open
ready_again heartbeat heartbeat
check "heartbeat: and is answered" answers_heartbeats
kill -STOP "$one_pid"
for _ in 1 2 3; do
    take_away heartbeat
    offer heartbeat
done
kill -CONT "$one_pid"
check "heartbeat: three times while the guest was asleep" soon ready one
check "heartbeat: and is answered" answers_heartbeats

# --- dynamic memory

# The host has no page of the guest; what it had is held out of use for the next host, to the page.
is_accounted() {
    guest_is '.memory | "\(.ballooned_bytes) \(.pages.small_bytes == (.unreported_bytes // 0))"' "0 true" &&
        [ "$(host_value one .memory.ballooned_bytes)" = 0 ]
}

# taken MIB: both agree on it; what a host that went had not yet given back is not part of it
taken() {
    local wanted=$(($1 * mib))
    [ "$(host_value one '"\(.memory.state) \(.memory.ballooned_bytes)"')" = "ready $wanted" ] &&
        guest_is '.memory | "\(.state) \(.ballooned_bytes) \(.pages.small_bytes - .unreported_bytes)"' \
            "ready $wanted $wanted"
}

# channels_opened: how many of dynamic memory, so far
channels_opened() {
    grep -c "dynmem: channel .* is open" "$run/one.log"
}

# stopped_while KIND: the guest, as soon as it is in the middle of one; until "wakes"
stopped_while() {
    soon guest_is '.memory.operation | "\(.kind) \(.running)"' "$1 true" &&
        kill -STOP "$one_pid"
}

go_on() {
    kill -CONT "$1" 2>/dev/null || :
}

wakes() {
    go_on "$one_pid"
}

assign() {
    host memory one --assign "$1" >/dev/null
}

for pause in 0 0.004 0.008 0.012 0.02 0.05; do
    take_away dynmem
    offer dynmem
    sleep "$pause"
done
check "handshake: interrupted six times, it is done in the end" soon ready one
kill -STOP "$one_pid"
take_away dynmem
offer dynmem
take_away dynmem
wakes
check "handshake: an offer that is taken back at once" soon guest_is .memory.channel none
ready_again handshake dynmem

assign 256M
check "while ballooning: the guest is held in the middle" stopped_while balloon
take_away dynmem
wakes
check "while ballooning: the memory is accounted for" soon is_accounted
others "while ballooning: backup goes on" guest_is .backup.channel open
ready_again "while ballooning" dynmem
check "ballooned: the assignment still holds" soon taken 768

# The worker waits for a keeper that is stopped, and nobody else does; when the keeper goes on the next
# channel has been open for long, and the last one's work is not done yet.
assign 1G
check "while draining: nothing is taken" soon taken 0
keeper_pid=$(guest_value one .memory.keeper.pid)
kill -STOP "$keeper_pid"
on_exit go_on "$keeper_pid"
assign 256M
check "while draining: the worker is held" \
    soon guest_is '.memory.operation | "\(.kind) \(.running)"' "balloon true"
take_away dynmem
check "while draining: the channel is gone" soon guest_is .memory.channel none
offer dynmem
check "while draining: the next one is opened" soon guest_is .memory.channel open
check "while draining: the host waits for its first word" soon eval '[ "$(host_value one .memory.state)" = version ]'
check "while draining: heartbeats are answered" answers_heartbeats
is "while draining: and the API answers" "$(guest_value one .memory.state)" closed
comes_and_goes() {
    take_away dynmem
    soon guest_is .memory.channel none || return
    offer dynmem
    soon guest_is .memory.channel open
}
check "while draining: and the channel can come and go" eval 'comes_and_goes && comes_and_goes'
opened=$(channels_opened)
go_on "$keeper_pid"
check "while draining: when that is over, every service is ready" soon ready one
check "while draining: and the assignment still holds" soon taken 768
is "while draining: that channel was not given up" "$(channels_opened)" "$opened"

take_away dynmem
check "ballooned: the memory is accounted for" soon is_accounted
ready_again ballooned dynmem
check "ballooned: and is taken anew" soon taken 768

assign 1G
check "while returning: the guest is held in the middle" stopped_while unballoon
take_away dynmem
wakes
check "while returning: the memory is accounted for" soon is_accounted
ready_again "while returning" dynmem
check "while returning: and nothing is taken" soon taken 0
is "the host saw no mistake" "$(host_value one .memory.violations)" 0

# --- backup

# writes_end: a write with fsync, which a frozen file system would hold up
begin_write() {
    rm -f "$run/wrote"
    (dd if=/dev/zero of="$data/probe" bs=4k count=1 conv=fsync && : >"$run/wrote") >/dev/null 2>&1 &
}

write_ends() {
    soon test -e "$run/wrote"
}

is_frozen() {
    begin_write
    sleep 0.3
    [ ! -e "$run/wrote" ]
}

hold() {
    fsfreeze --freeze "$vault"
}

release() {
    fsfreeze --unfreeze "$vault"
}

# begin_backup: in the background; end_backup NAME: it must fail, and leave nothing
begin_backup() {
    "$hvhost" backup one --image "$data.img" --to "$vault" --run-dir "$run/host" >"$run/backup.err" 2>&1 &
    backup_pid=$!
    on_exit stop "$backup_pid"
}

end_backup() {
    wait "$backup_pid"
    is "$1: hvhost backup fails" "$?" 1
    check "$1: and says why" grep "the guest is gone" "$run/backup.err"
    is "$1: no copy is left" "$(ls -A "$vault" | grep -v lost+found)" ""
}

works_again() {
    begin_write
    check "$1: nothing is frozen" write_ends
    check "$1: the guest could begin anew" soon guest_is '"\(.backup.state) \(.backup.problem)"' "idle null"
    others "$1: memory and heartbeat go on" guest_is '"\(.memory.channel) \(.heartbeat.channel)"' "open open"
    ready_again "$1" vss
}

host_asks_for() {
    [ "$(host_value one .backup.state)" = "$1" ]
}

freezer_pid() {
    local child
    for child in $(cat "/proc/$one_pid"/task/*/children); do
        [ "$(cat "/proc/$child/comm")" != hvguest-freezer ] || echo "$child"
    done
}

kill -STOP "$one_pid"
begin_backup
check "before the freeze: the host has asked" soon host_asks_for hot-backup
take_away vss
wakes
end_backup "before the freeze"
works_again "before the freeze"

freezer=$(freezer_pid)
diag "freezer: $freezer"
kill -STOP "$freezer"
on_exit go_on "$freezer"
begin_backup
check "while freezing: the guest is held there" soon guest_is .backup.state freezing
take_away vss
others "while freezing: heartbeats are answered" answers_heartbeats
kill -CONT "$freezer"
end_backup "while freezing"
works_again "while freezing"

hold
begin_backup
check "frozen: the guest is held there" soon guest_is .backup.state frozen
check "frozen: and is" is_frozen
take_away vss
check "frozen: it is not, as soon as the channel is gone" write_ends
check "frozen: the receipt says so" eval \
    'guest one receipt --json | jq -e "(.result | test(\"channel was lost\")) and (.consistent | not)"'
release
end_backup frozen
works_again frozen

hold
begin_backup
soon guest_is .backup.state frozen
freezer=$(freezer_pid)
kill -STOP "$freezer"
on_exit go_on "$freezer"
release
check "while thawing: the guest is held there" soon guest_is .backup.state thawing
take_away vss
kill -CONT "$freezer"
end_backup "while thawing"
works_again "while thawing"
check "the next backup works" "$hvhost" backup one --image "$data.img" --to "$vault" --run-dir "$run/host"
rm -f "$vault"/data.img

# --- shutdown

# Nothing is done but a line in the log: this is a lab. The guest may have read the first request before it
# heard of the end of the channel; then the second one is for the same, if it comes early enough.
went_down() {
    grep -c "shutdown: nothing is done, because this is a lab" "$run/one.log"
}
kill -STOP "$one_pid"
host shutdown one --json >"$run/shutdown.out" 2>&1 &
shutdown_pid=$!
on_exit stop "$shutdown_pid"
check "shutdown: the host has asked" soon eval '[ "$(host_value one .shutdown.state)" = asked ]'
take_away shutdown
wakes
wait "$shutdown_pid"
is "shutdown: hvhost shutdown fails" "$?" 1
check "shutdown: the guest sees the end of the channel" soon guest_is .shutdown.channel none
ready_again shutdown shutdown
check "shutdown: and takes requests" soon guest_is .shutdown.version 3.2
is "shutdown: the next one is accepted" "$(host shutdown one --json | jq -r .state)" accepted
check "shutdown: and done" soon eval '[ "$(went_down)" -ge 1 ] && guest_is .shutdown.last.running false'

# --- file copy

# copies: the guest takes files
copies() {
    guest_is '.copy | "\(.channel) \(.version != null)"' "open true"
}

# begin_copy PATH OPTION...: in the background
begin_copy() {
    local path=$1
    shift
    host copy one "$run/source:$path" "$@" >"$run/copy.out" 2>&1 &
    copy_pid=$!
    on_exit stop "$copy_pid"
}

# end_copy NAME DIR: it must fail, and leave nothing; and the next one must arrive
end_copy() {
    wait "$copy_pid"
    is "$1: hvhost copy fails" "$?" 1
    check "$1: nothing is left of the file" soon eval '[ -z "$(find "'"$2"'" -type f)" ]'
    ready_again "$1" fcopy
    check "$1: the guest takes files" soon copies
    check "$1: the next one arrives" host copy one "$run/source:$2/copy"
    check "$1: as it is" cmp "$run/source" "$2/copy"
    rm -f "$2/copy"
}

head -c 8M /dev/urandom >"$run/source"
check "copying: the guest takes files" soon copies
kill -STOP "$one_pid"
begin_copy "$run/files/copy"
check "before copying: the host has asked" soon eval '[ "$(host_value one .copy.state)" = starting ]'
take_away fcopy
wakes
end_copy "before copying" "$run/files"

hold
begin_copy "$vault/copy"
check "opening: the guest is held there" soon guest_is .copy.state starting
take_away fcopy
check "opening: the channel is gone meanwhile" soon guest_is .copy.channel none
others "opening: heartbeats are answered" answers_heartbeats
release
end_copy opening "$vault"

begin_copy "$run/files/copy" --fault silent --fault-at 20
check "while copying: the host falls silent" soon eval \
    '[ "$(host_value one .copy.state)" = sending ] && guest_is .copy.state open'
take_away fcopy
end_copy "while copying" "$run/files"

# --- keys

# keys_go: what the host sets, it reads again
keys_go() {
    local value=$RANDOM
    host kvp set one color "$value" >/dev/null && [ "$(host kvp get one color --pool external)" = "$value" ]
}

# begin_set VALUE: in the background; end_set NAME: it must fail, and the next one must not
begin_set() {
    host kvp set one color "$1" >"$run/set.out" 2>&1 &
    set_pid=$!
    on_exit stop "$set_pid"
}

end_set() {
    wait "$set_pid"
    is "$1: hvhost kvp fails" "$?" 1
    ready_again "$1" kvp
    check "$1: keys can be set and read" soon keys_go
}

check "keys: can be set and read" soon keys_go
kill -STOP "$one_pid"
begin_set unread
check "keys, before they are read: the host has asked" soon eval '[ "$(host_value one .kvp.state)" = asked ]'
take_away kvp
wakes
end_set "keys, before they are read"

# Nothing is written while file systems are frozen.
hold
begin_backup
check "keys, held: a backup holds the guest" soon guest_is .backup.state frozen
begin_set held
check "keys, held: the guest waits for the thaw" soon guest_is .kvp.state held
take_away kvp
check "keys, held: the channel is gone meanwhile" soon guest_is .kvp.channel none
release
wait "$backup_pid"
rm -f "$vault"/data.img
end_set "keys, held"
refuse "keys, held: what was void is not written" 1 grep -q held "$run/one/kvp/.kvp_pool_0"

# --- time

# told ANSWERED SYNCS: the host has told the time since, and asked for the clock to be set
told() {
    [ "$(host_value one '.time | .answered > '"$1"' and .syncs > '"$2")" = true ]
}

# has_slept NAME SECONDS: the channel is taken, the guest's clock has stood still for so long, and the host
# offers the channel again
has_slept() {
    local answered syncs
    answered=$(host_value one .time.answered)
    syncs=$(host_value one .time.syncs)
    check "$1: the guest sees the end of the channel" soon guest_is .time.channel none
    set_clock "-$2"
    ready_again "$1" timesync
    check "$1: the guest is told anew, and to set its clock" soon told "$answered" "$syncs"
    check "$1: the clock is right" soon clock_is 0
}

steps=$(guest_value one .time.steps)
check "time: nothing has changed the clock until now" clock_is 0
kill -STOP "$one_pid"
host time one --sample >/dev/null
take_away timesync
wakes
has_slept "time, before a message is read" 7200
take_away timesync
has_slept "time, at rest" 86400
is "time: the clock was set once for each" "$(guest_value one .time.steps)" $((steps + 2))
set_clock 600
answered=$(host_value one .time.answered)
check "time: somebody sets the clock wrong, and samples follow" \
    eval 'host time one --sample && soon told "$answered" -1'
check "time: which leave it to him" clock_is 600
take_away timesync
check "time: the channel is gone" soon guest_is .time.channel none
ready_again time timesync
check "time: the clock is set back, for the host asks for it" soon clock_is 0

# --- everything at once, in the middle of everything

assign 512M
soon taken 512
hold
begin_backup
check "at once: frozen, with memory taken" soon guest_is '.backup.state' frozen
if [ "${REOFFER:-}" = save ]; then
    take_away
else
    for service in heartbeat dynmem vss; do take_away $service; done
fi
begin_write
check "at once: nothing is frozen" write_ends
check "at once: the memory is accounted for" soon is_accounted
release
end_backup "at once"
if [ "${REOFFER:-}" = save ]; then
    offer
else
    for service in dynmem vss heartbeat; do offer $service; done
fi
check "at once: every service is ready" soon ready one
check "at once: memory is taken anew" soon taken 512

# --- a move: taken and offered again in one

if [ "${REOFFER:-}" = save ]; then
    hold
    begin_backup
    check "moved: frozen, with memory taken" soon guest_is .backup.state frozen
    set_clock -90
    check "moved: the machine moves to another host" host move one
    begin_write
    check "moved: nothing is frozen" write_ends
    release
    end_backup moved
    check "moved: every service is ready" soon ready one
    check "moved: memory is taken anew" soon taken 512
    check "moved: the clock is right" soon clock_is 0
    kill -STOP "$one_pid"
    moves() {
        for _ in 1 2 3 4 5; do host move one || return; done
    }
    check "moved: five times while the guest was asleep" moves
    wakes
    check "moved: every service is ready again" soon ready one
    check "moved: and memory is taken" soon taken 512
fi
assign 1G
check "at once: and can be given back" soon taken 0
# A receipt that goes to the journal leaves a socket to it, for good.
check "no descriptor is left open" test "$(ls "/proc/$one_pid/fd" | wc -l)" -le $((fds + 1))
ends "the guest ends well" "$one_pid"
ends "the host ends well" "$host_pid"
no_reports
done_testing
