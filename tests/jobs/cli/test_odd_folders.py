"""Commands that look at a run whose files are not what they should be: an answer or one line, never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.cli.main import main
from jobs.cluster import temp_folder
from tests.small_run import write_small_run

COMMANDS = (["status"], ["clean", "--yes"])
CONTENTS = {"zeros": bytes(64), "a list": b"[1, 2]", "cut": b'{"stage": "data", "out', "a folder": None}
FILES = (
    "config.yaml",
    "metrics.jsonl",
    "dag.json",
    "data/clips.parquet",
    "data/DONE.json",
    "seed-0/split.parquet",
    "seed-0/finepseudo/round-01/pseudo_labels.parquet",
    "seed-0/finepseudo/round-01/pseudo_metrics.json",
    "seed-0/finepseudo/evaluation/metrics.json",
    "seed-0/finepseudo/evaluation/predictions.parquet",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_run(tmp_path_factory.mktemp("runs") / "r")


@pytest.fixture
def copied(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Path]]:
    """Gives a fresh copy of the run at each call; the node has no folders of Ray."""
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(temp_folder, "PLACE", tmp_path / "node")

    def copy() -> Path:
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        shutil.copytree(small, tmp_path / "runs" / "r")
        return tmp_path / "runs" / "r"

    return copy


def replaced(path: Path, content: bytes | None) -> None:
    """Put bytes in the place of a file, or a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command ends with a code of its own, and says what is wrong in a line that names it."""
    for command in COMMANDS:
        line = [command[0], "--name", folder.name, f"out={folder.parent}", *command[1:]]
        code = main(line)
        said = capsys.readouterr()
        assert code in (0, 1, 2), (command, said)
        if code == 2:
            errors = [text for text in said.err.splitlines() if text.startswith("error: ")]
            assert len(errors) == 1, (command, said.err)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none_of_ours(copied: Callable[[], Path], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for content in CONTENTS.values():
        folder = copied()
        replaced(folder / name, content)
        looked_at(folder, capsys)


@pytest.mark.slow
def test_folders_that_are_none(copied: Callable[[], Path], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("seed-0", "data", "seed-0/finepseudo", "seed-0/finepseudo/round-01", "STOP", ".lock"):
        folder = copied()
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).mkdir()
        if not (folder / name).exists():
            (folder / name).write_text("a file")
        looked_at(folder, capsys)
        folder = copied()
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).symlink_to(Path(name).name)  # a link to itself
        looked_at(folder, capsys)
    folder = copied()
    shutil.rmtree(folder)
    folder.write_text("a run that is a file")
    looked_at(folder, capsys)
    looked_at(folder / "below", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [{"seed-0": 3}, {"seed-0": {}}, {"seed-9": {"job": None}}, {"draws": {"job": [1]}}])
def test_a_record_of_jobs_that_is_none(
    copied: Callable[[], Path], jobs: object, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied()
    (folder / "dag.json").write_text(json.dumps(jobs))
    looked_at(folder, capsys)
