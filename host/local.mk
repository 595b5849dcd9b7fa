noinst_LIBRARIES += %D%/libhost.a %D%/libhost_sys.a
PURE_ARCHIVES += %D%/libhost.a

%C%_libhost_a_SOURCES = \
	%D%/dynmem_host.c %D%/dynmem_host.h

%C%_libhost_sys_a_SOURCES = \
	%D%/lab.c %D%/lab.h
