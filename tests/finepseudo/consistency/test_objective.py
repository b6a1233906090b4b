"""The shared objective: what counts, what the teacher does, one rank against two, going on where it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from finepseudo.consistency.grouped import GroupedEncoder
from finepseudo.consistency.network import Network
from finepseudo.consistency.objective import ConsistencyObjective, Mixing, Parts, squared_distance
from finepseudo.consistency.perturb import perturb_time, picked
from finepseudo.consistency.weighters import AdaptiveRegulation, SoftMatch, Threshold
from finepseudo.distributed import data_parallel
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.training.config import CrossEntropyConfig
from shards.read.groups import group_slots
from shards.types import NO_LABEL, ClipBatch, View
from tests.ranks import assert_equal_to_one, in_group, two_ranks

CLASSES = 3
PLAIN = Parts(weighter=Threshold(0.0), ramp=lambda done: 1.0, half_life=10.0)
MIXING = Mixing(beta=10.0, weight=1.0, target=lambda p: p, weighted=True, logits=True)
KINDS = {
    "fixmatch": replace(PLAIN, weighter=Threshold(0.369)),
    "mean_teacher": replace(PLAIN, target=lambda p: p, distance=squared_distance),
    "softmatch": PLAIN,
    "grouped": replace(
        PLAIN,
        weighter=AdaptiveRegulation(),
        slots=lambda frames: group_slots((1, 1, 2), frames),
        perturb=perturb_time("all_reverse"),
        mixing=replace(MIXING, logits=False),
    ),
    "mixed": replace(PLAIN, weighter=AdaptiveRegulation(), mixing=MIXING),
}


def made(
    kind: str = "fixmatch", parts: Parts | None = None, dtype: torch.dtype = torch.float64
) -> ConsistencyObjective:
    """An objective with equal weights in every process, whose teacher differs from the student."""
    torch.manual_seed(0)
    parts = parts or KINDS[kind]
    if kind == "softmatch":
        parts = replace(parts, weighter=SoftMatch(CLASSES, momentum=0.5))
    encoder: Network = build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0), CLASSES)
    if kind == "grouped":
        encoder = GroupedEncoder(encoder, (1, 1, 2), CLASSES, dropout=0.0)
    objective = ConsistencyObjective(encoder, CrossEntropyConfig(), parts, seed=3)
    with torch.no_grad():
        for weight in objective.teacher.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        if kind != "grouped":
            objective.teacher.model.fc.weight.mul_(4)  # surer of some clips than of others
    return objective.to(dtype)


def clips(n: int, names: tuple[str, ...], labels: bool, invalid: tuple[int, ...] = (), seed: int = 0) -> ClipBatch:
    generator = torch.Generator().manual_seed(seed)
    valid = torch.ones(n, dtype=torch.bool)
    valid[list(invalid)] = False
    shape = (n, 1, 4, 3, 16, 16)
    ids = torch.arange(4).expand(n, 1, 4)
    views = {name: View(torch.randn(shape, generator=generator, dtype=torch.float64), ids) for name in names}
    return ClipBatch(
        keys=tuple(f"clip{i}" for i in range(n)),
        views=views,
        n_frames=torch.full((n,), 4),
        labels=torch.arange(n) % CLASSES if labels else torch.full((n,), NO_LABEL),
        pseudo=torch.zeros(n, dtype=torch.bool),
        valid=valid,
    )


def batches(labelled: int = 4, pool: int = 8, invalid: tuple[int, ...] = ()) -> dict[str, ClipBatch]:
    names = ("weak", "strong")
    return {
        "labelled": clips(labelled, ("only",), True),
        "unlabelled": clips(pool, names, False, invalid, seed=1),
    }


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_the_mean_is_over_all_unlabelled_clips_not_over_the_kept_ones() -> None:
    objective = made("fixmatch")
    both = batches()
    pool = both["unlabelled"]
    teacher = objective.teacher.model(pool.views["weak"].frames[:, 0]).softmax(1)
    kept = teacher.max(1).values >= 0.369
    assert 0 < kept.sum() < len(kept), "the case tells kept from all"
    fresh = copy.deepcopy(objective.encoder)
    frames = torch.cat([both["labelled"].frames[:, 0], pool.views["strong"].frames[:, 0]])
    logits = fresh(frames)
    losses = F.cross_entropy(logits[4:], teacher.argmax(1), reduction="none")
    out = objective(both)
    torch.testing.assert_close(out.metrics["train/agreement"], (losses * kept).sum().detach() / 8)
    torch.testing.assert_close(
        out.metrics["train/supervised"], F.cross_entropy(logits[:4], both["labelled"].labels).detach()
    )


def test_mixed_clips_and_their_targets_have_one_partner() -> None:
    """The loss of the mixed clips by hand: pixels, label and weight of clip i are mixed with those of its neighbour."""
    objective = made("mixed")
    both = batches()
    pool, seen, student = both["unlabelled"], [], copy.deepcopy(objective.encoder)
    objective.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    out = objective(both)
    (frames,) = seen
    strong, mixed, other = frames[4:12], frames[12:], [1, 0, 3, 2, 5, 4, 7, 6]
    torch.testing.assert_close(strong, pool.views["strong"].frames[:, 0])
    assert ((mixed == strong) | (mixed == strong[other])).all()
    share = float(np.random.default_rng((3, 0)).beta(10.0, 10.0))
    mean = objective.teacher.model(pool.views["weak"].frames[:, 0]).softmax(1).detach()
    weight = AdaptiveRegulation()(mean, torch.zeros_like(mean), mean.argmax(1))
    target, weights = (share * x + (1 - share) * x[other] for x in (mean, weight))
    wanted = (weights * (student(frames)[12:] - target).square().mean(1)).mean()
    torch.testing.assert_close(out.metrics["train/mixed"], wanted.detach())


def test_before_the_ramp_begins_a_step_is_the_labels_alone() -> None:
    objective = made(parts=replace(PLAIN, ramp=lambda done: float(done >= 2), warm_up=2))
    out = objective(batches())
    assert out.loss == out.metrics["train/supervised"] and out.metrics["train/agreement"] == 0
    keys = set(out.metrics)
    objective.after_step(1, 4)
    torch.testing.assert_close(objective.teacher.model.state_dict(), objective.encoder.state_dict())
    objective.after_step(2, 4)
    later = objective(batches())
    assert later.metrics["train/agreement"] > 0 and set(later.metrics) == keys


def test_the_teacher_depends_on_optimiser_steps_not_on_micro_batches() -> None:
    taught = []
    for cut in ([8], [2, 6], [4, 4]):
        objective = made("mean_teacher")
        with torch.no_grad():
            for size in cut:
                objective(batches(pool=size))
        with torch.no_grad():
            for weight in objective.encoder.parameters():
                weight.add_(0.1)
        objective.after_step(1, 10)
        taught.append([p.clone() for p in objective.teacher.parameters()])
    for other in taught[1:]:
        assert all(torch.equal(a, b) for a, b in zip(taught[0], other, strict=True))


def test_half_life_zero_is_the_student_itself_and_early_steps_average_all() -> None:
    student = made(parts=replace(PLAIN, half_life=0.0))
    student.after_step(1, 9)
    torch.testing.assert_close(student.teacher.model.state_dict(), student.encoder.state_dict())
    early = made(parts=replace(PLAIN, half_life=1e9, early=True))
    weight = early.encoder.fc.weight
    with torch.no_grad():
        early.teacher.model.fc.weight.fill_(5.0)  # forgotten at the second student
        for step, value in enumerate((1.0, 2.0, 3.0), start=1):
            weight.fill_(value)
            early.after_step(step, 9)
    wanted = 5.0
    for t, value in enumerate((1.0, 2.0, 3.0), start=1):
        wanted += (value - wanted) / (t + 1)
    torch.testing.assert_close(early.teacher.model.fc.weight, torch.full_like(weight, wanted))


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_pool_and_one_without_labels_give_finite_losses(kind: str) -> None:
    for both in (batches(pool=8, invalid=tuple(range(8))), batches(pool=1), batches(pool=7, invalid=(0, 3))):
        objective = made(kind)
        out = objective(both)
        out.loss.backward()
        assert out.loss.isfinite() and all(g.isfinite().all() for g in gradients(objective).values())
    nothing = {**batches(), "labelled": replace(batches()["labelled"], valid=torch.zeros(4, dtype=torch.bool))}
    assert made(kind)(nothing).metrics["train/supervised"] == 0


def test_one_class_is_learnt_without_complaint() -> None:
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny"), 1).double()
    objective = ConsistencyObjective(encoder, CrossEntropyConfig(), KINDS["mixed"], 0)
    both = batches()
    both["labelled"] = replace(both["labelled"], labels=torch.zeros(4, dtype=torch.int64))
    out = objective(both)
    out.loss.backward()
    assert out.loss.isfinite() and out.metrics["train/supervised"] == 0


def test_more_than_one_pass_draws_dropout_in_the_teachers_head_alone() -> None:
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.5), CLASSES).double()
    for passes in (1, 10):
        objective = ConsistencyObjective(encoder, CrossEntropyConfig(), replace(PLAIN, passes=passes), 0)
        told = objective(batches()).metrics["train/spread"]
        assert (told > 0) == (passes > 1)
        assert not objective.teacher.model.dropout.training


def test_a_state_goes_on_where_it_was() -> None:
    one = made("mixed")
    one.after_step(5, 9)
    two = made("mixed")
    two.load_state_dict(one.state_dict())
    assert two.done == 5
    assert torch.equal(one(batches()).loss, two(batches()).loss)
    assert not torch.equal(one(batches()).loss, made("mixed")(batches()).loss), "another step, another mix"


def test_frames_are_picked_by_place() -> None:
    frames = torch.arange(12.0).view(2, 3, 2)
    assert torch.equal(picked(frames, [2, 0]), frames[:, [2, 0]])


def cut(batch: ClipBatch, start: int, stop: int) -> ClipBatch:
    part = slice(start, stop)
    return replace(
        batch,
        keys=batch.keys[part],
        views={name: View(view.frames[part], view.frame_ids[part]) for name, view in batch.views.items()},
        **{name: getattr(batch, name)[part] for name in ("n_frames", "labels", "pseudo", "valid")},
    )


CASES: dict[str, dict[str, Any]] = {
    "whole": {},
    "uneven mask": {"invalid": (1, 2, 6)},
    "empty rank": {"invalid": (4, 5, 6, 7)},
}


def step(module: torch.nn.Module, both: dict[str, ClipBatch]) -> dict[str, Any]:
    out = module(both)
    out.loss.backward()
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    return {"loss": out.loss.detach(), "metrics": out.metrics, "gradients": gradients(inner)}


def worker(rank: int, port: int, folder: str) -> None:
    with in_group(rank, port):
        for kind in KINDS:
            for name, options in CASES.items():
                both = batches(**options)
                mine = {n: cut(b, rank * len(b.keys) // 2, (rank + 1) * len(b.keys) // 2) for n, b in both.items()}
                module = data_parallel(made(kind))
                torch.save(step(module, mine), f"{folder}/{kind}-{name}-{rank}.pt")
                del module  # DDP's reducer must not outlive the group


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    two_ranks(worker, str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_equal_one(halves: Path, kind: str, case: str) -> None:
    whole = step(made(kind), batches(**CASES[case]))
    assert_equal_to_one(halves, f"{kind}-{case}", whole)
