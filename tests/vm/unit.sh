#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvguestd as a unit of systemd, from boot to power-off, with a lab host beside it: it tells when it
# is ready, comes back when it was killed, and systemd does not kill what must outlive it. A backup
# that was made inside is looked at from outside, and so are the disks. The host sets its clock, and chronyd
# takes the samples. The host ends it, whoever is logged in.
#
# systems: bookworm

. "$(dirname "$0")/system.sh"

store=$vm_dir/store.ext4 # a disk with the image of the data, and room for copies

is_running() {
    guest "[ -d /proc/$1 ]"
}

# A disk of the guest, on which an image is mounted by loop: what hvhost copies.
mount_data() {
    guest 'mkdir -p /srv/store /srv/data &&
        mount /dev/disk/by-id/virtio-store /srv/store && mkdir /srv/store/backups &&
        truncate -s 64M /srv/store/data.ext4 && mkfs.ext4 -q /srv/store/data.ext4 &&
        mount -o loop /srv/store/data.ext4 /srv/data && seq 100000 >/srv/data/numbers && sync'
}

# backup FOLDER: of the data, there
backup() {
    guest "mkdir -p /srv/store/$1 && hvhost backup guest --run-dir /run/hvhost \
        --image /srv/store/data.ext4 --to /srv/store/$1 --json"
}

# The copy holds the guest frozen for as long as the folder it goes to is frozen itself: a file system
# of its own, which is none of hvguestd's business.
begin_held_backup() {
    guest 'mkdir -p /srv/vault && truncate -s 96M /srv/store/vault.ext4 &&
        mkfs.ext4 -q /srv/store/vault.ext4 && mount -o loop /srv/store/vault.ext4 /srv/vault &&
        fsfreeze -f /srv/vault
        (hvhost backup guest --run-dir /run/hvhost --image /srv/store/data.ext4 --to /srv/vault
            echo "status $?") >/run/held.log 2>&1 &
        touch /run/held'
}

end_held_backup() {
    guest 'fsfreeze -u /srv/vault
        for i in $(seq 300); do grep -q "^status" /run/held.log && break; sleep 0.1; done
        cat /run/held.log; umount /srv/vault && ! grep -q "^status 0" /run/held.log'
}

# A write ends if, and only if, nothing holds it up.
data_can_be_written() {
    guest 'timeout 10 sh -c "echo more >>/srv/data/more && sync -f /srv/data/more"'
}

# What the guest has copied, outside: data.ext4 in FOLDER of the store
copy_is_clean() {
    debugfs -R "dump /$1/data.ext4 $vm_dir/copy.ext4" "$store" 2>&1 && e2fsck -fn "$vm_dir/copy.ext4" &&
        debugfs -R 'cat /numbers' "$vm_dir/copy.ext4" 2>/dev/null | cmp - <(seq 100000)
}

# The reference clock that is shipped, in more of a hurry, for the chronyd of the build machine.
add_chronyd() {
    vm_add_file usr/sbin/chronyd 755 <"$(command -v chronyd)" &&
        vm_add_file usr/bin/chronyc 755 <"$(command -v chronyc)" &&
        { sed 's/poll 4/poll 0/' "$vm_source/../../packaging/chrony/hvguest.conf"
            printf '%s\n' "pidfile /run/chrony/chronyd.pid" "port 0" "cmdport 0" rtcsync; } |
        vm_add_file etc/chrony/chrony.conf && vm_add_unit chronyd.service <<END
[Unit]
Description=chronyd of the VM test

[Service]
RuntimeDirectory=chrony
RuntimeDirectoryMode=0750
ExecStart=/usr/sbin/chronyd -n -u root -f /etc/chrony/chrony.conf
END
}

# What is done around a backup: all that hvguestd itself may not; and something is left that holds until it is
# called back.
add_hook() {
    vm_add_file usr/local/etc/hvguest/freeze-hook.d/10-probe 755 <<'END'
#!/bin/sh
echo "$1" >>/var/lib/probe-calls
exec >>/run/probe 2>&1
echo "$1"
if [ "$1" != freeze ]; then
    kill "$(cat /run/probe.pid)" && echo "session ended"
    exit
fi
setsid sleep 1000 &
echo $! >/run/probe.pid
echo "user $(runuser -u nobody -- id -un)"
echo "su $(su nobody -s /bin/sh -c 'id -un')"
mount -t tmpfs none /mnt && umount /mnt && echo "mounted"
unshare -n true && echo "unshared"
echo "profile $(cat /proc/self/attr/current)"
END
}

