# SPDX-License-Identifier: MIT
#
# A machine's end of a port; sourced there by a shell that may be busybox's. What a machine is asked
# to do comes through virtio ports, which have names.

# port NAME: its device; waits for it, because drivers probe in their own time
port() {
    local tries=200 dir
    while [ "$tries" -gt 0 ]; do
        for dir in /sys/class/virtio-ports/*; do
            if [ "$(cat "$dir/name" 2>/dev/null)" = "$1" ] && [ -c "/dev/${dir##*/}" ]; then
                echo "/dev/${dir##*/}"
                return 0
            fi
        done
        tries=$((tries - 1))
        sleep 0.02
    done
    echo "there is no port '$1'" >/dev/console
    return 1
}

# serve NAME: does what comes through a port, for ever. A request is one line, a shell script in
# base64. The answer is one line: the script's status, and what it printed in base64.
serve() {
    local device line status
    device=$(port "$1") || return 1
    exec 3<>"$device"
    while :; do
        read -r line <&3 || { sleep 0.05; continue; }
        echo "$line" | base64 -d >/run/script
        sh /run/script >/run/output 2>&1 </dev/null 3>&-
        status=$?
        echo "$status $(base64 -w0 </run/output)" >&3
    done
}
