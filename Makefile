# Needs Python 3.11 or newer, and make. Everything else is installed into .venv, from pip's configured indexes.

# The first interpreter that is new enough and can make a virtual environment; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; \
	done)
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-postgres snapshots test-e2e newcomer lint docs focus format bench bench-peers clean

help:  ## Show what there is to make.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed  ## A session through a real MCP client: start, allow, reroute, record, halt, end.
	@$(BIN)/tallygate demo

# A process for each core, which takes tests over from the other when it has none left.
test: $(VENV)/.installed-dev  ## The whole test suite; a line for each failure, in full with ARGS="--lf --tb=short".
	$(BIN)/python -m pytest --tb=line --numprocesses auto --dist worksteal $(ARGS)

# Of this the fixed run takes what money is decided by.
FOLDERS ?= tests/simulation tests/operations
test-postgres: $(VENV)/.installed-dev  ## What operations do, on a real PostgreSQL in place of a file.
	TESTS_LEDGER=postgres $(BIN)/python -m pytest --tb=line --numprocesses auto $(FOLDERS) $(ARGS)

snapshots: $(VENV)/.installed-dev  ## Tables as tests hold them, written anew.
	SNAPSHOTS=1 $(BIN)/python -m pytest -q tests/entrypoints/cli/test_tables.py

test-e2e: $(VENV)/.installed-dev $(VENV)-docs/.installed  ## Real clients, from npm, against a model API on loopback; Linux.
	$(BIN)/python tests/e2e/install.py
	$(BIN)/python -m pytest -m e2e tests/e2e $(ARGS)

newcomer: $(VENV)/.installed-dev  ## An empty machine: install by uv, pipx and pip, be stopped, go on, leave; Linux.
	$(BIN)/python tests/e2e/install.py
	$(BIN)/python -m pytest -m e2e tests/e2e/test_newcomer.py $(ARGS)

lint: $(VENV)/.installed-dev  ## Style, types and the arrows between packages.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: $(VENV)-docs/.installed  ## The pages as a site, in build/docs/site; a broken link or anchor fails.
	@$(subst $(VENV),$(VENV)-docs,$(BIN))/python docs/site.py

focus: $(VENV)/.installed-dev $(VENV)-focus/.installed  ## A FOCUS export before the specification's own validator.
	$(BIN)/python -m tests.reports.focus_check $(subst $(VENV),$(VENV)-focus,$(BIN))/python

format: $(VENV)/.installed-dev  ## Lay out the source and mend what can be mended.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed-dev  ## The benchmark programs; figures are ratios taken in one run.
	$(BIN)/python -m bench $(ARGS)

bench-peers: $(VENV)/.installed-dev  ## Other programs of the field beside this one, each in an environment of its own.
	$(BIN)/python -m bench.peers $(ARGS)

bench-clients: $(VENV)/.installed-dev  ## Launches of real clients, from npm, without Tallygate and with; Linux.
	$(BIN)/python tests/e2e/install.py
	$(BIN)/python -m tests.e2e.launches $(ARGS)

clean:  ## Remove what make has made.
	rm -rf $(VENV) $(VENV)-docs $(VENV)-focus build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Stamps: installed again only when what is asked for has changed.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing Tallygate into $(VENV) ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "Installing Tallygate and its development tools into $(VENV) ..."
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

# What makes the site needs nothing of ours, nor we of it.
$(VENV)-docs/.installed: docs/requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv was not found; set PYTHON=/path/to/python." >&2; exit 1; }
	@echo "Installing what makes the site into $(VENV)-docs ..."
	@$(PYTHON) -m venv $(VENV)-docs
	@$(subst $(VENV),$(VENV)-docs,$(BIN))/python -m pip install --quiet --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

# The specification's validator and what it needs, which is older than ours.
$(VENV)-focus/.installed:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv was not found; set PYTHON=/path/to/python." >&2; exit 1; }
	@echo "Installing focus-validator into $(VENV)-focus ..."
	@$(PYTHON) -m venv $(VENV)-focus
	@$(subst $(VENV),$(VENV)-focus,$(BIN))/python -m pip install --quiet --quiet --disable-pip-version-check 'focus-validator==1.0.0' 'multimethod<2'
	@touch $@

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv was not found; set PYTHON=/path/to/python." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
