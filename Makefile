# make test: everything, on a fresh machine. make help: the rest.

GO       ?= go
GOFUMPT  := mvdan.cc/gofumpt@v0.12.0
STATIC   := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONS  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.7
VULN     := golang.org/x/vuln/cmd/govulncheck@v1.8.0
FUZZTIME ?= 20s
SOAKTIME ?= 10m
SEED     ?= 0
HOSTS    ?= 1000
REAL     ?= 300
N        ?= 3
COUNT    ?= 6

# REAL_ROOMS run real programs, real browsers and real peers: the folders of test/ but test/gateway. ROOMS are all
# others; their tests run under the race detector.
#
# Where the time goes: the tests of a room wait about as long as they compute, mostly for timeouts of the protocol. So
# four rooms run at once, of REAL_ROOMS two, because other programs than ours give up after 10 s if they get too little of
# two cores. Those that take longest begin first, in this order. In test/web, the tests with t.Parallel begin when the
# others, which measure memory and times, have ended.
SLOW       = $(addprefix github.com/swarmgate/swarmgate/,test/web test/soak test/program test/native discovery/p2p test/gateway server)
slow_first = $(filter $(1),$(SLOW)) $(filter-out $(SLOW),$(1))
REAL_ROOMS = $(call slow_first,$(filter-out %/test/gateway,$(shell $(GO) list ./test/...)))
ROOMS      = $(call slow_first,$(filter-out $(REAL_ROOMS),$(shell $(GO) list ./...)))

.PHONY: help test deps web web-check unit fuzz real soak meet lint bench bench-quick bench-compare bench-topics bench-go bench-web bench-old attack demo fleet fleet-sim send release release-check packages image image-context

help:
	@echo 'make test       install what is missing, then run every test'
	@echo 'make web        build what browsers get: web/dist'
	@echo 'make unit       the tests of each room, with the race detector'
	@echo 'make fuzz       each fuzz target for $(FUZZTIME)'
	@echo 'make real       real peers, real browsers, and a soak of a minute'
	@echo 'make soak       clients, peers, topics, tokens and certificates that come and go for $(SOAKTIME); SEED=... again'
	@echo 'make meet       $(HOSTS) hosts that meet on one topic in a simulation, and $(REAL) real ones'
	@echo 'make send       swarm send of 1 GiB through a gateway that is killed in the middle'
	@echo 'make lint       gofumpt, go vet, staticcheck, go mod tidy, actionlint, govulncheck'
	@echo 'make bench      a table of speeds, memory and latencies beside what else one could use, on a quiet machine'
	@echo 'make bench-quick    the same with little of each, to see that it runs'
	@echo 'make bench-compare  the gateway of BASE=<commit> and that of this checkout, in turns'
	@echo 'make bench-topics   what 10,000 topics cost a gateway on which nothing happens, forty minutes'
	@echo 'make bench-go   Go benchmarks for benchstat: of the codec, of copies, of the router and the ledger, and of a gateway in one process'
	@echo 'make bench-web  the web client in Chromium and Firefox, and what secret rooms cost it'
	@echo 'make bench-old  the original, discovery-swarm-stream, and swarmgate side by side, with the same old peers: a table'
	@echo 'make attack     a gateway under attack, and what honest clients feel of it: a table'
	@echo 'make demo       a gateway with a peer to talk to'
	@echo 'make fleet      $(N) gateways that find each other, N=... of them'
	@echo 'make release    dist/ for VERSION=1.2.3: archives, Debian packages, the npm package, and their checksums'
	@echo 'make release-check  two releases of VERSION=1.2.3, in folders and caches of their own, are equal; PLATFORMS=linux/amd64 of these only'
	@echo 'make image      the image of VERSION=1.2.3, of the archives in dist/, with buildah'
	@echo 'make packages   installs the Debian packages on a Debian of its own, and runs the image (root)'
	@echo 'make fleet-sim  50 gateways with 5,000 clients on 500 topics in virtual time, who come, go and die: a table'

