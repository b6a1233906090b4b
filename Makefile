# Everything a newcomer types. `make demo` and `make test` make the environment themselves.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
# what starts a Ray, a Slurm, a browser or takes longer than some seconds: one at a time
LONG := slow or ray or slurm or browser or gpu
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
	$(VENV)/bin/finepseudo run --recipe demo

check: lint types quick  ## the inner loop, under three minutes

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: env
	$(VENV)/bin/mypy

quick: env  ## on all cores
	$(PY) -m pytest -q -n logical --maxprocesses=8 -m "not ($(LONG))"

system: ## what the Slurm and browser tests need from Debian, where it can be installed
	@bash tests/install_system.sh

test: env system lint types quick  ## the whole suite, real two-node Slurm included
	$(PY) -m pytest -q -m "$(LONG)" --durations=15

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
