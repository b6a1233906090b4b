"""Two workers with half the batch each = one worker: loss, gradients and running statistics, by real gloo processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from finepseudo.training.objectives import AlignabilityObjective
from shards.errors import UserError
from shards.read.config import SamplingConfig
from shards.read.sampling import frame_indices
from tests.finepseudo.batches import VIEWS, clip_batch, objective, padded, rows
from tests.ranks import two_ranks

STAGES = ("gitdl", "tclr", "alignability", "cross_entropy")
TIGHT = {"atol": 1e-6, "rtol": 1e-6}  # in float64: in float32 a ReLU at its kink may fall on either side
# batch, first row of the second worker: an uneven valid mask, an uneven cut, and a worker without any valid clip
CASES = {
    "uneven mask": ({"clips": 10, "invalid": (1, 2, 3, 8)}, 5),
    "uneven cut": ({"clips": 9, "invalid": ()}, 4),
    "empty worker": ({"clips": 8, "invalid": (4, 5, 6, 7)}, 4),
}


def step(module, batch):
    """Return loss, metrics, gradients and buffers after one backward pass."""
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    out = module({"labelled": batch})
    out.loss.backward()
    gradients = {n: p.grad.clone() for n, p in inner.named_parameters() if p.grad is not None}
    buffers = {n: b.clone() for n, b in inner.named_buffers() if b.is_floating_point()}
    return out.loss.detach(), out.metrics, gradients, buffers


def views(stage):
    return VIEWS.get(stage, 1)


def worker(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for stage in STAGES:
        for name, (options, cut) in CASES.items():
            batch = clip_batch(dtype=torch.float64, views=views(stage), **options)
            mine = rows(batch, 0, cut) if rank == 0 else rows(batch, cut, len(batch.keys))
            mine = padded(mine, max(cut, len(batch.keys) - cut))  # as the reader does: as many slots on every rank
            module = DistributedDataParallel(objective(stage).double())
            torch.save(step(module, mine), f"{folder}/{stage}-{name}-{rank}.pt")
            # the group must not die with DDP's reducer: that waits, holding the interpreter, for a thread that needs it
            del module
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    two_ranks(worker, str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stage", STAGES)
def test_two_workers_equal_one(halves, stage, case):
    whole = step(objective(stage).double(), clip_batch(dtype=torch.float64, views=views(stage), **CASES[case][0]))
    assert whole[0] > 0 and any(g.abs().max() > 1e-4 for g in whole[2].values())
    for rank in range(2):
        half = torch.load(halves / f"{stage}-{case}-{rank}.pt", weights_only=True)
        for name, value in whole[1].items():
            torch.testing.assert_close(half[1][name], value, **TIGHT, msg=name)
        torch.testing.assert_close(half[0], whole[0], **TIGHT)
        for part in (2, 3):
            assert set(whole[part]) <= set(half[part])
            for name, value in whole[part].items():
                torch.testing.assert_close(half[part][name], value, **TIGHT, msg=name)


@pytest.mark.parametrize("stage", STAGES)
def test_invalid_slots_change_nothing(stage):
    """A batch with broken slots gives what the batch without them gives, whatever the slots hold."""
    batch = clip_batch(clips=8, views=views(stage), invalid=(0, 7))
    batch.frames[0] = 7.0
    broken, clean = step(objective(stage), batch), step(objective(stage), rows(batch, 1, 7))
    torch.testing.assert_close(broken[0], clean[0])
    for name, value in clean[2].items():
        torch.testing.assert_close(broken[2][name], value, msg=name)


@pytest.mark.parametrize("stage", STAGES)
def test_batch_without_valid_clips_has_zero_loss_and_gradients(stage):
    loss, _, gradients, buffers = step(objective(stage), clip_batch(clips=4, views=views(stage), invalid=range(4)))
    assert loss == 0
    assert all(g.abs().max() == 0 for g in gradients.values())
    assert all(b.isfinite().all() for b in buffers.values())


def test_unlabelled_clips_take_no_part_in_metric_learning_or_cross_entropy():
    for stage in ("alignability", "cross_entropy"):
        batch = clip_batch(clips=6)
        batch.labels[4:] = -1
        with_unlabelled = objective(stage)
        with_unlabelled.eval()  # their frames may touch batch statistics, never the loss
        alone = objective(stage).eval()
        torch.testing.assert_close(
            with_unlabelled({"labelled": batch}).loss, alone({"labelled": rows(batch, 0, 4)}).loss
        )


def test_gitdl_refuses_one_view():
    with pytest.raises(UserError, match="sampling policy gitdl"):
        objective("gitdl")({"videos": clip_batch()})


def test_tclr_refuses_views_of_another_policy():
    for count in (1, 2, 5):
        with pytest.raises(UserError, match="sampling policy tclr"):
            objective("tclr")({"videos": clip_batch(views=count)})


def trained_on_still_videos(draw):
    """Retrieval and chance after pre-training on videos whose frames are all alike; draw(seed) -> ids [2, T]."""
    module = objective("gitdl")
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    batch = clip_batch(clips=12, views=2, frames=16)
    batch.frames.copy_(batch.frames[:, :1, :1])
    found, chance = [], []
    for step in range(25):
        batch.frame_ids.copy_(torch.stack([torch.from_numpy(draw(12 * step + clip)) for clip in range(12)]))
        out = module({"videos": batch})
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        if step >= 20:
            found.append(out.metrics["train/retrieval"].item())
            chance.append(out.metrics["train/retrieval_chance"].item())
    return sum(found) / 5, sum(chance) / 5


@pytest.mark.slow
@pytest.mark.parametrize("n", [11, 20, 70])
def test_gitdl_learns_nothing_from_videos_that_stand_still(n):
    """There a frame is told from another by its place alone, which both clips must not share."""
    cfg = SamplingConfig(policy="gitdl", frames=16)
    found, chance = trained_on_still_videos(lambda seed: frame_indices(n, cfg, np.random.default_rng(seed)))
    assert found < 2.2 * chance < 0.6


@pytest.mark.slow
def test_gitdl_is_solved_by_place_where_both_clips_are_the_same_frames():
    found, chance = trained_on_still_videos(lambda _: np.stack([np.arange(16)] * 2))
    assert found > 0.95 > 5 * chance


def test_shuffled_places_tell_an_encoder_that_looks_from_one_that_counts():
    module = objective("gitdl").eval()
    batch = clip_batch(views=2)
    batch.frame_ids[:, 1] = batch.frame_ids[:, 0]
    colours = 3 * torch.randn(8, 1, 8, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    batch.frames.copy_(colours.expand_as(batch.frames))
    module.encoder.places.zero_()
    looks = module({"videos": batch}).metrics
    batch.frames.zero_()
    module.encoder.places.copy_(objective("gitdl").encoder.places * 10)
    counts = module({"videos": batch}).metrics
    assert looks["train/retrieval"] > 0.7 and looks["train/retrieval_shuffled"] > 0.7
    assert counts["train/retrieval"] > 0.95 and counts["train/retrieval_shuffled"] < 0.4


@pytest.mark.slow
def test_alignability_learns_and_score_stays_decreasing():
    """On separable clips L_AV falls, S sorts the pairs, and S still falls in D over the observed range (pitfall 7)."""
    torch.manual_seed(0)
    module = objective("alignability")
    assert isinstance(module, AlignabilityObjective)
    batch = clip_batch(clips=12, frames=6, classes=3)
    ramp = torch.linspace(-1, 1, 6).view(1, 1, 6, 1, 1, 1)
    shift = torch.nn.functional.one_hot(batch.labels, 3).float().view(12, 1, 1, 3, 1, 1)
    batch.frames.mul_(0.2).add_(shift * ramp)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        out = module({"labelled": batch})
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert out.metrics["train/same"] > 0.6 > 0.4 > out.metrics["train/different"]
    spread = module.scorer.variance.sqrt()
    observed = module.scorer.mean + torch.linspace(-2, 2, 21) * spread
    assert (module.scorer(observed).diff() < 0).all()
