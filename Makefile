# kafka_sink: build with PGXS (make, make install), tests and the rest by scripts.

# These need neither PostgreSQL nor PGXS: what they run installs what is missing.
ks_scripts = check check-assert check-asan check-conformance coverage demo demo-avro demo-roundtrip torture fuzz bench bench-quick bench-full bench-peers

ifeq ($(filter-out $(ks_scripts),$(or $(MAKECMDGOALS),all)),)

.PHONY: $(ks_scripts)
check:
	test/run
check-assert check-asan:
	test/checked $(@:check-%=%) $(SUITES)
check-conformance:
	test/conformance/avro
	test/conformance/json_schema
	test/conformance/protobuf
coverage:
	test/coverage
demo:
	demo/demo
demo-avro:
	demo/avro
demo-roundtrip:
	demo/roundtrip
torture:
	test/torture
fuzz:
	test/fuzz/run
bench:
	bench/bench
bench-quick bench-full:
	bench/bench $(@:bench-%=%)
bench-peers:
	bench/peers

else

ks_dir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
ks_sources := $(sort $(patsubst $(ks_dir)/%,%,$(wildcard $(ks_dir)/src/*.c $(ks_dir)/src/*/*.c)))

EXTENSION = kafka_sink
MODULE_big = kafka_sink
OBJS = $(ks_sources:.c=.o)
# the newest version, those before it, and the ways from one to the next
DATA = $(sort $(patsubst $(ks_dir)/%,%,$(wildcard $(ks_dir)/kafka_sink--*.sql)))

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)

# The control file alone says which version this is.
ks_version := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(ks_dir)/kafka_sink.control)

# The server's headers as system headers: -Wextra is for our code.  Exempt is
# an idiom of the server's: fcinfo is there whether it is used or not.
# WERROR= on the command line is for compilers that warn of more than ours.
WERROR = -Werror
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server) -I$(ks_dir)/src \
	-DKS_VERSION='"$(ks_version)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter $(WERROR)
# Calls within the library are bound to it, as those of PostgreSQL 16 and later are: decoding takes 5 % less.
SHLIB_LINK = -lrdkafka -lcurl -lz $(if $(filter linux,$(PORTNAME)),-Wl$(ks_comma)-Bsymbolic-functions)
ks_comma = ,
override with_llvm = no

REGRESS = $(sort $(basename $(notdir $(wildcard $(ks_dir)/sql/*.sql))))

ks_tools = test/tools/kfk test/tools/proxy test/tools/full.so test/tools/names.so test/tools/chunks.so
EXTRA_CLEAN = $(ks_tools) results regression.diffs regression.out

include $(PGXS)

$(OBJS): $(wildcard $(ks_dir)/src/*/*.h)
src/catalog/version.o: $(ks_dir)/kafka_sink.control

ifneq ($(ks_dir),.)
$(shell mkdir -p $(sort $(dir $(OBJS))) test/tools)
endif

# What the tests need beside the extension.
.PHONY: tools
tools: $(ks_tools)
test/tools/kfk: test/tools/kfk.c test/tools/wire.h
	$(CC) -O2 -g -Wall -Wextra -Werror -o $@ $< -lrdkafka
test/tools/proxy: test/tools/proxy.c
	$(CC) -O2 -g -Wall -Wextra -Werror -o $@ $<
test/tools/full.so test/tools/names.so: test/tools/%.so: test/tools/%.c
	$(CC) -O2 -g -Wall -Wextra -Werror -fPIC -shared -o $@ $< -ldl
test/tools/chunks.so: test/tools/chunks.c
	$(CC) -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -isystem $(shell $(PG_CONFIG) --includedir-server) \
		-fPIC -shared -o $@ $<

# cppcheck does not read the server's headers: it has to be told of the loops,
# and that an error does not return.
.PHONY: lint floors cppcheck clang-tidy shellcheck
lint: floors cppcheck clang-tidy shellcheck
floors: all
	$(ks_dir)/test/floors .
cppcheck:
	cppcheck --quiet --error-exitcode=1 --inline-suppr --library=posix -I$(ks_dir)/src \
		--enable=warning,performance,portability -DPG_VERSION_NUM=$(VERSION_NUM) -DKS_VERSION='"$(ks_version)"' \
		'-Dforeach(c,l)=while (next(&c, l))' '-Ddlist_foreach(i,l)=while (next(&i, l))' \
		'-Ddlist_foreach_modify(i,l)=while (next(&i, l))' \
		'-Dslist_foreach(i,l)=while (next(&i, l))' \
		'-DCURL_AT_LEAST_VERSION(a,b,c)=1' '-DXL_ROUTINE(...)=0' \
		-DERROR=21 '-Dereport(l,...)=if (l >= 21) abort()' '-Delog(l,...)=if (l >= 21) abort()' \
		$(ks_dir)/src $(ks_dir)/test/tools
clang-tidy:
	clang-tidy --quiet --warnings-as-errors='*' \
		--checks='-clang-analyzer-security.insecureAPI.*' \
		$(addprefix $(ks_dir)/,$(ks_sources)) -- $(PG_CPPFLAGS) -D_GNU_SOURCE
shellcheck:
	shellcheck -x $(addprefix $(ks_dir)/,$(ks_bash))

ks_bash = $(shell cd $(ks_dir) && grep -rlI '^#!/usr/bin/env bash' .ci bench demo test 2>/dev/null)

endif
