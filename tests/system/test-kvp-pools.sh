#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The pools of key-value exchange with the real programs: what an administrator sees and may do, what
# other programs write into the files, a daemon that is killed, a disk that is full or read-only.

. "$(dirname "$0")/tap.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 180

pools=$run/one/kvp

kvp() {
    guest one kvp "$@"
}

# record KEY VALUE: as they are in the files
record() {
    printf '%s' "$1" | head -c 512 | dd bs=512 conv=sync status=none
    printf '%s' "$2" | head -c 2048 | dd bs=2048 conv=sync status=none
}

# append POOL KEY VALUE: as cloud-init does it
append() {
    record "$2" "$3" >"$run/record"
    flock "$pools/.kvp_pool_$1" sh -c "cat '$run/record' >>'$pools/.kvp_pool_$1'"
}

# stock POOL KEY: what the stock daemon would find
stock() {
    local i n
    n=$(($(stat -c %s "$pools/.kvp_pool_$1") / 2560))
    for ((i = 0; i < n; i++)); do
        if [ "$(dd if="$pools/.kvp_pool_$1" bs=2560 skip="$i" count=1 status=none | head -c 512 | tr -d '\0')" = "$2" ]; then
            dd if="$pools/.kvp_pool_$1" bs=2560 skip="$i" count=1 status=none | tail -c 2048 | tr -d '\0'
            return
        fi
    done
    return 1
}

# value_is KEY VALUE [OPTION...]
value_is() {
    [ "$(kvp get "$1" "${@:3}" 2>/dev/null)" = "$2" ]
}

start_host
start_guest one --memory no

# --- get, set, del, list

check "a key can be set" kvp set color blue
is "... and read" "$(kvp get color)" blue
is "the file is the stock daemon's" "$(stock 1 color)" blue
check "it can be changed" kvp set color "dark red"
is "... in place" "$(stock 1 color)" "dark red"
check "a key may have anything in it" kvp set "a/b c%2Fd?é€😀" "x=y & z"
is "... and is found" "$(kvp get "a/b c%2Fd?é€😀")" "x=y & z"
check "a value may be empty" kvp set empty ""
is "... and is listed as JSON" "$(kvp list --pool guest --json | jq -r '.entries | map(.key) | join(" ")')" \
    "color a/b c%2Fd?é€😀 empty"
is "pools have names and numbers" "$(kvp list --pool 1 --json | jq -r .pool)" guest
is "all are listed without one" "$(kvp list --json | jq -r '[.pools[].pool] | join(" ")')" \
    "external guest auto auto-external auto-internal"
check "a key can be removed" kvp del empty
refuse "... once" 1 kvp del empty
refuse "a key that is not there is not found" 1 kvp get empty
refuse "a key without text is refused" 2 kvp set "" x
refuse "a key that is too long for the wire is refused" 2 kvp set "$(printf 'k%.0s' {1..256})" x
check "one that just fits is not" kvp set "$(printf 'k%.0s' {1..255})" x
refuse "a value that is too long is refused" 2 kvp set long "$(printf 'v%.0s' {1..1024})"
check "one that just fits is not" kvp set long "$(printf 'v%.0s' {1..1023})"
for pool in external auto auto-external auto-internal; do
    refuse "pool $pool is not to be changed" 1 kvp set --pool "$pool" a b
done
refuse "there is no sixth pool" 1 kvp list --pool 5
refuse "there is no other verb" 2 kvp show
if [ -n "$(getent passwd nobody)" ]; then
    for verb in "set color green" "del color" "get color" list watch; do
        refuse "who is not root does not $verb" 1 timeout 10 setpriv --reuid=nobody --regid=nogroup --clear-groups \
            "$hvguestctl" --api "$run/one/api.sock" kvp $verb
    done
fi
is "... and it is as it was" "$(kvp get color)" "dark red"

# --- what others write, and who watches

kvp watch >"$run/watched" 2>/dev/null &
on_exit stop "$!"
kvp watch --pool 1 --json >"$run/watched.json" 2>/dev/null &
on_exit stop "$!"
watches_json() {
    kvp set probe "$RANDOM" && sleep 0.2 && grep -q probe "$run/watched" && grep -q probe "$run/watched.json"
}
check "watching begins" soon watches_json
append 1 theirs "of another program"
check "what another program appends is seen" soon value_is theirs "of another program"
check "... and shown to who watches" soon grep -q "^guest *theirs = of another program$" "$run/watched"
check "... as JSON too" soon grep -qx '{"pool":"guest","key":"theirs","value":"of another program"}' "$run/watched.json"
kvp del theirs
check "a removal is shown" soon grep -q "^guest *theirs removed$" "$run/watched"
append 0 "pushed" "by the host"
check "other pools are shown, too" soon grep -q "^external *pushed = by the host$" "$run/watched"
check "... but not to who watches one" sh -c "! grep -q pushed '$run/watched.json'"
record theirs again >"$run/record"
begin=$(date +%s%N)
append 1 theirs again
while ! grep -q "theirs = again" "$run/watched" && [ $(($(date +%s%N) - begin)) -lt 20000000000 ]; do sleep 0.01; done
diag "shown after $((($(date +%s%N) - begin) / 1000000)) ms"

# --- what the host has told

