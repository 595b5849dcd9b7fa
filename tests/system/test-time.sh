#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The host tells the time. A real chronyd takes the samples, by the reference clock that is shipped; it
# keeps its hands off this machine's clock (-x), as hvguestd does in a lab unless it is told otherwise,
# and in this test it never is: how a clock is really set is for the VM test `unit`.

. "$(dirname "$0")/tap.sh"
need_programs chronyd chronyc
[ "$(id -u)" = 0 ] || skip_all "needs root: chronyd"
. "$(dirname "$0")/lab.sh"
watchdog 120

srcdir=${srcdir:-$(dirname "$0")/../..}
sock=$run/chrony/hvguest.sock

# The shipped reference clock, at another place and in more of a hurry.
start_chronyd() {
    mkdir -p "$run/chrony" && chmod 750 "$run/chrony"
    sed "s|/run/chrony/|$run/chrony/|; s|poll 4|poll 0|" "$srcdir/packaging/chrony/hvguest.conf" \
        >"$run/chrony.conf"
    cat >>"$run/chrony.conf" <<END
pidfile $run/chrony/chronyd.pid
bindcmdaddress $run/chrony/command.sock
cmdport 0
port 0
END
    chronyd -x -n -d -u root -f "$run/chrony.conf" >"$run/chronyd.log" 2>&1 &
    chronyd_pid=$!
    on_exit stop "$chronyd_pid"
    soon test -S "$run/chrony/command.sock" || bail_out "chronyd does not start: $(cat "$run/chronyd.log")"
}

# asks_chronyd WHAT AWK-CONDITION: about a line of chronyc's, with commas in between
asks_chronyd() {
    chronyc -h "$run/chrony/command.sock" -c "$1" | tee /dev/stderr |
        awk -F, "$2 { found = 1 } END { exit !found }"
}

# selected OFFSET: the source is in use, and by it this machine's clock is so many seconds behind, which
# the last sample confirms: on its way there chronyd swings
selected() {
    asks_chronyd sources '$2 == "*" && $3 == "HVGS" && $9 > -0.01 && $9 < 0.01' &&
        asks_chronyd tracking "\$2 == \"HVGS\" && \$5 > $1 - 0.01 && \$5 < $1 + 0.01"
}

# measured OFFSET: the same of the last sample, as chronyd writes it: ahead is positive
measured() {
    asks_chronyd sources "\$3 == \"HVGS\" && \$9 > $1 - 1 && \$9 < $1 + 1"
}

time_is() {
    [ "$(guest_value one ".time | $1")" = "$2" ]
}

more_than() {
    [ "$(guest_value one ".time.$1")" -gt "$2" ]
}

start_host

# --- a lab, without a word about time

start_guest one --memory no
check "the guest speaks the newest version" soon time_is .version 4.0
check "it has been told the time" soon more_than messages 0
is "in a lab the host may do nothing" "$(guest_value one .time.mode)" off
check "... which is why nothing was done" time_is .last.skipped "time synchronisation is off here"
check "it knows the host's clock, for it is its own" \
    eval 'guest_value one ".time.last.offset_seconds | . > -0.01 and . < 0.01" | grep -qx true'
check "host and guest read the same counter" time_is .last.age_measured true
check "status tells it to people" eval 'guest one status | grep -q "not followed: time synchronisation is off"'
ends "the guest ends" "$one_pid"

# --- samples that nobody takes

start_guest one --memory no --time-sync sample --chrony-socket "$sock"
check "samples come" soon more_than messages 0
check "... and nobody takes them" soon time_is '.last.skipped // "" | startswith("nobody takes samples")' true
is "the host is answered all the same" "$(host_value one '.time.refused')" 0

# --- chronyd

check "a host that is right, and in a hurry" host time one --every 0.2
start_chronyd
check "chronyd selects it, and is right with it" soon selected 0
check "the guest counts what chronyd took" soon more_than samples_taken 5
check "nothing is left out any more" soon time_is .last.skipped null
check "the host is a quarter of a second ahead" host time one --offset 0.25
check "... as chronyd sees" soon selected 0.25
is "and no clock was set" "$(guest_value one '.time.steps + .time.failed_steps')" 0

# --- what must not reach chronyd

check "messages are old, but their age is known" host time one --age 3
check "... and told" soon time_is '.last.age_seconds >= 3' true
sleep 3
check "... so chronyd sees nothing of it" selected 0.25
check "messages are too old" host time one --age 11
check "... and are left out" soon time_is '.stale > 3' true
check "... for a reason" time_is .last.skipped "the host's message was too long on its way"
check "their age is no matter again, but the host is not synchronized" host time one --age 0 --leap 3
check "... and gives no samples" soon time_is .last.skipped "the host says that its own clock is not synchronized"
taken=$(guest_value one .time.samples_taken)
sleep 1
is "... at all" "$(guest_value one .time.samples_taken)" "$taken"
check "the host is synchronized again, at stratum 3" host time one --leap 0 --stratum 3
check "samples are taken again" soon more_than samples_taken "$taken"
check "stratum 16 is none" host time one --stratum 16
check "... and gives no samples" soon time_is .last.skipped "the host says that its own clock is not synchronized"
check "the host is right again" host time one --stratum 0
check "samples are taken again" soon time_is .last.skipped null

# --- a host that is far off, and asks for its time to be taken on

check "the host is two hours behind" host time one --offset -7200
check "... as chronyd measures" soon measured 7200
check "it asks for the clock to be set" host time one --step
check "... which it may not here" soon time_is '.skipped > 0' true
is "... so the clock is not" "$(guest_value one '.time.steps + .time.failed_steps')" 0

# --- chronyd and the host come and go

ends "chronyd ends" "$chronyd_pid" TERM
check "... and the guest says so" soon time_is '.last.skipped // "" | startswith("nobody takes samples")' true
check "the host is right again" host time one --offset 0
start_chronyd
check "chronyd is back, and has its source" soon selected 0
check "the channel is taken away" host rescind one timesync
check "the guest has none" soon time_is .channel none
refuse "it cannot be told the time" 1 host time one --step
check "the channel comes back" host offer one timesync
check "it is told the time again, with a step first" soon eval '[ "$(host_value one .time.syncs)" -ge 3 ]'
ends "the guest ends" "$one_pid"

# --- wrong requests

refuse "a guest that is not there" 1 host time nobody
refuse "what is no number" 2 host time one --offset much
refuse "what is none either" 2 host time one --offset nan
refuse "two messages at once" 2 host time one --step --sample
refuse "a mode that does not exist" 2 "$hvguestd" --time-sync always
refuse "a socket that is no path" 2 "$hvguestd" --chrony-socket sock
start_guest one --memory no
check "a guest is there again" soon time_is .version 4.0
refuse "a leap indicator that does not exist" 2 host time one --leap 4
refuse "a period of nothing" 2 host time one --every 0
ends "the guest ends" "$one_pid"
ends "the host ends" "$host_pid"
no_reports
done_testing
