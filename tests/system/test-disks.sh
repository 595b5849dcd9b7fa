#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Disks that become larger: loop devices whose files grow, with partition tables and file systems in use.
# hvguestd hears it from the kernel and has them grown into; what is not simple, damaged or not to be
# touched stays to the byte as it was; and a helper that is killed at any of its steps leaves the old
# table or the new one, and is followed by one that comes to the end.

. "$(dirname "$0")/tap.sh"
need_root
need_programs sfdisk partx losetup jq
in_private_mounts "$@"
watchdog 380
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/images.sh"

helper=$build/disks/hvguest-disks
before_mib=380
after_mib=640

# may_resize_ext4: the kernel asks for CAP_SYS_RESOURCE
may_resize_ext4() {
    [ $((0x$(awk '/^CapEff:/ { print $2 }' /proc/self/status) >> 24 & 1)) = 1 ]
}

let_go() {
    umount "$2" 2>/dev/null
    partx -d "$1" 2>/dev/null
    losetup -d "$1" 2>/dev/null
}

# disk NAME TABLE TYPE: a disk with a small partition and one of TYPE that is mounted at $tap_dir/NAME, with
# a file in it; $NAME is its device. TABLE "none": the file system fills the disk. TYPE "": nothing on it
disk() {
    local name=$1 table=$2 type=$3 file=$tap_dir/$1.img device part
    rm -f "$file"
    truncate -s ${before_mib}M "$file"
    [ "$table" = none ] || printf 'label: %s\nsize=20M\nsize=320M\n' "$table" | sfdisk -q "$file" || return 1
    device=$(losetup -f --show "$file") || return 1
    printf -v "$name" %s "$device"
    mkdir -p "$tap_dir/$name"
    on_exit let_go "$device" "$tap_dir/$name"
    part=$device
    if [ "$table" != none ]; then
        partx -a "$device" || return 1
        part=${device}p2
    fi
    [ -n "$type" ] || return 0
    "mkfs.$type" -q "$part" >/dev/null 2>&1 && mount "$part" "$tap_dir/$name" || return 1
    guard_mount "$tap_dir/$name"
    head -c 3000000 /dev/urandom >"$tap_dir/$name/data"
    sha256sum "$tap_dir/$name/data" >"$tap_dir/$name.sum"
    sync -f "$tap_dir/$name"
}

# grow_file NAME: as the host does it
grow_file() {
    truncate -s ${after_mib}M "$tap_dir/$1.img" && losetup -c "${!1}"
}

# mib NAME: of the file system that is mounted
mib() {
    df --output=size -B1M "$tap_dir/$1" | tail -1 | tr -d ' '
}

# part_mib NAME: of its second partition in the kernel
part_mib() {
    echo $(($(blockdev --getsize64 "${!1}p2") / 1048576))
}

# is_large NAME: nearly all that the disk has beside the first partition, less what a file system needs
is_large() {
    echo "$(mib "$1") MiB"
    [ "$(mib "$1")" -gt 520 ]
}

# sound NAME TYPE: the table is without a fault, the data is there, and so says the file system's own
# program; it is mounted no more afterwards
sound() {
    local part=${!1}
    if [ -e "${part}p2" ]; then
        sfdisk -V "$part" 2>&1 | tee "$tap_dir/verify"
        grep -q 'No errors detected' "$tap_dir/verify" || return 1
        part=${part}p2
    fi
    sha256sum -c "$tap_dir/$1.sum" && umount "$tap_dir/$1" && image_check "$2" "$part"
}

types=
for type in xfs btrfs ext4; do
    image_possible "$type" || continue
    types+=" $type"
