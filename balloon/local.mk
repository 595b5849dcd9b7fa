noinst_LIBRARIES += %D%/libballoon.a
PURE_ARCHIVES += %D%/libballoon.a

%C%_libballoon_a_SOURCES = \
	%D%/dynmem.c %D%/dynmem.h \
	%D%/dynmem_wire.c %D%/dynmem_wire.h
