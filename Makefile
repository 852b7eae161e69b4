# esim-bench: everything a developer or a lab machine needs, in five words.
#   make setup   the environment in .venv (uv when it is there, else venv + pip), pinned by constraints.txt
#   make demo    the main job on the simulated rack: no root, no compiler, no service
#   make test    the tests; installs system packages through apt when it may
#   make check   ruff, mypy strict, import-linter
#   make bench   speed, as ratios
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

# tshark reads our traces, curl speaks to our server, openssl checks our certificates.
SYSTEM_TOOLS := tshark curl openssl

.PHONY: setup demo test check bench lock system-packages clean

setup: $(RUN_STAMP)

demo: $(RUN_STAMP)
	@$(BIN)/esim-bench demo

test: $(DEV_STAMP) system-packages
	@$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV_STAMP)
	@$(BIN)/python -m tests.bench

$(BIN)/python:
	@bash .ci/venv $(PYTHON) $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@bash .ci/install $(VENV) run
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt $(RUN_STAMP) | $(BIN)/python
	@bash .ci/install $(VENV) dev
	@touch $@

system-packages:
	@bash .ci/system-packages $(SYSTEM_TOOLS)

# Resolve afresh and write the pins that both uv and pip use.
lock: | $(BIN)/python
	@bash .ci/lock $(VENV)

clean:
	rm -rf $(VENV) build dist
