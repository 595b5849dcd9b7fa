EXTRA_DIST += %D%/bench-compare %D%/check-deps %D%/check-docs %D%/check-pure %D%/measure

# The checks of the source, each with a proof that it can fail.
dist_check_SCRIPTS += %D%/checks.sh
TESTS += %D%/checks.sh

AM_TESTS_ENVIRONMENT += \
	export PURE_ARCHIVES='$(PURE_ARCHIVES)' ; \
	export CC='$(CC)' ; \
	export AR='$(AR)' ;
