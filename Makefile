# Drupe's one door: `make demo` shows it working, `make test` proves it.
#
#   make            build bin/drupe with everything in it
#   make demo       an embedded cluster runs examples/hello; DEMO_EXIT=1 ends it
#   make test       vet, unit, scenario, simulation and container tests
#   make race       the concurrent packages under the race detector
#   make bench      measures the figures of conformance/BENCHMARKS.md
#   make soak       the simulator and the keeper over many seeds (SEEDS=, NODES=)
#   make conformance CASES=dir   the policy cases, and those of a folder
#   make vm         the container tests in a virtual machine with cgroup v2
#   make generate   what is generated from sources
#   make clean      removes what was built

GO       ?= go
SHELL    := /bin/bash
PLUGINS  := $(patsubst plugins/%/plugin.cue,%,$(wildcard plugins/*/plugin.cue))
EMBEDDED := cmd/serve/embedded
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# What Debian must have installed; see the stamp below.
PACKAGES := gcc libc6-dev libseccomp-dev pkg-config busybox-static e2fsprogs

GOFILES  := $(shell find agent cmd cue isolation kernel sdk -name '*.go' -not -name '*_test.go' 2>/dev/null)
CUEFILES := $(shell find cue -name '*.cue' -not -path '*/testdata/*' 2>/dev/null)
GUESTS   := $(shell find plugins sdk -name '*.go' -not -name '*_test.go' 2>/dev/null)

.PHONY: all demo test race bench soak conformance vm generate clean deps plugins images
.DELETE_ON_ERROR:

all: bin/drupe

# --- what the build needs -----------------------------------------------------

deps: .build/deps
.build/deps: Makefile
	@mkdir -p .build bin
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ] && [ -z "$(NO_APT)" ]; then \
	  if [ "$$(id -u)" != 0 ]; then echo "as root: apt-get install -y$$missing" >&2; exit 1; fi; \
	  echo "installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@touch $@

# --- plugins: Go sources to modules that carry their manifest -------------------

plugins: $(PLUGINS:%=bin/plugins/%.wasm)
bin/plugin-pack: $(GOFILES) $(CUEFILES) | .build/deps
	$(GO) build -o $@ ./cmd/plugin-pack
bin/plugins/%.wasm: plugins/%/plugin.cue bin/plugin-pack $(GUESTS)
	@mkdir -p bin/plugins .build/plugins
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 $(GO) build -buildmode=c-shared -trimpath -ldflags '-s -w' -o .build/plugins/$*.wasm ./plugins/$*
	bin/plugin-pack plugins/$*/plugin.cue .build/plugins/$*.wasm
	mv .build/plugins/$*.wasm $@

# --- the keeper, a small static program of its own -------------------------------

bin/drupe-keeper: $(GOFILES) | .build/deps
	CGO_ENABLED=1 $(GO) build -trimpath -tags 'seccomp netgo osusergo' -ldflags '-s -w -linkmode external -extldflags -static' -o $@ ./cmd/drupe-keeper

# --- what runs WebAssembly modules in containers: static, as it is alone there -----

bin/drupe-wasm: $(wildcard cmd/drupe-wasm/*.go isolation/wasm/*) go.mod | .build/deps
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./cmd/drupe-wasm

# --- drupe: everything in one file -----------------------------------------------

$(EMBEDDED)/keeper.gz: bin/drupe-keeper
	@mkdir -p $(EMBEDDED); gzip -9 -n -c $< > $@
$(EMBEDDED)/wasm-runner.gz: bin/drupe-wasm
	@mkdir -p $(EMBEDDED); gzip -9 -n -c $< > $@
$(EMBEDDED)/%.wasm.gz: bin/plugins/%.wasm
	@mkdir -p $(EMBEDDED); gzip -9 -n -c $< > $@
bin/drupe: $(GOFILES) $(CUEFILES) go.mod $(EMBEDDED)/keeper.gz $(EMBEDDED)/wasm-runner.gz $(PLUGINS:%=$(EMBEDDED)/%.wasm.gz) | .build/deps
	$(GO) build -trimpath -ldflags '-s -w -X github.com/drupe-os/drupe/cmd/cli.Version=$(VERSION)' -o $@ ./cmd/drupe

# --- images of the examples, built without a container engine ---------------------

images: bin/images/hello bin/images/job bin/images/misbehave bin/images/redis bin/wasm/hello.wasm
bin/wasm/hello.wasm: $(wildcard examples/wasm/*.go)
	@mkdir -p bin/wasm
	GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./examples/wasm
bin/imagebuild: $(wildcard cmd/imagebuild/*.go sdk/*.go sdk/oci/*.go) | .build/deps
	$(GO) build -o $@ ./cmd/imagebuild
bin/images/redis: bin/imagebuild
	bin/imagebuild -out $@ -tag latest -deb redis-server -entrypoint /usr/bin/redis-server
	@touch $@
bin/images/%: examples/%/main.go bin/imagebuild
	@mkdir -p .build/examples bin/images
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o .build/examples/$* ./examples/$*
	bin/imagebuild -out $@ -tag latest -file /bin/$*=.build/examples/$* -entrypoint /bin/$*
	@touch $@

# --- use ---------------------------------------------------------------------------

demo: bin/drupe bin/images/hello
	@mkdir -p .build; $(GO) build -o .build/demo ./examples/demo
	@exec .build/demo -drupe bin/drupe -examples examples -cache .build/cache $(if $(DEMO_EXIT),-exit)

test: bin/drupe plugins images
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

race: bin/drupe plugins images
	$(GO) test -race -timeout 20m ./kernel ./kernel/stream ./kernel/dispatch ./kernel/gate ./kernel/host ./agent/...

bench: bin/drupe plugins images
	$(GO) run ./conformance/bench

SEEDS ?= 200
NODES ?= 1000
soak: plugins
	$(GO) test -timeout 0 -count=1 ./conformance/sim -run TestSeeds -sim.seeds $(SEEDS) -sim.nodes $(NODES) -v
	$(GO) test -timeout 0 -count=1 ./isolation/runc -run TestChaos -chaos.seeds $(SEEDS) -chaos.steps 40

conformance: plugins
	CASES=$(abspath $(CASES)) $(GO) test -count=1 ./conformance/policy -v

# A kernel with version 2 of cgroups is unpacked and not installed; apt checks
# its signature.
VM_PACKAGES := qemu-system-x86 busybox-static e2fsprogs
.build/vm/kernel/.stamp: | .build/deps
	@missing=""; for p in $(VM_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
	@rm -rf .build/vm; mkdir -p .build/vm
	p=$$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $$2; exit}') && \
	cd .build/vm && apt-get download -qq $$p && dpkg -x $$p*.deb kernel && rm $$p*.deb
	@touch $@
vm: bin/drupe-keeper .build/vm/kernel/.stamp
	$(GO) run ./conformance/vm $(VM)

generate:
	$(GO) generate ./...

clean:
	rm -rf bin .build $(EMBEDDED)/*.gz
