# SPDX-License-Identifier: MIT
#
# Tasks that really wait for memory: processes in a group that may have 24 MiB read a file of 96 MiB
# again and again. To be sourced after tap.sh.
#
#     make_group || skip ...
#     thrash 3
#     soon stalled || skip ...
#     stop "$thrash_pid"

group= # its folder

# Where there is no cgroup file system a folder has no such files.
in_group() {
    mkdir "$1" || return
    group=$1
    on_exit rmdir "$group"
    [ -e "$group/cgroup.procs" ]
}

# make_group: by either version of cgroups; false where none may be made
make_group() {
    if in_group "/sys/fs/cgroup/memory/hvguest-test.$$"; then
        echo 24M >"$group/memory.limit_in_bytes"
    elif in_group "/sys/fs/cgroup/hvguest-test.$$"; then
        echo 24M >"$group/memory.max"
    else
        return 1
    fi 2>/dev/null
}

# thrash N: so many that read more than fits, until $thrash_pid is stopped. They write the file themselves:
# page cache belongs to the group of who read or wrote it first.
thrash() {
    # shellcheck disable=SC2016
    setsid bash -c 'echo $$ >"$1/cgroup.procs" && head -c 96M /dev/zero >"$2" || exit
        trap "trap \"\" TERM; kill 0; exit" TERM
        for ((reader = 0; reader < $3; reader++)); do while cat "$2"; do :; done >/dev/null & done
        wait' thrash "$group" "$tap_dir/file" "$1" 2>/dev/null &
    thrash_pid=$!
    on_exit stop "$thrash_pid"
}

# stalled: whether the kernel has seen tasks wait for more than 4 % of the last ten seconds
stalled() {
    awk '/^some/ { sub("avg10=", "", $2); exit !($2 + 0 > 4) }' /proc/pressure/memory
}
