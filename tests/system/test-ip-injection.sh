#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A host that asks for the addresses of an adapter and sets them, with the real systemd-networkd, D-Bus
# and netplan: in mount and network namespaces of their own, where /run, /etc/systemd/network and
# /etc/netplan are empty at first and eth0 is one end of a veth. What cannot be applied is taken back,
# whatever ended it.

. "$(dirname "$0")/tap.sh"
need_root
need_programs networkctl dbus-daemon setpriv jq ip
networkd=/lib/systemd/systemd-networkd
[ -x "$networkd" ] || skip_all "needs systemd-networkd"
unshare -n ip link add eth0 type veth peer name other 2>/dev/null || skip_all "needs veth in a network namespace"

if [ "${in_namespaces:-}" != yes ]; then
    trap - EXIT
    rm -rf "$tap_dir"
    in_namespaces=yes exec unshare -m -n --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/lab.sh"

mac=00:15:5d:01:02:0a

mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /etc/systemd/network && mount -t sysfs -o ro sysfs /sys &&
    mkdir -p /run/systemd/netif/{links,leases,lldp} /run/systemd/network /run/dbus &&
    chown -R systemd-network: /run/systemd/netif || bail_out "no namespace"
ip link set lo up
ip link add eth0 address "$mac" type veth peer name other && ip link set other up || bail_out "no veth"

dbus-daemon --system --nofork --nopidfile >"$run/dbus.log" 2>&1 &
on_exit stop "$!"

caps=-all,+net_admin,+net_raw,+net_bind_service,+net_broadcast
start_networkd() {
    setpriv --reuid systemd-network --regid systemd-network --clear-groups --inh-caps "$caps" \
        --ambient-caps "$caps" "$networkd" >>"$run/networkd.log" 2>&1 &
    networkd_pid=$!
    on_exit stop "$networkd_pid"
    soon networkctl list
}

# has ADDRESS/PREFIX...: eth0 has these; has_only: and no other of IPv4
addresses() {
    ip -o addr show dev eth0 | awk '{ print $4 }'
}

has() {
    local address
    for address; do
        addresses | grep -qx "$address" || return 1
    done
}

has_only() {
    has "$@" && [ "$(addresses | grep -vc :)" = "$#" ]
}

state_is() {
    grep -qx "ADMIN_STATE=$1" "/run/systemd/netif/links/$(cat /sys/class/net/eth0/ifindex)"
}

set_ip() {
    host kvp set-ip one "$mac" "$@"
}

# field FILTER: of what the host is told of eth0
field() {
    host kvp get-ip one "${mac^^}" --json | jq -rc "$1"
}

printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.0.5/24\nGateway=10.0.0.1\nDNS=10.0.0.53\n' \
    >/etc/systemd/network/50-lan.network
start_networkd || bail_out "networkd does not start: $(cat "$run/networkd.log" "$run/dbus.log")"
soon has 10.0.0.5/24 || bail_out "networkd does not configure: $(cat "$run/networkd.log")"
soon state_is configured

# --- what it is

start_host
start_guest one --memory no
guest_has_kvp() {
    host kvp list one --pool auto | grep -q NetworkAddressIPv4
}
soon guest_has_kvp || bail_out "no key-value exchange: $(tail -5 "$run/one.log")"
diag "$(host kvp get-ip one "$mac" --json)"
check "the host is told the address" eval "field . | grep -q 10.0.0.5"
check "... its gateway" eval "field . | grep -q '10.0.0.1\"'"
check "... its server" eval "field . | grep -q 10.0.0.53"
check "... and that there is no DHCP" eval "field .dhcp | grep -qx false"
refuse "an adapter that is not there is not told of" 1 host kvp get-ip one 00:15:5d:99:99:99

# --- not unless it is allowed

refuse "by default the host may not set an address" 1 set_ip --address 10.0.0.9/24
check "... and is told how it could" eval "set_ip --address 10.0.0.9/24 2>&1 | grep -q 'ip_injection = yes'"
check "... and nothing has changed" has_only 10.0.0.5/24
check "... but a line in the log says how it could" grep -q "ip_injection = yes" "$run/one.log"
ends "the guest ends" "$one_pid"

