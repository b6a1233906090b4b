"""SeFAR's rows: what they read, what each does to time, and the network that they test."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from finepseudo.consistency.grouped import GroupedEncoder
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import Setting, TrainAction
from finepseudo.methods.sefar import (
    SEFAR,
    SEFAR_AS_RELEASED,
    SEFAR_STABLE,
    Operation,
    SefarConfig,
    perturbation,
    streams,
)
from finepseudo.training.config import CrossEntropyConfig
from jobs.config.recipes import load
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


def test_reversal_turns_the_fine_groups_and_leaves_the_context():
    assert shown("reverse") == [0, 5, 2, 7, 4, 1, 6, 3]
    assert context_rests(shown("reverse"))


def test_the_released_code_turns_colours_and_leaves_time():
    assert SEFAR_AS_RELEASED.config().perturb == "channel_flip"
    flipped = perturbation("channel_flip")(FRAMES, SLOTS, np.random.default_rng(0))
    for slot in range(8):
        context = slot in SLOTS[-1]
        assert torch.equal(flipped[:, slot], FRAMES[:, slot] if context else FRAMES[:, slot].flip(1))


def in_order(order: list[int]) -> bool:
    return order == sorted(order)


def context_rests(order: list[int]) -> bool:
    return all(order[slot] == slot for slot in SLOTS[-1])


ABLATIONS = {
    "none": lambda o: o == list(range(8)),
    "channel_flip": lambda o: o == list(range(8)),
    "reverse": lambda o: o == [0, 5, 2, 7, 4, 1, 6, 3],
    "local_shuffle": lambda o: context_rests(o) and all({o[s] for s in own} == set(own) for own in SLOTS),
    "all_shuffle": lambda o: sorted(o) == list(range(8)),
    "all_reverse": lambda o: o == list(range(8))[::-1],
    "warping": lambda o: in_order(o) and len(set(o)) in {2, 4, 8},
    "t_half": lambda o: in_order(o) and o in ([0, 1, 2, 3, 3, 3, 3, 3], [4, 4, 4, 4, 4, 5, 6, 7]),
    "slow": lambda o: o in [[start + i // 2 for i in range(8)] for start in range(5)],
    "t_drop": lambda o: in_order(o) and o[0] == 0 and all(a in {b, i} for i, (b, a) in enumerate(pairwise(o), 1)),
}
"""What each operation may make of the places 0 .. 7, drawn or not."""


def test_there_is_a_rule_for_every_operation():
    assert set(get_args(Operation)) == set(ABLATIONS)


@pytest.mark.parametrize("kind", ABLATIONS)
def test_each_ablation_is_one_key_that_reaches_the_student(kind):
    """What the student sees of the strong view, over several steps; the weak view and the labelled clips stay."""
    cfg = load("smoke", [f"method.sefar.perturb={kind}"]).method.sefar
    made, seen, orders = objective(SEFAR, perturb=cfg.perturb, channel_drop=0.0, passes=1), [], set()
    made.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    both = {"labelled": grouped(2, ("only",), True), "unlabelled": grouped(2, ("weak", "strong"), False)}
    for done in range(3, 11):
        made.done = done
        made(both)
        labelled, strong = seen[-1][0, :, :, 0, 0], seen[-1][2, :, :, 0, 0]
        assert labelled[:, 0].tolist() == [10 * slot for slot in range(8)]
        order = [int(x) // 10 for x in strong[:, 1].tolist()]
        turned = [bool(x > y) for x, y in strong[:, [0, 2]].tolist()]
        assert turned == [kind == "channel_flip" and slot not in SLOTS[-1] for slot in range(8)]
        assert ABLATIONS[kind](order), order
        orders.add(tuple(order))
    assert (len(orders) > 1) == (kind in {"local_shuffle", "all_shuffle", "warping", "t_half", "slow", "t_drop"})


@pytest.mark.parametrize("kind", ["reverse", "all_reverse", "channel_flip", "none"])
def test_what_turns_something_round_is_undone_by_itself(kind):
    turn, rng = perturbation(kind), np.random.default_rng(0)
    assert torch.equal(turn(turn(FRAMES, SLOTS, rng), SLOTS, rng), FRAMES)


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
    """Frames whose value is ten times their place in the clip, and their colour."""
    views = {}
    for name in names:
        for group, slots in enumerate(SLOTS):
            frames = FRAMES[:, list(slots)].expand(batch, 1, -1, 3, 32, 32)
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
    places = [(row[:, 1, 0, 0] // 10).tolist() for row in seen[-1]]
    assert places[0] == list(range(8))
    assert places[2] == (
        [0, 5, 2, 7, 4, 1, 6, 3] if made.parts.perturb and method is not SEFAR_AS_RELEASED else places[0]
    )
    assert 0 < out.metrics["train/weight"] < 1 and out.metrics["train/spread"] > 0
    assert out.loss.isfinite() and out.metrics["train/mixed"] > 0


@pytest.mark.parametrize(("method", "alike"), [(SEFAR, False), (SEFAR_AS_RELEASED, False), (SEFAR_STABLE, True)])
def test_colour_planes_go_group_by_group_unless_all_are_coloured_alike(method, alike):
    made, seen = objective(method, channel_drop=0.5), []
    made.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    made.done = 6
    made({"labelled": grouped(2, ("only",), True), "unlabelled": grouped(8, ("weak", "strong"), False)})
    zero = (seen[-1][2:10, :, 1:] == 0).all(dim=(3, 4))  # the first plane of the first frame is zero anyway
    gone = [zero[:, list(slots)] for slots in SLOTS]
    assert all(torch.equal(part, part[:, :1].expand_as(part)) for part in gone), "one draw for the frames of a group"
    assert all(torch.equal(part[:, 0], gone[0][:, 0]) for part in gone) == alike


def test_without_regulation_a_label_counts_whole_from_the_least_confidence_on():
    p = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    given = p, torch.full_like(p, 0.1), p.argmax(1)
    assert objective(SEFAR, regulation="threshold", min_confidence=0.7).weighter(*given).tolist() == [1, 0]
    regulated = objective(SEFAR, min_confidence=0.7).weighter(*given).tolist()
    assert 0 < regulated[0] < 1
    assert regulated[1] == 0


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
