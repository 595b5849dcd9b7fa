#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The API as it is described: the two OpenAPI files name all paths that there are and no others, and
# clients that are wrong, large, slow or many harm nobody.

. "$(dirname "$0")/tap.sh"
need_programs jq curl perl
watchdog 180
. "$(dirname "$0")/lab.sh"
top=$(cd "$(dirname "$0")/../.." && pwd)

start_host --startup 1G --minimum 1000M --first-action 0
start_guest one --memory no
check "it is connected" soon connected one

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
