# SPDX-License-Identifier: MIT
#
# The first process of each machine of a VM test, up to where they differ; sourced by `init` under
# busybox, from an initramfs.

export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin

/bin/busybox mkdir -p /dev /proc /sys /tmp /run /sbin
/bin/busybox --install -s /bin
ln -sf /bin/busybox /sbin/modprobe
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mount -t tmpfs none /tmp

. /lib/serve.sh

modprobe virtio_pci
modprobe virtio_console
