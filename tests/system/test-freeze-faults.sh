#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What can go wrong while the freezer works: each fault at each step, and every time nothing is
# frozen in the end, the knob for grace periods is as it was, and the record is true. And what the
# freezer does between the first FIFREEZE and the last FITHAW, by its system calls and its memory.

. "$(dirname "$0")/freezer.sh"

# A knob that is a file: the real one is the machine's, and others test on it.
kernel=$work/kernel
export HVGUEST_KERNEL_DIR=$kernel
mkdir "$kernel"
set_knob()
{
	echo "$1" >"$kernel/rcu_expedited"
}

knob_is()
{
	[ "$(cat "$kernel/rcu_expedited")" = "$1" ] ||
		fail "rcu_expedited is $(cat "$kernel/rcu_expedited"), not $1 ($2)"
}

set_knob 0
make_fs ext4 "$ext4/inner.img" 32M "$inner" || skip_all "cannot make and mount images"

# The driver, or the freezer, or both of them at once: neither can act on the other's death.
kill_driver()
{
	kill -9 "$driver_pid"
}

kill_freezer()
{
	kill -9 "$helper_pid"
}

kill_both()
{
	kill -STOP "$driver_pid" "$helper_pid"
	kill -9 "$driver_pid" "$helper_pid"
}

terminate_freezer()
{
	kill -TERM "$helper_pid"
}

ask_thaw()
{
	tell thaw
}

pass_deadline()
{
	:
}

# What is left of the programs is ended; a hanging FIFREEZE is let go first, as an administrator would.
end_programs()
{
	! mountpoint -q "$inner" || fsfreeze -u "$ext4" 2>/dev/null
	tell quit
	gone "$driver_pid" || fail "the driver does not end ($1)"
	gone "$helper_pid" || fail "the freezer does not end ($1)"
	# A dead driver has not read it.
	read -r -t 0.05 _ <&5
}

# fault_at STEP FAULT TIMEOUT_MS: makes it happen, and looks at what is left
fault_at()
{
	local step=$1 fault=$2 what="$2 while $1"

	begin_case
	set_knob 0
	case $step in
	idle)
		start "$3" "$inner" "$ext4" "$xfs"
		;;
	freezing)
		start "$3" "$inner" "$ext4" "$xfs"
		tell open && expect '^opened' && tell reverse && tell freeze
		sleep 0.4
		begin_write "$ext4"
		sleep 0.2
		! wrote "$ext4" || fail "ext4 is not frozen ($what)"
		! grep -q '^FROZEN' "$log" || fail "the freeze does not hang ($what)"
		knob_is 1 "$what"
		;;
	frozen)
		start "$3" "$inner" "$ext4" "$xfs"
		tell freeze && expect '^FROZEN'
		begin_write "$ext4"
		knob_is 0 "$what"
		;;
	esac
	$fault
	[ "$step" = idle ] || [ "$fault" = kill_both ] || expect_writes_end "$ext4"
	if [ "$fault" = kill_both ]; then
		end_programs "$what"
		start 5000 "$inner" "$ext4" "$xfs"
	fi
	expect_thawed "$inner" "$ext4" "$xfs"
	knob_is 0 "after $what"
	end_programs "$what"
	end_case "$step: $fault"
}

for fault in kill_driver kill_freezer kill_both terminate_freezer; do
	fault_at idle $fault 10000
done
for step in freezing frozen; do
	for fault in kill_driver kill_freezer kill_both terminate_freezer ask_thaw; do
		fault_at $step $fault 15000
	done
	fault_at $step pass_deadline 1000
done

begin_case
set_knob 1
start 5000 $all
tell bounce && expect '^THAWED asked' && expect_thawed $all
knob_is 1 "it was 1 before"
stop
set_knob 0
echo 1 >"$kernel/rcu_normal"
begin_hanging_freeze 15000
knob_is 0 "rcu_normal is set"
tell thaw && expect '^THAWED asked' && expect_thawed $all
stop
rm "$kernel/rcu_normal"
end_case "the knob is left alone if it is turned already, or if rcu_normal says so"

