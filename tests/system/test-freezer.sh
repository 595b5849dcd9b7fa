#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The freezer on real file systems, driven by freezer-driver: freezing, thawing, and what else ends
# a freeze.

. "$(dirname "$0")/freezer.sh"

begin_case
start 10000 $all
tell freeze && expect '^FROZEN' && expect_frozen $all
tell thaw && expect '^THAWED asked error=0' && expect_writes_end $all
tell results && expect '^results-end'
[ "$(grep -c '^result .* thawed error=0' "$log")" = 3 ] || fail "not three file systems thawed"
[ "$(sed -n 's/^plan //p' "$log" | cut -d' ' -f2 | xargs)" = "btrfs xfs ext4" ] ||
	fail "not frozen in reverse order of mounting"
tell freeze && expect '^FROZEN' 2 && expect_frozen $all
tell thaw && expect '^THAWED asked' 2 && expect_writes_end $all
stop
end_case "three file systems freeze and thaw, twice"

begin_case
start 3000 $all # long enough to see that they are frozen, on a busy machine too
tell freeze && expect '^FROZEN' && expect_frozen $all
expect '^THAWED deadline' && expect_writes_end $all
stop
end_case "the freezer thaws when the deadline passes"

begin_case
start 15000 $all
tell freeze && expect '^FROZEN' && expect_frozen $all
kill -9 "$driver_pid"
expect_writes_end $all
gone "$helper_pid" || fail "the freezer outlives the daemon"
end_case "the freezer thaws when the daemon is killed"

