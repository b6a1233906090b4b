"""SeFAR's rows: what they read, what each does to time, and the network that they test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from finepseudo.consistency.grouped import GroupedEncoder
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import Setting, TrainAction
from finepseudo.methods.sefar import SEFAR, SEFAR_AS_RELEASED, SEFAR_STABLE, SefarConfig, perturbation, streams
from finepseudo.training.config import CrossEntropyConfig
from shards.read.config import AugmentConfig, SamplingConfig, ViewConfig
from shards.read.groups import group_sizes, group_slots
from shards.read.views import draw_views
from shards.settings import BadSetting
from shards.types import ClipBatch, View

VIEW = ViewConfig(sampling=SamplingConfig(frames=8), augment=AugmentConfig(size=32))
REQUEST = TrainAction(number=1, start=0)
SLOTS = group_slots((2, 2, 4), 8)
FRAMES = torch.arange(8.0).view(1, 8, 1, 1, 1) * 10 + torch.arange(3.0).view(1, 1, 3, 1, 1)


def objective(method, **values):
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny"), 4)
    cfg = method.config(**values)
    setting = Setting(
        request=REQUEST,
        encoder=encoder,
        fresh=lambda: encoder,
        loss=CrossEntropyConfig(),
        n_classes=4,
        steps=12,
        seed=0,
    )
    return method.objective(cfg, setting)


def shown(kind: str) -> list[int]:
    frames = perturbation(kind)(FRAMES, SLOTS, np.random.default_rng(0))
    return [int(x) // 10 for x in frames[0, :, 0, 0, 0].tolist()]


def test_the_default_groups_are_the_papers_at_its_length_and_share_out_any_other():
    assert group_sizes((), 8) == (2, 2, 4)
    for frames in range(4, 65):
        slots = group_slots(group_sizes((), frames), frames)
        assert sorted(slot for own in slots for slot in own) == list(range(frames))
        assert all(slots)


def test_reversal_turns_the_fine_groups_and_leaves_the_context_and_twice_is_nothing():
    assert shown("reverse") == [0, 5, 2, 7, 4, 1, 6, 3]
    reverse, rng = perturbation("reverse"), np.random.default_rng(0)
    assert torch.equal(reverse(reverse(FRAMES, SLOTS, rng), SLOTS, rng), FRAMES)


def test_the_released_code_turns_colours_and_leaves_time():
    assert SEFAR_AS_RELEASED.config().perturb == "channel_flip"
    flipped = perturbation("channel_flip")(FRAMES, SLOTS, np.random.default_rng(0))
    for slot in range(8):
        context = slot in SLOTS[-1]
        assert torch.equal(flipped[:, slot], FRAMES[:, slot] if context else FRAMES[:, slot].flip(1))


@pytest.mark.parametrize(
    "kind", ["none", "local_shuffle", "all_shuffle", "all_reverse", "warping", "t_half", "slow", "t_drop"]
)
def test_every_alternative_shows_frames_of_the_clip(kind):
    order = shown(kind)
    assert len(order) == 8 and set(order) <= set(range(8))
    assert (order == list(range(8))) <= (kind in {"none", "warping", "local_shuffle"})


def test_the_pool_is_drawn_twice_and_each_draw_in_groups():
    labelled, pool = streams(SefarConfig(), REQUEST, VIEW)
    assert [view.frames for view in labelled.views] == [2, 2, 4]
    assert [view.name for view in pool.views] == [
        f"{name}.{group}" for name in ("weak", "strong") for group in range(3)
    ]
    assert pool.share == 3
    drawn = draw_views(pool.views, 200, (5,))
    weak, strong = (np.concatenate([view.ids[0] for view in part]) for part in (drawn[:3], drawn[3:]))
    assert len(set(weak)) == 8 and (weak != strong).any()
    assert [view.augment.flip for view in pool.views] == [0.0] * 3 + [0.5] * 3


def test_groups_are_cut_alike_only_where_asked():
    for method, alike in ((SEFAR, False), (SEFAR_STABLE, True)):
        (_, pool) = method.streams(method.config(), REQUEST, VIEW)
        crops = [repr(view.params[0]) for view in draw_views(pool.views, 200, (5,))[:3]]
        assert (crops[0] == crops[1] == crops[2]) == alike


@pytest.mark.parametrize("groups", [(2, 2), (2, 2, 5)])
def test_groups_that_do_not_share_out_the_clip_are_refused(groups):
    with pytest.raises(BadSetting, match=r"groups = .*8 frames"):
        streams(SefarConfig(groups=groups), REQUEST, VIEW)
    with pytest.raises(BadSetting, match="dense"):
        streams(SefarConfig(), REQUEST, replace(VIEW, sampling=SamplingConfig(frames=8, policy="dense")))


def grouped(batch: int, names: tuple[str, ...], labels: bool) -> ClipBatch:
    """Frames whose value is their place in the clip."""
    views = {}
    for name in names:
        for group, slots in enumerate(SLOTS):
            frames = torch.tensor(slots, dtype=torch.float32).view(1, 1, -1, 1, 1, 1).expand(batch, 1, -1, 3, 32, 32)
            views[f"{name}.{group}"] = View(frames, torch.tensor(slots).expand(batch, 1, -1))
    return ClipBatch(
        keys=tuple(map(str, range(batch))),
        views=views,
        n_frames=torch.full((batch,), 8),
        labels=torch.zeros(batch, dtype=torch.int64) if labels else torch.full((batch,), -1),
        pseudo=torch.zeros(batch, dtype=torch.bool),
        valid=torch.ones(batch, dtype=torch.bool),
    )


@pytest.mark.parametrize("method", [SEFAR, SEFAR_AS_RELEASED, SEFAR_STABLE])
def test_a_step_puts_the_groups_in_order_of_time_and_teaches(method):
    made, seen = objective(method, channel_drop=0.0), []
    made.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    both = {"labelled": grouped(2, ("only",), True), "unlabelled": grouped(4, ("weak", "strong"), False)}
    assert made(both).metrics["train/ramp"] == 0, "two of twelve steps are labels alone"
    made.after_step(6, 12)
    out = made(both)
    out.loss.backward()
    places = [row[:, 0, 0, 0].tolist() for row in seen[-1]]
    assert places[0] == list(range(8))
    assert places[2] == (
        [0, 5, 2, 7, 4, 1, 6, 3] if made.parts.perturb and method is not SEFAR_AS_RELEASED else places[0]
    )
    assert 0 < out.metrics["train/weight"] < 1 and out.metrics["train/spread"] > 0
    assert out.loss.isfinite() and out.metrics["train/mixed"] > 0


def test_its_network_answers_the_same_whoever_else_is_in_the_batch():
    torch.manual_seed(0)
    network = GroupedEncoder(build_action_encoder(ActionEncoderConfig(variant="tiny"), 4), (), 4).eval()
    clips = torch.randn(3, 8, 3, 32, 32)
    p, spread = network.predict(clips)
    torch.testing.assert_close(p, network(clips).softmax(-1).detach())
    alone_p, alone = network.predict(clips[1:2])
    torch.testing.assert_close((alone_p[0], alone[0]), (p[1], spread[1]))
    assert (spread > 0).all()
    assert not torch.allclose(network(clips), network(clips.flip(1))), "it sees order"