# --- networkd

file=/etc/systemd/network/05-hvguest-eth0.network
start_guest one --memory no --ip-injection yes
soon guest_has_kvp
check "the host sets addresses of both families" set_ip --address 192.0.2.7/24 --address 2001:db8::7/64 \
    --gateway 192.0.2.1 --dns 192.0.2.53
check "... and they are there, and no other" soon has_only 192.0.2.7/24
check "... of IPv6 too" has 2001:db8::7/64
check "... with the route" eval "ip route | grep -q 'default via 192.0.2.1 dev eth0'"
check "... and the server" eval "networkctl status eth0 --no-pager | grep -q 192.0.2.53"
is "the file can be read by networkd, and written by root only" "$(stat -c '%a %U' "$file")" "644 root"
check "no record of a change is left" test ! -e "$run/one/state/network-change.json"
check "the automatic keys follow" eval "soon eval 'host kvp get one NetworkAddressIPv4 --pool auto | grep -qx 192.0.2.7'"
check "the host sets others" set_ip --address 198.51.100.7/24
check "... and they take the place of the first" soon has_only 198.51.100.7/24
check "an address that no machine can have is refused" \
    eval "set_ip --address 224.0.0.1/24 2>&1 | grep -q 'no machine can have such addresses'"
refuse "... and an adapter that is not there" 1 host kvp set-ip one 00:15:5d:99:99:99 --address 192.0.2.7/24
check "... and nothing has changed" has_only 198.51.100.7/24

# --- taken back

before=$(cat "$file")
check "the other end has an address that the host gives to this machine, too" \
    ip addr add 2001:db8::99/64 dev other nodad
check "an address that does not come to be is a failure" eval \
    "set_ip --address 192.0.2.99/24 --address 2001:db8::99/64 2>&1 | grep -q 'keeps those it had'"
check "... and what was there before is there again" soon has_only 198.51.100.7/24
is "... the file, too" "$(cat "$file")" "$before"
check "... and no record is left" test ! -e "$run/one/state/network-change.json"
check "hvguestctl tells" eval "guest_value one .kvp.ip_injection.problem | grep 2001:db8::99"

stop "$networkd_pid"
refuse "without networkd nothing is set" 1 set_ip --address 192.0.2.11/24
is "... and its file is as it was" "$(cat "$file")" "$before"
start_networkd
check "networkd comes back with it" soon has_only 198.51.100.7/24
soon state_is configured

# --- an /etc that cannot be written to

mount -o remount,ro /etc/systemd/network
refuse "nothing is set where nothing can be written" 1 set_ip --address 192.0.2.12/24
check "... which is said, and why" grep -q "$file: Read-only file system: ip_injection needs a folder" "$run/one.log"
check "... and nothing has changed" has_only 198.51.100.7/24
check "... and no record is left" test ! -e "$run/one/state/network-change.json"
mount -o remount,rw /etc/systemd/network

# --- the channel is taken away in the middle

set_ip --address 192.0.2.31/24 >/dev/null 2>&1 &
setting_pid=$!
kill -STOP "$networkd_pid"
check "networkd stands still, and the new file is there" soon grep -q 192.0.2.31 "$file"
check "the guest is saved" host save one
wait "$setting_pid"
is "... so the host is not told what became of it" "$?" 1
check "... and its channel is gone" soon eval '[ "$(guest_value one .kvp.channel)" = none ]'
kill -CONT "$networkd_pid"
check "what was begun is done all the same" soon has_only 192.0.2.31/24
check "... to its end" soon eval '[ "$(guest_value one .kvp.ip_injection.running)" = false ]'
check "the guest is restored" host restore one
check "... and its keys are there" soon guest_has_kvp
check "the host sets others" set_ip --address 198.51.100.7/24
check "... and they take the place of those" soon has_only 198.51.100.7/24

# --- ended in the middle

