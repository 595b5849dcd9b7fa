# A unit test is one program for one source file; it links the archive that holds the file, and base.

EXTRA_DIST += tests/lsan.supp %D%/rings.h

# Without Criterion, so that they can run under ThreadSanitizer: ./quickstart test does that.
TSAN_TESTS = \
	%D%/threads-channel \
	%D%/threads-worker

check_PROGRAMS += $(TSAN_TESTS)
TESTS += $(TSAN_TESTS)
%C%_threads_channel_LDADD = vmbus/libvmbus.a base/libbase.a -lpthread
%C%_threads_worker_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS)

if HAVE_CRITERION

UNIT_TESTS = \
	%D%/test-bytes \
	%D%/test-channel \
	%D%/test-fdpass \
	%D%/test-httpc \
	%D%/test-httpd \
	%D%/test-ic \
	%D%/test-lab \
	%D%/test-link \
	%D%/test-log \
	%D%/test-rangeset \
	%D%/test-ring \
	%D%/test-shm-wire \
	%D%/test-size \
	%D%/test-unixsock \
	%D%/test-worker

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)

%C%_test_bytes_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_channel_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_fdpass_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_httpc_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_httpd_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_ic_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_lab_LDADD = host/libhost_sys.a vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_link_LDADD = vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_log_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_rangeset_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_ring_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_shm_wire_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_size_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_unixsock_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)
%C%_test_worker_LDADD = base/libbase_sys.a $(BASE_SYS_LIBS) $(CRITERION_LIBS)

endif
