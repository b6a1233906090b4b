"""Methods with more than one model through all stages, without Ray: stopped anywhere, they go on to the bit."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
import torch

from finepseudo.run_folder.layout import LOG, WEIGHTS
from finepseudo.training.checkpoint import load_weights
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.workers.map_parts import Pool
from jobs.workers.models import read_side, trained_action_encoder
from jobs.workers.train import train_rank
from jobs.workers.train_loop import Loop

METHODS = ("finepseudo_sefar", "tg_fixmatch", "timebalance")
SMALL = [
    "data.synthetic.train_per_class=4",
    "data.synthetic.test_per_class=1",
    "resources.write_tasks=0",
    "data.open_world={known: 3, novel: 1}",
    "action_input.sampling.frames=8",
    "pretrain.train.steps=2",
    "frame_stage.train.steps=2",
    "action_stage.train.steps=3",
    "action_stage.self_train.steps=3",
    "action_stage.self_train.log_every=1",
    "action_stage.train.checkpoint_every=1",
    "action_stage.self_train.checkpoint_every=1",
    "method.finepseudo_sefar.mu=1.3",
    "method.tg_fixmatch.tau=0",
]
KINDS = {"data", "split", "pretrain", "frame_encoder", "action_encoder", "embeddings", "scores", "similarity"}
KINDS |= {"evaluation", "votes"}


STOPS = (
    ("finepseudo_sefar", "action_encoder"),
    ("tg_fixmatch", "change_encoder"),
    ("tg_fixmatch", "action_encoder"),
    ("timebalance", "invariant_pretrain"),
    ("timebalance", "distinctive"),
    ("timebalance", "action_encoder"),
)


class Killed(BaseException):
    """Stands for SIGKILL."""


def in_this_process(work, rows, count):
    """Do what one actor does."""
    worker = work.worker(work.told, work.pool)
    return [worker(row) for row in rows if not (work.folder / row["part"]).exists()]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Run the trainings of a recipe, and what they read, in this process, in one folder or another."""
    monkeypatch.setattr("jobs.workers.train.fit", lambda job, *_, **__: train_rank(job, 0, 1, torch.device("cpu")))
    monkeypatch.setattr("jobs.pipeline.runner.side_by_side", lambda *_: False)
    monkeypatch.setattr("jobs.workers.clip_parts.map_parts", in_this_process)
    for stage in ("embeddings", "evaluation", "scores", "similarity", "votes"):
        monkeypatch.setattr(f"jobs.pipeline.stages.{stage}.plan_pool", lambda *_: Pool(actors=1, cpus=1, gpu=False))

    def go(out):
        cfg = load("smoke", [f"out={tmp_path / out}", *SMALL, f"methods=[{', '.join(METHODS)}]"])
        run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
        run_plan(run, make_plan(run), "code", KINDS, write=True)
        return run

    return go


def of(run, method, name="action_encoder"):
    return run.paths.action_encoder(0, method, 1, name)


@pytest.mark.slow
def test_they_train_on_what_earlier_stages_made_and_go_on_after_a_kill(trained, monkeypatch):
    run = trained("whole")
    for method in METHODS:
        lines = [json.loads(line) for line in (of(run, method) / LOG).read_text().splitlines()]
        assert len(lines) == 3 and all(line["train/loss"] > 0 for line in lines)
        assert lines[-1]["train/agreement"] > 0
        network = trained_action_encoder(run.cfg, of(run, method) / WEIGHTS, run.n_classes(), method)
        assert network(torch.rand(2, 8, 3, 40, 40)).shape == (2, run.n_classes())
    split = run.split(0)
    scores, alike = read_side(run.paths.scores(0, None, 0)), read_side(run.paths.similarity(0, "timebalance", 1))
    assert scores.keys == sorted(split.keys("unlabelled")) and scores.values.shape[1] == run.n_classes()
    assert alike.keys == sorted([*split.keys("unlabelled"), *split.keys("labelled")])
    assert run.n_classes() == 3, "an open world: the pool holds clips of a class that f_E does not know"
    assert alike.values.shape[1] == 1 and ((alike.values >= 0) & (alike.values <= 1)).all()
    student, teacher = (load_weights(of(run, "timebalance", n) / WEIGHTS) for n in ("action_encoder", "distinctive"))
    assert all(torch.equal(student[f"distinctive.model.{k.removeprefix('encoder.')}"], v) for k, v in teacher.items())

    real, now = Loop._train_step, {}

    def killed(self, batch, waited):
        tags = self.job.tags
        if self.step == 2 and (tags["method"], tags["stage"]) == now["stop"]:
            raise Killed
        return real(self, batch, waited)

    monkeypatch.setattr(Loop, "_train_step", killed)
    for now["stop"] in STOPS:
        with pytest.raises(Killed):
            trained("killed")
    monkeypatch.setattr(Loop, "_train_step", real)
    again = trained("killed")
    for method, name in (*STOPS, ("timebalance", "invariant")):
        one, two = (load_weights(of(r, method, name) / WEIGHTS) for r in (run, again))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    (part, *_) = sorted(run.paths.similarity(0, "timebalance", 1).glob("part-*.parquet"))
    assert pq.read_schema(part).names == ["key", "similarity"]
