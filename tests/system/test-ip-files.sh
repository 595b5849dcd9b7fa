#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The files that hvguestd writes for network managers (golden ones, tests/data/ip, which the unit test
# compares with what it writes), given to the managers' own programs: netplan makes configuration of
# them, NetworkManager's nmcli reads them, and a real systemd-networkd in a network namespace of its own
# gives an interface its addresses by them. Nothing of this machine's network is touched.

. "$(dirname "$0")/tap.sh"
need_root
data=$srcdir/tests/data/ip
mac=00:15:5d:01:02:0a

# --- netplan

root=$tap_dir/netplan
run_netplan() {
    local output
    output=$(netplan "$@" --root-dir "$root" 2>&1)
    [ -z "$output" ] || echo "$output"
    [ -z "$output" ]
}

# netplan_accepts FILE: with a file beside it that says only which interface it is, as cloud-init writes
netplan_accepts() {
    rm -rf "$root"
    mkdir -p "$root/etc/netplan"
    printf 'network:\n  version: 2\n  ethernets:\n    eth0:\n      match: {macaddress: "%s"}\n' \
        "$mac" >"$root/etc/netplan/50-cloud-init.yaml"
    cp "$1" "$root/etc/netplan/90-hvguest-eth0.yaml"
    chmod 600 "$root"/etc/netplan/*
    run_netplan generate && cat "$root"/run/systemd/network/10-netplan-eth0.network
}

if command -v netplan >/dev/null; then
    for file in "$data"/*.yaml; do
        check "netplan takes $(basename "$file")" netplan_accepts "$file"
    done
    netplan_accepts "$data/off-link.yaml" >"$tap_dir/off-link"
    check "... and makes the same of it as is written for networkd" eval \
        "grep -qx 'Gateway=203.0.113.1' '$tap_dir/off-link' && grep -qx GatewayOnLink=true '$tap_dir/off-link'"
else
    skip "netplan takes the files" "needs netplan.io"
fi

# --- NetworkManager

# nm_accepts FILE: it reads the connection, and has all the addresses and gateways of it
nm_accepts() {
    local seen value
    seen=$(nmcli --offline connection modify connection.id read <"$1") || return 1
    echo "$seen"
    for value in $(sed -n 's/^address[0-9]*=//p; s/^gateway=//p' "$1"); do
        grep -qF "$value" <<<"$seen" || return 1
    done
    grep -qix "mac-address=$mac" <<<"$seen"
}

if command -v nmcli >/dev/null; then
    for file in "$data"/*.nmconnection; do
        check "NetworkManager reads $(basename "$file")" nm_accepts "$file"
    done
else
    skip "NetworkManager reads the files" "needs nmcli"
fi

# --- systemd-networkd

networkd=/lib/systemd/systemd-networkd

# Runs in mount and network namespaces of its own: folders that networkd reads and writes are its own, and
# with a /sys that cannot be written to it does not wait for udev.
with_networkd() {
    local file=$1 _
    shift
    mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/netif/{links,leases,lldp} /run/systemd/network &&
        chown -R systemd-network: /run/systemd/netif && mount -t tmpfs tmpfs /etc/systemd/network &&
        mount -t sysfs -o ro sysfs /sys && cp "$file" /etc/systemd/network/05-hvguest-eth0.network || return 1
    ip link add eth0 address "$mac" type veth peer name other && ip link set other up || return 1
    SYSTEMD_LOG_LEVEL=info "$networkd" >"$tap_dir/networkd.log" 2>&1 &
    for _ in {1..200}; do
        "$@" && break
        sleep 0.1
    done
    "$@"
    set -- $?
    kill %1
    wait %1 2>/dev/null
    ip addr show dev eth0
    ip route
    ip -6 route
    cat "$tap_dir/networkd.log"
    return "$1"
}

# has TEXT...: the interface has these addresses, and there are these routes
has() {
    local text
    for text; do
        { ip -o addr show dev eth0 scope global; ip route; ip -6 route; } | grep -qF "$text" || return 1
    done
}

in_namespaces() {
    export -f with_networkd has
    export networkd mac tap_dir
    unshare -m -n --propagation private bash -c 'with_networkd "$@"' networkd "$@"
}

if [ -x "$networkd" ] && unshare -n ip link add eth0 type veth peer name other 2>/dev/null; then
    check "systemd-networkd sets static addresses" in_namespaces "$data/static.network" \
        has 192.0.2.7/24 "default via 192.0.2.1"
    check "... of both families" in_namespaces "$data/both.network" \
        has 192.0.2.7/25 2001:db8::7/64 "default via fe80::1"
    check "... with gateways that are not in their network" in_namespaces "$data/off-link.network" \
        has 192.0.2.7/32 198.51.100.7/24 "default via 203.0.113.1" "default via 198.51.100.1"
    check "... no line is one that it does not know" eval "! grep -iE 'unknown|invalid|failed to parse' \
        '$tap_dir/networkd.log'"
else
    skip "systemd-networkd sets the addresses" "needs systemd-networkd and veth"
fi

done_testing
