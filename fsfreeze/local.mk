noinst_LIBRARIES += %D%/libfsfreeze.a %D%/libfsfreeze_sys.a
PURE_ARCHIVES += %D%/libfsfreeze.a
pkglibexec_PROGRAMS += %D%/hvguest-freezer %D%/hvguest-hook

%C%_libfsfreeze_a_SOURCES = \
	%D%/freezer_proto.c %D%/freezer_proto.h \
	%D%/graph.c %D%/graph.h \
	%D%/hook_names.c %D%/hook_names.h \
	%D%/hook_sequence.c %D%/hook_sequence.h \
	%D%/hook_wire.c %D%/hook_wire.h \
	%D%/notify.c %D%/notify.h \
	%D%/plan.c %D%/plan.h \
	%D%/rules.c %D%/rules.h

%C%_libfsfreeze_sys_a_SOURCES = \
	%D%/devices.c %D%/devices.h \
	%D%/fdstore.c %D%/fdstore.h \
	%D%/freezer_client.c %D%/freezer_client.h \
	%D%/freezer_io.c %D%/freezer_io.h \
	%D%/freezer_recover.c %D%/freezer_recover.h \
	%D%/hook_list.c %D%/hook_list.h \
	%D%/hook_process.c %D%/hook_process.h \
	%D%/hook_record.c %D%/hook_record.h \
	%D%/mounts.c %D%/mounts.h \
	%D%/rcu.c %D%/rcu.h
%C%_libfsfreeze_sys_a_CPPFLAGS = $(AM_CPPFLAGS) $(MOUNT_CFLAGS) $(JANSSON_CFLAGS)

# For other programs.
include_HEADERS += %D%/hvguest_notify.h

%C%_hvguest_hook_SOURCES = %D%/hook_runner.c
%C%_hvguest_hook_LDADD = %D%/libfsfreeze_sys.a %D%/libfsfreeze.a base/libbase_sys.a base/libbase.a

# Static: while everything is frozen it must not need a page of a library.
%C%_hvguest_freezer_SOURCES = \
	%D%/freezer.c \
	%D%/freezer_crew.c %D%/freezer_crew.h \
	%D%/freezer_thaw.c %D%/freezer_thaw.h \
	%D%/freezer_work.c %D%/freezer_work.h
%C%_hvguest_freezer_LDADD = %D%/libfsfreeze_sys.a %D%/libfsfreeze.a base/libbase_sys.a
if SANITIZED
# Sanitizers need more room, and make system calls of their own.
%C%_hvguest_freezer_CPPFLAGS = $(AM_CPPFLAGS) -DFREEZER_STACK_BYTES=262144 -DFREEZER_UNCONFINED
else
%C%_hvguest_freezer_CPPFLAGS = $(AM_CPPFLAGS)
%C%_hvguest_freezer_LDFLAGS = -static
endif
