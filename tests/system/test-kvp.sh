#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Key-value exchange between the real programs over a lab's rings: what a host may see and change,
# text of every kind, durability, a guest that does not answer, a channel that comes and goes, and a
# backup that holds the very file system the pools are on.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup od
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 180
. "$(dirname "$0")/lab.sh"

data=$tap_dir/data
pools=$data/pools
mkdir "$run/hooks"
image_make ext4 "$tap_dir/data.img" && image_mount "$tap_dir/data.img" "$data" ||
    skip_all "cannot make and mount an image"

one_starts() {
    start_guest one --memory no --freeze-roots "$data" --hook-dir "$run/hooks" --freeze-timeout 120 \
        --kvp-dir "$pools" "$@"
    soon kvp_is ready || bail_out "the channel does not open: $(cat "$run/one.log")"
}

kvp_is() {
    [ "$(host_value one .kvp.state)" = "$1" ]
}

# values POOL: "KEY=VALUE" of each, one a line
values() {
    host kvp list one --pool "$1" --json | jq -r '.entries[] | .key + "=" + .value'
}

get() {
    host kvp get one "$@"
}

# says STATUS TEXT COMMAND...: whether it ends so and says that
says() {
    local status=$1 text=$2 said
    shift 2
    said=$("$@" 2>&1)
    [ $? = "$status" ] && grep -qF -- "$text" <<<"$said" || { echo "$said"; return 1; }
}

# record POOL N FROM LENGTH: bytes of a record in the pool's file, up to a NUL
record() {
    tail -c "+$(($2 * 2560 + $3 + 1))" "$pools/.kvp_pool_$1" | head -c "$4" | tr '\0' '\n' | head -n 1
}

start_host
one_starts

# --- what there is

is "the newest version is agreed on" "$(host_value one .kvp.version)" 5.0
check "the guest knows its host" soon eval 'values auto-external | grep -qx VirtualMachineName=one'
is "... by name" "$(get HostName --pool auto-external)" "$(hostname)"
is "the automatic keys come first, as Linux has them" \
    "$(values auto | head -n 10 | cut -d= -f1 | tr '\n' ' ')" \
    "FullyQualifiedDomainName IntegrationServicesVersion NetworkAddressIPv4 NetworkAddressIPv6 \
OSBuildNumber OSName OSMajorVersion OSMinorVersion OSVersion ProcessorArchitecture "
is "... and are true" "$(get ProcessorArchitecture --pool auto)" "$(uname -m)"
check "status shows how many there are" eval '[ "$(guest_value one .kvp.keys.auto)" -ge 10 ]'
check "... and says so" eval 'guest one status | grep -q "^kvp  *channel open, protocol 5.0; keys for the host [1-9]"'

# --- keys that the host sets

check "a key is set" host kvp set one "a key" "a value"
is "... and read" "$(get "a key" --pool external)" "a value"
is "... and in the file, as the stock daemon has it" "$(record 0 0 0 512)=$(record 0 0 512 2048)" \
    "a key=a value"
check "it is set anew" host kvp set one "a key" "another value"
is "... in its place" "$(values external)" "a key=another value"
check "a value may be empty" host kvp set one empty ""
is "... and is" "$(get empty --pool external)" ""
check "text of all planes" host kvp set one "ключ/鍵 🗝" "né 値 𝄞 😀"
is "... comes back whole" "$(get "ключ/鍵 🗝" --pool external)" "né 値 𝄞 😀"
is "... and is UTF-8 in the file" "$(record 0 2 0 512)=$(record 0 2 512 2048)" "ключ/鍵 🗝=né 値 𝄞 😀"
long=$(printf '%01023d' 0)
check "the longest value" host kvp set one long "$long"
is "... is not cut" "$(get long --pool external)" "$long"
check "a longer one is refused" says 2 "'value' must be" host kvp set one long "${long}0"
key=$(printf '%0255d' 0)
check "the longest key" host kvp set one "$key" 1
is "... is not cut" "$(get "$key" --pool external)" 1
check "a longer one is refused" says 2 "'key' must be" host kvp set one "${key}0" 1
check "an empty one, too" says 2 "'key' must be" host kvp set one "" 1
check "text that is too long for a record in UTF-8 is refused" \
    says 2 "'value' must be" host kvp set one wide "$(printf '値%.0s' {1..700})"
check "a key is deleted" host kvp del one empty
check "... and gone" says 1 "no such key" get empty --pool external
check "... and cannot be deleted again" says 1 "no such key" host kvp del one empty

# --- whose they are

for pool in guest auto auto-internal; do
    check "the host cannot set a key in $pool" says 1 "the guest refuses" host kvp set one x y --pool $pool
    check "... nor delete one" says 1 "the guest refuses" host kvp del one OSName --pool $pool
done
check "the host can in auto-external" host kvp set one x y --pool auto-external
check "a pool that is exchanged with nobody is empty" eval '[ -z "$(values auto-internal)" ]'
check "no such pool" says 2 "'pool' must be" host kvp list one --pool nothing
check "no such guest" says 1 "no guest 'two'" host kvp list two
check "no such verb" says 2 usage host kvp put one x y
check "the guest's log names what was denied" grep -q "may not change the pool guest" "$run/one.log"

# --- addresses

