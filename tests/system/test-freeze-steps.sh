#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Each fault at each step of a backup, by the real programs. A step is held up by the test for as long as it
# likes: a hook or a subscriber waits for a file; what the frozen file system is stored on, or what the copy
# goes to, is frozen by the test. Then the fault comes, then the step may go on. In the end, always:
#
#     nothing is frozen: a write ends
#     a hook that was called with freeze was called back once, and so was the subscriber
#     there is a copy if, and only if, the receipt says that it is consistent
#     the next backup works
#
# What becomes of each single fault, in words, is in test-backup, test-hooks and test-freeze-faults.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup fsfreeze setsid
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 350
. "$(dirname "$0")/lab.sh"

hooks=$run/hooks calls=$run/calls gates=$run/gates
under=$tap_dir/under vault=$tap_dir/vault data=$tap_dir/data
mkdir "$hooks" "$gates"

prepare() {
    truncate -s 400M "$run/under.img" && mkfs.ext4 -q "$run/under.img" && image_mount "$run/under.img" "$under" &&
        truncate -s 64M "$run/vault.img" && mkfs.ext4 -q "$run/vault.img" && image_mount "$run/vault.img" "$vault" &&
        image_make ext4 "$under/data.img" && image_mount "$under/data.img" "$data" &&
        head -c 64K /dev/urandom >"$run/small.img"
}

# A gate is a file whose presence lets nobody through.
cat >"$hooks/50-hook" <<END
#!/bin/bash
echo "hook \$1" >>$calls
while [ -e $gates/\$1 ]; do sleep 0.05; done
END
cat >"$run/subscriber" <<END
#!/bin/bash
echo "subscriber \$1" >>$calls
while [ -e $gates/subscriber-\$1 ]; do sleep 0.05; done
END
chmod 755 "$hooks/50-hook" "$run/subscriber"

guest_starts() {
    start_guest one --memory no --freeze-roots "$data" --hook-dir "$hooks" --hook-timeout 3 --freeze-timeout 3 --notify-hold 3
}

phase_is() {
    [ "$(guest_value one .backup.phase)" = "$1" ]
}

works() {
    [ "$(host_value one '.backup.version + " " + (.backup.state | sub("done|failed"; "idle"))')" = "5.0 idle" ] &&
        phase_is idle && [ "$(guest_value one .backup.freezer_pid)" -gt 0 ]
}

called() {
    grep -qx "$1" "$calls"
}

# --- steps: how each is held up, how it is seen to be there, and how it goes on

hold_up() {
    case $1 in
    hook) : >"$gates/freeze" ;;
    subscriber) : >"$gates/subscriber-freeze" ;;
    freezing) dd if=/dev/urandom of="$data/dirty" bs=1M count=4 status=none && fsfreeze -f "$under" ;;
    frozen) fsfreeze -f "$vault" ;;
    back) : >"$gates/thaw" ;;
    esac
}

is_there() {
    case $1 in
    hook) called "hook freeze" ;;
    subscriber) called "subscriber freeze" ;;
    freezing) phase_is freezing ;;
    frozen) phase_is frozen ;;
    back) called "hook thaw" ;;
    esac
}

