#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Hooks around a freeze, by the real programs: in which order they are called and with what, what
# they may do wrong, and that each that ran freeze is called back once, whatever ends.
#
# The hooks write what they are called with to a log on a tmpfs. A file system in an image is frozen
# for real, so a hook that runs while it is frozen would show. test-hooks-runner.sh does the same with
# hooks that hvguestd does not run itself.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup setsid
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 120
. "$(dirname "$0")/lab.sh"

hooks=$run/hooks
calls=$run/calls
data=$tap_dir/data
mkdir "$hooks" "$run/copies"
image_make ext4 "$tap_dir/data.img" && image_mount "$tap_dir/data.img" "$data" ||
    skip_all "cannot make and mount an image"

# hook NAME [LINE...]: a hook that logs its call, then runs the lines
hook() {
    local name=$1
    shift
    {
        printf '%s\n' '#!/bin/bash' "echo ${name%%.*} \$1 >>$calls" "$@"
    } >"$hooks/$name"
    chmod 755 "$hooks/$name"
}

# begin NAME: no hooks, no calls
begin() {
    rm -rf "${hooks:?}"/* "$run/copies/"*
    : >"$calls"
}

calls() {
    tr '\n' ',' <"$calls"
}

receipt() {
    guest one receipt --json | jq -r "$1"
}

# ask_backup NAME: until the host has its answer
ask_backup() {
    mkdir -p "$run/copies/$1"
    host backup one --image "$tap_dir/small.img" --to "$run/copies/$1" >"$run/backup.out" 2>&1
}

# backup NAME: the same, and then until the hooks are back
backup() {
    ask_backup "$1"
    local status=$?
    soon idle
    return $status
}

idle() {
    [ "$(guest_value one .backup.phase)" = idle ]
}

frozen_now() {
    [ "$(guest_value one .backup.phase)" = frozen ]
}

one_starts() {
    start_guest one --memory no --freeze-roots "$data" --hook-dir "$hooks" --hook-timeout 20 \
        --freeze-timeout 30 ${runner:+--hook-runner "$runner"} "$@"
    soon ready_for_backup || bail_out "the guest does not connect"
}

ready_for_backup() {
    [ "$(host_value one .backup.version)" = 5.0 ] && idle
}

# start_runner: for each connection to it one
start_runner() {
    systemd-socket-activate --seqpacket --accept --inetd --listen="$runner" "$hook_program" \
        >>"$run/runner.log" 2>&1 &
    runner_pid=$!
    on_exit stop "$runner_pid"
    soon test -S "$runner" || bail_out "nobody runs hooks: $(cat "$run/runner.log")"
}

# is_gone FILE: the process whose number is there
is_gone() {
    ! kill -0 "$(cat "$1")"
}

# has_number FILE: a process has written its number there
has_number() {
    [ -s "$1" ]
}

runner=
if [ "${hooks_by:-}" = runner ]; then
    hook_program=$build/fsfreeze/hvguest-hook
    runner=$run/hook.sock
    start_runner
fi
dd if=/dev/zero of="$tap_dir/small.img" bs=64k count=1 status=none
start_host
one_starts

# Order and arguments.
begin
hook 10-first
hook 20-second.sh
hook 30-third
hook 30-third~
hook 40-old.dpkg-old
hook 50-old.rpmsave
hook 60-plain 'exit 1'
chmod 644 "$hooks/60-plain"
check "order: a backup with hooks" backup order
is "order: by name, and back in reverse; leftovers are ignored" "$(calls)" \
    "10-first freeze,20-second freeze,30-third freeze,30-third thaw,20-second thaw,10-first thaw,"
is "order: the receipt says so" "$(receipt '[.hooks[] | .name + ":" + ([.runs[] | .event + "=" + .outcome] | join("+"))] | join(" ")')" \
    "10-first:freeze=ok+thaw=ok 20-second.sh:freeze=ok+thaw=ok 30-third:freeze=ok+thaw=ok"
is "order: and that applications were held" "$(receipt '.class + " " + .requester')" "application host"
check "order: the receipt for people names them" grep -q "10-first .*thaw" <(guest one receipt)

# What a hook gets, and what it does not get.
begin
hook 10-look "echo \"\$HVGUEST_EVENT \$HVGUEST_HOOK \$HVGUEST_FREEZE_TIMEOUT \$(pwd) \$(cat)\"" \
    "ls -l /proc/\$\$/fd | grep -c socket" "ls -x -w 0 /proc/\$\$/fd" \
    "[ \$1 = freeze ] || [ \"\$(cat /proc/mounts | wc -l)\" -gt 0 ]"
check "look: a backup" backup look
is "look: its event, its name, the time; nothing to read, no socket, no descriptor but bash's own 255" \
    "$(receipt '.hooks[0].runs[0].output' | tr '\n' '|')" "freeze 10-look 30 / |0|0  1  2  255||"
is "look: and on the way back" "$(receipt '.hooks[0].runs[1].output' | head -n 1)" "thaw 10-look 30 / "

# Failures.
begin
hook 10-good
hook 20-bad '[ "$1" != freeze ] || { echo no space in the log; exit 3; }'
hook 30-never
refuse "bad: a hook that fails ends the backup" 1 backup bad
is "bad: those that ran are called back, the failed one too" "$(calls)" \
    "10-good freeze,20-bad freeze,20-bad abort,10-good abort,"
is "bad: the receipt names hook and status" "$(receipt '.class + ": " + .result')" \
    "failed: nothing was frozen: the hook 20-bad failed with status 3"
is "bad: and has its words" "$(receipt '.hooks[1].runs[0].output')" "no space in the log"
check "bad: nothing is frozen" timeout 10 touch "$data/free"

begin
hook 10-good
hook 20-bad.optional.sh 'exit 3'
check "optional: its failure does not end the backup" backup optional
is "optional: it is called back" "$(calls)" "10-good freeze,20-bad freeze,20-bad thaw,10-good thaw,"
is "optional: the class says that not all applications held" "$(receipt .class)" file-system

begin
hook 10-good
hook 20-back '[ "$1" = freeze ] || exit 4'
check "back: a failure on the way back" backup back
is "back: ends nothing" "$(calls)" "10-good freeze,20-back freeze,20-back thaw,10-good thaw,"
is "back: and is in the receipt" "$(receipt '.hooks[1].runs[1] | .outcome + " \(.status)"')" "failed 4"

# Output.
begin
hook 10-flood '[ "$1" != freeze ] || { yes | head -c 20000000; printf "\377\033"; }'
check "flood: a hook that floods its output" backup flood
is "flood: of which the beginning is kept" "$(receipt '.hooks[0].runs[0].output | length')" 4096
is "flood: and the rest counted" "$(receipt '.hooks[0].runs[0].output_bytes_dropped')" 19995906

# What it leaves behind.
begin
hook 10-away "[ \$1 = freeze ] || { kill \$(cat $run/away); exit 0; }" \
    "setsid sleep 300 & echo \$! >$run/away" "echo done"
check "away: a hook that leaves a process behind, with its output" backup away
is "away: is over when it has ended" "$(receipt '.hooks[0].runs[0] | .outcome + " " + .output')" "ok done"
is "away: what it left goes on until it is called back" "$(receipt '.hooks[0].runs[1].outcome')" ok

# Who may change it.
begin
hook 10-good
hook 20-open
chmod 775 "$hooks/20-open"
refuse "refused: the plan tells before" 1 guest one plan
is "refused: and names it" "$(guest one plan --json | jq -r '[.hooks[] | .name + (if .refused then "!" else "" end)] | join(" ")')" \
    "10-good 20-open!"
refuse "refused: a hook that others can change" 1 backup refused
is "refused: is never run" "$(calls)" "10-good freeze,10-good abort,"
check "refused: the receipt says why" \
    grep -q "20-open could not be run: .*can be changed by others" <(receipt .result)
hook 20-open
chown 65534 "$hooks/20-open"
refuse "refused: nor one of somebody else" 1 backup refused-2
check "refused: and why" grep -q "does not belong to root" <(receipt .result)
rm "$hooks/20-open"
mkdir -m 777 "$run/public"
cp "$hooks/10-good" "$run/public/20-link"
ln -s "$run/public/20-link" "$hooks/20-link"
refuse "refused: nor one in a folder that others can change, behind a link" 1 backup refused-3
check "refused: which is named" grep -q "$run/public can be changed" <(receipt .result)

# Nothing allowed: no hook is called in vain.
begin
hook 10-good
stop "$one_pid"
one_starts --freeze-roots "$run/nothing"
refuse "in vain: a backup that cannot work" 1 backup vain
is "in vain: calls no hook" "$(calls)" ""
stop "$one_pid"

# Time. A good hook must not be late on a busy machine, so there is none here.
one_starts --hook-timeout 1
begin
hook 20-hang 'trap "" TERM' '[ "$1" != freeze ] || while :; do sleep 100; done'
refuse "hang: a hook that hangs and ignores SIGTERM" 1 backup hang
is "hang: is called back like any other" "$(calls)" \
    "20-hang freeze,20-hang abort,"
is "hang: the receipt" "$(receipt '.result + ", " + .hooks[0].runs[0].outcome')" \
    "nothing was frozen: the hook 20-hang took too long, timed-out"
check "hang: not killed before its time" [ "$(receipt '.hooks[0].runs[0].duration_us')" -ge 1000000 ]
stop "$one_pid"

# A crash: kill -9 while a hook runs, and while everything is frozen. The next daemon calls back.
one_starts
begin
hook 10-good
hook 20-slow "[ \$1 != freeze ] || { echo \$\$ >$run/slow; exec sleep 300; }"
ask_backup crash-1 &
soon has_number "$run/slow"
murder "$one_pid"
wait $!
one_starts
check "crash in a hook: the next start calls back" soon grep -q "10-good abort" "$calls"
is "crash in a hook: in reverse, each once, also the one that ran" "$(calls)" \
    "10-good freeze,20-slow freeze,20-slow abort,10-good abort,"
check "crash in a hook: what ran still is ended" soon is_gone "$run/slow"
check "crash in a hook: the record is gone" [ ! -e "$run/one/hooks.json" ]

begin
hook 10-good
hook 20-good
image_make ext4 "$tap_dir/vault.img" && image_mount "$tap_dir/vault.img" "$tap_dir/vault"
fsfreeze --freeze "$tap_dir/vault"
host backup one --image "$tap_dir/small.img" --to "$tap_dir/vault" >"$run/backup.out" 2>&1 &
backup_pid=$!
check "crash while frozen: the guest is frozen" soon frozen_now
is "crash while frozen: no hook is called meanwhile" "$(calls)" "10-good freeze,20-good freeze,"
murder "$one_pid"
fsfreeze --unfreeze "$tap_dir/vault"
wait "$backup_pid"
one_starts
check "crash while frozen: the next start calls back" soon grep -q "10-good abort" "$calls"
is "crash while frozen: each once" "$(calls)" \
    "10-good freeze,20-good freeze,20-good abort,10-good abort,"
: >"$calls"
stop "$one_pid"
one_starts
is "crash while frozen: and never again" "$(calls)" ""

begin
hook 10-good
hook 20-slow "[ \$1 != thaw ] || { sleep 3; echo done >$run/slow-done; }"
hook 30-good
ask_backup crash-3
check "crash on the way back: a hook is being called back" soon grep -q "20-slow thaw" "$calls"
check "crash on the way back: the record has what is left" \
    soon eval "[ \"\$(jq -r '[.hooks[].name] | join(\" \")' \"$run/one/hooks.json\")\" = 10-good ]"
murder "$one_pid"
one_starts
check "crash on the way back: the next start goes on" soon grep -q "10-good abort" "$calls"
check "crash on the way back: the one that was being called comes to its end" soon test -e "$run/slow-done"
is "crash on the way back: none is called back twice" "$(calls)" \
    "10-good freeze,20-slow freeze,30-good freeze,30-good thaw,20-slow thaw,10-good abort,"
rm "$hooks"/*
stop "$one_pid"
one_starts

# Kills at any time. A kill in the very moment in which a hook is being called back may lead to a
# second call, and never to none.
begin
for name in 10-a 20-b 30-c; do hook "$name" 'sleep 0.05'; done
RANDOM=20261129
for round in {1..4}; do
    ask_backup "kill-$round" &
    backup_pid=$!
    sleep "0.$(printf %03d $((RANDOM % 300 + 20)))"
    murder "$one_pid"
    wait "$backup_pid"
    one_starts
    echo "round $round" >>"$calls"
done
diag "$(calls)"
is "kills at any time: no hook that ran freeze is left out" "$(awk '
    $2 == "freeze" { open[$1]++ }
    $2 == "thaw" || $2 == "abort" { open[$1] = 0 }
    $1 == "round" { for (name in open) if (open[name]) print $2, name }' "$calls")" ""

# The host goes away while a hook runs; the daemon is told to end while one does.
begin
hook 10-good
hook 20-slow '[ "$1" != freeze ] || sleep 300'
ask_backup gone &
backup_pid=$!
soon grep -q "20-slow freeze" "$calls"
host rescind one vss >/dev/null
check "host gone: those that ran are called back" soon grep -q "10-good abort" "$calls"
is "host gone: each once" "$(calls)" "10-good freeze,20-slow freeze,20-slow abort,10-good abort,"
wait "$backup_pid"
host offer one vss >/dev/null
soon ready_for_backup
: >"$calls"
ask_backup ended &
backup_pid=$!
soon grep -q "20-slow freeze" "$calls"
ends "ended: SIGTERM in the middle of a hook" "$one_pid" TERM
is "ended: those that ran are called back before" "$(calls)" \
    "10-good freeze,20-slow freeze,20-slow abort,10-good abort,"
wait "$backup_pid"

# A new freeze that comes while hooks are called back waits for them.
one_starts
begin
hook 10-slow '[ "$1" != thaw ] || sleep 0.5'
host backup one --image "$tap_dir/small.img" --to "$run/copies" >/dev/null 2>&1
mkdir "$run/copies/next"
check "again: a backup right after" backup next
is "again: the hooks of the first were back before" "$(calls)" \
    "10-slow freeze,10-slow thaw,10-slow freeze,10-slow thaw,"
stop "$one_pid"

# What can go wrong with a runner.
[ -z "$runner" ] || runner_faults

# The layouts of other programs, in an /etc and a /usr/sbin of this test's own.
layouts_possible() {
    mkdir "$run"/{upper,work}-{etc,sbin} &&
        mount -t overlay -o "lowerdir=/etc,upperdir=$run/upper-etc,workdir=$run/work-etc" hvguest-test /etc &&
        mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$run/upper-sbin,workdir=$run/work-sbin" \
            hvguest-test /usr/sbin
}

# script PATH: a script of another program that logs its call
script() {
    mkdir -p "${1%/*}"
    printf '#!/bin/sh\necho %s "$@" >>%s\n' "${1##*/}" "$calls" >"$1"
    chmod 700 "$1"
}

