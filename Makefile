# `make demo` and `make test` do all set-up themselves; they need only python3 (3.11 or newer), pip and make.
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

demo: $(STAMP)   ## documents to answers over gRPC; needs no API key and no server
	@$(BIN)/python -m slipway_server.demo

test: $(STAMP)   ## lint, check generated files, run unit and integration tests (under 10 minutes)
	@$(MAKE) --no-print-directory lint verify
	$(BIN)/python -m pytest

test-all: test   ## the same, and the long tests
	$(BIN)/python -m pytest -m long

test-cluster: $(STAMP) ## tests on a real Kubernetes: the one that KUBECONFIG and SLIPWAY_TEST_IMAGE name, or one that it starts
	scripts/chart-tools && { [ -n "$$SLIPWAY_TEST_IMAGE" ] || \
	  { scripts/image serve && scripts/image full && VOLUMES=glusterfs tests/cluster/cluster build; }; } || echo "not on this machine: the tests skip"
	$(BIN)/python -m pytest -m cluster tests/cluster --durations=15

lint: $(STAMP)   ## ruff, mypy --strict, buf
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy client/src server/src
	$(BIN)/buf lint

generate: $(STAMP) ## regenerate every generated file
	scripts/stubs generate
	$(BIN)/python scripts/docs.py generate
	$(BIN)/python scripts/chart.py generate

verify: $(STAMP) ## fail if a generated file is stale
	scripts/stubs verify
	$(BIN)/python scripts/docs.py verify
	$(BIN)/python scripts/chart.py verify

chart-tools:     ## build Helm 3 and 4 once, for the chart's tests; needs Go
	scripts/chart-tools

lock: $(STAMP)   ## pin every dependency, with hashes
	scripts/lock

clean:           ## remove what the other tasks created
	rm -rf .venv .slipway
