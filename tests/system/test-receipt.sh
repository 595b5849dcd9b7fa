#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Receipts that are kept, and freezing by hand: hvguestctl freeze, thaw, receipt, receipts.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 120
. "$(dirname "$0")/lab.sh"

data=$tap_dir/data
state=$run/state
mkdir "$state" "$run/hooks"
image_make ext4 "$tap_dir/data.img" && image_mount "$tap_dir/data.img" "$data" ||
    skip_all "cannot make and mount an image"

one_starts() {
    start_guest one --memory no --freeze-roots "$data" --state-dir "$state" --receipts 3 \
        --hook-dir "$run/hooks" --freeze-timeout 60 "$@"
}

ready_for_backup() {
    [ "$(host_value one .backup.version)" = 5.0 ]
}

# receipt FILTER [N]
receipt() {
    guest one receipt ${2:+"$2"} --json | jq -r "$1"
}

# writes_blocked: starts a write that a frozen file system holds up; writes_end: it ends
begin_write() {
    setsid bash -c 'echo x >"$1/blocked"; echo y >"$2"' write "$data" "$run/written" &
}

write_ended() {
    [ -e "$run/written" ]
}

files() {
    (cd "$state/receipts" && ls -A | tr '\n' ' ')
}

start_host
one_starts
check "no receipt yet" grep -q "No backup has been made" <(guest one receipt)
is "and none in the list" "$(guest one receipts --json | jq '.receipts | length')" 0

check "freeze: hvguestctl freeze" guest one freeze
begin_write
sleep 0.3
check "freeze: writers are held" test ! -e "$run/written"
is "freeze: the status says so" "$(guest_value one .backup.phase)" frozen
refuse "freeze: not twice" 1 guest one freeze
check "freeze: a host's backup is refused meanwhile" soon ready_for_backup
dd if=/dev/zero of="$tap_dir/small.img" bs=64k count=1 status=none
mkdir "$run/copies"
refuse "freeze: with an error" 1 host backup one --image "$tap_dir/small.img" --to "$run/copies"
check "freeze: and that did not end it" test ! -e "$run/written"
check "thaw: hvguestctl thaw" guest one thaw
check "thaw: the write ends" soon write_ended
is "thaw: the receipt" "$(receipt '.requester + " " + .class + ": " + .result')" \
    "hvguestctl file-system: thawed as hvguestctl asked"
check "thaw: times" test "$(receipt '.window_us >= .frozen_us and .frozen_us > 100000')" = true
is "thaw: versions" "$(receipt '.versions.kernel')" "$(uname -r)"
is "thaw: the receipt in short" "$(receipt '.keys.HvguestBackupClass')" file-system
refuse "thaw: not twice" 1 guest one thaw

printf '#!/bin/sh\nexit 0\n' >"$run/hooks/10-app"
chmod 755 "$run/hooks/10-app"
check "deadline: a short one" guest one freeze --deadline 0.3
sleep 0.1
check "deadline: it passes" soon eval '[ "$(guest_value one .backup.phase)" = idle ]'
refuse "deadline: thaw answers 5" 5 guest one thaw
is "deadline: the receipt" "$(receipt '.class')" crash
is "deadline: the hook was told" "$(receipt '.hooks[0].runs[1].event')" abort
refuse "deadline: it is said once" 1 guest one thaw
refuse "deadline: a bad one" 2 guest one freeze --deadline soon
refuse "deadline: one that is too long" 2 guest one freeze --deadline 901

check "order: a host's backup" host backup one --image "$tap_dir/small.img" --to "$run/copies"
is "order: the newest is first" "$(receipt .requester),$(receipt .class 2),$(receipt .class 3)" \
    host,crash,file-system
is "order: the list" "$(guest one receipts --json | jq -r '[.receipts[].requester] | join(" ")')" \
    "host hvguestctl hvguestctl"
guest one freeze >/dev/null
guest one thaw >/dev/null
refuse "order: the oldest is gone" 1 guest one receipt 4
refuse "order: no number" 2 guest one receipt first
is "kept: files" "$(soon test -e "$state/receipts/receipt-00000004.json"; files)" \
    "receipt-00000002.json receipt-00000003.json receipt-00000004.json "

stop "$one_pid"
echo "{ broken" >"$state/receipts/receipt-00000003.json"
one_starts
is "restart: what was kept is there" "$(receipt '.requester + " \(.id)"')" "hvguestctl 4"
is "restart: a broken file is left out" "$(receipt .class 2)" crash
check "restart: and named" grep -q "receipt-00000003.json cannot be read" "$run/one.log"
check "restart: the next has the next number" guest one freeze
guest one thaw >/dev/null
is "restart: which is 5" "$(receipt .id)" 5

# A full disk: the receipt is named and nothing else is lost.
stop "$one_pid"
mount -t tmpfs -o size=64k hvguest-test "$state" || bail_out "cannot mount a tmpfs"
on_exit umount --lazy "$state"
mkdir "$state/receipts"
head -c 64k /dev/zero >"$state/fill" 2>/dev/null
one_starts
check "full disk: freeze and thaw" guest one freeze
check "full disk: work" guest one thaw
is "full disk: the receipt is there" "$(receipt .class)" application
check "full disk: and it is named" soon grep -q "receipt 1 cannot be written to $state/receipts: No space left" "$run/one.log"
check "full disk: in the receipt, too" soon test "$(receipt .not_saved)" = "No space left on device"
rm "$state/fill"
guest one freeze >/dev/null
guest one thaw >/dev/null
check "full disk: the next is written again" soon test -e "$state/receipts/receipt-00000002.json"

# The journal. What it gets is a datagram to a socket, which is this test's own here.
if ldd "$hvguestd" | grep -q libsystemd; then
    mount -t tmpfs hvguest-test /run && on_exit umount --lazy /run
    mkdir -p /run/systemd/journal
    perl -MSocket -e 'socket(S, AF_UNIX, SOCK_DGRAM, 0) && bind(S, pack_sockaddr_un($ARGV[0])) or die;
        recv(S, $_, 1 << 20, 0); print' /run/systemd/journal/socket >"$run/journal" &
    journal_pid=$!
    on_exit stop "$journal_pid"
    soon test -S /run/systemd/journal/socket
    guest one freeze >/dev/null
    guest one thaw >/dev/null
    wait "$journal_pid"
    check "journal: the result is the message" grep -q "^MESSAGE=backup: thawed as hvguestctl asked" "$run/journal"
    check "journal: the class is a field" grep -q "^HVGUEST_BACKUP_CLASS=application" "$run/journal"
    check "journal: and so is the receipt" grep -q '"requester": "hvguestctl"' "$run/journal"
else
    skip "journal" "built without libsystemd"
fi

ends "hvguestd ends" "$one_pid" TERM
ends "hvhost ends" "$host_pid"
no_reports
done_testing
