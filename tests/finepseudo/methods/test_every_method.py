"""One step of every training of every method, on a small encoder of every kind, in both precisions."""

from __future__ import annotations

import itertools
from contextlib import nullcontext

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from finepseudo.consistency.side import ByKey
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import Passes, Score, Setting, TrainAction, flat
from finepseudo.methods.labelling import label_pool
from finepseudo.methods.table import METHODS
from finepseudo.training.checkpoint import save_weights
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import CrossEntropyObjective
from shards.read.config import AugmentConfig, SamplingConfig, ViewConfig
from shards.settings import BadSetting
from shards.types import NO_LABEL, ClipBatch, View
from tests.finepseudo.consistency.test_actors import ROWS
from tests.finepseudo.consistency.test_boxes import write
from tests.finepseudo.waits import Waits

FRAMES, SIZE, CLASSES = 8, 32, 3
"""Classes that f_E knows; in an open world the pool holds others, without a label like all of it."""
VIT = {"width": 24, "depth": 2, "heads": 3, "patch": 16, "size": SIZE, "frames": FRAMES}
KINDS = {"tiny": ("tiny", {}), **{name: (name, VIT) for name in ("timesformer_s", "aim_b16", "videomae_b")}}
VIEW = ViewConfig(sampling=SamplingConfig(frames=FRAMES), augment=AugmentConfig(size=SIZE))
KEYS = tuple(f"clip{i}" for i in range(8))
SEFARS = ("sefar", "sefar_as_released", "sefar_stable", "finepseudo_sefar")
UNFIT = set(itertools.product(SEFARS, ("aim_b16", "videomae_b")))
RESTING = {
    "invariant_pretrain": {"encoder.fc"},
    "distinctive_pretrain": {"encoder.fc"},
    "groups": {"encoder.encoder.fc"},
}
"""Layers without a gradient: the last one of f_E where classes play no part, or another head has its place."""


def config(kind, precision="fp32"):
    variant, options = KINDS[kind]
    return ActionEncoderConfig(variant=variant, weights="random", options=options, precision=precision)


def method_config(name, folder):
    """The method's defaults, with what a user has to give and what makes it small."""
    own = {"cmpl": {"auxiliary": "tiny", "auxiliary_options": {}}}
    if name == "actor_cutmix":
        own[name] = {"boxes": str(write(folder / "boxes.csv", ROWS))}
    return METHODS[name].config(**own.get(name, {}))


def trainings(name):
    """The trainings with an objective of the method's own, in order; plain ones are cross-entropy."""
    method = METHODS[name]
    requests = flat(method.plan(method.config(), 2, True))
    own = [r for r in requests if isinstance(r, TrainAction) and not r.plain]
    return {request.name: request for request in own}.values()


def clips(stream):
    """A batch of a stream: its views with random frames, labels only where it has them."""
    n, generator = max(2, round(2 * min(stream.share, 2))), torch.Generator().manual_seed(1)
    views = {}
    for view in stream.views:
        shape = (n, view.count, view.frames, 3, SIZE, SIZE)
        views[view.name] = View(torch.randn(shape, generator=generator), torch.zeros(shape[:3], dtype=torch.int64))
    labelled = stream.role == "labelled"
    return ClipBatch(
        keys=KEYS[:n],
        views=views,
        n_frames=torch.full((n,), 40),
        labels=torch.arange(n) % CLASSES if labelled else torch.full((n,), NO_LABEL),
        pseudo=torch.zeros(n, dtype=torch.bool),
        valid=torch.ones(n, dtype=torch.bool),
    )


def labels_of(method, folder):
    """A table of pseudo-labels of the clips, by the method's vote: unsure, but the last class is surely not it."""
    p = np.tile([0.6, 0.38, 0.02], (len(KEYS), 1))
    passes = Passes(mean=p, std=p * 0, tempered_mean=p, tempered_std=p * 0)
    ones, zeros = np.ones(len(KEYS), bool), np.zeros(len(KEYS))
    table = label_pool(method, method.config(), KEYS, p if method.aligns else None, p, zeros, ones, passes)
    pq.write_table(table, folder / "labels.parquet")
    return folder / "labels.parquet"


