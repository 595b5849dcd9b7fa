noinst_LIBRARIES += %D%/libbase.a
PURE_ARCHIVES += %D%/libbase.a

%C%_libbase_a_SOURCES = \
	%D%/bytes.c %D%/bytes.h \
	%D%/cleanup.h \
	%D%/error.h \
	%D%/rangeset.c %D%/rangeset.h
