noinst_LIBRARIES += %D%/libpolicy.a
PURE_ARCHIVES += %D%/libpolicy.a

%C%_libpolicy_a_SOURCES = \
	%D%/balancer.c %D%/balancer.h
