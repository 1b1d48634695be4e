# make test: everything, on a fresh machine. make help: the rest.

GO       ?= go
GOFUMPT  := mvdan.cc/gofumpt@v0.12.0
STATIC   := honnef.co/go/tools/cmd/staticcheck@v0.8.2
VULN     := golang.org/x/vuln/cmd/govulncheck@v1.8.0
FUZZTIME ?= 20s
SOAKTIME ?= 10m
HOSTS    ?= 1000
REAL     ?= 300
N        ?= 3

# The rooms whose tests run under the race detector. The folders of test/ but test/gateway run real programs, real
# browsers and real peers, one folder after the other: together they would be too much for two cores.
REAL_ROOMS = $(filter-out %/test/gateway,$(shell $(GO) list ./test/...))
ROOMS      = $(filter-out $(REAL_ROOMS),$(shell $(GO) list ./...))

.PHONY: help test deps web web-check unit fuzz real soak meet lint bench bench-web attack demo fleet fleet-sim send

help:
	@echo 'make test       install what is missing, then run every test'
	@echo 'make web        build what browsers get: web/dist'
	@echo 'make unit       the tests of each room, with the race detector'
	@echo 'make fuzz       each fuzz target for $(FUZZTIME)'
	@echo 'make real       real peers, real browsers, and 100 sessions for a minute'
	@echo 'make soak       what moves bytes, for longer: 100 sessions, and short circuits on each network, $(SOAKTIME) each'
	@echo 'make meet       $(HOSTS) hosts that meet on one topic in a simulation, and $(REAL) real ones'
	@echo 'make send       swarm send of 1 GiB through a gateway that is killed in the middle'
	@echo 'make lint       gofumpt, go vet, staticcheck, go mod tidy, govulncheck'
	@echo 'make bench      latencies of joining and of further streams, and throughput'
	@echo 'make bench-web  the web client in Chromium and Firefox'
	@echo 'make attack     a gateway under attack, and what honest clients feel of it: a table'
	@echo 'make demo       a gateway with a peer to talk to'
	@echo 'make fleet      $(N) gateways that find each other, N=... of them'
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

unit:
	$(GO) test -race -shuffle=on -timeout 20m $(ROOMS)

fuzz:
	$(GO) test ./wtproto -run '^$$' -fuzz '^FuzzControlReader$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./wtproto -run '^$$' -fuzz '^FuzzFirstFrame$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./wtproto -run '^$$' -fuzz '^FuzzGatewayURL$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./client/messages -run '^$$' -fuzz '^FuzzReceive$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
	$(GO) test ./internal/proxied -run '^$$' -fuzz '^FuzzReadHeader$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x

real:
	$(GO) test -shuffle=on -count=1 -p 1 -parallel 4 -timeout 20m $(REAL_ROOMS)

soak:
	$(GO) test -count=1 -timeout 0 -v -run '^(TestSoak|TestShortCircuits)$$' ./test/program -soak $(SOAKTIME) -short-circuits $(SOAKTIME)

send:
	$(GO) test -count=1 -v -timeout 30m -run '^TestSendOutlivesAKilledGateway$$' ./test/program -send-size 1073741824

meet:
	$(GO) test -count=1 -v -timeout 60m -run '^(TestMeetingsSimulation|TestCrowd)$$' ./discovery/p2p -hosts $(HOSTS) -real-hosts $(REAL)

lint:
	unformatted=$$($(GO) run $(GOFUMPT) -l .) && test -z "$$unformatted" || { echo "gofumpt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATIC) ./...
	$(GO) mod tidy -diff
	test/govulncheck.sh $(VULN)

bench:
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 20m ./bench

demo:
	$(GO) run ./cmd/server --demo

fleet:
	$(GO) run ./deploy/fleet -n $(N)

fleet-sim:
	$(GO) test -count=1 -timeout 60m -v -run '^TestFleet$$' ./server -fleet-gateways 50 -fleet-clients 5000 -fleet-topics 500 -fleet-minutes 10
