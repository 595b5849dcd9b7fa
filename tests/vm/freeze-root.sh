#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A backup of the whole system: / and /var are frozen, and with /var the journal, so that whoever logs
# is held up as well. Thawed by the host, by the deadline when the host is silent, after a kill of
# hvguestd, alone and with its freezer, and by a shutdown that the host asks for. In the same machine,
# because each takes half a minute to boot: what is freed before memory is given to the host, and how
# soon stalls are reported.
#
# What is done meanwhile is done by programs on the disk: what is frozen can be read.
#
# systems: bookworm

. "$(dirname "$0")/system.sh"

var=$vm_dir/var.ext4 # the disk of /var
vault=/run/vault     # where the host copies to; frozen itself, it holds the host up
count=/run/written   # what the writers have written: a number for each

make_var() {
    mkdir -p "$vm_dir/var"/{cache,lib,log/journal,spool,tmp} && ln -s /run "$vm_dir/var/run" &&
        truncate -s 512M "$var" && mke2fs -q -t ext4 -d "$vm_dir/var" -E root_owner=0:0 "$var"
}

# Two that write without end, each to a file system of its own, one that logs without end, and what
# the host needs, in memory: an image, and the vault for its copy.
begin_load() {
    guest "mkdir $count && echo 0 >$count/root && echo 0 >$count/var
        sh -c 'while sleep 0.05; do n=\$((n + 1)) && echo \$n >>/written && echo \$n >$count/root; done' &
        sh -c 'while sleep 0.05; do n=\$((n + 1)) && echo \$n >>/var/written && echo \$n >$count/var; done' &
        sh -c 'while sleep 0.05; do seq 50 | logger -t flood; done' &
        jobs -p >/run/load
        head -c 4M /dev/urandom >/run/image && truncate -s 32M /run/vault.ext4 &&
            mkfs.ext4 -q /run/vault.ext4 && mkdir $vault && mount -o loop /run/vault.ext4 $vault"
}

end_load() {
    guest 'kill $(cat /run/load)'
}

# Both writers come to write again.
writers_go_on() {
    guest "root=\$(cat $count/root) var=\$(cat $count/var)
        for i in \$(seq 300); do
            [ \$(cat $count/root) -le \$((root + 1)) ] || [ \$(cat $count/var) -le \$((var + 1)) ] || exit 0
            sleep 0.1
        done
        grep . $count/*; exit 1"
}

# A log that can be written to takes this in a moment, whatever else is logged.
log_takes() {
    guest 'timeout 30 logger -t probe "does it take this?"'
}

# More than the socket holds, of which the journal takes nothing.
log_is_blocked() {
    guest 'seq 1000 | timeout 2 logger -t probe
        echo "status $?, journald $(cut -d" " -f3 /proc/$(systemctl show -p MainPID --value systemd-journald)/stat)"' |
        tee /dev/stderr | grep -qx "status 124, journald D"
}

# counters: of what must stand still while all is frozen: what was written, and sectors of the disks
counters() {
    guest "grep . $count/*; awk '\$3 ~ /^vd[a-z]\$/ { print \$3, \$10 }' /proc/diskstats"
}

# faults PID: of its pages, since it was started
faults() {
    guest "cut -d' ' -f 10,12 /proc/$1/stat"
}

heartbeats() {
    guest 'hvhost status guest --run-dir /run/hvhost --json' | jq .heartbeat.answered
}

heart_beats() {
    local now
    now=$(heartbeats)
    echo "$now heartbeats, $1 before"
    [ "$now" -gt "$1" ]
}

receipt() {
    guest 'hvguestctl receipt --json' | jq -r "$1"
}

receipt_is() {
    local now
    now=$(receipt "$1")
    echo "$1: $now"
    [ "$now" = "$2" ]
}

# What was frozen, by the last receipt
frozen_then='([.file_systems[] | select(.freeze_us) | .target] | sort | join(" "))'

# backup FOLDER: of something, there
backup() {
    guest "mkdir $vault/$1 && hvhost backup guest --run-dir /run/hvhost --image /run/image --to $vault/$1 --no-snapshot"
}

# The copy holds the guest frozen for as long as the vault is frozen. A host that is stopped besides
# says nothing at all.
begin_held_backup() {
    guest "mkdir $vault/held && fsfreeze -f $vault && touch /run/held.log
        (hvhost backup guest --run-dir /run/hvhost --image /run/image --to $vault/held --no-snapshot
            echo \"status \$?\") >/run/held.log 2>&1 &"
}

end_held_backup() {
    guest "fsfreeze -u $vault
        for i in \$(seq 300); do grep -q '^status' /run/held.log && break; sleep 0.1; done
        cat /run/held.log; grep -q '^status [1-9]' /run/held.log"
}

host_signal() {
    guest "kill -$1 \$(systemctl show -p MainPID --value hvhost)"
}

# kill_while_frozen PID...: all at once, so that none sees the other's end; and measures until both
# writers have written again
kill_while_frozen() {
    guest "root=\$(cat $count/root) var=\$(cat $count/var) from=\$(cut -d' ' -f1 /proc/uptime)
        kill -STOP $* && kill -KILL $*
        for i in \$(seq 1000); do
            [ \$(cat $count/root) = \$root ] || [ \$(cat $count/var) = \$var ] || break
            sleep 0.02
        done
        awk -v from=\$from '{ print \$1 - from, \"s after the kill\" }' /proc/uptime
        [ \$i != 1000 ]" 120
}

# Nobody waits for a disk: neither now, nor did so for too long before.
nobody_hangs() {
    guest 'dmesg | grep -E "blocked for more than|hung_task|INFO: task" && exit 1
        for i in $(seq 100); do
            waiting=$(awk "\$3 == \"D\" { print \$1, \$2 }" /proc/[0-9]*/stat 2>/dev/null)
            [ -n "$waiting" ] || exit 0
            sleep 0.1
        done
        echo "$waiting"; exit 1'
}

