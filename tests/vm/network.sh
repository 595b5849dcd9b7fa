#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What hvguestd has others do, from within its own unit, which may do none of it by itself: addresses that
# the host sets, by systemd-networkd, netplan and NetworkManager as Debian has them, each with an adapter
# of its own, and taken back if they do not come to be. Nobody denies it anything that it needs: neither the
# unit, nor AppArmor.
#
# systems: bookworm

. "$(dirname "$0")/system.sh"

declare -A mac=([lan]=00:15:5d:01:02:0a [plan]=00:15:5d:01:02:0b [manager]=00:15:5d:01:02:0c)
declare -A adapter

# Two managers get their adapters from the administrator by files; networkd has the second for netplan.
add_network() {
    vm_add_file etc/systemd/network/50-lan.network <<END &&
[Match]
MACAddress=${mac[lan]}

[Network]
Address=10.1.0.5/24
END
        vm_add_file etc/netplan/50-plan.yaml 600 <<END &&
network:
  version: 2
  ethernets:
    plan:
      match: { macaddress: "${mac[plan]}" }
      addresses: [10.2.0.5/24]
      mtu: 1400
END
        vm_add_file etc/NetworkManager/conf.d/test.conf <<END
[main]
no-auto-default=*
[keyfile]
unmanaged-devices=mac:${mac[lan]};mac:${mac[plan]}
END
}

name_of() {
    guest "ip -j link" | jq -r --arg mac "$1" '.[] | select(.address == $mac) | .ifname'
}

addresses() {
    guest "ip -j addr show dev ${adapter[$1]}" |
        jq -r '[.[].addr_info[] | select(.scope == "global" and (.tentative or .dadfailed | not)) |
            "\(.local)/\(.prefixlen)"] | sort | join(" ")'
}

# has ADAPTER ADDRESS...: these, and no others, in the order of their letters
has() {
    local now which=$1
    shift
    now=$(addresses "$which")
    echo "$which: $now"
    [ "$now" = "$*" ]
}

# set_ip ADAPTER OPTION...: the host does
set_ip() {
    local which=$1
    shift
    guest "hvhost kvp set-ip guest ${mac[$which]} $* --run-dir /run/hvhost"
}

# Another adapter has the address, so the kernel does not let this one have it.
take_address() {
    guest "ip addr add 2001:db8::99/64 dev ${adapter[$1]} nodad"
}

release_address() {
    guest "ip addr del 2001:db8::99/64 dev ${adapter[$1]}"
}

# try_manager ADAPTER NAME FILE MODE OTHER BEFORE N: what the host sets comes to be; what cannot, changes nothing
try_manager() {
    local which=$1 name=$2 file=$3 mode=$4 other=$5 before=$6 v4=192.0.2.$7/24 v6=2001:db8::$7/64
    check "$name has an adapter" eventually 60 has "$which" "$before"
    check "the host sets its addresses" set_ip "$which" --address "$v4" --address "$v6" --gateway 192.0.2.1
    check "... and they are there, and no others" eventually 30 has "$which" "$v4" "$v6"
    check "... with the route" guest "ip route show default dev ${adapter[$which]} | grep 'via 192.0.2.1'"
    is "... in a file of hvguestd's" "$(guest "stat -c '%a %U' $file")" "$mode root"
    check "another adapter gets an address that the host is about to give to this one" take_address "$other"
    check "the host is told that this cannot be" eval \
        '! set_ip "$which" --address 192.0.2.99/24 --address 2001:db8::99/64'
    check "... and the addresses are as they were" eventually 30 has "$which" "$v4" "$v6"
    check "it is the other's no more" release_address "$other"
    check "no record of a change is left" guest '! ls /run/hvguest/state/network-change.json'
}

# In this machine, which is emulated: what it runs for a change of addresses, in seconds.
netplan_takes() {
    guest 'begin=$(date +%s); netplan set ethernets.plan.mtu=1400; systemctl start hvguest-netplan
        echo $(($(date +%s) - begin))'
}

