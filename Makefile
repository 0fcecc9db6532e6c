# The two commands to know: `make demo` and `make test`. Both set up what they need in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test lint types imports unit test-long audit bench bench-docs format clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.usable ## upload, list, check and download a real file, with bars
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash docs/demo.sh

test: lint types imports unit ## everything that has to pass: lint, types, import rules, tests

lint: $(VENV)/.complete ## ruff: style and likely mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.complete ## mypy, strict, tests included
	$(BIN)/mypy

imports: $(VENV)/.complete ## the layers import downward only
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.complete ## the tests that take seconds
	$(BIN)/pytest -m "not long" -n auto --maxprocesses 4 --dist worksteal

test-long: $(VENV)/.complete ## the tests that take minutes as well
	$(BIN)/pytest --timeout=900

audit: $(VENV)/audit/.usable ## known vulnerabilities of what users install; asks the network
	$(VENV)/audit/bin/pip-audit --strict --progress-spinner off .

bench: $(VENV)/.bench ## races against whatever other tools are installed: table, JSON, picture
	$(BIN)/python -m benchmarks

bench-docs: $(VENV)/.usable ## bring the figures of the last `make bench` into docs/
	$(BIN)/python -m benchmarks --docs

format: $(VENV)/.complete ## let ruff write the code as it wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what the commands above have made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis benchmarks/results

$(VENV)/.usable: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install --editable .
	@touch $@

$(VENV)/.bench: $(VENV)/.usable
	$(PIP) install --group bench
	@touch $@

# An environment of its own: what the tool needs is not what is looked at.
$(VENV)/audit/.usable: pyproject.toml
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet install --upgrade "pip>=25.1"
	$(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet install --group audit
	@touch $@

$(VENV)/.complete: $(VENV)/.usable
	$(PIP) install --group dev
	@touch $@
