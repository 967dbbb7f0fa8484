# The two commands: `make demo` and `make test`. Both install what they need on Debian or Ubuntu.
SHELL := /bin/sh
export PATH := $(CURDIR)/build/tools/go/bin:$(PATH)
export GOFLAGS ?= -buildvcs=false

NATIVE := build/native
LAUNCHER := $(shell command -v ccache >/dev/null 2>&1 && echo -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
# The go command does not see changes of the native archive: its hash in the link flags makes it link again.
LINK = -ldflags "-X github.com/stepd/stepd/cgo.library=$$(sha256sum $(NATIVE)/libstepd_core.a | cut -c1-12)"
CMAKE = cmake -G Ninja $(LAUNCHER) -S . -B

.PHONY: help build demo tutorial environments test check native-test sanitize go-test reference bench latency abuse crash format install clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

install:
	@third_party/install.sh

native: install
	@$(CMAKE) $(NATIVE) >/dev/null
	@cmake --build $(NATIVE) --target stepd_core
.PHONY: native

build: native ## bin/stepd
	@mkdir -p bin
	go build $(LINK) -o bin/stepd ./cmd/stepd

demo: build ## trains a small model on sixteen emoji through the HTTP API; results in build/demo
	go run ./examples/emoji

tutorial: build ## the printed commands of SimpleTuner's API tutorial against stepd: make tutorial TUTORIAL=FILE
	go run ./examples/tutorial -document "$(TUTORIAL)"

environments: install ## works on every environment of a folder, as SimpleTuner's examples, through the API: make environments EXAMPLES=DIR
	@test -n "$(EXAMPLES)" || { echo "name the folder: make environments EXAMPLES=DIR"; exit 2; }
	go test ./server -count=1 -run 'TestEnvironmentsOfTheOriginal' -v -args -environments="$(abspath $(EXAMPLES))"

NATIVE_SOURCES := find native \( -name '*.cpp' -o -name '*.h' \) ! -path '*/stepd/stepd.h'

test: check native-test go-test sanitize ## everything that must pass before a change lands
	@echo "all tests passed"

check: install ## formatters, vet, package documentation, import arrows
	@test -z "$$(gofmt -l cmd cgo server sessions internal examples)" || { gofmt -l cmd cgo server sessions internal examples; echo "run: make format"; exit 1; }
	@if clang-format --version | grep -q 'version 14'; then $(NATIVE_SOURCES) | xargs clang-format --dry-run -Werror; \
	else echo "the format of C++ files is not checked: that needs clang-format 14"; fi

native-test: native
	@cmake --build $(NATIVE)
	$(NATIVE)/stepd_tests --gtest_brief=1

go-test: build
	go vet ./...
	go test $(LINK) -race -shuffle=on ./...

# Little optimisation: these builds are for finding faults, and compile in half the time.
SANITIZED := -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1

sanitize: install ## native tests under the address, undefined-behaviour and thread sanitizers
	@$(CMAKE) build/asan -DSTEPD_SANITIZE=address,undefined $(SANITIZED) >/dev/null
	@cmake --build build/asan --target stepd_tests
	build/asan/stepd_tests --gtest_brief=1
	@$(CMAKE) build/tsan -DSTEPD_SANITIZE=thread $(SANITIZED) >/dev/null
	@cmake --build build/tsan --target stepd_pool_tests
	build/tsan/stepd_pool_tests --gtest_brief=1

reference-binary: native
	@cmake --build $(NATIVE) --target stepd_reference
.PHONY: reference-binary

REFERENCE ?= native/tests/testdata/reference
reference: build reference-binary ## golden checks on any folder in the format of the reference data: make reference REFERENCE=DIR
	@native/reference/run.sh "$(REFERENCE)"

bench: build ## training speed of the cases that the PyTorch scripts also run
	bin/stepd bench

latency: build ## how soon a server answers, takes a granted step, and tells its status while it trains
	go run ./internal/latencies

abuse: N ?= 20000
abuse: build ## N generated bad requests to every route of the API, and a crowd of readers of events: make abuse N=20000
	go test ./server -count=1 -run 'Abuse' -v -args -abuse.requests=$(N) -abuse.seed=$$(date +%s)

crash: N ?= 200
crash: build ## kills server and workers N times at random moments of real trainings and checks that nothing is lost
	go run ./internal/crash -n $(N)

format: install ## formats all sources in place
	gofmt -w cmd cgo server sessions internal examples
	$(NATIVE_SOURCES) | xargs clang-format -i

clean:
	rm -rf build bin
