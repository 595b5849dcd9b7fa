#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The API as it is described: the two OpenAPI files name all paths that there are and no others, and all
# that the answers have; and clients that are wrong, large, slow or many harm nobody.

. "$(dirname "$0")/tap.sh"
need_programs jq curl perl
watchdog 180
. "$(dirname "$0")/lab.sh"
top=$(cd "$(dirname "$0")/../.." && pwd)

start_host --startup 1G --minimum 1000M --first-action 0
start_guest one --memory yes --fcopy-roots "$run/in" --disks-helper "$build/disks/hvguest-disks"
mkdir "$run/in" "$run/to"
echo text >"$run/text"
: >"$run/disk"
check "every service is ready" soon ready one

# paths FILE: "METHOD path" of the description
paths() {
    jq -r '.paths | to_entries[] | .key as $p | .value | keys[] | ascii_upcase + " " + $p' "$1" | sort
}
# routes FILE...: "METHOD path" of the program
routes() {
    cat "$top/base/page.c" "$@" | tr '\n' ' ' | grep -oE '\{"(GET|POST|PUT|DELETE)", *"/[^"]*"|httpd_route\([a-z]+, *"[A-Z]+", *"/[^"]*"|\{"/[^"]*", (get|post)_' |
        sed -E 's/^\{"(\/[^"]*)", get_$/GET \1/; s/^[^"]*"([A-Z]+)", *"(\/[^"]*)"$/\1 \2/' | sort -u
}
is "hvguestd's paths are the described ones" "$(diff <(paths "$top/docs/openapi-hvguestd.json") <(routes "$top"/daemon/*.c))" ""
is "hvhost's paths are the described ones" \
    "$(diff <(paths "$top/docs/openapi-hvhost.json") <(routes "$top"/host/api_*.c "$top/host/show.c"))" ""

