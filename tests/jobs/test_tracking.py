"""Trackers that are asked for by one key: what they are told, and that nothing is needed where nobody asks."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from jobs import tracking
from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.progress import Reporter
from jobs.tracking import MlflowTracker, WandbTracker, curve_id, make_tracker
from shards.errors import UserError

LINE = {"seed": 0, "method": "finepseudo", "round": 1, "stage": "action_encoder", "steps": 9}
CURVE = "seed-0/finepseudo/round-01/action_encoder"


def test_no_key_needs_no_package_and_an_absent_one_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    assert make_tracker("", tmp_path) is None
    with pytest.raises(UserError, match=r"tracker = mlflow: the package is not installed; pip install"):
        Reporter(tmp_path, tracker="mlflow")


def test_the_key_takes_the_trackers_there_are(capsys):
    assert load("smoke", ["tracker=wandb"]).tracker == "wandb"
    assert main(["keys", "tracker", "tracker=comet"]) == 2
    assert "comet" in capsys.readouterr().err


def test_a_reporter_hands_on_each_line_once_with_its_numbers_alone(tmp_path, monkeypatch):
    told = []
    made = SimpleNamespace(log=lambda *point: told.append(point), close=lambda: told.append("closed"))
    monkeypatch.setattr("jobs.progress.make_tracker", lambda name, run: made)
    with Reporter(tmp_path, tensorboard=False, tracker="wandb") as reporter:
        for step in (1, 2, 2):
            reporter.scalars({**LINE, "step": step, "train/loss": step / 2})
    assert told == [(CURVE, {"train/loss": 0.5}, 1), (CURVE, {"train/loss": 1.0}, 2), "closed"]


@pytest.mark.parametrize("breaks", ["log", "close"])
def test_a_tracker_that_breaks_is_told_no_more_and_every_number_is_kept(tmp_path, monkeypatch, capsys, breaks):
    told = []

    def act(name):
        told.append(name)
        if name == breaks:
            raise ConnectionError("api.example:\n  unreachable")

    made = SimpleNamespace(log=lambda *point: act("log"), close=lambda: act("close"))
    monkeypatch.setattr("jobs.progress.make_tracker", lambda name, run: made)
    log = tmp_path / "stage.jsonl"
    with Reporter(tmp_path, tensorboard=False, tracker="mlflow") as reporter, reporter.follow("stage", log):
        log.write_text("".join(json.dumps({**LINE, "step": step, "train/loss": 1.0}) + "\n" for step in (1, 2, 3)))
    assert [json.loads(text)["step"] for text in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    assert told == (["log"] if breaks == "log" else ["log"] * 3 + ["close"])
    warned = capsys.readouterr().err
    assert warned.count("\n") == 1
    assert "warning: tracker: api.example: unreachable; it is told no more" in warned


def test_wandb_is_offline_unless_the_environment_says_otherwise(tmp_path, monkeypatch):
    """Its calls alone are looked at here: the program itself starts a service."""
    started = []

    def init(**settings):
        started.append(settings)
        return SimpleNamespace(log=lambda values: None, finish=lambda: None)

    fake = ModuleType("wandb")
    fake.init, fake.Settings = init, SimpleNamespace
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    WandbTracker(tmp_path).log(CURVE, {"train/loss": 1.0}, 1)
    monkeypatch.setenv("WANDB_MODE", "online")
    WandbTracker(tmp_path).log(CURVE, {"train/loss": 1.0}, 2)
    assert [settings["mode"] for settings in started] == ["offline", "online"]
    assert {settings["id"] for settings in started} == {curve_id(tmp_path, CURVE)}
    assert started[0]["dir"] == str(tmp_path)


@pytest.mark.slow
def test_mlflow_holds_every_point_of_a_curve_that_went_on(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for step in (1, 2):
        tracker = MlflowTracker(tmp_path)
        tracker.log(CURVE, {"train/loss": step / 2}, step)
        tracker.close()
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(tmp_path.name).experiment_id])
    assert run.info.run_name == CURVE
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "train/loss")] == [
        (1, 0.5),
        (2, 1.0),
    ]


@pytest.mark.slow
def test_wandb_leaves_a_run_in_the_folder(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = WandbTracker(tmp_path)
    tracker.log(CURVE, {"train/loss": 1.0}, 1)
    tracker.close()
    assert list((tmp_path / "wandb").glob(f"offline-run-*-{curve_id(tmp_path, CURVE)}/*.wandb"))
