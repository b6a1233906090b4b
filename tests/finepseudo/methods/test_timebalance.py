"""TimeBalance: what each of its trainings reads, and the student's loss by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from finepseudo.consistency.side import ByKey
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import Setting, flat
from finepseudo.methods.timebalance import TIMEBALANCE, TimeBalanceConfig, plan, streams
from finepseudo.training.checkpoint import save_weights
from finepseudo.training.config import CrossEntropyConfig
from jobs.config.recipes import load
from shards.errors import UserError
from shards.read.config import AugmentConfig, SamplingConfig, ViewConfig
from shards.types import ClipBatch, View

VIEW = ViewConfig(sampling=SamplingConfig(frames=4), augment=AugmentConfig(size=16))
REQUESTS = {r.name: r for r in flat(plan(TimeBalanceConfig(), 2, True)) if hasattr(r, "name")}
CLASSES = 3


def encoder(seed):
    torch.manual_seed(seed)
    return build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0), CLASSES)


def setting(name, folder, **values):
    paths = []
    for place, teacher in enumerate(("invariant", "distinctive")):
        paths.append(folder / teacher)
        state = encoder(place + 1).state_dict()
        save_weights(paths[-1], {f"encoder.{key}": value for key, value in state.items()})
    return Setting(
        request=REQUESTS[name],
        encoder=encoder(0),
        fresh=lambda: encoder(9),
        loss=CrossEntropyConfig(),
        n_classes=CLASSES,
        steps=10,
        seed=0,
        weights=tuple(paths),
        side=(ByKey(("l0", "u0", "u1"), np.array([[0.9], [0.25], [1.0]], np.float32)),),
        **values,
    )


def clips(keys, label):
    n = len(keys)
    generator = torch.Generator().manual_seed(n)
    view = View(torch.randn(n, 1, 4, 3, 16, 16, generator=generator), torch.zeros(n, 1, 4))
    return ClipBatch(
        keys=keys,
        views={"only": view},
        n_frames=torch.full((n,), 4),
        labels=torch.full((n,), label),
        pseudo=torch.zeros(n, dtype=torch.bool),
        valid=torch.ones(n, dtype=torch.bool),
    )


def test_a_teacher_reads_all_videos_twice_and_in_parts_the_student_labels_and_pool_once():
    for name in ("invariant_pretrain", "distinctive_pretrain"):
        (videos,) = streams(TimeBalanceConfig(), REQUESTS[name], VIEW)
        assert videos.role == "all"
        weak, strong = videos.views
        assert (weak.frames, strong.frames, strong.frames_as) == (16, 16, "weak")
        assert weak.augment == strong.augment != VIEW.augment
    labelled, pool = streams(TimeBalanceConfig(mu=2.0), REQUESTS["action_encoder"], VIEW)
    assert labelled.views == pool.views == (VIEW,) and pool.share == 2


def test_the_students_loss_is_the_papers(tmp_path):
    """CE + 50 MSE on labels + 100 MSE on the pool, q = s f_I + (1 - s) f_D, and half of each where s is not known."""
    made = TIMEBALANCE.objective(TimeBalanceConfig(), setting("action_encoder", tmp_path)).train()
    labelled, pool = clips(("l0", "l1"), 1), clips(("u0", "u1", "u2"), -1)
    frames = torch.cat([labelled.frames, pool.frames])[:, 0]
    invariant, distinctive = (encoder(seed).eval()(frames).softmax(1) for seed in (1, 2))
    s = torch.tensor([0.9, 0.5, 0.25, 1.0, 0.5])[:, None]
    target = s * invariant + (1 - s) * distinctive
    logits = encoder(0).train()(frames)
    squared = (logits.softmax(1) - target).square().mean(1)
    wanted = F.cross_entropy(logits[:2], labelled.labels) + 50 * squared[:2].mean() + 100 * squared[2:].mean()
    out = made({"labelled": labelled, "unlabelled": pool})
    torch.testing.assert_close(out.loss, wanted)
    assert out.metrics["train/similarity"] == pytest.approx(s.mean().item())
    out.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.encoder.parameters())
    frozen = {name: p for name, p in made.named_parameters() if not name.startswith("encoder.")}
    assert frozen and not any(p.requires_grad for p in frozen.values())
    before = {name: x.clone() for name, x in made.invariant.state_dict().items()}
    made({"labelled": labelled, "unlabelled": pool})
    assert all(torch.equal(x, before[name]) for name, x in made.invariant.state_dict().items()), "no running statistic"


def test_an_empty_pool_leaves_labels(tmp_path):
    made = TIMEBALANCE.objective(TimeBalanceConfig(), setting("action_encoder", tmp_path))
    pool = clips(("u0",), -1)
    nothing = replace(pool, valid=torch.zeros(1, dtype=torch.bool))
    out = made({"labelled": clips(("l0", "l1"), 1), "unlabelled": nothing})
    out.loss.backward()
    assert out.loss.isfinite() and out.metrics["train/agreement"] == 0


def test_an_encoder_that_shows_no_stages_is_refused_in_one_line():
    mine = ["methods=[timebalance]", "action_encoder.variant=torch.nn:Flatten"]
    with pytest.raises(UserError, match=r"method\.timebalance\.global_local = true: .*no stages.*; set it false$"):
        load("smoke", mine)
    load("smoke", [*mine, "method.timebalance.global_local=false"])
    with pytest.raises(UserError, match="compile"):
        load("smoke", ["methods=[timebalance]", "action_encoder.compile=true"])
