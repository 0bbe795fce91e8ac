# Everything a person or CI does with the project. Needs python3 (3.11 or newer) and make; the rest installs itself.
PYTHON ?= python3
MAKEFLAGS += --no-print-directory
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Four workers on two cores: many tests wait for time to pass. One file stays on one worker, so that fixtures that
# start a broker are shared by the tests of their file.
WORKERS ?= 4
# ... and not the files with most tests first: in alphabetical order the unit tests come last and fill the gaps that
# files with few slow tests leave.
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Compiled once: otherwise every worker compiles all tests, and every command that a test starts what it
# imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test check bench nightly pythons lock format clean

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run:  ## start a secure broker on 127.0.0.1:9092 in the foreground; data and client files are in ./data
	@$(PYTHON) tools/environment.py run $(VENV)
	@exec $(BIN)/rivven server --dev $(ARGS)

test:  ## the whole test suite (ten minutes on two cores); ends with the list of skips
	@$(PYTHON) tools/environment.py dev $(VENV)
	$(PYTEST) $(PARALLEL) -m "not nightly" $(TESTS)

check:  ## format, lint, types, import contracts and the fast tests, in about a minute
	@$(PYTHON) tools/environment.py dev $(VENV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) $(PARALLEL) -q tests/unit tests/architecture tests/golden

bench:  ## measure beside a minimal broker and Tansu; writes benches/RESULTS.md
	@$(PYTHON) tools/environment.py bench $(VENV)
	$(PYTEST) -q benches --benchmark-enable --benchmark-only --benchmark-sort=name -p no:xdist
	$(BIN)/python -m benches

nightly:  ## 200 kill -9 runs, 10,000 power-loss seeds, 1,000 swaps of certificates, long fuzzing
	@$(PYTHON) tools/environment.py dev $(VENV)
	RIVVEN_KILL_RUNS=200 RIVVEN_SIM_SEEDS=10000 RIVVEN_FUZZ_SECONDS=900 RIVVEN_REAUTH_SECONDS=60 \
		RIVVEN_TLS_SWAPS=1000 \
		$(PYTEST) $(PARALLEL) --timeout 14400 tests/durability tests/simulation tests/properties tests/fuzz tests/unit \
		tests/interop/test_reauthentication.py tests/interop/test_tls_swaps.py

pythons:  ## the tests of TLS with every other Python from 3.11 to 3.14 that the machine has
	@$(PYTHON) tools/pythons.py

lock:  ## resolve the dependency locks anew (needs uv; the only target that does)
	@command -v uv >/dev/null || { echo "rivven: make lock needs uv (pip install uv)" >&2; exit 2; }
	sh tools/lock.sh

format:  ## rewrite the sources as ruff formats them
	@$(PYTHON) tools/environment.py dev $(VENV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove everything that was made, but not ./data and its keys
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	rm -rf tests/interop/clients/node/node_modules tests/interop/clients/java/target reports
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
