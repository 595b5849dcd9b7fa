noinst_LIBRARIES += %D%/libservices.a
PURE_ARCHIVES += %D%/libservices.a

%C%_libservices_a_SOURCES = \
	%D%/fcopy.c %D%/fcopy.h \
	%D%/fcopy_wire.c %D%/fcopy_wire.h \
	%D%/heartbeat.c %D%/heartbeat.h \
	%D%/heartbeat_wire.h \
	%D%/kvp_ip.c %D%/kvp_ip.h \
	%D%/kvp_ip_wire.c %D%/kvp_ip_wire.h \
	%D%/kvp_store.h \
	%D%/kvp_wire.c %D%/kvp_wire.h \
	%D%/shutdown.c %D%/shutdown.h \
	%D%/shutdown_wire.h
