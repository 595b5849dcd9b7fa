noinst_LIBRARIES += %D%/libhost.a %D%/libhost_sys.a
PURE_ARCHIVES += %D%/libhost.a

%C%_libhost_a_SOURCES = \
	%D%/dynmem_fault.c %D%/dynmem_fault.h \
	%D%/dynmem_host.c %D%/dynmem_host.h \
	%D%/dynmem_host_machine.h \
	%D%/dynmem_host_next.c \
	%D%/fcopy_host.c %D%/fcopy_host.h \
	%D%/heartbeat_host.c %D%/heartbeat_host.h \
	%D%/kvp_host.c %D%/kvp_host.h \
	%D%/qmp_reader.c %D%/qmp_reader.h \
	%D%/shutdown_host.c %D%/shutdown_host.h \
	%D%/timesync_host.c %D%/timesync_host.h \
	%D%/vss_host.c %D%/vss_host.h

%C%_libhost_sys_a_SOURCES = \
	%D%/board.c %D%/board.h \
	%D%/backup.c %D%/backup.h \
	%D%/balance.c %D%/balance.h \
	%D%/file_copy.c %D%/file_copy.h \
	%D%/guest.c %D%/guest.h \
	%D%/guest_backup.c %D%/guest_backup.h \
	%D%/guest_fcopy.c %D%/guest_fcopy.h \
	%D%/guest_heartbeat.c %D%/guest_heartbeat.h \
	%D%/guest_ic.c %D%/guest_ic.h \
	%D%/guest_limits.c %D%/guest_limits.h \
	%D%/guest_memory.c %D%/guest_memory.h \
	%D%/guest_service.h \
	%D%/guest_kvp.c %D%/guest_kvp.h \
	%D%/guest_shutdown.c %D%/guest_shutdown.h \
	%D%/guest_timesync.c %D%/guest_timesync.h \
	%D%/ic_client.c %D%/ic_client.h \
	%D%/image.c %D%/image.h \
	%D%/lab.c %D%/lab.h \
	%D%/lvm.c %D%/lvm.h \
	%D%/qemu_backup.c %D%/qemu_backup.h \
	%D%/qemu_figures.c %D%/qemu_figures.h \
	%D%/qemu_node.c %D%/qemu_node.h \
	%D%/qemu_memory.c %D%/qemu_memory.h \
	%D%/qemu_vm.c %D%/qemu_vm.h \
	%D%/qemu_vms.c %D%/qemu_vms.h \
	%D%/qmp.c %D%/qmp.h \
	%D%/qmp_wire.c %D%/qmp_wire.h

%C%_libhost_sys_a_CPPFLAGS = $(AM_CPPFLAGS) $(INIH_CFLAGS)

bin_PROGRAMS += %D%/hvhost

%C%_hvhost_SOURCES = \
	%D%/show.c %D%/show.h \
	%D%/show_json.c \
	%D%/show_metrics.c \
	%D%/api.c %D%/api.h \
	%D%/api_backup.c \
	%D%/backups.c %D%/backups.h \
	%D%/api_copy.c \
	%D%/api_balance.c \
	%D%/api_guests.c \
	%D%/api_memory.c \
	%D%/api_kvp.c \
	%D%/api_power.c \
	%D%/api_time.c \
	%D%/command.c %D%/command.h \
	%D%/host.h \
	%D%/host_guests.c \
	%D%/host_vms.c \
	%D%/hvhost.c \
	%D%/plot.c %D%/plot.h \
	%D%/serve.c \
	%D%/serve_options.c %D%/serve_options.h \
	%D%/verb_backup.c \
	%D%/verb_backups.c \
	%D%/verb_balance.c \
	%D%/verb_channels.c \
	%D%/verb_check.c \
	%D%/verb_copy.c \
	%D%/verb_memory.c \
	%D%/verb_kvp.c \
	%D%/verb_power.c \
	%D%/verb_record.c \
	%D%/verb_reserve.c \
	%D%/verb_simulate.c \
	%D%/verb_status.c \
	%D%/verb_time.c \
	%D%/verb_top.c \
	%D%/verb_watch.c \
	%D%/verbs.h
%C%_hvhost_LDADD = \
	%D%/libhost_sys.a %D%/libhost.a \
	policy/libpolicy.a \
	balloon/libballoon.a \
	vss/libvss.a \
	services/libservices.a \
	fsfreeze/libfsfreeze_sys.a fsfreeze/libfsfreeze.a \
	vmbus/libvmbus_sys.a vmbus/libvmbus.a \
	base/libbase_sys.a base/libbase.a \
	$(BASE_SYS_LIBS) $(INIH_LIBS)

%C%_hvhost_CPPFLAGS = $(AM_CPPFLAGS) -DPAGE_HTML='"$(abs_srcdir)/%D%/page.html"'
%D%/hvhost-show.$(OBJEXT): %D%/page.html
EXTRA_DIST += %D%/page.html
