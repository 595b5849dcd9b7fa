# A scenario pumps guest and host cores against each other in one process, on virtual time.

if HAVE_CRITERION

SCENARIO_TESTS = \
	%D%/test-balance \
	%D%/test-dynmem \
	%D%/test-dynmem-faults \
	%D%/test-dynmem-restart \
	%D%/test-reoffer \
	%D%/test-timesync \
	%D%/test-fcopy \
	%D%/test-kvp \
	%D%/test-vss

check_PROGRAMS += $(SCENARIO_TESTS)
TESTS += $(SCENARIO_TESTS)

DYNMEM_WORLD = %D%/dynmem-world.c %D%/dynmem-world.h

%C%_test_dynmem_SOURCES = %D%/test-dynmem.c $(DYNMEM_WORLD)
%C%_test_dynmem_faults_SOURCES = %D%/test-dynmem-faults.c $(DYNMEM_WORLD)
%C%_test_dynmem_faults_LDADD = $(%C%_test_dynmem_LDADD)
%C%_test_dynmem_restart_SOURCES = %D%/test-dynmem-restart.c $(DYNMEM_WORLD)
%C%_test_dynmem_restart_LDADD = $(%C%_test_dynmem_LDADD)
%C%_test_dynmem_LDADD = \
	host/libhost.a balloon/libballoon.a vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_balance_LDADD = \
	policy/libpolicy.a host/libhost.a balloon/libballoon.a vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_reoffer_LDADD = $(%C%_test_timesync_LDADD)
%C%_test_timesync_LDADD = \
	host/libhost.a services/libservices.a vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_fcopy_LDADD = \
	services/libservices.a host/libhost.a vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_kvp_LDADD = \
	host/libhost.a services/libservices.a vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)
%C%_test_vss_LDADD = \
	vss/libvss.a host/libhost.a vmbus/libvmbus.a base/libbase.a $(CRITERION_LIBS)

endif
