#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The packages of `make rpm`, installed by rpm: into a copy of this machine's system that is dropped
# afterwards, with a database of their own, where no systemd runs. Installed, verified, upgraded over a
# configuration that was changed, and erased; what is left is what is documented (docs/HACKING.md).

. "$(dirname "$0")/tap.sh"
need_root
need_programs rpm systemctl chroot
build=$(cd "${builddir:-.}" && pwd)
rpms=$build/packages/rpm
[ -e "$build/packages/rpm.made" ] || skip_all "needs RPM packages: make rpm"
in_private_mounts "$@"
watchdog 120

# The system: what is written to it lands in $upper.
system=$tap_dir/system
upper=$tap_dir/layers/upper
mkdir "$system" "$tap_dir/layers"
mount -t tmpfs layers "$tap_dir/layers" || skip_all "cannot mount a tmpfs"
guard_mount "$tap_dir/layers"
on_exit umount "$tap_dir/layers"
mkdir "$upper" "$tap_dir/layers/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$upper,workdir=$tap_dir/layers/work" "$system" 2>/dev/null ||
    skip_all "cannot lay a file system over this one"
guard_mount "$system"
on_exit umount --recursive "$system"
mount --rbind /dev "$system/dev" && mount -t proc proc "$system/proc" && mount -t tmpfs run "$system/run" ||
    bail_out "cannot mount"
[ ! -e "$system/usr/bin/hvguestctl" ] && [ ! -e "$system/etc/hvguest" ] || skip_all "hvguest is installed here"

packages() {
    find "$rpms" -name '*.rpm' ! -name '*.src.rpm'
}

rpm_there() {
    rpm --root "$system" --define '_dbpath /var/lib/rpm' "$@"
}

# there COMMAND...: in the system
there() {
    chroot "$system" "$@"
}

# written: what is in the system that was not there before, the database apart
written() {
    (cd "$upper" && find . ! -type d ! -path './var/lib/rpm/*' ! -path './dev/*' | sed 's|^\.||' | sort)
}

# no_folders: that only the packages have made
no_folders() {
    local dir
    for dir in /etc/hvguest /usr/share/hvguest /usr/libexec/hvguest /usr/share/doc/hvguest; do
        [ ! -e "$system$dir" ] || { echo "$dir"; return 1; }
    done
}

# has PATH MODE
has() {
    [ "$(stat -c '%a %U %G' "$system$1")" = "$2 root root" ]
}

enabled() {
    [ "$(systemctl --root "$system" is-enabled "$1" 2>/dev/null)" = "$2" ]
}

rpm_there --initdb
# What they require is on this machine, but rpm does not know it.
mapfile -t files < <(packages)
is "there are four packages" "${#files[@]}" 4
check "they can be installed" rpm_there --nodeps -i "${files[@]}"
is "rpm has nothing to complain about" "$(rpm_there --nodeps -Va 2>&1)" ""
for program in /usr/bin/hvguestctl /usr/bin/hvhost /usr/sbin/hvguestd /usr/libexec/hvguest/hvguest-disks \
    /usr/libexec/hvguest/hvguest-freezer /usr/libexec/hvguest/hvguest-keeper; do
    check "$program can be run" has "$program" 755
done
check "nothing has a mode of its own but these" eval '! rpm_there -qa --qf "[%{FILEMODES:perms} %{FILENAMES}\n]" |
    grep -v "^\(-rw-r--r--\|drwxr-xr-x\|lrwxrwxrwx\) " | grep -v "^-rwxr-xr-x /usr/\(s\?bin\|libexec/hvguest\)/"'
is "the program is of the package's version" "$(there /usr/sbin/hvguestd --version)" \
    "hvguestd $(rpm_there -q --qf '%{VERSION}' hvguest)"
check "the configuration is one" there /usr/sbin/hvguestd --check-config
is "... in the place where it is looked for" \
    "$(there /usr/sbin/hvguestd --dump-config | sed -n 's/^hook_dir = //p')" /etc/hvguest/freeze-hook.d
# A system whose policy says nothing of a unit enables it; that is how it is here.
check "whether it is enabled was left to the system's policy" enabled hvguestd.service enabled
check "hvhost is not, whatever that says" enabled hvhost.service disabled

echo "# mine" >>"$system/etc/hvguest/hvguest.conf"
check "the same version can be installed over it" rpm_there --nodeps -U --force "${files[@]}"
is "a configuration that was changed is kept" "$(tail -n 1 "$system/etc/hvguest/hvguest.conf")" "# mine"
is "... and no other lies beside it" "$(ls "$system/etc/hvguest" | xargs)" "freeze-hook.d hvguest.conf hvguest.conf.d"
check "it is still enabled" enabled hvguestd.service enabled

check "all of them can be erased" rpm_there --nodeps -e hvguest hvguest-devel hvguest-doc hvhost
is "what is left is the configuration that was changed" "$(written)" "/etc/hvguest/hvguest.conf.rpmsave"
rm -r "$system/etc/hvguest"
check "... and no folder else" no_folders
done_testing
