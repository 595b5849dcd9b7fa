# SPDX-License-Identifier: MIT
#
# A client program that stays between two calls of a hook, with its session and what that holds. To
# be sourced. It ends by itself when the freeze must be over, and with it what it holds, whatever
# becomes of the hook, of hvguestd or of the machine's peace.

session=${HVGUEST_RUN_DIR:?}/session-${HVGUEST_HOOK:?}
session_seconds=$((${HVGUEST_FREEZE_TIMEOUT:?} + 60))

# session_open COMMAND...: starts it; it reads what session_say writes
session_open() {
    rm -rf "$session"
    mkdir -m 700 "$session" && mkfifo -m 600 "$session/in" || return 1
    setsid timeout "$session_seconds" \
        sh -c 'exec 0<>"$0/in" >"$0/out" 2>&1; : >"$0/open"; exec "$@"' "$session" "$@" &
    echo $! >"$session/pid"
    # What is written to a pipe that nobody has open is lost.
    until [ -e "$session/open" ]; do
        session_lives || return 1
        sleep 0.02
    done
}

session_lives() {
    kill -0 "$(cat "$session/pid" 2>/dev/null)" 2>/dev/null
}

# session_say TEXT LINE: has it read TEXT, and waits until it has written LINE; fails if it ends
session_say() {
    session_lives || return 1
    # For reading, too: a pipe that nobody reads must not keep us.
    printf '%s\n' "$1" 1<>"$session/in"
    until grep -qx "$2" "$session/out"; do
        session_lives || return 1
        sleep 0.05
    done
}

session_output() {
    cat "$session/out" 2>/dev/null
}

# session_close: ends it, and what it holds
session_close() {
    kill "$(cat "$session/pid" 2>/dev/null)" 2>/dev/null
    rm -rf "$session"
}