let_go() {
    rm -f "$gates"/*
    fsfreeze -u "$under" 2>/dev/null
    fsfreeze -u "$vault" 2>/dev/null
    return 0
}

# --- faults; what they have ended is started again by mend

kill_daemon() {
    disown "$one_pid" # of whose end the shell says nothing
    kill -KILL "$one_pid"
}

kill_freezer() {
    kill -KILL "$freezer_pid" 2>/dev/null
}

kill_both() {
    disown "$one_pid"
    kill -STOP "$one_pid" "$freezer_pid"
    kill -KILL "$one_pid" "$freezer_pid"
}

end_daemon() {
    disown "$one_pid"
    kill -TERM "$one_pid"
}

kill_host() {
    disown "$host_pid"
    kill -KILL "$host_pid"
}

take_channel() {
    host rescind one vss >/dev/null
}

pass_deadline() {
    sleep 3.5
}

gone() {
    ! kill -0 "$1" 2>/dev/null
}

mend() {
    case $1 in
    kill_daemon | kill_both | end_daemon)
        soon gone "$one_pid"
        guest_starts
        ;;
    kill_host)
        soon gone "$host_pid"
        start_host
        ;;
    take_channel) host offer one vss >/dev/null ;;
    esac
}

# --- what is true in the end

write_ends() {
    rm -f "$run/wrote"
    (dd if=/dev/zero of="$data/probe" bs=4k count=1 conv=fsync && : >"$run/wrote") >/dev/null 2>&1 &
    soon test -e "$run/wrote"
}

# once WHO: told freeze, and then thaw or abort, each once; or nothing at all
once() {
    case $(grep "^$1 " "$calls" | cut -d' ' -f2 | xargs) in
    "" | "freeze thaw" | "freeze abort") return 0 ;;
    esac
    return 1
}

back_once() {
    once hook && once subscriber
}

# A daemon that was killed leaves no receipt of what it was at; then there may be a copy only if the host
# had its answers before.
copy_is_true() {
    local before=$1 step=$2 copy=no consistent
    [ ! -e "$vault/copy/small.img" ] || copy=yes
    consistent=$(guest one receipt --json | jq -r "if .id > $before then .consistent else \"none\" end" 2>/dev/null)
    echo "copy: $copy, consistent: ${consistent:-none}"
    case $copy,${consistent:-none} in
    yes,true | no,false) ;;
    no,none) ;;
    no,true) [ "$3" = kill_host ] || [ "$step" = back ] ;;
    yes,none) [ "$step" = back ] ;;
    *) false ;;
    esac
}

backup() {
    host backup one --image "$run/small.img" --to "$vault/copy" --no-snapshot
}

# fault_at STEP FAULT
fault_at() {
    local step=$1 fault=$2 what="$1, $2" before
    soon works || bail_out "$what: the guest is not ready: $(tail -n 3 "$run/one.log")"
    before=$(guest one receipt --json 2>/dev/null | jq '.id // 0')
    freezer_pid=$(guest_value one .backup.freezer_pid)
    rm -rf "$vault/copy"
    mkdir "$vault/copy"
    : >"$calls"
    hold_up "$step"
    backup >"$run/backup.out" 2>&1 &
    backup_pid=$!
    soon is_there "$step" || diag "$what: the step is not reached: $(cat "$run/backup.out")"
    "$fault"
    let_go
    [ "$fault" != kill_both ] || mend "$fault" # nobody else is left who could thaw
    check "$what: a write ends" write_ends
    wait "$backup_pid"
    [ "$fault" = kill_both ] || mend "$fault"
    soon works
    check "$what: who was told is called back once" soon back_once
    diag "$(tr '\n' ',' <"$calls")"
    check "$what: a copy is what the receipt says" copy_is_true "${before:-0}" "$step" "$fault"
}

prepare >"$tap_dir/prepare.log" 2>&1 || skip_all "cannot make and mount images: $(tail -n 1 "$tap_dir/prepare.log")"
start_host
guest_starts
"$hvguestctl" --api "$run/one/api.sock" notify --name steps -- "$run/subscriber" >"$run/notify.out" 2>&1 &
on_exit stop $!
for step in hook subscriber freezing frozen back; do
    for fault in kill_daemon kill_freezer kill_both end_daemon kill_host take_channel pass_deadline; do
        fault_at "$step" "$fault"
    done
done
soon works
rm -rf "$vault/copy"
mkdir "$vault/copy"
check "after all that a backup works" backup
is "... which is consistent, and has all applications" "$(guest one receipt --json | jq -r .class)" application
no_reports
done_testing
