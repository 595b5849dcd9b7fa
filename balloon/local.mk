noinst_LIBRARIES += %D%/libballoon.a %D%/libballoon_sys.a
PURE_ARCHIVES += %D%/libballoon.a

%C%_libballoon_a_SOURCES = \
	%D%/dynmem.c %D%/dynmem.h \
	%D%/dynmem_machine.h \
	%D%/dynmem_next.c \
	%D%/dynmem_record.h \
	%D%/dynmem_wire.c %D%/dynmem_wire.h \
	%D%/frames.c %D%/frames.h

%C%_libballoon_sys_a_SOURCES = \
	%D%/pages.c %D%/pages.h \
	%D%/pin.c %D%/pin.h