# Threads of the freezer that are in syncfs(), of which x86-64 says 306.
syncing()
{
	cat "/proc/$helper_pid"/task/*/syscall 2>/dev/null | grep -c '^306 '
}

# Three on a disk that does not answer, and one on another, which is the last in the order of freezing.
if [ "$(uname -m)" = x86_64 ]; then
	begin_case
	mkdir "$work/other" && mount -t tmpfs tmpfs "$work/other" &&
		make_fs ext4 "$work/other/image" 32M "$work/on-other" || fail "cannot make another disk"
	for i in 1 2 3; do
		make_fs ext4 "$ext4/image$i" 32M "$work/on$i" || fail "cannot make and mount image $i"
	done
	some="$work/on-other $work/on1 $work/on2 $work/on3"
	sync -f "$ext4"
	for m in $some; do echo "this was written" >"$m/file"; done
	start 15000 $some
	tell open && expect '^opened' && fsfreeze -f "$ext4" && tell freeze && expect '^freeze 4 0'
	for ((i = 0; i < 500; i++)); do
		[ "$(syncing)" != 2 ] || ! grep -q "this was written" "$work/other/image" || break
		sleep 0.02
	done
	grep -q "this was written" "$work/other/image" || fail "the other disk is not written to"
	[ "$(syncing)" = 2 ] || fail "not two file systems are written back, but $(syncing)"
	! grep -q '^FROZEN' "$log" || fail "what cannot be written back is frozen: the case proves nothing"
	fsfreeze -u "$ext4"
	expect '^FROZEN' && expect_frozen $some
	tell thaw && expect '^THAWED asked error=0' && expect_writes_end $some
	stop
	umount $some "$work/other"
	rm -r "$ext4"/image? "$work/other" $some
	end_case "two at a time are written back on one disk, and nobody waits for another disk"
fi

begin_case
make_fs ext4 "$work/hidden.img" 64M "$work/hidden" && make_fs ext4 "$work/hidden/image" 32M "$work/on-hidden" &&
	umount -l "$work/hidden" || fail "cannot make an image on a file system that is not seen"
start 15000 "$work/on-hidden" "$ext4"
tell open && expect '^opened'
[ "$(sed -n 's/^plan .* disks=//p' "$log" | uniq -c | xargs | cut -d' ' -f1)" = 2 ] || fail "they do not share disks"
stop
umount "$work/on-hidden"
rm -r "$work/hidden.img" "$work/hidden" "$work/on-hidden"
end_case "an image on a file system that is not seen is on the disks of that"

# Microseconds from $1 to when the record says that the last of the three file systems was thawed;
# freezer_proto.h has the layout.
thawed_after()
{
	local last=0 thawed_at i

	for i in 0 1 2; do
		thawed_at=$(od -A n -t u8 -j $((136 + 608 * i + 600)) -N 8 "$work/run/freezer.record")
		[ "$thawed_at" -le "$last" ] || last=$thawed_at
	done
	echo $((last / 1000 - $1))
}

# A daemon that has given much memory to the host takes long to die. Whoever waits for its end must
# not wait for that. Judged by the best of three: a busy machine can spoil one of them.
begin_case
best=
for _ in 1 2 3; do
	start 15000 $all
	tell grow && expect '^grow'
	tell freeze && expect '^FROZEN' && expect_frozen $all
	tell now && expect '^now '
	read -r _ boot real <<<"$(grep '^now ' "$log" | tail -n 1)"
	now=$((${EPOCHREALTIME/./} - real + boot))
	kill -9 "$driver_pid"
	expect_writes_end $all
	gone "$helper_pid" || fail "the freezer outlives the daemon"
	us=$(thawed_after "$now")
	[ -n "$best" ] && [ "$best" -le "$us" ] || best=$us
done
grep -q '^grown' "$log" || echo "# not enough memory to make the daemon large"
echo "# thawed $best us after the kill"
[ "$best" -gt 0 ] && [ "$best" -le 50000 ] || fail "it took $best us"
end_case "the freezer thaws within 50 ms when a daemon with much memory is killed"

begin_case
start 15000 $all
tell freeze && expect '^FROZEN' && expect_frozen $all
kill -9 "$helper_pid"
expect '^LOST freezer-lost.* pending=0 stuck=0' && expect_writes_end $all
tell respawn && expect '^respawn 0'
tell freeze && expect '^FROZEN' 2 && expect_frozen $all
tell thaw && expect '^THAWED asked' && expect_writes_end $all
tell quit
gone "$driver_pid" || fail "the driver does not end"
end_case "the daemon thaws when the freezer is killed, and starts another"

begin_case
start 15000 $all
tell freeze && expect '^FROZEN' && expect_frozen $all
kill -STOP "$helper_pid"
kill -9 "$driver_pid"
kill -9 "$helper_pid"
gone "$driver_pid" && gone "$helper_pid" || fail "they do not die"
for m in $all; do
	wrote "$m" && fail "$m is thawed, though both are dead: the case proves nothing"
done
start 15000 $all
expect_writes_end $all
[ "$(grep -c '^recovered .* thawed error=0' "$log")" = 3 ] || fail "not three recovered"
stop
end_case "the next daemon thaws what two killed ones left frozen"

begin_case
start 15000 $all
tell freeze && expect '^FROZEN' && expect_frozen $all
kill -TERM "$helper_pid"
expect '^THAWED signal' && expect '^LOST' && expect_writes_end $all
stop
end_case "the freezer thaws on a signal"

begin_case
start 3000 $all # long enough to see that they are frozen, on a busy machine too
tell freeze && expect '^FROZEN' && expect_frozen $all
kill -STOP "$helper_pid"
expect '^LOST freezer-lost' && expect_writes_end $all
stop
end_case "the daemon thaws when the freezer is stopped and misses its deadline"

begin_case
fsfreeze -f "$ext4"
start 10000 $all
tell freeze && expect '^FROZEN' && expect_frozen $all
tell thaw && expect '^THAWED asked' && expect_writes_end "$xfs" "$btrfs"
sleep 0.2
wrote "$ext4" && fail "ext4 was frozen by somebody else and is thawed now"
tell results && expect "^result $ext4 ext4 foreign"
fsfreeze -u "$ext4"
expect_writes_end "$ext4"
stop
end_case "what somebody else has frozen stays frozen"

begin_case
start 10000 $all
tell freeze && expect '^FROZEN' && expect_frozen $all
fsfreeze -u "$xfs"
expect_writes_end "$xfs"
tell thaw && expect '^THAWED asked.* foreign=1' && expect_writes_end "$ext4" "$btrfs"
stop
end_case "a thaw by somebody else is noticed"

begin_case
make_fs ext4 "$ext4/inner.img" 32M "$inner" || fail "cannot mount the inner image"
start 10000 $all
tell freeze && expect '^FROZEN' && expect_frozen $all "$inner"
tell thaw && expect '^THAWED asked' && expect_writes_end $all "$inner"
[ "$(sed -n 's/^plan //p' "$log" | head -1 | cut -d' ' -f1)" = "$inner" ] || fail "not inner first"
stop
end_case "a file system on an image that lies on another one freezes first"

begin_hanging_freeze 2000
expect '^FAILED deadline' && expect_writes_end "$ext4" && expect_thawed "$inner" "$xfs"
tell results && expect "^result $inner ext4 thawed error=0" && expect "^result $xfs xfs thawed"
tell freeze && expect '^freeze 3 0' && expect '^FROZEN' && expect_frozen "$inner" "$ext4" "$xfs"
tell thaw && expect '^THAWED asked' && expect_writes_end "$inner" "$ext4" "$xfs"
stop
end_case "when a freeze hangs, the deadline thaws the rest at once and the late one when it returns"

begin_hanging_freeze 15000
tell thaw && expect '^THAWED asked' && expect_writes_end "$ext4"
expect_thawed "$inner" "$xfs"
stop
end_case "a thaw does not wait for a freeze that hangs"

begin_hanging_freeze 15000
kill -9 "$driver_pid"
expect_writes_end "$ext4" && expect_thawed "$inner" "$xfs"
gone "$helper_pid" || fail "the freezer outlives the daemon"
end_case "the daemon is killed while a freeze hangs"

begin_hanging_freeze 15000
kill -9 "$helper_pid"
expect '^LOST freezer-lost' && expect_writes_end "$ext4" && expect_thawed "$inner" "$xfs"
tell respawn && expect '^respawn 0'
tell quit
gone "$driver_pid" || fail "the driver does not end"
end_case "the freezer is killed while a freeze hangs"

begin_case
start 10000 "$inner" "$xfs"
umount "$inner"
tell freeze && expect '^FROZEN' && expect_frozen "$xfs"
expect "^open $inner VANISHED"
expect_thawed "$ext4"
tell thaw && expect '^THAWED asked' && expect_writes_end "$xfs"
stop
end_case "a mount that vanished does not freeze what lies below it"

begin_case
make_fs xfs "$work/bad.img" 320M "$bad" || fail "cannot mount the bad image"
start 10000 $all "$bad"
tell open && expect '^opened'
xfs_io -x -c shutdown "$bad" >/dev/null
tell freeze && expect '^FAILED failed error=5' && expect_thawed $all
tell results && expect "^result $bad xfs failed error=5"
stop
umount "$bad"
end_case "an error on one file system leaves nothing frozen"

begin_case
make_fs ext4 "$work/first.img" 32M "$work/first" || fail "cannot mount the first image"
HVGUEST_STRICT=1 start 10000 $all
tell open && expect '^opened' && tell "also $work" && expect "^also $work 0"
tell "also $work/first" && expect "^also $work/first 0" && tell reverse
tell freeze && expect '^FAILED failed error=95' && expect_thawed $all "$work/first"
tell results && expect "^result $work/first unknown thawed error=0"
expect "^result $work unknown failed error=95"
expect "^result $ext4 ext4 idle"
stop
umount "$work/first"
end_case "an error in the middle thaws what was frozen before it"

begin_case
start 10000 $all
"$driver" "$helper" "$work/run" 1000 $all >"$work/second" </dev/null 2>&1
[ "$(cat "$work/second")" = "new 1" ] || fail "a second daemon got in: $(cat "$work/second")"
stop
end_case "a second daemon is refused"

begin_case
: >"$log"
"$driver" "$helper" "$ext4" 1000 $all >"$log" </dev/null 2>&1
expect '^new 2'
end_case "a record on a disk is refused"

echo "1..$n_tests"
