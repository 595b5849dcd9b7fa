# A unit test is one program for one source file; it links the archive that holds the file, and base.

EXTRA_DIST += tests/lsan.supp %D%/dynmem.h %D%/logged.h %D%/rings.h %D%/tree.h

# Without Criterion, so that they can run under ThreadSanitizer: ./quickstart test does that.
TSAN_TESTS = \
	%D%/threads-channel \
	%D%/threads-worker

check_PROGRAMS += $(TSAN_TESTS) %D%/threads-board %D%/threads-hostile %D%/threads-kvp
TESTS += $(TSAN_TESTS) %D%/threads-board %D%/threads-hostile %D%/threads-kvp
%C%_threads_kvp_LDADD = services/libservices_sys.a services/libservices.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
%C%_threads_board_LDADD = host/libhost_sys.a base/libbase_sys.a $(BASE_SYS_LIBS)
%C%_threads_channel_LDADD = vmbus/libvmbus.a base/libbase.a -lpthread
%C%_threads_hostile_LDADD = vmbus/libvmbus.a base/libbase.a -lpthread
%C%_threads_worker_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS)

if HAVE_CRITERION

UNIT_TESTS = \
	%D%/test-adapters \
	%D%/test-adder \
	%D%/test-addresses \
	%D%/test-align \
	%D%/test-balancer \
	%D%/test-balancer-properties \
	%D%/test-recording \
	%D%/test-simulate \
	%D%/test-block-event \
	%D%/test-block-record \
	%D%/test-block-source \
	%D%/test-blocks \
	%D%/test-bytes \
	%D%/test-channel \
	%D%/test-confine \
	%D%/test-copy \
	%D%/test-devices \
	%D%/test-discover \
	%D%/test-dynmem \
	%D%/test-dynmem-area \
	%D%/test-dynmem-books \
	%D%/test-dynmem-host \
	%D%/test-dynmem-hotadd \
	%D%/test-dynmem-record \
	%D%/test-dynmem-session \
	%D%/test-dynmem-states \
	%D%/test-dynmem-wire \
	%D%/test-extents \
	%D%/test-fcopy \
	%D%/test-fcopy-file \
	%D%/test-fcopy-host \
	%D%/test-fcopy-place \
	%D%/test-fcopy-wire \
	%D%/test-fdpass \
	%D%/test-fdstore \
	%D%/test-figures \
	%D%/test-floor \
	%D%/test-frames \
	%D%/test-freezer-proto \
	%D%/test-gpt \
	%D%/test-graph \
	%D%/test-growth \
	%D%/test-group \
	%D%/test-guard \
	%D%/test-guest-clock \
	%D%/test-health \
	%D%/test-heartbeat \
	%D%/test-heartbeat_host \
	%D%/test-hotadd \
	%D%/test-hook-list \
	%D%/test-hook-names \
	%D%/test-hook-process \
	%D%/test-hook-record \
	%D%/test-hook-sequence \
	%D%/test-hook-wire \
	%D%/test-httpc \
	%D%/test-httpd \
	%D%/test-ic \
	%D%/test-ic-channel \
	%D%/test-kernel-balloon \
	%D%/test-keeper-client \
	%D%/test-keeper-proto \
	%D%/test-kept \
	%D%/test-kvp-ip \
	%D%/test-kvp \
	%D%/test-kvp-device \
	%D%/test-kvp-ip-files \
	%D%/test-kvp-host \
	%D%/test-kvp-wire \
	%D%/test-kvp-keys \
	%D%/test-kvp-faults \
	%D%/test-kvp-journal \
	%D%/test-kvp-store \
	%D%/test-lab \
	%D%/test-lab-host \
	%D%/test-ledger \
	%D%/test-link \
	%D%/test-log \
	%D%/test-meminfo \
	%D%/test-onliner \
	%D%/test-osinfo \
	%D%/test-overcommit \
	%D%/test-metrics \
	%D%/test-module \
	%D%/test-nearest \
	%D%/test-notify \
	%D%/test-pages \
	%D%/test-pin \
	%D%/test-plan \
	%D%/test-lvm \
	%D%/test-qemu-memory \
	%D%/test-qemu-node \
	%D%/test-qmp \
	%D%/test-qmp-reader \
	%D%/test-qmp-wire \
	%D%/test-rangeset \
	%D%/test-report \
	%D%/test-ring \
	%D%/test-ring-model \
	%D%/test-rules \
	%D%/test-shm-wire \
	%D%/test-shutdown \
	%D%/test-size \
	%D%/test-source \
	%D%/test-survey \
	%D%/test-stall-trigger \
	%D%/test-strain \
	%D%/test-takeover \
	%D%/test-timesync \
	%D%/test-timesync-host \
	%D%/test-transport-uio \
	%D%/test-uevent \
	%D%/test-uio-host \
	%D%/test-unixsock \
	%D%/test-utf16 \
	%D%/test-vss \
	%D%/test-vss-device \
	%D%/test-vss-host \
	%D%/test-waterfill \
	%D%/test-worker \
	%D%/test-zones

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)

