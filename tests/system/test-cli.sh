#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every program as somebody meets it who has only just built it: help, wrong arguments, wrong
# configuration, missing privileges, programs started in the wrong order or twice, and their ends.
# Whatever is wrong is said in one line that tells what to do, and the exit code is the documented
# one.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/lab.sh"
watchdog 120

# complains NAME STATUS PATTERN COMMAND...: ends with the status, and says one line that matches
complains() {
    local name=$1 wanted=$2 pattern=$3 status
    shift 3
    timeout 20 "$@" >"$run/complains.out" 2>"$run/complains.err"
    status=$?
    if [ "$status" = "$wanted" ] && [ ! -s "$run/complains.out" ] &&
        [ "$(wc -l <"$run/complains.err")" = 1 ] && grep -qE -- "$pattern" "$run/complains.err"; then
        ok "$name"
    else
        diag "$*" "status $status, output:" "$(cat "$run/complains.out" "$run/complains.err")"
        not_ok "$name"
    fi
}

# helps NAME COMMAND...: prints something on standard output, and nothing else
helps() {
    local name=$1
    shift
    if "$@" >"$run/helps.out" 2>"$run/helps.err" && [ -s "$run/helps.out" ] &&
        [ ! -s "$run/helps.err" ]; then
        ok "$name"
    else
        diag "$*" "$(cat "$run/helps.err")"
        not_ok "$name"
    fi
}

# says NAME LOG PATTERN: a log has such a line, soon
says() {
    check "$1" soon grep -qE -- "$3" "$run/$2.log"
}

# --- help and usage

for program in "$hvguestd" "$hvguestctl" "$hvhost"; do
    name=$(basename "$program")
    helps "$name --help" "$program" --help
    helps "$name --version" "$program" --version
    complains "$name: an unknown option" 2 "^$name: .*--bogus.*--help" "$program" --bogus
done
for verb in serve status memory backup rescind offer; do
    helps "hvhost $verb --help" "$hvhost" "$verb" --help
    complains "hvhost $verb: an unknown option" 2 "--bogus.*hvhost $verb --help" \
        "$hvhost" "$verb" --bogus
    complains "hvhost $verb: an option without its value" 2 "--run-dir needs a value" \
        "$hvhost" "$verb" --run-dir
done
complains "hvguestd: an argument" 2 "what is 'now'" "$hvguestd" now
complains "hvguestctl: an option without its value" 2 "--api needs a value" "$hvguestctl" --api
complains "hvguestctl: no verb" 2 "which verb" "$hvguestctl"
complains "hvguestctl: an unknown verb" 2 "no verb 'dance'" "$hvguestctl" dance
complains "hvguestctl: two verbs" 2 "not 'receipt' too" "$hvguestctl" status receipt
complains "hvhost: no verb" 2 "which verb" "$hvhost"
complains "hvhost: an unknown verb" 2 "no verb 'dance'" "$hvhost" dance
complains "hvhost memory: no guest" 2 "hvhost memory GUEST" "$hvhost" memory --assign 1G
complains "hvhost memory: no amount" 2 "hvhost memory GUEST" "$hvhost" memory one
complains "hvhost memory: an amount that is none" 2 "--assign 12Q: .*512M" \
    "$hvhost" memory one --assign 12Q
complains "hvhost memory: an option of another verb" 2 "--image is no option here" \
    "$hvhost" memory one --image x --assign 1G
complains "hvhost backup: no image" 2 "hvhost backup GUEST" "$hvhost" backup one --to /tmp
complains "hvhost backup: an image that is not there" 1 "nothing.img: No such file" \
    "$hvhost" backup one --image "$run/nothing.img" --to "$run"
complains "hvhost rescind: no service" 2 "hvhost rescind GUEST" "$hvhost" rescind one
for row in "startup 12Q" "startup 0" "minimum -1G" "maximum 99999999999G" "buffer 4" "buffer x" \
    "first-action -1" "spacing 3601" "smoothing 1.5" "log-level loud"; do
    read -r option value <<<"$row"
    complains "hvhost serve: --$option $value" 2 "--$option cannot be '$value'.*--help" \
        "$hvhost" serve --run-dir "$run/none" "--$option" "$value"
