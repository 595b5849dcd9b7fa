# SPDX-License-Identifier: MIT
#
# What tests of the freezer need, to be sourced first: ext4, xfs, btrfs on loop devices, in a mount
# namespace of their own, and freezer-driver. That something is frozen is shown by a write that does
# not end; that it is thawed, by the same write ending. Nothing but these images is ever frozen, and
# a watchdog thaws them all when a case makes no progress for 20 seconds.

set -u

builddir=${builddir:-.}
helper=$builddir/fsfreeze/hvguest-freezer
driver=$builddir/tests/system/freezer-driver

skip_all()
{
	echo "1..0 # SKIP $1"
	exit 0
}

if [ "${1:-}" != --inside ]; then
	[ "$(id -u)" = 0 ] || skip_all "needs root to mount and freeze"
	for tool in unshare losetup mkfs.ext4 mkfs.xfs mkfs.btrfs xfs_io fsfreeze; do
		command -v $tool >/dev/null || skip_all "needs $tool"
	done
	losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
	unshare -m --propagation private true 2>/dev/null || skip_all "needs a mount namespace"
	work=$(mktemp -d) || exit 1
	unshare -m --propagation private "$0" --inside "$work"
	status=$?
	rmdir "$work"
	exit $status
fi

work=$2
ext4=$work/ext4 xfs=$work/xfs btrfs=$work/btrfs inner=$work/ext4/inner bad=$work/bad
all="$ext4 $xfs $btrfs"
log=$work/log
n_tests=0
driver_pid=
helper_pid=

alive()
{
	date +%s >"$work/alive.new" && mv "$work/alive.new" "$work/alive"
}

thaw_everything()
{
	local m

	for m in $ext4 $inner $xfs $btrfs $bad; do
		! mountpoint -q "$m" || fsfreeze -u "$m" 2>/dev/null
	done
}

# Ends when the test has ended, or five minutes after it began, whichever is first.
watchdog()
{
	local i then

	for ((i = 0; i < 600; i++)); do
		sleep 0.5
		kill -0 $$ 2>/dev/null || break
		then=$(cat "$work/alive")
		if (($(date +%s) - then > 20)); then
			thaw_everything
			: >"$work/watchdog-fired"
		fi
	done
	thaw_everything
}

report()
{
	n_tests=$((n_tests + 1))
	if [ -z "$failure" ]; then
		echo "ok $n_tests - $1"
	else
		echo "not ok $n_tests - $1"
		echo "# $failure"
		sed 's/^/#   /' "$log"
	fi
}

# The first thing that goes wrong in a case is what is reported.
fail()
{
	failure=${failure:-$1}
}

# Waits 10 seconds at most until a line of the driver's output matches ($2 lines, if given).
expect()
{
	local i

	for ((i = 0; i < 500; i++)); do
		[ "$(grep -c "$1" "$log")" -ge "${2:-1}" ] && return 0
		sleep 0.02
	done
	fail "no line matches '$1'"
	return 1
}

start()
{
	: >"$log"
	"$driver" "$helper" "$work/run" "$@" <&5 >"$log" 2>&1 &
	driver_pid=$!
	disown $driver_pid
	expect '^ready ' || return
	helper_pid=$(sed -n 's/^ready //p' "$log")
}

tell()
{
	echo "$1" >&5
}

# True when process $1 is gone; waits 10 seconds at most.
gone()
{
	local i

	for ((i = 0; i < 500; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		[ "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1)" != Z ] || return 0
		sleep 0.02
	done
	return 1
}

stop()
{
	tell quit
	gone "$driver_pid" || fail "the driver does not end"
	gone "$helper_pid" || fail "the freezer does not end"
}

# Starts a write with fsync on mount $1; its end is a file that appears.
begin_write()
{
	rm -f "$work/wrote.$(basename "$1")"
	(
		dd if=/dev/zero of="$1/probe" bs=4096 count=1 conv=fsync status=none 2>/dev/null
		: >"$work/wrote.$(basename "$1")"
	) &
}

wrote()
{
	[ -e "$work/wrote.$(basename "$1")" ]
}

# Writes to all of the mounts must still hang after a while.
expect_frozen()
{
	local m

	for m; do
		begin_write "$m"
	done
	sleep 0.3
	for m; do
		wrote "$m" && fail "$m is not frozen"
	done
	alive
}

# The writes begun on the mounts must end.
expect_writes_end()
{
	local m i

	for m; do
		for ((i = 0; i < 500; i++)); do
			wrote "$m" && break
			sleep 0.02
		done
		wrote "$m" || fail "$m is still frozen"
	done
	alive
}

expect_thawed()
{
	local m

	for m; do
		begin_write "$m"
	done
	expect_writes_end "$@"
}

begin_case()
{
	failure=
	alive
}

end_case()
{
	[ ! -e "$work/watchdog-fired" ] || fail "the watchdog had to thaw"
	rm -f "$work/watchdog-fired"
	report "$1"
}

# The wrong order: freezing the inner one must write to the image, which is frozen already.
begin_hanging_freeze()
{
	begin_case
	start "$1" "$ext4" "$inner" "$xfs"
	tell open && expect '^opened' && tell reverse && tell freeze && expect '^freeze 3 0'
	sleep 0.7
	expect_frozen "$ext4"
	! grep -q '^FROZEN' "$log" || fail "the freeze does not hang: the case proves nothing"
}

make_fs()
{
	truncate -s "$3" "$2" && "mkfs.$1" -q "$2" >/dev/null 2>&1 &&
		mkdir -p "$4" && mount -o loop "$2" "$4"
}

mount -t tmpfs -o mode=700 tmpfs "$work" || { echo "Bail out! no tmpfs"; exit 1; }
mkdir "$work/run"
alive
mkfifo "$work/commands"
exec 5<>"$work/commands"
trap 'thaw_everything; umount -l "$inner" "$bad" $all "$work" 2>/dev/null' EXIT
make_fs ext4 "$work/ext4.img" 256M "$ext4" && make_fs xfs "$work/xfs.img" 320M "$xfs" &&
	make_fs btrfs "$work/btrfs.img" 256M "$btrfs" || skip_all "cannot make and mount images"
watchdog &