%C%_test_adder_LDADD = memhotplug/libmemhotplug_sys.a memhotplug/libmemhotplug.a base/libbase_sys.a base/libbase.a $(CRITERION_LIBS)
%C%_test_adapters_LDADD = services/libservices_sys.a services/libservices.a $(MNL_LIBS) $(CRITERION_LIBS)
%C%_test_addresses_LDADD = services/libservices_sys.a services/libservices.a $(MNL_LIBS) $(CRITERION_LIBS)
%C%_test_align_LDADD = memhotplug/libmemhotplug.a $(CRITERION_LIBS)
%C%_test_waterfill_LDADD = policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_balancer_properties_LDADD = policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_recording_LDADD = policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_simulate_LDADD = policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_balancer_LDADD = policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_block_event_LDADD = disks/libdisks.a $(CRITERION_LIBS)
%C%_test_block_record_LDADD = memhotplug/libmemhotplug_sys.a memhotplug/libmemhotplug.a base/libbase.a $(CRITERION_LIBS)
%C%_test_block_source_LDADD = memhotplug/libmemhotplug_sys.a memhotplug/libmemhotplug.a base/libbase.a $(CRITERION_LIBS)
%C%_test_blocks_LDADD = memhotplug/libmemhotplug_sys.a $(CRITERION_LIBS)
%C%_test_bytes_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_channel_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_confine_LDADD = base/libbase_sys.a $(CRITERION_LIBS)
%C%_test_module_LDADD = base/libbase_sys.a $(CRITERION_LIBS)
%C%_test_copy_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_devices_LDADD = fsfreeze/libfsfreeze_sys.a $(CRITERION_LIBS)
%C%_test_discover_LDADD = vmbus/libvmbus_sys.a vmbus/libvmbus.a $(CRITERION_LIBS)
%C%_test_dynmem_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_area_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_record_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_hotadd_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_books_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_states_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_host_LDADD = host/libhost.a balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_wire_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_extents_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_fcopy_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_fcopy_file_LDADD = services/libservices_sys.a services/libservices.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_fcopy_host_LDADD = host/libhost.a services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_fcopy_place_LDADD = services/libservices_sys.a services/libservices.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_fcopy_wire_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_fdpass_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_fdstore_LDADD = fsfreeze/libfsfreeze_sys.a base/libbase_sys.a $(CRITERION_LIBS)
%C%_test_figures_LDADD = policy/libpolicy.a $(CRITERION_LIBS)
%C%_test_floor_LDADD = policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_frames_LDADD = balloon/libballoon.a $(CRITERION_LIBS)
%C%_test_freezer_proto_LDADD = fsfreeze/libfsfreeze.a $(CRITERION_LIBS)
%C%_test_gpt_LDADD = disks/libdisks.a base/libbase.a $(CRITERION_LIBS)
%C%_test_growth_LDADD = disks/libdisks.a $(CRITERION_LIBS)
%C%_test_graph_LDADD = fsfreeze/libfsfreeze.a $(CRITERION_LIBS)
%C%_test_guard_LDADD = policy/libpolicy.a $(CRITERION_LIBS)
%C%_test_health_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_heartbeat_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_heartbeat_host_LDADD = host/libhost.a services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_hotadd_LDADD = memhotplug/libmemhotplug.a base/libbase.a $(CRITERION_LIBS)
%C%_test_hook_list_LDADD = fsfreeze/libfsfreeze_sys.a fsfreeze/libfsfreeze.a $(JANSSON_LIBS) $(CRITERION_LIBS)
%C%_test_hook_process_LDADD = fsfreeze/libfsfreeze_sys.a fsfreeze/libfsfreeze.a base/libbase_sys.a base/libbase.a $(CRITERION_LIBS)
%C%_test_hook_wire_LDADD = fsfreeze/libfsfreeze.a base/libbase.a $(CRITERION_LIBS)
%C%_test_hook_record_LDADD = fsfreeze/libfsfreeze_sys.a fsfreeze/libfsfreeze.a $(JANSSON_LIBS) $(CRITERION_LIBS)
%C%_test_hook_names_LDADD = fsfreeze/libfsfreeze.a $(CRITERION_LIBS)
%C%_test_hook_sequence_LDADD = fsfreeze/libfsfreeze.a $(CRITERION_LIBS)
%C%_test_httpc_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_httpd_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_ic_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_ic_channel_SOURCES = %D%/test-ic-channel.c daemon/journal.c daemon/ic_channel.c
%C%_test_ic_channel_LDADD = vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_lab_host_SOURCES = %D%/test-lab-host.c daemon/journal.c daemon/lab_host.c daemon/kept.c
%C%_test_lab_host_LDADD = balloon/libballoon_sys.a balloon/libballoon.a vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_kernel_balloon_LDADD = memhotplug/libmemhotplug_sys.a $(CRITERION_LIBS)
%C%_test_keeper_client_LDADD = balloon/libballoon_sys.a balloon/libballoon.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_keeper_proto_LDADD = balloon/libballoon.a $(CRITERION_LIBS)
%C%_test_kept_SOURCES = %D%/test-kept.c daemon/kept.c
%C%_test_kept_LDADD = balloon/libballoon_sys.a balloon/libballoon.a vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_dynmem_session_SOURCES = %D%/test-dynmem-session.c daemon/journal.c daemon/dynmem_session.c daemon/kept.c daemon/memory_sources.c daemon/session.c
%C%_test_dynmem_session_LDADD = balloon/libballoon_sys.a balloon/libballoon.a memhotplug/libmemhotplug_sys.a memhotplug/libmemhotplug.a policy/libpolicy_sys.a policy/libpolicy.a vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_kvp_keys_LDADD = services/libservices.a $(CRITERION_LIBS)
%C%_test_kvp_ip_files_LDADD = services/libservices.a $(CRITERION_LIBS)
%C%_test_kvp_faults_LDADD = services/libservices_sys.a services/libservices.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_kvp_faults_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pwrite,--wrap=ftruncate,--wrap=fdatasync,--wrap=fsync,--wrap=fallocate
%C%_test_kvp_journal_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_kvp_store_LDADD = services/libservices_sys.a services/libservices.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_kvp_ip_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_kvp_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_kvp_device_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_kvp_host_LDADD = host/libhost.a services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_kvp_wire_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_lab_LDADD = host/libhost_sys.a vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_ledger_LDADD = balloon/libballoon.a $(CRITERION_LIBS)
%C%_test_link_LDADD = vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_log_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_metrics_LDADD = base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_nearest_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_meminfo_LDADD = policy/libpolicy_sys.a policy/libpolicy.a $(CRITERION_LIBS)
%C%_test_onliner_LDADD = memhotplug/libmemhotplug_sys.a memhotplug/libmemhotplug.a base/libbase.a $(CRITERION_LIBS)
%C%_test_osinfo_LDADD = services/libservices_sys.a $(CRITERION_LIBS)
%C%_test_overcommit_LDADD = balloon/libballoon_sys.a $(CRITERION_LIBS)
%C%_test_notify_LDADD = fsfreeze/libfsfreeze.a $(CRITERION_LIBS)
%C%_test_pages_LDADD = balloon/libballoon_sys.a balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_pin_LDADD = balloon/libballoon_sys.a $(CRITERION_LIBS)
%C%_test_plan_LDADD = fsfreeze/libfsfreeze.a $(CRITERION_LIBS)
%C%_test_rangeset_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_report_LDADD = policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_ring_model_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_ring_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_rules_LDADD = fsfreeze/libfsfreeze.a $(CRITERION_LIBS)
%C%_test_shm_wire_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_shutdown_LDADD = host/libhost.a services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_guest_clock_LDADD = services/libservices_sys.a $(CRITERION_LIBS)
%C%_test_timesync_LDADD = services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_timesync_host_LDADD = host/libhost.a services/libservices.a base/libbase.a $(CRITERION_LIBS)
%C%_test_size_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_source_LDADD = policy/libpolicy.a $(CRITERION_LIBS)
%C%_test_survey_LDADD = memhotplug/libmemhotplug.a $(CRITERION_LIBS)
%C%_test_group_LDADD = policy/libpolicy_sys.a policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_qemu_memory_LDADD = host/libhost_sys.a host/libhost.a policy/libpolicy.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_lvm_LDADD = host/libhost_sys.a fsfreeze/libfsfreeze_sys.a fsfreeze/libfsfreeze.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_qemu_node_LDADD = host/libhost_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_qmp_LDADD = host/libhost_sys.a host/libhost.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_qmp_reader_LDADD = host/libhost.a $(CRITERION_LIBS)
%C%_test_qmp_wire_LDADD = host/libhost_sys.a policy/libpolicy.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_strain_LDADD = policy/libpolicy.a base/libbase.a $(CRITERION_LIBS)
%C%_test_stall_trigger_LDADD = policy/libpolicy_sys.a $(CRITERION_LIBS)
%C%_test_takeover_LDADD = vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a $(CRITERION_LIBS)
%C%_test_transport_uio_LDADD = vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_uevent_LDADD = memhotplug/libmemhotplug_sys.a $(CRITERION_LIBS)
%C%_test_uio_host_SOURCES = %D%/test-uio-host.c daemon/journal.c daemon/uio_host.c daemon/kept.c daemon/vmbus_list.c
%C%_test_uio_host_LDADD = balloon/libballoon_sys.a balloon/libballoon.a vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_unixsock_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_utf16_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_vss_LDADD = vss/libvss.a base/libbase.a $(CRITERION_LIBS)
%C%_test_vss_device_LDADD = vss/libvss.a base/libbase.a $(CRITERION_LIBS)
%C%_test_vss_host_LDADD = host/libhost.a base/libbase.a $(CRITERION_LIBS)
%C%_test_zones_LDADD = memhotplug/libmemhotplug_sys.a $(CRITERION_LIBS)
%C%_test_worker_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)

endif
