# VM tests are not part of `make check`: tests/vm/run, or ./quickstart vm.

VM_TESTS = \
	%D%/disks.sh \
	%D%/balance-hv.sh \
	%D%/balance-virtio.sh \
	%D%/dynmem-companion.sh \
	%D%/dynmem-kernel.sh \
	%D%/dynmem-restart.sh \
	%D%/dynmem-uio.sh \
	%D%/freeze-root.sh \
	%D%/hibernate.sh \
	%D%/hotadd.sh \
	%D%/hotplug.sh \
	%D%/network.sh \
	%D%/packages.sh \
	%D%/takeover.sh \
	%D%/uio-refused.sh \
	%D%/unit.sh

EXTRA_DIST += \
	%D%/agent.service \
	%D%/clock-shift.c \
	%D%/dynmem.sh \
	%D%/fleet.sh \
	%D%/image.sh \
	%D%/init-common.sh \
	%D%/init-guest.sh \
	%D%/init-outer.sh \
	%D%/init-system.sh \
	%D%/nested.sh \
	%D%/run \
	%D%/serve.sh \
	%D%/system.sh \
	%D%/vm.sh \
	$(VM_TESTS)

# Preloaded into a QEMU of another Debian: plain, whatever the rest is built with.
%D%/clock-shift.so: %D%/clock-shift.c
	@$(MKDIR_P) %D%
	$(AM_V_CCLD)$(CC) -std=gnu17 $(WARN_CFLAGS) -O2 -D_GNU_SOURCE -fPIC -shared -o $@ $(srcdir)/%D%/clock-shift.c

check_DATA += %D%/clock-shift.so
CLEANFILES += %D%/clock-shift.so
