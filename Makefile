# make quickstart   the main job, on real weights
# make test         every test of every layer
# make help         the rest

PREFIX  ?= /usr/local
CARGO   ?= cargo
PYTHON  ?= python3
MVN     ?= mvn -B
DESTDIR ?=

MODEL   ?= multilingual-e5-small
# Where make quickstart runs it: cpu, cuda or tensorrt.
DEVICE  ?= cpu

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
SONAME  := libbge.so.$(firstword $(subst ., ,$(VERSION)))
# The header promises compatibility within a minor version, until version 1.
SERIES  := $(basename $(VERSION))
BUILT   := target/release
FETCHED := .cache/onnxruntime/1.31.1/libonnxruntime.so.1.31.1
# RUNTIME=/path/of/libonnxruntime.so: a system's own, which is linked to and not copied; RUNTIME=: none.
RUNTIME := $(FETCHED)
# The build for GPUs, whose providers lie beside it.
GPU     := .cache/onnxruntime-gpu/1.31.1/libonnxruntime.so.1.31.1
ON_GPU  := --device $(DEVICE) --compute-type fp16 --runtime-library $(GPU) --cache-dir .cache/engines
DIR     := .cache/models/$(MODEL)
# The folder of the native libraries in the jar, and the jar that Maven builds.
JAVA    := target/java
JDK     ?= $(abspath $(dir $(realpath $(shell command -v javac)))..)
# With the packages that benches/ compares with.
VENV    := .cache/venv-bench

# The files say where they will be used, at PREFIX, though they may first be put below DESTDIR.
prefix := $(abspath $(PREFIX))
stage  := $(DESTDIR)$(prefix)
# Where a system has its libraries, as lib64 or lib/x86_64-linux-gnu: from PREFIX, or absolute.
libdir := lib
lib    := $(if $(filter /%,$(libdir)),$(abspath $(libdir)),$(abspath $(prefix)/$(libdir)))
libs   := $(DESTDIR)$(lib)

# Paths of the building machine stay out of the binaries, unless one has a space in it, at which cargo would split the
# option.
CARGO_HOME ?= $(HOME)/.cargo
ifeq ($(words $(CARGO_HOME) $(CURDIR)),2)
export RUSTFLAGS := $(strip $(RUSTFLAGS) --remap-path-prefix=$(CARGO_HOME)=/cargo --remap-path-prefix=$(CURDIR)=/libbge)
endif

# The manual's pages of the command, and what completes its words in a shell, below share.
PAGES  := bge $(addprefix bge-,info encode similarity evaluate quantize prepare selftest)
SHARED := $(PAGES:%=man/man1/%.1) bash-completion/completions/bge zsh/site-functions/_bge fish/vendor_completions.d/bge.fish

.PHONY: help quickstart test lint build runtime model install uninstall java java-native java-bench bench gpu-check clean

help: ## This text
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

quickstart: build model $(if $(filter-out cpu,$(DEVICE)),$(GPU)) ## Fetch, build, and encode three sentences from C; or DEVICE=cuda
ifeq ($(DEVICE),cpu)
	@$(CC) -std=c99 -Iinclude examples/first.c -o $(BUILT)/first -L$(BUILT) -lbge -Wl,-rpath,'$$ORIGIN'
	$(BUILT)/first $(DIR)
else
	$(if $(filter tensorrt%,$(DEVICE)),$(BUILT)/bge prepare $(DIR) $(ON_GPU))
	$(BUILT)/bge similarity $(DIR) $(ON_GPU) "Where is the cat?" "Di mana kucing itu?" "The stock market fell."
endif

build: $(RUNTIME) ## The library, the command bge, and ONNX Runtime beside them
	$(CARGO) build --release --locked
	@ln -sf libbge_c.so $(BUILT)/$(SONAME)
	@ln -sf $(SONAME) $(BUILT)/libbge.so
	@rm -f $(BUILT)/libonnxruntime.so*
	@$(if $(RUNTIME),ln -s $(abspath $(RUNTIME)) $(BUILT)/)
	@$(BUILT)/bge generate $(BUILT)/share
	@touch $(MADE)

# So that make install does nothing but install, perhaps as another user, after make build.
MADE := $(BUILT)/.made
$(MADE): $(shell find src bindings/c bindings/java/native Cargo.toml Cargo.lock build.rs -type f)
	$(MAKE) build

runtime: $(FETCHED) ## Fetch ONNX Runtime into .cache
$(FETCHED):
	@$(PYTHON) tests/tools/fetch.py runtime > /dev/null

$(GPU):
	@$(PYTHON) tests/tools/fetch.py runtime-gpu > /dev/null

model: $(DIR)/modules.json ## Fetch multilingual-e5-small into .cache, or make MODEL=bge-m3-shaped
$(DIR)/modules.json:
	@$(PYTHON) tests/tools/fetch.py $(if $(filter bge-m3-shaped,$(MODEL)),bge-m3-shaped,model) > /dev/null

# cargo builds the library for the tests itself, where they look for it.
test: $(FETCHED) model lint ## Every test of every layer
	BGE_TEST_MODEL=1 $(CARGO) test --release --locked

lint: ## Formatting and lints, warnings being errors
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

install: $(MADE) $(RUNTIME) ## The library, bge, headers, pkg-config and CMake files, manual and licenses into PREFIX
	rm -rf $(stage)/lib/bge
	install -d $(stage)/bin $(stage)/include $(libs)/bge $(libs)/cmake/bge $(libs)/pkgconfig $(stage)/share/doc/bge
	install -s -m 644 $(BUILT)/libbge.so $(libs)/libbge.so.$(VERSION)
	ln -sf libbge.so.$(VERSION) $(libs)/$(SONAME)
	ln -sf $(SONAME) $(libs)/libbge.so
	rm -f $(libs)/bge/libonnxruntime.so*
