"""Building the compiled backend: the cache, several processes at once, and machines without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finepseudo.soft_dtw import build

ROOT = Path(__file__).parents[3]
USE = """
import warnings, torch
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    from finepseudo.soft_dtw import soft_dtw_pairwise, native
    assert native._best.cache_info().currsize == 0  # importing builds nothing
    x = torch.randn(3, 4, 5)
    values = [soft_dtw_pairwise(x) for _ in range(3)]
    explicit = soft_dtw_pairwise(x, backend="torch")
assert torch.allclose(values[0], explicit, atol=1e-5)
print([str(w.message) for w in seen if "soft-DTW" in str(w.message)])
"""


def run(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_without_a_compiler_it_says_so_once_and_works(tmp_path: Path) -> None:
    said = run(USE, CXX="no-such-compiler", XDG_CACHE_HOME=str(tmp_path))
    assert said.count("slower torch backend") == 1
    assert "no C++ compiler (no-such-compiler) on PATH" in said
    assert list(tmp_path.rglob("*.so")) == []


def test_a_broken_compiler_is_reported_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "sh -c 'echo out of order >&2; exit 1'")
    with pytest.raises(build.BuildError, match="out of order"):
        build.build("baseline")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.fixture
def compiler() -> None:
    try:
        build.compiler()
    except build.BuildError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_processes_that_build_at_once_leave_one_good_object(tmp_path: Path) -> None:
    code = "from finepseudo.soft_dtw import build; print(build.library('baseline').soft_dtw_lanes())"
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in running] == ["4", "4"]
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [build.object_name("baseline")]


@pytest.mark.usefixtures("compiler")
def test_a_cache_that_cannot_be_written_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "finepseudo").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="cannot be written"):
        path = build.build("baseline")
    assert path.is_file()
    assert tmp_path not in path.parents
