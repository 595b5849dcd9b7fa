# Hooks for databases, to be linked into freeze-hook.d by those who want them.
presetsdir = $(pkglibexecdir)/presets
dist_presets_SCRIPTS = %D%/presets/mariadb %D%/presets/postgresql
dist_presets_DATA = %D%/presets/session.sh

EXTRA_DIST += %D%/hvguest-hook@.service.in %D%/hvguestd.service.in %D%/hvhost.service.in

# For those who watch: dashboards to import, rules to copy.
grafanadir = $(datadir)/hvguest/grafana
dist_grafana_DATA = %D%/grafana/hvguest.json %D%/grafana/hvhost.json
prometheusdir = $(datadir)/hvguest/prometheus
dist_prometheus_DATA = %D%/prometheus/hvguest.rules.yml
EXTRA_DIST += %D%/prometheus/hvguest.rules.test.yml

MADE_UNITS = %D%/hvguest-hook@.service %D%/hvguestd.service %D%/hvhost.service

if HAVE_SYSTEMD
systemdsystemunitdir = $(prefix)/lib/systemd/system
systemdsystemunit_DATA = $(MADE_UNITS)
dist_systemdsystemunit_DATA = \
	%D%/hvguest-devices.target \
	%D%/hvguest-hook.socket \
	%D%/hvguest-module@.service \
	%D%/hvguest-netplan.service
udevrulesdir = $(prefix)/lib/udev/rules.d
dist_udevrules_DATA = %D%/udev/60-hvguest.rules
endif
CLEANFILES += $(MADE_UNITS)

$(MADE_UNITS): %D%/%.service: %D%/%.service.in Makefile
	@$(MKDIR_P) %D%
	$(AM_V_GEN)sed -e 's|[@]sbindir@|$(sbindir)|' -e 's|[@]bindir@|$(bindir)|' \
		-e 's|[@]libexecdir@|$(pkglibexecdir)|' $(srcdir)/%D%/$*.service.in >$@.new && \
		mv $@.new $@

# Profiles for AppArmor, which are loaded by whoever installs them there.
apparmordir = $(sysconfdir)/apparmor.d
nodist_apparmor_DATA = %D%/apparmor/hvguestd
EXTRA_DIST += %D%/apparmor/hvguestd.in
CLEANFILES += %D%/apparmor/hvguestd

%D%/apparmor/hvguestd: %D%/apparmor/hvguestd.in Makefile
	@$(MKDIR_P) %D%/apparmor
	$(AM_V_GEN)sed -e 's|[@]sbindir@|$(sbindir)|' -e 's|[@]libexecdir@|$(pkglibexecdir)|' \
		-e 's|[@]confdir@|$(sysconfdir)/hvguest|' -e 's|[@]statedir@|$(localstatedir)/lib|' \
		$(srcdir)/%D%/apparmor/hvguestd.in >$@.new && mv $@.new $@

# What the settings are, and their defaults; for a cross build it is made by the target's program.
nodist_doc_DATA = %D%/hvguest.conf
CLEANFILES += %D%/hvguest.conf

%D%/hvguest.conf: daemon/hvguestd$(EXEEXT)
	@$(MKDIR_P) %D%
	$(AM_V_GEN)daemon/hvguestd$(EXEEXT) --example-config >$@.new && mv $@.new $@

# A reference clock for chronyd, to be copied to where it reads its configuration.
chronydir = $(pkgdatadir)/chrony
dist_chrony_DATA = %D%/chrony/hvguest.conf

# What the journal's ids mean (journalctl -x).
if HAVE_SYSTEMD
catalogdir = $(prefix)/lib/systemd/catalog
nodist_catalog_DATA = %D%/hvguest.catalog
endif
CLEANFILES += %D%/hvguest.catalog

%D%/hvguest.catalog: daemon/hvguestd$(EXEEXT)
	@$(MKDIR_P) %D%
	$(AM_V_GEN)daemon/hvguestd$(EXEEXT) --catalog >$@.new && mv $@.new $@

# Completion, written by the program from its table of verbs.
bashcompletiondir = $(datadir)/bash-completion/completions
nodist_bashcompletion_DATA = %D%/completion/hvguestctl %D%/completion/hvhost
zshcompletiondir = $(datadir)/zsh/site-functions
nodist_zshcompletion_DATA = %D%/completion/_hvguestctl %D%/completion/_hvhost
CLEANFILES += $(nodist_bashcompletion_DATA) $(nodist_zshcompletion_DATA)

