#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make install: everything goes below DESTDIR, while all else can only be read; what units, rules and
# settings name is there; make uninstall takes all of it away.

. "$(dirname "$0")/tap.sh"
need_root
need_programs make unshare
need_private_mounts
build=$(cd "${builddir:-.}" && pwd)
stage=$tap_dir/stage
mkdir "$stage"

# in_stage TARGET: make it where all but the stage is read-only
in_stage() {
    unshare -m --propagation private sh -c '
        mount --bind "$1" "$1" && mount -o remount,bind,ro / && mount -o remount,bind,rw "$1" || exit
        for dir in "$2" "$3"; do
            mount --bind "$dir" "$dir" && mount -o remount,bind,ro "$dir" || exit
        done
        ! touch "$2/.written" 2>/dev/null || { echo "$2 can be written"; exit 1; }
        cd "$2" && make -s "$4" DESTDIR="$1" prefix=/usr sysconfdir=/etc localstatedir=/var' \
        in_stage "$stage" "$build" "${srcdir:-.}" "$1"
}

# has PATH MODE: whether it was installed so
has() {
    [ -f "$stage$1" ] && [ "$(stat -c %a "$stage$1")" = "$2" ]
}

check "all of it is installed, and nothing is written elsewhere" in_stage install
check "nothing is installed but below /usr and /etc" eval '! ls "$stage" | grep -vx "usr\|etc"'
for program in bin/hvguestctl bin/hvhost libexec/hvguest/hvguest-disks libexec/hvguest/hvguest-freezer \
    libexec/hvguest/hvguest-keeper sbin/hvguestd; do
    check "$program can be run" has "/usr/$program" 755
done
check "nothing but programs and hooks can be run" eval '! find "$stage" -type f -perm /111 |
    grep -v "/bin/\|/sbin/\|/libexec/hvguest/"'
check "the manual pages are there" has /usr/share/man/man8/hvguestd.8 644
check "the example is a configuration" "$build/daemon/hvguestd" --check-config \
    --config "$stage/usr/share/doc/hvguest/hvguest.conf"
if [ -e "$stage/usr/lib/systemd" ]; then
    check "what starts hvguestd is there" has /usr/lib/udev/rules.d/60-hvguest.rules 644
    check "... and the target that it names" eval '
        target=$(grep -o "[a-z-]*\.target" "$stage/usr/lib/udev/rules.d/60-hvguest.rules" | sort -u) &&
        has "/usr/lib/systemd/system/$target" 644 &&
        grep -q "^WantedBy=.*$target" "$stage/usr/lib/systemd/system/hvguestd.service"'
fi
check "all of it can be taken away" in_stage uninstall
check "... and nothing is left" eval '! find "$stage" -type f -o -type l | grep .'
done_testing