ifeq ($(RUNTIME),$(FETCHED))
	install -m 644 $(RUNTIME) $(libs)/bge/
	install -m 644 $(dir $(RUNTIME))LICENSE $(stage)/share/doc/bge/onnxruntime-LICENSE
	install -m 644 $(dir $(RUNTIME))ThirdPartyNotices.txt $(stage)/share/doc/bge/onnxruntime-ThirdPartyNotices.txt
else ifneq ($(RUNTIME),)
	ln -s $(abspath $(RUNTIME)) $(libs)/bge/libonnxruntime.so
endif
ifneq ($(lib),$(prefix)/lib)
	# The command looks for ONNX Runtime there.
	install -d $(stage)/lib
	ln -s $(shell realpath -m --relative-to=$(prefix)/lib $(lib)/bge) $(stage)/lib/bge
endif
	install -s -m 755 $(BUILT)/bge $(stage)/bin/
	install -m 644 include/bge.h bindings/cpp/bge.hpp $(stage)/include/
	for file in bge-config bge-config-version; do \
	    sed 's|@VERSION@|$(VERSION)|; s|@SERIES@|$(SERIES)|; s|@SONAME@|$(SONAME)|; s|@INCLUDE@|$(shell \
	        realpath -m --relative-to=$(lib) $(prefix)/include)|' bindings/cpp/$$file.cmake \
	        > $(libs)/cmake/bge/$$file.cmake || exit 1; done
	printf '%s\n' 'prefix=$(prefix)' 'libdir=$(patsubst $(prefix)/%,$${prefix}/%,$(lib))' 'includedir=$${prefix}/include' '' \
	    'Name: bge' 'Description: Text embeddings of bge-m3 and its fine-tunes, in process' \
	    'Version: $(VERSION)' 'Libs: -L$${libdir} -lbge' 'Cflags: -I$${includedir}' \
	    > $(libs)/pkgconfig/bge.pc
	for file in $(SHARED); do install -D -m 644 $(BUILT)/share/$$file $(stage)/share/$$file || exit 1; done
	for file in $(wildcard LICENSE*); do install -m 644 $$file $(stage)/share/doc/bge/ || exit 1; done

uninstall: ## Remove what install put into PREFIX
	rm -f $(stage)/bin/bge $(stage)/include/bge.h $(stage)/include/bge.hpp $(libs)/pkgconfig/bge.pc
	rm -f $(libs)/libbge.so $(libs)/$(SONAME) $(libs)/libbge.so.$(VERSION) $(SHARED:%=$(stage)/share/%)
	rm -rf $(libs)/bge $(libs)/cmake/bge $(stage)/share/doc/bge $(stage)/lib/bge

java: java-native ## The jar for Java, tested, into the local repository of Maven
	$(MVN) -f bindings/java/pom.xml -Dbge.native=$(abspath $(JAVA))/native -Dbge.build=$(abspath $(JAVA))/build install

java-native: build $(FETCHED) ## The native libraries that the jar carries
	install -d $(JAVA)/native
	install -s -m 644 $(BUILT)/libbge_jni.so $(JAVA)/native/
	$(PYTHON) bindings/java/carry.py $(FETCHED) $(JAVA)/native/libonnxruntime.so
	install -m 644 $(dir $(FETCHED))LICENSE $(JAVA)/native/onnxruntime-LICENSE
	install -m 644 $(dir $(FETCHED))ThirdPartyNotices.txt $(JAVA)/native/onnxruntime-ThirdPartyNotices.txt

java-bench: java ## What Java adds to a call of C; JMH=EncodeBenchmark: each way alone
	$(MVN) -q -f bindings/java/bench/pom.xml -Dbge.build=$(abspath $(JAVA))/bench package \
	    dependency:build-classpath -Dmdep.outputFile=$(abspath $(JAVA))/bench/classpath
	$(CC) -O2 -shared -fPIC -Iinclude -I$(JDK)/include -I$(JDK)/include/linux bindings/java/bench/src/main/c.c \
	    -o $(JAVA)/libbgebench.so -L$(BUILT) -lbge -Wl,-rpath,$(abspath $(BUILT))
	BGE_ORT_LIBRARY=$(abspath $(FETCHED)) java -Djava.library.path=$(JAVA) \
	    -cp $(JAVA)/bench/classes:`cat $(JAVA)/bench/classpath` $(if $(JMH),org.openjdk.jmh.Main $(JMH) -p model=$(DIR),dev.libbge.bench.Overhead $(DIR) $(ARGS))

# Packages that have to be compiled may fail; the report then names them.
bench: build model $(VENV)/requirements.txt ## Speed against peers on the same weights; ARGS=--help says what to choose
	$(VENV)/bin/python benches/bench.py $(DIR) $(ARGS)
$(VENV)/requirements.txt: benches/requirements.txt benches/requirements-compiled.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check -r benches/requirements.txt
	-$(VENV)/bin/pip install --disable-pip-version-check -r benches/requirements-compiled.txt
	cat $^ > $@

# Offline, but for what it is made of.
gpu-check: build model $(GPU) ## Right and fast on an NVIDIA GPU? Exit code 77 without one; ARGS="--devices tensorrt"
	BGE_ORT_LIBRARY=$${BGE_ORT_LIBRARY:-$(abspath $(GPU))} $(PYTHON) benches/gpu.py $(DIR) --into docs/gpu.md $(ARGS)

clean: ## Remove what was built; .cache stays
	$(CARGO) clean
