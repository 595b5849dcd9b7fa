#!/bin/bash
# SPDX-License-Identifier: MIT
#
# hvguestctl plan: what would be frozen and in which order, and why not the rest, on real mounts. It
# must be right without touching anything.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup xfs_io
for type in ext4 xfs btrfs; do
    image_possible "$type" || skip_all "this machine cannot make or mount $type"
done
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
in_private_mounts "$@"
watchdog 120
. "$(dirname "$0")/lab.sh"

data=$tap_dir/data

prepare() {
    image_make ext4 "$run/outer.img" -L OUTER && image_mount "$run/outer.img" "$data/outer" &&
        image_make xfs "$data/outer/inner.img" && image_mount "$data/outer/inner.img" "$data/inner" &&
        image_make btrfs "$data/inner/core.img" && image_mount "$data/inner/core.img" "$data/core" &&
        image_make ext4 "$run/fixed.img" && image_mount "$run/fixed.img" "$data/fixed" ro &&
        image_make ext4 "$run/other.img" && image_mount "$run/other.img" "$tap_dir/other" &&
        image_make ext4 "$run/alone.img" -L ALONE && image_mount "$run/alone.img" "$data/alone" || return 1
    mkdir "$data/outer/part" "$data/bound" && mount --bind "$data/outer/part" "$data/bound" || return 1
    guard_mount "$data/bound"
    on_exit umount "$data/bound"
    mkdir "$run/upper" "$run/work" "$data/over"
    mount -t overlay -o "lowerdir=$data/alone,upperdir=$run/upper,workdir=$run/work" none \
        "$data/over" 2>/dev/null && on_exit umount "$data/over"
    return 0
}

# starts OPTION...: one guest after another
starts() {
    [ -z "${one_pid:-}" ] || stop "$one_pid"
    start_guest one --memory no "$@"
}

# plan FILTER: of the plan
plan() {
    guest one plan --json | jq -r "$1"
}

# verdict DIR: what the plan says of the file system whose mount it shows there
verdict() {
    plan ".file_systems[] | select(.target == \"$1\") | \"\(.level) \(.verdict): \(.reason)\""
}

prepare >"$run/prepare.log" 2>&1 || skip_all "cannot make and mount images: $(tail -n 1 "$run/prepare.log")"
start_host
starts --freeze-roots "$data"

check "exit code 0 if all that is wanted can be frozen" guest one plan
is "images in images: the innermost is first" "$(verdict "$data/core")" "0 freeze: will be frozen"
is "images in images: then the middle" "$(verdict "$data/inner")" "1 freeze: will be frozen"
is "images in images: the outermost is last" "$(verdict "$data/outer")" "2 freeze: will be frozen"
is "what stands alone is among the first" "$(verdict "$data/alone")" "0 freeze: will be frozen"
is "read-only" "$(verdict "$data/fixed")" "null read-only: it is read-only, so it does not change anyway"
is "not allowed" "$(verdict "$tap_dir/other")" \
    "null not-allowed: no mount of it is at or below an allowed path"
is "a bind mount is no file system of its own" "$(verdict "$data/bound")" ""
is "but is listed with its own" \
    "$(plan ".file_systems[] | select(.target == \"$data/outer\") | .mounts | join(\" \")")" \
    "$data/outer $data/bound"
is "an overlay has no disk" "$(verdict "$data/over")" ""
is "nothing was frozen for it" "$(guest_value one .backup.freezes)" 0

starts --freeze-roots "$data" --freeze-exclude "label:OUT*,type:btrfs" --freeze-policy strict
is "excluded by label" "$(verdict "$data/outer")" "null excluded: freeze_exclude names it"
is "excluded by type" "$(verdict "$data/core")" "null excluded: freeze_exclude names it"
is "what is left stays in order" "$(verdict "$data/inner")" "1 freeze: will be frozen"
check "what is excluded is not missing" guest one plan

starts --freeze-roots "$data" --freeze-include "path:$data/[xo]*,path:$data/al*"
is "included by path" "$(plan '[.file_systems[] | select(.verdict == "freeze") | .target] | join(" ")')" \
    "$data/alone"
is "the others are named with the reason" "$(verdict "$data/inner")" \
    "null excluded: freeze_include does not name it"

# The EFI system partition, which is vfat on a real guest, is left out unless the list says otherwise.
mount -t tmpfs none /boot && mkdir /boot/efi && image_make ext4 "$run/efi.img" &&
    image_mount "$run/efi.img" /boot/efi || bail_out "no file system on /boot/efi"
