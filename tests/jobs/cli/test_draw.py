"""One label draw beside others: which folder it runs in, who writes the shards, who writes the report."""

import json
from dataclasses import replace

import pytest

from jobs.cli import draw
from jobs.cli.main import main
from jobs.cluster import preempt
from jobs.config.recipes import load
from jobs.pipeline import run_folder
from jobs.pipeline.run_folder import opened_lock, read_config, write_config
from jobs.submit.draws import draw_of, gather
from shards.errors import UserError


@pytest.fixture
def cfg(tmp_path):
    return load("smoke", [f"out={tmp_path}", "seeds=[0, 7]"], {"name": "r"})


@pytest.fixture
def ran(monkeypatch):
    """The commands that would run, as (name of the run, command); the signal handlers stay as they are."""
    commands = []

    def run(cfg, command, **_):
        commands.append((cfg.name, command))
        return 0

    monkeypatch.setattr(draw, "run", run)
    monkeypatch.setattr(preempt, "install", lambda _: None)
    return commands


def test_the_first_draw_writes_the_shards_and_the_last_one_the_report(cfg, ran, monkeypatch, capsys):
    lacking = {("r", "data"), ("r-seed0", "report"), ("r-seed7", "report")}
    monkeypatch.setattr(draw, "lacks", lambda cfg, kind: (cfg.name, kind) in lacking)
    monkeypatch.setattr("jobs.submit.draws.lacks", lambda cfg, kind: (cfg.name, kind) in lacking)
    lacking.discard(("r-seed0", "report"))
    assert draw.run_draw(cfg, 0) == 0
    assert ran == [("r", "write-shards"), ("r-seed0", "run")]
    assert "not done yet: 7; the last one reports" in capsys.readouterr().out
    lacking.clear()
    assert draw.run_draw(cfg, 1) == 0
    assert ran[2:] == [("r-seed7", "run"), ("r", "report")]


def test_a_draw_that_waits_for_another_can_be_stopped(cfg, ran, monkeypatch, capsys):
    monkeypatch.setattr(run_folder, "TURN_S", 0)
    stops = iter([False, True])
    monkeypatch.setattr(preempt, "requested", lambda _: next(stops))
    with opened_lock(cfg.folder / ".draws") as other:
        assert other.take()
        with pytest.raises(preempt.Preempted):
            draw.run_draw(cfg, 0)
    assert ran == []
    assert "another draw writes the shards" in capsys.readouterr().out


def test_a_draw_that_is_not_there_is_refused_and_leaves_nothing(tmp_path, capsys):
    assert main(["run", "--recipe", "smoke", f"out={tmp_path}", "--draw", "2"]) == 2
    assert "--draw 2: seeds are [0], counted from 0; add seeds=[0,1,2]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_draw_without_the_weights_of_its_recipe_leaves_no_folder(tmp_path, ran):
    cfg = load("finediving", [f"out={tmp_path}", "frame_encoder.weights=random"])
    with pytest.raises(UserError, match=r"action_encoder\.weights: variant"):
        draw.run_draw(cfg, 0)
    assert list(tmp_path.iterdir()) == []


def test_the_report_is_of_what_the_draws_ran_with_and_of_their_curves(cfg):
    write_config(replace(cfg, rounds=3))
    for seed in cfg.seeds:
        folder = draw_of(cfg, seed).folder
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(json.dumps({"seed": seed}) + "\n")
    gather(cfg)
    assert read_config(cfg.folder).rounds == cfg.rounds
    lines = (cfg.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, 7]
