#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A host that sets the addresses of an adapter which NetworkManager has: the real one, in mount and network
# namespaces of their own, where its folders are empty at first and eth0 is one end of a veth. It is not
# among the packages that the tests install, because it would take over the network of the machine.

. "$(dirname "$0")/tap.sh"
need_root
need_programs NetworkManager nmcli dbus-daemon jq ip
unshare -n ip link add eth0 type veth peer name other 2>/dev/null || skip_all "needs veth in a network namespace"
if [ "${in_namespaces:-}" != yes ]; then
    trap - EXIT
    rm -rf "$tap_dir"
    in_namespaces=yes exec unshare -m -n --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/lab.sh"

mac=00:15:5d:01:02:0a
connections=/etc/NetworkManager/system-connections

mkdir -p /var/lib/NetworkManager "$connections"
for dir in /run /var/lib/NetworkManager "$connections"; do
    mount -t tmpfs tmpfs "$dir" || bail_out "no namespace"
done
mkdir -p /run/dbus && mount -t sysfs -o ro sysfs /sys || bail_out "no namespace"
ip link set lo up
ip link add eth0 address "$mac" type veth peer name other && ip link set other up || bail_out "no veth"

dbus-daemon --system --nofork --nopidfile >"$run/dbus.log" 2>&1 &
on_exit stop "$!"
soon test -S /run/dbus/system_bus_socket
printf '[main]\nno-auto-default=*\n' >"$run/nm.conf"
NetworkManager --no-daemon --config "$run/nm.conf" >"$run/nm.log" 2>&1 &
nm_pid=$!
on_exit stop "$nm_pid"
soon nmcli general status || bail_out "NetworkManager does not start: $(tail -5 "$run/nm.log")"

has() {
    local address
    for address; do
        ip -o addr show dev eth0 | awk '{ print $4 }' | grep -qx "$address" || return 1
    done
}

has_only() {
    has "$@" && [ "$(ip -o -4 addr show dev eth0 | wc -l)" = "$#" ]
}

set_ip() {
    host kvp set-ip one "$mac" "$@"
}

nmcli connection add type ethernet ifname eth0 con-name lan ipv4.method manual \
    ipv4.addresses 10.0.0.5/24 ipv4.dns 10.0.0.53 ipv6.method ignore >/dev/null &&
    nmcli connection up lan >/dev/null
soon has_only 10.0.0.5/24 || bail_out "NetworkManager does not configure: $(tail -5 "$run/nm.log")"

start_host
start_guest one --memory no --ip-injection yes
guest_has_kvp() {
    host kvp list one --pool auto | grep -q NetworkAddressIPv4
}
soon guest_has_kvp || bail_out "no key-value exchange: $(tail -5 "$run/one.log")"

active() {
    nmcli -g NAME connection show --active | grep -qx "$1"
}

check "the host sets addresses of both families" set_ip --address 192.0.2.7/24 --address 2001:db8::7/64 \
    --gateway 192.0.2.1 --dns 192.0.2.53
check "... and they are there, and no other of IPv4" soon has_only 192.0.2.7/24
check "... of IPv6 too" has 2001:db8::7/64
check "... with the route" eval "ip route | grep -q 'default via 192.0.2.1 dev eth0'"
check "... and the server" eval "nmcli -g IP4.DNS device show eth0 | grep -q 192.0.2.53"
check "it is a connection of its own" active hvguest-eth0
file=$connections/hvguest-eth0.nmconnection
is "its file can be read by root only" "$(stat -c '%a %U' "$file")" "600 root"
check "the host sets others" set_ip --address 198.51.100.7/24
check "... and they take the place of the first" soon has_only 198.51.100.7/24

before=$(cat "$file")
ip addr add 2001:db8::99/64 dev other nodad
refuse "an address that does not come to be is a failure" 1 set_ip --address 192.0.2.99/24 \
    --address 2001:db8::99/64
check "... and what was there before is there again" soon has_only 198.51.100.7/24
is "... the file, too" "$(cat "$file")" "$before"

rm "$file"
nmcli connection reload && nmcli connection up lan >/dev/null
soon has_only 10.0.0.5/24
refuse "if nothing of the host's was there before" 1 set_ip --address 192.0.2.99/24 \
    --address 2001:db8::99/64
check "... the administrator's connection is up again" soon active lan
check "... with its address" soon has_only 10.0.0.5/24
check "... and no file is left" test ! -e "$file"

stop "$nm_pid"
refuse "without NetworkManager nothing is set" 1 set_ip --address 192.0.2.11/24
check "... and no file is left" test ! -e "$file"

no_reports
done_testing