starts --freeze-roots "/boot/efi:$data/alone"
is "/boot/efi is excluded to begin with" "$(verdict /boot/efi)" "null excluded: freeze_exclude names it"
starts --freeze-roots "/boot/efi:$data/alone" --freeze-exclude type:vfat
is "but not by a list that does not name it" "$(verdict /boot/efi)" "0 freeze: will be frozen"
image_unmount /boot/efi && umount /boot

# What no kernel can freeze: a FUSE file system on a block device. Nobody serves it, so nobody may look
# into it either; it ends with the descriptor.
serve_nothing() {
    mkdir "$data/fuse" && truncate -s 1M "$run/fuse.img" && loop=$(losetup -f --show "$run/fuse.img") ||
        return 1
    on_exit losetup -d "$loop"
    exec 9<>/dev/fuse &&
        mount -i -t fuseblk -o fd=9,rootmode=40000,user_id=0,group_id=0 "$loop" "$data/fuse"
}

starts --freeze-roots "$data/fuse:$data/alone"
if [ -c /dev/fuse ] && serve_nothing 2>"$run/fuse.log"; then
    refuse "exit code 3 if something cannot be frozen" 3 guest one plan
    is "and the reason for it" "$(verdict "$data/fuse")" \
        "null unsupported: this type of file system cannot be frozen"
    is "the rest would be" "$(verdict "$data/alone")" "0 freeze: will be frozen"
    stop "$one_pid"
    start_guest one --memory no --freeze-roots "$data/fuse:$data/alone" --freeze-policy strict 9>&-
    refuse "with strict nothing would be: exit code 1" 1 guest one plan
    umount -l "$data/fuse"
else
    skip "something cannot be frozen" "needs FUSE: $(tail -n 1 "$run/fuse.log")"
fi
exec 9>&-

# Whoever has a file open there goes on writing, so this is no backup of all that is wanted.
starts --freeze-roots "$data/alone:$data/core"
exec 8>"$data/alone/open"
mount -t tmpfs none "$data/alone"
refuse "covered: exit code 3 if no path leads to it" 3 guest one plan
is "covered: and the reason for it" "$(plan '.file_systems[] | select(.type == "ext4" and .level == null and .verdict == "hidden") | .reason')" \
    "another mount covers it: no path leads to it"
check "covered: freeze" guest one freeze
check "covered: it is not frozen" timeout 10 dd if=/dev/zero of=/proc/self/fd/8 bs=4k count=1 conv=fsync
refuse "covered: thaw ends with 3" 3 guest one thaw
is "covered: the receipt names it" \
    "$(guest one receipt --json | jq -r '.file_systems[] | select(.target == "'"$data/alone"'" and .type == "ext4") | .state')" hidden
is "covered: and that the copy is not consistent" \
    "$(guest one receipt --json | jq -r '.class + " \(.consistent)"')" "crash false"
check "covered: one line of the log says so" grep -q \
    "backup: thawed as asked, but not everything was frozen: $data/alone: another mount covers it" "$run/one.log"
umount "$data/alone"
exec 8>&-
check "covered: all can be frozen again" guest one plan

starts
refuse "exit code 1 if nothing may be frozen" 1 guest one plan
check "and the reason" grep -q "freeze_roots (--freeze-roots) allows none" <(guest one plan)
refuse "a rule that is none is refused" 2 "$hvguestd" --freeze-exclude size:1

# A machine in the machine: process 1 of a PID namespace, a container that has an image of its own
# mounted, and hvguestd in a mount namespace from which what it should see is gone. Freezes nothing
# but what the rules include by their full paths.
in_namespaces() {
    image_make ext4 "$run/pod.img" && mkdir "$run/pod" || return 1
    cat >"$run/init" <<END
unshare -m --propagation private bash -c 'mount -o loop "$run/pod.img" "$run/pod" && exec sleep 100' &
until grep -q "$run/pod" /proc/\$!/mountinfo; do sleep 0.05; done
unshare -m --propagation private bash -c 'umount "$data/alone" && exec "\$@"' daemon \\
    "$hvguestd" --lab "$run/host/lab.sock" --run-dir "$run/two" --name two --freezer "$freezer" \\
    --memory no --freeze-mounts init --freeze-roots all \\
    --freeze-include "path:$data/alone,path:$run/pod" 2>"$run/two.log" &
wait
END
    mkdir "$run/two"
    unshare --pid --fork --kill-child --mount-proc --mount --propagation private \
        bash "$run/init" >>"$run/init.log" 2>&1 &
    init_pid=$!
    on_exit murder "$init_pid"
}

