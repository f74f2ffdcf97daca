# Set-up needs Python >= 3.10, gcc and make. It installs everything else into VENV.
PYTHON ?= python3
PROFILE ?= demo
RESULTS ?= results/core
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
comma := ,
STAMP := $(VENV)/.installed$(if $(EXTRAS),-$(subst $(comma),-,$(EXTRAS)))

.DEFAULT_GOAL := help
.PHONY: help setup reproduce figures report sweep quick test torture lint docs audit bench bench-scale regress clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PROFILE=demo (embedded clips, the default) or PROFILE=core (LJSpeech and ESC-10)"

setup: $(STAMP) ## install the package and its tools into VENV, at the versions of CONSTRAINTS

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("melexp needs Python 3.10 or newer; use: make PYTHON=...") if sys.version_info < (3, 10) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT= $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.$(if $(EXTRAS),[$(EXTRAS)])' $(TOOLS)
	touch $@

# Extras to install, such as report,joblib,slurm,ray,optuna,parquet. Changing the list installs more.
EXTRAS ?= report
TOOLS := pytest pytest-benchmark pytest-xdist hypothesis selenium ruff mypy hatchling

reproduce: setup ## run every experiment of PROFILE and draw its figures and tables
	$(BIN)/melexp reproduce --profile $(PROFILE)

figures: setup ## redraw the figures and tables of PROFILE from the stored results
	$(BIN)/melexp reproduce --profile $(PROFILE) --figures-only

report: setup ## write the pages of RESULTS (default: results/core) into RESULTS/report
	$(BIN)/melexp report $(RESULTS)

sweep: setup ## run your own sweep: make sweep ARGS="method=admm method.rho=0.05,0.1"
	$(BIN)/melexp run -m $(ARGS)

# Processes that share the tests; a file of tests stays in one process, with its fixtures.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

quick: setup ## run the tests that take less than a minute together
	$(PYTEST) -q -m "not slow and not torture" $(ARGS)

test: setup ## run the tests (with real clips if MELEXP_DATA_MIRROR or ../shared/data has them)
	$(PYTEST) --doctest-modules --doctest-ignore-import-errors melexp tests $(ARGS)

torture: setup ## run the tests that take minutes: fuzzing, long runs, long sound, fault injection
	$(BIN)/python -m pytest -m torture -rP $(ARGS)

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: ## build the documentation into site/; a broken link or reference fails
	$(MAKE) --no-print-directory setup EXTRAS=docs,report
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

audit: ## check all pinned versions for known vulnerabilities, with pip-audit
	test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet pip-audit; }
	for file in constraints*.txt; do echo $$file && .venv-audit/bin/pip-audit --strict --disable-pip --no-deps -r $$file || bad=1; done; test -z "$$bad"

bench: setup ## time the methods against a lower bound and their peers, in one run
	$(BIN)/melexp bench
	$(BIN)/python -m pytest -q tests/benchmarks/bench_speed.py --benchmark-autosave --benchmark-storage=file://./results/bench/history

N ?= 1000000
bench-scale: setup ## measure a folder of N tasks (default 1000000) against its bounds, without audio
	$(BIN)/python tools/bench_scale.py $(N)

regress: setup ## recompute a subset of the committed results and compare
	$(BIN)/melexp regress --profile core

clean: ## remove VENV, caches and the demo's results (results/core stays)
	rm -rf $(VENV) .venv-audit build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis results/demo
