noinst_LIBRARIES += %D%/libvmbus.a %D%/libvmbus_sys.a
PURE_ARCHIVES += %D%/libvmbus.a

%C%_libvmbus_a_SOURCES = \
	%D%/channel.c %D%/channel.h \
	%D%/guid.c %D%/guid.h \
	%D%/ic.c %D%/ic.h \
	%D%/ring.c %D%/ring.h \
	%D%/shm_wire.c %D%/shm_wire.h \
	%D%/wire.h

%C%_libvmbus_sys_a_SOURCES = \
	%D%/discover.c %D%/discover.h \
	%D%/fd_holder.c %D%/fd_holder.h \
	%D%/link.c %D%/link.h \
	%D%/port.c %D%/port.h \
	%D%/sysfs.c %D%/sysfs.h \
	%D%/takeover.c %D%/takeover.h \
	%D%/transport_shm.c %D%/transport_shm.h \
	%D%/transport_uio.c %D%/transport_uio.h
