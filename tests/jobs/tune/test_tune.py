"""Sweeps: what a space may say, what is held out, and a real one that is not run twice."""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.training.checkpoint import save_state
from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.tune.space import first_value, read_space, sweep_folder, with_values
from jobs.tune.trials import METRIC, end_trial, hold_out, reported, result_of, trial_folder
from jobs.tune.tune import write_results
from shards.errors import UserError
from shards.types import ItemTable

ROOT = Path(__file__).parents[3]
SPACES = sorted((ROOT / "tune_spaces").glob("*.yaml"))


def items(labels: list[int]) -> ItemTable:
    n = len(labels)
    return ItemTable(keys=[f"k{i:03d}" for i in range(n)], labels=np.array(labels, np.int32), pseudo=np.zeros(n, bool))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_spaces_fit_the_recipes(path):
    space = read_space(path)
    with_values(load("smoke"), {key: first_value(value) for key, value in space.space.items()})
    for key, value in space.space.items():
        for choice in value.get("choice", []):
            with_values(load("diving48"), {key: choice})
    low, high = space.space["frame_stage.train.optim.lr"]["loguniform"]
    assert low < load("diving48").frame_stage.train.optim.lr < high
    pairs = [(loss["norm"], loss["margin"]) for loss in space.space["frame_stage.loss"]["choice"]]
    raw = {norm: [margin * (32 if norm == "T" else 1) for n, margin in pairs if n == norm] for norm in ("none", "T")}
    assert max(raw["T"]) == pytest.approx(max(raw["none"])), "margins of either norm reach as far"


def test_keys_searched_together_are_laid_under_single_ones():
    cfg = load("smoke", ["frame_stage.loss.gamma=0.01"])
    loss = {"frame_stage.loss.omega": 2.0, "frame_stage.loss": {"norm": "none", "margin": 1.6}}
    made = with_values(cfg, loss).frame_stage.loss
    assert (made.omega, made.norm, made.margin, made.gamma) == (2.0, "none", 1.6, 0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {pseudo_labels.theta: {uniform: [0, 1]}}", "pseudo_labels.theta = .* is not searched here"),
        ("space: {frame_stage.loss.margin: {unifrom: [0, 1]}}", "one of uniform, loguniform"),
        ("space: {}\nsamples: 0", "must be at least 1"),
        ("space: {}\nholdout: 1.0", r"holdout = 1.0: must be in \(0, 1\)"),
        ("spce: {}", "unknown key"),
        ("- 1", "must be a section"),
        ("space: [", "cannot be read"),
    ],
)
def test_bad_spaces_are_refused(tmp_path, text, message):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_space(tmp_path / "space.yaml")


@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=40), share=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_every_class_keeps_a_clip_and_nothing_is_on_both_sides(labels, share, seed):
    table = items(labels)
    if len(set(labels)) == len(labels):
        with pytest.raises(UserError, match="no class has two labelled clips"):
            hold_out(table, share, seed)
        return
    rest, held = hold_out(table, share, seed)
    assert sorted([*rest.keys, *held]) == table.keys
    assert set(rest.labels.tolist()) == set(labels)
    truth = dict(zip(table.keys, labels, strict=True))
    for label in set(labels):
        n = labels.count(label)
        taken = sum(truth[key] == label for key in held)
        assert taken == 0 if n == 1 else 1 <= taken <= n - 1
    again = hold_out(table, share, seed)
    assert list(again[0].keys) == list(rest.keys)


def test_another_space_or_another_base_is_another_sweep(tmp_path):
    cfg, path = load("smoke", [f"out={tmp_path}"]), SPACES[0]
    space = read_space(path)
    folder = sweep_folder(cfg, path, space)
    assert folder == sweep_folder(load("smoke", [f"out={tmp_path}", "resources.workers=2"]), path, space)
    assert folder != sweep_folder(load("smoke", [f"out={tmp_path}", "split.ratio=0.3"]), path, space)


