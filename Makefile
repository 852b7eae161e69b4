# esim-bench: everything a developer or a lab machine needs, in a few words.
#   make setup   the environment in .venv (uv when it is there, else venv + pip), pinned by constraints.txt
#   make demo    the main job on the simulated rack: no root, no compiler, no service
#   make test    the tests; installs system packages through apt when it may
#   make check   ruff, mypy strict, import-linter
#   make bench   speed, as ratios
#   make screenshots   the pictures of the README
#   make hil     every dialect, scenario and form factor through pcscd and the kernel's ttys
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
PCSC_STAMP := $(VENV)/.installed-pcsc

# tshark reads our traces, curl speaks to our server, openssl checks our certificates; pcscd and vpcd are a real PC/SC
# service with virtual readers, which pyscard (built here, it has no wheel) speaks to. The screen is driven in tmux and in
# Chromium.
PYTHON_H := $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
SYSTEM_PARTS := tshark:tshark curl:curl openssl:openssl pcscd:pcscd tmux:tmux chromium:chromium \
  /usr/lib/pcsc/drivers/serial/libifdvpcd.so*:vsmartcard-vpcd \
  gcc:gcc /usr/include/PCSC/winscard.h:libpcsclite-dev $(PYTHON_H):python3-dev

.PHONY: setup demo test check bench hil screenshots lock system-packages clean

setup: $(RUN_STAMP)

demo: $(RUN_STAMP)
	@$(BIN)/esim-bench demo

test: $(DEV_STAMP) $(PCSC_STAMP)
	@$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

hil: $(DEV_STAMP) $(PCSC_STAMP)
	@$(BIN)/python -m pytest -m hil tests/hil $(PYTEST_ARGS)

# The pictures of the README, taken from the screen.
screenshots: $(DEV_STAMP)
	@$(BIN)/python -m tests.screenshots

bench: $(DEV_STAMP) $(PCSC_STAMP)
	@$(BIN)/python -m tests.bench

$(BIN)/python:
	@bash .ci/venv $(PYTHON) $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@bash .ci/install $(VENV) run
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt $(RUN_STAMP) | $(BIN)/python
	@bash .ci/install $(VENV) dev
	@touch $@

$(PCSC_STAMP): pyproject.toml constraints.txt $(RUN_STAMP) | $(BIN)/python system-packages
	@bash .ci/install $(VENV) pcsc && touch $@ || echo "pyscard could not be built: the PC/SC tests are skipped" >&2

system-packages:
	@bash .ci/system-packages $(SYSTEM_PARTS)

# Resolve afresh and write the pins that both uv and pip use.
lock: | $(BIN)/python
	@bash .ci/lock $(VENV)

clean:
	rm -rf $(VENV) build dist
