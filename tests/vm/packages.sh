#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The Debian packages on a clean Debian with systemd: installed, used, upgraded while a host has memory,
# run with an /etc that cannot be written to, removed and purged. What is left then is what README.Debian
# says, found by comparing all files of the system.
#
# There is no VMBus here: what starts the service when there are devices is shown in two halves, by udev's
# own test of the rules with a device that it is made to believe in, and by what the rule does for a device
# that there is.
#
# systems: bookworm

. "$(dirname "$0")/system.sh"

debs=${vm_packages:?}

# next_version: the package of the guest again, as its next version
next_version() {
    local tree=$vm_dir/next
    dpkg-deb -R "$(echo "$debs"/hvguest_*.deb)" "$tree" && sed -i 's/^Version: .*/&+next/' "$tree/DEBIAN/control" &&
        dpkg-deb --root-owner-group -Znone -b "$tree" "$vm_add/srv/next.deb" >/dev/null && rm -r "$tree"
}

# A shell's: every file of the system, but for what the system itself writes while it runs.
files='find / -xdev \( -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /srv -o -path /proc \
    -o -path /sys -o -path /dev -o -path /root -o -path /var/lib/dpkg \) -prune -o -print | LC_ALL=C sort'

# device_starts CLASS_ID: whether udev's rules have systemd start the target for a device of VMBus of this
# class. udev is shown a tree of ours in place of /sys.
device_starts() {
    guest "unshare -m sh -c '
        device=/run/fake-sys/devices/vmbus_test
        mkdir -p \$device /run/fake-sys/bus/vmbus && echo {$1} >\$device/class_id &&
        echo MODALIAS=vmbus:test >\$device/uevent && ln -sfn ../../bus/vmbus \$device/subsystem &&
        mount --bind /run/fake-sys /sys &&
        SYSTEMD_DEVICE_VERIFY_SYSFS=0 udevadm test --action=add /sys/devices/vmbus_test 2>&1'" |
        tee /dev/stderr | grep -q '^SYSTEMD_WANTS=hvguest-devices.target$'
}

is_active() {
    guest "systemctl is-active $1"
}

is_not_active() {
    guest "! systemctl is-active $1"
}

