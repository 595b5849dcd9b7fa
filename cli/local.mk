bin_PROGRAMS += %D%/hvguestctl

%C%_hvguestctl_SOURCES = \
	%D%/backup.c \
	%D%/check.c \
	%D%/cli.h \
	%D%/copies.c \
	%D%/health.c \
	%D%/disks.c \
	%D%/hvguestctl.c \
	%D%/notify.c \
	%D%/kvp.c \
	%D%/memory.c \
	%D%/metrics.c \
	%D%/plan.c \
	%D%/show.c \
	%D%/status.c \
	%D%/top.c \
	%D%/vmbus.c \
	%D%/watch.c \
	%D%/why.c
%C%_hvguestctl_LDADD = base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
