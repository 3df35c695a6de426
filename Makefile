# Needs make, a C compiler's run-time and Python >= 3.11 with venv and pip; nothing else.
# `make demo` and `make test` install what they need into .venv first.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Test processes side by side, each with one thread for linear algebra.
JOBS ?= 2

BIN = $(VENV)/bin
STAMP = $(VENV)/.ptychopinn-setup
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 TF_CPP_MIN_LOG_LEVEL=2

.PHONY: help setup demo test test-all client-test parity selftest mutants specs goldens lint format check-python \
	bench bench-quick clean

help:
	@echo "make demo    train both backends on a simulated scan and compare (ARGS=--help)"
	@echo "make test    run the test suite (ARGS=tests/core runs a part of it)"
	@echo "make parity  check both backends against the specification"
	@echo "make selftest  plant seeded defects: the gate has to see each, and nothing else"
	@echo "make mutants  mutate comparison, specification reader and redline (hours)"
	@echo "make specs   lint the specification, and say what changed in it since the merge base"
	@echo "make lint    style, types, imports between the rooms"
	@echo "make setup   install into $(VENV) only; the others do it when needed"
	@echo "make format  put the code in house style"
	@echo "make test-all  the slow tests too"
	@echo "make goldens  replace the golden call chains (REASON=...)"
	@echo "make bench   how far each step is from its limit; bench-quick takes minutes (ARGS=--help)"
	@echo "make client-test  the ptychodus client, installed from PyPI, through both plugins"

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "ptychopinn needs Python >= 3.11, but '$(PYTHON)' is: `$(PYTHON) --version 2>&1`." >&2; \
		echo "Name another one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) lacks the venv module (on Debian: apt install python3-venv)." >&2; exit 1; }

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory check-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt pip setuptools wheel
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt --no-build-isolation -e '.[test,dev]'
	@touch $(STAMP)

demo: setup
	$(BIN)/ptycho_demo --output outputs/demo $(ARGS)

test: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not client" $(ARGS)

test-all: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not client" $(ARGS)

client-test: $(VENV)/.ptychodus-setup
	$(ONE_THREAD) $(BIN)/python -m pytest -m client $(ARGS)

$(VENV)/.ptychodus-setup: $(STAMP)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt --no-build-isolation -e '.[test,dev,client]'
	@touch $@

parity: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -m "parity and not slow" $(ARGS)

selftest: setup
	$(BIN)/parity selftest $(ARGS)

# What to mutate is in pyproject.toml; ARGS="parity.compare*" takes a part.
mutants: setup
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/mutmut run --max-children $(JOBS) $(ARGS)
	$(BIN)/mutmut results

# One command replaces the golden call chains; the reason lands in their log.
goldens: setup
	@test -n "$(REASON)" || { echo 'Say why: make goldens REASON="..."' >&2; exit 1; }
	PARITY_GOLDEN_REASON="$(REASON)" $(ONE_THREAD) $(BIN)/python -m pytest \
		tests/parity/test_golden_chains.py --snapshot-update $(ARGS)

bench: setup
	$(BIN)/python -m benchmarks.suite $(ARGS)

bench-quick: setup
	$(BIN)/python -m benchmarks.suite --quick $(ARGS)

specs: setup
	$(BIN)/parity lint specs
	$(BIN)/parity tolerances --history
	$(BIN)/parity redline $(ARGS)

lint: setup
	@status=0; for tool in "ruff check ." "ruff format --check ." mypy lint-imports; do \
		echo "$(BIN)/$$tool"; $(BIN)/$$tool || status=1; done; exit $$status

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist mutants *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache outputs
