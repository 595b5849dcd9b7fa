noinst_LIBRARIES += %D%/libvmbus.a
PURE_ARCHIVES += %D%/libvmbus.a

%C%_libvmbus_a_SOURCES = \
	%D%/channel.c %D%/channel.h \
	%D%/ic.c %D%/ic.h \
	%D%/ring.c %D%/ring.h \
	%D%/wire.h
