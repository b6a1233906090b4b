"""TG-FixMatch: temporal gradients, and a step of both networks by hand."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from finepseudo.consistency.two_stream import temporal_gradient
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.encoders.stages import watched
from finepseudo.methods.base import Setting, flat
from finepseudo.methods.tg_fixmatch import CHANGE, TG_FIXMATCH, TgFixMatchConfig, plan, streams
from finepseudo.training.checkpoint import save_weights
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.contrast import nt_xent
from jobs.config.recipes import load
from shards.errors import UserError
from shards.read.config import AugmentConfig, SamplingConfig, ViewConfig
from shards.types import ClipBatch, View

VIEW = ViewConfig(sampling=SamplingConfig(frames=4), augment=AugmentConfig(size=16))
REQUESTS = {r.name: r for r in flat(plan(TgFixMatchConfig(), 1, True))}
CLASSES = 3


def encoder(seed):
    torch.manual_seed(seed)
    return build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0), CLASSES)


def made(folder, name="action_encoder", **values):
    save_weights(folder / "change", {f"encoder.{key}": value for key, value in encoder(1).state_dict().items()})
    setting = Setting(
        request=REQUESTS[name],
        encoder=encoder(0),
        fresh=lambda: encoder(9),
        loss=CrossEntropyConfig(),
        n_classes=CLASSES,
        steps=10,
        seed=0,
        weights=(folder / "change",),
    )
    torch.manual_seed(2)
    return TG_FIXMATCH.objective(TgFixMatchConfig(**values), setting).train()


def clips(n, names, label):
    generator = torch.Generator().manual_seed(n)
    views = {name: View(torch.randn(n, 1, 4, 3, 16, 16, generator=generator), torch.zeros(n, 1, 4)) for name in names}
    return ClipBatch(
        keys=tuple(map(str, range(n))),
        views=views,
        n_frames=torch.full((n,), 4),
        labels=torch.full((n,), label),
        pseudo=torch.zeros(n, dtype=torch.bool),
        valid=torch.ones(n, dtype=torch.bool),
    )


BOTH = {"labelled": clips(2, ("only",), 1), "unlabelled": clips(4, ("weak", "strong"), -1)}


def test_a_temporal_gradient_is_what_changes_and_as_long_as_the_clip():
    frames = torch.randn(2, 1, 5, 3, 4, 4)
    change = temporal_gradient(frames)
    assert change.shape == frames.shape
    for t in range(4):
        torch.testing.assert_close(change[:, :, t], frames[:, :, t + 1] - frames[:, :, t])
    assert torch.equal(change[:, :, 4], change[:, :, 3])
    assert not temporal_gradient(frames[:, :, :1]).any(), "one frame does not change"
    assert not temporal_gradient(frames[:, :, :1].expand_as(frames)).any()


def test_a_step_of_both_networks_is_the_papers(tmp_path):
    pool = BOTH["unlabelled"].views
    frames = torch.cat([BOTH["labelled"].frames, pool["weak"].frames, pool["strong"].frames])[:, 0]
    seen, stages, features = [], [], []
    for seed, shown in ((0, frames), (1, temporal_gradient(frames))):
        network = encoder(seed).train()
        with watched(network) as inside:
            features.append(network.features(shown))
        seen.append(network.fc(features[-1]))
        stages.append([stage[2:6] for stage in inside])
    mean = sum(logits[2:6].softmax(1) for logits in seen) / 2
    tau = mean.max(1).values.median().item() + 1e-6
    objective = made(tmp_path, tau=tau, weight=0.7, align_weight=0.3, contrast_weight=0.5, temperature=0.2)
    out = objective(BOTH)
    kept = mean.max(1).values >= tau
    assert 0 < kept.sum() < 4, "the case tells kept from all"
    agreement = sum((F.cross_entropy(x[6:], mean.argmax(1), reduction="none") * kept).sum() / 4 for x in seen)
    labels = sum(F.cross_entropy(x[:2], BOTH["labelled"].labels) for x in seen)
    align = sum((1 - F.cosine_similarity(a, b, dim=-1)).mean() for a, b in zip(*stages, strict=True)) / 4
    heads = [head(x[2:6]) for head, x in zip(objective.heads, features, strict=True)]
    contrast = nt_xent(*heads, torch.ones(4, dtype=torch.bool), 0.2).mean()
    torch.testing.assert_close(out.loss, labels + 0.7 * agreement + 0.3 * align + 0.5 * contrast)


def test_alignment_moves_the_network_of_colours_alone(tmp_path):
    """Stop-gradient: without the other losses nothing of changes is moved."""
    objective = made(tmp_path, weight=0.0, contrast_weight=0.0)
    unlabelled = replace(BOTH["labelled"], labels=torch.full((2,), -1))
    objective({**BOTH, "labelled": unlabelled}).loss.backward()
    moved = {name for name, p in objective.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved and all(name.startswith("encoder.backbone") for name in moved)


@pytest.mark.parametrize("gone", [(), (0, 2), (0, 1, 2, 3)])
def test_any_clips_of_the_pool_may_be_missing(tmp_path, gone):
    objective = made(tmp_path, tau=0.0)
    valid = torch.tensor([i not in gone for i in range(4)])
    out = objective({**BOTH, "unlabelled": replace(BOTH["unlabelled"], valid=valid)})
    out.loss.backward()
    assert out.loss.isfinite() and all(p.grad.isfinite().all() for p in objective.parameters() if p.grad is not None)


def test_the_second_network_learns_labels_from_changes_first(tmp_path):
    first = made(tmp_path, CHANGE)
    (labelled,) = streams(TgFixMatchConfig(), REQUESTS[CHANGE], VIEW)
    assert labelled.role == "labelled"
    wanted = F.cross_entropy(encoder(0).train()(temporal_gradient(BOTH["labelled"].frames)[:, 0]), torch.tensor([1, 1]))
    torch.testing.assert_close(first({"labelled": BOTH["labelled"]}).loss, wanted)
    labelled, pool = streams(TgFixMatchConfig(), REQUESTS["action_encoder"], VIEW)
    assert [view.name for view in pool.views] == ["weak", "strong"] and pool.share == 1
    assert torch.equal(made(tmp_path).change.fc.weight, encoder(1).fc.weight)


def test_an_encoder_without_stages_is_refused_unless_nothing_is_aligned():
    mine = ["methods=[tg_fixmatch]", "action_encoder.variant=torch.nn:Flatten"]
    with pytest.raises(UserError, match=r"method\.tg_fixmatch\.align_weight = 1\.0: .*no stages.*; set it to 0$"):
        load("smoke", mine)
    load("smoke", [*mine, "method.tg_fixmatch.align_weight=0"])
