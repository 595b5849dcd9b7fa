#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Files from the host: the real programs on real file systems. Names of every kind, hosts that do everything wrong,
# full disks, kills and freezes at each step. Whatever happens: what is in its place is whole, nothing
# else is left, and nothing outside of the allowed folders is made, opened or changed.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs losetup jq sha256sum
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 380

data=$tap_dir/data
root=$data/in
if image_possible ext4 && image_make ext4 "$tap_dir/data.img" -m 0 && image_mount "$tap_dir/data.img" "$data"; then
    mkdir -p "$root" "$data/outside/deeper"
else
    skip_all "cannot make and mount ext4"
fi
source=$tap_dir/source
mkdir "$source"
head -c 3000000 /dev/urandom >"$source/file"
head -c 100 /dev/urandom >"$source/small"
: >"$source/empty"
sum=$(sha256sum <"$source/file" | cut -d' ' -f1)

start_one() {
    start_guest one --memory no --fcopy-roots "$root" --state-dir "$run/state" "$@"
    soon copy_is .version 1.1 || bail_out "no channel: $(cat "$run/one.log")"
}

copy_is() {
    [ "$(guest_value one ".copy | $1")" = "$2" ]
}

# copy FILE:PATH... [OPTION...]: hvhost copy
copy() {
    timeout 60 "$hvhost" copy one "$@" --run-dir "$run/host"
}

# left: everything in the file system but what was there at the beginning, without what is open only
left() {
    (cd "$data" && find . -mindepth 1 ! -path ./lost+found ! -path ./in ! -path './outside' \
        ! -path './outside/deeper' | sort | tr '\n' ' ')
}

