# Vogter: what a developer and the checks on a change run.

GOLANGCI  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
PKG       ?= ./...
TESTFLAGS ?=
FUZZTIME  ?= 30s
SCALE     ?= full

.DEFAULT_GOAL := help
.PHONY: help run prepare build build-aws test test-aws check generate lint vet verify soak bench bench-engine fuzz clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Run the whole platform on this machine; data lies in .local
	bin/vogter local

prepare: build ## Build and install what the platform needs on this machine, once
	bin/vogter local --prepare

build: ## Build bin/vogter
	go build -o bin/vogter ./cmd/vogter

test: prepare ## Run all tests in their small sizes (TESTFLAGS=-race, PKG=./internal/vault)
	go test $(TESTFLAGS) -timeout 30m $(PKG)

build-aws: ## Build bin/vogter-aws, which keeps master keys in AWS KMS
	cd deploy/aws && go build -o ../../bin/vogter-aws .

test-aws: ## Test the adapter of AWS KMS, against a stand-in
	cd deploy/aws && go vet ./... && go test $(TESTFLAGS) ./...

check: generate lint vet verify ## Generated code is current, lint, vet, module sums

generate: ## Generate; fail when that changes a file
	@set -e; state() { git status --porcelain --untracked-files=all; git diff HEAD; }; \
	before=$$(state | sha256sum); go generate ./...; after=$$(state | sha256sum); \
	if [ "$$before" != "$$after" ]; then \
		git status --short; echo "go generate changed files: commit them" >&2; exit 1; \
	fi

lint: ## Run golangci-lint
	go run $(GOLANGCI) run

vet: ## Run go vet
	go vet ./...

verify: ## Check the sums of all modules
	go mod verify

soak: prepare ## Run all tests in their full sizes (SCALE); takes hours
	VOGTER_SCALE=$(SCALE) go test -timeout 0 $(TESTFLAGS) $(PKG)

bench: prepare ## Run the benchmarks, small; in their stated sizes with VOGTER_SCALE=full
	go test -run '^$$' -bench . -benchmem -timeout 0 $(PKG)

bench-engine: ## Measure the document engine against bare Pebble and a canned server, in the sizes of its goals
	VOGTER_SCALE=full go test -run '^$$' -bench . -benchtime 1x -timeout 0 ./internal/embedded/mongod

fuzz: ## Run each fuzz target for FUZZTIME
	@set -e; for pkg in $$(go list $(PKG)); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg; \
		done; \
	done

clean: ## Remove what was built; .local and the cache of built parts stay
	rm -rf bin
	go clean -testcache
