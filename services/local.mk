noinst_LIBRARIES += %D%/libservices.a %D%/libservices_sys.a
PURE_ARCHIVES += %D%/libservices.a

%C%_libservices_a_SOURCES = \
	%D%/fcopy.c %D%/fcopy.h \
	%D%/fcopy_wire.c %D%/fcopy_wire.h \
	%D%/health.c %D%/health.h \
	%D%/heartbeat.c %D%/heartbeat.h \
	%D%/heartbeat_wire.h \
	%D%/kvp.c %D%/kvp.h \
	%D%/kvp_device.c %D%/kvp_device.h \
	%D%/kvp_ip.c %D%/kvp_ip.h \
	%D%/kvp_ip_files.c %D%/kvp_ip_files.h \
	%D%/kvp_ip_wire.c %D%/kvp_ip_wire.h \
	%D%/kvp_journal.c %D%/kvp_journal.h \
	%D%/kvp_keys.c %D%/kvp_keys.h \
	%D%/kvp_record.c %D%/kvp_record.h \
	%D%/kvp_stamp.c %D%/kvp_stamp.h \
	%D%/kvp_wire.c %D%/kvp_wire.h \
	%D%/shutdown.c %D%/shutdown.h \
	%D%/shutdown_wire.h \
	%D%/timesync.c %D%/timesync.h \
	%D%/timesync_wire.h

%C%_libservices_sys_a_SOURCES = \
	%D%/adapters.c %D%/adapters.h \
	%D%/addresses.c %D%/addresses.h \
	%D%/chrony_sock.c %D%/chrony_sock.h \
	%D%/clock_keeper.c %D%/clock_keeper.h \
	%D%/fcopy_file.c %D%/fcopy_file.h \
	%D%/fcopy_place.c %D%/fcopy_place.h \
	%D%/guest_clock.c %D%/guest_clock.h \
	%D%/kvp_batch.c %D%/kvp_batch.h \
	%D%/kvp_files.c %D%/kvp_files.h \
	%D%/kvp_pool_file.c %D%/kvp_pool_file.h \
	%D%/kvp_journal_io.c %D%/kvp_journal_io.h \
	%D%/kvp_store.c %D%/kvp_store.h \
	%D%/kvp_table.c %D%/kvp_table.h %D%/kvp_table_inside.h \
	%D%/kvp_table_load.c \
	%D%/osinfo.c %D%/osinfo.h
%C%_libservices_sys_a_CPPFLAGS = $(AM_CPPFLAGS) $(MNL_CFLAGS)
