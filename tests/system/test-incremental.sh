#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Backups to another file system: the guest stands still only while a snapshot is made, beside the
# image; what is copied later is compared with that snapshot. Then only what has changed. To look at
# a backup while it copies, the test freezes the file system that the copies go to.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq fsfreeze losetup setsid cmp
for type in xfs ext4; do
    image_possible "$type" || skip_all "this machine cannot make or mount $type"
done
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 200

store=$tap_dir/store vault=$tap_dir/vault guest_dir=$tap_dir/guest

prepare() {
    truncate -s 1G "$run/store.img" && mkfs.xfs -q -m reflink=1 "$run/store.img" &&
        image_mount "$run/store.img" "$store" &&
        truncate -s 1G "$run/vault.img" && mkfs.ext4 -q "$run/vault.img" &&
        image_mount "$run/vault.img" "$vault" &&
        image_make ext4 "$store/disk.img" && image_mount "$store/disk.img" "$guest_dir" &&
        head -c 100M /dev/urandom >"$guest_dir/data" && sync -f "$guest_dir"
}

# backup NAME OPTION...: into a folder of the vault
backup() {
    local dir=$vault/$1
    shift
    [ -d "$dir" ] || mkdir "$dir"
    host backup one --image "$store/disk.img" --to "$dir" --json "$@" >"$run/backup.json" 2>"$run/backup.err"
}

# image FILTER: what jq finds about the image in the last backup
image() {
    jq -r ".images[0] | $1" "$run/backup.json"
}

thawed() {
    [ "$(guest_value one .backup.state)" != frozen ] && touch "$guest_dir/probe" &&
        timeout 10 sync -f "$guest_dir"
}

state_is() {
    [ "$(host_value one .backup.state)" = "$1" ]
}

# hidden DIR: the files in it that are no backup
hidden() {
    find "$1" -maxdepth 1 -name '.*.img*' -printf '%f\n' | sed 's/-[0-9]*-[0-9]*$/-N/' | sort | xargs
}

prepare >"$tap_dir/prepare.log" 2>&1 || skip_all "cannot make and mount images: $(tail -n 1 "$tap_dir/prepare.log")"
start_host
start_guest one --memory no --freeze-roots "$guest_dir"
check "the guest is ready for backups" soon eval '[ "$(host_value one .backup.version)" = 5.0 ]'

# --- a snapshot, and the copy afterwards

mkdir "$vault/first"
fsfreeze --freeze "$vault"
backup first --keep-base --verify & backup_pid=$!
check "the guest goes on while the copy has not even begun" soon state_is "done"
check "... and can write" thawed
is "there is a snapshot beside the image" "$(hidden "$store")" ".disk.img.snapshot-N"
fsfreeze --unfreeze "$vault"
wait "$backup_pid"
is "the backup works" $? 0
diag "$(cat "$run/backup.err")" "frozen for $(jq .frozen_seconds "$run/backup.json") s"
is "the data was moved" "$(image '.method != "reflink" and .data_bytes > 100 * 1048576')" true
is "... and verified" "$(image .verified)" true
is "the snapshot has become the base of the next" "$(hidden "$store")" ".disk.img.hvguest-base"
check "the copy is what the snapshot was" cmp "$store/.disk.img.hvguest-base" "$vault/first/disk.img"
is "the folder of the copy has nothing else" "$(ls -A "$vault/first")" disk.img

# --- only what has changed

head -c 3M /dev/urandom | dd of="$guest_dir/data" bs=1M seek=40 conv=notrunc status=none
check "a backup of what has changed works" backup second --since "$vault/first" --verify
is "it was one" "$(image .incremental)" true
check "little more than the change was moved" [ "$(image .data_bytes)" -lt $((24 << 20)) ]
check "... but no less" [ "$(image .data_bytes)" -ge $((3 << 20)) ]
check "the copy is what the snapshot was" cmp "$store/.disk.img.hvguest-base" "$vault/second/disk.img"
check "it is another one than the first" eval '! cmp -s "$vault/first/disk.img" "$vault/second/disk.img"'

check "a backup since a copy that is not the last one works" backup third --since "$vault/first"
is "... in full" "$(image '.data_bytes > 100 * 1048576')" true
check "... and says why" eval 'image .full_why | grep -q "not that of the snapshot"'
check "the copy is what the snapshot was" cmp "$store/.disk.img.hvguest-base" "$vault/third/disk.img"
check "a backup without --since keeps no snapshot, and leaves the base alone" backup fourth
is "... so there is the base only" "$(hidden "$store")" ".disk.img.hvguest-base"
refuse "a folder that is not there" 1 backup fifth --since "$vault/nowhere"

# --- where no snapshot can be made

head -c 1M /dev/urandom >"$vault/plain.img"
mkdir "$store/copies"
check "a file system that shares no blocks" host backup one --image "$vault/plain.img" --to "$store/copies" --keep-base
mkdir "$store/more"
check "... has nothing to go on from" eval 'host backup one --image "$vault/plain.img" --to "$store/more" \
    --since "$store/copies" --json >"$run/backup.json"'
is "... so all is copied, and that is said" "$(image '"\(.incremental), \(.full_why)"')" "false, no snapshot could be made"

# --- a host that dies while it copies

rm -r "$vault/third" "$vault/fourth"
mkdir "$vault/sixth"
fsfreeze --freeze "$vault"
backup sixth & backup_pid=$!
check "a snapshot is made again" soon eval '[ "$(hidden "$store")" = ".disk.img.hvguest-base .disk.img.snapshot-N" ]'
kill -KILL "$host_pid"
fsfreeze --unfreeze "$vault"
wait "$host_pid" 2>/dev/null
wait "$backup_pid"
check "a killed host leaves no backup" eval '[ ! -e "$vault/sixth/disk.img" ]'
start_host
check "the guest is back" soon eval '[ "$(host_value one .backup.version)" = 5.0 ]'
check "the next backup works" backup sixth
is "... and has removed the snapshot of the killed host" "$(hidden "$store")" ".disk.img.hvguest-base"
is "... and its copy" "$(ls -A "$vault/sixth")" disk.img

no_reports
done_testing
