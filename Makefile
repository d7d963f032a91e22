# Two commands do all set-up from python3 (3.11 or newer), pip and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help demo test test-all test-cluster lint generate verify chart-tools lock clean
help:            ## list the tasks
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(STAMP): requirements/dev.txt client/pyproject.toml server/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Slipway needs Python 3.11 or newer; name one with make PYTHON=python3.12 …")'
	@[ "$$($(BIN)/python -V 2>&1)" = "$$($(PYTHON) -V 2>&1)" ] || rm -rf .venv  # packages of another Python
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --use-pep517 -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e client -e server
	@touch $@

demo: $(STAMP)   ## from a corpus to a compiled program answering over gRPC, without key, server or network
	@$(BIN)/python -m slipway_server.demo

test: $(STAMP)   ## lint, verify what is generated, unit and integration tests (under 10 minutes)
	@$(MAKE) --no-print-directory lint verify
	$(BIN)/python -m pytest

test-all: test   ## and the long ones
	$(BIN)/python -m pytest -m long

test-cluster: $(STAMP) ## on a real Kubernetes: one given by KUBECONFIG and SLIPWAY_TEST_IMAGE, or one that it starts here
	scripts/chart-tools && { [ -n "$$SLIPWAY_TEST_IMAGE" ] || \
	  { scripts/image serve && scripts/image full && VOLUMES=glusterfs tests/cluster/cluster build; }; } || echo "not on this machine: the tests skip"
	$(BIN)/python -m pytest -m cluster tests/cluster --durations=15

lint: $(STAMP)   ## ruff, mypy --strict, buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy client/src server/src
	$(BIN)/buf lint

generate: $(STAMP) ## make every generated file anew
	scripts/stubs generate
	$(BIN)/python scripts/docs.py generate
	$(BIN)/python scripts/chart.py generate

verify: $(STAMP) ## fail where a generated file is stale
	scripts/stubs verify
	$(BIN)/python scripts/docs.py verify
	$(BIN)/python scripts/chart.py verify

chart-tools:     ## build Helm 3 and 4, once, for the tests of the chart; needs Go
	scripts/chart-tools

lock: $(STAMP)   ## pin every dependency with its hashes
	scripts/lock

clean:           ## remove what the other tasks made
	rm -rf .venv .slipway
