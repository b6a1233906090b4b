"""One label draw beside others: which folder it runs in, who writes the shards, who writes the report."""

import json
from dataclasses import replace

import pytest

from jobs.cli import draw
from jobs.cli.main import main
from jobs.cluster import preempt
from jobs.config.recipes import load
from jobs.pipeline import run_folder
from jobs.pipeline.plan import make_plan
from jobs.pipeline.run_folder import opened_lock, read_config, write_config
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.submit import draws
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


@pytest.fixture
def lacking(monkeypatch):
    """What is still to be made, as (name of the run, kind of stage)."""
    found = {("r", "data"), ("r-seed0", "split"), ("r", "pretrain"), ("r-seed0", "report"), ("r-seed7", "report")}
    for where in (draw, draws):
        monkeypatch.setattr(where, "lacks", lambda cfg, kind: (cfg.name, kind) in found)
    return found


SHARED = [("r", "write-shards"), ("r-seed0", "split"), ("r", "pretrain")]


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_draw_makes_what_all_share_and_the_last_one_the_report(cfg, ran, lacking, capsys, first):
    """Whichever begins: pre-training leaves out the test clips of draw 0, so that is drawn before."""
    seed, other = cfg.seeds[first], cfg.seeds[1 - first]
    lacking.discard((f"r-seed{seed}", "report"))
    assert draw.run_draw(cfg, first) == 0
    assert ran == [*SHARED, (f"r-seed{seed}", "run")]
    assert f"not done yet: {other}; the last one reports" in capsys.readouterr().out
    lacking.clear()
    assert draw.run_draw(cfg, 1 - first) == 0
    assert ran[4:] == [(f"r-seed{other}", "run"), ("r", "report")]


def test_what_all_share_is_made_alone_and_once(cfg, ran, lacking):
    assert draw.make_shared(cfg) == 0
    assert ran == SHARED
    lacking.clear()
    assert draw.make_shared(cfg) == 0
    assert ran == SHARED


def test_each_draw_pre_trains_for_itself_where_that_is_not_shared(tmp_path, ran, lacking):
    own = load("smoke", [f"out={tmp_path}", "seeds=[0, 7]", "pretrain.shared=false"], {"name": "r"})
    assert draw.run_draw(own, 0) == 0
    assert ran[:2] == [("r", "write-shards"), ("r-seed0", "run")]
    assert not (tmp_path / "r-seed0" / "pretrain").exists()


def test_the_stages_of_all_draws_are_those_of_the_run_each_in_one_place(cfg):
    """What a draw links is no stage of its own: its keys could not be told from those of the whole run."""
    for seed in cfg.seeds:
        draws.link_draw(cfg, seed)

    def places(one):
        plan = make_plan(Run(one, Reporter(one.folder, tensorboard=False)))
        return [stage.folder.resolve() for group in plan for stage in group if stage.kind not in ("data", "report")]

    whole = places(cfg)
    assert sorted(whole) == sorted([cfg.folder / "pretrain", *places(draw_of(cfg, 0)), *places(draw_of(cfg, 7))])


def test_a_draw_that_waits_for_another_can_be_stopped(cfg, ran, monkeypatch, capsys):
    monkeypatch.setattr(run_folder, "TURN_S", 0)
    stops = iter([False, True])
    monkeypatch.setattr(preempt, "requested", lambda _: next(stops))
    with opened_lock(cfg.folder / ".draws") as other:
        assert other.take()
        with pytest.raises(preempt.Preempted):
            draw.run_draw(cfg, 0)
    assert ran == []
    assert "another draw makes what all share" in capsys.readouterr().out


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
    own = [{"stage": "pretrain", "seed": 1}, {"stage": "frame_encoder", "seed": 2}]  # made for all; of an older run
    (cfg.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in own))
    for seed in cfg.seeds:
        folder = draw_of(cfg, seed).folder
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(json.dumps({"seed": seed}) + "\n")
    gather(cfg)
    assert read_config(cfg.folder).rounds == cfg.rounds
    lines = (cfg.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [1, 0, 7]