mac=$(cat /sys/class/net/*/address | grep -v 00:00:00:00:00:00 | head -n 1)
if [ -n "$mac" ]; then
    check "an adapter's addresses" eval 'host kvp get-ip one "$mac" --json | jq -e ".addresses | length"'
    check "they cannot be set unless the configuration says so" says 1 "ip_injection = yes" \
        host kvp set-ip one "$mac" --address 192.0.2.7/24
else
    skip "an adapter's addresses" "this machine has no adapter"
fi
check "no such adapter" says 1 "no such adapter" host kvp get-ip one 00:00:5E:00:53:01
check "what is no address is not sent" says 2 "'addresses' must be" \
    host kvp set-ip one x --address 192.0.2.7

# --- the API

api() {
    curl -s --unix-socket "$run/host/api.sock" -d "$1" http://x/v1/guests/one/kvp | jq -r .error.message
}
if command -v curl >/dev/null; then
    for body in '{}' '{"do": 7}' '{"do": "get"}' '{"do": "get", "pool": "guest"}' \
        '{"do": "get", "pool": "guest", "key": 1}' \
        '{"do": "set", "pool": "external", "key": "k"}' '{"do": "get-ip"}' \
        '{"do": "list", "pool": "guest", "timeout_seconds": 0}' \
        '{"do": "set-ip", "adapter": "a b"}' \
        '{"do": "set-ip", "adapter": "a", "addresses": [1]}'; do
        check "refused with a reason: $body" eval '[[ "$(api "$body")" == *must* || "$(api "$body")" == *possible* ]]'
    done
fi

# --- many, and how they change

for i in {1..120}; do
    host kvp set one "many-$i" "$i" || break
done
is "a long list is whole" "$(values external | grep -c '^many-')" 120
host kvp watch one --pool external --interval 1 --json >"$run/watched" 2>&1 &
watch_pid=$!
on_exit stop "$watch_pid"
soon grep -q many-120 "$run/watched"
host kvp set one many-1 changed
host kvp set one added 1
host kvp del one many-2
check "watch shows what is added" soon grep -q '"added","pool":"external","key":"added"' "$run/watched"
check "... changed" soon grep -q '"changed","pool":"external","key":"many-1","value":"changed"' "$run/watched"
check "... and removed" soon grep -q '"removed","pool":"external","key":"many-2"' "$run/watched"
stop "$watch_pid"

# --- what was acknowledged stays

host kvp set one durable 1
murder "$one_pid"
one_starts
is "what was acknowledged outlives a kill" "$(get durable --pool external)" 1

# A disk that does not take it: somebody else has frozen the file system, and hvguestd does not know.
fsfreeze --freeze "$data"
host kvp set one slow 1 >/dev/null 2>&1 &
set_pid=$!
sleep 1
check "a change is not answered before it is on the disk" kill -0 "$set_pid"
is "... and status answers meanwhile" "$(guest_value one .kvp.state)" writing
fsfreeze --unfreeze "$data"
wait "$set_pid"
is "... but then" $? 0

# --- a channel that comes and goes, a guest that does not answer

told() {
    [ "$(guest_value one .kvp.requests.set)" -ge $((told_before + 5)) ] && kvp_is ready
}
told_before=$(guest_value one .kvp.requests.set)
host rescind one kvp >/dev/null
check "without the channel it is said" says 1 "takes no part" get durable --pool external
host offer one kvp >/dev/null
check "it is opened again, and the guest is told anew about its host" soon told
is "... and works" "$(get durable --pool external)" 1
kill -STOP "$one_pid"
check "a guest that does not answer" says 1 "not answered within 1 s" get durable --pool external --timeout 1
kill -CONT "$one_pid"
check "... is asked anew when it does" soon kvp_is ready
is "... and its late answer is not taken for another" "$(get many-3 --pool external)" 3
is "the host has negotiated anew for that" "$(host_value one .kvp.renegotiations)" 1

# --- a backup that holds the pools' own file system

before=$(cat "$pools"/.kvp_pool_* | cksum)
check "everything is frozen" guest one freeze
is "reads go on" "$(get durable --pool external)" 1
host kvp set one held 1 >"$run/set" 2>&1 &
set_pid=$!
soon eval '[ "$(guest_value one .kvp.state)" = held ]'
is "a change waits" "$(guest_value one .kvp.state)" held
is "heartbeat goes on" "$(host_value one .heartbeat.state)" ok
sleep 0.5
is "... and nothing is written" "$(cat "$pools"/.kvp_pool_* | cksum)" "$before"
check "it is thawed" guest one thaw
wait "$set_pid"
is "the change is made then" $? 0
is "... and there" "$(get held --pool external)" 1
check "the receipt is published" soon eval '[ "$(get HvguestBackupClass)" = file-system ]'
is "... with the window" "$(get HvguestBackupWindowUs)" "$(guest one receipt --json | jq -r .window_us)"
is "... and what was frozen" "$(get HvguestBackupFileSystems | grep -o '1 frozen')" "1 frozen"
check "... durably, in the guest's pool" grep -q HvguestBackupResult "$pools/.kvp_pool_1"

# Longer than the guest lets its host wait: refused, and never made.
check "frozen again" guest one freeze
check "a change that cannot be made in time is refused, with the reason" \
    says 1 "frozen for a backup" host kvp set one refused 1
check "thawed again" guest one thaw
host kvp set one "after" 1
check "... and it is never made" says 1 "no such key" get refused --pool external

# --- off

ends "the guest ends" "$one_pid"
one_starts_without() {
    start_guest one --memory no --kvp no --kvp-dir "$pools"
    soon connected one
}
one_starts_without
is "it can be switched off" "$(guest_value one .kvp)" null
check "... and the host is told" says 1 "takes no part" get durable --pool external
ends "the guest ends" "$one_pid"
no_reports
done_testing
