"""`import finepseudo`: what it gives, and that it costs nothing."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import finepseudo

HEAVY = {"torch", "numpy", "pyarrow", "yaml", "ray", "jobs"}


def test_importing_it_loads_nothing():
    code = "import sys, json, finepseudo; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) & HEAVY == set()


@pytest.mark.parametrize("name", finepseudo.__all__)
def test_every_public_name_is_documented_and_listed(name):
    value = getattr(finepseudo, name)
    assert value.__doc__
    assert value.__module__.startswith("finepseudo.")
    assert name in dir(finepseudo)
    assert set(finepseudo._HOMES) == set(finepseudo.__all__)


def test_a_name_that_is_not_there_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = finepseudo.nonsense
    with pytest.raises(ImportError):
        exec("from finepseudo import nonsense")


@pytest.mark.parametrize("package", ["finepseudo", "shards", "jobs"])
def test_the_packages_are_typed(package):
    assert (Path(importlib.import_module(package).__file__).parent / "py.typed").is_file()
