#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The host asks a guest to go down. What would take this machine down is a script here, which tells
# what it was called with; a host, a backup in the middle of a freeze and a script that fails are real.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 120

command=$run/go-down
cat >"$command" <<END
#!/bin/sh
[ ! -e "$run/objection" ] || { echo "an upgrade is running"; exit 7; }
echo "\$*" >>"$run/called"
[ ! -e "$run/slow" ] || { rm "$run/slow"; sleep 2; }
END
chmod +x "$command"

called() {
    [ "$(cat "$run/called" 2>/dev/null)" = "$1" ] && rm "$run/called"
}

log_has() {
    grep -q -- "$1" "$run/one.log"
}

shutdown_is() {
    [ "$(guest_value one ".shutdown | $1")" = "$2" ]
}

start_host

# --- a lab without a command

start_guest one --memory no
check "the guest is ready" soon shutdown_is .version 3.2
is "it shows that nothing would be done" "$(guest_value one .shutdown.dry_run)" true
check "the host may ask" host shutdown one --reason "power is out ⚡"
check "... and nothing is done" soon log_has "nothing is done, because this is a lab"
check "the reason is in the log" log_has "asks for power off, reason 0x80000000: power is out ⚡"
ends "the guest ends" "$one_pid"

# --- with a command

start_guest one --memory no --shutdown-command "$command"
check "another guest is ready" soon shutdown_is .version 3.2
is "power off is accepted" "$(host shutdown one --json | jq -r .state)" accepted
check "... and done" soon called poweroff
is "reboot is accepted, and forced" "$(host reboot one --force --json | jq -r .state)" accepted
check "... and done" soon called "reboot force"
is "hibernate is accepted" "$(host hibernate one --json | jq -r .state)" accepted
check "... and done" soon called hibernate
check "status says what was last" shutdown_is .last.kind hibernate
check "... to people too" eval 'guest one status | grep -q "the host asked for hibernate"'

# A machine that goes down is not asked twice.
is "power off is accepted again" "$(host shutdown one --json | jq -r .state)" accepted
check "... and done" soon called poweroff
is "the same once more is accepted" "$(host shutdown one --json | jq -r .state)" accepted
sleep 1
check "... and not done twice" [ ! -e "$run/called" ]
is "the same by force is accepted" "$(host shutdown one --force --json | jq -r .state)" accepted
check "... and done" soon called "poweroff force"
touch "$run/slow"
check "a reboot takes its place" host reboot one
check "... which takes a while" soon called reboot
is "a power off takes the place of that" "$(host shutdown one --force --json | jq -r .state)" accepted
check "... and is done when it is over" soon called "poweroff force"
check "... as the log says" log_has "power off is under way"
ends "the guest ends" "$one_pid"

# --- a command that fails

touch "$run/objection"
start_guest one --memory no --shutdown-command "$command"
check "a guest with an objection is ready" soon shutdown_is .version 3.2
check "it is asked" host shutdown one
check "the log has the words of the objection" soon log_has "failed with status 7: an upgrade is running"
check "it is not under way" shutdown_is .last.running false
rm "$run/objection"
check "it may be asked again" host shutdown one
check "... and goes down" soon called poweroff
ends "it ends" "$one_pid"

start_guest one --memory no --shutdown-command /nowhere
check "a guest with a wrong command is ready" soon shutdown_is .version 3.2
check "it is asked" host shutdown one
check "the log says that the command cannot be run" soon log_has "cannot be run"
ends "it ends" "$one_pid"
refuse "a command that is no path" 2 "$hvguestd" --shutdown-command halt

# --- while a backup holds the file systems

if image_possible ext4 && image_make ext4 "$run/disk.img" && image_mount "$run/disk.img" "$tap_dir/disk"; then
    start_guest one --memory no --freeze-roots "$tap_dir/disk" --shutdown-command "$command"
    check "a guest with a file system is ready" soon shutdown_is .version 3.2
    check "it is frozen by hand" guest one freeze --deadline 60
    is "the host asks it to go down" "$(host shutdown one --json | jq -r .state)" accepted
    check "it goes down" soon called poweroff
    check "... after it was thawed" timeout 10 touch "$tap_dir/disk/file"
    check "... and the receipt says why" eval 'guest one receipt --json | jq -r .result | grep -q "the machine goes down"'
    ends "it ends" "$one_pid"
else
    skip "a backup holds the file systems" "this machine cannot make or mount ext4"
fi

# --- a guest that is saved

start_guest one --memory no
check "a guest is ready" soon shutdown_is .version 3.2
refuse "it is not restored before it was saved" 1 host restore one
truncate -s 1M "$run/image"
check "it is saved" host save one
for verb in "shutdown one" "hibernate one" "kvp get one a" "copy one $0:/srv/" "time one --step" "backup one --image $run/image --to $run"; do
    # shellcheck disable=SC2086
    check "it is said to who asks for ${verb%% *}" eval "host $verb 2>&1 | grep 'the guest is saved: hvhost restore'"
done
refuse "it is not saved twice" 1 host save one
check "it is restored" host restore one
check "... and takes requests" soon shutdown_is .version 3.2
ends "it ends" "$one_pid"

# --- wrong requests

refuse "a guest that is not there" 1 host shutdown nobody
refuse "an option of another verb" 2 host shutdown one --assign 1G
ends "the host ends" "$host_pid"
no_reports
done_testing