done
types=${types# }
[ -n "$types" ] || skip_all "needs one of the file systems"
any=${types%% *}
[ "$any" != ext4 ] || may_resize_ext4 || skip_all "needs xfs, btrfs, or CAP_SYS_RESOURCE"
if ! disk probe gpt "$any"; then skip_all "needs loop devices with partitions"; fi
grows() {
    [ "$1" != ext4 ] || may_resize_ext4
}

# --- the helper by itself

list() {
    "$helper" list "${!1}" | jq -r --arg name "$(basename "${!1}")" ".disks[] | select(.name == \$name) | $2"
}

is "what could grow is said" "$(list probe '"\(.table) \(.growth)"')" "gpt can-grow"
check "it can be filled" "$helper" grow "$probe"
is "... and is" "$(list probe .growth)" full
is "... so that there is nothing more to do" "$("$helper" grow "$probe" | jq .grown)" false
check "its content is untouched" sound probe "$any"

# --- hvguestd hears it from the kernel

start_host
listed=
for type in $types; do
    disk "gpt_$type" gpt "$type" || bail_out "no disk with $type"
    name=gpt_$type
    listed+=,${!name}
done
disk dos_disk dos "$any" && disk whole none "$any" && disk other gpt "$any" || bail_out "no disks"
start_guest one --memory no --disks-grow auto --disks "${listed#,},$(basename "$dos_disk"),$whole" \
    --disks-helper "$helper" --freeze-roots "$tap_dir/whole"
soon connected one

# Each is made to fill its disk first; those that it was already are not counted.
at_rest() {
    [ "$(guest_value one .disks.waiting)" = false ]
}
check "at its start it looks at what is listed" soon at_rest
for type in $types; do
    grow_file "gpt_$type"
done
grow_file dos_disk
grow_file whole
grow_file other
for type in $types; do
    if grows "$type"; then
        check "$type in a GPT has grown into its disk" soon is_large "gpt_$type"
        check "... and is sound" sound "gpt_$type" "$type"
    else
        skip "$type in a GPT has grown into its disk" "needs CAP_SYS_RESOURCE"
        name=gpt_$type
        refuse "... without that it is refused" 3 "$helper" grow "${!name}"
        is "... and its partition stays" "$(part_mib "$name")" 320
    fi
done
check "a table of DOS, too" soon is_large dos_disk
check "... and is sound" sound dos_disk "$any"
check "a file system without a table, too" soon is_large whole
check "all is at rest" soon at_rest
is "a disk that is not listed stays as it was" "$(part_mib other)" 320
check "... and it is said that it could grow" grep -q "disks: $(basename "$other") has another size" \
    "$run/one.log"

# --- while it is frozen

disk held gpt "$any" || bail_out "no disk"
ends "the guest ends" "$one_pid"
start_guest one --memory no --disks-grow auto --disks "$held" --disks-helper "$helper" \
    --freeze-roots "$tap_dir/held" --freeze-timeout 60
soon connected one
soon at_rest
held_now() {
    [ "$(guest_value one '.disks.waiting')" = true ]
}
before="$(part_mib held) $(guest_value one .disks.grown)"
check "a file system is frozen" guest one freeze
grow_file held
check "its disk waits" soon held_now
sleep 2
is "... for as long as it is frozen" "$(part_mib held) $(guest_value one .disks.grown)" "$before"
refuse "nor by hand" 1 guest one disks grow "$(basename "$held")"
check "it is thawed" guest one thaw
check "... and grows" soon is_large held
check "... and is sound" sound held "$any"
ends "the guest ends" "$one_pid"

# --- by hand, and what is shown

disk byhand gpt "$any" && disk plain gpt "" || bail_out "no disks"
start_guest one --memory no --disks "$byhand,$plain" --disks-helper "$helper"
soon connected one
grow_file byhand
seen() {
    [ "$(guest_value one .disks.resizes)" -ge 1 ]
}
check "with grow = off the kernel's message is seen" soon seen
is "... and nothing done" "$(part_mib byhand)" 320
refuse "hvguestctl disks says what could grow, and what not" 3 guest one disks
check "... the reason" eval "guest one disks | grep 'partition 2 has nothing on it that is known'"
check "... the partition and what is on it" eval "guest one disks | grep '${byhand}p2.*320 MiB.*$any.*on $tap_dir/byhand'"
check "... as JSON" eval "guest one disks --json | jq -e '.schema == 1 and (.disks | length >= 2)'"
check "hvguestctl disks grow lets it" guest one disks grow "$(basename "$byhand")"
check "... and it is large" is_large byhand
refuse "one that is not simple is refused" 1 guest one disks grow "$(basename "$plain")"
refuse "one that is not there, too" 1 guest one disks grow nothing
refuse "a path is no name" 2 guest one disks grow ../x
ends "the guest ends" "$one_pid"

# --- tables that are damaged

# unchanged NAME WHAT: the helper refuses it, with these words, and not one byte of the disk is another
unchanged() {
    local sum
    grow_file "$1"
    sum=$(cksum <"$tap_dir/$1.img")
    "$helper" grow "${!1}" >"$tap_dir/answer"
    [ $? = 3 ] || return 1
    cat "$tap_dir/answer"
    grep -q "$2" "$tap_dir/answer" && [ "$(cksum <"$tap_dir/$1.img")" = "$sum" ]
}

# damage NAME OFFSET: one byte
damage() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$tap_dir/$1.img" | tr -d ' ')
    printf "\\x$(printf %02x $((byte ^ 255)))" |
        dd of="${!1}" bs=1 seek="$2" conv=notrunc status=none && sync
}

