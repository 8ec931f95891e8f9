# make quickstart   boot a guest and work in it
# make test         run every test, real guests included
# make bench        run the benchmarks and print the ratios
# make fuzz         fuzz what reads strangers' bytes, for FUZZTIME each (default 5s; make test does that, too)
# make lint         check style and common mistakes, of all modules, also as built for other architectures
# make generate     write anew what is generated from the types
#
# Each target installs what it needs; see scripts/setup.sh.

GO ?= go
BENCHTIME ?= 1x
FUZZTIME ?= 5s
TOOL = $(GO) tool -modfile=$(CURDIR)/tools/go.mod
# Modules of their own in this repository, which ./... does not cover. What is in
# benchmarks runs for long, so that only `make bench` runs it.
MODULES = $(patsubst %/go.mod,%,$(wildcard */go.mod examples/*/go.mod))
EXAMPLES = $(filter examples/%,$(MODULES))
# Package and target of what make fuzz runs.
FUZZ = ./qmp:FuzzParse ./qmp:FuzzFrames ./qmp:FuzzClient ./qmp:FuzzAgent ./vm:FuzzLoadConfig ./storage:FuzzQcow2 ./storage:FuzzSnapshotTable \
	./storage:FuzzPercent ./internal/segment:FuzzFrames ./internal/libvirtrpc:FuzzMessages

.PHONY: help setup quickstart test fuzz bench lint lint-module generate clean
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## install QEMU, a C compiler, busybox and a guest kernel, if they are missing
	@scripts/setup.sh

quickstart: setup ## boot a guest, work in it, stop it
	$(GO) run ./examples/quickstart

test: ## run every test with -race; a missing tool or kernel is a failure
	@scripts/setup.sh --test
	MAQET_REQUIRE=1 $(GO) test -race -count=1 -timeout 40m ./...
	@set -e; for m in $(filter-out tools,$(MODULES)); do \
		echo "cd $$m && $(GO) vet ./..."; (cd "$$m" && $(GO) vet ./...); done
	@set -e; for m in $(EXAMPLES); do echo "cd $$m && $(GO) test -race -count=1 ./..."; \
		(cd "$$m" && MAQET_REQUIRE=1 $(GO) test -race -count=1 -timeout 20m ./...); done
	@$(MAKE) --no-print-directory fuzz

# Minimizing what is new takes longer than looking for it, so it is kept short.
fuzz: ## fuzz the QMP client, the agent's dialect, configuration files, images, qemu-img's words, frames and libvirt's messages
	@set -e; for f in $(FUZZ); do pkg=$${f%:*}; name=$${f#*:}; \
		echo "$(GO) test $$pkg -run '^$$' -fuzz '^$$name\$$' -fuzztime $(FUZZTIME)"; \
		out=$$($(GO) test "$$pkg" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -parallel=1 -fuzzminimizetime 20x 2>&1) || \
			{ echo "$$out"; exit 1; }; \
		echo "$$out" | tail -n 1; done

bench: ## run the benchmarks
	@scripts/setup.sh --test
	cd benchmarks && MAQET_REQUIRE=1 $(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 90m ./...

# The last two lines find what does not compile elsewhere; the first run of each compiles
# Go's own library.
lint: ## gofmt, vet, staticcheck, errcheck, revive (revive.toml), shellcheck if there is one
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted by gofmt:"; echo "$$files"; exit 1; fi
	@set -e; for m in . $(EXAMPLES); do $(MAKE) --no-print-directory lint-module M=$$m; done
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck -x scripts/*.sh .ci/run; fi
	GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./...
	GOARCH=riscv64 CGO_ENABLED=0 $(GO) vet ./...

# errcheck leaves guest/init out: the first process of a guest has nobody to report to.
lint-module:
	cd $(M) && $(GO) vet ./...
	cd $(M) && $(TOOL) staticcheck ./...
	cd $(M) && $(TOOL) errcheck -ignoretests -exclude $(CURDIR)/tools/errcheck.txt $$($(GO) list ./... | grep -v '/guest/init$$')
	cd $(M) && $(TOOL) revive -config $(CURDIR)/revive.toml -set_exit_status ./...

generate: ## write maqet.schema.json and docs/config.md, which the tests compare with the types
	$(GO) generate ./...

clean: ## remove what the targets above built here; caches in the home folder stay
	$(GO) clean ./...
