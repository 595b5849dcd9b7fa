EXTRA_DIST += %D%/hvguest.conf
