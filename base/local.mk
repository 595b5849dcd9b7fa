noinst_LIBRARIES += %D%/libbase.a %D%/libbase_sys.a
PURE_ARCHIVES += %D%/libbase.a

%C%_libbase_a_SOURCES = \
	%D%/amount.h \
	%D%/bytes.c %D%/bytes.h \
	%D%/cleanup.h \
	%D%/container.h \
	%D%/embed.h \
	%D%/error.h \
	%D%/nearest.c %D%/nearest.h \
	%D%/rangeset.c %D%/rangeset.h \
	%D%/size.c %D%/size.h \
	%D%/utf16.c %D%/utf16.h

AM_CPPFLAGS += $(LIBEVENT_CFLAGS) $(JANSSON_CFLAGS) $(URCU_CFLAGS)

%C%_libbase_sys_a_SOURCES = \
	%D%/ask.c %D%/ask.h \
	%D%/clock.h \
	%D%/completion.c %D%/completion.h \
	%D%/confine.c %D%/confine.h \
	%D%/copy.c %D%/copy.h \
	%D%/extents.c %D%/extents.h \
	%D%/fdpass.c %D%/fdpass.h \
	%D%/findings.c %D%/findings.h \
	%D%/histogram.c %D%/histogram.h \
	%D%/httpc.c %D%/httpc.h \
	%D%/httpd.c %D%/httpd.h \
	%D%/httpd_door.c %D%/httpd_door.h \
	%D%/jobs.c %D%/jobs.h \
	%D%/log.c %D%/log.h \
	%D%/manager.c %D%/manager.h \
	%D%/module.c %D%/module.h \
	%D%/sha256.c %D%/sha256.h \
	%D%/stream.c %D%/stream.h \
	%D%/metrics.c %D%/metrics.h \
	%D%/output.c %D%/output.h \
	%D%/page.c %D%/page.h \
	%D%/readers.c %D%/readers.h \
	%D%/scdoc.c %D%/scdoc.h \
	%D%/terminal.c %D%/terminal.h \
	%D%/unixsock.c %D%/unixsock.h \
	%D%/usage.c %D%/usage.h \
	%D%/worker.c %D%/worker.h

%C%_libbase_sys_a_CPPFLAGS = $(AM_CPPFLAGS) -DPAGE_CSS='"$(abs_srcdir)/%D%/page.css"' \
	-DPAGE_JS='"$(abs_srcdir)/%D%/page.js"'
%D%/libbase_sys_a-page.$(OBJEXT): %D%/page.css %D%/page.js
EXTRA_DIST += %D%/page.css %D%/page.js

# What a program that links libbase_sys.a links, too; the archives are for its LDADD.
BASE_SYS_LIBS = $(LIBEVENT_LIBS) $(JANSSON_LIBS) $(AIO_LIBS) $(XXHASH_LIBS) $(URCU_LIBS) -lpthread -lm
