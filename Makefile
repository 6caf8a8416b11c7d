# somamem: the extension, its courier, and the commands around them.
#
#   make            build the extension and the courier
#   make install    install both into the PostgreSQL that PG_CONFIG names
#   make demo       install what is missing, run the main job, show it
#   make test       install what is missing, run every test
#   make unit       unit tests of core and courier, plain and sanitized
#   make fuzz       fuzz targets of core and courier, SECONDS=60 each
#   make chaos      random faults under load: SECONDS=120 SEED=1 EXACTLY_ONCE=
#   make bench      the table of docs/performance.md
#   make format     clang-format over src and test

PG_CONFIG ?= pg_config
SMEM_VERSION = 0.1

EXTENSION = somamem
MODULE_big = somamem
OBJS = src/module.o $(sort $(patsubst %.c,%.o,$(wildcard src/pg/*.c src/policy/*.c src/outbox/*.c src/worker/*.c src/api/*.c)))
DATA_built = sql/somamem--$(SMEM_VERSION).sql

PG_CPPFLAGS = -Isrc
PG_CFLAGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-clobbered $(WERROR)
SHLIB_LINK = build/core/libsmemcore.a
EXTRA_CLEAN = build sql/somamem--$(SMEM_VERSION).sql

BUILD_GOALS := $(filter-out demo test unit fuzz chaos bench format stage,$(or $(MAKECMDGOALS),all))

ifneq ($(BUILD_GOALS),)
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(PGXS),)
$(error no pg_config: install postgresql-server-dev, or run "make demo", which installs what is missing)
endif
# Bitcode for the JIT would triple the build for functions that never run in a plan's inner loop.
override with_llvm = no
include $(PGXS)
endif

# --- core and courier: no PostgreSQL inside -------------------------------

COURIER_CC ?= cc
COURIER_CFLAGS ?= -O2 -g
COURIER_WARN = -std=gnu11 -Wall -Wextra $(WERROR)
COURIER_LIBS = libcurl rdkafka libcrypto libmicrohttpd zlib
WEBUI = webui/index.html $(wildcard webui/components/*.js)
CORE_OBJS = $(patsubst src/core/%.c,build/core/%.o,$(sort $(wildcard src/core/*.c)))
COURIER_OBJS = $(patsubst src/courier/%.c,build/courier/%.o,$(sort $(wildcard src/courier/*.c)))
HEADERS = $(wildcard src/*/*.h)

build/core/%.o: src/core/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(COURIER_CC) $(COURIER_CFLAGS) $(COURIER_WARN) -fPIC -Isrc -c $< -o $@

build/courier/%.o: src/courier/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(COURIER_CC) $(COURIER_CFLAGS) $(COURIER_WARN) -D_GNU_SOURCE -Isrc $$(pkg-config --cflags $(COURIER_LIBS)) -c $< -o $@

# The web page is inside the program.
build/courier/web_page.o: COURIER_WARN += -DSMEM_WEBUI='"$(CURDIR)/webui"'
build/courier/web_page.o: $(WEBUI)

build/core/libsmemcore.a: $(CORE_OBJS)
	rm -f $@
	ar rcs $@ $^

build/somamem-courier: $(COURIER_OBJS) build/core/libsmemcore.a
	$(COURIER_CC) $(COURIER_CFLAGS) -o $@ $^ $$(pkg-config --libs $(COURIER_LIBS))

ifneq ($(BUILD_GOALS),)
all: build/somamem-courier
somamem.so: build/core/libsmemcore.a
$(OBJS): $(HEADERS)
endif

sql/somamem--$(SMEM_VERSION).sql: $(sort $(wildcard sql/parts/*.sql))
	cat $^ > $@

ifneq ($(BUILD_GOALS),)
install: install-courier
.PHONY: install-courier
install-courier: build/somamem-courier
	$(MKDIR_P) '$(DESTDIR)$(pkglibdir)'
	$(INSTALL_PROGRAM) build/somamem-courier '$(DESTDIR)$(pkglibdir)/somamem-courier'
endif

# --- commands ----------------------------------------------------------------

.PHONY: stage demo test unit fuzz chaos bench format tools

# A PostgreSQL of our own in build/stage, with the extension in it; the system's stays as it is.
stage:
	@test/setup/stage.sh

tools:
	$(MAKE) -C test/standin

demo:
	@test/setup/install.sh demo
	@test/demo/demo.sh

test:
	@test/setup/install.sh test
	@test/run

unit:
	$(MAKE) -C test/unit check
	$(MAKE) -C test/unit check SAN=1

fuzz:
	@test/fuzz/run $(or $(SECONDS),60)

chaos:
	@test/setup/install.sh test
	@test/setup/stage.sh
	@$(MAKE) -s -C test/standin
	@EXACTLY_ONCE=$(EXACTLY_ONCE) test/chaos/run $(or $(SECONDS),120) $(or $(SEED),1)

bench:
	@test/setup/install.sh test
	@bench/run

format:
	clang-format -i $(wildcard src/*.c src/*/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch] test/policy/*.c test/standin/*.[ch] test/standin/*/*.[ch] test/lib/*.[ch] bench/*.[ch])
