"""What each row of the consistency methods makes of the shared objective, on one step of tiny encoders."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import Setting, TrainAction
from finepseudo.methods.table import METHODS
from finepseudo.training.config import CrossEntropyConfig
from shards.read.config import ViewConfig
from shards.types import ClipBatch, View

ROWS = ("pseudo_label_online", "mean_teacher", "fixmatch", "uda", "softmatch", "freematch", "svformer")


def objective(name, **values):
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny"), 3)
    setting = Setting(
        request=TrainAction(number=1, start=0),
        encoder=encoder,
        fresh=lambda: encoder,
        loss=CrossEntropyConfig(),
        n_classes=3,
        steps=10,
        seed=0,
    )
    method = METHODS[name]
    made = method.objective(method.config(**values), setting)
    made.after_step(5, 10)
    return made


def clips(n, names, label):
    generator = torch.Generator().manual_seed(n)
    views = {name: View(torch.randn(n, 1, 8, 3, 32, 32, generator=generator), torch.zeros(n, 1, 8)) for name in names}
    return ClipBatch(
        keys=tuple(map(str, range(n))),
        views=views,
        n_frames=torch.full((n,), 8),
        labels=torch.full((n,), label),
        pseudo=torch.zeros(n, dtype=torch.bool),
        valid=torch.ones(n, dtype=torch.bool),
    )


def step(made):
    made.train()
    names = ("weak",) if made.parts.student == "weak" else ("weak", "strong")
    out = made({"labelled": clips(2, ("only",), 1), "unlabelled": clips(4, names, -1)})
    out.loss.backward()
    return out.metrics


@pytest.mark.parametrize("name", ROWS)
def test_a_step_of_every_row_learns_from_the_pool(name):
    low = {"tau": 0.0} if "tau" in {field.name for field in fields(METHODS[name].config)} else {}
    made = objective(name, **low)
    told = step(made)
    assert told["train/agreement"] > 0 and 0 < told["train/weight"] <= 1
    assert all(p.grad.isfinite().all() for p in made.encoder.parameters())
    assert all(p.grad is None for p in made.teacher.parameters())


def test_thresholds_that_nothing_reaches_leave_the_labels_alone():
    for name in ("pseudo_label_online", "fixmatch", "uda", "svformer"):
        told = step(objective(name, tau=1.0))
        assert told["train/weight"] == told["train/agreement"] == 0


def test_running_statistics_of_weights_are_in_the_state():
    """They follow the pool while training, and a checkpoint holds them."""
    for name, key in (("softmatch", "weighter.mu"), ("freematch", "weighter.bar")):
        made = objective(name, momentum=0.5)
        before = made.state_dict()[key].clone()
        step(made)
        assert made.state_dict()[key] != before
        again = objective(name)
        again.load_state_dict(made.state_dict())
        assert again.state_dict()[key] == made.state_dict()[key]


def test_svformer_warps_the_student_and_mixes_it():
    made, seen = objective("svformer", tau=0.0, channel_drop=0.0), []
    made.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    shown = set()
    for number in range(5, 12):
        made.done = number
        step(made)
        strong = seen[-1][2:6]
        shown.add(len({frame.sum().item() for frame in strong[0]}))
    assert shown == {2, 4, 8}, "a quarter, a half or all of the frames"
    assert len(seen[-1]) == 2 + 4 + 4


def test_svformers_mixed_clips_count_by_what_is_sure_of_both_labels():
    """Its code, clip by clip: the mask of each label, mixed as the clips are; one-hot where sure, else as it is."""
    weak = clips(4, ("weak", "strong"), -1).views["weak"].frames[:, 0]
    said = objective("svformer").teacher.model(weak).softmax(1)
    bar = float(said.max(1).values.sort().values[1:3].mean())
    made, seen = objective("svformer", tau=bar, warp=False, channel_drop=0.0), []
    made.encoder.register_forward_hook(lambda _, inputs, logits: seen.append(logits.detach()))
    told = step(made)
    share, total = float(np.random.default_rng((0, made.done)).beta(10, 10)), 0.0
    sure = [p.max().item() >= bar for p in said]
    assert sum(sure) == 2
    labels = [torch.eye(3)[p.argmax()] if known else p for p, known in zip(said, sure, strict=True)]
    for own, other in ((0, 1), (1, 0), (2, 3), (3, 2)):
        wanted = share * labels[own] + (1 - share) * labels[other]
        counts = share * sure[own] + (1 - share) * sure[other]
        total += counts * ((seen[-1][6 + own] - wanted) ** 2).mean().item() / 4
    assert told["train/mixed"].item() == pytest.approx(total, rel=1e-4)


def test_svformer_drops_colour_planes_of_what_a_clip_keeps_of_itself():
    made, seen = objective("svformer", tau=0.0, warp=False, channel_drop=0.5), []
    made.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(1)
    step(made)
    strong = clips(4, ("weak", "strong"), -1).views["strong"].frames[:, 0]
    dropped = (seen[-1][2:6] == 0).all(dim=(1, 3, 4))
    assert 0 < dropped.sum() < dropped.numel()
    kept = 2 * torch.where(dropped[:, None, :, None, None], 0.0, strong)
    torch.testing.assert_close(seen[-1][2:6], kept)
    mixed, other = seen[-1][6:], strong[[1, 0, 3, 2]]
    assert torch.logical_or(mixed == kept, mixed == other).all()
    assert (mixed == other).any()


def test_online_pseudo_labels_are_learnt_from_the_frames_they_were_made_of():
    """The ramp is 0 at first, so that a step is the labels alone; then the argmax of f_E itself is taught."""
    made = objective("pseudo_label_online", tau=0.0)
    made.after_step(0, 10)
    assert step(made)["train/agreement"] == 0
    made.after_step(2, 10)
    weak, seen = clips(4, ("weak",), -1).frames[:, 0], []
    label = made.encoder.eval()(weak).argmax(1)
    made.encoder.register_forward_hook(lambda _, inputs, logits: seen.append((inputs[0], logits.detach())))
    told = step(made)
    ((frames, logits),) = seen
    torch.testing.assert_close(frames[2:], weak)
    torch.testing.assert_close(told["train/ramp"], torch.tensor(0.5))
    torch.testing.assert_close(told["train/agreement"], torch.nn.functional.cross_entropy(logits[2:], label))


def test_the_pool_of_online_pseudo_labels_has_one_view():
    method = METHODS["pseudo_label_online"]
    _, pool = method.streams(method.config(mu=2.0, weak_flip=0.0), TrainAction(number=1, start=0), ViewConfig())
    assert [view.name for view in pool.views] == ["weak"] and pool.share == 2.0
    assert pool.views[0].augment.flip == 0.0


def test_uda_sharpens_what_it_teaches():
    """At T = 1 the probabilities are taught as they are; towards 0 their argmax is, as FixMatch teaches it."""
    soft, sharp = (step(objective("uda", tau=0.0, temperature=t))["train/agreement"] for t in (1.0, 1e-4))
    torch.testing.assert_close(sharp, step(objective("fixmatch", tau=0.0))["train/agreement"])
    assert soft != sharp
