# Everything a clone needs, from Python 3.11+ and a package index. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
# Options for pytest, as in `make test PYTEST="-x tests/domain"`.
PYTEST ?=
MEMBERS := domain gate plumbing services/ledger services/projector deploy/local
PACKAGES := domain/consent_domain gate/consent_gate plumbing/consent_plumbing services/ledger/consent_ledger \
    services/projector/consent_projector deploy/local/consent_local
PROJECTS := $(MEMBERS:%=%/pyproject.toml)
BIN := .venv/bin
# The machine's uv if there is one, else one in a virtual environment of its own.
UV := $(shell command -v uv || echo .uv/bin/uv)

.PHONY: help setup lock up demo test test-containers test-engines lint bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

setup: .venv/.installed ## make .venv with the locked dependencies and the members, editable

.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed: name one, as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	    echo "$(PYTHON) lacks venv: install it (Debian: apt install python3-venv), or install uv" >&2; exit 1; }
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

# Build isolation is off: the members are built with the hashed hatchling of the lock file.
.venv/.installed: requirements.lock $(PROJECTS) | $(filter .uv/bin/uv,$(UV))
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	touch $@

lock: | $(filter .uv/bin/uv,$(UV)) ## resolve the dependencies again into requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --no-annotate --group dev --extra audit --extra filter \
	    --extra manifest --extra snapshot --extra witness \
	    --no-emit-package consent-domain --no-emit-package consent-gate --no-emit-package consent-plumbing \
	    $(PROJECTS) -o requirements.lock

up: setup ## start everything on this host, until Ctrl-C
	@exec $(BIN)/consent-local up

demo: setup ## the main job as a story, from nothing, in a minute
	@exec $(BIN)/consent-local demo

test: setup ## run the whole suite on real PostgreSQL and NATS, embedded; a file for each core at a time
	$(BIN)/pytest -q -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-containers: setup ## the same on servers in containers, if Docker answers
	CONSENT_TEST_CONTAINERS=1 $(BIN)/pytest -q $(PYTEST)

test-engines: setup | $(filter .uv/bin/uv,$(UV)) ## the shared suite on datasets, PyTorch, Ray, Spark, and caches of Prefect, DVC, dbt, in environments of their own
	$(BIN)/python tests/engines/run.py --uv $(UV)

lint: setup ## ruff, mypy, import arrows, SQL files, documents, forbidden words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) tests/servers.py tests/lint/docs.py
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/lint/sql_files.py
	$(BIN)/python tests/lint/docs.py
	$(BIN)/python tests/lint/forbidden_words.py

bench: setup ## measure every figure beside its limit, as a table and as JSON
	$(BIN)/python bench/run.py
