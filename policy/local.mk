noinst_LIBRARIES += %D%/libpolicy.a %D%/libpolicy_sys.a
PURE_ARCHIVES += %D%/libpolicy.a

%C%_libpolicy_a_SOURCES = \
	%D%/balancer.c %D%/balancer.h \
	%D%/balancer_guest.c \
	%D%/balancer_pass.c %D%/balancer_state.h \
	%D%/balancer_share.c \
	%D%/balancer_text.c \
	%D%/contenders.c %D%/contenders.h \
	%D%/figures.c %D%/figures.h \
	%D%/fleet.c %D%/fleet.h \
	%D%/floor.c %D%/floor.h \
	%D%/guard.c %D%/guard.h \
	%D%/recording.c %D%/recording.h \
	%D%/report.c %D%/report.h \
	%D%/simguest.c %D%/simguest.h \
	%D%/simulate.c %D%/simulate.h \
	%D%/source.c %D%/source.h \
	%D%/strain.c %D%/strain.h \
	%D%/waterfill.c %D%/waterfill.h

%C%_libpolicy_sys_a_SOURCES = \
	%D%/group.c %D%/group.h \
	%D%/meminfo.c %D%/meminfo.h \
	%D%/reclaim.c %D%/reclaim.h \
	%D%/stall_trigger.c %D%/stall_trigger.h