done
for row in "--minimum 2G --startup 1G" "--startup 2G --maximum 1G" "--minimum 2G --maximum 1G"; do
    read -ra options <<<"$row"
    complains "hvhost serve: $row" 2 "--minimum <= --startup <= --maximum" \
        "$hvhost" serve --run-dir "$run/none" "${options[@]}"
done
complains "hvhost serve: an argument" 2 "what is 'now'" "$hvhost" serve --run-dir "$run/none" now

# --- configuration

# config_file LINE...: one to try
config_file() {
    printf '%s\n' "$@" >"$run/test.conf"
}

# rejects NAME PATTERN LINE...: the file is refused at a line
rejects() {
    local name=$1 pattern=$2
    shift 2
    config_file "$@"
    complains "$name" 1 "test.conf:$pattern" "$hvguestd" --check-config --config "$run/test.conf"
}

config_file "[daemon]" "name = one" "[backup]" "freeze_roots = /srv/a:/srv/b" "  /srv/c" \
    "freeze_timeout = 5" "[memory]" "enabled = no"
check "a good file" "$hvguestd" --check-config --config "$run/test.conf"
"$hvguestd" --example-config | sed 's/^;//' | grep -v '= [A-Z"(]' >"$run/test.conf"
check "the example, with every default said" "$hvguestd" --check-config --config "$run/test.conf"
check "all settings are in it" [ "$("$hvguestd" --example-config | grep -c '^;')" = \
    "$("$hvguestd" --dump-config --lab x | grep -c ' =')" ]

# The dump is a configuration that says the same.
"$hvguestd" --dump-config --lab x --freeze-roots /srv/a:/srv/b --freeze-timeout 7 >"$run/test.conf"
"$hvguestd" --dump-config --config "$run/test.conf" >"$run/again"
check "a dump that is read says the same" \
    diff <(grep -v '^#' "$run/test.conf") <(grep -v '^#' "$run/again")
check "a dump names the command line" grep -q '^# command line$' "$run/test.conf"
check "a dump names the file and the line" grep -q "^# $run/test.conf:[0-9]" "$run/again"

# Files beside it come after it, in the order of their names, and before the command line.
config_file "[backup]" "freeze_timeout = 5" "receipts = 5" "hook_timeout = 5"
mkdir "$run/test.conf.d"
printf '[backup]\nreceipts = 6\nhook_timeout = 6\n' >"$run/test.conf.d/10-a.conf"
printf '[backup]\nhook_timeout = 7\n' >"$run/test.conf.d/20-b.conf"
printf 'rubbish\n' >"$run/test.conf.d/30-c.conf.dpkg-old"
is "drop-ins come in their order" "$("$hvguestd" --dump-config --config "$run/test.conf" --receipts 8 |
    grep -E '^(freeze_timeout|receipts|hook_timeout)' | xargs)" \
    "freeze_timeout = 5 hook_timeout = 7 receipts = 8"
printf '[backup]\nhook_timeout = never\n' >"$run/test.conf.d/15-bad.conf"
complains "a mistake in a drop-in" 1 "15-bad.conf:2: .*1 to 300" \
    "$hvguestd" --check-config --config "$run/test.conf"
rm -r "$run/test.conf.d"

rejects "an unknown setting" "2: there is no setting 'nmae' in .daemon.: did you mean 'name'" "[daemon]" "nmae = one"
rejects "a setting that is like none" "2: there is no setting 'xyzzy' .*--help" "[daemon]" "xyzzy = 1"
rejects "a setting in the wrong section" "2: there is no setting 'name' in .memory., but in .daemon." "[memory]" "name = one"
rejects "a line that is nothing" "3: neither" "[daemon]" "name = one" "garbage"
rejects "a value out of its range" "2: .*1 to 900" "[backup]" "freeze_timeout = 901"
rejects "a value that is no number" "2: .*1 to 900" "[backup]" "freeze_timeout = soon"
rejects "neither yes nor no" "2: .*" "[memory]" "enabled = perhaps"
rejects "a name that no host takes" "2: .*letters" "[daemon]" "name = a b"
rejects "a setting given twice" "3: .*twice" "[daemon]" "name = one" "name = two"
rejects "a relative root" "2: freeze_roots = srv: freeze only" "[backup]" "freeze_roots = srv"
rejects "a line that is too long" "2: .*too long" "[backup]" \
    "freeze_roots = /$(printf 'x%.0s' {1..300})"
