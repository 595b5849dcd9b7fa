#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvguestd as a service, without a service manager of its own: what it tells one, what it has the journal
# keep, which rights it and its processes have given up, and what systemd and AppArmor think of the files
# that are shipped. The journal's socket and the manager's are stand-ins in a /run of this test's own.
# tests/vm/unit.sh has the real ones.

. "$(dirname "$0")/tap.sh"
need_root
need_programs jq socat
in_private_mounts "$@"
watchdog 120
. "$(dirname "$0")/lab.sh"

mount -t tmpfs none /run && mkdir -p /run/systemd/journal || skip_all "needs a /run of its own"
guard_mount /run

# listen NAME SOCKET: keeps the datagrams that come, apart from each other, in $run/NAME
listen() {
    socat -u "UNIX-RECV:$2,mode=666" STDOUT >"$run/$1" 2>/dev/null &
    on_exit stop "$!"
    soon test -S "$2" || bail_out "$2 cannot be listened at"
}

# n_of TEXT: how often the manager was told
n_of() {
    grep -o "$1" "$run/manager" | wc -l
}

# told_more TEXT N: more often than N times
told_more() {
    [ "$(n_of "$1")" -gt "$2" ]
}

# event NAME: its fields, in the order of the alphabet
event() {
    tr -d '\0' <"$run/journal" | awk -v name="HVGUEST_EVENT=$1" '
        /^MESSAGE=/ { if (found) exit; text = "" }
        { text = text $0 "\n" }
        $0 == name { found = 1 }
        END { if (found) printf "%s", text }'
}

has_event() {
    [ -n "$(event "$1")" ]
}

# rights PID NAME...: of a process, as /proc has them
rights() {
    local file=/proc/$1/status name
    shift
    for name; do sed -n "s/^$name:[[:space:]]*//p" "$file"; done | xargs
}

has_capability() {
    [ $((0x$1 >> $2 & 1)) = 1 ]
}

listen manager /run/manager.sock
listen journal /run/systemd/journal/socket

# --- what the manager is told

start_host
: >"$run/stream"
NOTIFY_SOCKET=/run/manager.sock WATCHDOG_USEC=1000000 JOURNAL_STREAM=$(stat -c %d:%i "$run/stream") \
    "$hvguestd" --lab "$run/host/lab.sock" --name one --run-dir "$run/one" --freezer "$freezer" \
    --keeper "$keeper" --stall-limit 0 --hook-dir "$run/hooks" 2>"$run/stream" &
one_pid=$!
on_exit stop "$one_pid"
soon test -S "$run/one/api.sock" || bail_out "hvguestd does not start: $(cat "$run/stream")"
check "the manager is told that it is ready" soon told_more READY=1 0
check "... and, while the event loop turns, that it does" soon told_more WATCHDOG=1 3
kill -STOP "$one_pid"
sleep 0.6
seen=$(n_of WATCHDOG=1)
sleep 1.5
is "... and not, when it stands still" "$(n_of WATCHDOG=1)" "$seen"
kill -CONT "$one_pid"
check "... and again, when it goes on" soon told_more WATCHDOG=1 "$seen"

# --- what the journal has

check "it connects" soon connected one
check "the journal is told that it is ready" soon has_event ready
is "... with an id and a priority" "$(event ready | sed -n 's/^MESSAGE_ID=//p; s/^PRIORITY=//p' | xargs)" \
    "5 $("$hvguestd" --manual-events | awk '$1 == "*ready*" { print $2 }')"
is "... and the program's name" "$(event ready | sed -n 's/^SYSLOG_IDENTIFIER=//p')" hvguestd
is "an event has what it is about" "$(event host-found | sed -n 's/^HVGUEST_SUBJECT=//p')" "$run/host/lab.sock"
is "what is no event is a line" "$(grep -c '^<[0-9]>' "$run/stream")" "$(wc -l <"$run/stream")"
is "... and what is one is not, besides" "$(grep -c "ready as" "$run/stream")" 0

# --- which rights there are

