# Benchmarks: hvguest and its peers side by side. `make bench` runs them all, `make bench-quick` some
# of each; both print lines and leave a JSON file. `make check` only shows that they work.

check_LIBRARIES = %D%/libbench.a
check_PROGRAMS += %D%/bench-ring

%C%_libbench_a_SOURCES = %D%/bench.c %D%/bench.h

%C%_bench_ring_SOURCES = %D%/bench-ring.c %D%/standin/hv_ring.c %D%/standin/hv_ring.h
%C%_bench_ring_LDADD = %D%/libbench.a vmbus/libvmbus_sys.a vmbus/libvmbus.a base/libbase_sys.a base/libbase.a $(BASE_SYS_LIBS)
