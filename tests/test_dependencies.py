"""What pyproject.toml declares, beside what the code imports and what messages tell a user to install."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = ("shards", "finepseudo", "jobs")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OTHER_NAMES = {"nvidia": "nvidia-dali-cuda120", "markupsafe": "jinja2"}
"""Distributions that are not found by their packages: DALI is not installed everywhere, Jinja brings MarkupSafe."""
IMPORT = re.compile(r"^( *)(?:from (\w+)[\w.]* import |import (\w+))", re.MULTILINE)


def distributions(lines: list[str]) -> set[str]:
    return {re.split(r"[\[>=<; ]", line)[0].lower().replace("_", "-") for line in lines}


BASE = distributions(PROJECT["dependencies"])
MORE = distributions([line for extra in EXTRAS.values() for line in extra])


def imports() -> dict[str, set[tuple[str, bool]]]:
    """Packages of others -> files that import them, and whether whoever imports the file does."""
    found: dict[str, set[tuple[str, bool]]] = {}
    for path in (path for package in OWN for path in (ROOT / package).rglob("*.py")):
        for indent, one, other in IMPORT.findall(path.read_text()):
            if (name := one or other) not in sys.stdlib_module_names and name not in OWN:
                found.setdefault(name, set()).add((path.relative_to(ROOT).as_posix(), not indent))
    return found


def test_what_is_imported_is_declared_and_what_an_extra_brings_only_where_it_is_used():
    known = {name: distributions(found) for name, found in metadata.packages_distributions().items()}
    found = imports()
    assert {"torch", "ray", "optuna", "triton"} <= found.keys()
    for name, files in found.items():
        names = {OTHER_NAMES.get(name, name.lower())} | known.get(name, set())
        assert names & (BASE | MORE), (name, files)
        if not names & BASE:
            at_once = {path for path, top in files if top}
            assert all("triton_" in path for path in at_once), f"{name}: {at_once} cannot be imported without it"


@pytest.mark.parametrize("place", [*OWN, "docs", "README.md", "slurm"])
def test_an_extra_that_a_message_names_is_there(place):
    files = [ROOT / place, *(ROOT / place).rglob("*")]
    for path in (path for path in files if path.suffix in (".py", ".md", ".sh", ".yaml")):
        for name in re.findall(r"finepseudo\[([^\]]+)\]", path.read_text()):
            fits = re.sub(r"\\\{[^}]*\\\}", r"\\w+", re.escape(name))  # {name} of an f-string
            assert any(re.fullmatch(fits, extra) for extra in EXTRAS), f"{path}: {name}"