plan_of_two() {
    guest two plan --json | jq -r ".file_systems[] | select(.target == \"$1\") | .verdict"
}

write_alone() {
    rm -f "$run/wrote"
    (dd if=/dev/zero of="$data/alone/probe" bs=4k count=1 conv=fsync && : >"$run/wrote") >/dev/null 2>&1 &
}

in_namespaces
check "namespaces: hvguestd starts" soon test -S "$run/two/api.sock"
is "namespaces: process 1's mount, which hvguestd does not see" "$(plan_of_two "$data/alone")" freeze
is "namespaces: a mount of a container only" "$(plan_of_two "$run/pod")" freeze
is "namespaces: a file system of both is there once" "$(plan_of_two "$data/outer")" excluded
check "namespaces: freeze" guest two freeze
write_alone
sleep 0.3
check "namespaces: what hvguestd does not see is frozen" test ! -e "$run/wrote"
check "namespaces: thaw" guest two thaw
check "namespaces: it is thawed" soon test -e "$run/wrote"
is "namespaces: the container's was frozen too" \
    "$(guest two receipt --json | jq -r ".file_systems[] | select(.target == \"$run/pod\") | .state")" frozen
murder "$init_pid"

# What has nowhere to write to any more: a file's data is given up, and that fails the freeze; for its own
# an xfs retries for ever, and FIFREEZE waits for that.
full=$run/small/full.img
mkdir "$run/small" && mount -t tmpfs -o size=200M none "$run/small" && on_exit umount --lazy "$run/small"
image_make xfs "$full" && image_mount "$full" "$data/full" || bail_out "no image on a tmpfs"
on_exit rm -f "$run/small/rest" # or the xfs could not be unmounted

fill_up() {
    dd if=/dev/zero of="$run/small/rest" bs=1M status=none 2>/dev/null
}

# of_full FILTER: of its line in the receipt
of_full() {
    guest one receipt --json | jq -r ".file_systems[] | select(.target == \"$data/full\") | $1"
}

starts --freeze-roots "$data/full:$data/alone"
fill_up
dd if=/dev/zero of="$data/full/lost" bs=1M count=4 status=none
check "full: the plan cannot know" guest one plan
refuse "full: data cannot be written, so freeze fails" 1 guest one freeze
is "full: the receipt has why" "$(of_full '.state + ": " + .reason')" "failed: No space left on device"
is "full: and its class" "$(guest one receipt --json | jq -r .class)" failed
is "full: one line of the log says so" \
    "$(grep -c "nothing is frozen: $data/full could not be frozen: No space left on device" "$run/one.log")" 1
write_alone
check "full: the other one is not frozen" soon test -e "$run/wrote"
(cd "$data/full" && touch {1..2000})
refuse "hangs: what the file system has for itself cannot, and freeze fails at the deadline" 1 guest one freeze --deadline 1
is "hangs: the receipt has why" "$(of_full .reason)" \
    "the kernel had not come back from freezing it; when it does, it is thawed at once"
is "hangs: one line of the log says so" \
    "$(grep -c "nothing is frozen: the kernel had not frozen $data/full by the deadline" "$run/one.log")" 1
write_alone
check "hangs: the other one is not frozen" soon test -e "$run/wrote"
rm "$run/small/rest"
check "hangs: with room again it is not frozen either" timeout 20 touch "$data/full/free"
image_unmount "$data/full"

# One that has shut down after an error, as the kernel does by itself, cannot be frozen.
image_unmount "$data/core"
starts --freeze-roots "$data/inner:$data/alone"
xfs_io -x -c shutdown "$data/inner"
check "shut down: the plan cannot know" guest one plan
refuse "shut down: freeze fails" 1 guest one freeze
is "shut down: the receipt has the error of the one" \
    "$(guest one receipt --json | jq -r ".file_systems[] | select(.target == \"$data/inner\") | .state + \": \" + .reason")" \
    "failed: Input/output error"
is "shut down: and its class" "$(guest one receipt --json | jq -r .class)" failed
is "shut down: one line of the log says so" \
    "$(grep -c "nothing was frozen: $data/inner could not be opened: Input/output error" "$run/one.log")" 1
write_alone
check "shut down: the other one is not frozen" soon test -e "$run/wrote"

stop "$one_pid"
umount "$data/inner" # which cannot be asked any more whether it is a mount
no_reports
done_testing
