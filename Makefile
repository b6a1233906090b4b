# Everything a newcomer types. `make demo` and `make test` make the environment themselves.
PYTHON ?= python3
VENV ?= .venv
LIBRARIES ?= .venv-libraries
PY := $(VENV)/bin/python
# torch for drivers of CUDA 12 lies at PyTorch's own index: name it in PIP_EXTRA_INDEX_URL, which pip reads
# what starts a Ray, a Slurm, a browser or takes longer than some seconds: in two lanes, one at a time in each
LONG := slow or ray or slurm or browser or gpu
export RAY_USAGE_STATS_ENABLED := 0
export PYTHONUNBUFFERED := 1

.PHONY: env dev demo check lint types quick test ray-lane other-lane system parity clean

env: $(VENV)/.made$(CUDA)  ## the pinned environment; CUDA=12 or CUDA=13 with DALI and Triton, for GPUs of such drivers

$(VENV)/.made$(CUDA): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip setuptools wheel
	$(PY) -m pip install --quiet -r requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(if $(CUDA),$(PY) -m pip install --quiet --constraint requirements.lock --no-build-isolation --editable '.[cuda$(CUDA)]')
	@touch $@

dev: $(VENV)/.dev  ## and what tests, linters and types need

$(VENV)/.dev: $(VENV)/.made$(CUDA) requirements-dev.lock
	$(PY) -m pip install --quiet -r requirements-dev.lock
	@touch $@

demo: env  ## render synthetic dives, run every stage on two workers, write report.html
	@echo "demo: some eight minutes on two cores, once the environment stands; every stage says when it is done"
	$(VENV)/bin/finepseudo run --recipe demo

check: lint types quick  ## the inner loop, under three minutes

lint: dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: dev
	$(VENV)/bin/mypy

quick: dev  ## on all cores
	$(PY) -m pytest -q -n logical --maxprocesses=8 -m "not ($(LONG))"

system: ## what the Slurm and browser tests need from Debian, where it can be installed
	@bash tests/install_system.sh

test: dev system lint types quick  ## the whole suite, real two-node Slurm included
	$(MAKE) --jobs=2 --keep-going --output-sync=line ray-lane other-lane

ray-lane:
	$(PY) -m pytest -q -m "ray and not slurm" --durations=15

other-lane:  # Slurm's nodes wait for one another much of the time
	$(PY) -m pytest -q -m "($(LONG)) and not (ray and not slurm)" --durations=15

parity: $(LIBRARIES)/.made  ## our encoders beside torchvision's, timm's, open_clip's and pytorchvideo's
	$(LIBRARIES)/bin/python -m pytest -q -rs tests/finepseudo/encoders

$(LIBRARIES)/.made: pyproject.toml  # not the locked environment: torchvision wants a torch of its own release
	$(PYTHON) -m venv $(LIBRARIES)
	$(LIBRARIES)/bin/python -m pip install --quiet --editable '.[encoders]' pytest pytest-timeout hypothesis open_clip_torch pytorchvideo transformers
	@touch $@

clean:
	rm -rf $(VENV) $(LIBRARIES) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