test: deps
	$(MAKE) web-check
	$(MAKE) unit
	$(MAKE) fuzz
	$(MAKE) real

deps:
	test/deps.sh

web:
	web/build.sh

web-check:
	web/build.sh check
	npm test --prefix web --silent

attack:
	$(GO) test -tags attack -run TestAttack -count=1 -v -timeout 60m ./test/program

bench-web:
	$(GO) test -tags benchweb -run BenchWeb -count=1 -v -timeout 60m ./test/web

bench-old:
	$(GO) test -tags benchold -run TestBenchOld -count=1 -v -timeout 20m ./bench/old

unit:
	GO="$(GO)" test/race.sh $(ROOMS)

fuzz:
	$(GO) test ./wtproto -run '^$$' -fuzz '^FuzzControlReader$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./wtproto -run '^$$' -fuzz '^FuzzFirstFrame$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./wtproto -run '^$$' -fuzz '^FuzzGatewayURL$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./client/messages -run '^$$' -fuzz '^FuzzReceive$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./client/secret -run '^$$' -fuzz '^FuzzSealed$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./internal/proxied -run '^$$' -fuzz '^FuzzReadHeader$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x

real:
	$(GO) test -shuffle=on -count=1 -p 2 -parallel 4 -timeout 20m $(REAL_ROOMS)

soak:
	$(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./test/soak -soak $(SOAKTIME) -seed $(SEED)

send:
	$(GO) test -count=1 -v -timeout 30m -run '^TestSendOutlivesAKilledGateway$$' ./test/program -send-size 1073741824

meet:
	$(GO) test -count=1 -v -timeout 60m -run '^(TestMeetingsSimulation|TestCrowd)$$' ./discovery/p2p -hosts $(HOSTS) -real-hosts $(REAL)

lint:
	unformatted=$$($(GO) run $(GOFUMPT) -l .) && test -z "$$unformatted" || { echo "gofumpt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATIC) ./...
	$(GO) mod tidy -diff
	cd test/pebble && $(GO) mod tidy -diff
	$(GO) run $(ACTIONS) -shellcheck= -pyflakes=
	test/govulncheck.sh $(VULN)

bench: deps
	$(GO) run ./bench -out bench -plots docs/bench

bench-quick: deps
	$(GO) run ./bench -quick

bench-compare:
	bench/compare.sh '$(BASE)'

bench-topics:
	$(GO) run ./bench -only 'topics at rest'

bench-go:
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 20m ./bench/inprocess
	$(GO) test -run '^$$' -bench . -count $(COUNT) -timeout 60m ./wtproto ./internal/splice ./internal/udp ./server ./client

demo:
	$(GO) run ./cmd/server --demo

fleet:
	$(GO) run ./deploy/fleet -n $(N)

fleet-sim:
	$(GO) test -count=1 -timeout 60m -v -run '^TestFleet$$' ./server -fleet-gateways 50 -fleet-clients 5000 -fleet-topics 500 -fleet-minutes 10

release:
	$(GO) run ./packaging/release -version '$(VERSION)'

image:
	for arch in amd64 arm64; do packaging/image/build.sh '$(VERSION)' $$arch dist || exit; done
	cd dist && sed -i /_image_/d SHA256SUMS && sha256sum swarmgate_*_image_*.tar >>SHA256SUMS

# bin/image is what packaging/image/Containerfile is built in.
image-context:
	mkdir -p bin/image
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/image/swarmgate ./cmd/server
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/image/swarm ./cmd/swarm
	packaging/image/context.sh bin/image bin/image

packages: deps
	$(GO) test -tags packages -count=1 -v -timeout 60m -run '^(TestDebianPackage|TestRunbook|TestImage|TestKubernetesTakesTheManifest)$$' ./test/deploy

release-check:
	packaging/release-check.sh '$(VERSION)' $(PLATFORMS)