# Pages that were freed because somebody asked for it: all that were, less those of kswapd and of who
# allocates (Linux mm/vmscan.c, shrink_inactive_list()).
reclaimed() {
    guest 'awk "/^pgsteal / { n += \$2 } /^pgsteal_(kswapd|direct) / && FILENAME ~ /vmstat/ { n -= \$2 } END { print n }" \
        /sys/fs/cgroup/memory.stat /proc/vmstat'
}

assign() {
    guest "hvhost memory guest --run-dir /run/hvhost --assign $1"
}

# Reads a file that is larger than memory, once: pages that nobody will want again.
fill_page_cache() {
    guest 'truncate -s 2G /var/large && cat /var/large >/dev/null && grep -E "^(MemFree|Cached)" /proc/meminfo'
}

# Three that read more than fits into their group, until hvguestd has made a report for it. Prints how
# long that took from when the kernel had counted 50 ms of waiting, which is what it is asked to tell.
# The file is written by the group: page cache belongs to the group of who read or wrote it first.
stall() {
    guest 'group=/sys/fs/cgroup/stall
        mkdir $group && echo 24M >$group/memory.max || exit
        sh -c "echo 0 >$group/cgroup.procs && head -c 96M /dev/zero >/var/stall" || exit
        waited() { sed -n "s/^some.*total=//p" /proc/pressure/memory; }
        urgent() { hvguestctl why --json | sed -n "s/.*\"urgent\": *\([0-9]*\).*/\1/p"; }
        before=$(urgent) base=$(waited) n=0
        for i in 1 2 3; do
            timeout 30 sh -c "echo 0 >$group/cgroup.procs; while cat /var/stall; do :; done" >/dev/null 2>&1 &
        done
        until [ $(waited) -ge $((base + 50000)) ] || [ $((n = n + 1)) -ge 300 ]; do sleep 0.01; done
        began=$(cut -d" " -f1 /proc/uptime)
        echo "$(($(waited) - base)) us waited"
        n=0
        until [ $(urgent) -gt $before ] || [ $((n = n + 1)) -ge 100 ]; do sleep 0.02; done
        awk -v began=$began "{ print \$1 - began, \"s until it was reported\" }" /proc/uptime
        echo 1 >$group/cgroup.kill
        wait
        rmdir $group; rm /var/stall; [ $n -lt 100 ]'
}

inhibit() {
    guest 'systemd-inhibit --what=shutdown --mode=block --who=upgrade --why="half way" sleep 1000 >/dev/null 2>&1 &
        for i in $(seq 100); do systemd-inhibit --list | grep upgrade && exit 0; sleep 0.1; done; exit 1'
}

ask_shutdown() {
    guest "hvhost shutdown guest --run-dir /run/hvhost ${1:-}"
}

ask_reboot() {
    guest "hvhost reboot guest --run-dir /run/hvhost $1"
}

hvguestd_said() {
    guest "journalctl -b -u hvguestd --no-pager | grep -- '$1'"
}

make_var || bail_out "no disk can be made"
vm_disk var "$var"
vm_add_file etc/fstab <<'END'
/dev/disk/by-id/virtio-root / ext4 noatime 0 0
/dev/disk/by-id/virtio-var /var ext4 noatime 0 0
END
vm_add_file etc/systemd/journald.conf.d/vm.conf <<'END'
[Journal]
Storage=persistent
SyncIntervalSec=1
RateLimitIntervalSec=0
END
vm_add_file etc/sysctl.d/vm.conf <<'END'
kernel.hung_task_timeout_secs = 40
END
# Its runs are started by systemd, before / is frozen and after.
vm_add_file usr/local/etc/hvguest/freeze-hook.d/10-calls 755 <<'END'
#!/bin/sh
echo "$1" >>/run/hook-calls
END
vm_add_lab <<END
[backup]
freeze_roots = all
freeze_exclude = path:$vault
[shutdown]
command = default
[memory]
reclaim = yes
END
vm_start

