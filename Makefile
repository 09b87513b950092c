# nucleus: set-up, demonstration and tests. `make help` lists what there is.

PYTHON ?= python3
VENV ?= .venv
DOCS_VENV ?= .venv-docs
UV ?= uv

BIN := $(VENV)/bin
LOCK := requirements/lock.txt
STAMP := $(VENV)/.set-up
PIP := $(BIN)/python -m pip

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DELETE_ON_ERROR:
.PHONY: help setup demo test lint docs lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Settings: PYTHON=$(PYTHON) (3.10 to 3.13), VENV=$(VENV)"

setup: $(STAMP) ## set everything up in .venv: the locked packages, Detectron2, nucleus

# Everything that is installed is checked against a hash in the lock. One package comes as sources only
# (antlr4-python3-runtime); so that its build fetches nothing unchecked, it runs in this environment, for which the
# locked setuptools goes in first. The lock is complete, hence --no-deps; "pip check" at the end proves it.
$(STAMP): $(LOCK) pyproject.toml nucleus/install_detectron2.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' || { \
		echo "make setup: expected Python 3.10 to 3.13, found $$($(PYTHON) --version 2>&1)." \
		     "Name another: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "== 1/4 Virtual environment $(VENV), $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "== 2/4 Packages of $(LOCK) (several GB with torch; some minutes the first time)"
	@awk '/^setuptools==/,!/\\$$/' $(LOCK) > $(VENV)/setuptools.txt
	@$(PIP) install --quiet --require-hashes --no-deps -r $(VENV)/setuptools.txt
	@$(PIP) install --require-hashes --no-deps --no-build-isolation -r $(LOCK)
	@echo "== 3/4 Detectron2"
	@$(BIN)/python tools/install_detectron2.py
	@echo "== 4/4 nucleus, from this folder"
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(PIP) check
	@touch $(STAMP)
	@echo "== Set up. Next: make demo, or: . $(BIN)/activate && nucleus doctor"

demo: setup ## the whole main job on a small made-up data set: convert, train, evaluate, show
	@$(BIN)/python tools/demo.py

test: setup ## run all tests; those on real data need BBBC038_SOURCE=folder of the archives
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: setup ## linter, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS_VENV)/.set-up ## build the documentation site in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 PATH="$(abspath $(DOCS_VENV))/bin:$$PATH" mkdocs build --strict --quiet
	@echo "== Built: site/index.html"

# An environment of its own, small and without torch: docstrings are read, not imported.
$(DOCS_VENV)/.set-up: requirements/docs.txt
	@$(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet -r requirements/docs.txt
	@touch $@

# Pins stay as they are where they still fit; `make lock UPGRADE=--upgrade` takes the newest. Needs uv (pip install uv).
lock: ## write requirements/lock.txt anew from pyproject.toml
	$(UV) pip compile pyproject.toml --all-extras --universal --python-version 3.10 --generate-hashes \
		--no-config --quiet --custom-compile-command "make lock" $(UPGRADE) --output-file $(LOCK)

clean: ## remove the environment, caches and build outputs; data sets, output/ and .wheels/ stay
	rm -rf $(VENV) $(DOCS_VENV) site build dist nucleus.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find nucleus tests tools datasets benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
