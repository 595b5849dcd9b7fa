# A unit test is one program for one source file; it links the archive that holds the file, and base.

EXTRA_DIST += tests/lsan.supp %D%/rings.h

# The tests that have threads: ./quickstart test runs these under ThreadSanitizer too.
TSAN_TESTS =

if HAVE_CRITERION

UNIT_TESTS = \
	%D%/test-bytes \
	%D%/test-channel \
	%D%/test-ic \
	%D%/test-rangeset \
	%D%/test-ring

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)

%C%_test_bytes_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_channel_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_ic_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_rangeset_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_ring_LDADD = vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)

endif
