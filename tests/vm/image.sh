# SPDX-License-Identifier: MIT
#
# What VM tests boot, made of Debian packages alone; to be sourced by `run`.
#
# Packages are unpacked, and not installed but for a system, which is installed in its own tree. Nothing
# outside of the cache is touched. Of each unpacked tree only what is needed stays:
#
#     $cache/tools           QEMU with its libraries and firmware, and busybox
#     $cache/kernel-NAME     a kernel: vmlinuz, and lib/modules with the modules named below
#     $cache/system-NAME     a system that is installed, on the image of a disk: root.ext4
#
# Each folder remembers what made it, and is made again when this file has changed. A kernel that was
# fetched is kept until its folder is removed: a test does not change because a mirror has.

image_modules="virtio_pci virtio_console kvm_amd hv_vmbus hv_balloon uio_hv_generic"
declare -A image_more_modules=([bookworm]="virtio_blk virtio_net ext4 xfs btrfs loop dm_mod dm_snapshot dm_thin_pool" [trixie]="dax_hmem kmem virtio_balloon")
declare -A image_system_packages=([bookworm]="systemd-sysv udev dbus kmod e2fsprogs lvm2 mount util-linux
    libaio1 libblkid1 libcap-ng0 libevent-core-2.1-7 libevent-extra-2.1-7 libfdisk1 libinih1 libjansson4
    libmnl0 libmount1 libssl3 libsystemd0 liburcu8 libxxhash0 iproute2 netplan.io network-manager")
image_not_fetched=75
image_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The mirror that this machine's apt uses.
image_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m1 '/debian/\?$')
    [ -n "$uri" ] || { echo "apt knows no Debian mirror: see /etc/apt/sources.list.d" >&2; return 1; }
    echo "$uri"
}

# image_unpack VARIANT DIR SUITE PACKAGE...: packages with what they depend on. The clock of a build
# machine need not agree with a mirror's; signatures are verified all the same.
image_unpack() {
    local variant=$1 dir=$2 suite=$3 base=${3%-backports} mirror list part parts=()
    shift 3
    mirror=$(image_mirror) || return 1
    list="deb [signed-by=$image_keyring] $mirror $base main"
    if [ "$suite" != "$base" ]; then
        list+=$'\n'"deb [signed-by=$image_keyring] $mirror $suite main"
        set -- "${@/%//$suite}"
    fi
    for part in man doc info locale; do parts+=(--dpkgopt="path-exclude=/usr/share/$part/*"); done
    mmdebstrap --quiet --variant="$variant" --aptopt='Acquire::Check-Valid-Until "false"' \
        --aptopt='Acquire::http::Timeout "30"' --dpkgopt=force-unsafe-io "${parts[@]}" \
        --include="$(IFS=,; echo "$*")" "$base" "$dir" - <<<"$list"
}

# image_module FILE COPY: a module, not compressed
image_module() {
    mkdir -p "$(dirname "$2")"
    case $1 in
    *.xz) xz -dc "$1" >"${2%.xz}" ;;
    *.zst) zstd -dcq "$1" >"${2%.zst}" ;;
    *) cp "$1" "$2" ;;
    esac
}

