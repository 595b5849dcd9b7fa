noinst_LIBRARIES += %D%/libvss.a
PURE_ARCHIVES += %D%/libvss.a

%C%_libvss_a_SOURCES = \
	%D%/vss.c %D%/vss.h \
	%D%/vss_device.c %D%/vss_device.h \
	%D%/vss_wire.h
