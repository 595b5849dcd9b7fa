# System tests run the real programs. They skip themselves where root or a tool is missing.

check_PROGRAMS += \
	%D%/fleet \
	%D%/fcopy-device \
	%D%/freezer-driver \
	%D%/kvp-crash \
	%D%/kvp-power \
	%D%/kvp-device \
	%D%/memeater \
	%D%/notified \
	%D%/notify-client \
	%D%/qmp-vm \
	%D%/recorder \
	%D%/rogue \
	%D%/vss-device

%C%_fleet_LDADD = \
	vmbus/libvmbus_sys.a vmbus/libvmbus.a balloon/libballoon.a \
	base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
%C%_fcopy_device_SOURCES = %D%/fcopy-device.c %D%/fuse-device.c %D%/fuse-device.h
%C%_fcopy_device_LDADD = services/libservices.a base/libbase.a
%C%_freezer_driver_LDADD = \
	fsfreeze/libfsfreeze_sys.a fsfreeze/libfsfreeze.a base/libbase_sys.a $(MOUNT_LIBS)
# Between the store and its files.
KVP_STORE_LIBS = services/libservices_sys.a services/libservices.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
%C%_kvp_crash_SOURCES = %D%/kvp-crash.c %D%/kvp-model.c %D%/kvp-model.h
%C%_kvp_crash_LDADD = $(KVP_STORE_LIBS)
%C%_kvp_crash_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pwrite
%C%_kvp_power_SOURCES = %D%/kvp-power.c %D%/kvp-model.c %D%/kvp-model.h
%C%_kvp_power_LDADD = $(KVP_STORE_LIBS)
%C%_kvp_power_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pwrite,--wrap=ftruncate,--wrap=fdatasync,--wrap=fsync
%C%_kvp_device_SOURCES = %D%/kvp-device.c %D%/fuse-device.c %D%/fuse-device.h
%C%_notified_LDADD = base/libbase_sys.a
%C%_qmp_vm_LDADD = base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
%C%_recorder_LDADD = base/libbase.a
%C%_rogue_SOURCES = %D%/rogue.c %D%/rogue.h %D%/rogue-channel.c
%C%_rogue_LDADD = \
	vmbus/libvmbus_sys.a vmbus/libvmbus.a balloon/libballoon.a \
	base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
%C%_vss_device_SOURCES = %D%/vss-device.c %D%/fuse-device.c %D%/fuse-device.h

# Preloaded: plain, whatever the rest is built with.
%D%/clock-stand-in.so: %D%/clock-stand-in.c
	@$(MKDIR_P) %D%
	$(AM_V_CCLD)$(CC) -std=gnu17 $(WARN_CFLAGS) -O2 -D_GNU_SOURCE -fPIC -shared -o $@ $(srcdir)/%D%/clock-stand-in.c
check_DATA += %D%/clock-stand-in.so
CLEANFILES += %D%/clock-stand-in.so

if HAVE_SYSTEMD
check_PROGRAMS += %D%/login1
%C%_login1_CPPFLAGS = $(AM_CPPFLAGS) $(SYSTEMD_CFLAGS)
%C%_login1_LDADD = $(SYSTEMD_LIBS)
endif

# The longest first, so that nothing waits for one of them at the end; then by name.
SYSTEM_TESTS = \
	%D%/test-memory.sh \
	%D%/test-freeze-steps.sh \
	%D%/test-backup.sh \
	%D%/test-fcopy.sh \
	%D%/test-reoffer.sh \
	%D%/test-save.sh \
	%D%/test-ip-injection.sh \
	%D%/test-disks.sh \
	%D%/test-restart.sh \
	%D%/test-report.sh \
	%D%/test-api.sh \
	%D%/test-balance.sh \
	%D%/test-bench.sh \
	%D%/test-blocks.sh \
	%D%/test-chardev.sh \
	%D%/test-check.sh \
	%D%/test-cli.sh \
	%D%/test-docs.sh \
	%D%/test-fcopy-device.sh \
	%D%/test-floor.sh \
	%D%/test-freeze-faults.sh \
	%D%/test-freezer.sh \
	%D%/test-health.sh \
	%D%/test-hooks.sh \
	%D%/test-hooks-runner.sh \
	%D%/test-images.sh \
	%D%/test-incremental.sh \
	%D%/test-ip-networkmanager.sh \
	%D%/test-kvp.sh \
	%D%/test-kvp-crash.sh \
	%D%/test-kvp-device.sh \
	%D%/test-kvp-keys.sh \
	%D%/test-kvp-pools.sh \
	%D%/test-logind.sh \
	%D%/test-memeater.sh \
	%D%/test-memory-faults.sh \
	%D%/test-metrics.sh \
	%D%/test-notify.sh \
	%D%/test-plan.sh \
	%D%/test-qemu-backup.sh \
	%D%/test-qmp.sh \
	%D%/test-receipt.sh \
	%D%/test-recorder.sh \
	%D%/test-reload.sh \
	%D%/test-rogue.sh \
	%D%/test-service.sh \
	%D%/test-shutdown.sh \
	%D%/test-silent.sh \
	%D%/test-simulate.sh \
	%D%/test-time.sh \
	%D%/test-verbs.sh \
	%D%/test-vmbus.sh

# What these show is not in our C: how other programs take what we have for them, and tools of the tests.
# Under sanitizers the suite leaves them out.
FOREIGN_TESTS = \
	%D%/test-dashboard.sh \
	%D%/test-install.sh \
	%D%/test-ip-files.sh \
	%D%/test-mariadb.sh \
	%D%/test-postgresql.sh \
	%D%/test-tap.sh

# Separate from the lists above, so that `make distcheck RUN_SYSTEM_TESTS=` packs them all the same.
RUN_SYSTEM_TESTS = $(SYSTEM_TESTS) $(FOREIGN_TESTS)

TESTS += $(RUN_SYSTEM_TESTS)

# After make deb and make rpm, which the suite does once.
PACKAGE_TESTS = %D%/test-packages.sh %D%/test-rpm.sh

dist_check_SCRIPTS += $(SYSTEM_TESTS) $(FOREIGN_TESTS) $(PACKAGE_TESTS)
EXTRA_DIST += tests/data/ip %D%/browser.sh %D%/clock-stand-in.c %D%/freezer.sh %D%/databases.sh %D%/images.sh %D%/lab.sh
EXTRA_DIST += %D%/tap.sh %D%/thrash.sh
