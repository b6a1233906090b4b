"""A training step asks the device for nothing: the host runs ahead of a GPU until a line of the log is due."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from finepseudo.alignment import shared_pairs
from finepseudo.training.config import OptimConfig
from jobs.config.training import TrainConfig
from jobs.workers.train_loop import Loop, LoopJob
from shards.types import ClipBatch
from tests.finepseudo.batches import clip_batch, objective
from tests.finepseudo.waits import Waits


class Same:
    """One batch again and again."""

    def __init__(self, batch: ClipBatch, batches_per_epoch: int) -> None:
        self.batch, self.batches_per_epoch, self.bad, self.fallbacks = batch, batches_per_epoch, {}, 0
        self.decoded: dict[str, int] = {}

    def seen(self, step: int) -> int:
        return step * len(self.batch.keys)

    def batches(self, step: int):
        while True:
            yield {"one": self.batch}


def loop(folder: Path, stage: str, invalid: tuple[int, ...] = ()) -> Loop:
    train = TrainConfig(steps=9, optim=OptimConfig(), log_every=9, checkpoint_every=9)
    job = LoopJob(run=folder, folder=folder, stage=stage, train=train, seed=1, tags={})
    batch = clip_batch(views=2 if stage == "gitdl" else 1, invalid=invalid)
    return Loop(job, objective(stage, dropout=0.1), Same(batch, 9), device=torch.device("cpu"))


@pytest.mark.parametrize("invalid", [(), (1, 4)])
@pytest.mark.parametrize("stage", ["gitdl", "alignability", "cross_entropy"])
def test_a_step_between_two_lines_of_the_log_waits_for_nothing(
    tmp_path: Path, stage: str, invalid: tuple[int, ...]
) -> None:
    training = loop(tmp_path, stage, invalid)
    training.objective.train()
    training._train_step({"one": training.reader.batch}, 0.0)  # the optimiser makes its state
    with Waits() as waits:
        for _ in range(3):
            training._train_step({"one": training.reader.batch}, 0.0)
            assert training._after_step()
    assert not waits.seen
    assert training.step == 4


@pytest.mark.parametrize("stage", ["gitdl", "alignability"])
def test_a_step_of_f_a_waits_for_nothing_that_crosses(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """As `tests.finepseudo.methods.test_every_method` says of f_E; a rank of two shares its pairs out."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta tensors
    monkeypatch.setattr(shared_pairs, "world_size", lambda: 2)
    monkeypatch.setattr(shared_pairs, "rank", lambda: 1)
    monkeypatch.setattr(shared_pairs, "gather_rows", lambda x: torch.cat([x, x]))
    made = objective(stage).to("meta").train()
    batch = clip_batch(views=2 if stage == "gitdl" else 1).to("meta")
    with Waits("meta") as waits:
        made({"one": batch}).loss.backward()
    assert not waits.seen


def test_waiting_is_seen_where_there_is_some() -> None:
    x = torch.rand(5)
    with Waits() as waits:
        bool(x.sum() > 0)
        x[x > 0.5]
    assert waits.seen["_local_scalar_dense"] == 1
    assert waits.seen["index"] == 1
    with Waits("meta") as waits:
        x.to("meta")
        x.to("meta", non_blocking=True)
    assert waits.seen == {"_to_copy": 1}