# image_kernel ROOT DIR SUITE: takes the kernel and its modules out of an unpacked tree
image_kernel() {
    local root=$1 dir=$2 version modules image module file files
    [ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
    version=$(basename "$(echo "$root"/lib/modules/*)")
    modules=lib/modules/$version
    mkdir -p "$dir/$modules"
    image=$(find "$root/boot" "$root/$modules" -maxdepth 1 -type f -name 'vmlinuz*' 2>/dev/null |
        head -n 1)
    cp "$image" "$dir/vmlinuz" || return 1
    cp "$root/$modules"/modules.{order,builtin,builtin.modinfo} "$dir/$modules/" || return 1
    depmod -b "$root" "$version" || return 1
    for module in $image_modules ${image_more_modules[$3]:-}; do
        files=$(modprobe -C /dev/null -d "$root" -S "$version" --show-depends "$module") || return 1
        for file in $(awk '$1 == "insmod" { print $2 }' <<<"$files"); do
            image_module "$file" "$dir/$modules/${file#*/"$modules"/}" || return 1
        done
    done
    depmod -b "$dir" "$version"
}

# image_tools ROOT DIR: takes QEMU and busybox out of an unpacked tree
image_tools() {
    local root=$1 dir=$2 lib=usr/lib/x86_64-linux-gnu loader=usr/lib64/ld-linux-x86-64.so.2 file
    mkdir -p "$dir"/{bin,usr/bin,usr/lib64,usr/share/qemu,$lib/qemu}
    ln -s usr/lib64 "$dir/lib64"
    cp "$root/usr/bin/busybox" "$dir/bin/" || return 1
    cp "$root/usr/bin/qemu-system-x86_64" "$dir/usr/bin/" || return 1
    cp -L "$root/$loader" "$dir/usr/lib64/" || return 1
    cp "$root/$lib"/qemu/accel-tcg-x86_64.so "$dir/$lib/qemu/" 2>/dev/null
    cp "$root"/usr/share/qemu/{linuxboot_dma.bin,kvmvapic.bin} "$dir/usr/share/qemu/" || return 1
    cp -L "$root/usr/share/seabios/bios-256k.bin" "$dir/usr/share/qemu/" || return 1
    for file in $("$root/$loader" --library-path "$root/$lib" --list "$root/usr/bin/qemu-system-x86_64" |
        awk -v root="$root/" 'index($3, root) == 1 { print $3 }'); do
        cp -L "$file" "$dir/$lib/" || return 1
    done
}

# image_system ROOT DIR: puts an installed tree on a disk, with room for what a test adds. Nothing looks
# after the network unless a test says so.
image_system() {
    rm -f "$1"/etc/systemd/system/*.wants/NetworkManager*.service
    mkdir -p "$2" && echo guest >"$1/etc/hostname" && dd if=/dev/urandom bs=16 count=1 2>/dev/null |
        od -An -tx1 | tr -d ' ' >"$1/etc/machine-id" || return 1
    truncate -s 2G "$2/root.ext4" && mke2fs -q -t ext4 -L root -d "$1" "$2/root.ext4"
}

# image_is_made DIR: whether this file made it, as it is now
image_is_made() {
    [ -e "$1/.made-by" ] && [ "$(cat "$1/.made-by")" = "$(sha256sum <"${BASH_SOURCE[0]}")" ]
}

# image_make KIND SUITE DIR PACKAGE...: fills DIR by image_KIND from packages, if it is not filled;
# returns $image_not_fetched if there is nothing to fill it from
image_make() {
    local kind=$1 suite=$2 dir=$3 new=$3.new root variant=extract
    shift 3
    [ "$kind" != system ] || variant=essential
    image_is_made "$dir" && return 0
    echo "# fetching $* of Debian $suite" >&2
    root=$(mktemp -d "${TMPDIR:-/tmp}/hvguest-unpack.XXXXXX") || return 1
    rm -rf "$new"
    if ! image_unpack "$variant" "$root" "$suite" "$@"; then
        set -- "$image_not_fetched"
    else
        "image_$kind" "$root" "$new" "$suite" && sha256sum <"${BASH_SOURCE[0]}" >"$new/.made-by" &&
            rm -rf "$dir" && mv "$new" "$dir"
        set -- $?
    fi
    rm -rf --one-file-system "$root"
    return "$1"
}

# image_fetch CACHE KIND NAME: everything that comes from Debian. KIND is "kernels" for a nested guest,
# whose outer kernel is always trixie's, or "systems".
image_fetch() {
    local cache=$1 suite
    mkdir -p "$cache" || return 1
    image_make tools trixie "$cache/tools" qemu-system-x86 seabios busybox-static || return
    for suite in $([ "$2" = systems ] || echo trixie) "$3"; do
        image_make kernel "$suite" "$cache/kernel-$suite" linux-image-amd64 || return
    done
    [ "$2" != systems ] || image_make system "$3" "$cache/system-$3" ${image_system_packages[$3]}
}

# image_pack ROOT: an initramfs, on standard output
image_pack() {
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0)
}

# image_libraries ROOT [DIR]: puts the shared libraries of the programs below ROOT there, or into DIR
image_libraries() {
    local to=${2:-$1} file
    find "$1" -type f -perm /111 -exec ldd {} + 2>/dev/null |
        awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' | sort -u |
        while read -r file; do
            mkdir -p "$to$(dirname "$file")"
            cp -L "$file" "$to$file"
        done
}