# What an answer has: no member that is not described, each that is said to be always there, all of their types.
undescribed='
    def resolve: if ."$ref" then ."$ref" as $r | $doc[0].components.schemas[$r | ltrimstr("#/components/schemas/")] else . end;
    def kind: if type == "number" and floor == . then "integer" else type end;
    def faults($schema; $at):
        . as $value | ($schema | if .allOf then .allOf[0] + {nullable} else . end) as $s | ($s | resolve) as $d |
        if $value == null then (if $s.nullable or $d.nullable then empty else "\($at) is null" end)
        elif $d.type != kind and ($d.type != "number" or kind != "integer") then "\($at) is no \($d.type): \($value)"
        elif $d.type == "object" then
            (($d.required // []) - keys | .[] | "\($at).\(.) is missing"),
            (keys[] as $k | ($d.properties[$k] // $d.additionalProperties) as $member |
                if $member then .[$k] | faults($member; "\($at).\($k)") else "\($at).\($k) is not described" end)
        elif $d.type == "array" then to_entries[] | .key as $i | .value | faults($d.items; "\($at)[\($i)]")
        else empty end;
    faults($doc[0].paths[$path][$method].responses[$status].content["application/json"].schema; "")'

# as_described PROGRAM METHOD PATTERN [PATH [BODY]]: asks, and looks at the answer
as_described() {
    local program=$1 method=$2 pattern=$3 path=${4:-$3} socket=$run/one/api.sock status faults
    if [ "$program" = hvhost ]; then
        socket=$run/host/api.sock
        case $path in /v1/board* | /v1/reasons | /v1/targets) socket=$run/host/read.sock ;; esac
    fi
    status=$(curl -s -o "$run/answer" -w '%{http_code}' --max-time 30 --unix-socket "$socket" -X "$method" \
        ${5:+-d "$5"} "http://localhost$path")
    faults=$(jq -r --slurpfile doc "$top/docs/openapi-$program.json" --arg path "$pattern" --arg method "${method,,}" \
        --arg status "$status" "$undescribed" "$run/answer" 2>&1)
    if [[ $status = 2?? ]] && [ -z "$faults" ]; then
        ok "$program: $method $path answers as it is described"
    else
        diag "status $status" "$(head -c 300 "$run/answer")" "$(head -n 10 <<<"$faults")"
        not_ok "$program: $method $path answers as it is described"
    fi
}

# asked_for PROGRAM: the paths that can be asked for without knowing anything
asked_for() {
    jq -r '.paths | to_entries[] | select(.value.get.responses["200"].content["application/json"]) | .key' \
        "$top/docs/openapi-$1.json" | grep -v '{'
}

as_described hvguestd PUT '/v1/kvp/{pool}/{key}' /v1/kvp/guest/color '{"value": "blue"}'
as_described hvguestd GET '/v1/kvp/{pool}/{key}' /v1/kvp/guest/color
as_described hvguestd GET '/v1/kvp/{pool}' /v1/kvp/auto
as_described hvguestd GET '/v1/kvp-changes/{after}' /v1/kvp-changes/0
as_described hvguestd DELETE '/v1/kvp/{pool}/{key}' /v1/kvp/guest/color
as_described hvguestd PUT /v1/health /v1/health '{"state": "critical", "text": "full", "source": "disk", "seconds": 60}'
as_described hvhost POST '/v1/guests/{name}/memory' /v1/guests/one/memory '{"assign": 1048576000}'
as_described hvhost POST '/v1/guests/{name}/copy' /v1/guests/one/copy \
    "$(jq -n --arg file "$run/text" --arg to "$run/in" '{source: $file, directory: $to, name: "text"}')"
check "the file has arrived" soon test -e "$run/in/text"
as_described hvhost GET '/v1/copies/{id}' /v1/copies/1
as_described hvhost POST '/v1/guests/{name}/backup' /v1/guests/one/backup \
    "$(jq -n --arg image "$run/disk" --arg to "$run/to" '{images: [$image], directory: $to}')"
check "the backup has failed, for nothing may be frozen" soon eval '
    [ "$(curl -s --unix-socket "$run/host/api.sock" http://localhost/v1/backups/1 | jq -r .state)" = failed ]'
as_described hvhost GET '/v1/backups/{id}' /v1/backups/1
as_described hvhost POST '/v1/guests/{name}/kvp' /v1/guests/one/kvp '{"do": "list", "pool": "auto"}'
as_described hvhost POST '/v1/guests/{name}/time' /v1/guests/one/time '{}'
as_described hvhost POST '/v1/guests/{name}/shutdown' /v1/guests/one/shutdown '{"kind": "poweroff"}'
as_described hvhost POST '/v1/guests/{name}/rescind' /v1/guests/one/rescind '{"service": "timesync"}'
as_described hvhost POST '/v1/guests/{name}/offer' /v1/guests/one/offer '{"service": "timesync"}'
as_described hvhost POST /v1/reservations /v1/reservations '{"name": "late", "bytes": 1048576}'
as_described hvhost GET '/v1/reservations/{name}' /v1/reservations/late
as_described hvhost DELETE '/v1/reservations/{name}' /v1/reservations/late
as_described hvhost POST /v1/balance /v1/balance '{"paused": false}'
as_described hvhost GET '/v1/guests/{name}' /v1/guests/one
as_described hvhost GET '/v1/guests/{name}/why' /v1/guests/one/why
as_described hvhost GET '/v1/board/{name}' /v1/board/one
as_described hvguestd GET '/v1/backup/receipts/{n}' /v1/backup/receipts/1
as_described hvguestd POST /v1/memory/verify
for path in $(asked_for hvguestd); do as_described hvguestd GET "$path"; done
for path in $(asked_for hvhost); do as_described hvhost GET "$path"; done
for action in save restore move; do
    as_described hvhost POST "/v1/guests/{name}/$action" "/v1/guests/one/$action" '{}'
done
check "every service is ready again" soon ready one

# status_of [OPTION...] PATH: of a request
status_of() {
    local path=${*: -1}
    curl -s -o "$run/answer" -w '%{http_code}' --max-time 20 --unix-socket "$run/one/api.sock" "${@:1:$#-1}" "http://localhost$path"
}
said() {
    jq -e '.error.message | length > 0' "$run/answer" >/dev/null
}
is "no such path" "$(status_of /v1/nothing)" 404
check "... with a body that says so" said
is "another method" "$(status_of -X DELETE /v1/status)" 405
check "... with a body that says so" said
is "a body that is no JSON" "$(status_of -X POST -d '{' /v1/backup/freeze)" 400
check "... with a body that says so" said
is "a body that is too large" "$(status_of -X PUT -d "$(head -c 80000 /dev/zero | tr '\0' x)" /v1/health)" 413
check "... with a body that says so" said
is "a body of the wrong kind" "$(status_of -X PUT -d '[1]' /v1/health)" 400
is "headers without an end" "$(status_of -H "X: $(head -c 40000 /dev/zero | tr '\0' x)" /v1/status)" 400

# Live state.
curl -s -N --max-time 3 --unix-socket "$run/one/read.sock" http://localhost/v1/events >"$run/events"
check "events come each second" test "$(grep -c '^event: state$' "$run/events")" -ge 2
is "... with all that the daemon sees" \
    "$(sed -n 's/^data: //p' "$run/events" | jq -r 'select(.schema == 1 and .host.state == "connected" and (.channels | length > 0)) | .name' | sort -u)" one
is "the page is off unless it is asked for" "$(status_of /)" 404
check "... and says how" grep -q "page = yes" "$run/answer"

# Many that say nothing, and one that reads nothing.
many() {
    perl -MIO::Socket::UNIX -e '
        my @s = map { IO::Socket::UNIX->new(Peer => $ARGV[0]) } 1 .. 200;
        $_ && print $_ "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n" x ($_ == $s[0] ? 500 : 0) for @s;
        $s[0]->flush; sleep 15' "$run/one/api.sock" &
    many_pid=$!
    on_exit stop "$many_pid"
}
many
sleep 1
is "others are served meanwhile" "$(status_of /v1/status)" 200
is "and heartbeats are answered" "$(host_value one .heartbeat.state)" ok
stop "$many_pid"

ends "the guest ends well" "$one_pid"
ends "the host ends well" "$host_pid"
no_reports
done_testing