complains "a file that is not there" 1 "nothing.conf cannot be read: No such file" \
    "$hvguestd" --check-config --config "$run/nothing.conf"
complains "a folder in place of a file" 1 "Is a directory" \
    "$hvguestd" --check-config --config "$run"
complains "a value on the command line" 2 "--freeze-timeout 0: .*1 to 900" \
    "$hvguestd" --freeze-timeout 0
complains "a name on the command line" 2 "--name a/b: .*letters" "$hvguestd" --name a/b

# --- places

if [ -e /sys/bus/vmbus/devices ]; then
    skip "hvguestd without a host to speak to" "this machine is a Hyper-V guest"
else
    complains "hvguestd without a host to speak to" 4 "not a Hyper-V guest: give --lab" "$hvguestd"
fi
complains "hvguestd: a run directory that cannot be made" 1 "cannot be made: .*--run-dir" \
    "$hvguestd" --lab "$run/lab" --run-dir "$run/no/such"
: >"$run/file"
complains "hvguestd: a file in place of the run directory" 1 "Not a directory.*--run-dir" \
    "$hvguestd" --lab "$run/lab" --run-dir "$run/file"
complains "hvhost: a run directory that cannot be made" 1 "cannot be made: .*--run-dir" \
    "$hvhost" serve --run-dir "$run/no/such"
complains "hvguestctl without a daemon" 1 "nobody listens at .*: is hvguestd running" \
    "$hvguestctl" status --api "$run/api.sock"
complains "hvhost status without a host" 1 "nobody listens at .*: is hvhost serve running" \
    "$hvhost" status --run-dir "$run/none"
config_file "[daemon]"
complains "a file in place of the API" 1 "test.conf" "$hvguestctl" status --api "$run/test.conf"

