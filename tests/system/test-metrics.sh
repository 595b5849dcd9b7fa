#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Metrics: both daemons' pass promtool and are scraped by a real Prometheus; what is missing costs its
# own series only; the sockets for looking let nobody change anything.

. "$(dirname "$0")/tap.sh"
need_root
need_programs jq curl promtool prometheus
watchdog 180
. "$(dirname "$0")/lab.sh"

# get NAME PATH [OPTION...]: from a daemon's socket for looking
get() {
    local name=$1 path=$2
    shift 2
    curl -s --max-time 10 --unix-socket "$run/$name/read.sock" "$@" "http://localhost$path"
}

# of NAME SERIES: the value of one series, as the text has it
of() {
    get "$1" /metrics | awk -v "series=$2" '$1 == series { print $2 }'
}

free_port() {
    local port
    for port in {9901..9999}; do
        (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

lints() {
    get "$1" /metrics | promtool check metrics
}

# listens PID: whether the process has a socket of TCP that somebody could connect to
listens() {
    local inode
    for inode in $(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n'); do
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v inode="$inode" '$4 == "0A" && $10 == inode { found = 1 }
            END { exit !found }' && return 0
    done
    return 1
}

port=$(free_port)
start_host --metrics-listen "127.0.0.1:$((port + 50))" --host-memory 64G --startup 1G --minimum 1000M --first-action 0
start_guest one --memory yes --metrics-listen "127.0.0.1:$port"
check "every service is ready" soon ready one

check "the guest's metrics pass promtool" lints one
is "none has another prefix" "$(get one /metrics | grep -v '^#' | grep -vc '^hvguest_')" 0
is "the version" "$(of one "hvguest_build_info{value=\"$(guest_value one .version)\"}")" 1
is "a channel's state" "$(of one 'hvguest_channel_state{service="heartbeat",value="open"}')" 1
check "requests are counted" soon eval '[ "$(of one "hvguest_channel_requests_total{service=\"heartbeat\"}")" -ge 2 ]'
is "every service counts its channel's opening" \
    "$(get one /metrics | grep -c '^hvguest_channel_opens_total{service="[a-z]*"} 1$')" \
    "$(get one /metrics | grep -c '^hvguest_channel_state{.*value="open"} 1$')"
is "no memory has moved yet" "$(of one hvguest_memory_effect_age_seconds)" ""
host memory one --assign 1010M >/dev/null
check "a request of the host's for memory is counted" soon eval '
    [ "$(of one "hvguest_channel_requests_total{service=\"dynmem\"}")" = 1 ]'
check "... with the states that it led to" soon eval '
    [ "$(of one "hvguest_memory_states_entered_total{state=\"ballooning\"}")" = 1 ]'
check "... and for how long none has moved" soon eval 'of one hvguest_memory_effect_age_seconds | grep -q "[1-9]"'
check "... nor the host asked" test -n "$(of one 'hvguest_channel_quiet_seconds{service="dynmem"}')"
is "memory that this machine sees" \
    "$(of one hvguest_dynamic_memory_vm_guest_visible_physical_memory_bytes)" \
    "$(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) * 1024))"
check "what was reported is what the status says" soon eval '
    [ "$(of one hvguest_memory_floor_bytes)" = "$(guest_value one .memory.floor_bytes)" ]'
[ ! -e /proc/pressure/memory ] ||
    check "stall times" test -n "$(of one hvguest_pressure_memory_stalled_seconds_total)"

check "the host's metrics pass promtool" lints host
is "the host's have another prefix" "$(get host /metrics | grep -v '^#' | grep -vc '^hvhost_')" 0
is "the host counts its guests" "$(of host hvhost_guests)" 1
is "the host's name for what both know" "$(of host 'hvhost_heartbeat_state{vm="one",value="ok"}')" 1
check "what is assigned" test "$(of host 'hvhost_dynamic_memory_vm_physical_bytes{vm="one"}')" -gt 1000000000
is "the host's api.sock is root's" "$(stat -c '%a %U' "$run/host/api.sock")" "600 root"
is "... and its read.sock the group's, too" "$(stat -c %a "$run/host/read.sock")" 660
is "the host's TCP" "$(curl -s "http://127.0.0.1:$((port + 50))/metrics" | grep -c '^hvhost_build_info')" 1
is "the host's read.sock changes nothing" \
    "$(get host /v1/guests/one/memory -X POST -d '{"assign": "auto"}' -o /dev/null -w '%{http_code}')" 404
is "... and its TCP neither" \
    "$(curl -s -X POST -o /dev/null -w '%{http_code}' "http://127.0.0.1:$((port + 50))/v1/board")" 405
is "the board has the guest" "$(get host /v1/board | jq -r '.guests[0].name')" one
is "... and why it has what it has" "$(get host /v1/board/one | jq '.decision.why | length > 5')" true
is "the host is a target" "$(get host /v1/targets | jq -r '.[0].targets[0]')" "127.0.0.1:$((port + 50))"
get host /v1/events -N --max-time 3 >"$run/events"
is "events begin with all guests" "$(grep -c '^data: \[\["one",' "$run/events")" \
    "$(grep -c '^event: guests' "$run/events")"
check "... and go on each second" test "$(grep -c '^event: host' "$run/events")" -ge 2
is "... from the beginning" "$(grep -m1 -A3 '^event: reset' "$run/events" | sed -n 4p)" "event: guests"

get one /metrics -H 'Accept: application/openmetrics-text; version=1.0.0' >"$run/open"
is "OpenMetrics ends as it must" "$(tail -n 1 "$run/open")" "# EOF"
check "... and names the families of counters without _total" \
    grep -q '^# TYPE hvguest_heartbeats counter$' "$run/open"
is "the content type says which" "$(get one /metrics -o /dev/null -w '%{content_type}')" \
    "text/plain; version=0.0.4; charset=utf-8"

is "read.sock changes nothing" "$(get one /v1/memory/release -X POST -o /dev/null -w '%{http_code}')" 403
is "... but shows the status" "$(get one /v1/status | jq -r .name)" one
is "its mode" "$(stat -c %a "$run/one/read.sock")" 660
is "api.sock is root's" "$(stat -c %a "$run/one/api.sock")" 600
is "TCP shows metrics" "$(curl -s "http://127.0.0.1:$port/metrics" | grep -c '^hvguest_build_info')" 1
is "... and changes nothing" \
    "$(curl -s -X POST -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/v1/memory/release")" 403

check "a backup is counted: it fails, nothing may be frozen" eval '! guest one freeze'
start_guest two --memory no --read-group nogroup
is "a guest without dynamic memory reports none" "$(get two /metrics | grep -c '^hvguest_memory_committed')" 0
is "... and all others" "$(of two 'hvguest_host_state{value="connected"}')" 1
check "... and passes promtool" lints two
check "who is asked for TCP listens" listens "$one_pid"
check "... and nobody else" eval '! listens "$two_pid"'
is "read.sock is the group's" "$(stat -c %G "$run/two/read.sock")" nogroup
# as_member COMMAND...: by somebody of that group, on a machine whose guest is this one
as_member() {
    unshare -m --propagation private sh -c '
        mount -t tmpfs -o mode=755 run /run && mkdir /run/hvguest && mount --bind "$0" /run/hvguest || exit 99
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"' "$run/two" "$@"
}
if as_member test -x "$hvguestctl"; then
    is "hvguestctl shows its members as much as root" "$(as_member "$hvguestctl" status --json | jq -r .name)" two
    refuse "... and lets them change nothing" 1 as_member "$hvguestctl" thaw
    is "... as it says" "$(as_member "$hvguestctl" thaw 2>&1)" \
        "hvguestctl: this socket is for looking only: use api.sock, as root"
else
    skip "hvguestctl of a member of its group" "others cannot reach the programs of this build"
fi
status=0
"$hvguestd" --lab "$run/host/lab.sock" --run-dir "$run/three" --freezer "$freezer" \
    --metrics-listen "127.0.0.1:$port" >"$run/three.out" 2>&1 || status=$?
is "an address that is taken ends the start" "$status" 1
check "... with its name" grep -q "cannot listen on 127.0.0.1:$port: somebody does: name a free" "$run/three.out"

# What is shipped for Prometheus and Grafana names only what there is.
packaging=$(cd "$(dirname "$0")/../../packaging" && pwd)
check "the alert rules are rules" promtool check rules "$packaging/prometheus/hvguest.rules.yml"
check "the alert rules fire when they should" promtool test rules "$packaging/prometheus/hvguest.rules.test.yml"
monitoring=$packaging/../docs/MONITORING.md
# known: every name that a daemon can give, whether it has the value now or not
known() {
    grep -ho '"hvguest_[a-z0-9_]*"' "$(dirname "$0")/../../daemon/metrics.c" | tr -d '"'
    grep -ho '"hvhost_[a-z0-9_]*"' "$(dirname "$0")/../../host/show_metrics.c" | tr -d '"'
    get host /metrics | sed -n 's/^# TYPE \([a-z0-9_]*\) .*/\1/p'
}
named() {
    grep -hoE '\bhv(guest|host)_[a-z0-9_]+' "$packaging"/grafana/*.json "$packaging/prometheus/hvguest.rules.yml" \
        "$monitoring" |
        sed -E 's/_(total|bucket|sum|count)$//' | sort -u
}
is "dashboards, rules and the text name only what there is" "$(comm -23 <(named) <(known | sed 's/_total$//' | sort -u))" ""
for dashboard in "$packaging"/grafana/*.json; do
    check "$(basename "$dashboard"): panels do not lie on each other" jq -e '
        [.panels[] | .gridPos | . as $p | range($p.x; $p.x + $p.w) as $x | range($p.y; $p.y + $p.h) as $y | [$x, $y]] |
        length == (unique | length)' "$dashboard"
done

# A real Prometheus takes them.
prometheus_port=$(free_port)
mkdir "$run/prometheus"
cat >"$run/prometheus.yml" <<END
global: { scrape_interval: 1s }
scrape_configs:
  - job_name: hvguest
    static_configs: [{ targets: ['127.0.0.1:$port'] }]
  - job_name: hvhost
    http_sd_configs: [{ url: 'http://127.0.0.1:$((port + 50))/v1/targets', refresh_interval: 1s }]
END
prometheus --config.file="$run/prometheus.yml" --storage.tsdb.path="$run/prometheus" \
    --web.listen-address="127.0.0.1:$prometheus_port" >"$run/prometheus.log" 2>&1 &
prometheus_pid=$!
on_exit stop "$prometheus_pid"

# query EXPRESSION: the first value
query() {
    curl -s --max-time 5 "http://127.0.0.1:$prometheus_port/api/v1/query" --data-urlencode "query=$1" |
        jq -r '.data.result[0].value[1]'
}
check "Prometheus scrapes the guest, and the host that it has found by HTTP" soon eval '[ "$(query "sum(up)")" = 2 ]'
check "... and has its heartbeats" soon eval '[ "$(query "hvguest_heartbeats_total >= bool 2")" = 1 ]'
is "... with the type" "$(curl -s "http://127.0.0.1:$prometheus_port/api/v1/metadata?metric=hvguest_memory_floor_bytes" |
    jq -r '.data.hvguest_memory_floor_bytes[0].type')" gauge
while read -r expression; do
    is "the text's example: $expression" "$(curl -s --max-time 5 "http://127.0.0.1:$prometheus_port/api/v1/query" \
        --data-urlencode "query=$expression" | jq -r .status)" success
done < <(sed -n '/^```promql$/,/^```$/{/^```/!p}' "$monitoring")
stop "$prometheus_pid"

ends "the guest ends well" "$one_pid"
ends "the other guest ends well" "$two_pid"
ends "the host ends well" "$host_pid"
no_reports
done_testing
