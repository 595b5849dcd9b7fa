# System tests run the real programs; those that need root skip without it, and say so.

check_PROGRAMS += %D%/freezer-driver
dist_check_SCRIPTS += %D%/test-freezer.sh
TESTS += %D%/test-freezer.sh

%C%_freezer_driver_LDADD = \
	fsfreeze/libfsfreeze_sys.a fsfreeze/libfsfreeze.a base/libbase_sys.a $(MOUNT_LIBS)
