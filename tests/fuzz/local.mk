# A fuzz target is one program for one decoder. It is always compiled. Without --enable-fuzzing it
# replays its corpus, tests/data/fuzz/NAME, as a test; with it, it is a libFuzzer program.

FUZZ_TARGETS = \
	%D%/fuzz-balancer \
	%D%/fuzz-disks \
	%D%/fuzz-dynmem \
	%D%/fuzz-dynmem-host \
	%D%/fuzz-dynmem-record \
	%D%/fuzz-fcopy \
	%D%/fuzz-freezer-record \
	%D%/fuzz-heartbeat \
	%D%/fuzz-hook-wire \
	%D%/fuzz-ic \
	%D%/fuzz-ip-files \
	%D%/fuzz-keeper \
	%D%/fuzz-kvp \
	%D%/fuzz-kvp-host \
	%D%/fuzz-kvp-pool \
	%D%/fuzz-notify \
	%D%/fuzz-qmp \
	%D%/fuzz-recording \
	%D%/fuzz-ring \
	%D%/fuzz-shm-wire \
	%D%/fuzz-shutdown \
	%D%/fuzz-timesync \
	%D%/fuzz-vss

if !THREAD_SANITIZED
FUZZ_TARGETS += %D%/fuzz-ring-hostile
endif

check_PROGRAMS += $(FUZZ_TARGETS)
EXTRA_DIST += tests/data/fuzz

if FUZZING
FUZZ_MAIN =
else
FUZZ_MAIN = %D%/replay-main.c
TESTS += $(FUZZ_TARGETS)
endif

%C%_fuzz_balancer_SOURCES = %D%/fuzz-balancer.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_balancer_LDADD = policy/libpolicy.a base/libbase.a
%C%_fuzz_balancer_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_recording_SOURCES = %D%/fuzz-recording.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_recording_LDADD = policy/libpolicy.a base/libbase.a
%C%_fuzz_recording_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_dynmem_SOURCES = %D%/fuzz-dynmem.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_dynmem_LDADD = balloon/libballoon.a base/libbase.a
%C%_fuzz_dynmem_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_dynmem_host_SOURCES = %D%/fuzz-dynmem-host.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_dynmem_host_LDADD = host/libhost.a balloon/libballoon.a base/libbase.a
%C%_fuzz_dynmem_host_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_dynmem_record_SOURCES = %D%/fuzz-dynmem-record.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_dynmem_record_LDADD = balloon/libballoon.a base/libbase.a
%C%_fuzz_dynmem_record_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_fcopy_SOURCES = %D%/fuzz-fcopy.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_fcopy_LDADD = services/libservices.a base/libbase.a
%C%_fuzz_fcopy_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_freezer_record_SOURCES = %D%/fuzz-freezer-record.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_freezer_record_LDADD = fsfreeze/libfsfreeze.a base/libbase.a
%C%_fuzz_freezer_record_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_heartbeat_SOURCES = %D%/fuzz-heartbeat.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_heartbeat_LDADD = host/libhost.a services/libservices.a base/libbase.a
%C%_fuzz_heartbeat_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_ic_SOURCES = %D%/fuzz-ic.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_ic_LDADD = vmbus/libvmbus.a base/libbase.a
%C%_fuzz_ic_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_keeper_SOURCES = %D%/fuzz-keeper.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_keeper_LDADD = balloon/libballoon.a base/libbase.a
%C%_fuzz_keeper_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_kvp_SOURCES = %D%/fuzz-kvp.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_kvp_LDADD = services/libservices.a base/libbase.a
%C%_fuzz_kvp_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_kvp_host_SOURCES = %D%/fuzz-kvp-host.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_kvp_host_LDADD = host/libhost.a services/libservices.a base/libbase.a
%C%_fuzz_kvp_host_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_kvp_pool_SOURCES = %D%/fuzz-kvp-pool.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_kvp_pool_LDADD = services/libservices_sys.a services/libservices.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
%C%_fuzz_kvp_pool_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_disks_SOURCES = %D%/fuzz-disks.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_disks_LDADD = disks/libdisks.a base/libbase.a
%C%_fuzz_disks_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_ip_files_SOURCES = %D%/fuzz-ip-files.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_ip_files_LDADD = services/libservices.a base/libbase.a
%C%_fuzz_ip_files_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_hook_wire_SOURCES = %D%/fuzz-hook-wire.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_hook_wire_LDADD = fsfreeze/libfsfreeze.a base/libbase.a
%C%_fuzz_hook_wire_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_notify_SOURCES = %D%/fuzz-notify.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_notify_LDADD = fsfreeze/libfsfreeze.a base/libbase.a
%C%_fuzz_notify_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_qmp_SOURCES = %D%/fuzz-qmp.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_qmp_LDADD = host/libhost_sys.a host/libhost.a policy/libpolicy.a base/libbase.a $(BASE_SYS_LIBS)
%C%_fuzz_qmp_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_ring_SOURCES = %D%/fuzz-ring.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_ring_LDADD = vmbus/libvmbus.a base/libbase.a
%C%_fuzz_ring_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

# The ring and the channel once more, with a call before each access (intercept.c), in place of
# ThreadSanitizer's library. Not optimised: an access that the source makes twice is made twice.
EXTRA_LIBRARIES = %D%/libwatched.a
CLEANFILES += %D%/libwatched.a
%C%_libwatched_a_SOURCES = vmbus/channel.c vmbus/ring.c
%C%_libwatched_a_CFLAGS = -std=gnu17 $(WARN_CFLAGS) -Wno-unknown-warning-option -Wno-tsan \
	-fsanitize=thread -fno-builtin $(WATCHED_CFLAGS)
vmbus/tests_fuzz_libwatched_a-channel.$(OBJEXT): CFLAGS = -O0 -g
vmbus/tests_fuzz_libwatched_a-ring.$(OBJEXT): CFLAGS = -O0 -g

%C%_fuzz_ring_hostile_SOURCES = %D%/fuzz-ring-hostile.c %D%/fuzz.h \
	%D%/intercept.c %D%/intercept.h %D%/ring-oracle.c %D%/ring-oracle.h $(FUZZ_MAIN)
%C%_fuzz_ring_hostile_LDADD = %D%/libwatched.a base/libbase.a
%C%_fuzz_ring_hostile_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS) -Wl,--wrap=memcpy

%C%_fuzz_shm_wire_SOURCES = %D%/fuzz-shm-wire.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_shm_wire_LDADD = vmbus/libvmbus.a base/libbase.a
%C%_fuzz_shm_wire_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_shutdown_SOURCES = %D%/fuzz-shutdown.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_shutdown_LDADD = host/libhost.a services/libservices.a base/libbase.a
%C%_fuzz_shutdown_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_timesync_SOURCES = %D%/fuzz-timesync.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_timesync_LDADD = services/libservices.a base/libbase.a
%C%_fuzz_timesync_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

%C%_fuzz_vss_SOURCES = %D%/fuzz-vss.c %D%/fuzz.h $(FUZZ_MAIN)
%C%_fuzz_vss_LDADD = vss/libvss.a base/libbase.a
%C%_fuzz_vss_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
