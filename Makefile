# SPDX-License-Identifier: Apache-2.0
# One command per job, the same by hand and in CI. Everything lands in .venv and build/.
VENV ?= .venv
PY := $(VENV)/bin/python
OUT ?= out
# Folders of the package stand for their lists of files, which the editable install keeps.
SOURCES := $(shell git ls-files cpp python/bindings cmake CMakeLists.txt pyproject.toml 2>/dev/null) \
    $(shell find python/trtpose python/_trtpose_start -type d -not -name __pycache__)

.DEFAULT_GOAL := help
.PHONY: help demo test test-python test-cpp lint stubs docs sanitize fuzz wheel-test wheels bench soak kill-test gpu-test gpu-bench \
    findings clean servers

help:
	@echo "make demo        poses drawn on pictures, into $(OUT)/demo"
	@echo "make test        all tests of this machine"
	@echo "make test-python one half of them, or T=tests/python/test_x.py::test_y alone"
	@echo "make test-cpp    the other half, or T=Suite or T=Suite.Name alone"
	@echo "make servers     GStreamer's RTSP server, Chromium and zsh, by apt-get, for the tests that use them"
	@echo "make lint        format, style, types, layers, sizes, stubs, Dockerfiles, the site of docs/"
	@echo "make docs        the site of docs/ alone, into build/site"
	@echo "make sanitize    C++ tests under AddressSanitizer, UBSan and ThreadSanitizer"
	@echo "make fuzz        S=60 seconds of every fuzz target, or T=onnx alone"
	@echo "make wheel-test  build the wheel and try it in an empty environment, or WHEEL=dist/x.whl alone"
	@echo "make wheels      wheels for other machines, into dist/"
	@echo "make bench       CPU benchmarks, into benchmarks/results"
	@echo "make soak        long use: memory, and every thread the same; or S=20000 inferences and E=200 engines"
	@echo "make kill-test   100 commands of each kind killed at random moments, or N=10"
	@echo "make gpu-test    tests that need an NVIDIA GPU"
	@echo "make gpu-bench   figures that need an NVIDIA GPU"
	@echo "make findings    surprises about other software, seen again (fetches packages)"

# The package with its native part, made again when a native source is newer or a module came or went.
$(VENV)/.package: $(SOURCES) tools/setup.sh
	tools/setup.sh package "$(VENV)"
	@touch $@

$(VENV)/.test: $(VENV)/.package
	tools/setup.sh test "$(VENV)"
	@touch $@

$(VENV)/.lint: pyproject.toml $(VENV)/.package
	tools/setup.sh lint "$(VENV)"
	@touch $@

# Clang too, where it can be had; what lacks it is skipped and counted.
$(VENV)/.fuzz: $(VENV)/.test
	tools/setup.sh fuzz "$(VENV)"
	@touch $@

demo: $(VENV)/.package
	$(VENV)/bin/trtpose demo --out "$(OUT)/demo"

test: test-cpp test-python

test-python: $(VENV)/.test
	$(PY) -m pytest $(if $(T),"$(T)")

# One test needs no package made again: the tests of C++ are a build of their own.
test-cpp: $(if $(and $(T),$(wildcard $(VENV)/.test)),,$(VENV)/.test)
	tools/cpp_tests.sh cpu-dev "$(VENV)" "$(T)"

# GStreamer's RTSP server, Chromium and zsh for the tests that use them, which are skipped where they are missing.
servers:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gir1.2-gst-rtsp-server-1.0 python3-gi \
	    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly chromium zsh

lint: $(VENV)/.lint
	tools/lint.sh "$(VENV)"

docs: $(VENV)/.lint
	PATH="$(abspath $(VENV))/bin:$$PATH" NO_MKDOCS_2_WARNING=1 mkdocs build

stubs: $(VENV)/.lint
	$(PY) tools/gen_stubs.py

sanitize: $(VENV)/.test
	tools/cpp_tests.sh cpu-asan "$(VENV)"
	tools/cpp_tests.sh cpu-tsan "$(VENV)"

fuzz: $(VENV)/.fuzz
	PATH="$(abspath $(VENV))/bin:$$PATH" $(PY) tools/fuzz.py --seconds "$(or $(S),60)" $(if $(J),--jobs "$(J)") $(T)

wheel-test: $(if $(WHEEL),,$(VENV)/.package)
	tools/wheel_test.sh $(if $(WHEEL),"$(WHEEL)" $(PYTHON),"$(VENV)")

wheels:
	tools/release_wheels.sh

bench: $(VENV)/.test
	tools/bench.sh "$(VENV)"

soak: $(VENV)/.test
	$(PY) tools/soak.py --inferences $(or $(S),200000) --engines $(or $(E),2000)

kill-test: $(VENV)/.test
	$(PY) tools/kill_test.py --kills $(or $(N),100)

gpu-test:
	tools/gpu_test.sh

gpu-bench:
	tools/gpu_bench.sh

findings:
	tools/run_findings.sh

clean:
	rm -rf build $(VENV) $(OUT)
