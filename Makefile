# Rivulet: everything a person types. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROMPT ?= Why do streams feel faster than answers that come whole?
PORT ?= 8080

.DEFAULT_GOAL := help
.PHONY: help run serve install test check format lint types coverage bench lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.local  ## start the function here, send it PROMPT, print the answer as it streams
	@$(BIN)/python -m local run --prompt "$(PROMPT)"

serve: $(VENV)/.local  ## keep the function up at http://127.0.0.1:PORT, with curl lines to try
	@$(BIN)/python -m local serve --port $(PORT)

install: $(VENV)/.dev  ## everything for developing and deploying, into VENV

test: $(VENV)/.dev  ## all tests
	@$(BIN)/python -m pytest

check: format-check lint types coverage  ## what CI runs: format, lint, types, tests, coverage

.PHONY: format-check
format-check: $(VENV)/.dev
	@$(BIN)/ruff format --check --quiet

format: $(VENV)/.dev  ## rewrite the code in the one format
	@$(BIN)/ruff format && $(BIN)/ruff check --fix --quiet

lint: $(VENV)/.dev  ## ruff, every rule
	@$(BIN)/ruff check --quiet

types: $(VENV)/.dev  ## mypy, strict
	@$(BIN)/mypy --no-error-summary

coverage: $(VENV)/.dev  ## all tests, measured
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

bench: $(VENV)/.dev  ## measure speed, size and memory side by side
	@$(BIN)/python -m bench

lock: $(VENV)/.dev  ## pin requirements/*.in with hashes
	@cd requirements && for f in function local deploy dev; do \
		../$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
			--no-header --no-annotate $$f.in -o $$f.txt || exit 1; done

clean:  ## remove what was built here
	rm -rf build cdk.out .coverage* .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rivulet needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.13 ...")'
	@$(PYTHON) -m venv $(VENV)

# A stamp a kind of use: `make run` on a fresh machine installs only what the function ships with.
$(VENV)/.local: requirements/local.txt | $(VENV)/bin/python
	@echo "installing the function's requirements into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/local.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.local
	@echo "installing the developers' requirements into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
