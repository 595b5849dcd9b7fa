# Benchmarks: hvguest and its peers side by side. `make bench` runs them all, `make bench-quick` some
# of each; both print lines and leave a JSON file. `make check` only shows that they work.

check_LIBRARIES = %D%/libbench.a
BENCHES = %D%/bench-balancer %D%/bench-daemon %D%/bench-fcopy %D%/bench-freeze %D%/bench-kvp %D%/bench-pages %D%/bench-pressure %D%/bench-ring
check_PROGRAMS += $(BENCHES)

%C%_libbench_a_SOURCES = %D%/bench.c %D%/bench.h

%C%_bench_balancer_SOURCES = %D%/bench-balancer.c
%C%_bench_balancer_LDADD = %D%/libbench.a policy/libpolicy.a base/libbase.a

%C%_bench_daemon_SOURCES = %D%/bench-daemon.c
%C%_bench_daemon_LDADD = %D%/libbench.a

%C%_bench_fcopy_SOURCES = %D%/bench-fcopy.c %D%/standin/hv_ring.c %D%/standin/hv_ring.h
%C%_bench_fcopy_LDADD = %D%/libbench.a host/libhost_sys.a host/libhost.a services/libservices.a \
	vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)

%C%_bench_freeze_SOURCES = \
	%D%/bench-freeze.c \
	%D%/peers.c %D%/peers.h \
	%D%/writers.c %D%/writers.h
%C%_bench_freeze_LDADD = %D%/libbench.a host/libhost_sys.a vmbus/libvmbus_sys.a vmbus/libvmbus.a \
	base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)

%C%_bench_kvp_SOURCES = %D%/bench-kvp.c
%C%_bench_kvp_LDADD = %D%/libbench.a services/libservices.a base/libbase.a

%C%_bench_pages_SOURCES = %D%/bench-pages.c
%C%_bench_pages_LDADD = %D%/libbench.a balloon/libballoon_sys.a balloon/libballoon.a \
	memhotplug/libmemhotplug_sys.a memhotplug/libmemhotplug.a \
	base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)

%C%_bench_pressure_SOURCES = %D%/bench-pressure.c
%C%_bench_pressure_LDADD = %D%/libbench.a policy/libpolicy_sys.a policy/libpolicy.a base/libbase.a

%C%_bench_ring_SOURCES = %D%/bench-ring.c %D%/standin/hv_ring.c %D%/standin/hv_ring.h
%C%_bench_ring_LDADD = %D%/libbench.a vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)

# Preloaded into a stock daemon: plain, whatever the rest is built with.
%D%/hv_vss_device.so: %D%/standin/hv_vss_device.c
	@$(MKDIR_P) %D%
	$(AM_V_CCLD)$(CC) -std=gnu17 $(WARN_CFLAGS) -O2 -D_GNU_SOURCE -fPIC -shared -o $@ $(srcdir)/%D%/standin/hv_vss_device.c -ldl

%D%/hv_fcopy_device.so: %D%/standin/hv_fcopy_device.c
	@$(MKDIR_P) %D%
	$(AM_V_CCLD)$(CC) -std=gnu17 $(WARN_CFLAGS) -O2 -D_GNU_SOURCE -fPIC -shared -o $@ $(srcdir)/%D%/standin/hv_fcopy_device.c -ldl

check_DATA += %D%/hv_fcopy_device.so
CLEANFILES += %D%/hv_fcopy_device.so
EXTRA_DIST += %D%/standin/hv_fcopy_device.c

check_DATA += %D%/hv_vss_device.so
CLEANFILES += %D%/hv_vss_device.so
EXTRA_DIST += %D%/freeze.sh %D%/host.sh %D%/standin/hv_vss_device.c
%D%/hv_kvp_device.so: %D%/standin/hv_kvp_device.c
	@$(MKDIR_P) %D%
	$(AM_V_CCLD)$(CC) -std=gnu17 $(WARN_CFLAGS) -O2 -D_GNU_SOURCE -fPIC -shared -o $@ $(srcdir)/%D%/standin/hv_kvp_device.c -ldl

check_DATA += %D%/hv_kvp_device.so %D%/hv_vss_device.so
CLEANFILES += %D%/hv_kvp_device.so %D%/hv_vss_device.so
EXTRA_DIST += %D%/freeze.sh %D%/standin/hv_kvp_device.c %D%/standin/hv_vss_device.c

EXTRA_DIST += %D%/performance.md.in %D%/plot.awk %D%/report %D%/run

# They leave bench.json and bench-quick.json in the build folder.
bench: all $(BENCHES) tests/system/fleet $(check_DATA)
	$(srcdir)/%D%/run --build . --json bench.json

bench-quick: all $(BENCHES) tests/system/fleet $(check_DATA)
	$(srcdir)/%D%/run --build . --json bench-quick.json --mode quick

.PHONY: bench bench-quick
