"""How far a plan has come and what is left of it, from records of stages that took known times."""

import json

import pytest

from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run
from jobs.pipeline.time_left import TimeLeft, rough
from jobs.progress import Reporter


@pytest.fixture
def plan(tmp_path):
    cfg = load("smoke", [f"out={tmp_path}", "seeds=[0, 1]", "methods=[supervised, finepseudo]"])
    return make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False)))


def record(stage, seconds):
    stage.identity.record.parent.mkdir(parents=True, exist_ok=True)
    stage.identity.record.write_text(json.dumps({"stage": stage.kind, "wall_s": seconds, "outputs": {}}))


def test_nothing_is_guessed_before_anything_is_known(plan):
    stages = [stage for group in plan for stage in group]
    assert TimeLeft(plan).line(stages[2]) == f"stage 3 of {len(stages)}"
    only = TimeLeft(plan, {"embeddings"})
    assert only.line(next(s for s in stages if s.kind == "embeddings")) == "stage 1 of 4"


def test_the_second_label_draw_is_guessed_from_the_first(plan):
    """Each stage of the first takes a minute: so many minutes are left of the second, and no less than known."""
    stages = [stage for group in plan for stage in group]
    second = [stage for stage in stages if "seed-1" in stage.name]
    for stage in stages:
        if stage not in second and stage.kind != "report":
            record(stage, 60)
    assert TimeLeft(plan).line(second[0]).endswith(f", about {len(second)} min left")
    record(second[1], 60)
    assert TimeLeft(plan).line(second[0]).endswith(f", about {len(second) - 1} min left")


def test_what_is_not_known_makes_it_a_lower_bound(plan):
    stages = [stage for group in plan for stage in group]
    left = TimeLeft(plan)
    left.note(next(stage for stage in stages if stage.kind == "split"), 600)
    assert left.line(stages[1]) == f"stage 2 of {len(stages)}, at least 20 min left"


def test_guesses_are_coarse():
    assert [rough(s) for s in (20, 100, 2400, 9000, 200000)] == ["a minute", "2 min", "40 min", "2.5 h", "56 h"]
