# A unit test is one program for one source file; it links the archive that holds the file, and base.

EXTRA_DIST += tests/lsan.supp

if HAVE_CRITERION

UNIT_TESTS = \
	%D%/test-bytes \
	%D%/test-dynmem \
	%D%/test-dynmem-wire \
	%D%/test-frames \
	%D%/test-pages \
	%D%/test-pin \
	%D%/test-rangeset

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)

%C%_test_bytes_LDADD = base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_dynmem_wire_LDADD = balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_frames_LDADD = balloon/libballoon.a $(CRITERION_LIBS)
%C%_test_pages_LDADD = balloon/libballoon_sys.a balloon/libballoon.a base/libbase.a $(CRITERION_LIBS)
%C%_test_pin_LDADD = balloon/libballoon_sys.a $(CRITERION_LIBS)
%C%_test_rangeset_LDADD = base/libbase.a $(CRITERION_LIBS)

endif
