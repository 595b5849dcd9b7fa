#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What `make deb` and `make rpm` have left in packages/ of the build, looked at from outside: each file
# that `make install` installs is in exactly one package, and nothing else is; lintian has no complaint;
# what the packaged programs look for is in the packages. That they work is shown by the VM test
# `packages`.
#
# With HVGUEST_REBUILD=yes it builds the Debian packages once more, elsewhere and at another time of
# day: they have to be the same, to the byte.

. "$(dirname "$0")/tap.sh"
build=$(cd "${builddir:-.}" && pwd)
debs=$build/packages/deb
rpms=$build/packages/rpm
[ -e "$build/packages/deb.made" ] || skip_all "needs Debian packages: make deb"
tree=$tap_dir/tree # what the packages of the guest and the host have, unpacked
mkdir "$tree"

# What make install installs, as paths of a system. The example is the configuration in a package.
installed() {
    make -s -C "$build" install DESTDIR="$tap_dir/stage" prefix=/usr sysconfdir=/etc localstatedir=/var >&2 &&
        (cd "$tap_dir/stage" && find . -type f -o -type l) | sed 's|^\.||
            s|^/usr/share/doc/hvguest/hvguest.conf$|/etc/hvguest/hvguest.conf|' | sort
}

# in_debs, in_rpms: what is in the packages, in the words of the above; what each packager adds is left out
in_debs() {
    local deb
    for deb in "$debs"/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -t; done |
        grep -v '/$' | sed 's|^\.||
            s|^/lib/|/usr/lib/|
            /^\/usr\/share\/man\//s|\.gz$||
            /^\/usr\/share\/lintian\/overrides\//d
            /^\/usr\/share\/doc\/[^/]*\/\(changelog.Debian.gz\|copyright\|README.Debian\)$/d
            /^\/etc\/default\/hvhost$/d' | sort
}

in_rpms() {
    local rpm
    for rpm in $(find "$rpms" -name '*.rpm' ! -name '*.src.rpm'); do
        rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$rpm"
    done | sed -n 's/^-[^ ]* //p' | sed '/^\/usr\/share\/man\//s|\.gz$||
        /^\/usr\/share\/licenses\//d
        \|^/etc/sysconfig/hvhost$|d' | sort
}

# same WANTED GOT: two lists; shows where they differ
same() {
    diff "$1" "$2"
}

# field PACKAGE FIELD
field() {
    dpkg-deb -f "$debs/$1"_*.deb "$2"
}

# depends_on PACKAGE NAME
depends_on() {
    field "$1" Depends | tr ',' '\n' | grep -q "^ *$2\( \|$\)"
}

# script PACKAGE NAME: what dpkg runs
script() {
    dpkg-deb -I "$debs/$1"_*.deb "$2"
}

installed >"$tap_dir/installed" || bail_out "make install failed"
in_debs >"$tap_dir/debs"
check "each file that is installed is in one Debian package, and no other file" same "$tap_dir/installed" "$tap_dir/debs"
if command -v lintian >/dev/null; then
    check "lintian has no complaint" lintian --allow-root --fail-on error,warning --display-level '>=warning' "$debs"/*.changes
else
    skip "lintian has no complaint" "needs lintian"
fi
if command -v rpm >/dev/null && [ -e "$build/packages/rpm.made" ]; then
    in_rpms >"$tap_dir/rpms"
    check "each file that is installed is in one RPM package, and no other file" same "$tap_dir/installed" "$tap_dir/rpms"
    check "RPM keeps a configuration that was changed" eval \
        'rpm -qp --configfiles "$rpms"/hvguest-0*.x86_64.rpm | grep -qx /etc/hvguest/hvguest.conf'
else
    skip "each file that is installed is in one RPM package, and no other file" "needs make rpm"
fi

for package in hvguest hvhost; do dpkg-deb -x "$debs/$package"_*.deb "$tree" || bail_out "$package cannot be unpacked"; done
check "the library that is loaded when it is first used is a dependency" depends_on hvguest libssl3
check "a configuration that was changed is kept" eval 'script hvguest conffiles | grep -qx /etc/hvguest/hvguest.conf'
check "... and so are the options of hvhost" eval 'script hvhost conffiles | grep -qx /etc/default/hvhost'
check "the stock daemons are not installed beside it" eval 'field hvguest Conflicts | grep -qw hyperv-daemons'
check "an upgrade restarts hvguestd, and does not stop it" eval \
    'script hvguest postinst | grep -q "_dh_action=restart" && ! script hvguest prerm | grep -q upgrade'
check "... and removing it does" eval 'script hvguest prerm | grep -A1 "= remove" | grep -q "stop .*.hvguestd.service"'
check "it is enabled when it is installed" eval 'script hvguest postinst | grep -q "enable .hvguestd.service"'
check "hvhost is not" eval '! script hvhost postinst | grep -q "was-enabled .hvhost.service. *;.*enable\|_dh_action=start"'
is "the programs are of the packages' version" "$("$tree/usr/sbin/hvguestd" --version)" "hvguestd $(field hvguest Version | cut -d- -f1)"
check "the configuration that is packaged is one" "$tree/usr/sbin/hvguestd" --check-config --config "$tree/etc/hvguest/hvguest.conf"
"$tree/usr/sbin/hvguestd" --dump-config --config "$tree/etc/hvguest/hvguest.conf" >"$tap_dir/settings"
for setting in freezer keeper hook_dir; do
    place=$(sed -n "s/^$setting = //p" "$tap_dir/settings")
    check "its $setting, '$place', is packaged" eval '[ -n "$place" ] && [ -e "$tree$place" ]'
done
is "what is to be kept is kept in /var/lib" "$(sed -n 's/^state_dir = //p' "$tap_dir/settings")" /var/lib/hvguest
for unit in hvguestd:hvguestd hvhost:hvhost; do
    program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$tree/lib/systemd/system/${unit%:*}.service")
    check "the unit of ${unit#*:} starts what is packaged" test -x "$tree$program"
done

if [ "${HVGUEST_REBUILD:-}" = yes ]; then
    tarball=$(echo "$build"/packages/hvguest-*.tar.xz)
    check "the packages can be built again" "$(dirname "$0")/../../packaging/build-deb" "$tarball" "$tap_dir/again"
    for deb in "$debs"/*.deb; do
        check "${deb##*/} is the same again" cmp "$deb" "$tap_dir/again/${deb##*/}"
    done
fi
done_testing
