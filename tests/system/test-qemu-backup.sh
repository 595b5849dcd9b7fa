#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Backup of disks that QEMU has open: hvguestd freezes, QEMU begins copies of that moment, hvguestd
# thaws, and QEMU copies while the disks are written to. They are served by qemu-storage-daemon,
# QEMU's block layer as a program of its own, so that this machine can mount one: every write of the
# guest goes through QEMU. Two more disks have no file system, and nobody freezes them: what is written
# to one and then to the other tells whether the copies are of one moment.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq fsfreeze losetup e2fsck qemu-storage-daemon qemu-img socat
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
[ -c /dev/fuse ] || skip_all "needs /dev/fuse"
in_private_mounts "$@"
. "$(dirname "$0")/lab.sh"
watchdog 280

disk=$tap_dir/disk.img guest_dir=$tap_dir/guest vault=$tap_dir/vault
first=$tap_dir/first.img second=$tap_dir/second.qcow2 # raw and qcow2, written to one after the other
record=512 # bytes
spare_nodes=() spare_images=() # of disks between them, so that beginning one copy after the other takes time
for n in 1 2 3 4 5 6; do
    spare_nodes+=("spare$n" raw "$tap_dir/spare$n.img")
    spare_images+=(--image "$tap_dir/spare$n.img")
done
mkdir "$run/vms" "$vault" "$run/export"

# QEMU unmounts it when it ends in order.
release_export() {
    ! mountpoint -q "$run/export/$1" || umount --lazy "$run/export/$1"
}

throttle=(--object "throttle-group,id=slow,x-bps-read=$((4 << 20))") # for the disk that is called slow