def test_the_table_is_best_first_and_failures_last(tmp_path):
    rows = [
        {"trial": name, "state": "done", "reports": 1, METRIC: value, "a": 1}
        for name, value in (("x", 0.2), ("y", None), ("z", 0.9), ("w", float("nan")))
    ]
    write_results(tmp_path / "results.csv", rows, ["a"])
    with (tmp_path / "results.csv").open() as file:
        assert [row["trial"] for row in csv.DictReader(file)] == ["z", "x", "w", "y"]


GRID = """
samples: 1
reports: 2
reduction: 100
concurrent: 1
space: {frame_stage.loss.omega: {grid_search: [0.1, 0.5, 2.0]}}
"""


def command(out: Path, space: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "jobs", "tune", str(space), "--recipe", "smoke", f"out={out}", *more]


def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return clean | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def sweep(out: Path, space: Path) -> str:
    done = subprocess.run(
        command(out, space), env=environment(), capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines_of(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_sweep_killed_while_trials_wait_keeps_its_cap_and_trains_no_finished_trial_again(tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(GRID)
    first = subprocess.Popen(
        command(tmp_path, space), env=environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    folder = tmp_path / "smoke" / "tune"
    end = time.monotonic() + 500
    while not (ended := list(folder.glob("*/trials/*/ended.json"))):
        assert first.poll() is None
        assert time.monotonic() < end
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    finished = {path.parent / "metrics.jsonl": (path.parent / "metrics.jsonl").read_bytes() for path in ended}
    said = sweep(tmp_path, space)
    assert "3 trials in" in said
    assert {path: path.read_bytes() for path in finished} == finished
    logs = sorted(folder.glob("*/trials/*/metrics.jsonl"))
    assert len(logs) == 3
    spans = sorted((lines[0]["time"], lines[-1]["time"]) for lines in map(lines_of, logs))
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans)), "one trial at a time"
    (results,) = folder.glob("*/results.csv")
    with results.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["state"], row["reports"]) for row in rows] == [("done", "2")] * 3
    assert sorted(row["frame_stage.loss.omega"] for row in rows) == ["0.1", "0.5", "2.0"]
    before = {path: path.read_bytes() for path in [results, *logs]}
    sweep(tmp_path, space)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in results.parent.iterdir()) == ["ray.log", "results.csv", "trials"]


def test_the_dry_run_says_what_would_be_searched_and_refuses_what_the_sweep_refuses(tmp_path, capsys):
    space = tmp_path / "space.yaml"
    space.write_text(GRID)
    assert main(command(tmp_path, space, "--dry-run")[3:]) == 0
    said = capsys.readouterr().out
    assert "trials      3, 1 at a time, 2 reports each; 0 have ended already" in said
    assert "base run    data, split of seed-0, pretrain" in said
    space.write_text("space: {frame_stage.loss.omga: {grid_search: [0.1]}}")
    assert main(command(tmp_path, space, "--dry-run")[3:]) == 2
    assert "omga" in capsys.readouterr().err
    assert not (tmp_path / "smoke").exists()


def test_what_a_trial_need_not_do_again_is_reported_again(tmp_path):
    lines = [{"step": step, METRIC: step / 10} for step in (2, 4, 6)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert reported(tmp_path) == []
    save_state(tmp_path / "checkpoints", 4, {})
    assert [line["step"] for line in reported(tmp_path)] == [2, 4]
    assert result_of(tmp_path, None) == {"trial": tmp_path.name, "state": "unfinished", "reports": 2, METRIC: 0.4}
    end_trial(tmp_path, "stopped")
    assert [line["step"] for line in reported(tmp_path)] == [2, 4, 6]
    assert result_of(tmp_path, None) == {"trial": tmp_path.name, "state": "stopped", "reports": 3, METRIC: 0.6}


def test_a_trial_is_found_by_its_values(tmp_path):
    one = trial_folder(tmp_path, {"a": 1, "b": {"c": 2}})
    assert one == trial_folder(tmp_path, {"b": {"c": 2}, "a": 1})
    assert one != trial_folder(tmp_path, {"a": 1, "b": {"c": 3}})