# profile_of PID
profile_of() {
    guest "cat /proc/$1/attr/current"
}

# rights PID: of a process, as /proc has them
rights() {
    guest "sed -n 's/^\(CapEff\|CapPrm\|CapBnd\|NoNewPrivs\|Seccomp\):[[:space:]]*/\1 /p' /proc/$1/status" | xargs
}

# has_capability HEX NUMBER
has_capability() {
    [ $((0x$1 >> $2 & 1)) = 1 ]
}

# The event loop stands still while the data is frozen, and a core would go to what is frozen.
begin_hang() {
    guest 'mkdir -p /run/systemd/system/hvguestd.service.d
        printf "[Service]\nWatchdogSec=4\nLimitCORE=infinity\n" >/run/systemd/system/hvguestd.service.d/watchdog.conf
        systemctl daemon-reload && systemctl restart hvguestd && echo /srv/data/core >/proc/sys/kernel/core_pattern'
}

end_hang() {
    guest 'rm /run/systemd/system/hvguestd.service.d/watchdog.conf
        systemctl daemon-reload && systemctl restart hvguestd'
}

tell_time() {
    guest "hvhost time guest --run-dir /run/hvhost $*"
}

# is_off_by SECONDS: the guest's clock, from that of the build machine, give or take five minutes
is_off_by() {
    local off=$(($(guest 'date +%s') - $(date +%s)))
    echo "off by $off s"
    [ "$off" -gt $(($1 - 300)) ] && [ "$off" -lt $(($1 + 300)) ]
}

# chronyd has taken the samples, and is content with them
chronyd_selects_host() {
    guest 'chronyc -c sources' | tee /dev/stderr | grep -q '^#,\*,HVGS,'
}

truncate -s 512M "$store" && mke2fs -q -t ext4 "$store" || bail_out "no disk can be made"
vm_disk store "$store"
add_hook || bail_out "the hook cannot be added"
vm_add_apparmor && apparmor=yes
vm_add_lab <<'END'
[backup]
freeze_roots = /srv/data
freeze_mounts = init
[shutdown]
command = default
[time]
sync = step
END
if command -v chronyd >/dev/null && command -v chronyc >/dev/null; then
    add_chronyd || bail_out "chronyd cannot be added"
    chronyd=yes
fi
vm_start

check "systemd has nothing to complain about" guest 'systemctl is-system-running --wait || { systemctl --failed; false; }'
check "the units are right in systemd's eyes" guest 'systemd-analyze verify --man=no hvguestd.service hvguest-devices.target hvhost.service'
is "the unit is started at boot" "$(unit ActiveState)" active
check "it finds the lab host" eventually 60 works
check "it runs with the runtime folder of its unit" guest 'test -S /run/hvguest/api.sock'

check "systemd thinks no worse of it than it is said to" guest 'systemd-analyze security --no-pager --threshold=48 hvguestd | tail -n 1
    systemd-analyze security --no-pager --threshold=48 hvguestd >/dev/null'
check "it has mounts of its own" guest "! [ /proc/$(unit MainPID)/ns/mnt -ef /proc/1/ns/mnt ]"
seen=$(rights "$(unit MainPID)") bounds=${seen##*CapBnd } bounds=${bounds%% *} seen=${seen#CapPrm } seen=${seen%% *}
diag "hvguestd: $seen of $bounds"
check "hvguestd can freeze, and load no module, nor can what it runs" eval 'has_capability "$seen" 21 &&
    ! has_capability "$bounds" 16'
check "... nor become another user, nor end what is another's" eval '! has_capability "$bounds" 7 &&
    ! has_capability "$bounds" 5'
is "the freezer can freeze, stay in memory, and do nothing else" "$(rights "$(status .backup.freezer_pid)")" \
    "CapPrm 0000000000204000 CapEff 0000000000204000 CapBnd $bounds NoNewPrivs 1 Seccomp 2"
if [ "${apparmor:-}" = yes ]; then
    is "AppArmor confines hvguestd" "$(profile_of "$(unit MainPID)")" "hvguestd (enforce)"
    is "... and the freezer, by that and one of its own" "$(profile_of "$(status .backup.freezer_pid)")" \
        "hvguest-freezer//&hvguestd (enforce)"
else
    skip "AppArmor confines hvguestd" "there is no apparmor_parser on the build machine"
fi
if [ "${apparmor:-}" = yes ]; then
    confined="-p AppArmorProfile=hvguestd -p NoNewPrivileges=yes -p CapabilityBoundingSet=CAP_SYS_ADMIN"
fi
check "a module is loaded in place of the unit, by whoever has no more rights than it" guest "systemd-run --quiet --wait --pipe \
    ${confined:-} systemctl start hvguest-module@dm_mod && grep dm_mod /proc/modules"

check "data is mounted, later than hvguestd was started" mount_data
check "a backup is made" backup backups
check "its receipt says that it is consistent" eventually 60 guest "hvguestctl receipt"
is "... and that the data was frozen, where process 1 has it" "$(guest 'hvguestctl receipt --json' |
    jq -r '[.file_systems[] | select(.freeze_us) | .target] | join(" ")')" /srv/data
