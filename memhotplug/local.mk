noinst_LIBRARIES += %D%/libmemhotplug.a %D%/libmemhotplug_sys.a
PURE_ARCHIVES += %D%/libmemhotplug.a

%C%_libmemhotplug_a_SOURCES = \
	%D%/align.c %D%/align.h

%C%_libmemhotplug_sys_a_SOURCES = \
	%D%/blocks.c %D%/blocks.h
