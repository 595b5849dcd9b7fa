# For readers without the source, too.
dist_doc_DATA = \
	%D%/ADDRESSES-AND-DISKS.md \
	%D%/APPLICATIONS.md \
	%D%/ARCHITECTURE.md \
	%D%/COMING-FROM.md \
	%D%/GUIDE-BACKUP.md \
	%D%/GUIDE-HOSTING.md \
	%D%/HACKING.md \
	%D%/MONITORING.md \
	%D%/openapi-hvguestd.json \
	%D%/openapi-hvhost.json \
	%D%/PERFORMANCE.md \
	%D%/POLICY.md \
	%D%/performance-bytes.svg \
	%D%/performance-freeze.svg \
	%D%/performance-guests.svg \
	%D%/performance-host.svg \
	%D%/performance-key.svg \
	%D%/performance-keys.svg \
	%D%/PROTOCOL-dynmem.md \
	%D%/PROTOCOL-fcopy.md \
	%D%/PROTOCOL-kvp.md \
	%D%/PROTOCOL-kvp-pools.md \
	%D%/PROTOCOL-timesync.md \
	%D%/PROTOCOL-vmbus.md \
	%D%/PROTOCOL-vss.md \
	%D%/QEMU.md \
	%D%/THREATS.md