vm_stage=$vm_dir/nothing # nothing is installed but the packages
mkdir -p "$vm_stage" "$vm_add/srv" && cp "$debs"/*.deb "$vm_add/srv/" && next_version ||
    bail_out "there are no packages in $debs"
vm_add_file srv/hook 755 <<'END'
#!/bin/sh
echo "$1" >>/run/hook-calls
END
for name in kvp vss; do
    printf '[Unit]\nDescription=A stock daemon\n[Service]\nExecStart=/bin/sleep infinity\n' |
        vm_add_file "usr/local/lib/systemd/system/hv-$name-daemon.service"
done
vm_start

# An empty folder of units goes with the next unit that is disabled, whoever made it.
guest 'find /etc/systemd/system -type d -empty -delete'
check "what there is before is noted" guest "$files >/run/files; [ \$(wc -l </run/files) -gt 1000 ]"
check "the packages can be installed" guest 'dpkg -i /srv/hvguest_*.deb /srv/hvhost_*.deb /srv/hvguest-d*.deb' 200
is "hvguestd is enabled" "$(guest 'systemctl is-enabled hvguestd')" enabled
is "hvhost is not" "$(guest 'systemctl is-enabled hvhost')" disabled
check "hvguestd was not started, for this is not Hyper-V" is_not_active hvguestd
check "... which is no failure" unit_is ConditionResult no
check "systemd has nothing to complain about" guest 'systemctl is-system-running || { systemctl --failed; false; }'
check "the units are right in systemd's eyes" guest \
    'systemd-analyze verify --man=no hvguestd.service hvguest-devices.target hvhost.service'
refuse "the program itself says that this is not Hyper-V" 4 guest 'hvguestd'

# --- what starts it

check "a device for dynamic memory starts it" device_starts 525074dc-8985-46e2-8057-a307dc18a502
check "so does one for backup" device_starts 35fa2e29-ea23-4236-96ae-3a6ebacba440
check "a network card does not" eval '! device_starts f8615163-df3e-46c5-913f-f2d2f965ed0e'

guest 'mkdir -p /etc/systemd/system/hvguestd.service.d /run/udev/rules.d &&
    printf "[Unit]\nConditionVirtualization=\n" >/etc/systemd/system/hvguestd.service.d/lab.conf &&
    printf "%s\n" "[daemon]" "state_dir = /var/lib/hvguest" "[lab]" "socket = /run/hvhost/lab.sock" \
        "[kvp]" "dir = /var/lib/hyperv" "[backup]" "freeze_roots = /srv/data" >/etc/hvguest/hvguest.conf.d/lab.conf &&
    sed "s/^SUBSYSTEM!=\"vmbus\"/KERNEL!=\"zero\"/; s/^ATTR{class_id}==\"{525[^\"]*\"/KERNEL==\"zero\"/" \
        /lib/udev/rules.d/60-hvguest.rules >/run/udev/rules.d/60-hvguest.rules &&
    systemctl daemon-reload && udevadm control --reload' || bail_out "the lab cannot be configured"
check "the host is started" guest 'systemctl enable --now hvhost'
check "hvguestd is disabled" guest 'systemctl disable hvguestd'
check "a device appears" guest 'udevadm trigger --settle --action=add /sys/class/mem/zero'
check "... for which there is a unit" eventually 60 is_active hvguest-devices.target
check "... but what is disabled is not started" is_not_active hvguestd
check "hvguestd is enabled" guest 'systemctl enable hvguestd'
check "the device goes" guest 'udevadm trigger --settle --action=remove /sys/class/mem/zero'
check "... and systemd sees that" eventually 60 is_not_active hvguest-devices.target
check "it comes back" guest 'udevadm trigger --settle --action=add /sys/class/mem/zero'
check "... and starts it" eventually 60 is_active hvguestd
check "it works" eventually 60 works
check "a stock daemon takes its place" guest 'systemctl start hv-kvp-daemon hv-vss-daemon'
check "... and has it until hvguestd is started" is_not_active hvguestd
check "hvguestd takes it back" guest 'systemctl start hvguestd'
check "... from both" is_not_active "hv-kvp-daemon hv-vss-daemon"
check "it works" eventually 60 works

# --- in use

check "a monitor has nothing to complain about" eventually 60 guest 'hvguestctl check'
check "data is frozen and thawed" guest 'mkdir -p /srv/data && ln -s /srv/hook /etc/hvguest/freeze-hook.d/10-hook && truncate -s 32M /srv/data.ext4 &&
    mkfs.ext4 -q /srv/data.ext4 && mount -o loop /srv/data.ext4 /srv/data && hvguestctl freeze && hvguestctl thaw'
is "... and a hook is told" "$(guest 'cat /run/hook-calls' | xargs)" "freeze thaw"
check "a key is kept" guest 'hvguestctl kvp set color blue'
check "the host takes memory" guest 'hvhost memory guest --assign 640M'
check "... and has it" eventually 60 status_is '.memory.ballooned_bytes > 200 * 1048576' true
ballooned=$(status .memory.ballooned_bytes) pid=$(unit MainPID) keeper=$(guest 'pidof hvguest-keeper')
check "a keeper holds it" test -n "$keeper"
check "the next version is installed" guest 'dpkg -i /srv/next.deb' 200
check "another process runs" test "$(unit MainPID)" != "$pid"
check "it works" eventually 60 works
is "the keeper is the same" "$(guest 'pidof hvguest-keeper')" "$keeper"
is "the host has what it had" "$(status .memory.ballooned_bytes)" "$ballooned"
is "systemd counts no failure" "$(unit NRestarts)" 0
check "the receipt is kept" guest 'hvguestctl receipt'

# --- an /etc that cannot be written to

check "nothing can be written to /etc" guest \
    'mount --bind /etc /etc && mount -o remount,bind,ro /etc && ! touch /etc/file'
check "hvguestd is stopped and started" guest 'systemctl stop hvguestd && systemctl start hvguestd'
check "it works" eventually 60 works
check "a monitor has nothing to complain about" eventually 60 guest 'hvguestctl check'
is "the key is there" "$(guest 'hvguestctl kvp get color')" blue
check "another can be set" guest 'hvguestctl kvp set size large'
check "/etc can be written to" guest 'umount /etc'

# --- away with it

check "the guest's package is removed" guest 'dpkg -r hvguest' 200
check "nothing of it runs" guest '! pidof hvguestd hvguest-keeper hvguest-freezer'
check "... nor waits for hooks" guest '! systemctl is-active hvguest-hook.socket && ! [ -e /run/hvguest/hook.sock ]'
check "its configuration is kept" guest 'test -e /etc/hvguest/hvguest.conf'
guest 'umount /srv/data; rm -r /etc/hvguest/freeze-hook.d/10-hook /etc/hvguest/hvguest.conf.d/lab.conf /etc/systemd/system/hvguestd.service.d'
check "all packages are purged" guest 'dpkg -P hvguest hvhost hvguest-dev hvguest-doc' 200
check "nothing of hvhost runs" guest '! pidof hvhost'
check "nothing is left but the pools of key-value exchange" guest "$files | diff /run/files - |
    tee /dev/stderr | grep '^[<>]' | { ! grep -v '^> /var/lib/hyperv\(/\.kvp_pool_[0-4]\)\?\$'; }"
check "... which have the keys" guest 'grep -q blue /var/lib/hyperv/.kvp_pool_1'
check "nothing is left in /run" guest '! ls -d /run/hvguest /run/hvhost'
check "systemd has nothing to complain about" guest 'systemctl is-system-running || { systemctl --failed; false; }'
check "the machine can be switched off" power_off
done_testing
