noinst_LIBRARIES += %D%/libfsfreeze.a %D%/libfsfreeze_sys.a
PURE_ARCHIVES += %D%/libfsfreeze.a
pkglibexec_PROGRAMS += %D%/hvguest-freezer

%C%_libfsfreeze_a_SOURCES = \
	%D%/freezer_proto.c %D%/freezer_proto.h \
	%D%/plan.c %D%/plan.h

%C%_libfsfreeze_sys_a_SOURCES = \
	%D%/freezer_client.c %D%/freezer_client.h \
	%D%/freezer_io.c %D%/freezer_io.h \
	%D%/freezer_recover.c %D%/freezer_recover.h \
	%D%/mounts.c %D%/mounts.h
%C%_libfsfreeze_sys_a_CPPFLAGS = $(AM_CPPFLAGS) $(MOUNT_CFLAGS)

# Static: while everything is frozen it must not need a page of a library.
%C%_hvguest_freezer_SOURCES = %D%/freezer.c
%C%_hvguest_freezer_LDADD = %D%/libfsfreeze_sys.a %D%/libfsfreeze.a base/libbase_sys.a
if !SANITIZED
%C%_hvguest_freezer_LDFLAGS = -static
endif