check "... and it is kept" guest 'ls /run/hvguest/state/receipts/receipt-00000001.json'
check "... and in the journal, by its event" guest 'journalctl -u hvguestd -o json HVGUEST_EVENT=backup-receipt |
    grep "HVGUEST_BACKUP_CLASS.*application"'
check "... as is what came before, with an explanation" guest 'cp /usr/local/lib/systemd/catalog/hvguest.catalog /usr/lib/systemd/catalog/ &&
    journalctl --update-catalog && journalctl -x -u hvguestd HVGUEST_EVENT=backup-consistent | grep "stood still from FREEZE to THAW"'
diag "$(guest 'cat /run/probe')"
is "its hook was run, may do everything, and what it has left was there to the end" "$(guest 'cat /run/probe' | xargs)" \
    "freeze user nobody su nobody mounted unshared profile unconfined thaw session ended"
check "no run of it is left" eventually 60 guest '! systemctl list-units --all --plain --no-legend "hvguest-hook@*" | grep .'

pid=$(unit MainPID)
check "the unit can be restarted" guest 'systemctl restart hvguestd'
check "it was ready when systemctl returned" guest 'hvguestctl status --json >/dev/null || [ $? = 3 ]'
check "that is another process" test "$(unit MainPID)" != "$pid"
check "it works after that" eventually 60 works
is "systemd counts no failure" "$(unit NRestarts)" 0

pid=$(unit MainPID)
check "hvguestd is killed" guest "kill -KILL $pid"
check "systemd starts it again" eventually 60 unit_is NRestarts 1
check "it works again" eventually 60 works
check "that is a new process" test "$(unit MainPID)" != "$pid"

check "a backup is begun that does not come to its end" begin_held_backup
check "the data is frozen" eventually 60 status_is .backup.state frozen
pid=$(unit MainPID) freezer=$(status .backup.freezer_pid)
check "the freezer runs" is_running "$freezer"
check "hvguestd is killed while it is" guest "rm /run/probe && kill -KILL $pid"
check "the data can be written" eventually 60 data_can_be_written
check "the hook's session was there until the next hvguestd has called it back" eventually 60 guest \
    '[ "$(xargs </run/probe)" = "abort session ended" ]'
check "the host is told that there is no backup" end_held_backup
check "hvguestd works after that" eventually 60 works
check "a backup is made after that" backup again

check "the watchdog is in a hurry" begin_hang
check "hvguestd works, and goes on to" eval 'eventually 60 works && sleep 6 && works'
check "the data is frozen by hand, for longer than this test waits" guest 'hvguestctl freeze --deadline 120'
check "hvguestd stands still" guest "kill -STOP $(unit MainPID)"
check "systemd ends it, and the data can be written" eventually 60 data_can_be_written
is "... without a core" "$(guest 'ls /srv/data/core* 2>/dev/null')" ""
check "because of the watchdog" guest 'journalctl -u hvguestd --no-pager | grep "Watchdog timeout"'
check "... and starts another" eventually 60 works
check "the watchdog has time again" end_hang
check "it works with that" eventually 60 works