# FITHAW of the inner one writes to the outer one, which somebody else has frozen meanwhile.
begin_case
start 15000 "$inner" "$xfs"
tell freeze && expect '^FROZEN'
fsfreeze -f "$ext4"
begin_write "$xfs"
tell thaw && expect '^THAWED asked.* pending=1' && expect_writes_end "$xfs"
fsfreeze -u "$ext4"
expect_thawed "$inner" "$ext4" "$xfs"
tell bounce && expect '^THAWED asked.* pending=0'
tell results && expect "^result $inner ext4 thawed error=0"
stop
end_case "a thaw that hangs does not hold up the others"

begin_case
start 5000 $all
tell open && expect '^opened' && tell "also $work" && expect '^also .* 0'
tell freeze && expect '^FROZEN' && expect_frozen $all
tell thaw && expect '^THAWED asked' && expect_writes_end $all
tell results && expect "^result $work unknown unsupported error=95"
stop
HVGUEST_STRICT=1 start 5000 $all
tell open && expect '^opened' && tell "also $work" && expect '^also .* 0'
tell freeze && expect '^FAILED failed error=95' && expect_thawed $all
tell results && expect "^result $work unknown failed error=95"
stop
end_case "what the kernel cannot freeze is passed over, or with strict ends it all"

# shut_down TYPE SIZE: of one file system among others, between opening and freezing
shut_down()
{
	begin_case
	make_fs "$1" "$work/bad-$1.img" "$2" "$bad" || fail "cannot mount the bad image"
	start 5000 $all "$bad"
	tell open && expect '^opened'
	xfs_io -x -c shutdown "$bad" >/dev/null
	tell freeze && expect '^F[AR]' && tell thaw
	expect_thawed $all
	tell results && expect '^results-end'
	stop
	umount "$bad" || fail "the bad image is still in use"
}

shut_down xfs 320M
grep -q "^FAILED failed error=5" "$log" && grep -q "^result $bad xfs failed error=5" "$log" ||
	fail "the error is not told"
end_case "an xfs that has shut down is named, and nothing stays frozen"

# Some kernels freeze such an ext4 without complaint; either way it is told as it was.
shut_down ext4 64M
if grep -q '^FAILED' "$log"; then
	grep -q "^result $bad ext4 failed error=[1-9]" "$log" || fail "the error is not told"
else
	grep -q "^result $bad ext4 thawed error=0" "$log" || fail "the result is not told"
fi
end_case "an ext4 that has shut down is told as it was, and nothing stays frozen"

begin_case
make_fs xfs "$work/gone.img" 320M "$work/gone" || fail "cannot mount the image"
start 5000 $all "$work/gone"
tell open && expect '^opened'
umount -l "$work/gone"
tell bounce && expect '^THAWED asked' && expect_thawed $all
tell results && expect "^result $work/gone xfs thawed error=0"
stop
end_case "a mount that is taken away between opening and freezing is frozen and thawed all the same"

# The service manager's store: what is frozen is in it, and when both have been killed the next run
# thaws by it, even a file system that is mounted nowhere any more.
begin_case
: >"$log"
make_fs xfs "$work/lost.img" 320M "$work/lost" || fail "cannot mount the image"
"$builddir/tests/system/notified" "$work/notify" 2 "$driver" "$helper" "$work/run" 15000 \
	$all "$work/lost" <&5 >"$log" 2>&1 &
disown $!
expect '^ready ' && tell bounce && expect '^THAWED asked'
expect '^store hvguest-frozen 5$' && expect '^remove hvguest-frozen 0$'
tell freeze && expect '^FROZEN' 2 && expect_frozen $all
[ "$(grep -c '^store' "$log")" = 2 ] || fail "not stored a second time"
driver_pid=$(sed -n 's/^run \([0-9]*\) 0$/\1/p' "$log") helper_pid=$(sed -n 's/^ready //p' "$log")
umount -l "$work/lost"
kill_both
expect '^run [0-9]* 5$' && expect '^ready ' 2 && expect_writes_end $all
[ "$(grep -c '^recovered .* thawed error=0' "$log")" = 5 ] || fail "not five recovered"
expect '^remove hvguest-frozen 0$' 2
for ((i = 0; i < 500; i++)); do
	[ -n "$(losetup -j "$work/lost.img")" ] || break
	sleep 0.02
