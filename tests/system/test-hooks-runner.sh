#!/bin/bash
# SPDX-License-Identifier: MIT
#
# All of test-hooks.sh once more, with hooks that are run by hvguest-hook in place of hvguestd; and what
# can go wrong between the two. systemd-socket-activate stands for hvguest-hook.socket: one runner for
# each connection. tests/vm/unit.sh has the real units.

for program in systemd-socket-activate socat setpriv; do
    command -v "$program" >/dev/null || {
        echo "1..0 # SKIP needs $program"
        exit 0
    }
done

# runner_of FILE: the runner of the hook whose number is there
runner_of() {
    awk '{ print $4 }' "/proc/$(cat "$1")/stat"
}

# say_to_runner TEXT: what printf makes of it, in one datagram
say_to_runner() {
    printf "$1" | timeout 20 socat -t 20 - "UNIX-CONNECT:$runner,type=5" 2>&1
}

# complains TEXT: a runner, of what came
complains() {
    soon grep -q "hvguest-hook: .*$1" "$run/runner.log"
}

runner_faults() {
    one_starts

    begin
    hook 10-good "readlink /proc/\$PPID/exe"
    check "runner: a backup" backup runner
    is "runner: it is what runs the hooks" "$(receipt '.hooks[0].runs[].output' | xargs)" \
        "$hook_program $hook_program"
    hook 20-broken
    echo '#!/nowhere/at/all' >"$hooks/20-broken"
    refuse "runner: a hook that cannot be executed" 1 backup broken
    is "runner: is named with the reason" "$(receipt .result)" \
        "nothing was frozen: the hook 20-broken could not be run: No such file or directory"

    # Killed before its hook.
    begin
    hook 10-good
    hook 20-slow "[ \$1 != freeze ] || { echo \$\$ >$run/slow; exec sleep 300; }"
    rm -f "$run/slow"
    ask_backup lost &
    backup_pid=$!
    soon has_number "$run/slow"
    kill -KILL "$(runner_of "$run/slow")"
    wait "$backup_pid"
    is "killed runner: the backup fails" $? 1
    check "killed runner: its hook is ended" soon is_gone "$run/slow"
    soon idle
    is "killed runner: which is called back, as are the others" "$(calls)" \
        "10-good freeze,20-slow freeze,20-slow abort,10-good abort,"
    check "killed runner: the log tells" grep -q "the runner of 20-slow has ended before it" "$run/one.log"

    # A kill of hvguestd: what holds is ended at once, by the runner, whoever it has become; what is called
    # back comes to its end.
    begin
    hook 20-slow "[ \$1 != freeze ] || setpriv --reuid=65534 sh -c 'echo \$\$; exec sleep 300' >$run/slow"
    rm -f "$run/slow"
    ask_backup other-user &
    backup_pid=$!
    soon has_number "$run/slow"
    murder "$one_pid"
    check "killed hvguestd: a hook that holds is ended, though it is another user" soon is_gone "$run/slow"
    wait "$backup_pid"
    one_starts
    check "killed hvguestd: it is called back" soon grep -q "20-slow abort" "$calls"
    begin
    hook 20-slow "[ \$1 = freeze ] || { echo \$\$ >$run/slow; sleep 1; echo 20-slow done >>$calls; }"
    rm -f "$run/slow"
    ask_backup called-back
    soon has_number "$run/slow"
    murder "$one_pid"
    check "killed hvguestd: a hook that is called back comes to its end" soon grep -q done "$calls"
    one_starts
    is "killed hvguestd: and is not called again" "$(calls)" "20-slow freeze,20-slow thaw,20-slow done,"

    # Nobody there.
    begin
    hook 10-good
    stop "$runner_pid"
    refuse "no runner: a backup fails" 1 backup nobody
    is "no runner: and names the remedy" "$(receipt .result)" "nothing was frozen: the hook 10-good could not \
be run: nobody runs hooks at $runner: systemctl start hvguest-hook.socket"
    is "no runner: hvguestd has run nothing itself" "$(calls)" ""
    rm -f "$runner"
    refuse "no runner: the plan tells before" 1 guest one plan
    start_runner
    check "no runner: a backup when there is one" backup somebody

    # Gone while a hook holds: it is not forgotten.
    begin
    hook 10-good
    check "no runner on the way back: frozen by hand" guest one freeze
    stop "$runner_pid"
    rm -f "$runner"
    guest one thaw >/dev/null 2>&1
    is "no runner on the way back: the hook is not called" "$(calls)" "10-good freeze,"
    start_runner
    stop "$one_pid"
    one_starts
    check "no runner on the way back: it is by the next hvguestd" soon grep -q "10-good abort" "$calls"
    soon idle
    check "no runner on the way back: once" [ ! -e "$run/one/hooks.json" ]

    # Kills of hvguestd while its runner has not begun: it is late, and there is nobody to hold for.
    begin
    hook 10-good
    stop "$runner_pid"
    rm -f "$runner"
    hook_program=$run/late-runner
    printf '#!/bin/sh\n: >%s\nsleep 1\nexec %s\n' "$run/late" "$build/fsfreeze/hvguest-hook" >"$hook_program"
    chmod 755 "$hook_program"
    start_runner
    ask_backup late &
    backup_pid=$!
    soon test -e "$run/late"
    murder "$one_pid"
    wait "$backup_pid"
    check "late: a hook that nobody waits for is not started" complains "not started: hvguestd has ended"
    is "late: ..." "$(calls)" ""
    one_starts
    check "late: it is called back all the same" soon grep -q "10-good abort" "$calls"
    soon idle
    stop "$runner_pid"
    rm -f "$runner"
    hook_program=$build/fsfreeze/hvguest-hook
    start_runner

    # Peers that are none of ours. In a run there are at least five numbers, and what the output goes to.
    local word='\1\0\0\0' path='/bin/true\0'
    is "bad peer: an unknown message" "$(say_to_runner 'nonsense')" ""
    check "bad peer: is named" complains "it is malformed"
    begin
    is "bad peer: a command, but nothing for its output" \
        "$(say_to_runner "$word$word$word$word\0\0\0\0$path")" ""
    is "bad peer: a signal before there is a hook" "$(say_to_runner '\2\0\0\0\11\0\0\0')" ""
    is "bad peer: one that hangs up" "$(say_to_runner '')" ""
    check "bad peer: is named" complains "the caller is gone"
    chmod 666 "$runner"
    is "bad peer: another user" "$(setpriv --reuid=65534 --clear-groups \
        socat -t 20 -u "UNIX-CONNECT:$runner,type=5" - 2>&1)" ""
    check "bad peer: is refused" complains "refused: the other side is somebody else than root"
    chmod 600 "$runner"
    refuse "bad peer: something else than a connection" 1 "$hook_program" </dev/null
    begin
    hook 10-good
    check "bad peers: a backup after all that" backup good
    is "bad peers: ..." "$(calls)" "10-good freeze,10-good thaw,"
    stop "$one_pid"
}

hooks_by=runner
. "$(dirname "$0")/test-hooks.sh"