netplan_is_slow() {
    guest 'mkdir -p /run/systemd/system/hvguest-netplan.service.d
        printf "[Service]\nExecStartPost=/bin/sleep 20\n" >/run/systemd/system/hvguest-netplan.service.d/slow.conf
        systemctl daemon-reload'
}

netplan_has_ended() {
    guest '[ "$(systemctl show -p ActiveState --value hvguest-netplan)" = inactive ]'
}

for which in "${!mac[@]}"; do
    vm_adapter "$which" "${mac[$which]}"
done
vm_add_apparmor && apparmor=yes
add_network || bail_out "the network's configuration cannot be added"
vm_add_lab <<'END'
[kvp]
ip_injection = yes
END
vm_start
check "the adapters are there" guest 'modprobe virtio_net && udevadm settle'
for which in "${!mac[@]}"; do
    adapter[$which]=$(name_of "${mac[$which]}")
done
diag "$(for which in "${!adapter[@]}"; do printf '%s is %s, ' "$which" "${adapter[$which]}"; done)"
check "hvguestd works" eventually 60 works

is "hvguestd may not change an interface" "$(guest "grep CapBnd /proc/$(unit MainPID)/status" |
    while read -r _ set; do echo $((0x$set >> 12 & 1)); done)" 0

check "netplan makes configuration for networkd" guest 'netplan generate'
check "networkd is started" guest 'systemctl start systemd-networkd'
try_manager lan networkd "/etc/systemd/network/05-hvguest-${adapter[lan]}.network" 644 plan 10.1.0.5/24 7
seconds=$(netplan_takes)
diag "netplan takes $seconds s here, of 15 that it may"
if [ "$seconds" -lt 9 ]; then
    try_manager plan netplan "/etc/netplan/90-hvguest-${adapter[plan]}.yaml" 600 lan 10.2.0.5/24 8
    check "what the administrator's file has besides addresses stays" guest 'grep "mtu: 1400" /etc/netplan/50-plan.yaml'
else
    skip "the host sets addresses by netplan" "this machine is too busy, or too slow"
fi
before=$(addresses plan)
check "netplan takes longer than a host waits" netplan_is_slow
check "... which the host is told" eval '! set_ip plan --address 192.0.2.99/24'
check "... and that is all that went wrong" guest "journalctl -o cat -u hvguestd |
    grep '${adapter[plan]} does not get.* as it was: [a-z]* took too long'"
check "... and the files as they were count in the end" eventually 90 netplan_has_ended
check "... and not those that were not meant to stay" eventually 30 has plan $before

check "NetworkManager is started" guest 'systemctl start NetworkManager'
check "an administrator gives it an adapter" guest "nmcli connection add type ethernet ifname ${adapter[manager]} \
    con-name mine ipv4.method manual ipv4.addresses 10.3.0.5/24 ipv6.method ignore && nmcli connection up mine"
try_manager manager NetworkManager "/etc/NetworkManager/system-connections/hvguest-${adapter[manager]}.nmconnection" \
    600 lan 10.3.0.5/24 9
check "... and its connection is active" guest "nmcli -g NAME connection show --active | grep -x hvguest-${adapter[manager]}"

for which in lan plan manager; do
    check "the automatic keys have the address of $which" guest "hvhost kvp list guest --pool auto --run-dir /run/hvhost |
        grep 'NetworkAddressIPv4 = .*$(addresses "$which" | cut -d/ -f1)'"
done
if [ "${apparmor:-}" = yes ]; then
    check "AppArmor has denied nothing" guest '! dmesg | grep "apparmor=.DENIED"'
else
    skip "AppArmor has denied nothing" "there is no apparmor_parser on the build machine"
fi
check "no program was refused a system call" guest '! dmesg | grep type=1326'
check "it ends" power_off
check "its disk is clean" disk_is_clean "$vm_root"
done_testing