mine=$(rights "$one_pid" CapPrm)
diag "hvguestd has $mine of $(rights "$one_pid" CapBnd)"
check "hvguestd has given up to become another user" eval '! has_capability "$mine" 7'
check "... and to load modules, and to trace" eval '! has_capability "$mine" 16 && ! has_capability "$mine" 38'
check "it can freeze, and set the clock" eval 'has_capability "$mine" 21 && has_capability "$mine" 25'
freezer_pid=$(guest_value one .backup.freezer_pid)
keeper_pid=$(od -An -tu4 -j48 -N4 "$run/one/keeper.record" | tr -d ' ')
for process in "freezer $freezer_pid" "keeper $keeper_pid"; do
    set -- $process
    is "the $1 has two capabilities, and can get no others" "$(rights "$2" CapInh CapPrm CapEff CapBnd CapAmb)" \
        "0000000000000000 0000000000204000 0000000000204000 0000000000204000 0000000000000000"
    if grep -q 'libasan\|libtsan' "/proc/$2/maps"; then
        skip "... and a filter of its system calls" "a sanitizer makes calls of its own"
    else
        is "... and a filter of its system calls" "$(rights "$2" NoNewPrivs Seccomp)" "1 2"
    fi
done

ends "SIGTERM ends it" "$one_pid" TERM
check "the manager is told that it ends" told_more STOPPING=1 0

# --- without any of them

listen nothing /run/other.sock
(unset NOTIFY_SOCKET WATCHDOG_USEC && start_guest two && soon connected two && stop "$two_pid")
is "a manager that is not named is not told" "$(wc -c <"$run/nothing")" 0
rm /run/systemd/journal/socket
: >"$run/stream"
JOURNAL_STREAM=$(stat -c %d:%i "$run/stream") "$hvguestd" --lab /nonexistent --run-dir "$run/three" \
    --freezer "$freezer" --keeper "$keeper" 2>"$run/stream" &
three_pid=$!
on_exit stop "$three_pid"
check "a journal without that socket gets lines" soon grep -q "^<5>ready as" "$run/stream"
ends "it ends" "$three_pid" TERM

# --- what is shipped

share=$srcdir/packaging
if command -v journalctl >/dev/null; then
    mkdir -p "$tap_dir/root/usr/lib/systemd/catalog" "$tap_dir/root/var/lib/systemd/catalog"
    "$hvguestd" --catalog >"$tap_dir/root/usr/lib/systemd/catalog/hvguest.catalog"
    check "the journal's catalog can be made of ours" journalctl --root="$tap_dir/root" --update-catalog
    is "... and has each event once" \
        "$(journalctl --root="$tap_dir/root" --list-catalog | awk '{ print $1 }' | LC_ALL=C sort)" \
        "$("$hvguestd" --manual-events | awk 'NF == 2 && /^\*/ { print $2 }' | LC_ALL=C sort)"
else
    skip "the journal's catalog can be made of ours" "needs journalctl"
fi
if systemd-analyze security --help 2>/dev/null | grep -q -- --offline; then
    mkdir "$tap_dir/unit" && sed "s|@sbindir@|/bin|; s|/bin/hvguestd|/bin/true|" "$share/hvguestd.service.in" \
        >"$tap_dir/unit/hvguestd.service" &&
        sed "s|@libexecdir@/hvguest-hook|/bin/true|" "$share/hvguest-hook@.service.in" \
            >"$tap_dir/unit/hvguest-hook@.service" &&
        cp "$share"/hvguest-{module@,netplan}.service "$share/hvguest-hook.socket" "$tap_dir/unit/"
    check "systemd knows every word of the units" eval '! systemd-analyze verify --man=no \
        "$tap_dir"/unit/{hvguestd,hvguest-hook@x,hvguest-module@x,hvguest-netplan}.service \
        "$tap_dir/unit/hvguest-hook.socket" 2>&1 | grep -v "is not executable" | grep .'
    check "systemd thinks no worse of the unit than 4.8" systemd-analyze security --no-pager \
        --offline=yes --threshold=48 "$tap_dir/unit/hvguestd.service"
else
    skip "systemd thinks no worse of the unit than 4.8" "needs systemd-analyze of systemd 250"
fi

profile=$builddir/packaging/apparmor/hvguestd
if command -v apparmor_parser >/dev/null && [ -e /etc/apparmor.d/tunables/global ]; then
    check "AppArmor understands the profiles" apparmor_parser --skip-kernel-load --skip-cache "$profile"
    sed 's/^  capability sys_admin,/  capability sys_nonsense,/' "$profile" >"$tap_dir/wrong"
    check "... and says when it does not" eval \
        '! apparmor_parser --skip-kernel-load --skip-cache "$tap_dir/wrong"'
    missing=$(sed -n 's/^.*CAP_\([A-Z_]*\),.*/\L\1/p' "$srcdir/daemon/main.c" | while read -r name; do
        sed '/^}/q' "$profile" | grep -q "^  capability $name," || echo "$name"
    done)
    is "... which allow what hvguestd keeps" "$missing" ""
else
    skip "AppArmor understands the profiles" "needs apparmor_parser"
fi

no_reports
done_testing