# In front of a command: gives it a full file system of its own at $run/full, mounted with $0.
full=(unshare -m --propagation private bash -c '
    mkdir -p "$1" && mount -t tmpfs -o "$0" full "$1" || exit 99
    dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null
    shift
    exec "$@"')

if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
    complains "hvguestd: a full run directory" 1 "No space left.*make room" \
        "${full[@]}" size=16k "$run/full" "$hvguestd" --lab "$run/lab" --run-dir "$run/full" --freezer "$freezer"
    complains "hvguestd: a run directory without inodes" 1 "No space left.*make room" \
        "${full[@]}" size=1m,nr_inodes=2 "$run/full" \
        "$hvguestd" --lab "$run/lab" --run-dir "$run/full"
    complains "hvhost: a full run directory" 1 "No space left.*make room" \
        "${full[@]}" size=16k,nr_inodes=2 "$run/full" "$hvhost" serve --run-dir "$run/full"
else
    skip "full run directories" "needs root and a mount namespace"
fi

# A full disk where the output goes: half an answer is no answer.
overflows() {
    local status
    "$@" >/dev/full 2>"$run/err"
    status=$?
    [ "$status" = 1 ] && [ "$(wc -l <"$run/err")" = 1 ] && grep -qE ": standard output cannot be written(: No space left on device)?$" "$run/err"
}
for call in "$hvguestd --help" "$hvguestd --dump-config" "$hvguestd --example-config" "$hvguestctl --help" \
    "$hvguestctl status --help" "$hvhost --help" "$hvhost simulate --hours 1 --fleet idle=1 --policy hvguest"; do
    check "${call##*/}: nowhere to write to" overflows $call
done

# --- the order of things

start_guest one --memory no
is "a guest before its host: status says so by its exit code" \
    "$(guest one status >/dev/null; echo $?)" 3
is "... also with --json" "$(guest one status --json >/dev/null; echo $?)" 3
is "... and why" "$(guest_value one .host.error)" "nobody listens there"
start_host --startup 600M --minimum 600M --first-action 0
check "it connects when the host comes" soon connected one
is "status is then 0" "$(guest one status >/dev/null; echo $?)" 0

complains "a second host in the same folder" 1 "another hvhost answers at .*--run-dir" \
    "$hvhost" serve --run-dir "$run/host"
complains "a second daemon in the same folder" 1 "another hvguestd .*--run-dir" \
    "$hvguestd" --lab "$run/host/lab.sock" --name two --run-dir "$run/one" --freezer "$freezer"
check "the first ones are not disturbed" connected one

"$hvguestd" --lab "$run/host/lab.sock" --name one --run-dir "$run/twin" --freezer "$freezer" \
    2>"$run/twin.log" &
twin_pid=$!
on_exit stop "$twin_pid"
says "a second guest of the same name is refused" twin "refuses this guest: .*connected already"
check "... and its status says why" soon eval \
    '[ "$(guest_value twin .host.error)" = "a guest of that name is connected already" ]'
ends "the first guest ends at Ctrl-C" "$one_pid"
is "... and leaves no socket behind" "$(find "$run/one" -type s)" ""
check "then the second one is taken" soon connected twin

start_guest one
check "a guest with memory" soon ready one
murder "$host_pid"
check "a host that is killed is missed" soon eval '! connected one'
start_host --startup 600M --minimum 600M --first-action 0
check "a host that comes back is found" soon ready one
ends "the twin ends at Ctrl-C" "$twin_pid"

# --- answers for programs

# has_schema NAME COMMAND...: one JSON object that names the schema
has_schema() {
    is "$1 --json" "$("${@:2}" --json | jq -s 'length * 100 + .[0].schema')" 101
}

soon guest one status # exit code 0: all of its services are back, of which the host shows only some
helps "hvguestctl status, for people" guest one status
helps "hvguestctl receipt, for people" guest one receipt
helps "hvhost status, for people" host status
has_schema "hvguestctl status" guest one status
has_schema "hvguestctl receipt" guest one receipt
has_schema "hvhost status" host status
has_schema "hvhost status GUEST" host status one
has_schema "hvhost memory" host memory one --assign 600M
has_schema "hvhost memory auto" host memory one --assign auto
has_schema "hvhost rescind" host rescind one heartbeat
has_schema "hvhost offer" host offer one heartbeat
: >"$run/image"
mkdir "$run/copies"
has_schema "hvhost backup" host backup one --image "$run/image" --to "$run/copies" \
    2>>"$run/backup.err"
is "hvhost serve --json tells when it is ready" \
    "$(timeout -s INT 1 "$hvhost" serve --json --run-dir "$run/told" 2>"$run/told.log" |
        jq -r .event)" ready

# complaint NAME PATTERN COMMAND...: an answer with status 1
complaint() {
    complains "$1" 1 "${@:2}"
}

complaint "a guest that is not there" "no guest 'none' .*hvhost status lists" \
    "$hvhost" status none --run-dir "$run/host"
for verb in "memory none --assign 1G" "rescind none vss" "offer none vss" \
    "backup none --image $run/image --to $run/copies"; do
    read -ra words <<<"$verb"
    complaint "${words[0]} of a guest that is not there" "no guest 'none' " \
        "$hvhost" "${words[@]}" --run-dir "$run/host"
done
complaint "a guest with a strange name" "no guest 'a b' is" "$hvhost" status 'a b' --run-dir "$run/host"
complaint "a name that is no name" "'a/b' is no guest's name" "$hvhost" status 'a/b'
complaint "a channel that is offered already" "not in a state" \
    "$hvhost" offer one vss --run-dir "$run/host"
complains "a service that does not exist" 2 "heartbeat, dynmem, vss, shutdown" \
    "$hvhost" rescind one telepathy --run-dir "$run/host"