def setting(method, request, cfg, folder):
    torch.manual_seed(0)
    encoder, weights = build_action_encoder(cfg, CLASSES), []
    for place, _ in enumerate(request.reads):
        weights.append(folder / f"weights-{place}")
        state = build_action_encoder(cfg, CLASSES).state_dict()
        save_weights(weights[-1], {f"encoder.{name}": value for name, value in state.items()})
    sizes = [CLASSES if isinstance(side, Score) else 1 for side in request.side]
    return Setting(
        request=request,
        encoder=encoder,
        fresh=lambda: build_action_encoder(cfg, CLASSES),
        loss=CrossEntropyConfig(),
        n_classes=CLASSES,
        steps=10,
        seed=0,
        labels=None if request.labels is None else labels_of(method, folder),
        weights=tuple(weights),
        side=tuple(ByKey(KEYS, np.full((len(KEYS), size), 0.5, np.float32)) for size in sizes),
    )


def step(method, request, cfg, folder, device="cpu"):
    """Take a step near the end of the training, where every loss counts; return objective, output and waits."""
    made, own = setting(method, request, cfg, folder), method_config(method.name, folder)
    objective = CrossEntropyObjective(made.encoder, made.loss)
    if method.objective is not None:
        objective = method.objective(own, made)
    objective.train().to(device).after_step(9, 10)
    batches = {stream.name: clips(stream).to(device) for stream in method.trained_streams(own, request, VIEW)}
    with Waits(device) as waits:
        out = objective(batches)
        out.loss.backward()
    return objective, out, waits.seen


def resting(objective):
    """Layers with trained parameters that got no gradient, or a broken one."""
    left = {name for name, p in objective.named_parameters() if p.requires_grad and p.grad is None}
    broken = [name for name, p in objective.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert not broken
    return {name.rpartition(".")[0] for name in left}


CASES = [
    (name, kind, precision)
    for name in METHODS
    for kind, precision in (*((kind, "fp32") for kind in KINDS), ("tiny", "bf16"), ("timesformer_s", "bf16"))
    if (name, kind) not in UNFIT
]


@pytest.mark.parametrize(("name", "kind", "precision"), CASES)
def test_a_step_is_finite_and_moves_what_it_trains(name, kind, precision, tmp_path):
    method, cfg = METHODS[name], config(kind, precision)
    if method.fits is not None:
        method.fits(method.config(), cfg)
    for request in trainings(name) or [TrainAction(number=1, start=0)]:
        objective, out, _ = step(method, request, cfg, tmp_path)
        assert out.loss.isfinite() and out.loss.dtype == torch.float32
        assert all(value.isfinite() for value in out.metrics.values())
        wanted = RESTING.get("groups" if method.network is not None else request.name, set())
        assert resting(objective) == wanted
        assert any(p.grad.abs().max() > 0 for p in objective.encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_waits_for_no_device(name, tmp_path, monkeypatch):
    """A meta tensor's stands for a GPU: neither are its numbers asked for, nor is what crosses to it waited for."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no such device
    for request in trainings(name) or [TrainAction(number=1, start=0)]:
        _, _, waits = step(METHODS[name], request, config("tiny"), tmp_path, "meta")
        assert not waits


def test_pairs_that_do_not_fit_are_refused_in_one_line_and_no_others():
    refused = set()
    for name, kind in itertools.product(METHODS, KINDS):
        method = METHODS[name]
        try:
            if method.fits is not None:
                method.fits(method.config(), config(kind))
        except BadSetting as error:
            assert "\n" not in str(error) and kind in str(error)
            refused.add((name, kind))
    assert refused == UNFIT
