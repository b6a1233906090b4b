"""Sweeps: what a space may say, what is held out, and a real one that is not run twice."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config.recipes import load
from jobs.tune.tune import METRIC, first_value, hold_out, read_space, sweep_folder, with_values, write_results
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


def sweep(out: Path, space: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jobs", "tune", str(space), "--recipe", "smoke", f"out={out}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_sweep_prints_its_table_and_is_not_run_twice(tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("samples: 1\nreports: 2\nspace: {frame_stage.loss.omega: {grid_search: [0.5, 2.0]}}\n")
    said = sweep(tmp_path, space)
    assert "pair AP" in said
    (results,) = (tmp_path / "smoke" / "tune").glob("*/results.csv")
    with results.open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["frame_stage.loss.omega"] for row in rows) == ["0.5", "2.0"]
    assert all(0 <= float(row[METRIC]) <= 1 for row in rows)
    logs = {path: path.read_bytes() for path in results.parent.glob("trials/*/metrics.jsonl")}
    before = results.read_bytes()
    sweep(tmp_path, space)
    assert results.read_bytes() == before
    assert {path: path.read_bytes() for path in logs} == logs