begin_and_kill() {
    set_ip --address 192.0.2.21/24 --address 2001:db8::99/64 >/dev/null 2>&1 &
    local waiter=$!
    soon grep -q 192.0.2.21 "$file"
    murder "$one_pid"
    wait "$waiter"
    grep -q 192.0.2.21 "$file" && [ -e "$run/one/state/network-change.json" ]
}
check "hvguestd is killed when the new file is there and its address not" begin_and_kill
start_guest one --memory no --ip-injection yes
check "the next one takes it back" soon grep -q "was taken back" "$run/one.log"
is "... the file" "$(cat "$file")" "$before"
check "... and the addresses" soon has_only 198.51.100.7/24
check "... and no record is left" test ! -e "$run/one/state/network-change.json"
soon guest_has_kvp

# --- nobody has it

rm "$file" /etc/systemd/network/50-lan.network
networkctl reload
soon state_is unmanaged
refuse "an adapter that no manager has is not touched" 1 set_ip --address 192.0.2.7/24
check "... and it is said" grep -q "no network manager that is known has eth0" "$run/one.log"

# --- netplan

# What netplan says to systemd is about services that are not here: a script hears it.
systemctl_stands_in() {
    cat >"$run/systemctl" <<END
#!/bin/sh
[ ! -e "$run/no-systemd" ] || { echo "no systemd" >&2; exit 1; }
[ "\$1 \$2" != "--quiet is-active" ]
END
    chmod +x "$run/systemctl" && mount --bind "$run/systemctl" "$(readlink -f "$(command -v systemctl)")"
}

# netplan_files: names and sums of them
netplan_files() {
    (cd /etc/netplan && sha256sum -- *)
}

if command -v netplan >/dev/null && command -v udevadm >/dev/null && mkdir -p /etc/netplan &&
    mount -t tmpfs tmpfs /etc/netplan && systemctl_stands_in && mount -o remount,rw /sys; then
    own=/etc/netplan/50-cloud-init.yaml
    cat >"$own" <<'END'
network:
  version: 2
  ethernets:
    eth0:
      addresses: [10.0.0.5/24]
      routes: [{to: default, via: 10.0.0.1}]
      mtu: 1400
END
    chmod 600 "$own"
    netplan generate && networkctl reload && networkctl reconfigure eth0
    check "netplan has the adapter" soon has_only 10.0.0.5/24
    soon state_is configured
    check "the host sets an address by netplan" set_ip --address 192.0.2.7/24 --gateway 192.0.2.1
    check "... and it is there, and no other" has_only 192.0.2.7/24
    is "... with its route alone" "$(ip route show default | xargs)" "default via 192.0.2.1 dev eth0 proto static"
    is "... and netplan's files together say so" "$(netplan get ethernets.eth0.addresses | xargs)" "- 192.0.2.7/24"
    check "... in a file of our own" grep -q 192.0.2.7 /etc/netplan/90-hvguest-eth0.yaml
    check "... while what the other says of the rest stays" eval \
        'grep -q 1400 "$own" && [ "$(cat /sys/class/net/eth0/mtu)" = 1400 ]'
    check "the host sets another" set_ip --address 198.51.100.7/24
    check "... which takes its place" soon has_only 198.51.100.7/24
    before=$(netplan_files)
    check "what does not come to be is a failure" eval \
        "set_ip --address 192.0.2.99/24 --address 2001:db8::99/64 2>&1 | grep -q 'keeps those it had'"
    check "... and is taken back" soon has_only 198.51.100.7/24
    is "... in netplan's files, too" "$(netplan_files)" "$before"
    touch "$run/no-systemd"
    refuse "a netplan that fails is a failure" 1 set_ip --address 192.0.2.99/24
    is "... and its files are as before" "$(netplan_files)" "$before"
    check "... with what it had to say in the log" grep -q "netplan failed: no systemd" "$run/one.log"
    check "... and no record is left" test ! -e "$run/one/state/network-change.json"
else
    skip "netplan" "needs netplan.io and udev"
fi

no_reports
done_testing
