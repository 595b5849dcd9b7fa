#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What programs in a guest say of their health, and what the host hears of it, also in the middle of a
# freeze, and of the freeze itself.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 180

# host_hears FILTER WANTED: with a heartbeat
host_hears() {
    [ "$(host_value one ".heartbeat | $1")" = "$2" ]
}

# put JSON: as any program can; prints the HTTP status
put() {
    curl -s -o "$run/answer" -w '%{http_code}' --unix-socket "$run/one/api.sock" -X PUT \
        -H 'Content-Type: application/json' -d "$1" http://localhost/v1/health
}

refused() {
    is "$1" "$(put "$2")" 400
}

log_has() {
    grep -q -- "$1" "$run/one.log"
}

start_host
start_guest one --memory no
check "the guest is healthy, as the host hears" soon host_hears .application healthy
check "... and it can be asked" guest one health

# --- a program in trouble

check "a program is in trouble" guest one health set critical "the disk is full" --source database
check "the host hears it" soon host_hears .application critical
is "the guest knows who it was" "$(guest one health --json | jq -r '.reports[0].source + ": " + .reports[0].text')" \
    "database: the disk is full"
refuse "health says so by its exit code" 3 guest one health
check "the log has it" log_has "health: critical: database: the disk is full"
check "hvhost status shows it to people" eval 'host status | grep -q "^one  *ok! "'
check "another program is well" guest one health set healthy --source web
check "... which is no news" eval '[ "$(guest one health --json | jq -r .state)" = critical ]'
check "the trouble is over" guest one health set healthy --source database
check "the host hears it" soon host_hears .application healthy
check "the log has it" log_has "health: nobody is critical any more"

# --- reports that end

check "trouble for a second" guest one health set critical "for a moment" --for 1
check "it is there" eval '[ "$(guest one health --json | jq -r .state)" = critical ]'
check "... and gone by itself" soon eval '[ "$(guest one health --json | jq -r ".reports | length")" = 0 ]'
check "... and the host hears that" soon host_hears .application healthy
check "a program whose silence is trouble" guest one health set healthy "all is well" --for 1 --then critical \
    --source watched
check "... is silent, and the host hears that" soon host_hears .application critical
check "... with its last words" log_has "watched has not reported in time; its last words: all is well"
check "it speaks again" guest one health set healthy --source watched
check "the host hears it" soon host_hears .application healthy

# --- over HTTP, and wrong

if command -v curl >/dev/null; then
    is "any program can say it" "$(put '{"state": "critical", "text": "from curl", "source": "curl", "seconds": 60}')" 200
    is "... and is told how it stands" "$(jq -r .state "$run/answer")" critical
    is "... and take it back" "$(put '{"state": "healthy", "source": "curl"}')" 200
    refused "no state" '{"text": "?"}'
    refused "a state that does not exist" '{"state": "ill"}'
    refused "a state that is no text" '{"state": 3}'
    refused "a name with a blank" '{"state": "critical", "source": "a b"}'
    refused "a name that is no text" '{"state": "critical", "source": ["a"]}'
    refused "a text that is too long" "{\"state\": \"critical\", \"text\": \"$(printf 'x%.0s' {1..201})\"}"
    refused "no time at all" '{"state": "critical", "seconds": 0}'
    refused "a time before now" '{"state": "critical", "seconds": -1}'
    refused "a time without an end" '{"state": "critical", "seconds": 1e300}'
    refused "an end of no report" '{"state": "healthy", "then": "critical"}'
    refused "an end that is no state" '{"state": "healthy", "then": "ill", "seconds": 5}'
    for i in {1..16}; do put "{\"state\": \"critical\", \"source\": \"s$i\", \"seconds\": 600}" >/dev/null; done
    refused "one too many" '{"state": "critical", "source": "s17"}'
    for i in {1..16}; do put "{\"state\": \"healthy\", \"source\": \"s$i\"}" >/dev/null; done
    is "nobody is left" "$(guest one health --json | jq '.reports | length')" 0
else
    skip "over HTTP" "needs curl"
fi
refuse "a verb of health that does not exist" 2 guest one health reset critical
refuse "no state" 2 guest one health set
refuse "no number" 2 guest one health set critical --for ever
ends "the guest ends" "$one_pid"

# --- while a backup holds the guest

if image_possible ext4 && image_make ext4 "$run/disk.img" && image_mount "$run/disk.img" "$tap_dir/disk"; then
    start_guest one --memory no --freeze-roots "$tap_dir/disk" --freeze-timeout 60
    check "the guest is there" soon host_hears .state ok
    is "nothing holds it" "$(host_value one .heartbeat.hold)" none
    check "it is frozen by hand" guest one freeze --deadline 50
    check "the host hears of it" soon host_hears .hold frozen
    left=$(host_value one '.heartbeat.hold_seconds_left | floor')
    check "... and how long it is" eval '[ "$left" -gt 5 ] && [ "$left" -lt 51 ]'
    check "hvhost status shows it to people" eval 'host status | grep -qE "frozen, [0-9]+ s left"'
    check "time passes" eval 'sleep 2; [ "$(host_value one ".heartbeat.hold_seconds_left | floor")" -lt "$left" ]'
    answered=$(host_value one .heartbeat.answered)
    check "health can be said and seen in the middle of it" guest one health set critical "held" --for 30
    is "... with what holds the machine" "$(guest one health --json | jq -r .backup.hold)" frozen
    check "the host hears it" soon host_hears .application critical
    check "the heart has beaten on" [ "$(host_value one .heartbeat.answered)" -gt "$answered" ]
    check "none was missed" host_hears .missed 0
    check "it is thawed" guest one thaw
    check "the host hears that, too" soon host_hears .hold none
    is "... and of no end any more" "$(host_value one .heartbeat.hold_seconds_left)" null
    ends "it ends" "$one_pid"
else
    skip "a backup holds the guest" "this machine cannot make or mount ext4"
fi
ends "the host ends" "$host_pid"
no_reports
done_testing
