PYTHON ?= python3
VENV := .venv
GPU := $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
READY := $(VENV)/.installed-$(GPU)
SHELL := /bin/bash

.PHONY: run test lint audit setup photos walk stranger screenshots

run: $(READY)
	@$(VENV)/bin/concordance up

test: lint
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

photos: $(READY)
	@TAKE_PHOTOS=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest tests/app/test_photos.py

walk: $(READY)
	@$(VENV)/bin/python -m tests.app.walk $(or $(FOLDER),/tmp/concordance-walk) $(PAGES)

stranger: $(READY)
	@$(VENV)/bin/python -m tests.app.stranger

screenshots: $(READY)
	@$(VENV)/bin/python -m tests.app.screenshots $(SAES) $(GRAPH)

audit: $(READY)
	@$(VENV)/bin/python .ci/audit.py

setup: $(READY)

$(READY): pyproject.toml constraints/$(GPU)-py311.txt constraints/offline-packages.txt
	@echo "Installing into $(VENV) (a few minutes, once) …"
	@ls $(VENV)/.installed-* >/dev/null 2>&1 || rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/$(GPU)-py311.txt -e ".[dev]"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints/offline-packages.txt
	@$(VENV)/bin/python -m data.assets
	@touch $@
