"""What counts as a difference from an undisturbed run, and how a run is set back."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from jobs.bench.chaos.damage import DAMAGES
from jobs.bench.chaos.folders import Whole

LINES = [
    {"time": 10.0 + i, "stage": "train", "step": i, "train/loss": 0.5, "data/clips_per_s": 3.0 + i} for i in range(3)
]
FILES = {
    "config.yaml": (5, "seeds: [0]"),
    "one/weights": (10, "w" * 64),
    "one/DONE.json": (11, '{"outputs": {"weights": "abc"}, "wall_s": 2.0}'),
    "two/report": (20, "made today"),
    "two/DONE.json": (21, '{"outputs": {"report": "x"}, "wall_s": 4.0}'),
    "metrics.jsonl": (21, "".join(json.dumps(line) + "\n" for line in LINES)),
}


def write(folder: Path, **changed: str) -> Path:
    for name, (when, text) in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(changed.get(name, text))
        os.utime(folder / name, (when, when))
    return folder


@pytest.fixture
def whole(tmp_path) -> Whole:
    other = {"two/report": "made tomorrow", "two/DONE.json": FILES["two/DONE.json"][1].replace("x", "y")}
    return Whole.of(write(tmp_path / "whole"), write(tmp_path / "other", **other))


def test_only_what_two_undisturbed_runs_have_alike_must_be_equal(tmp_path, whole):
    assert whole.volatile == {"two/report", "two/DONE.json"}
    assert whole.differences(write(tmp_path / "run", **{"two/report": "made now"})) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("one/weights", "w" * 63 + "v", "one/weights differs"),
        ("one/weights", None, "one/weights is missing"),
        ("one/DONE.json", '{"outputs": {"weights": "abd"}}', "one/DONE.json: weights differs"),
        ("one/.weights.1-00000000.tmp", "half", "one/.weights.1-00000000.tmp is left"),
        ("one/STARTED.json", "{}", "one/STARTED.json is left"),
        ("metrics.jsonl", FILES["metrics.jsonl"][1] + json.dumps(LINES[0]) + "\n", "has too much"),
        ("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in LINES[1:]), "lost"),
        ("metrics.jsonl", FILES["metrics.jsonl"][1] + "\0\0\n", "a line is damaged"),
        ("metrics.jsonl", FILES["metrics.jsonl"][1].replace("0.5", "0.25", 1), "has too much"),
    ],
)
def test_what_is_lost_doubled_changed_or_left_is_said(tmp_path, whole, name, text, said):
    run = write(tmp_path / "run")
    (run / name).unlink(missing_ok=True)
    if text is not None:
        (run / name).write_text(text)
    assert any(said in difference for difference in whole.differences(run))
    assert not whole.differences(run, spared=[name]) or name not in FILES or name.endswith("jsonl")


def test_numbers_of_time_and_set_aside_files_are_no_difference(tmp_path, whole):
    lines = [{**line, "time": 99.0, "data/clips_per_s": 7.0} for line in LINES]
    run = write(tmp_path / "run", **{"metrics.jsonl": "".join(json.dumps(line) + "\n" for line in lines)})
    (run / "one" / "weights.damaged").write_text("cut")
    assert whole.differences(run) == []


def test_a_run_is_set_back_to_between_two_stages(tmp_path, whole):
    assert [path.as_posix() for _, path in whole.stages()] == ["one", "two"]
    run = tmp_path / "run"
    whole.set_back(run, 11)
    assert sorted(path.name for path in run.rglob("*.*") if path.is_file()) == [
        "DONE.json",
        "config.yaml",
        "metrics.jsonl",
    ]
    assert (run / "one" / "weights").stat().st_mtime == 10
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [0, 1]
    assert (whole.seconds_after(0), whole.seconds_after(11), whole.seconds_after(21)) == (6.0, 4.0, 0.0)


@pytest.mark.parametrize("kind", sorted(DAMAGES))
def test_damage_changes_its_file_and_nothing_else(tmp_path, kind):
    run = write(tmp_path / "run")
    path, before = run / "one" / "weights", write(tmp_path / "before") / "one" / "weights"
    stat = path.stat()
    DAMAGES[kind](path, random.Random(1))
    assert path.is_dir() if kind == "folder" else not path.exists() or path.read_bytes() != before.read_bytes()
    if kind in ("flip", "rot", "noise", "zeros"):
        assert path.stat().st_size == stat.st_size
    assert (kind in ("rot",)) == (path.exists() and path.is_file() and path.stat().st_mtime_ns == stat.st_mtime_ns)
    shutil.rmtree(run / "one")
    assert (run / "two" / "report").read_text() == "made today"
