# A scenario pumps guest and host cores against each other in one process, on virtual time.

if HAVE_CRITERION

SCENARIO_TESTS = \
	%D%/test-vss

check_PROGRAMS += $(SCENARIO_TESTS)
TESTS += $(SCENARIO_TESTS)

%C%_test_vss_LDADD = \
	vss/libvss.a host/libhost.a vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)

endif
