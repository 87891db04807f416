# `make` alone says what there is. Everything is installed into .venv (and .venv-official for the official messages).

SHELL := /bin/sh
PYTHON ?= python3.11
PYTHON_FOUND := $(shell command -v $(PYTHON) || command -v python3)
BIN := .venv/bin
OFFICIAL := .venv-official/bin
LISTEN ?= 127.0.0.1:8080
MODE ?= block
CRS_DIR ?= ../shared/crs
export CRS_DIR
PYTEST := $(BIN)/python -m pytest
# Built images and run pods, and each command of docs/kubernetes: minutes, for `make k8s`.
NOT_K8S := -m "not pod" --ignore=tests/k8s/test_pages.py --ignore=tests/k8s/test_checkov.py

# What runs: the hot modules compiled where there is a C compiler (pyproject.toml, [tool.extproc]), or COMPILE=0.
COMPILED := .venv/compiled.stamp
ifeq ($(COMPILE),0)
COMPILED :=
export EXTPROC_COMPILED := 0
endif

.DEFAULT_GOAL := help
.PHONY: help compile run test test-source test-official lint format gen conformance crs oracle fuzz soak bench bench-pair detect steer k8s k8s-planes image check clean

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/run.stamp: pyproject.toml constraints.txt
	$(PYTHON_FOUND) -m venv .venv
	EXTPROC_COMPILE=0 $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[envoy,compile]'
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	EXTPROC_COMPILE=0 $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,envoy,compile]'
	@touch $@

# The hot modules as C; without a compiler they stay Python, which one line says.
.venv/compiled.stamp: .venv/run.stamp setup.py $(shell find extproc -name '*.py' -not -path 'extproc/_pb/*')
	@echo "compiling the hot modules, a minute or so (COMPILE=0: leave them at Python)"
	@mkdir -p build
	@$(BIN)/python setup.py --quiet build_ext --inplace >build/compile.log 2>&1 \
		|| { tail -n 20 build/compile.log; echo "not compiled, so the hot modules stay Python: build/compile.log"; }
	@touch $@

# xds-protos overwrites files of opentelemetry-proto and googleapis-common-protos: it lives apart.
.venv-official/stamp: constraints.txt
	$(PYTHON_FOUND) -m venv .venv-official
	$(OFFICIAL)/pip install --quiet --disable-pip-version-check -c constraints.txt \
		xds-protos==1.85.0 grpcio grpcio-health-checking grpcio-reflection protobuf pytest pytest-timeout
	@touch $@

compile: $(COMPILED) ## the hot modules as C, where there is a compiler (part of the targets below; COMPILE=0 goes without)

run: .venv/run.stamp $(COMPILED) ## the pair on localhost in front of a demo app (LISTEN=127.0.0.1:8080 MODE=block)
	@exec $(BIN)/python -m extproc.cli.demo --listen $(LISTEN) --mode $(MODE)

test: .venv/dev.stamp $(COMPILED) .venv-official/stamp ## unit, property, rule, end-to-end and official-message tests (pods, pages: make k8s)
	$(PYTEST) tests $(NOT_K8S)
	@# Those that put something else in the place of what may be compiled.
	EXTPROC_COMPILED=0 $(PYTEST) -q tests/unit -m plain
	$(MAKE) --no-print-directory test-official

test-source: .venv/dev.stamp ## engine and server once more, from source, as where there is no compiler
	EXTPROC_COMPILED=0 $(PYTEST) -q tests/unit tests/seclang tests/property

test-official: .venv-official/stamp
	$(OFFICIAL)/python -m pytest -q tests/official

lint: .venv/dev.stamp ## ruff, mypy --strict, import-linter, buf lint and breaking
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	@# Against the last release, before the first one against the commit that brought the messages.
	$(BIN)/buf breaking --against ".git#ref=$$(git describe --tags --abbrev=0 2>/dev/null || \
		git log --diff-filter=A --format=%H -- 'protos/*.proto' | tail -1)"

format: .venv/dev.stamp ## lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

gen: .venv/dev.stamp ## protos/ → extproc/_pb
	$(BIN)/python protos/generate.py

conformance: .venv/dev.stamp $(COMPILED) .venv-official/stamp ## the 78 ext_proc cases: gRPC, real Envoy, every configuration
	$(BIN)/python -m tests.conformance.against_extproc

