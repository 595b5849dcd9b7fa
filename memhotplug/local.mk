noinst_LIBRARIES += %D%/libmemhotplug.a %D%/libmemhotplug_sys.a
PURE_ARCHIVES += %D%/libmemhotplug.a

%C%_libmemhotplug_a_SOURCES = \
	%D%/align.c %D%/align.h \
	%D%/hotadd.c %D%/hotadd.h \
	%D%/survey.c %D%/survey.h

%C%_libmemhotplug_sys_a_SOURCES = \
	%D%/adder.c %D%/adder.h \
	%D%/block_record.c %D%/block_record.h \
	%D%/block_source.c %D%/block_source.h \
	%D%/blocks.c %D%/blocks.h \
	%D%/kernel_balloon.c %D%/kernel_balloon.h \
	%D%/onliner.c %D%/onliner.h \
	%D%/uevent.c %D%/uevent.h \
	%D%/zones.c %D%/zones.h
