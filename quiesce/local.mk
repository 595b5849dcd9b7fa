noinst_LIBRARIES += %D%/libquiesce.a %D%/libquiesce_sys.a
PURE_ARCHIVES += %D%/libquiesce.a

%C%_libquiesce_a_SOURCES = \
	%D%/hook_names.c %D%/hook_names.h \
	%D%/hook_sequence.c %D%/hook_sequence.h \
	%D%/notify.c %D%/notify.h

# For other programs.
include_HEADERS += %D%/hvguest_notify.h

%C%_libquiesce_sys_a_SOURCES = \
	%D%/hook_list.c %D%/hook_list.h \
	%D%/hook_process.c %D%/hook_process.h \
	%D%/hook_record.c %D%/hook_record.h
%C%_libquiesce_sys_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
