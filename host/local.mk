noinst_LIBRARIES += %D%/libhost_sys.a

%C%_libhost_sys_a_SOURCES = \
	%D%/lab.c %D%/lab.h