crs: .venv/dev.stamp $(COMPILED) ## the Core Rule Set's tests: in process, then through Envoy (CRS_DIR)
	$(BIN)/extproc test $(CRS_DIR)/tests --crs $(CRS_DIR) --verbose --set-aside tests/seclang/crs/set-aside.txt
	$(BIN)/python -m tests.crs_envoy.through_envoy

oracle: .venv/dev.stamp $(COMPILED) ## every corpus value against libmodsecurity, PL1 and PL2
	$(BIN)/python tests/oracle/full_run.py --paranoia 1 2

fuzz: .venv/dev.stamp $(COMPILED) ## every parser and decoder (FUZZ_SECONDS=600 FUZZ_ENGINE=plain|atheris)
	@# Coverage is counted in the source alone.
	$(if $(filter plain,$(FUZZ_ENGINE)),,EXTPROC_COMPILED=0) $(BIN)/python -m tests.fuzz.fuzz_run --seconds $${FUZZ_SECONDS:-600} $(if $(FUZZ_ENGINE),--engine $(FUZZ_ENGINE))

soak: .venv/dev.stamp $(COMPILED) ## constant mixed load and reloads, flat memory and descriptors (SOAK_SECONDS=1800 SOAK_RELOADS=100)
	SOAK_SECONDS=$${SOAK_SECONDS:-1800} SOAK_RELOADS=$${SOAK_RELOADS:-100} $(PYTEST) tests/soak --timeout 7200

# libddwaf comes with a tracer that nothing else here should load: it lives apart.
.venv-bench/stamp:
	$(PYTHON_FOUND) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check ddtrace==4.16.0
	@touch $@

bench: .venv/dev.stamp $(COMPILED) ## CPU per request: engine against libmodsecurity, server against no-op servers, memory
	-@$(MAKE) --no-print-directory .venv-bench/stamp
	@code=0; for part in engine server memory; do $(BIN)/python -m tests.bench.$$part || code=1; done; exit $$code

bench-pair: .venv/dev.stamp $(COMPILED) ## whole stacks, all processes counted
	$(BIN)/python -m tests.bench.pair

detect: .venv/dev.stamp $(COMPILED) ## what is caught, what is blocked wrongly, what it costs (CORPUS_DIR, CRS_DIR)
	-@$(MAKE) --no-print-directory .venv-bench/stamp
	$(BIN)/python -m tests.detect.run

steer: .venv/dev.stamp $(COMPILED) ## policies, modes, shadow rules, metrics, status, report and allow on a running pair
	$(BIN)/python -m tests.steer.minutes
	$(PYTEST) tests/e2e/test_pair_policy.py tests/e2e/test_pair_numbers.py tests/e2e/test_pair_review.py \
		tests/e2e/test_pair_doctor.py tests/e2e/test_pair_events.py tests/unit/test_telemetry.py tests/unit/test_review.py

# checkov brings many packages along, none of which anything else here needs: it lives apart.
.venv-checkov/stamp:
	$(PYTHON_FOUND) -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet --disable-pip-version-check checkov==3.3.30
	@touch $@

k8s: .venv/dev.stamp $(COMPILED) .venv-official/stamp ## manifests against schemas; the image built and its pod run; control planes, if they were built
	-@$(MAKE) --no-print-directory .venv-checkov/stamp
	@# Two runs: a folder inside another one that was named is not looked into a second time.
	@code=0; $(PYTEST) tests/k8s || code=1; $(PYTEST) tests/k8s/planes || code=1; \
		$(BIN)/python -m tests.conformance.against_extproc --part attachments || code=1; exit $$code

k8s-planes: .venv/dev.stamp $(COMPILED) ## a real API server, istiod, Envoy Gateway: built from Go modules once (needs go; an hour)
	$(BIN)/python -m tests.k8s.planes.plane_build
	$(PYTEST) tests/k8s/planes

image: ## engine and Envoy images with podman or docker
	@tool=$$(command -v podman || command -v docker) && \
		$$tool build -t extproc:latest . && $$tool build -t extproc-envoy:latest --target envoy .

check: lint test ## what CI runs

clean: ## remove what the targets made
	rm -rf .venv .venv-official .venv-bench .venv-checkov build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find extproc -name '*.so' -delete; rm -f extproc/compiled.json