done
if [ -n "$(losetup -j "$work/lost.img")" ]; then
	fail "something keeps the lost file system"
	mount "$(losetup -n -O NAME -j "$work/lost.img")" "$work/lost" && fsfreeze -u "$work/lost"
	umount "$work/lost"
fi
tell quit && expect '^ended 0'
end_case "the next run thaws by what the service manager has kept, also what is mounted nowhere"

# A sanitizer does as it likes; what follows is about the program as it is installed.
if grep -aq __asan_init "$helper"; then
	echo "1..$n_tests"
	exit
fi

begin_case
start 5000 $all
tell bounce && expect '^THAWED asked'
# The program itself counts, though others that run now may share it.
kb=$(awk -v program="$(realpath "$helper")" '
	/^[0-9a-f]+-/ { is_program = $6 == program }
	/^Private_/ || is_program && /^Shared_/ { kb += $2 }
	END { print kb }' "/proc/$helper_pid/smaps")
echo "# private: $kb KiB"
[ "$kb" -le 1536 ] || fail "the freezer has $kb KiB of its own"
stop
end_case "the freezer has no more than 1.5 MiB of memory of its own"

# Calls that neither make memory nor open, name or write any file, as strace -y shows them.
harmless='^(ioctl\([0-9]+<[^>]*>, FI(FREEZE|THAW)'
harmless+='|(futex|poll|ppoll|restart_syscall|clock_gettime|gettid|getpid|sched_yield)\('
harmless+='|(read|write)\([0-9]+<anon_inode:\[(eventfd|timerfd|signalfd)\]>'
harmless+='|p(read|write)64\([0-9]+<[^>]*/rcu_expedited>'
harmless+='|(sendmsg|recvmsg)\([0-9]+<(socket|UNIX)'
harmless+='|timerfd_settime\(|close\([0-9]+<)'

# calls FILE: of all threads, of each freeze from the first FIFREEZE to the last FITHAW, one in a line
calls()
{
	sed -E 's/^[0-9]+ +//' "$1" | awk '
		/FIFREEZE/ { frozen++ }
		frozen { held = held $0 "\n" }
		/FITHAW/ { thawed++; printf "%s", held; held = "" }
		frozen == thawed { frozen = thawed = 0; held = "" }' |
		grep -vE '^(<\.\.\.|\+\+\+|---|[a-z]*[)]? *=)'
}

if ! command -v strace >/dev/null; then
	n_tests=$((n_tests + 1))
	echo "ok $n_tests - system calls # SKIP needs strace"
else
	begin_case
	start 3000 "$inner" $all
	strace -f -y -s 0 -o "$work/trace" -p "$helper_pid" 2>"$work/strace.log" &
	strace_pid=$!
	for ((i = 0; i < 500; i++)); do
		! grep -q attached "$work/strace.log" || break
		sleep 0.02
	done
	alive
	tell freeze && expect '^FROZEN'
	tell thaw && expect '^THAWED asked'
	alive
	tell freeze && expect '^FROZEN' 2
	expect '^THAWED deadline'
	expect_thawed "$inner" $all
	kill -INT $strace_pid
	wait $strace_pid 2>/dev/null
	stop
	calls "$work/trace" >"$work/calls"
	[ "$(grep -c 'ioctl.*FIFREEZE' "$work/calls")" -ge 8 ] &&
		[ "$(grep -c 'ioctl.*FITHAW' "$work/calls")" -ge 8 ] || fail "the trace is not complete"
	grep -vE "$harmless" "$work/calls" >"$work/harmful" && fail "$(head -n 3 "$work/harmful")"
	echo "# $(wc -l <"$work/calls") calls: $(sed 's/(.*//' "$work/calls" | sort | uniq -c | xargs)"
	end_case "from the first FIFREEZE to the last FITHAW the freezer makes harmless system calls only"
fi

echo "1..$n_tests"
