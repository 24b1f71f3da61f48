# Everything a clone needs, from Python 3.11+ and a package index. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
MEMBERS := domain gate plumbing services/ledger services/projector deploy/local
PACKAGES := domain/consent_domain gate/consent_gate plumbing/consent_plumbing services/ledger/consent_ledger \
    services/projector/consent_projector deploy/local/consent_local
PROJECTS := $(MEMBERS:%=%/pyproject.toml)
BIN := .venv/bin
# The machine's uv if there is one, else one in a virtual environment of its own.
UV := $(shell command -v uv || echo .uv/bin/uv)

.PHONY: help setup lock test lint

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

setup: .venv/.installed ## make .venv with the locked dependencies and the members, editable

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv

# Build isolation is off: the members are built with the hashed hatchling of the lock file.
.venv/.installed: requirements.lock $(PROJECTS) | $(filter .uv/bin/uv,$(UV))
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	touch $@

lock: | $(filter .uv/bin/uv,$(UV)) ## resolve the dependencies again into requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --no-annotate --group dev --extra filter \
	    --no-emit-package consent-domain --no-emit-package consent-gate --no-emit-package consent-plumbing \
	    $(PROJECTS) -o requirements.lock

test: setup ## run the whole suite on real PostgreSQL and NATS
	$(BIN)/pytest -q

lint: setup ## ruff, mypy, import arrows, SQL files, forbidden words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) tests/servers.py
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/lint/sql_files.py
	$(BIN)/python tests/lint/forbidden_words.py
