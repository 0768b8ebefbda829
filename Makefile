# make help lists the targets.

GO        ?= go
TOOL       = $(GO) tool -modfile=tools/go.mod
STATIC     = CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w'
COMPOSE   ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
OFFLINE   ?=
FILES      = -f deploy/docker-compose.yml $(if $(OFFLINE),-f deploy/compose.offline.yml)
CLUSTER    = $(COMPOSE) --project-directory deploy $(FILES) -p serin
# A consul that is already there is used instead of building one.
CONSUL     = $(or $(CONSUL_BIN),$(shell command -v consul 2>/dev/null),bin/consul)
INSTANCE  ?=

.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-zA-Z%-]*:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/lb and bin/demo-service
	@mkdir -p bin
	$(STATIC) -o bin/ ./cmd/lb ./cmd/demo-service

dev: build ## run everything in one process: Consul stand-in, three instances, load, balancer
	bin/lb dev $(ARGS)

test: consul ## everything that CI runs: vet, staticcheck, unit and race tests, end to end, compose
	$(MAKE) --no-print-directory check unit e2e

test-full: consul build ## the end-to-end tests at full size (about 20 minutes), see docs/TESTING.md
	SERIN_SCALE=full CONSUL_BIN=$(abspath $(CONSUL)) $(GO) test -count=1 -p=1 -timeout=180m -v ./e2e ./deploy

check: ## go vet, staticcheck, gofumpt, and the module graph
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	@out=$$($(TOOL) gofumpt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not gofumpt-ed (make format):"; echo "$$out"; exit 1; }
	@$(GO) mod verify >/dev/null && $(GO) list -m all >/dev/null

format: ## gofumpt all files
	$(TOOL) gofumpt -w $$(git ls-files '*.go')

UNIT = $$($(GO) list ./... | grep -v -e '/e2e$$' -e '/deploy$$')

unit: ## unit tests with the race detector, and the seeds of the fuzz targets
	CONSUL_BIN=$(abspath $(CONSUL)) $(GO) test -race -timeout=10m $(UNIT)

e2e: build ## end-to-end tests with the real binaries, a real Consul and the compose cluster
	CONSUL_BIN=$(abspath $(CONSUL)) $(GO) test -count=1 -p=1 -timeout=45m -v ./e2e ./deploy

fuzz: ## every fuzz target for FUZZTIME (default 60s) each
	@for p in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$p/*_test.go | cut -c6-); do \
	    echo "$$p $$f"; $(GO) test $$p -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),60s) || exit 1; done; done

bench: build ## CPU per request against nginx and HAProxy, and the Go benchmarks; see docs/BENCHMARKS.md
	$(GO) run ./e2e/bench $(ARGS)
	$(GO) test -run '^$$' -bench . -benchmem ./route ./proxy/... ./canary/...

bench-follow: consul ## how soon a change in Consul reaches the traffic, at 10, 2,000 and 10,000 services (about an hour; not in CI); see docs/BENCHMARKS.md
	CONSUL_BIN=$(abspath $(CONSUL)) $(GO) run ./e2e/benchfollow $(ARGS)

consul: $(CONSUL) ## build the pinned Consul once (about 8 minutes where nothing is cached)

bin/consul: tools/consul/go.mod
	@mkdir -p bin
	@echo "building Consul $$(awk '/hashicorp\/consul v/{print $$3; exit}' tools/consul/go.mod) from source: about 8 minutes on two cores where nothing is cached, a minute otherwise"
	@cd tools/consul && { CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o ../../bin/consul github.com/hashicorp/consul & pid=$$!; \
	  s=0; while kill -0 $$pid 2>/dev/null; do sleep 1; s=$$((s+1)); test $$((s % 20)) -ne 0 || echo "  $$s s: $$(pgrep -c compile || true) compilers running"; done; wait $$pid; }
	@bin/consul version | head -1

# What the images are made of; static, so that FROM scratch is enough.
dist/image: build $(CONSUL)
	@rm -rf dist/image && mkdir -p dist/image/empty
	@cp bin/lb bin/demo-service dist/image/ && cp $(CONSUL) dist/image/consul
	@cp $$(command -v busybox || echo /bin/busybox) dist/image/busybox 2>/dev/null || true

images: dist/image ## build the local images (FROM scratch, from binaries built here)
	@for t in lb demo-service consul; do docker build -q -f deploy/Dockerfile.local --target $$t -t serin/$$t:local dist/image >/dev/null && echo "built serin/$$t:local"; done

tools-image: dist/image
	@test -f dist/image/busybox || { echo "make attach needs a static busybox: apt-get install busybox-static"; exit 1; }
	@docker build -q -f deploy/Dockerfile.local --target tools -t serin/tools:local dist/image >/dev/null

# down before up: docker-compose 1.29 cannot recreate containers on recent engines.
up: $(if $(OFFLINE),images) ## start the compose cluster (OFFLINE=1: without pulling anything)
	$(CLUSTER) down --remove-orphans
	$(CLUSTER) up -d $(if $(OFFLINE),--no-build,--build)
	@echo "traffic http://127.0.0.1:$${LB_PORT:-9999}   admin http://127.0.0.1:$${LB_ADMIN_PORT:-9998}   Consul http://127.0.0.1:$${CONSUL_PORT:-8500}"

down: ## stop the compose cluster and remove its data
	$(CLUSTER) down --remove-orphans --volumes

attach-%: $(if $(OFFLINE),tools-image) ## a shell in the network of a service of the cluster (attach-lb, attach-web-v1 …; OFFLINE=1 as for up)
	@id=$$($(CLUSTER) ps -q $* | head -n 1); test -n "$$id" || { echo "no container of $* is running (make up)"; exit 1; }; \
	  docker run --rm -it --network "container:$$id" \
	  $(if $(OFFLINE),serin/tools:local,--entrypoint /bin/sh alpine:3.22)

maintenance-on: ## take one instance of web out (INSTANCE=id; default: the first of v1)
	@deploy/maintenance.sh on $(INSTANCE)

maintenance-off: ## put back what is out
	@deploy/maintenance.sh off $(INSTANCE)

clean: ## remove what was built, but Consul
	rm -rf dist bin/lb bin/demo-service

.PHONY: help build dev test test-full check format unit e2e fuzz bench bench-follow consul images tools-image up down maintenance-on maintenance-off clean dist/image
