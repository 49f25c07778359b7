# Two commands for a newcomer: `make run` and `make test`. Both set up what they need in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Asked for by this exact version, pip takes a CPU build where one is offered.
TORCH  := torch==2.13.0
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Options of `make run`
FOR ?= 0
RATE ?= 0
STORE ?= .realm
PORT_OFFSET ?= 0
CORPUS ?=
FOLLOW ?=
REPORT ?=

# Option of `make constraints`
UPGRADE ?=

.PHONY: help run site test-wheel test test-claims test-all lint protos client constraints clean images preflight test-deploy test-cluster test-observe chaos-tools

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 16

run: $(VENV)/standalone.done ## the cluster on this machine; FOR=seconds RATE=questions/s CORPUS=path FOLLOW=yes REPORT=file.json STORE=folder QDRANT=url
	@$(BIN)/realm up --store "$(STORE)" --for $(FOR) --rate $(RATE) --port-offset $(PORT_OFFSET) \
	  $(if $(CORPUS),--corpus "$(CORPUS)") $(if $(FOLLOW),--follow) $(if $(QDRANT),--qdrant "$(QDRANT)") $(if $(REPORT),--report "$(REPORT)")

# Clusters come first (tests/conftest.py) and wait now and then: three processes for two cores.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder
# Else each of them, and each process of a cluster, would compile the same modules again.
test test-claims test-all: export PYTHONDONTWRITEBYTECODE :=

test: lint ## everything that is quick; nine to fifteen minutes on two cores
	$(BIN)/python -m pytest -m "not slow and not claims" $(PARALLEL)

test-claims: $(VENV)/dev.done ## the short forms of the benches, the paper's claim; about five minutes more
	$(BIN)/python -m pytest -m "claims and not slow" $(PARALLEL)

test-all: lint ## all of these, and the slow tests
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint protos
	$(BIN)/python -m tools.protos --check
	$(BIN)/python -m tools.blocking_client --check
	$(BIN)/python -m tools.metrics_docs --check
	$(BIN)/python -m tools.dashboards --check
	$(BIN)/python -m tools.prometheus_rule --check

protos: $(VENV)/dev.done ## make the gRPC stubs again after a change of the API
	$(BIN)/buf lint protos
	$(BIN)/python -m tools.protos

client: $(VENV)/dev.done ## make the blocking client again after a change of the asyncio one
	$(BIN)/python -m tools.blocking_client

constraints: ## pin what pyproject.toml needs, with hashes; UPGRADE=yes takes what is newest today
	sh tools/constraints.sh "$(PYTHON)" "$(TORCH)" "$(UPGRADE)"

site: $(VENV)/dev.done ## the documentation as a site, in build/site
	$(BIN)/python -m mkdocs build --quiet

test-wheel: $(VENV)/dev.done ## a wheel, installed in an empty environment: does it run a cluster?
	$(BIN)/python -m pytest tests/deploy/test_wheel.py

clean: ## remove what was installed; the store stays
	rm -rf $(VENV) build *.egg-info

$(VENV)/venv.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "realm needs Python 3.11 or newer; name one with PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/%.done: $(VENV)/venv.done pyproject.toml constraints.txt
	@$(PYTHON) tools/locked.py constraints.txt build $* > $(VENV)/locked.txt
	@$(PYTHON) tools/locked.py constraints.txt > $(VENV)/versions.txt
	$(PIP) --require-hashes --no-deps --requirement $(VENV)/locked.txt
	$(PIP) "$(TORCH)"
	@# Brings what only another platform or Python needs.
	$(PIP) --constraint $(VENV)/versions.txt --no-build-isolation --editable ".[$*]"
	@# As pip does for what it installs: where imports write nothing, each start would compile anew.
	$(BIN)/python -m compileall -q realm services
	@touch $@

# Options of the targets below
REGISTRY ?=
TAG ?= 0.1.0
BASE_IMAGE ?=
PIP_INDEX ?=
TORCH_CPU_INDEX ?=
WHEELHOUSE ?=
OVERLAY ?= cluster

# The proxy between the processes of a cluster under chaos.
TOXIPROXY := github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0

chaos-tools: $(BIN)/toxiproxy-server ## what `python -m bench chaos` needs: libfaketime, toxiproxy (a minute, no root)

$(BIN)/toxiproxy-server: $(VENV)/chaos.done
	GOPATH=$(abspath $(VENV))/go GOCACHE=$(abspath $(VENV))/go/cache GOBIN=$(abspath $(VENV))/go/bin \
	  GOFLAGS=-modcacherw GOTOOLCHAIN=local $(BIN)/go install $(TOXIPROXY)
	mv $(VENV)/go/bin/server $@
	rm -rf $(VENV)/go

images: $(VENV)/dev.done ## build and push the images: REGISTRY=registry/path TAG=0.1.0
	@test -n "$(REGISTRY)" || { echo "name where the images go: make images REGISTRY=registry/path"; exit 1; }
	$(BIN)/python -m tools.images --registry "$(REGISTRY)" --tag "$(TAG)" --base "$(BASE_IMAGE)" \
	  --index "$(PIP_INDEX)" --cpu-index "$(TORCH_CPU_INDEX)" --wheelhouse "$(WHEELHOUSE)"

preflight: $(VENV)/dev.done ## what does the cluster lack that kubectl talks to? OVERLAY=cluster
	@$(BIN)/python -m tools.preflight --overlay "$(OVERLAY)"

test-deploy: $(VENV)/dev.done ## manifests, rules, images as far as this machine can
	sh tools/test_deploy.sh $(BIN)/python

test-cluster: $(VENV)/dev.done ## a real Kubernetes here, the overlay `local` on it: rolled, killed, drained, restored (root, Go, Debian)
	$(BIN)/python -m tools.cluster test

test-observe: $(VENV)/dev.done ## metrics, alerts, traces, report against a real Prometheus and browser, from Debian
	sh tools/install_prometheus.sh
	$(BIN)/python -m pytest tests/observe
