# make quickstart   the main job, on real weights
# make test         every test of every layer
# make help         the rest

PREFIX  ?= /usr/local
CARGO   ?= cargo
PYTHON  ?= python3
DESTDIR ?=

# By hand only where cargo cannot know: the ABI's major version is in the soname.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
SONAME  := libbge.so.0
BUILT   := target/release
RUNTIME := .cache/onnxruntime/1.31.1/libonnxruntime.so.1.31.1
MODEL   := .cache/models/multilingual-e5-small
LIBDIR  := $(DESTDIR)$(PREFIX)/lib

.PHONY: help quickstart test lint build runtime model install bench clean

help: ## This text
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

quickstart: build model ## Fetch, build, and encode three sentences from C
	@$(CC) -std=c99 -Iinclude examples/first.c -o $(BUILT)/first -L$(BUILT) -lbge -Wl,-rpath,'$$ORIGIN'
	$(BUILT)/first $(MODEL)

build: $(RUNTIME) ## The library, the command bge, and ONNX Runtime beside them
	$(CARGO) build --release --locked
	@ln -sf libbge.so $(BUILT)/$(SONAME)
	@ln -sf ../../$(RUNTIME) $(BUILT)/

runtime: $(RUNTIME) ## Fetch ONNX Runtime into .cache
$(RUNTIME):
	@$(PYTHON) tests/tools/fetch.py runtime > /dev/null

model: $(MODEL)/modules.json ## Fetch the default model, multilingual-e5-small, into .cache
$(MODEL)/modules.json:
	@$(PYTHON) tests/tools/fetch.py model > /dev/null

test: build model lint ## Every test of every layer
	BGE_TEST_MODEL=1 $(CARGO) test --release --locked

lint: ## Formatting and lints, warnings being errors
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

install: build ## The header, the library, bge and a pkg-config file under PREFIX
	install -d $(LIBDIR)/bge $(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BUILT)/libbge.so $(LIBDIR)/libbge.so.$(VERSION)
	ln -sf libbge.so.$(VERSION) $(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(LIBDIR)/libbge.so
	install -m 755 $(RUNTIME) $(LIBDIR)/bge/
	install -m 644 include/bge.h $(DESTDIR)$(PREFIX)/include/
	install -m 755 $(BUILT)/bge $(DESTDIR)$(PREFIX)/bin/
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	    'Name: bge' 'Description: Text embeddings of bge-m3 and its fine-tunes, in process' \
	    'Version: $(VERSION)' 'Libs: -L$${libdir} -lbge' 'Cflags: -I$${includedir}' \
	    > $(LIBDIR)/pkgconfig/bge.pc

clean: ## Remove what was built; .cache stays
	$(CARGO) clean