check "hvguestd works" eventually 60 works
check "/var is a file system of its own" guest 'mountpoint /var && test -d /var/log/journal'
check "somebody writes to each file system, and somebody logs" begin_load
check "the log takes it" log_takes
is "a backup would freeze both" "$(guest 'hvguestctl plan --json' |
    jq -r '[.file_systems[] | select(.verdict == "freeze") | .target] | sort | join(" ")')" "/ /var"

# --- by the host

check "a backup is made" backup first
# It is written when the hooks have been called back, which the host does not wait for.
check "... of both, and consistent" eventually 60 receipt_is "$frozen_then + \" \\(.consistent)\"" "/ /var true"
diag "... in $(receipt .frozen_us) us"
check "the writers go on" writers_go_on
check "the log goes on" log_takes

# --- by the deadline

beats=$(heartbeats)
check "a backup is begun that does not come to its end" begin_held_backup
check "all is frozen" eventually 60 status_is .backup.state frozen
before=$(counters)
freezer=$(status .backup.freezer_pid)
pages=$(faults "$freezer")
check "who logs is held up" log_is_blocked
check "hvguestd is not" guest 'hvguestctl status'
check "nor is its heartbeat" heart_beats "$beats"
check "the host falls silent" host_signal STOP
is "nobody has written anything meanwhile, nor has the kernel" "$(counters)" "$before"
is "... and it is all frozen still" "$(status .backup.state)" frozen
check "it thaws at the deadline: the writers go on" eventually 60 writers_go_on
is "the freezer has done with the memory it had" "$(faults "$freezer")" "$pages"
check "the log goes on" log_takes
check "the host is back" host_signal CONT
check "... and is told that it has no backup" end_held_backup
check "the receipt says why" eventually 60 eval 'receipt .result | grep "at the deadline"'
is "... and that both were frozen" "$(receipt "$frozen_then")" "/ /var"
check "hvguestd works after that" eventually 60 works

# --- by a kill

check "all is frozen by hand" guest 'hvguestctl freeze --deadline 60'
check "who logs is held up" log_is_blocked
pid=$(unit MainPID)
check "hvguestd is killed: the writers go on" kill_while_frozen "$pid"
check "systemd has started another, which works" eventually 60 works
check "that is not the same one" test "$(unit MainPID)" != "$pid"
check "the log goes on" log_takes

# Nobody is left who could thaw; what systemd starts has to come up from a frozen disk.
check "all is frozen by hand" guest 'hvguestctl freeze --deadline 60'
check "who logs is held up" log_is_blocked
pid="$(unit MainPID) $(status .backup.freezer_pid)"
check "hvguestd and its freezer are killed: the next one thaws, and the writers go on" kill_while_frozen "$pid"
check "it works" eventually 60 works
check "... and has said what it has thawed" eventually 60 hvguestd_said "/var was left frozen by a predecessor"
check "a backup is made after that" backup last
check "... which is consistent" eventually 60 receipt_is .consistent true
is "the hook was called back after each freeze, once, however that ended" "$(guest 'cat /run/hook-calls' | xargs)" \
    "freeze thaw freeze abort freeze abort freeze abort freeze thaw"
check "nobody hangs" nobody_hangs

# --- while the clock is set

check "all is frozen by hand" guest 'hvguestctl freeze --deadline 60'
check "the clock is set meanwhile" guest 'date -s "+1 hour"'
check "it is thawed, and consistent" guest 'hvguestctl thaw'
check "the receipt has the time that has passed" receipt_is '.window_us < 60000000 and .window_us > 0' true
check "... and when that was, by the clock as it is" receipt_is \
    '[.file_systems[] | select(.frozen_at) | (.thawed_at[:19] + "Z" | fromdate) - (.frozen_at[:19] + "Z" | fromdate) < 60] | all' true
check "the clock is set back" guest 'date -s "-1 hour"'
check "the load ends" end_load

# --- memory

check "the host gives the guest all its memory" assign 1G
check "... which has it" eventually 60 status_is .memory.ballooned_bytes 0
check "it is full of pages that were read once" fill_page_cache
before=$(reclaimed)
check "the host takes some" assign 640M
check "... and has it" eventually 60 status_is '.memory.ballooned_bytes > 200 * 1048576' true
pages=$(($(reclaimed) - before))
diag "$((pages / 256)) MiB were freed beforehand"
check "hvguestd had the kernel free what is not used, beforehand" test "$pages" -ge $((64 * 256))
check "stalls are reported" stall

# --- a shutdown

check "somebody wants no shutdown now" inhibit
check "the host asks for one" ask_shutdown
check "... and is refused, with the name of who objects" eventually 60 hvguestd_said "power off is inhibited by upgrade .*half way"
check "all is frozen" guest 'hvguestctl freeze --deadline 60'
check "the host asks for a reboot, whoever objects" ask_reboot --force
check "the machine has ended" vm_wait_for_end 90
check "... to begin anew" vm_ended_by guest-reset
check "its disk is clean" disk_is_clean "$vm_root"
check "so is that of /var" disk_is_clean "$var"
done_testing
