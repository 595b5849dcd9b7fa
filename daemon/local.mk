sbin_PROGRAMS += %D%/hvguestd

%C%_hvguestd_SOURCES = \
	%D%/api.c %D%/api.h \
	%D%/api_kvp.c %D%/api_kvp.h \
	%D%/bind_disks.c %D%/bind_disks.h \
	%D%/bind_dynmem.c %D%/bind_dynmem.h \
	%D%/bind_fcopy.c %D%/bind_fcopy.h \
	%D%/bind_hotplug.c %D%/bind_hotplug.h \
	%D%/bind_heartbeat.c %D%/bind_heartbeat.h \
	%D%/bind_hooks.c %D%/bind_hooks.h \
	%D%/bind_kvp.c %D%/bind_kvp.h \
	%D%/bind_kvp_keys.c %D%/bind_kvp_keys.h \
	%D%/bind_manual.c %D%/bind_manual.h \
	%D%/bind_shutdown.c %D%/bind_shutdown.h \
	%D%/bind_notify.c %D%/bind_notify.h \
	%D%/bind_timesync.c %D%/bind_timesync.h \
	%D%/bind_vss.c %D%/bind_vss.h \
	%D%/config.c %D%/config.h \
	%D%/connection.h \
	%D%/events.c %D%/events.h \
	%D%/freeze_set.c %D%/freeze_set.h \
	%D%/journal.c %D%/journal.h \
	%D%/device_link.c %D%/device_link.h \
	%D%/dynmem_binding.h \
	%D%/dynmem_channel.c \
	%D%/dynmem_memory.c \
	%D%/dynmem_session.c %D%/dynmem_session.h \
	%D%/dynmem_status.c %D%/dynmem_status.h \
	%D%/hot_add.c %D%/hot_add.h \
	%D%/ic_channel.c %D%/ic_channel.h \
	%D%/ip_apply.c %D%/ip_apply.h \
	%D%/ip_injection.c %D%/ip_injection.h \
	%D%/kept.c %D%/kept.h \
	%D%/lab_host.c %D%/lab_host.h \
	%D%/logind.c %D%/logind.h \
	%D%/main.c \
	%D%/memory_guard.c %D%/memory_guard.h \
	%D%/memory_sources.c %D%/memory_sources.h \
	%D%/memory_work.c %D%/memory_work.h \
	%D%/metrics.c %D%/metrics.h \
	%D%/receipt.c %D%/receipt.h \
	%D%/receipts.c %D%/receipts.h \
	%D%/recover.c %D%/recover.h \
	%D%/reload.c %D%/reload.h \
	%D%/session.c %D%/session.h \
	%D%/settings.c %D%/settings.h \
	%D%/settings_set.c %D%/settings_set.h \
	%D%/snapshot.c %D%/snapshot.h \
	%D%/stock_host.c %D%/stock_host.h \
	%D%/uio_host.c %D%/uio_host.h \
	%D%/watchdog.c %D%/watchdog.h \
	%D%/vmbus_list.c %D%/vmbus_list.h
%C%_hvguestd_CPPFLAGS = $(AM_CPPFLAGS) $(INIH_CFLAGS) $(SYSTEMD_CFLAGS) \
	-DPAGE_HTML='"$(abs_srcdir)/%D%/page.html"'
%D%/hvguestd-events.$(OBJEXT): %D%/page.html
EXTRA_DIST += %D%/page.html
%C%_hvguestd_LDADD = \
	balloon/libballoon_sys.a balloon/libballoon.a \
	memhotplug/libmemhotplug_sys.a memhotplug/libmemhotplug.a \
	vss/libvss.a \
	fsfreeze/libfsfreeze_sys.a fsfreeze/libfsfreeze.a \
	policy/libpolicy_sys.a policy/libpolicy.a \
	disks/libdisks.a \
	services/libservices_sys.a services/libservices.a \
	vmbus/libvmbus_sys.a vmbus/libvmbus.a \
	base/libbase_sys.a base/libbase.a \
	$(BASE_SYS_LIBS) $(MNL_LIBS) $(MOUNT_LIBS) $(INIH_LIBS) $(SYSTEMD_LIBS)
