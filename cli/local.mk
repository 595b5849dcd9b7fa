bin_PROGRAMS += %D%/hvguestctl

%C%_hvguestctl_SOURCES = %D%/hvguestctl.c
%C%_hvguestctl_LDADD = base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
