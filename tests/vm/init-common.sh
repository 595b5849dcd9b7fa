# SPDX-License-Identifier: MIT
#
# The first process of both machines of a VM test, up to where they differ; sourced by `init` under
# busybox. What a machine is asked to do comes through virtio ports, which have names.

export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin

/bin/busybox mkdir -p /dev /proc /sys /tmp /run /sbin
/bin/busybox --install -s /bin
ln -sf /bin/busybox /sbin/modprobe
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mount -t tmpfs none /tmp

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
        usleep 20000
    done
    echo "init: there is no port '$1'" >/dev/console
    return 1
}

# serve NAME: does what comes through a port, for ever. A request is one line, a shell script in
# base64. The answer is one line: the script's status, and what it printed in base64.
serve() {
    local device line status
    device=$(port "$1") || return 1
    exec 3<>"$device"
    while :; do
        read -r line <&3 || { usleep 50000; continue; }
        echo "$line" | base64 -d >/run/script
        sh /run/script >/run/output 2>&1 </dev/null 3>&-
        status=$?
        echo "$status $(base64 -w0 </run/output)" >&3
    done
}

modprobe virtio_pci
modprobe virtio_console
