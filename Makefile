# make quickstart   boot a guest and work in it
# make test         run every test, real guests included
# make bench        run the benchmarks and print the ratios
# make fuzz         fuzz package qmp, for FUZZTIME each (default 5s; make test does that, too)
# make lint         check style and common mistakes
#
# Each target installs what it needs; see scripts/setup.sh.

GO ?= go
BENCHTIME ?= 1x
FUZZTIME ?= 5s
TOOL = $(GO) tool -modfile=tools/go.mod
# Modules of their own in this repository, which ./... does not cover.
MODULES = $(patsubst %/go.mod,%,$(wildcard */go.mod examples/*/go.mod))

.PHONY: help setup quickstart test fuzz bench lint clean
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
	@$(MAKE) --no-print-directory fuzz

# Minimizing what is new takes longer than looking for it, so it is kept short.
fuzz: ## fuzz the QMP client, the agent's dialect and their parsers
	@set -e; for f in FuzzParse FuzzFrames FuzzClient FuzzAgent; do \
		echo "$(GO) test ./qmp -run '^$$' -fuzz '^$$f\$$' -fuzztime $(FUZZTIME)"; \
		out=$$($(GO) test ./qmp -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -parallel=1 -fuzzminimizetime 20x 2>&1) || \
			{ echo "$$out"; exit 1; }; \
		echo "$$out" | tail -n 1; done

bench: setup ## run the benchmarks
	cd benchmarks && MAQET_REQUIRE=1 $(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) -timeout 60m ./...

# errcheck leaves guest/init out: the first process of a guest has nobody to report to.
lint: ## gofmt, vet, staticcheck, errcheck, revive (revive.toml)
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted by gofmt:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) errcheck -ignoretests -exclude tools/errcheck.txt $$($(GO) list ./... | grep -v '/guest/init$$')
	$(TOOL) revive -config revive.toml -set_exit_status ./...

clean: ## remove what the targets above built here; caches in the home folder stay
	$(GO) clean ./...
