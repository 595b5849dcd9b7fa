#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# The outer machine, which QEMU emulates: it has KVM, runs the guest under it with the Hyper-V
# interfaces, and ends with it. The guest's QMP and its port are passed through as they are, so that
# a test reaches them from outside as if there were one machine.
#
# /guest/settings says how much memory the guest has, what its kernel is told, and how much memory its
# host can add.

. /lib/init-common.sh
. /guest/settings

modprobe kvm_amd
exec >/dev/hvc0 2>&1 </dev/null

# The clock of the guest's QEMU, and how far it has been put forward.
echo 0 >/run/shifted
dd if=/dev/zero of=/run/clock-shift bs=8 count=1 2>/dev/null
serve outer &

# hv-balloon wants what it adds at a multiple of 32 GiB.
balloon=hv-balloon,status-report=on
memory=${guest_bytes}B
set --
if [ "$hotadd_bytes" -gt 0 ]; then
    balloon=$balloon,memdev=hotadd
    memory=$memory,maxmem=80G
    set -- -object "memory-backend-ram,id=hotadd,size=$hotadd_bytes,reserve=off"
fi

# With hvhost in this machine, it has a monitor of its own.
if [ -d /hv ]; then
    set -- "$@" -qmp unix:/hv/run/vms/inner.sock,server=on,wait=off
fi

# kvm=off: the guest must not see KVM's own interface, or hv_vmbus does not load. Without S4 disabled
# the kernel's hv_balloon leaves requests unanswered.
LD_PRELOAD=/lib/clock-shift.so CLOCK_SHIFT_FILE=/run/clock-shift \
    qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
    -machine q35,accel=kvm,usb=off,graphics=off,sata=off,smbus=off,i8042=off,vmport=off,hpet=off \
    -cpu host,kvm=off,hv-relaxed,hv-vapic,hv-time,hv-vpindex,hv-runtime,hv-synic,hv-stimer \
    -global ICH9-LPC.disable_s3=1 -global ICH9-LPC.disable_s4=1 \
    -m "$memory" -smp 1 \
    -kernel /guest/vmlinuz -initrd /guest/initramfs \
    -append "console=hvc0 quiet panic=-1 mitigations=off nokaslr tsc=reliable audit=0 $guest_append" \
    -device virtio-serial-pci \
    -chardev stdio,id=console,signal=off -device virtconsole,chardev=console \
    -chardev pipe,id=guest,path="$(port guest)" -device virtserialport,chardev=guest,name=guest \
    -chardev pipe,id=qmp,path="$(port qmp)" -mon chardev=qmp,mode=control \
    "$@" -device vmbus-bridge -device "$balloon" \
    -trace 'hv_balloon_*' -trace 'vmbus_*channel*' -D "$(port trace)"
echo "outer: QEMU ended with status $?"
poweroff -f
