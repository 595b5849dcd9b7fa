#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The commands of README.md and of the guides, as they stand: each indented line that calls one of our
# programs, or what goes with them, is run in the order of the text, in a mount namespace where /run and
# /srv are empty, with a network of its own, and /srv/data is a file system of its own. Every one has to end well.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/images.sh"
need_root
need_programs jq losetup ip
if [ "${docs_network:-}" != own ]; then
    unshare -n true 2>/dev/null || skip_all "needs a network namespace: the texts name a port"
    rm -rf "$tap_dir"
    trap - EXIT
    docs_network=own exec unshare -n bash "$0" "$@"
fi
ip link set lo up
image_possible ext4 || skip_all "this machine cannot make or mount ext4"
losetup -f >/dev/null 2>&1 || skip_all "needs a free loop device"
[ -d /srv ] || skip_all "needs a folder /srv to mount on"
in_private_mounts "$@"
watchdog 240
. "$(dirname "$0")/lab.sh"
top=$(cd "$(dirname "$0")/../.." && pwd)

# The programs as if they were installed. What a line leaves in the background is the program itself.
hvhost() {
    if [ "$BASHPID" = $$ ]; then "$build/host/hvhost" "$@"; else exec "$build/host/hvhost" "$@"; fi
}
hvguestctl() { "$build/cli/hvguestctl" "$@"; }
hvguestd() {
    exec "$build/daemon/hvguestd" --freezer "$freezer" --keeper "$keeper" --disks-helper "$build/disks/hvguest-disks" \
        --stall-limit 0 --state-dir /run/state "$@"
}

# begin: an empty machine
begin() {
    mount -t tmpfs -o mode=755 run /run && mount -t tmpfs srv /srv && mkdir /srv/images || bail_out "cannot mount"
    image_make ext4 /srv/images/data.img && image_mount /srv/images/data.img /srv/data || bail_out "cannot make an image"
}

# finish: ends what the text has started, the last first
finish() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null; done
    started=()
    pid=$(od -An -tu4 -j48 -N4 /run/hvguest/keeper.record 2>/dev/null | tr -d ' ')
    [ "$(cat "/proc/${pid:-none}/comm" 2>/dev/null)" != hvguest-keeper ] || kill -TERM "$pid"
    umount /srv/data && umount /srv && umount --lazy /run # what ends late may still have a file there
}

# settled: whoever is there has found the others
settled() {
    [ ! -S /run/hvguest/api.sock ] ||
        [ "$(hvhost status --json 2>/dev/null | jq -r '[.guests[] | .heartbeat.state + " " + .backup.version + " " + .memory.state] | unique | join(",")')" = "ok 5.0 ready" ]
}

# run_line LINE: in this shell, so that $! is the text's; what stays in the background is ended in the end
run_line() {
    local line=$1 before=${!:-}
    # shellcheck disable=SC2086
    eval "$line" >>"$run/docs.out" 2>>"$run/docs.err"
    local status=$?
    if [[ $line == *'&' ]]; then
        [ "${!:-}" = "$before" ] || started=("$!" "${started[@]}")
        case $line in
        hvhost*) soon test -S /run/hvhost/read.sock || status=1 ;;
        hvguestd*) soon test -S /run/hvguest/api.sock && soon settled || status=1 ;;
        esac
    fi
    return "$status"
}

started=()
for text in README.md docs/GUIDE-HOSTING.md docs/GUIDE-BACKUP.md docs/MONITORING.md; do
    begin
    if [ "$text" = docs/MONITORING.md ]; then # which is about what is there already
        run_line "hvhost serve --startup 2G --minimum 1800M &"
        run_line "hvguestd --lab /run/hvhost/lab.sock &"
    fi
    n=0
    while read -r line; do
        n=$((n + 1))
        : >"$run/docs.err"
        if run_line "$line"; then
            ok "$text: $line"
        else
            diag "$(tail -n 5 "$run/docs.err")" "$(tail -n 30 "$run/docs.out")"
            not_ok "$text: $line"
        fi
    done < <(sed -nE 's/^    ((hvhost|hvguestd|hvguestctl|curl|mkdir|cp) .*)$/\1/p' "$top/$text")
    check "$text has commands" test "$n" -ge 8
    finish
done

no_reports
done_testing
