#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The automatic keys, as a host finds them: in network and UTS namespaces of their own, where addresses
# and the host name really change. A change has to be seen within a second; the time that this takes on
# a busy machine is shown, and the limit of the test is larger.

. "$(dirname "$0")/tap.sh"
need_root
need_programs ip jq
unshare -m -n -u ip link add one type veth peer name two 2>/dev/null ||
    skip_all "needs veth in a network namespace"
if [ "${in_namespaces:-}" != yes ]; then
    trap - EXIT
    rm -rf "$tap_dir"
    in_namespaces=yes exec unshare -m -n -u --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/lab.sh"

echo before >/proc/sys/kernel/hostname
printf '127.0.0.1 localhost\n192.0.2.7 after.example.org after\n' >"$tap_dir/hosts"
mount --bind "$tap_dir/hosts" /etc/hosts || bail_out "no namespace"
ip link set lo up
ip link add one type veth peer name two
for device in one two; do
    ip link set "$device" addrgenmode none up
done

start_host
start_guest one --memory no

key() {
    host kvp get one "$1" --pool auto
}

key_is() {
    [ "$(key "$1")" = "$2" ]
}

# changes_to KEY VALUE COMMAND...: a test of its own: after the command the key soon has this value. What is
# shown has the time of hvhost's command in it, too.
took=() # milliseconds, of each change
changes_to() {
    local key=$1 value=$2 began _ seen=no
    shift 2
    began=$(date +%s%N)
    "$@"
    for _ in {1..400}; do
        ! key_is "$key" "$value" || { seen=yes; break; }
        sleep 0.02
    done
    took+=($((($(date +%s%N) - began) / 1000000)))
    diag "$key is '$value' after ${took[-1]} ms: $seen"
    is "$key follows: $*" "$(key "$key")" "$value"
}

soon key_is HostName before || bail_out "no keys: $(tail -5 "$run/one.log")"

# --- names, order, values

is "the host finds the keys in the order that it knows" \
    "$(host kvp list one --pool auto --json | jq -r '[.. | .key? // empty] | join(" ")')" \
    "FullyQualifiedDomainName IntegrationServicesVersion NetworkAddressIPv4 NetworkAddressIPv6 OSBuildNumber OSName OSMajorVersion OSMinorVersion OSVersion ProcessorArchitecture HostName"
is "the kernel" "$(key OSBuildNumber)" "$(uname -r)"
is "... without what follows its number" "$(key OSVersion)" "$(uname -r | cut -d- -f1)"
is "the architecture" "$(key ProcessorArchitecture)" "$(uname -m)"
is "the system" "$(key OSName) $(key OSMajorVersion)" \
    "$(. /etc/os-release && echo "$NAME ${VERSION_ID:-}")"
is "the version of the integration services" "$(key IntegrationServicesVersion)" 3.1
is "without a name that the resolver knows the host name stands for it" "$(key FullyQualifiedDomainName)" before
is "no addresses, for there are none but the loopback device's" \
    "$(key NetworkAddressIPv4)$(key NetworkAddressIPv6)" ""

# --- changes

changes_to NetworkAddressIPv4 192.0.2.7 ip addr add 192.0.2.7/24 dev one
changes_to NetworkAddressIPv4 "192.0.2.7;192.0.2.8" ip addr add 192.0.2.8/24 dev one
changes_to NetworkAddressIPv6 2001:db8::7 ip addr add 2001:db8::7/64 dev one nodad
changes_to NetworkAddressIPv4 192.0.2.7 ip addr del 192.0.2.8/24 dev one
changes_to HostName after sh -c 'echo after >/proc/sys/kernel/hostname'
check "... and so does the name that the resolver finds for it" soon key_is FullyQualifiedDomainName \
    after.example.org
changes_to NetworkAddressIPv4 "" ip link del one
# Others use the processors, too: most of them, then.
check "most of these changes were seen within a second" [ "$(printf '%s\n' "${took[@]}" | sort -n | sed -n 4p)" -lt 1000 ]

# --- a list that is too long

ip link add one type veth peer name two
for i in {1..200}; do echo "addr add 10.0.0.$i/24 dev one"; done | ip -batch -
whole() {
    local list
    list=$(key NetworkAddressIPv4)
    diag "${#list} bytes, the last is ${list##*;}"
    [ "${#list}" -gt 990 ] && [ "${#list}" -le 1022 ] && grep -qx '10\.0\.0\.[0-9]*' <<<"${list##*;}"
}
check "a list that does not fit ends with a whole address" soon whole

# --- nothing happens by itself

refreshes() {
    guest_value one .kvp.automatic.refreshes
}
soon eval '[ "$(guest_value one .kvp.automatic.looking_up)" = false ]'
sleep 1
before=$(refreshes)
sleep 3
is "without a change nothing is read" "$(refreshes)" "$before"
is "everything is watched" \
    "$(guest_value one '.kvp.automatic | [.addresses_problem, .host_name_problem] | map(. // "") | join("")')" ""

no_reports
done_testing
