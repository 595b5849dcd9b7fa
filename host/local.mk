noinst_LIBRARIES += %D%/libhost.a
PURE_ARCHIVES += %D%/libhost.a

%C%_libhost_a_SOURCES = \
	%D%/vss_host.c %D%/vss_host.h
