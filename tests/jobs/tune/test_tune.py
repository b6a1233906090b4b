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

import pytest

from finepseudo.methods.table import METHODS
from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.tune.page import page
from jobs.tune.search import need_optuna, scheduler_of, search_of
from jobs.tune.trainings import request_of
from jobs.tune.trials import METRIC
from jobs.tune.tune import base_kinds, compared, last_line, read_sweep, render, write_best, write_results
from shards.errors import UserError
from tests.jobs.tune.base_run import space_of

ROOT = Path(__file__).parents[3]


def test_the_table_is_best_first_and_failures_last(tmp_path):
    rows = [
        {"trial": name, "state": "done", "reports": 1, METRIC: value, "a": 1}
        for name, value in (("x", 0.2), ("y", None), ("z", 0.9), ("w", float("nan")))
    ]
    write_results(tmp_path / "results.csv", rows, ["a"])
    with (tmp_path / "results.csv").open() as file:
        assert [row["trial"] for row in csv.DictReader(file)] == ["z", "x", "w", "y"]


def test_values_are_written_as_a_person_types_them(tmp_path):
    together = {"norm": "none", "margin": 0.1}
    row = {"trial": "x", "state": "done", "reports": 1, METRIC: 0.5, "frame_stage.loss": together, "a": True}
    write_results(tmp_path / "results.csv", [row], ["frame_stage.loss", "a"])
    (read,) = csv.DictReader((tmp_path / "results.csv").open())
    assert read["frame_stage.loss"] == "{norm: none, margin: 0.1}"
    assert (
        render([row], ["frame_stage.loss", "a"], "pair AP").split("\n")[1].endswith("{norm: none, margin: 0.1}  true")
    )
    assert ">{norm: none, margin: 0.1}<" in page("sweep", "pair AP", [row], ["frame_stage.loss", "a"])


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
    assert sorted(path.name for path in results.parent.iterdir()) == [
        "ray.log",
        "results.csv",
        "results.html",
        "trials",
    ]


def test_the_dry_run_says_what_would_be_searched_and_refuses_what_the_sweep_refuses(tmp_path, capsys):
    space = tmp_path / "space.yaml"
    space.write_text(GRID)
    assert main(command(tmp_path, space, "--dry-run")[3:]) == 0
    said = capsys.readouterr().out
    assert "trials      3, 1 at a time, 2 reports each; 0 have ended already" in said
    assert "base run    data, split of seed-0, pretrain" in said
    assert "  frame_stage.loss.omega: {grid_search: [0.1, 0.5, 2.0]}\n" in said
    space.write_text("space: {frame_stage.loss.omga: {grid_search: [0.1]}}")
    assert main(command(tmp_path, space, "--dry-run")[3:]) == 2
    assert "omga" in capsys.readouterr().err
    assert not (tmp_path / "smoke").exists()


def test_the_best_trial_becomes_a_recipe_that_loads(tmp_path):
    cfg = load("smoke", [f"out={tmp_path}"])
    rows = [
        {"trial": "x", "state": "failed", METRIC: 0.99, "frame_stage.loss": {"norm": "none", "margin": 6.4}},
        {"trial": "y", "state": "stopped", METRIC: 0.8, "frame_stage.loss": {"norm": "T", "margin": 0.05}},
    ]
    path = write_best(cfg, rows, ["frame_stage.loss"], tmp_path / "best.yaml")
    made = load(str(path))
    assert (made.name, made.frame_stage.loss.margin, made.methods) == ("best", 0.05, cfg.methods)
    assert path.read_text().startswith("# best of 2 trials: y, objective 0.8")


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([("done", None), ("stopped", 0.1)], 0.1),
        ([("done", float("nan")), ("failed", 0.9), ("stopped", 0.2), ("done", 0.3)], 0.3),
        ([("unfinished", 0.9), ("done", 0.0)], 0.0),
        ([("done", None)], None),
        ([("stopped", float("nan")), ("done", float("nan"))], None),
        ([("failed", 0.5)], None),
        ([], None),
    ],
)
def test_the_best_trial_is_one_that_ended_with_a_number(tmp_path, rows, best):
    """A sweep of which none did has no best one and ends with 1."""
    table = [
        {"trial": f"t{i}", "state": state, "reports": 1, METRIC: value, "frame_stage.loss.omega": 1.0 + i}
        for i, (state, value) in enumerate(rows)
    ]
    write_results(tmp_path / "results.csv", table, ["frame_stage.loss.omega"])
    assert len(render(table, ["frame_stage.loss.omega"], "pair AP").splitlines()) == 1 + len(rows)
    found = compared(table)
    assert (found[0][METRIC] if found else None) == best
    if found:
        made = load(str(write_best(load("smoke"), table, ["frame_stage.loss.omega"], tmp_path / "best.yaml")))
        assert made.frame_stage.loss.omega == found[0]["frame_stage.loss.omega"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("Traceback\n  somewhere\n\nUserError: lower the rate\n\n"), "UserError: lower the rate"),
        (ValueError(""), "ValueError"),
        (ValueError("x" * 1000), "x" * 300),
    ],
)
def test_of_an_error_the_line_that_says_most_is_shown(error, said):
    assert last_line(error) == said


def test_schedulers_and_searches_go_by_name(tmp_path, monkeypatch):
    asha = scheduler_of(space_of(tmp_path, "space: {}\nreports: 6"))
    assert type(asha).__name__ == "AsyncHyperBandScheduler"
    assert type(scheduler_of(space_of(tmp_path, "space: {}\nscheduler: none"))).__name__ == "FIFOScheduler"
    optuna = space_of(tmp_path, "search: optuna\nspace: {frame_stage.loss.omega: {uniform: [0, 1]}}")
    assert search_of(optuna, 3).max_concurrent == 3
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"search = optuna: the package optuna is not installed; pip install"):
        need_optuna()


def test_what_is_made_before_the_trials_fits_what_they_train(tmp_path):
    kinds = {
        "space: {frame_stage.loss.omega: 1}": {"data", "split", "pretrain"},
        "space: {pretrain.loss.tau: 0.1}": {"data", "split"},
        "space: {}\ntrains: action_encoder": {"data", "split"},
        "space: {}\ntrains: votes\nmethod: finepseudo": {"data", "split", "pretrain"},
    }
    for text, expected in kinds.items():
        assert base_kinds(load("smoke"), space_of(tmp_path, text)) == expected, text
    f_e = space_of(tmp_path, "space: {}\ntrains: action_encoder")
    assert "pretrain" in base_kinds(load("smoke", ["action_encoder.weights=tclr"]), f_e)
    (tmp_path / "s.yaml").write_text("space: {}\ndraws: 2")
    with pytest.raises(UserError, match=r"draws = 2: seeds are \[0\]"):
        read_sweep(load("smoke"), tmp_path / "s.yaml")


def test_a_method_trains_from_the_encoders_own_start():
    cfg = load("smoke", ["rounds=3"])
    assert (request_of(cfg, None).number, request_of(cfg, None).plain) == (0, True)
    request = request_of(cfg, METHODS["fixmatch"])
    assert (request.start, request.times, request.number) == (None, 3, 1)
    with pytest.raises(UserError, match="trains f_E on what a run makes before"):
        request_of(cfg, METHODS["finepseudo"])
