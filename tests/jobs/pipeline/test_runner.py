"""Stages of a group: side by side where the cluster has the room, and what is raised when several fail."""

from dataclasses import dataclass, replace

import pytest

from jobs.cluster.preempt import Preempted
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.runner import run_plan, side_by_side
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.errors import UserError


@pytest.mark.parametrize(
    ("have", "keys", "expected"),
    [
        ({"CPU": 2}, [], True),
        ({"CPU": 1}, [], False),
        ({"CPU": 2}, ["resources.cpus_per_worker=2"], False),
        ({"CPU": 8, "GPU": 1}, [], False),
        ({"CPU": 8, "GPU": 2}, [], True),
        ({"CPU": 8, "GPU": 2}, ["resources.workers=2"], False),
        ({"CPU": 8, "GPU": 1}, ["resources.device=cpu"], True),
        ({"CPU": 2}, ["resources.workers=auto"], True),
        ({"CPU": 64, "GPU": 8}, ["resources.workers=auto"], False),
        ({"CPU": 64, "GPU": 16}, ["resources.workers=auto"], True),
        ({"CPU": 1}, ["resources.parallel_encoders=true"], True),
        ({"CPU": 9}, ["resources.parallel_encoders=false"], False),
    ],
)
def test_two_trainings_run_side_by_side_where_both_fit(monkeypatch, have, keys, expected):
    monkeypatch.setattr("ray.cluster_resources", lambda: have)
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": have}])
    assert side_by_side(load("smoke", keys), 2) is expected


@dataclass
class Failing:
    """A group of two stages that end with errors."""

    run: Run
    plan: list

    def ends_with(self, *errors):
        for stage, error in zip(self.plan[0], errors, strict=True):
            object.__setattr__(stage, "run", lambda error=error: raised(error))
        run_plan(self.run, self.plan, "code", write=False)


def raised(error):
    raise error


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Two data stages of two runs, side by side: neither has inputs."""
    monkeypatch.setattr("jobs.pipeline.runner.side_by_side", lambda *_: True)
    runs = []
    for name in ("one", "two"):
        cfg = load("smoke", [f"out={tmp_path}", f"name={name}"])
        cfg.folder.mkdir()
        runs.append(Run(cfg, Reporter(cfg.folder, tensorboard=False)))
    return Failing(runs[0], [[make_plan(run)[0][0] for run in runs]])


def test_a_failure_is_the_news_where_the_other_was_only_stopped(failing):
    for errors in ((UserError("disk"), Preempted()), (Preempted(), UserError("disk"))):
        with pytest.raises(UserError, match="disk"):
            failing.ends_with(*errors)
    with pytest.raises(Preempted):
        failing.ends_with(Preempted(), Preempted())
    assert not list(failing.run.paths.root.rglob("DONE.json"))


def test_a_stage_that_ends_without_what_it_has_to_make_is_not_done(failing):
    (first, _) = failing.plan[0]
    failing.plan[0] = [replace(first)]
    object.__setattr__(failing.plan[0][0], "run", lambda: None)
    with pytest.raises(UserError, match="data ended without"):
        run_plan(failing.run, failing.plan, "code", write=False)
