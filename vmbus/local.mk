noinst_LIBRARIES += %D%/libvmbus.a
PURE_ARCHIVES += %D%/libvmbus.a

%C%_libvmbus_a_SOURCES = \
	%D%/ring.c %D%/ring.h \
	%D%/wire.h
