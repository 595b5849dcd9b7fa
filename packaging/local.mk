# Hooks for databases, to be linked into freeze-hook.d by those who want them.
presetsdir = $(pkglibexecdir)/presets
dist_presets_SCRIPTS = %D%/presets/mariadb %D%/presets/postgresql
dist_presets_DATA = %D%/presets/session.sh

EXTRA_DIST += %D%/hvguest.conf %D%/hvguestd.service.in

if HAVE_SYSTEMD
systemdsystemunitdir = $(prefix)/lib/systemd/system
systemdsystemunit_DATA = %D%/hvguestd.service
endif
CLEANFILES += %D%/hvguestd.service

%D%/hvguestd.service: %D%/hvguestd.service.in Makefile
	@$(MKDIR_P) %D%
	$(AM_V_GEN)sed 's|[@]sbindir@|$(sbindir)|' $(srcdir)/%D%/hvguestd.service.in >$@.new && mv $@.new $@