last=$((before_mib * 1048576))
for at in "512+16 header" "1024+40 entries" "$last-512+20 backup" "$last-512*33+60 backup"; do
    disk damaged gpt "$any" || bail_out "no disk"
    umount "$tap_dir/damaged" && mount -o ro "${damaged}p2" "$tap_dir/damaged"
    damage damaged "$((${at% *}))"
    what="its GPT is damaged"
    [ "${at#* }" != backup ] || what="the backup of its GPT is damaged"
    check "a GPT with a damaged ${at#* } is left alone (byte ${at% *})" unchanged damaged "$what"
    let_go "$damaged" "$tap_dir/damaged"
done
disk damaged gpt "$any" || bail_out "no disk"
umount "$tap_dir/damaged" && mount -o ro "${damaged}p2" "$tap_dir/damaged"
check "a file system that is read-only is left alone" unchanged damaged "mounted for reading only"
let_go "$damaged" "$tap_dir/damaged"
disk damaged gpt "$any" || bail_out "no disk"
umount "$tap_dir/damaged"
check "one that is not mounted, too" unchanged damaged "is not mounted"

# --- killed in the middle

# traced OPTION...: strace; a process that is traced cannot look for leaks
traced() {
    ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" strace -qq "$@"
}

# ended_at CALL N: the helper dies before the N-th such call to a disk; the table is sound whatever it is, as
# the old one (partition of 320 MiB) or the new one; and the next helper comes to the end
ended_at() {
    local size
    disk torn gpt "$any" || return 1
    grow_file torn
    traced -o /dev/null -e "trace=$1" -e "inject=$1:signal=KILL:when=$2" "$helper" grow "$torn" \
        >"$tap_dir/answer" 2>&1
    status=$?
    sfdisk -V "$torn" >"$tap_dir/verify" 2>&1
    size=$(sfdisk -d "$torn" 2>/dev/null | sed -n 's/.*p2 .*size= *\([0-9]*\),.*/\1/p')
    cat "$tap_dir/verify"
    echo "killed at $1 $2: status $status, partition of $size sectors"
    grep -qE 'CRC|corrupt|invalid' "$tap_dir/verify" && return 1
    [ "$size" = 655360 ] || [ "$size" -gt 1200000 ] || return 1
    "$helper" grow "$torn" && is_large torn && sound torn "$any" || return 1
    let_go "$torn" "$tap_dir/torn"
}

# dies_at CALL N: a test of its own
dies_at() {
    local output result
    output=$(ended_at "$1" "$2"; echo "result $? $status")
    result=${output##*result }
    status=${result#* }
    [ "${result% *}" = 0 ] || diag "$output"
    is "killed before its call $2 of $1: the old table or the new, and on from there" "${result% *}" 0
}

if command -v strace >/dev/null; then
    status=137
    for ((n = 1; n < 60 && status == 137; n++)); do
        dies_at pwrite64 "$n"
    done
    check "it writes twice at least" test "$n" -gt 3
    # Of ioctl those that change something: the kernel's partition, and the file system behind it.
    disk torn gpt "$any" && grow_file torn || bail_out "no disk"
    traced -o "$tap_dir/trace" -e trace=ioctl "$helper" grow "$torn" >/dev/null 2>&1
    let_go "$torn" "$tap_dir/torn"
    n=$(grep -n BLKPG "$tap_dir/trace" | head -1 | cut -d: -f1)
    check "the kernel's partition is resized" test -n "$n"
    for ((end = n + 3; n < end; n++)); do
        dies_at ioctl "$n"
    done
else
    skip "killed at each step" "needs strace"
fi

no_reports
done_testing
