noinst_LIBRARIES += %D%/libdisks.a
PURE_ARCHIVES += %D%/libdisks.a
pkglibexec_PROGRAMS += %D%/hvguest-disks

%C%_libdisks_a_SOURCES = \
	%D%/block_event.c %D%/block_event.h \
	%D%/gpt.c %D%/gpt.h \
	%D%/growth.c %D%/growth.h

# A program of its own: its libraries stay out of the daemon.
%C%_hvguest_disks_SOURCES = \
	%D%/content.c %D%/content.h \
	%D%/hvguest-disks.c \
	%D%/survey.c %D%/survey.h \
	%D%/table.c %D%/table.h
%C%_hvguest_disks_CPPFLAGS = $(AM_CPPFLAGS) $(MOUNT_CFLAGS) $(FDISK_CFLAGS) $(BLKID_CFLAGS)
%C%_hvguest_disks_LDADD = \
	%D%/libdisks.a base/libbase_sys.a base/libbase.a \
	$(FDISK_LIBS) $(BLKID_LIBS) $(MOUNT_LIBS) $(JANSSON_LIBS)
