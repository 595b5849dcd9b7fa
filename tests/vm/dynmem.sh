# SPDX-License-Identifier: MIT
#
# hvguestd with dynamic memory in the guest of nested.sh; to be sourced after that.

start_daemon() {
    guest 'hvguestd --takeover dynmem --report-delay 0 >>/run/hvguestd.log 2>&1 & echo $! >/run/hvguestd.pid'
}

# Ends hvguestd, whose process is in /run/hvguestd.pid: it gives the device back first.
stop_daemon() {
    guest 'kill $(cat /run/hvguestd.pid)
        for i in $(seq 300); do [ -d /proc/$(cat /run/hvguestd.pid) ] || exit 0; usleep 100000; done
        exit 1'
}

# No chance to put anything in order: kill_daemon leaves the keeper, kill_both does not.
kill_daemon() {
    guest 'pid=$(cat /run/hvguestd.pid); kill -KILL $pid
        for i in $(seq 300); do [ -d /proc/$pid ] || exit 0; usleep 100000; done; exit 1'
}

kill_both() {
    guest 'keeper=$(pidof hvguest-keeper); kill -KILL $(cat /run/hvguestd.pid) $keeper
        for i in $(seq 300); do [ -d /proc/$(cat /run/hvguestd.pid) ] || [ -d /proc/$keeper ] || exit 0; usleep 100000; done
        exit 1'
}

# log_says PATTERN: hvguestd, at any time
log_says() {
    guest "grep -e '$1' /run/hvguestd.log"
}

status() {
    guest 'hvguestctl status --json'
}

# memory KEY: of hvguestd's status
memory() {
    status | jq -r ".memory.$1"
}

memory_is() {
    local now
    now=$(memory "$1")
    echo "$1: $now"
    [ "$now" = "$2" ]
}

# near A B: whether they differ by 1 % at most
near() {
    echo "$1 and $2"
    [ $((($1 > $2 ? $1 - $2 : $2 - $1) * 100)) -le "$2" ]
}

at_least() {
    echo "$1, at least $2"
    [ "$1" -ge "$2" ]
}

meminfo() {
    guest "awk '/^$1:/ { print \$2 * 1024 }' /proc/meminfo"
}

# What nobody uses. MemAvailable lacks what waits on the processors' lists of free pages, which is
# where a balloon's pages go first: 50 MiB and more, until the kernel trims the lists.
unused_bytes() {
    local lists
    lists=$(guest "awk '/^ +count:/ { pages += \$2 } END { print pages * 4096 }' /proc/zoneinfo")
    echo $(($(meminfo MemAvailable) + lists))
}

# No warning of QEMU about what the guest sent
no_complaint() {
    ! grep -i -e 'unexpected .* state' -e 'too short' -e 'unknown DM' -e 'ignoring' "$vm_results/console.txt"
}