# is_whole PATH: it has the source's content
is_whole() {
    [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$sum" ]
}

# has_room: blocks of files that were given up are free again
has_room() {
    [ "$(df --output=used -k "$data" | tail -1)" -le $((used_before + 64)) ]
}

# not_running: no copy is under way in the guest
at_rest() {
    copy_is .state idle
}

start_host
used_before=$(df --output=used -k "$data" | tail -1)

# --- off unless configured

start_guest two --memory no --state-dir "$run/state2"
check "a guest without fcopy_roots is connected" soon connected two
is "file copy is off, and says why" "$(guest_value two '.copy.enabled')" false
refuse "the host is told so" 1 timeout 20 "$hvhost" copy two "$source/small:$root/x" --run-dir "$run/host"
ends "it ends" "$two_pid"
refuse "a root that is no absolute path is refused" 2 "$hvguestd" --fcopy-roots relative --check-config
refuse "a root that climbs is refused" 2 "$hvguestd" --fcopy-roots /srv/../etc --check-config
refuse "a mode that gives the owner's rights away is refused" 2 "$hvguestd" --fcopy-mode 4755 --check-config
refuse "an owner that nobody is is refused" 2 "$hvguestd" --fcopy-owner nobody-of-this-name --check-config

# --- files arrive

start_one --fcopy-mode 640 --fcopy-owner 12:34
check "a file is copied" copy "$source/file:$root/file"
check "... and whole" is_whole "$root/file"
check "a large one is, too" \
    eval 'head -c 75000000 /dev/urandom >"$source/large" && copy "$source/large:$root/large"'
check "... and whole" cmp "$source/large" "$root/large"
rm -f "$source/large" "$root/large"
is "... with mode and owner of the configuration" "$(stat -c '%a %u %g' "$root/file")" "640 12 34"
is "an empty file is, too" "$(copy "$source/empty:$root/empty" --json | jq -r '.copies[0].state')" done
is "... and is empty" "$(stat -c %s "$root/empty")" 0
check "several files in one command" copy "$source/small:$root/a" "$source/small:$root/b"
check "... both arrive" cmp "$root/a" "$root/b"
check "into a folder, under its own name" copy "$source/small:$root/" --force
check "... " cmp "$source/small" "$root/small"
is "a receipt has what it takes to check the file" \
    "$(guest one copies --json | jq -r '[.copies[] | select(.path == "'"$root/file"'")][0] | "\(.bytes) \(.sha256) \(.requester | startswith("lab host at"))"')" \
    "3000000 $sum true"
check "the audit line has it as well" grep -q "file copy: 3000000 bytes in .*, sha256 $sum, from the lab host .*: $root/file" "$run/one.log"
check "receipts are files" eval "ls '$run'/state/copies/receipt-*.json"
rm -f "$root"/*
if command -v script >/dev/null; then
    check "on a terminal there is a bar" \
        eval 'script -qefc "$hvhost copy one $source/file:$root/bar --run-dir $run/host --fault silent --fault-at 400 & sleep 1; kill -INT \$!; wait" /dev/null </dev/null | grep -q "bar \[##*\.*\]"'
    check "... " soon at_rest
else
    skip "on a terminal there is a bar" "needs script"
fi

# --- names

names=(plain 'with space' 'naïve' 'ФАЙЛ' '文件' '🐧.txt' $'e\u0301' -dash '*' '$(reboot)' "'quote'" '"' '\back' '%s')
for name in "${names[@]}"; do
    copy "$source/small:$root/$name" >/dev/null 2>&1
done
is "names of every alphabet arrive intact" "$(find "$root" -mindepth 1 -printf '%f\n' | LC_ALL=C sort)" \
    "$(printf '%s\n' "${names[@]}" | LC_ALL=C sort)"
refuse "a name with a control character is refused" 1 copy "$source/small:$root/"$'a\tb'
rm -rf "${root:?}"/*
long=$(printf 'ü%.0s' {1..127})
check "a name of 254 bytes arrives" copy "$source/small:$root/$long"
refuse "one that is too long for the file system is refused" 1 copy "$source/small:$root/${long}xx"
rm -rf "${root:?}"/*

# --- where it may go

ln -s "$data/outside" "$root/link"
ln -s . "$root/self"
ln -s /proc/self/root "$root/magic"
mkfifo "$root/fifo"
mkdir "$root/folder"
echo precious >"$data/outside/victim"
ln -s ../outside/victim "$root/filelink"
before=$(cd "$data" && find . -printf '%p %y %s %m %T@\n' | grep -v '^\./in ' | sort)
for path in "$data/outside/x" "$root/../outside/x" "/etc/x" "/x" "$root/link/x" "$root/link/deeper/x" "$root/self/x" \
    "$root/magic/etc/x" "$root-not/x" "$root/./../../x" "/proc/self/cwd/x" "$root/folder/../../outside/x"; do
    refuse "not to ${path#"$tap_dir"}" 1 copy "$source/small:$path" --force --create-path
done
refuse "a FIFO is not opened" 1 copy "$source/small:$root/fifo" --force
refuse "a folder is not replaced" 1 copy "$source/small:$root/folder" --force
refuse "a link is not followed, nor replaced" 1 copy "$source/small:$root/filelink" --force
is "nothing has changed anywhere" "$(cd "$data" && find . -printf '%p %y %s %m %T@\n' | grep -v '^\./in ' | sort)" "$before"
[ ! -e /etc/x ] && [ ! -e /x ]
is "... nor in other file systems" "$?" 0
check "the log says why" grep -q "not copied: not allowed there" "$run/one.log"
rm -f "$root/link" "$root/self" "$root/magic" "$root/fifo" "$root/filelink"
rmdir "$root/folder"
rm "$data/outside/victim"

# A link that comes and goes while copies are made never leads them astray.
mkdir "$root/race"
(while [ -d "$root" ]; do
    mv "$root/race" "$root/race.real" && ln -s "$data/outside" "$root/race"
    rm "$root/race" && mv "$root/race.real" "$root/race"
done) >/dev/null 2>&1 &
racer=$!
on_exit stop "$racer"
arrived=0
for i in {1..40}; do
    copy "$source/small:$root/race/$i" --create-path >/dev/null 2>&1 && arrived=$((arrived + 1))
done
stop "$racer"
is "a race with a symbolic link has put nothing outside" "$(find "$data/outside" -mindepth 1 ! -name deeper | wc -l)" 0
diag "$arrived of 40 copies arrived during the race"
rm -rf "${root:?}"/*

# --- flags

check "a file for the next" copy "$source/small:$root/file"
refuse "is not replaced unasked" 1 copy "$source/file:$root/file"
check "... and as it was" cmp "$source/small" "$root/file"
is "the host's words say what to do" "$(copy "$source/file:$root/file" 2>&1 | grep -c -- --force)" 1
check "is replaced when asked to" copy "$source/file:$root/file" --force
check "... by all of it" is_whole "$root/file"
refuse "folders are not made unasked" 1 copy "$source/small:$root/x/y/z"
is "... not even the first" "$(ls "$root")" file
check "they are when asked to" copy "$source/small:$root/x/y/z" --create-path
check "... and the file is there" cmp "$source/small" "$root/x/y/z"
rm -rf "${root:?}"/*

# --- a host that does everything wrong

for fault in hole repeat larger early no-start surrogate endless oversize cancel-start cancel-write cancel-end; do
    for at in 0 100; do
        copy "$source/file:$root/new/f" --create-path --fault "$fault" --fault-at "$at" >"$run/out" 2>&1
        [ $? != 124 ] || diag "the host hangs"
        soon at_rest || diag "$(guest_value one .copy)"
        # A COMPLETE that had its effect before the CANCEL came is a file that is whole.
        [ "$fault" = cancel-end ] && [ -e "$root/new/f" ] && is_whole "$root/new/f" && rm -r "$root/new"
        is "$fault at fragment $at leaves nothing" "$(left)" ""
    done
done
check "begun anew in the middle, it arrives whole" copy "$source/file:$root/f" --fault restart --fault-at 100
check "... " is_whole "$root/f"
rm -f "$root/f"
for at in 0 1 200 487; do
    is "cancelled at fragment $at" "$(copy "$source/file:$root/f" --fault cancel --fault-at $at --json 2>/dev/null | jq -r '.copies[0].state')" cancelled
    is "... nothing is left" "$(left)" ""
done
check "and its blocks are free" soon has_room

# --- the command is broken off

"$hvhost" copy one "$source/file:$root/f" --fault silent --fault-at 50 --json --run-dir "$run/host" >"$run/out" 2>"$run/out.err" &
command_pid=$!
check "a copy is under way" soon copy_is .state open
refuse "a second one waits its turn" 1 copy "$source/small:$root/g"
kill -INT "$command_pid"
wait "$command_pid"
is "Ctrl-C makes the command fail" "$?" 1
is "... tells that it was cancelled" "$(jq -r '.copies[0].state' "$run/out")" cancelled
check "... and the guest forgets the file" soon at_rest
is "... of which nothing is left" "$(left)" ""

# --- the channel, the host and the guest are lost

for at in 0 50 489; do
    copy "$source/file:$root/new/f" --create-path --fault silent --fault-at $at >/dev/null 2>&1 &
    check "a copy is under way, at fragment $at" soon copy_is .state open
    check "the channel is taken away" host rescind one fcopy
    check "... nothing is left" soon eval 'at_rest && [ -z "$(left)" ] && has_room'
    check "... and offered again" host offer one fcopy
    check "... " soon copy_is .version 1.1
done
check "a file is copied over it" copy "$source/file:$root/f"
rm "$root/f"

copy "$source/file:$root/f" --fault silent --fault-at 50 >/dev/null 2>&1 &
check "a copy is under way again" soon copy_is .state open
murder "$host_pid"
check "a killed host leaves nothing" soon eval 'at_rest && [ -z "$(left)" ] && has_room'
start_host
check "the guest finds the next host" soon copy_is .version 1.1

copy "$source/file:$root/f" --fault silent --fault-at 200 >/dev/null 2>&1 &
check "a copy is under way once more" soon copy_is .state open
murder "$one_pid"
is "a killed guest leaves nothing" "$(left)" ""
check "... not even blocks" soon has_room
start_one
check "and goes on" copy "$source/file:$root/f"
rm "$root/f"

copy "$source/file:$root/f" --fault silent --fault-at 200 >/dev/null 2>&1 &
check "a copy is under way for the last time" soon copy_is .state open
ends "a guest that is told to end does" "$one_pid" TERM
is "... and leaves nothing" "$(left)" ""

# What a daemon leaves that is killed between the two names of a file that replaces another.
mkdir -p "$root/sub" "$run/state/copies"
echo half >"$root/sub/.hvguest-copy-0123456789abcdef"
echo mine >"$root/sub/.hvguest-copy-aaaaaaaaaaaaaaaa"
printf '%s\nsub\n.hvguest-copy-0123456789abcdef\n' "$root" >"$run/state/copies/.copying"
start_one
check "what a killed daemon had left is removed at the next start" soon [ ! -e "$root/sub/.hvguest-copy-0123456789abcdef" ]
check "... and only that" [ -e "$root/sub/.hvguest-copy-aaaaaaaaaaaaaaaa" ]
check "... and said" soon grep -q "a predecessor was killed" "$run/one.log"
rm -r "$root/sub"

# Killed at any moment while one file replaces another: the old or the new is there, whole.
cp "$source/file" "$source/other"
printf x | dd of="$source/other" conv=notrunc status=none
other=$(sha256sum <"$source/other" | cut -d' ' -f1)
cp "$source/file" "$root/f"
bad=0
for round in {1..12}; do
    next=$([ $((round % 2)) = 0 ] && echo file || echo other)
    copy "$source/$next:$root/f" --force >/dev/null 2>&1 &
    copy_pid=$!
    sleep "0.$(printf %02d $((RANDOM % 25)))"
    murder "$one_pid"
    wait "$copy_pid"
    case $(sha256sum <"$root/f" | cut -d' ' -f1) in "$sum" | "$other") ;; *) bad=$((bad + 1)) ;; esac
    start_one
done
is "12 kills while a file is replaced leave the old one or the new" "$bad" 0
check "... and nothing else" soon eval '[ "$(left)" = "./in/f " ]'
rm "$root/f"

# --- the disk is full

free=$(df --output=avail -k "$data" | tail -1)
truncate -s $(((free + 10000) * 1024)) "$source/huge"
refuse "a file that cannot fit is refused" 1 copy "$source/huge:$root/f"
is "... as what it is, before anything is sent" \
    "$(copy "$source/huge:$root/f" --json 2>/dev/null | jq -r '.copies[0] | "\(.status) \(.done_bytes)"')" "0x80070070 0"
is "... and nothing is left" "$(left)" ""
fallocate -l $((free * 1024 - 2000000)) "$data/ballast"
refuse "with less room than the file needs, too" 1 copy "$source/file:$root/a/b/f" --create-path
is "... nothing but the ballast is left" "$(left)" "./ballast "
rm "$data/ballast"
check "with room again it is copied" copy "$source/file:$root/f"
rm "$root/f"
# Without extents nothing can be reserved: the disk is full in the middle, or at the end.
if truncate -s 24M "$tap_dir/old.img" && mkfs.ext4 -q -O ^extents,^64bit,^has_journal -m 0 "$tap_dir/old.img" &&
    image_mount "$tap_dir/old.img" "$tap_dir/old"; then
    ends "the guest ends" "$one_pid"
    start_guest one --memory no --fcopy-roots "$tap_dir/old" --state-dir "$run/state"
    check "a guest on a disk that reserves nothing" soon copy_is .version 1.1
    avail=$(df --output=avail -k "$tap_dir/old" | tail -1)
    for room in 0 100 1200 2900; do
        head -c $(((avail - room) * 1024)) /dev/zero >"$tap_dir/old/ballast" 2>/dev/null
        is "with room for $room KiB it says that the disk is full" \
            "$(copy "$source/file:$tap_dir/old/a/f" --create-path --json 2>/dev/null | jq -r '.copies[0].status')" 0x80070070
        soon at_rest
        is "... and nothing but the ballast is left" "$(cd "$tap_dir/old" && find . -mindepth 1 ! -name lost+found)" ./ballast
        rm "$tap_dir/old/ballast"
    done
    is "all blocks are free again" "$(df --output=avail -k "$tap_dir/old" | tail -1)" "$avail"
    check "with room for it the file arrives" copy "$source/file:$tap_dir/old/f"
    check "... whole" is_whole "$tap_dir/old/f"
    ends "it ends" "$one_pid"
    start_one
else
    skip "a disk that reserves nothing" "cannot make ext4 without extents"
fi
# No inodes: folders and names fail one after the other.
rm -f "$tap_dir/few.img"
if truncate -s 16M "$tap_dir/few.img" && mkfs.ext4 -q -N 16 -m 0 "$tap_dir/few.img" &&
    image_mount "$tap_dir/few.img" "$tap_dir/few"; then
    ends "the guest ends" "$one_pid"
    start_guest one --memory no --fcopy-roots "$tap_dir/few" --state-dir "$run/state"
    check "a guest on a disk with few inodes" soon copy_is .version 1.1
    failed=0
    for n in 0 1 2 3 4 5; do
        copy "$source/small:$tap_dir/few/a/b/c/d/f$n" --create-path >/dev/null 2>&1 || failed=$((failed + 1))
        touch "$tap_dir/few/fill$n" 2>/dev/null
    done
    check "some copies fail for want of inodes" [ "$failed" -gt 0 ]
    is "what is there is whole" "$(find "$tap_dir/few" -name 'f[0-9]' ! -size 100c)" ""
    is "nothing has a temporary name" "$(find "$tap_dir/few" -name '.hvguest*')" ""
    ends "it ends" "$one_pid"
    start_one
fi

# --- the power fails right after the answer

for type in ext4 xfs; do
    if ! command -v xfs_io >/dev/null || ! image_possible $type || ! image_make $type "$tap_dir/cut.img" ||
        ! image_mount "$tap_dir/cut.img" "$tap_dir/cut"; then
        skip "a power cut on $type" "cannot make and mount it, or no xfs_io"
        continue
    fi
    ends "the guest ends" "$one_pid"
    start_guest one --memory no --fcopy-roots "$tap_dir/cut" --state-dir "$run/state"
    check "a guest on $type" soon copy_is .version 1.1
    check "a file is copied into new folders" copy "$source/file:$tap_dir/cut/a/b/f" --create-path
    copy "$source/small:$tap_dir/cut/g" >/dev/null
    check "another is replaced" copy "$source/file:$tap_dir/cut/g" --force
    cp "$source/file" "$tap_dir/cut/control"
    check "the power fails: nothing more reaches the disk" xfs_io -x -c shutdown "$tap_dir/cut"
    ends "the guest ends" "$one_pid"
    check "the machine starts again" eval 'umount "$tap_dir/cut" && image_mount "$tap_dir/cut.img" "$tap_dir/cut"'
    check "the file is there, whole" is_whole "$tap_dir/cut/a/b/f"
    check "and the other one" is_whole "$tap_dir/cut/g"
    refuse "(and one that nobody synced is not)" 1 is_whole "$tap_dir/cut/control"
    image_unmount "$tap_dir/cut"
    start_one
done

# --- a file system that has no files without a name

if command -v mkfs.vfat >/dev/null && truncate -s 64M "$tap_dir/vfat.img" && mkfs.vfat "$tap_dir/vfat.img" >/dev/null 2>&1 &&
    image_mount "$tap_dir/vfat.img" "$tap_dir/vfat"; then
    ends "the guest ends" "$one_pid"
    start_guest one --memory no --fcopy-roots "$tap_dir/vfat" --state-dir "$run/state"
    check "a guest on vfat" soon copy_is .version 1.1
    check "a file is copied" copy "$source/file:$tap_dir/vfat/f"
    check "... whole" is_whole "$tap_dir/vfat/f"
    refuse "it is not replaced unasked" 1 copy "$source/small:$tap_dir/vfat/f"
    check "... but when asked to" copy "$source/small:$tap_dir/vfat/f" --force
    copy "$source/file:$tap_dir/vfat/g" --fault silent --fault-at 200 >/dev/null 2>&1 &
    check "a copy is under way" soon copy_is .state open
    is "under a temporary name" "$(find "$tap_dir/vfat" -name '.hvguest-copy-*' | wc -l)" 1
    murder "$one_pid"
    start_guest one --memory no --fcopy-roots "$tap_dir/vfat" --state-dir "$run/state"
    check "which the next daemon removes" soon eval '[ "$(ls -A "$tap_dir/vfat")" = f ]'
    ends "it ends" "$one_pid"
    start_one
else
    skip "a file system without O_TMPFILE" "no mkfs.vfat, or no vfat"
fi

# --- frozen file systems

ends "the guest ends" "$one_pid"
start_one --freeze-roots "$data" --freeze-timeout 60
"$hvhost" copy one "$source/file:$root/f" --fault silent --fault-at 300 --run-dir "$run/host" >/dev/null 2>&1 &
command_pid=$!
check "a copy is under way" soon copy_is .state open
check "the file systems are frozen" guest one freeze --deadline 50
check "... with the copy in the middle" copy_is .state open
check "they are thawed" guest one thaw
kill -INT "$command_pid"
check "and the copy is given up as it was asked" soon at_rest
check "frozen again" guest one freeze --deadline 50
copy "$source/file:$root/g" >"$run/out" 2>&1 &
copy_pid=$!
check "what the host asks for meanwhile waits" soon copy_is .waits_for_thaw true
sleep 1
is "... and nothing is written" "$(left)" ""
check "until the thaw" guest one thaw
wait "$copy_pid"
is "then it is done" "$?" 0
check "... whole" is_whole "$root/g"
rm "$root/g"

# --- what is opened at all

if command -v strace >/dev/null; then
    strace -f -y -s 200 -e trace=open,openat,openat2,creat,mkdir,mkdirat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,symlink,symlinkat,chmod,fchmodat,chown,fchownat,truncate \
        -o "$run/trace" -p "$one_pid" 2>/dev/null &
    strace_pid=$!
    on_exit stop "$strace_pid"
    sleep 1
    copy "$source/file:$root/s/t" --create-path >/dev/null 2>&1
    copy "$source/small:$root/s/t" --force >/dev/null 2>&1
    copy "$source/small:$data/outside/x" --force >/dev/null 2>&1
    copy "$source/small:$root/../outside/x" --force >/dev/null 2>&1
    stop "$strace_pid"
    # Beside libraries and our own folders: nothing but what is beneath the root.
    strangers=$(grep -vE "ENOENT|\"/(etc/(ld|ssl)|lib|usr|proc|sys|dev/urandom)|<[^>]*/(ssl|lib)" "$run/trace" |
        grep -E 'open|mkdir|link|rename|chmod|chown|trunc' | grep -vF -e "$root" -e "$run/state" -e "$run/one")
    is "no system call names anything else" "$strangers" ""
    check "(the trace has the copy in it)" grep -q "openat2.*RESOLVE_BENEATH" "$run/trace"
    rm -rf "${root:?}"/*
else
    skip "no system call names anything else" "needs strace"
fi

# --- the end

! command -v curl >/dev/null || is "the metrics have the files" \
    "$(curl -s --unix-socket "$run/one/api.sock" http://localhost/metrics 2>/dev/null | grep -cE '^hvguest_file_cop(ies|y_bytes)[a-z_]*_total ')" 4
is "the log of the guest has no complaint of the channel" "$(grep -c 'ring is corrupt' "$run/one.log")" 0
ends "the guest ends" "$one_pid"
ends "the host ends" "$host_pid"
is "nothing is left" "$(left)" ""
umount "$data"
check "the file system is clean" image_check ext4 "$tap_dir/data.img"
no_reports
done_testing
