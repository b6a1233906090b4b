# Everything a newcomer types. `make demo` and `make test` make the environment themselves.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
export RAY_USAGE_STATS_ENABLED := 0
export PYTHONUNBUFFERED := 1

.PHONY: env demo check lint types quick test system bench-method clean

env: $(VENV)/.made  ## the pinned environment

$(VENV)/.made: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip setuptools wheel
	$(PY) -m pip install --quiet -r requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: env  ## render synthetic dives, run every stage on two workers, write report.html
	@echo "demo: some eight minutes on two cores, once the environment stands; every stage says when it is done"
	$(VENV)/bin/finepseudo run --recipe demo

check: lint types quick  ## the inner loop, under three minutes

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: env
	$(VENV)/bin/mypy

quick: env
	$(PY) -m pytest -q -m "not slow and not ray and not slurm and not browser and not gpu"

system: ## what the Slurm and browser tests need from Debian, where it can be installed
	@bash tests/install_system.sh

test: env system lint types  ## the whole suite, real two-node Slurm included
	$(PY) -m pytest -q --durations=15

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
