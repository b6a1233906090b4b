"""Consistency methods from the recipe through training and test, without Ray's workers."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from finepseudo.methods.table import METHODS as TABLE
from finepseudo.run_folder import done
from finepseudo.run_folder.layout import CHECKPOINTS, LOG, WEIGHTS
from finepseudo.training.checkpoint import load_weights
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.workers.models import trained_action_encoder
from jobs.workers.train import train_rank
from tests.finepseudo.consistency.test_boxes import write
from tests.test_extend_docs import BLOCKS

METHODS = ("sefar", "mean_teacher", "fixmatch", "softmatch", "cmpl", "actor_cutmix", "pseudo_label_online")
OWN = "entropy"
"""The example of docs/extend.md, taken by its import path."""
KILLED = ("sefar", "softmatch", "cmpl")
"""With a teacher, with running statistics, with a second network and SGD's momentum."""
SMALL = [
    "data.synthetic.train_per_class=4",
    "data.synthetic.test_per_class=1",
    "resources.write_tasks=0",
    "action_stage.train.steps=2",
    "action_stage.self_train.steps=4",
    "action_stage.self_train.log_every=1",
    "method.fixmatch.mu=1.3",
    "method.fixmatch.tau=0.1",
    "method.sefar.mu=1.3",
    "method.softmatch.momentum=0.5",
    "method.cmpl={tau: 0.1, mu: 1.3, auxiliary: tiny, auxiliary_options: {}, optim: {name: sgd, lr: 0.01}}",
    "method.actor_cutmix={tau: 0.1, mu: 1.3, cut: 1.0}",
    "method.pseudo_label_online={tau: 0.1, mu: 1.3}",
]


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Run the trainings of a recipe in this process, in one folder or another."""
    monkeypatch.setattr("jobs.workers.train.fit", lambda job, *_, **__: train_rank(job, 0, 1, torch.device("cpu")))
    monkeypatch.syspath_prepend(tmp_path)
    for block, name in (("streams", "my_entropy"), ("objective", "my_objectives")):
        (tmp_path / f"{name}.py").write_text(BLOCKS[block])
        monkeypatch.delitem(sys.modules, name, raising=False)

    def go(out, methods=METHODS):
        boxes = tmp_path / "boxes.csv"
        words = [
            f"out={tmp_path / out}",
            *SMALL,
            f"methods=[{', '.join(methods)}]",
            f"method.actor_cutmix.boxes={boxes}",
        ]
        cfg = load("smoke", words)
        run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
        run_plan(run, make_plan(run), "code", {"data", "split"}, write=True)
        write(boxes, [(key, 0, 0.1, 0.1, 0.9, 0.6, 0.9) for key in run.split(0).keys("unlabelled")])
        run_plan(run, make_plan(run), "code", {"action_encoder"}, write=True)
        return run

    yield go
    TABLE.pop(OWN, None)


@pytest.mark.slow
def test_every_consistency_method_trains_goes_on_and_can_be_tested(trained, monkeypatch):
    """`mu` 1.3 does not divide, and the pool is longer than the labelled clips; one of the trainings is killed."""
    from jobs.workers.train_loop import Loop

    run = trained("whole", (*METHODS, "my_entropy:ENTROPY"))
    own = run.paths.action_encoder(0, OWN, 1)
    lines = [json.loads(line) for line in (own / LOG).read_text().splitlines()]
    assert len(lines) == 4 and all(0 < line["train/entropy"] < 1.4 for line in lines), "of four classes"
    network = trained_action_encoder(run.cfg, own / WEIGHTS, run.n_classes(), OWN)
    assert network(torch.rand(2, 16, 3, 40, 40)).isfinite().all()
    (stage,) = [s for group in make_plan(run) for s in group if s.folder == own]
    assert set(stage.identity.inputs) >= {"code of my_entropy"} and done.is_done(stage.identity)
    for method in METHODS:
        folder = run.paths.action_encoder(0, method, 1)
        lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
        assert len(lines) == 4 and all(line["train/loss"] > 0 for line in lines)
        assert lines[-1]["train/agreement"] > 0
        weights = load_weights(folder / WEIGHTS)
        others = {"cmpl": {"auxiliary"}, "actor_cutmix": set()}.get(method, {"teacher"})
        assert {name.split(".")[0] for name in weights} >= {"encoder", *others}
        network = trained_action_encoder(run.cfg, folder / WEIGHTS, run.n_classes(), method)
        assert network(torch.rand(2, 16, 3, 40, 40)).shape == (2, run.n_classes())
    real = Loop._train_step

    def killed(self, batch, waited):
        if self.step == 3 and self.job.tags["round"] == 1:
            raise Killed
        return real(self, batch, waited)

    monkeypatch.setattr(Loop, "_train_step", killed)
    for method in KILLED:
        with pytest.raises(Killed):
            trained("killed", (method,))
    monkeypatch.setattr(Loop, "_train_step", real)
    again = trained("killed", KILLED)
    for method in KILLED:
        one, two = (load_weights(r.paths.action_encoder(0, method, 1) / WEIGHTS) for r in (run, again))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert not list((again.paths.action_encoder(0, KILLED[0], 1) / CHECKPOINTS).glob("*.tmp"))