# serve NAME [NODE FORMAT FILE]...: the QEMU of a VM with these disks; $NAME_pid
serve() {
    local name=$1 arguments=() exports=()
    shift
    while [ $# -gt 0 ]; do
        : >"$run/export/$1"
        arguments+=(--blockdev "driver=file,node-name=$1-file,filename=$3")
        if [ "$1" = slow ]; then
            arguments+=(--blockdev "driver=throttle,node-name=slow-throttle,throttle-group=slow,file=slow-file"
                --blockdev "driver=$2,node-name=slow,file=slow-throttle")
        else
            arguments+=(--blockdev "driver=$2,node-name=$1,file=$1-file")
        fi
        arguments+=(
            --export "type=fuse,id=$1,node-name=$1,mountpoint=$run/export/$1,writable=on")
        exports+=("$1")
        on_exit release_export "$1"
        shift 3
    done
    rm -f "$run/vms/$name.sock"
    qemu-storage-daemon "${throttle[@]}" "${arguments[@]}" \
        --chardev "socket,id=monitor,path=$run/vms/$name.sock,server=on,wait=off" --monitor chardev=monitor \
        >>"$run/$name.qsd" 2>&1 &
    printf -v "${name}_pid" %s $!
    on_exit stop "$!"
    soon test -S "$run/vms/$name.sock" || return 1
    for name in "${exports[@]}"; do soon mountpoint -q "$run/export/$name" || return 1; done
}

# serve_vm: the VM with all three
serve_vm() {
    serve vm disk raw "$disk" first raw "$first" "${spare_nodes[@]}" second qcow2 "$second" \
        slow raw "$tap_dir/slow.img"
}

# backup FOLDER OPTION...: into it, as JSON in $run/backup.json
backup() {
    local folder=$vault/$1
    shift
    mkdir -p "$folder" && host backup one --to "$folder" --json "$@" >"$run/backup.json" 2>"$run/backup.err"
}

said() {
    cat "$run/backup.err"
    grep -q "$1" "$run/backup.err"
}

# image N FILTER: what jq finds about the image in the last backup
image() {
    jq -r ".images[$1] | $2" "$run/backup.json"
}

thawed() {
    [ "$(guest_value one .backup.state)" != frozen ] && touch "$guest_dir/probe" &&
        timeout 10 sync -f "$guest_dir"
}

looked_at() {
    [ "$(host_value "$1" .qemu.state)" = watching ]
}

# Writes record after record to the first disk, and each then to the second; each write has ended, at
# QEMU, when the next begins.
write_records() {
    local n=0 a b
    exec {a}<>"$run/export/first" {b}<>"$run/export/second"
    while [ $((n += 1)) -le 60000 ]; do
        printf '%-511d\n' "$n" >&"$a"
        printf '%-511d\n' "$n" >&"$b"
    done
}

# records FILE: how many it has, without a gap; of a raw image
records() {
    local n
    n=$(($(tr -d '\0' <"$1" | wc -c) / record))
    cmp -s <(head -c $((n * record)) "$1") <(seq -f '%-511g' "$n") && echo "$n"
}

# same_moment FOLDER: the copies there have the same records, or the first has one more
same_moment() {
    local a b
    qemu-img convert -f qcow2 -O raw "$vault/$1/second.qcow2" "$run/second.raw" &&
        a=$(records "$vault/$1/first.img") && b=$(records "$run/second.raw") || return 1
    echo "$a records and $b"
    [ "$b" -gt 0 ] && [ $((a - b)) -ge 0 ] && [ $((a - b)) -le 1 ]
}

# same FOLDER: the copies there are what the disks are now, that nobody writes to
same() {
    qemu-img compare -f raw -F raw "$run/export/first" "$vault/$1/first.img" &&
        qemu-img compare -f raw -F qcow2 "$run/export/second" "$vault/$1/second.qcow2" &&
        qemu-img check -f qcow2 "$vault/$1/second.qcow2"
}

# change MIB: of both disks, there
change() {
    local to
    for to in first second; do
        dd if=/dev/urandom of="$run/export/$to" bs=1M count=2 seek="$1" conv=notrunc status=none || return 1
    done
}

# bitmaps: of ours, how many each node of the VM has
bitmaps() {
    asked query-named-block-nodes | jq -r '.[] | select(."node-name" == ("first", "second")) |
        "\(."node-name") \([."dirty-bitmaps"[]? | select(.name | startswith("hvguest-"))] | length)"' | sort | xargs
}

# asked COMMAND: of the VM's QEMU, while no hvhost has its monitor
asked() {
    { printf '{"execute":"qmp_capabilities"}{"execute":"%s"}\n' "$1"; sleep 1; } |
        socat - "UNIX-CONNECT:$run/vms/vm.sock" | jq -c 'select(.return | arrays) | .return'
}

both=(--vm vm --image "$first" --image "$second")

prepare() {
    head -c 16M /dev/urandom >"$tap_dir/slow.img" && truncate -s 1M "$tap_dir"/spare{1,2,3,4,5,6}.img && image_make ext4 "$disk" && truncate -s 64M "$first" && qemu-img create -q -f qcow2 "$second" 64M &&
        serve_vm && image_mount "$run/export/disk" "$guest_dir" &&
        head -c 60M /dev/urandom >"$guest_dir/data" && sync -f "$guest_dir"
}

prepare >"$tap_dir/prepare.log" 2>&1 || skip_all "QEMU cannot serve a disk here: $(cat "$tap_dir/prepare.log" "$run"/*.qsd | tail -n 1)"
start_host --qmp "$run/vms" --qmp-timeout 2
start_guest one --memory no --freeze-roots "$guest_dir"
check "the guest is ready for backups" soon eval '[ "$(host_value one .backup.version)" = 5.0 ]'
check "hvhost has found the disks' QEMU" soon looked_at vm
is "... which has no machine" "$(host_value vm .qemu.problem)" "it has no machine: only its disks are of use"

# --- a backup under load

(while :; do dd if=/dev/urandom of="$guest_dir/churn" bs=1M count=40 conv=notrunc,fdatasync; done) 2>/dev/null &
churn_pid=$!
on_exit stop "$churn_pid"
soon test -s "$guest_dir/churn"
check "a backup by QEMU works" backup load --vm vm --image "$disk"
diag "$(cat "$run/backup.err")" "frozen for $(jq .frozen_seconds "$run/backup.json") s"
is "the copy was made by QEMU" "$(image 0 .method)" qemu
is "it has the image's name, and nothing else is there" "$(ls -A "$vault/load")" disk.img
stop "$churn_pid"
is "it is as large" "$(stat -c %s "$vault/load/disk.img")" "$(stat -c %s "$disk")"
check "its file system is in order, as it was frozen" e2fsck -fn "$vault/load/disk.img"
check "... without a journal to replay" eval '! dumpe2fs -h "$vault/load/disk.img" 2>/dev/null | grep needs_recovery'
check "it can be mounted" image_mount "$vault/load/disk.img" "$tap_dir/copy" ro
check "what was there before is there" cmp "$guest_dir/data" "$tap_dir/copy/data"
check "what was written since is not" eval '! cmp -s "$guest_dir/churn" "$tap_dir/copy/churn"'
image_unmount "$tap_dir/copy"
check "the guest goes on" thawed
refuse "a copy that is there already is not replaced" 1 backup load --vm vm --image "$disk"

# --- two disks, of one moment, and of two formats

write_records 2>/dev/null & records_pid=$!
on_exit stop "$records_pid"
for round in 1 2 3; do
    check "a backup of disks that are written to works ($round)" backup "pair-$round" --vm vm --image "$first" \
        "${spare_images[@]}" --image "$second"
    check "... and the copies are of one moment ($round)" same_moment "pair-$round"
done
check "somebody wrote all the time" kill -0 "$records_pid"
stop "$records_pid"
is "the copy of a qcow2 image is one" "$(qemu-img info --output json "$vault/pair-1/second.qcow2" | jq -r .format)" qcow2
is "... that stands alone" "$(qemu-img info --output json "$vault/pair-1/second.qcow2" | jq -r '."backing-filename"')" null

# --- only what has changed

check "a backup that can be gone on from works" backup base "${both[@]}" --keep-base
check "... and is what the disks are" same base
is "... in full" "$(image 0 .incremental) $(image 1 .incremental)" "false false"
change 40
check "one of what has changed works" backup more "${both[@]}" --since "$vault/base"
is "it is one" "$(image 0 .incremental) $(image 1 .incremental)" "true true"
is "... of 2 MiB, and no more" "$(image 0 .data_bytes) $(image 1 .data_bytes)" "2097152 2097152"
check "... and is what the disks are" same more
change 44
check "one since a backup that is not the last works" backup again "${both[@]}" --since "$vault/base"
is "... in full" "$(image 0 .incremental) $(image 1 .incremental)" "false false"
check "... and says why" eval 'image 0 .full_why | grep -q "has not noted what has changed"'
check "... and is what the disks are" same again
check "one since a backup that kept no base works" backup late "${both[@]}" --since "$vault/pair-1"
check "... in full, and says why" eval 'image 1 .full_why | grep -q "made without --keep-base"'

# --- what cannot be

refuse "a VM that is not there" 1 backup none --vm nobody --image "$disk"
check "... is named" said "no VM of this name"
refuse "a verification, which QEMU does not make" 2 backup none --vm vm --image "$disk" --verify
truncate -s 1M "$tap_dir/other.img"
freezes=$(guest_value one .backup.freezes)
refuse "an image that the VM does not have" 1 backup none --vm vm --image "$tap_dir/other.img"
check "... is named" said "the VM has no such image open"
is "... before anything is frozen" "$(guest_value one .backup.freezes)" "$freezes"
qemu-img create -q -f vdi "$tap_dir/other.vdi" 64M
serve other vdi vdi "$tap_dir/other.vdi"
check "a disk of another format is served, and found" soon looked_at other
refuse "it is not copied as if it were raw" 1 backup none --vm other --image "$tap_dir/other.vdi"
check "... and that is said" said "neither a raw nor a qcow2 image"
kill -STOP "$other_pid"
refuse "a QEMU that hangs fails the backup" 1 backup none --vm other --image "$tap_dir/other.vdi"
check "... in time, and the guest is thawed" thawed
kill -CONT "$other_pid"
soon looked_at other
kill -STOP "$other_pid"
backup none --vm other --image "$tap_dir/other.vdi" & backup_pid=$!
soon eval '[ -e "$vault"/none/.other.vdi.* ]'
check "a guest goes while its backup is being prepared" host rescind one vss
wait "$backup_pid"
is "... which then fails" $? 1
check "... and says why" said "the guest is gone"
kill -CONT "$other_pid"
check "the guest is back" host offer one vss
soon eval '[ "$(host_value one .backup.version)" = 5.0 ]'
is "nothing is left of those that failed" "$(ls -A "$vault/none")" ""
check "the log has the reasons" eval 'grep -q "the VM has no such image open" "$run/host.log" && grep -q "neither a raw" "$run/host.log"'

# --- hvhost is killed while QEMU copies

backup killed --vm vm --image "$tap_dir/slow.img" & backup_pid=$!
check "QEMU copies" soon eval '[ "$(stat -c %b "$vault"/killed/.slow.img.*)" -gt 0 ]'
murder "$host_pid"
wait "$backup_pid"
is "hvhost has died before it had a copy" "$(ls "$vault/killed")" ""
check "QEMU has its jobs still" [ "$(asked query-jobs | jq length)" -gt 0 ]
start_host --qmp "$run/vms" --qmp-timeout 2
check "the next one finds the guest and the VM" soon eval '[ "$(host_value one .backup.version)" = 5.0 ] && looked_at vm'
check "its backup works" backup killed --vm vm --image "$tap_dir/slow.img"
is "... and has removed the other's half" "$(ls -A "$vault/killed")" slow.img
check "... and is what the disk is" cmp "$tap_dir/slow.img" "$vault/killed/slow.img"

# --- QEMU ends in between: a qcow2 image remembers what has changed, a raw one does not

image_unmount "$guest_dir"
stop "$vm_pid"
serve_vm && image_mount "$run/export/disk" "$guest_dir" || bail_out "QEMU does not serve the disks again"
check "the VM is found again" eval 'sleep 1; soon looked_at vm'
change 48
check "a backup of what has changed works" backup later "${both[@]}" --since "$vault/late"
diag "$(cat "$run/backup.err")"
is "... of the qcow2 image only what has changed" "$(image 0 .incremental) $(image 1 .incremental)" "false true"
check "... and both are what the disks are" same later

stop "$host_pid"
is "QEMU has nothing left of us but the nodes it had" \
    "$(asked query-named-block-nodes | jq -r '.[]."node-name"' | sort | xargs)" \
    "disk disk-file first first-file second second-file slow slow-file slow-throttle$(printf ' spare%s spare%s-file' 1 1 2 2 3 3 4 4 5 5 6 6)"
is "... a bitmap each for the next backup" "$(bitmaps)" "first 1 second 1"
is "... and no job" "$(asked query-jobs | jq length)" 0
no_reports
done_testing
