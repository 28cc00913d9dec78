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
# What the header's promise covers: the same minor version, until version 1.
SERIES  := $(basename $(VERSION))
BUILT   := target/release
RUNTIME := .cache/onnxruntime/1.31.1/libonnxruntime.so.1.31.1
# The build for GPUs, whose providers lie beside it.
GPU     := .cache/onnxruntime-gpu/1.31.1/libonnxruntime.so.1.31.1
ON_GPU  := --device $(DEVICE) --compute-type fp16 --runtime-library $(GPU) --cache-dir .cache/engines
DIR     := .cache/models/$(MODEL)
# What the binding for Java carries, and what Maven makes of it.
JAVA    := target/java
JDK     ?= $(abspath $(dir $(realpath $(shell command -v javac)))..)
# With the packages that benches/ compares with.
VENV    := .cache/venv-bench

# The files say where they will be used, at PREFIX, though they may first be put below DESTDIR.
prefix := $(abspath $(PREFIX))
stage  := $(DESTDIR)$(prefix)

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
	@ln -sf ../../$(RUNTIME) $(BUILT)/

runtime: $(RUNTIME) ## Fetch ONNX Runtime into .cache
$(RUNTIME):
	@$(PYTHON) tests/tools/fetch.py runtime > /dev/null

$(GPU):
	@$(PYTHON) tests/tools/fetch.py runtime-gpu > /dev/null

model: $(DIR)/modules.json ## Fetch multilingual-e5-small into .cache, or make MODEL=bge-m3-shaped
$(DIR)/modules.json:
	@$(PYTHON) tests/tools/fetch.py $(if $(filter bge-m3-shaped,$(MODEL)),bge-m3-shaped,model) > /dev/null

# cargo builds the library for the tests itself, where they look for it.
test: $(RUNTIME) model lint ## Every test of every layer
	BGE_TEST_MODEL=1 $(CARGO) test --release --locked

lint: ## Formatting and lints, warnings being errors
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

install: build ## The library, bge, headers, pkg-config and CMake files, and licences into PREFIX
	install -d $(stage)/bin $(stage)/include $(stage)/lib/bge $(stage)/lib/cmake/bge $(stage)/lib/pkgconfig $(stage)/share/doc/bge
	install -m 755 $(BUILT)/libbge.so $(stage)/lib/libbge.so.$(VERSION)
	ln -sf libbge.so.$(VERSION) $(stage)/lib/$(SONAME)
	ln -sf $(SONAME) $(stage)/lib/libbge.so
	install -m 755 $(RUNTIME) $(stage)/lib/bge/
	install -m 755 $(BUILT)/bge $(stage)/bin/
	install -m 644 include/bge.h bindings/cpp/bge.hpp $(stage)/include/
	for file in bge-config bge-config-version; do \
	    sed 's/@VERSION@/$(VERSION)/; s/@SERIES@/$(SERIES)/; s/@SONAME@/$(SONAME)/' bindings/cpp/$$file.cmake \
	        > $(stage)/lib/cmake/bge/$$file.cmake || exit 1; done
	printf '%s\n' 'prefix=$(prefix)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	    'Name: bge' 'Description: Text embeddings of bge-m3 and its fine-tunes, in process' \
	    'Version: $(VERSION)' 'Libs: -L$${libdir} -lbge' 'Cflags: -I$${includedir}' \
	    > $(stage)/lib/pkgconfig/bge.pc
	for file in $(wildcard LICENSE*); do install -m 644 $$file $(stage)/share/doc/bge/ || exit 1; done
	install -m 644 $(dir $(RUNTIME))LICENSE $(stage)/share/doc/bge/onnxruntime-LICENSE
	install -m 644 $(dir $(RUNTIME))ThirdPartyNotices.txt $(stage)/share/doc/bge/onnxruntime-ThirdPartyNotices.txt

uninstall: ## Remove what install put into PREFIX
	rm -f $(stage)/bin/bge $(stage)/include/bge.h $(stage)/include/bge.hpp $(stage)/lib/pkgconfig/bge.pc
	rm -f $(stage)/lib/libbge.so $(stage)/lib/$(SONAME) $(stage)/lib/libbge.so.$(VERSION)
	rm -rf $(stage)/lib/bge $(stage)/lib/cmake/bge $(stage)/share/doc/bge

java: java-native ## The jar for Java, tested, into the local repository of Maven
	$(MVN) -f bindings/java/pom.xml -Dbge.native=$(abspath $(JAVA))/native -Dbge.build=$(abspath $(JAVA))/build install

java-native: build ## The native libraries that the jar carries
	install -d $(JAVA)/native
	install -m 644 $(BUILT)/libbge_jni.so $(JAVA)/native/
	$(PYTHON) bindings/java/carry.py $(RUNTIME) $(JAVA)/native/libonnxruntime.so
	install -m 644 $(dir $(RUNTIME))LICENSE $(JAVA)/native/onnxruntime-LICENSE
	install -m 644 $(dir $(RUNTIME))ThirdPartyNotices.txt $(JAVA)/native/onnxruntime-ThirdPartyNotices.txt

java-bench: java ## What Java adds to a call of C; JMH=EncodeBenchmark: each way alone
	$(MVN) -q -f bindings/java/bench/pom.xml -Dbge.build=$(abspath $(JAVA))/bench package \
	    dependency:build-classpath -Dmdep.outputFile=$(abspath $(JAVA))/bench/classpath
	$(CC) -O2 -shared -fPIC -Iinclude -I$(JDK)/include -I$(JDK)/include/linux bindings/java/bench/src/main/c.c \
	    -o $(JAVA)/libbgebench.so -L$(BUILT) -lbge -Wl,-rpath,$(abspath $(BUILT))
	BGE_ORT_LIBRARY=$(abspath $(RUNTIME)) java -Djava.library.path=$(JAVA) \
	    -cp $(JAVA)/bench/classes:`cat $(JAVA)/bench/classpath` $(if $(JMH),org.openjdk.jmh.Main $(JMH) -p model=$(DIR),dev.libbge.bench.Overhead $(DIR) $(ARGS))

# What has to be compiled may fail to; the report then says what is missing.
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