host backup one --image "$run/image" --to "$run/copies" --json >"$run/backup.out" 2>"$run/backup.err"
is "a backup of nothing fails" "$?" 1
is "... says so in one line" "$(grep -c "the backup failed: " "$run/backup.err")" 1
is "... and to programs" "$(jq -r .state "$run/backup.out")" failed
is "the guest's receipt says why" "$(guest one receipt --json | jq -r .result)" \
    "nothing was frozen: no mounted file system may be frozen: freeze_roots (--freeze-roots) allows none"
is "... by its exit code, too" "$(guest one receipt >/dev/null; echo $?)" 3

# --- privileges

as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)

ordinary_user() {
    install -d -o 65534 "$run/plain"
    "${as_nobody[@]}" "$hvguestd" --lab "$run/host/lab.sock" --name plain --run-dir "$run/plain" \
        --freezer "$freezer" --freeze-roots "$run" 2>"$run/plain.log" &
    plain_pid=$!
    on_exit stop "$plain_pid"
    says "an ordinary user learns what is missing" plain "missing CAP_SYS_ADMIN: .*still work"
    says "... and what that means for backups" plain "no backups: freezing needs CAP_SYS_ADMIN"
    says "... and that the host's socket is not for everybody" plain "Permission denied"
    complains "the API is not for everybody" 1 "no permission for .*become root" \
        "${as_nobody[@]}" "$hvguestctl" status --api "$run/one/api.sock"
    chmod 666 "$run/host/lab.sock"
    check "with permission it connects, and answers heartbeats and reports" soon ready plain
    check "reports come" soon eval '[ "$(host_value plain .memory.status_reports)" -gt 1 ]'
    is "status names both capabilities" \
        "$(guest_value plain '.missing_capabilities | map(.[0:7]) | join(" ")')" "CAP_SYS CAP_IPC"
    is "a backup is refused" "$(host backup plain --image "$run/image" --to "$run/copies" \
        >"$run/refused.out" 2>&1; echo $?)" 1
    check "... with a reason" grep -q "cannot take part" "$run/refused.out"
    check "memory is asked for" host memory plain --assign 600M
    ends "Ctrl-C" "$plain_pid"
    chmod 600 "$run/host/lab.sock"
}

if [ "$(id -u)" != 0 ]; then
    skip "as an ordinary user" "needs root to become one"
elif ! "${as_nobody[@]}" test -x "$hvguestd" 2>/dev/null; then
    skip "as an ordinary user" "needs setpriv, and a build that everybody can run"
else
    ordinary_user
fi

# --- a run directory that is not in memory

if [ "$(stat -f -c %T "$tap_dir")" = tmpfs ]; then
    skip "a run directory on a disk" "the temporary folder is in memory"
elif [ "$(id -u)" != 0 ]; then
    skip "a run directory on a disk" "needs root"
else
    "$hvguestd" --lab "$run/host/lab.sock" --name disk --run-dir "$tap_dir/disk" \
        --freezer "$freezer" 2>"$run/disk.log" &
    disk_pid=$!
    on_exit stop "$disk_pid"
    says "a run directory on a disk: no backups" disk "no backups: .*tmpfs.*--run-dir"
    check "... but all the rest" soon ready disk
    is "... and a backup is refused" "$(host backup disk --image "$run/image" --to "$run/copies" \
        >/dev/null 2>&1; echo $?)" 1
    ends "Ctrl-C" "$disk_pid"
fi

"$hvguestd" --lab "$run/host/lab.sock" --name helpless --run-dir "$run/helpless" \
    --freezer "$run/no-freezer" 2>"$run/helpless.log" &
helpless_pid=$!
on_exit stop "$helpless_pid"
if [ "$(id -u)" = 0 ]; then
    says "no freezer: no backups" helpless "no backups: the freezer does not start"
fi
check "... but all the rest" soon ready helpless
ends "... until SIGTERM" "$helpless_pid" TERM

# --- the end

ends "the guest ends at Ctrl-C" "$one_pid"
ends "the host ends at Ctrl-C" "$host_pid"
is "no socket is left behind" "$(find "$run" -type s)" ""
no_reports
done_testing
