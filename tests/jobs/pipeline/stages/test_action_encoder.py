"""A method with streams, an objective and a teacher of its own, from its contract through the stages, without Ray."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from finepseudo.distributed import global_mean
from finepseudo.methods.base import LABELLED, Stream, TrainAction
from finepseudo.methods.table import METHODS
from finepseudo.run_folder.layout import WEIGHTS
from finepseudo.training.checkpoint import load_weights
from finepseudo.training.objectives import CrossEntropyObjective, StepOutput
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan, unfinished
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter, Tail
from jobs.workers.accuracy_probe import ACCURACY
from jobs.workers.train import train_rank

SMALL = [
    "data.synthetic.train_per_class=4",
    "data.synthetic.test_per_class=1",
    "resources.write_tasks=0",
    "methods=[supervised]",
    "action_stage.train.steps=2",
    "action_stage.self_train.steps=4",
    "action_encoder.weights=tclr",
    "action_pretrain.train={epochs: null, steps: 2}",
    "action_pretrain.order.batch_size=4",
    "split.held_out=0.5",
    "action_stage.validate_every=1",
]


class Agreement(CrossEntropyObjective):
    """Cross-entropy on labels, and on what a moving average of the student says of the pool."""

    def __init__(self, setting):
        super().__init__(setting.encoder, setting.loss)
        self.teacher = nn.ModuleDict({"model": setting.fresh().requires_grad_(False)})
        self.teacher.model.load_state_dict(self.encoder.state_dict())
        self.seen = []

    def forward(self, batches):
        supervised = super().forward({LABELLED: batches[LABELLED]})
        pool = batches["unlabelled"]
        assert (pool.labels < 0).all(), "labels of the pool stay hidden"
        assert not set(pool.keys) & set(batches[LABELLED].keys)
        self.seen.append((batches[LABELLED].keys, pool.keys, pool.frames.shape))
        frames = pool.frames[pool.valid, 0]
        with torch.no_grad():
            target = self.teacher.model(frames).argmax(-1)
        loss = F.cross_entropy(self.encoder(frames), target, reduction="none")
        return StepOutput(supervised.loss + global_mean(loss, torch.ones_like(target, dtype=torch.bool)), {})

    @torch.no_grad()
    def after_step(self, step, total):
        for mine, own in zip(self.teacher.model.parameters(), self.encoder.parameters(), strict=True):
            mine.lerp_(own, 0.5)


def streams(cfg, request, view):
    """The pool twice as fast as the labels, seen smaller."""
    weak = replace(view, augment=replace(view.augment, size=32))
    return (
        Stream(name=LABELLED, role="labelled", views=(view,)),
        Stream(name="unlabelled", role="unlabelled", views=(weak,), share=2),
    )


@pytest.fixture
def made(monkeypatch):
    """The method in the place of a listed one; the objectives that are built."""
    built = []

    def objective(cfg, setting):
        built.append(Agreement(setting))
        return built[-1]

    method = replace(METHODS["supervised"], streams=streams, objective=objective, tested="teacher", pool=True)
    monkeypatch.setitem(METHODS, "supervised", method)
    jobs = []

    def fit(job, *_, **__):
        jobs.append(job)
        train_rank(job, 0, 1, torch.device("cpu"))

    monkeypatch.setattr("jobs.workers.train.fit", fit)
    return built, jobs


@pytest.mark.slow
def test_labels_and_pool_side_by_side_under_a_teacher(made, tmp_path):
    cfg = load("smoke", [f"out={tmp_path}", *SMALL])
    run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
    run_plan(run, make_plan(run), "code", {"data", "split", "pretrain", "action_encoder"}, write=True)
    (objective,), jobs = made  # round 0 is plain
    assert objective.seen[0][2] == (16, 1, 16, 3, 32, 32)
    assert [len(labelled) for labelled, _, _ in objective.seen] == [8] * 4
    pool = {key for _, keys, _ in objective.seen for key in keys if key}
    assert pool == set(run.split(0).keys("unlabelled"))
    weights = load_weights(run.paths.action_encoder(0, "supervised", 1) / WEIGHTS)
    prefixes = {name.split(".")[0] for name in weights}
    assert prefixes == {"encoder", "teacher"}
    split, (contrast, *_) = run.split(0), jobs
    (videos,) = contrast.streams.values()
    assert set(videos.items.keys) == {*split.keys("labelled"), *split.keys("unlabelled")}
    assert set(videos.items.labels) == {-1}, "TCLR sees videos alone, none of the test and none held out"
    tclr = load_weights(run.paths.action_pretrain(None) / WEIGHTS)
    begun = jobs[1].objective().encoder.backbone.state_dict()
    assert all(torch.equal(value, tclr[f"encoder.backbone.{name}"]) for name, value in begun.items())
    looked = {line["step"] for line in Tail(run.paths.metrics).new() if ACCURACY in line and line["round"] == 1}
    assert looked == {1, 2, 3, 4}, "the teacher's accuracy on held-out clips"
    (test,) = [stage for stage in unfinished(make_plan(run)) if stage.kind == "evaluation"]
    assert test.method.tested == "teacher"


def test_keys_of_a_method_are_read_by_its_own_trainings_alone():
    cfg = load("smoke")
    run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
    from jobs.pipeline.stages.action_encoder import ActionEncoderStage

    method = replace(METHODS["finepseudo"], training_keys=("theta",))
    for plain, wanted in ((True, set()), (False, {"theta"})):  # the optimiser is every training's
        request = TrainAction(number=1, start=0, plain=plain)
        stage = ActionEncoderStage(run_of=run, seed=0, method=method, request=request)
        assert {key for key in stage.identity.config if key.startswith("method.")} == {
            f"method.finepseudo.{name}" for name in {"optim", *wanted}
        }
