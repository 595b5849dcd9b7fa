#!/bin/bash
# SPDX-License-Identifier: MIT
#
# SIGHUP: what can change without a restart does, the rest is said, a mistake changes nothing, and
# nothing is read while file systems are frozen.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup curl
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 120
. "$(dirname "$0")/lab.sh"

data=$tap_dir/data
image_make ext4 "$tap_dir/data.img" && image_mount "$tap_dir/data.img" "$data" ||
    skip_all "cannot make and mount an image"

conf=$run/test.conf
mkdir "$conf.d" "$run/hooks"
cat >"$conf" <<END
[backup]
freeze_timeout = 31
freeze_exclude = type:vfat
   path:/srv/a*
[memory]
enabled = no
END

# said N PATTERN: the log has the line that often, soon
said() {
    [ "$(grep -c -- "$2" "$run/one.log")" = "$1" ]
}

timeout() {
    guest_value one .backup.freeze_timeout_seconds
}

reload() {
    kill -HUP "$one_pid"
}

start_host
start_guest one --config "$conf" --freeze-roots "$data" --hook-dir "$run/hooks"
is "what the file says holds" "$(timeout)" 31

reload
check "nothing has changed: said" soon said 1 "has been read: 0 settings"

printf '[backup]\nfreeze_timeout = 32\nfreeze_exclude = path:%s\n' "$data" >"$conf.d/more.conf"
reload
check "a drop-in that came later is taken on" soon said 1 "has been read: 2 settings have changed"
is "its value holds" "$(timeout)" 32
check "a list is replaced, not added to" grep -q "freeze_exclude in .backup. is now: path:$data" "$run/one.log"
refuse "and holds: nothing is left to freeze" 1 guest one plan

printf '[backup]\nfreeze_timeout = 33\nfreeze_timuot = 1\n' >"$conf.d/more.conf"
reload
check "a broken drop-in is refused with its place" soon said 1 "more.conf:3: .*did you mean 'freeze_timeout'"
check "... and said to change nothing" soon said 1 "the configuration stays as it was"
is "... which is so" "$(timeout)" 32

printf '[memory]\nenabled = yes\n[daemon]\nlog_level = warning\n' >"$conf.d/more.conf"
reload
check "what needs a restart is named" soon said 1 "enabled in .memory. has changed .*restarted"
is "... and the rest is taken on" "$(timeout)" 31
is "a list that nobody names any more is as in the file" \
    "$(grep -c 'freeze_exclude in .backup. is now: type:vfat' "$run/one.log")" 1
lines=$(wc -l <"$run/one.log")
reload
check "the log level holds at once" soon eval 'said 2 "enabled in .memory. has changed"'
is "... and notices are gone" "$(tail -n +$((lines + 1)) "$run/one.log" | grep -c "has been read")" 0

printf '[daemon]\nlog_level = info\n' >"$conf.d/more.conf"
reload
check "and come back" soon said 3 "has been read"
is "a freeze holds" "$(guest one freeze --json | jq -c '[.schema, .state, .deadline_seconds > 0]')" '[1,"frozen",true]'
is "status answers in the middle of it" "$(guest_value one .backup.phase)" frozen
curl -s -N --max-time 3 --unix-socket "$run/one/read.sock" http://localhost/v1/events >"$run/events"
check "... and live state goes on" test "$(grep -c '"phase":"frozen"' "$run/events")" -ge 2
printf '[backup]\nfreeze_timeout = 34\n' >"$conf.d/more.conf"
reload
sleep 0.5
is "nothing is read while frozen" "$(timeout)" 31
is "thaw" "$(guest one thaw --json | jq -c '[.schema, .consistent, .timed_out]')" '[1,true,false]'
check "the reload comes after the thaw" soon eval '[ "$(timeout)" = 34 ]'

ends "the guest ends well" "$one_pid"
ends "the host ends well" "$host_pid"
no_reports
done_testing