host_says() {
    guest one host | grep -qx "$1"
}
check "what the host tells is shown" soon host_says "virtual machine  *one"
append 3 Other thing
check "... also what is not well known" soon host_says "Other  *thing"
is "... as JSON" "$(guest one host --json | jq -r '.entries[] | select(.key == "VirtualMachineName").value')" one

# --- a daemon that is killed

for n in {1..20}; do
    (for i in {1..50}; do kvp set "kill-$i" "$n" && echo "$i $n" >>"$run/acknowledged"; done) 2>/dev/null &
    writer=$!
    sleep "0.0$((RANDOM % 10))$((RANDOM % 10))"
    kill -KILL "$one_pid"
    wait "$writer" "$one_pid" 2>/dev/null
    end_keeper one
    [ "$n" -gt 1 ] || append 1 down "while nobody was there"
    start_guest one --memory no
    soon value_is color "dark red" || bail_out "hvguestd does not come back: $(tail -5 "$run/one.log")"
done
lost=0
while read -r key value; do
    [ "$(kvp get "kill-$key")" -ge "$value" ] || lost=$((lost + 1))
done < <(sort -k1,1n -k2,2n "$run/acknowledged" | tac | sort -u -k1,1n)
diag "$(wc -l <"$run/acknowledged") changes were acknowledged"
is "nothing that was acknowledged is lost" "$lost" 0
is "nor what others wrote meanwhile" "$(kvp get down)" "while nobody was there"
is "nor what was there" "$(kvp get color)" "dark red"
ends "it ends when it is told to" "$one_pid"

# --- another boot: what the host told in an older one is not true any more

# stamped_by SED: the files are as if they had been written long before the machine booted, in the boot that it makes
stamped_by() {
    sed -i "$1" "$pools/.kvp_stamp" &&
        touch -d "@$((EPOCHSECONDS - 864000 - $(cut -d. -f1 /proc/uptime)))" "$pools"/.kvp_pool_*
}

has_host() {
    value_is VirtualMachineName one --pool auto-external
}

stop "$host_pid"
append 3 NoLonger "on that host"
check "pools of this boot are stamped" stamped_by ""
start_guest one --memory no
check "what the host told in this boot is there after a start" soon value_is NoLonger "on that host" --pool auto-external
ends "it ends" "$one_pid"
check "pools of another boot" stamped_by 's/^boot=.*/boot=another/'
start_guest one --memory no
check "... are those of this machine" soon value_is color "dark red"
refuse "... but what the host told is not there" 1 kvp get NoLonger --pool auto-external
check "... and neither is it in the file" sh -c "! grep -aq NoLonger '$pools/.kvp_pool_3'"
start_host
check "... until it tells anew" soon has_host
ends "it ends" "$one_pid"

# --- a disk that is full, and one that is read-only

disk=$run/disk
mkdir "$disk"
mount -t tmpfs -o size=1m tmpfs "$disk"
guard_mount "$disk"
on_exit umount "$disk"
start_guest one --memory no --kvp-dir "$disk/kvp"
pools=$disk/kvp
check "another folder can be named" kvp set before full
dd if=/dev/zero of="$disk/filler" bs=4k status=none 2>/dev/null
fill() {
    local i
    for i in {1..20}; do kvp set "fill-$i" "$(printf 'v%.0s' {1..1000})" || return 1; done
}
refuse "a full disk refuses" 1 fill
check "... and says so" sh -c "'$hvguestctl' --api '$run/one/api.sock' kvp set x y 2>&1 | grep -q 'No space left on device: make room there'"
check "... also in the log" grep -q "pools in $disk/kvp cannot be changed: No space left" "$run/one.log"
is "what was there is there" "$(kvp get before)" full
check "what needs no room can be changed" kvp set before still
rm "$disk/filler"
check "with room it goes on" kvp set x y
is "... and the trouble is over" "$(kvp list --json | jq -r .trouble)" null
ends "it ends" "$one_pid"
mount -o remount,ro "$disk" || bail_out "cannot remount"
start_guest one --memory no --kvp-dir "$disk/kvp"
soon value_is x y
refuse "a read-only disk refuses" 1 kvp set x z
is "... and is read" "$(kvp get x)" y
mount -o remount,rw "$disk"
check "when it is not any more, it goes on" kvp set x z
ends "it ends" "$one_pid"
printf 'garbage' >>"$pools/.kvp_pool_1"
dd if=/dev/urandom of="$pools/.kvp_journal" bs=4k count=84 status=none
start_guest one --memory no --kvp-dir "$disk/kvp"
soon value_is before still
is "garbage behind the records and in the journal does no harm" "$(kvp get x)" z
check "... and can be written over" kvp set one more
is "... and the bytes are kept" "$(cat "$pools/.kvp_pool_1.aside")" garbage
check "... the journal as well" test -s "$pools/.kvp_journal.unreadable"
check "... and it is said" grep -q "is now .kvp_journal.unreadable" "$run/one.log"
ends "it ends" "$one_pid"
start_guest one --memory no --lab "$run/nobody" --kvp-dir "$run/none"
soon guest one status
refuse "a host that has told nothing: exit code 3" 3 guest one host
ends "it ends" "$one_pid"
start_guest one --memory no --kvp no
soon guest one status
refuse "without key-value exchange it says so" 1 kvp list

no_reports
done_testing
