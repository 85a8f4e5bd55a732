# Doorward. `make demo` and `make build` need Go alone; `make test` installs
# what the tests need (Debian packages, npm packages) and runs them all.

GO        ?= go
VERSION   ?= dev
LDFLAGS    = -s -w -X main.version=$(VERSION)
FUZZTIME  ?= 5s
BENCHTIME ?= 200ms
REPEAT    ?= 10m
N         ?= 1000000
SEED      ?= 1
RACE      ?=
# Built as `make build` does, so that what was compiled once serves all.
SHIPPED    = CGO_ENABLED=0 GOFLAGS="$$($(GO) env GOFLAGS) -trimpath"
# The race detector's check of pointers costs SQLite, which is C translated, a
# third of its time, and sees nothing there: that memory is not Go's. (make lint vets.)
RACING     = CGO_ENABLED=1 $(GO) test -vet=off -race -gcflags='modernc.org/...=-d=checkptr=0'

.PHONY: demo build test lint bench fuzz soak repeat shots rename conformance deps clean

demo: ## Alice's last day, on this machine, until Ctrl-C
	@echo 'Building (the first time: half a minute or so)…' >&2
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/doorward ./cmd/doorward
	@bin/doorward demo

build: ## the static binary in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/doorward ./cmd/doorward

deps: ## what the tests need and a fresh machine lacks
	@.ci/deps

test: deps ## everything, with the race detector; then what is timed or long, without it
	$(RACING) -timeout 20m ./...
	$(SHIPPED) $(GO) test -vet=off -run 'Within|Under' -count=1 ./cmd/... ./internal/gateway/...
	$(SHIPPED) $(GO) test -vet=off -run '^TestBad|^Test(Soak|Isolation)$$' -count=1 ./authserver
	cd examples/embed && $(SHIPPED) $(GO) vet ./... && $(SHIPPED) $(GO) test ./...
	cd examples/upstream && $(SHIPPED) $(GO) vet ./... && $(SHIPPED) $(GO) test ./...

lint: ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(SHIPPED) $(GO) vet ./...
	cd bench/peers && $(SHIPPED) $(GO) vet ./...
	$(SHIPPED) $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

conformance: build ## the official MCP conformance suite: our client and our server
	@.ci/conformance

bench: ## what requests cost beside bare programs and other servers: bench/RESULTS.md (BENCHTIME=5s: longer)
	$(GO) run ./bench/run -peers -time $(BENCHTIME)

fuzz: ## every fuzz target for FUZZTIME
	@.ci/fuzz $(FUZZTIME)

soak: ## N=1000000 seeded requests, valid, half-valid and hostile, in memory (SEED=2: others; RACE=1 N=100000: with the race detector)
	DOORWARD_SOAK_N=$(N) DOORWARD_SOAK_SEED=$(SEED) CGO_ENABLED=$(if $(RACE),1,0) $(GO) test $(if $(RACE),-race) -count=1 -timeout 0 -v -run '^Test(Soak|Isolation|IsolationVault|GrantedIsBounded)$$' ./authserver

repeat: ## the tests again and again, with the race detector, for REPEAT (10m, 2h)
	@DOORWARD_SOAK=1 .ci/repeat $(REPEAT)

shots: deps ## every page as a screenshot, in shots/
	DOORWARD_SHOTS=$(CURDIR)/shots $(GO) test -count=1 -run '^TestShots$$' ./interop/browser

rename: ## make rename MODULE=example.com/doorward: another module path
	@test -n "$(MODULE)" || { echo 'usage: make rename MODULE=example.com/doorward' >&2; exit 2; }
	@.ci/rename "$(MODULE)"

clean:
	rm -rf bin