%D%/completion/hvguestctl %D%/completion/_hvguestctl: cli/hvguestctl$(EXEEXT)
%D%/completion/hvhost %D%/completion/_hvhost: host/hvhost$(EXEEXT)

# The program, the first prerequisite, writes it for the shell that the name is made for.
$(nodist_bashcompletion_DATA):
	@$(MKDIR_P) %D%/completion
	$(AM_V_GEN)$< --completion bash >$@.new && mv $@.new $@

$(nodist_zshcompletion_DATA):
	@$(MKDIR_P) %D%/completion
	$(AM_V_GEN)$< --completion zsh >$@.new && mv $@.new $@

# Manual pages; what they list comes from the programs' own tables.
MAN_PAGES = \
	%D%/man/hvguest-hooks.7 \
	%D%/man/hvguest.conf.5 \
	%D%/man/hvguestctl.1 \
	%D%/man/hvguestd.8 \
	%D%/man/hvhost.1
EXTRA_DIST += $(MAN_PAGES:=.scd)
if HAVE_SCDOC
nodist_man_MANS = $(MAN_PAGES)
endif
CLEANFILES += $(MAN_PAGES) packaging/man/generated

%D%/man/hvguest.conf.5: daemon/hvguestd$(EXEEXT)
%D%/man/hvguestd.8: daemon/hvguestd$(EXEEXT)
%D%/man/hvguestctl.1: cli/hvguestctl$(EXEEXT)
%D%/man/hvhost.1: host/hvhost$(EXEEXT)

# In place of @generated@ stands what the page's program, the first prerequisite, prints.
$(MAN_PAGES): %D%/man/%: %D%/man/%.scd
	@$(MKDIR_P) %D%/man
	$(AM_V_GEN)case $* in \
	hvguest.conf.5) daemon/hvguestd$(EXEEXT) --manual ;; \
	hvguestd.8) daemon/hvguestd$(EXEEXT) --manual-events ;; \
	hvguestctl.1) cli/hvguestctl$(EXEEXT) --manual ;; \
	hvhost.1) host/hvhost$(EXEEXT) --manual ;; \
	esac >$@.list && \
	sed -e '/@generated@/{r '$@.list -e 'd;}' $< | $(SCDOC) >$@.new && rm $@.list && mv $@.new $@

# Packages, from the tarball that `make dist` makes; they are built anew if anything in it has changed.
DEBIAN_FILES = \
	%D%/debian/changelog \
	%D%/debian/control \
	%D%/debian/copyright \
	%D%/debian/hvguest.README.Debian \
	%D%/debian/hvguest.dirs \
	%D%/debian/hvguest.install \
	%D%/debian/hvguest.lintian-overrides \
	%D%/debian/hvguest.postrm \
	%D%/debian/hvguest-dev.install \
	%D%/debian/hvguest-doc.install \
	%D%/debian/hvhost.install \
	%D%/debian/hvhost.prerm \
	%D%/debian/rules \
	%D%/debian/source/format
EXTRA_DIST += $(DEBIAN_FILES) %D%/build-deb %D%/build-rpm %D%/hvhost.default %D%/rpm/hvguest.spec

.PHONY: deb rpm
deb: packages/deb.made
rpm: packages/rpm.made

packages/$(distdir).tar.xz: $(DISTFILES)
	@$(MKDIR_P) packages
	$(AM_V_GEN)date=$$(sed -n 's/^ -- .*>  //p' $(srcdir)/%D%/debian/changelog | head -n 1) && \
	TAR_OPTIONS="--sort=name --owner=0 --group=0 --numeric-owner --mode=go-w --mtime=@$$(date -d "$$date" +%s)" \
		$(MAKE) -s dist-xz && mv $(distdir).tar.xz $@

packages/deb.made packages/rpm.made: packages/%.made: packages/$(distdir).tar.xz %D%/build-deb %D%/build-rpm
	@$(MKDIR_P) packages/$*
	$(AM_V_GEN)$(srcdir)/%D%/build-$* $(abs_builddir)/packages/$(distdir).tar.xz $(abs_builddir)/packages/$* && \
		touch $@

clean-local:
	rm -rf packages
