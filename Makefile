# Two commands: `make demo` and `make test`. Both install what they need into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE_DIR := tests/interop/node

.PHONY: setup demo test test-pythons lint docs bench clean help

help:  ## Show this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[local]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

setup: $(VENV)/.installed  ## Create .venv and install confide.

demo: setup  ## Start the whole stack, send one prompt, show what the gateway saw, keep serving.
	$(BIN)/confide up --demo

test: $(VENV)/.installed-dev  ## Lint, types, contracts and the whole test suite.
	$(BIN)/python tools/test.py

test-pythons:  ## Attestation tests on Python 3.11, 3.12 and 3.13 as found, warnings as errors.
	$(PYTHON) tools/test_pythons.py

lint: $(VENV)/.installed-dev  ## Format check, lint, types, import contracts.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev  ## Build the documentation (strict).
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-dev  ## Run every benchmark; results in benchmarks/results.
	$(BIN)/python -m benchmarks

clean:  ## Remove build products.
	rm -rf $(VENV) site dist build
