"""Points are struck where they are named, once, in a process of their own that does nothing but write files."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from jobs.bench.chaos.commands import CHILDREN
from jobs.bench.chaos.points import EVENT, Fault, Point, clock_back, reach, watch
from shards.errors import UserError
from shards.files import write_bytes

PATH = "run/a.json"
RENAME = Point("driver", f"rename {PATH}", 2)


def write_three(folder, told):
    """Write one file three times and say what came of it."""
    watch(folder / "out", **told)
    path = folder / "out" / PATH
    for text in (b"1", b"2", b"3"):
        reach("a write")
        try:
            write_bytes(path, text)
        except UserError as error:
            (folder / "said").write_text(str(error))
            os._exit(2)
        except OSError as error:
            (folder / "said").write_text(errno.errorcode[error.errno])
            os._exit(3)
    os._exit(0)


def struck(folder: Path, **told) -> tuple[int, str]:
    (folder / "out" / "run").mkdir(parents=True, exist_ok=True)
    child = CHILDREN.Process(target=write_three, args=(folder, told))
    child.start()
    child.join(60)
    path = folder / "out" / PATH
    return child.exitcode, path.read_text() if path.exists() else ""


def test_every_write_is_announced_with_its_file_and_how_manieth_it_is(tmp_path):
    assert struck(tmp_path, log=tmp_path / "log") == (0, "3")
    rows = [row.split("\t")[1:] for row in (tmp_path / "log").read_text().splitlines()]
    assert [number for role, number, what in rows if what == f"rename {PATH}"] == ["1", "2", "3"]
    assert [number for role, number, what in rows if what == "a write"] == ["1", "2", "3"]
    assert {role for role, _, _ in rows} == {"driver"}
    assert any(what == "write run/a.json (temporary)" for _, _, what in rows)


@pytest.mark.parametrize(
    ("kind", "after", "code", "left"),
    [
        ("kill", False, -signal.SIGKILL, "1"),
        ("kill", True, -signal.SIGKILL, "2"),
        ("exit", False, 1, "1"),
        ("term", False, -signal.SIGTERM, "1"),
        ("usr1", True, -signal.SIGUSR1, "2"),
        ("full", False, 2, "1"),
        ("quota", False, 2, "1"),
        ("read-only", False, 2, "1"),
        ("io", False, 2, "1"),
        ("stop", False, 0, "3"),
    ],
)
def test_a_fault_strikes_before_or_after_its_point_and_leaves_a_whole_file(tmp_path, kind, after, code, left):
    point = Point(RENAME.role, RENAME.what, RENAME.time, after)
    assert struck(tmp_path, fault=Fault(kind, point)) == (code, left)
    assert (tmp_path / "fired").exists()
    if code == 2:
        assert "cannot write" in (tmp_path / "said").read_text()
        assert [path.name for path in (tmp_path / "out" / "run").iterdir()] == ["a.json"]


def test_a_fault_strikes_once_and_only_its_own_process(tmp_path):
    fault = Fault("kill", RENAME)
    assert struck(tmp_path, fault=fault)[0] == -signal.SIGKILL
    assert struck(tmp_path, fault=fault) == (0, "3")
    (tmp_path / "fired").unlink()
    assert struck(tmp_path, fault=Fault("kill", Point("rank 0", RENAME.what))) == (0, "3")
    assert str(RENAME) == "driver: before rename run/a.json (2)"


def test_the_clock_goes_back(monkeypatch):
    now = time.time()
    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, getattr(time, name))
    clock_back()
    assert time.time() - now == pytest.approx(-86400, abs=60)
    assert time.time_ns() / 1e9 == pytest.approx(time.time(), abs=60)
    assert EVENT == "finepseudo.chaos"