if layouts_possible 2>/dev/null; then
    begin
    hook 10-own
    script /etc/qemu/fsfreeze-hook.d/5-q
    script /etc/vmware-tools/backupScripts.d/5-v
    script /usr/sbin/pre-freeze-script
    script /usr/sbin/post-thaw-script
    script /usr/sbin/azure-pre
    script /usr/sbin/azure-post
    mkdir -p /etc/azure
    cat >/etc/azure/VMSnapshotScriptPluginConfig.json <<END
{"pluginName": "ScriptRunner", "timeoutInSeconds": 5, "continueBackupOnFailure": true,
 "preScriptLocation": "/usr/sbin/azure-pre", "preScriptParams": ["a", "b c"],
 "postScriptLocation": "/usr/sbin/azure-post", "postScriptParams": []}
END
    chmod 600 /etc/azure/VMSnapshotScriptPluginConfig.json
    one_starts
    check "layouts: a backup that was not told of them" backup layouts-1
    is "layouts: does not call them" "$(calls)" "10-own freeze,10-own thaw,"
    stop "$one_pid"
    one_starts --hook-layouts qemu,vmware,azure
    : >"$calls"
    check "layouts: a backup with all of them" backup layouts-2
    is "layouts: each is called as its own program does" "$(calls)" \
        "10-own freeze,5-q freeze,pre-freeze-script,5-v freeze,azure-pre a b c,azure-post,5-v thaw,post-thaw-script,5-q thaw,10-own thaw,"
    script /etc/qemu/fsfreeze-hook
    echo '[ $1 = thaw ] || exit 1' >>/etc/qemu/fsfreeze-hook
    : >"$calls"
    refuse "layouts: a failure ends the backup" 1 backup layouts-3
    is "layouts: and what has no word for abort gets thaw" "$(calls)" \
        "10-own freeze,fsfreeze-hook freeze,fsfreeze-hook thaw,10-own abort,"
    stop "$one_pid"
    umount /usr/sbin /etc
else
    skip "layouts" "no overlay file system"
fi

ends "the host ends" "$host_pid"
no_reports
done_testing