check "the unit can be reloaded" guest 'systemctl reload hvguestd'
check "... which is an event" eventually 60 guest 'journalctl -u hvguestd -o cat HVGUEST_EVENT=configuration-read | grep "has been read"'
check "the unit can be stopped" guest 'systemctl stop hvguestd'
is "it ended as it should" "$(unit Result)" success
check "nothing of it is left" guest '! ls /sys/fs/cgroup/system.slice/hvguestd.service/cgroup.procs 2>/dev/null ||
    ! grep . /sys/fs/cgroup/system.slice/hvguestd.service/cgroup.procs'
check "it can be started again" guest 'systemctl start hvguestd'
check "it works to the end" eventually 60 works

check "the clock is right" is_off_by 0
check "somebody sets it back by three hours" guest 'date -s "3 hours ago"'
check "... for which the host asks for three hours more" tell_time --offset 10800 --step
check "the clock is right again" eventually 60 is_off_by 0
check "status says that it was set" eval '[ "$(status .time.steps)" -gt 0 ]'
check "the log has it" guest 'journalctl -u hvguestd --no-pager | grep "timesync: the clock was 10800.* s behind and has been set"'
check "the host was restored from a time two hours ago" tell_time --offset -7200 --step
check "... and the clock is set back, because it asks for that" eventually 60 is_off_by -7200
check "the host is right" tell_time --offset 7200 --step
check "... and so is the clock" eventually 60 is_off_by 0
check "a host that is ahead and does not ask" tell_time --offset 0.5 --sample --every 0.5
is "... sets nothing" "$(status .time.steps)" 3
check "the host is right from now on" tell_time --offset 0
if [ "${chronyd:-}" = yes ]; then
    check "chronyd has the host as its source" eventually 60 chronyd_selects_host
    check "hvguestd sees that chronyd keeps the clock" eventually 60 status_is \
        '.time.keeper + " " + (.time.synchronized | tostring)' "chronyd true"
    check "... and counts what it takes" eval '[ "$(status .time.samples_taken)" -gt 0 ]'
    skipped=$(status .time.skipped)
    check "the host asks for a step of less than 5 s" tell_time --offset 2 --step
    check "... which is left to chronyd" eventually 60 status_is ".time.skipped > $skipped" true
    is "... and not made" "$(status .time.steps)" 3
    check "the host is right" tell_time --offset 0
else
    skip "chronyd takes the samples" "there is no chronyd on the build machine"
fi

if [ "${apparmor:-}" = yes ]; then
    check "AppArmor has denied nothing in all that time" guest '! dmesg | grep "apparmor=.DENIED"'
    check "... which it does, by that profile" guest '! sh -c "echo exec hvguest-keeper >/proc/self/attr/exec &&
        exec cat /etc/hostname" && dmesg | grep "apparmor=.DENIED.*profile=.hvguest-keeper"'
fi

check "no program was refused a system call" guest '! dmesg | grep type=1326.*hvguest'

# What systemctl would mind is a file; logind itself does not mind it for root.
check "somebody is logged in" guest 'printf "%s\n" UID=65534 USER=nobody STATE=active TYPE=tty CLASS=user TTY=tty1 \
    >/run/systemd/sessions/7'
check "systemctl would not shut down then" guest '! systemctl poweroff --check-inhibitors=yes'
check "the host asks for a shutdown" guest 'hvhost shutdown guest --run-dir /run/hvhost'
check "the machine is off" vm_wait_for_end 90
check "... because it wanted to be" vm_ended_by guest-shutdown
check "its disk is clean" disk_is_clean "$vm_root"
check "so is the disk with the data" disk_is_clean "$store"
check "the copy in the first backup is clean, and complete" copy_is_clean backups
check "so is the one after the kill" copy_is_clean again

# A shutdown that is nobody's of ours, while hooks hold: units can be started no more, but for those that
# are made for it.
vm_start_again
check "the machine is started again" eventually 60 works
check "data is frozen by hand" guest 'mount /dev/disk/by-id/virtio-store /srv/store && mkdir -p /srv/data &&
    mount -o loop /srv/store/data.ext4 /srv/data && : >/var/lib/probe-calls && hvguestctl freeze --deadline 120'
check "the machine is switched off" power_off
is "... and the hook was called back before" "$(debugfs -R 'cat /var/lib/probe-calls' "$vm_root" 2>/dev/null | xargs)" \
    "freeze abort"
check "its disk is clean" disk_is_clean "$vm_root"
done_testing
