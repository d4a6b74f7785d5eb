# Everything a person types. Each target installs what it needs into .venv, once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export MPLBACKEND ?= Agg
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow bench lab docs nbs readme clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: settings.ini setup.py | $(BIN)/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/.installed-dev: settings.ini setup.py | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed ## create .venv and install the package

demo: $(VENV)/.installed ## the whole main job on bundled digits; prints the path of its report
	$(BIN)/python -m ambiguity_nb demo

test: $(VENV)/.installed-dev ## notebooks, pytest and hygiene checks; ends with `N passed, N failed`
	$(BIN)/python tests/run_all.py

test-slow: $(VENV)/.installed-dev ## the same with the cells and tests marked slow
	$(BIN)/python tests/run_all.py --slow

bench: $(VENV)/.installed-dev ## speed and memory, ours against the plain way, side by side
	$(BIN)/python tests/run_bench.py

lab: $(VENV)/.installed-dev ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir nbs

nbs: $(VENV)/.installed-dev ## run every notebook top to bottom, store outputs, export, clean, write README.md
	$(BIN)/python tests/run_notebooks.py

readme: $(VENV)/.installed-dev ## README.md from nbs/index.ipynb
	$(BIN)/python tests/readme.py

docs: $(VENV)/.installed-dev ## the docs site in _docs, its links followed (needs Quarto 1.7.34: https://quarto.org)
	$(BIN)/python tools/build_docs.py

clean: ## remove what was built; keeps .venv and runs
	rm -rf build dist _docs _proc *.egg-info .pytest_cache .ruff_cache
