noinst_LIBRARIES += %D%/libballoon.a %D%/libballoon_sys.a
PURE_ARCHIVES += %D%/libballoon.a
pkglibexec_PROGRAMS += %D%/hvguest-keeper

%C%_libballoon_a_SOURCES = \
	%D%/dynmem.c %D%/dynmem.h \
	%D%/dynmem_area.c %D%/dynmem_area.h \
	%D%/dynmem_books.c %D%/dynmem_books.h \
	%D%/dynmem_machine.h \
	%D%/dynmem_next.c \
	%D%/dynmem_receive.c \
	%D%/dynmem_record.c %D%/dynmem_record.h \
	%D%/dynmem_replay.c \
	%D%/dynmem_wire.c %D%/dynmem_wire.h \
	%D%/frames.c %D%/frames.h \
	%D%/keeper_proto.c %D%/keeper_proto.h \
	%D%/ledger.c %D%/ledger.h

%C%_libballoon_sys_a_SOURCES = \
	%D%/chunk.c %D%/chunk.h \
	%D%/keeper_client.c %D%/keeper_client.h \
	%D%/keeper_io.c %D%/keeper_io.h \
	%D%/overcommit.c %D%/overcommit.h \
	%D%/pages.c %D%/pages.h \
	%D%/pin.c %D%/pin.h

# Static: it outlives the packages that its libraries would come from.
%C%_hvguest_keeper_SOURCES = %D%/keeper.c
%C%_hvguest_keeper_LDADD = %D%/libballoon_sys.a %D%/libballoon.a base/libbase_sys.a base/libbase.a
if SANITIZED
%C%_hvguest_keeper_CPPFLAGS = $(AM_CPPFLAGS) -DKEEPER_UNCONFINED
else
%C%_hvguest_keeper_CPPFLAGS = $(AM_CPPFLAGS)
%C%_hvguest_keeper_LDFLAGS = -static
endif
