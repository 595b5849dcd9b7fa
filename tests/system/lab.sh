# SPDX-License-Identifier: MIT
#
# A lab of the real programs: one hvhost and any number of guests. To be sourced after tap.sh.
#
#     start_host --startup 1G
#     start_guest one --memory no
#     check "it connects" soon connected one
#     ends "Ctrl-C ends the guest" "$one_pid"
#     no_reports
#     done_testing
#
# Everything lives in $run, a folder on a tmpfs, because the freezer's record must be in memory: the
# host in $run/host, each guest in $run/NAME, logs beside them. What is started is stopped when the
# test ends; start it from the test's own shell, not inside of check. no_reports fails if a program
# has said anything that only a sanitizer or an assertion says, or was refused a system call.

build=$(cd "${builddir:-.}" && pwd)
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || skip_all "needs a tmpfs at /dev/shm"
command -v jq >/dev/null || skip_all "needs jq"
run=$(mktemp -d /dev/shm/hvguest-test.XXXXXX) || exit 1
on_exit rm -rf "$run"
chmod 711 "$run"
lab_began=$(cut -d ' ' -f 1 /proc/uptime)

hvguestd=$build/daemon/hvguestd
hvguestctl=$build/cli/hvguestctl
hvhost=$build/host/hvhost
freezer=$build/fsfreeze/hvguest-freezer
keeper=$build/balloon/hvguest-keeper

# host VERB...: asks the host; guest NAME VERB...: asks that guest's daemon
host() {
    "$hvhost" "$@" --run-dir "$run/host"
}

guest() {
    local name=$1
    shift
    "$hvguestctl" --api "$run/$name/api.sock" "$@"
}

# host_value NAME FILTER, guest_value NAME FILTER: what jq finds in the status
host_value() {
    host status "$1" --json 2>/dev/null | jq -r "$2"
}

guest_value() {
    guest "$1" status --json 2>/dev/null | jq -r "$2"
}

# soon COMMAND...: whether it comes true within twenty seconds
soon() {
    local _
    for _ in {1..200}; do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

# start_host OPTION...: $host_pid; waits until guests can connect
start_host() {
    "$hvhost" serve --run-dir "$run/host" "$@" >>"$run/host.log" 2>&1 &
    host_pid=$!
    on_exit stop "$host_pid"
    soon host status || bail_out "hvhost does not start: $(cat "$run/host.log")"
}

# end_keeper NAME: ends what a guest that was killed has left; its process is in the record
end_keeper() {
    local pid
    pid=$(od -An -tu4 -j48 -N4 "$run/$1/keeper.record" 2>/dev/null | tr -d ' ')
    [ "$(cat "/proc/${pid:-none}/comm" 2>/dev/null)" != hvguest-keeper ] || kill -TERM "$pid"
}

# start_guest NAME OPTION...: $NAME_pid; waits until it answers. Tests beside this one make the machine
# stall, which is no reason to give less memory, unless an option says so.
start_guest() {
    local name=$1
    shift
    "$hvguestd" --lab "$run/host/lab.sock" --name "$name" --run-dir "$run/$name" \
        --freezer "$freezer" --keeper "$keeper" --stall-limit 0 "$@" >>"$run/$name.log" 2>&1 &
    printf -v "${name}_pid" %s $!
    on_exit end_keeper "$name"
    on_exit stop "$!"
    soon test -S "$run/$name/api.sock" || bail_out "hvguestd does not start: $(cat "$run/$name.log")"
}

connected() {
    [ "$(guest_value "$1" .host.state)" = connected ]
}

# ready NAME: every channel is open, and the host knows that memory and backup can begin
ready() {
    [ "$(host_value "$1" '.memory.state + " " + .backup.version + " " + .heartbeat.state')" = \
        "ready 5.0 ok" ]
}

# ends NAME PID [SIGNAL]: a test of its own: SIGINT, as Ctrl-C sends it, ends it with status 0
ends() {
    kill "-${3:-INT}" "$2"
    wait "$2"
    is "$1" "$?" 0
}

# murder PID: SIGKILL
murder() {
    {
        kill -KILL "$1"
        wait "$1"
    } 2>/dev/null
    return 0
}

# refused_calls: what the kernel says of system calls that our programs may not make, if it says so at
# all; they are meant to make none of those, but for the unit test that wants to be refused
refused_calls() {
    dmesg 2>/dev/null | awk -F '[][ ]+' -v began="$lab_began" -v exe="exe=\"$build/" \
        '$2 >= began && /type=1326/ && index($0, exe) && !/comm="test-confine"/' | head -5
}

# no_reports: a test of its own, for the end
no_reports() {
    local reports
    reports=$(refused_calls; grep -hE 'Sanitizer|runtime error:|Assertion|stack smashing|free\(\)|malloc' \
        "$run"/*.log "$run"/*.err 2>/dev/null | head -20)
    [ -z "$reports" ] || diag "$reports"
    is "no program has a sanitizer, an assertion or a filter of system calls complain" "$reports" ""
}
