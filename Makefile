# Needs Python 3.11 or newer, and make. Everything else is installed into .venv, from pip's configured indexes.

# The first interpreter that is new enough and can make a virtual environment; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; \
	done)
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-e2e lint format bench clean

help:  ## Show what there is to make.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed  ## A session through a real MCP client: start, allow, reroute, record, halt, end.
	@$(BIN)/tallygate demo

test: $(VENV)/.installed-dev  ## The whole test suite.
	$(BIN)/python -m pytest $(ARGS)

test-e2e: $(VENV)/.installed-dev  ## Real clients, from npm, against a model API on loopback; Linux.
	$(BIN)/python tests/e2e/install.py
	$(BIN)/python -m pytest -m e2e tests/e2e $(ARGS)

lint: $(VENV)/.installed-dev  ## Style, types and the arrows between packages.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev  ## Lay out the source and mend what can be mended.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed-dev  ## The benchmark programs; figures are ratios taken in one run.
	$(BIN)/python -m bench $(ARGS)

clean:  ## Remove what make has made.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Stamps: installed again only when what is asked for has changed.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing Tallygate into $(VENV) ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing Tallygate and its development tools into $(VENV) ..."
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv was not found; set PYTHON=/path/to/python." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
