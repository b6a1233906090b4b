"""What pre-trains TimeBalance's teachers: SimCLR between clips, TCLR within one."""

import math

import pytest
import torch
from torch.nn import functional as F

from finepseudo.consistency.contrast import DistinctiveObjective, InvariantObjective, matched, nt_xent
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from shards.types import ClipBatch, View


def by_hand(one, two, valid, t):
    """SimCLR's loss of each pair, anchor by anchor."""
    one, two = (F.normalize(x.detach().double(), dim=1) for x in (one, two))
    losses, valid = [], valid.tolist()
    for i in range(len(one)):
        total = 0.0
        for anchor, positive in ((one, two), (two, one)):
            own = math.exp(anchor[i] @ positive[i] / t)
            others = [
                math.exp(anchor[i] @ side[j] / t) for side in (one, two) for j in range(len(one)) if valid[j] and j != i
            ]
            total -= math.log(own / (own + sum(others)))
        losses.append(total / 2)
    return torch.tensor(losses)


@pytest.mark.parametrize("gone", [(), (1,), (0, 2, 3)])
def test_nt_xent_is_the_papers_and_a_broken_clip_is_nobodys_negative(gone):
    generator = torch.Generator().manual_seed(1)
    one, two = torch.randn(2, 4, 6, generator=generator)
    valid = torch.tensor([i not in gone for i in range(4)])
    found = nt_xent(one, two, valid, 0.3)
    torch.testing.assert_close(found[valid], by_hand(one, two, valid, 0.3)[valid].float(), rtol=1e-5, atol=1e-6)
    assert found.isfinite().all()


def test_videos_are_contrasted_by_themselves_where_there_are_several():
    generator = torch.Generator().manual_seed(2)
    one, two = torch.randn(2, 3, 4, 6, generator=generator)
    every = torch.ones(3, 4, dtype=torch.bool)
    alone = torch.stack([nt_xent(a, b, every[0], 0.1) for a, b in zip(one, two, strict=True)])
    torch.testing.assert_close(nt_xent(one, two, every, 0.1), alone)


def test_matching_is_cross_entropy_both_ways():
    generator = torch.Generator().manual_seed(3)
    one, two = torch.randn(2, 2, 3, 5, generator=generator)
    logits = F.normalize(one, dim=-1) @ F.normalize(two, dim=-1).transpose(1, 2) / 0.1
    places = torch.arange(3)
    for found, square in zip(matched(one, two, 0.1), logits, strict=True):
        wanted = (F.cross_entropy(square, places) + F.cross_entropy(square.T, places)) / 2
        torch.testing.assert_close(found, wanted)
    assert matched(one[:, :1], two[:, :1], 0.1).tolist() == [0, 0]


def videos(clips=3, gone=(), frames=16):
    generator = torch.Generator().manual_seed(0)
    valid = torch.ones(clips, dtype=torch.bool)
    valid[list(gone)] = False
    shape = (clips, 1, frames, 3, 32, 32)
    views = {
        name: View(torch.randn(shape, generator=generator), torch.zeros(clips, 1, frames))
        for name in ("weak", "strong")
    }
    return {
        "videos": ClipBatch(
            keys=tuple(map(str, range(clips))),
            views=views,
            n_frames=torch.full((clips,), frames),
            labels=torch.full((clips,), -1),
            pseudo=torch.zeros(clips, dtype=torch.bool),
            valid=valid,
        )
    }


def made(kind, **options):
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny"), 3)
    if kind == "invariant":
        return InvariantObjective(encoder, 0.1, seed=0)
    return DistinctiveObjective(encoder, 0.1, seed=0, **options)


KINDS = {"invariant": {}, "distinctive": {"spans": True}, "local alone": {"spans": False}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gone", [(), (1,), (0, 1, 2)])
def test_a_step_trains_the_backbone_and_the_heads_and_takes_any_clips(kind, gone):
    objective = made(kind.split()[0] if kind == "invariant" else "distinctive", **KINDS[kind])
    out = objective(videos(gone=gone))
    out.loss.backward()
    assert out.loss.isfinite() and (out.loss > 0) == (len(gone) < 2 or (kind != "invariant" and len(gone) < 3))
    trained = {name for name, p in objective.named_parameters() if p.grad is not None}
    assert {name for name, _ in objective.named_parameters()} - trained <= {"encoder.fc.weight", "encoder.fc.bias"}
    assert all(p.grad.isfinite().all() for p in objective.parameters() if p.grad is not None)


def test_two_different_parts_of_a_video_are_one_instance_and_the_pair_follows_the_step():
    objective, seen = made("invariant"), []
    objective.encoder.backbone.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = videos()
    pairs = set()
    for step in range(12):
        objective.after_step(step, 12)
        objective(batch)
        mine, other = seen[-1].transpose(1, 2).chunk(2)
        parts = [
            [bool((view.frames[:, 0, 4 * p : 4 * p + 4] == half).all()) for p in range(4)].index(True)
            for view, half in zip(batch["videos"].views.values(), (mine, other), strict=True)
        ]
        assert parts[0] != parts[1]
        pairs.add(tuple(parts))
    assert len(pairs) > 3
    again = made("invariant")
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again(batch).loss, objective(batch).loss)


def test_a_network_that_sees_no_time_cannot_tell_parts_of_a_still_video_apart():
    """Every part of a still video looks alike: the loss is that of a guess, log of 7 and of the parts."""
    objective = made("distinctive", spans=True).eval()
    batch = videos()
    for view in batch["videos"].views.values():
        view.frames.copy_(view.frames[:, :, :1].expand_as(view.frames))
    batch["videos"].views["strong"].frames.copy_(batch["videos"].views["weak"].frames)
    told = objective(batch).metrics
    assert told["train/local_local"].item() == pytest.approx(math.log(7), abs=1e-3)
