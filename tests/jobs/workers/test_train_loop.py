"""The training loop on one rank and on two: resume, refusal of what is not finite, stop requests, the log."""

import copy
import hashlib
import json
import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from finepseudo.distributed import global_mean
from finepseudo.run_folder.layout import CHECKPOINTS, FAILURE, LOG, WEIGHTS
from finepseudo.training.checkpoint import checkpoint_steps, load_weights
from finepseudo.training.config import OptimConfig
from finepseudo.training.objectives import Objective, StepOutput, single
from jobs.config.training import TrainConfig
from jobs.workers.train_loop import Loop, LoopJob, seed_of
from shards.errors import UserError
from shards.types import ClipBatch, only_view
from tests.ranks import two_ranks

CLIPS, BATCH = 24, 8


class LeastSquares(Objective):
    """Least squares with dropout, so that generator state matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.dropout = nn.Linear(4, 1), nn.Dropout(0.5)
        self.unused = nn.Linear(2, 2)

    def forward(self, batches):
        batch = single(batches)
        x = batch.frames.flatten(1)[:, :4]
        loss = global_mean(
            F.mse_loss(self.layer(self.dropout(x))[:, 0], batch.labels.float(), reduction="none"), batch.valid
        )
        return StepOutput(loss, {"train/loss": loss.detach()})


@dataclass
class Reader:
    """Batches that are a function of (epoch, index); `poison` makes one of them not finite, `refuse` fails on one."""

    rank: int = 0
    world: int = 1
    poison: tuple[int, int] | None = None
    refuse: tuple[int, int] | None = None
    bad: Counter = field(default_factory=Counter)
    fallbacks: int = 0
    decoded: Counter = field(default_factory=lambda: Counter(pyav=3))
    batches_per_epoch: int = CLIPS // BATCH
    first: int = 0

    def epoch(self, epoch, start=0):
        for index in range(start, self.batches_per_epoch):
            if (epoch, index) == self.refuse:
                raise UserError("3 of 24 clips cannot be decoded")
            generator = torch.Generator().manual_seed(100 * epoch + index + self.first)
            frames = torch.randn(BATCH, 1, 1, 1, 2, 2, generator=generator)
            if (epoch, index) == self.poison:
                frames[0] = torch.nan
            mine = slice(self.rank * BATCH // self.world, (self.rank + 1) * BATCH // self.world)
            yield batch_of(frames[mine])


@dataclass
class Streams:
    """Several of them side by side, each in its own passes; the first one leads."""

    readers: dict[str, Reader]

    @property
    def batches_per_epoch(self):
        return next(iter(self.readers.values())).batches_per_epoch

    @property
    def bad(self):
        return sum((reader.bad for reader in self.readers.values()), Counter())

    @property
    def fallbacks(self):
        return sum(reader.fallbacks for reader in self.readers.values())

    @property
    def decoded(self):
        return sum((reader.decoded for reader in self.readers.values()), Counter())

    def seen(self, step):
        return step * BATCH * len(self.readers)

    def batches(self, step):
        while True:
            places = {name: divmod(step, reader.batches_per_epoch) for name, reader in self.readers.items()}
            yield {name: next(self.readers[name].epoch(*place)) for name, place in places.items()}
            step += 1


def batch_of(frames):
    n = len(frames)
    return ClipBatch(
        keys=tuple(map(str, range(n))),
        views=only_view(frames, torch.zeros(n, 1, 1, dtype=torch.int64)),
        n_frames=torch.ones(n, dtype=torch.int64),
        labels=torch.ones(n, dtype=torch.int64),
        pseudo=torch.zeros(n, dtype=torch.bool),
        valid=torch.ones(n, dtype=torch.bool),
    )


def job(folder: Path, steps: int = 10, **values) -> LoopJob:
    (folder / "stage").mkdir(parents=True, exist_ok=True)
    optim = OptimConfig(lr=0.05, warmup_epochs=1)
    train = TrainConfig(steps=steps, optim=optim, checkpoint_every=2, log_every=3)
    return LoopJob(
        run=folder, folder=folder / "stage", stage="stage", train=train, seed=7, tags={"stage": "s"}, **values
    )


def loop(folder: Path, objective: Objective, reader: Reader, **values) -> Loop:
    return Loop(job(folder, **values), objective, Streams({"labelled": reader}), device=torch.device("cpu"))


def run(folder: Path, reader: Reader | None = None, **values) -> str:
    return loop(folder, LeastSquares(), reader or Reader(), **values).run()


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "stage" / LOG).read_text().splitlines()]


def same_weights(one: Path, two: Path) -> bool:
    a, b = (load_weights(folder / "stage" / WEIGHTS) for folder in (one, two))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    """Stands for SIGKILL."""


@contextmanager
def killed_at(step):
    """Kill what trains before it takes a step."""
    real = Loop._train_step

    def train_step(self, batch, waited):
        if self.step == step:
            raise Killed
        return real(self, batch, waited)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Loop, "_train_step", train_step)
        yield


@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 9])
def test_a_killed_run_goes_on_to_the_same_weights_and_the_same_log(tmp_path, step):
    assert run(tmp_path / "whole") == "done"

    with killed_at(step):
        run(tmp_path / "killed")
    assert run(tmp_path / "killed") == "done"
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    losses = [[(line["step"], line["train/loss"]) for line in log_of(tmp_path / f)] for f in ("whole", "killed")]
    assert losses[0] == losses[1]


class MeanTeacher(LeastSquares):
    """The labels of one stream, and agreement with a moving average of the student on another, ramped up."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(self.layer).requires_grad_(False)
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def forward(self, batches):
        first = super().forward({"labelled": batches["labelled"]})
        x = batches["unlabelled"].frames.flatten(1)[:, :4]
        apart = (self.layer(self.dropout(x)) - self.teacher(x)).square().mean()
        return StepOutput(first.loss + self.done / 10 * apart, {**first.metrics, "train/apart": apart.detach()})

    @torch.no_grad()
    def after_step(self, step, total):
        assert (step, total) == (int(self.done) + 1, 10)
        self.done += 1
        for mine, own in zip(self.teacher.parameters(), self.layer.parameters(), strict=True):
            mine.lerp_(own, 0.3)


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_teacher_and_both_streams_go_on_where_they_were(tmp_path, step):
    """The pool is longer than the labelled clips; killed behind a checkpoint, nothing of either starts over."""

    def go(folder):
        streams = Streams({"labelled": Reader(), "unlabelled": Reader(batches_per_epoch=5, first=50)})
        return Loop(job(folder), MeanTeacher(), streams, device=torch.device("cpu")).run()

    assert go(tmp_path / "whole") == "done"
    with killed_at(step):
        go(tmp_path / "killed")
    assert go(tmp_path / "killed") == "done"
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    weights = load_weights(tmp_path / "whole" / "stage" / WEIGHTS)
    assert int(weights["done"]) == 10, "the teacher followed every step once"
    assert not torch.equal(weights["teacher.weight"], weights["layer.weight"])
    losses = [[(line["step"], line["train/apart"]) for line in log_of(tmp_path / f)] for f in ("whole", "killed")]
    assert losses[0] == losses[1]


def test_a_stop_request_ends_with_a_checkpoint_and_the_next_run_goes_on(tmp_path):
    assert run(tmp_path / "whole") == "done"
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / "STOP").write_text("stop\n")
    assert run(stopped) == "preempted"
    assert checkpoint_steps(stopped / "stage" / CHECKPOINTS) == [0]
    (stopped / "STOP").unlink()
    assert run(stopped) == "done"
    assert same_weights(tmp_path / "whole", stopped)


def test_a_loss_that_is_not_finite_changes_no_weight(tmp_path):
    assert run(tmp_path / "clean", steps=4) == "done"
    assert run(tmp_path / "bad", Reader(poison=(1, 1))) == "failed"
    reason = (tmp_path / "bad" / "stage" / FAILURE).read_text()
    assert "step 5: loss nan" in reason
    assert "lower the learning rate" in reason
    assert not (tmp_path / "bad" / "stage" / WEIGHTS).exists()


def test_nothing_of_a_broken_state_is_saved_when_asked_to_stop(tmp_path, monkeypatch):
    real = Loop._train_step

    def train_step(self, batch, waited):
        real(self, batch, waited)
        if self.step == 1:
            (tmp_path / "STOP").touch()

    monkeypatch.setattr(Loop, "_train_step", train_step)
    assert run(tmp_path, Reader(poison=(0, 0))) == "failed"
    assert "step 1: loss nan" in (tmp_path / "stage" / FAILURE).read_text()
    assert checkpoint_steps(tmp_path / "stage" / CHECKPOINTS) == []


def test_out_of_memory_in_a_step_says_what_to_lower(tmp_path, monkeypatch):
    def forward(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(LeastSquares, "forward", forward)
    with pytest.raises(UserError, match=r"stage: step 1: out of memory .*lower order.batch_size"):
        run(tmp_path)


def test_what_a_reader_refuses_is_the_reason(tmp_path):
    assert run(tmp_path, Reader(refuse=(0, 1))) == "failed"
    assert "3 of 24 clips" in (tmp_path / "stage" / FAILURE).read_text()


def test_the_log_names_what_the_report_reads(tmp_path):
    run(tmp_path)
    lines = log_of(tmp_path)
    assert [line["step"] for line in lines] == [3, 6, 9, 10]
    assert {"time", "stage", "epoch", "train/loss", "train/lr", "data/wait_fraction", "data/bad_clips"} <= lines[
        0
    ].keys()
    assert all(0 <= line["data/wait_fraction"] <= 1 for line in lines)
    counted = [[line[f"data/{name}_clips"] for name in ("bad", "fallback", "dali", "pyav")] for line in lines]
    assert counted == [[0, 0, 0, 3]] * 4
    assert [line["data/clips"] for line in lines] == [BATCH * step for step in (3, 6, 9, 10)]


def test_parts_of_a_schedule_join(tmp_path):
    """A part of three, past its own warm-up, has the rate of the same place of one schedule."""
    run(tmp_path / "two", steps=3, part=1, parts=3, epoch_steps=1)
    rate = 0.05 * 0.5 * (1 + math.cos(math.pi * (1 + 1 / 2) / 3))  # step 2 of 3 is 1 of the 2 after the warm-up
    assert log_of(tmp_path / "two")[0]["train/lr"] == pytest.approx(rate)


def test_seeds_are_the_same_everywhere():
    assert seed_of(1, "stage", 3) == int(hashlib.sha256(b"1/stage/3").hexdigest()[:16], 16) // 2
    assert len({seed_of(s, t, r) for s in range(5) for t in range(5) for r in range(2)}) == 50


def _rank(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    reader = Reader(rank=rank, world=2)
    objective = LeastSquares()
    objective.dropout = nn.Identity()
    assert loop(folder / "two", objective, reader).run() == "done"
    reader = Reader(rank=rank, world=2, refuse=(1, 0) if rank else None)
    assert loop(folder / "refused", LeastSquares(), reader).run() == "failed"
    reader = Reader(rank=rank, world=2, poison=(1, 0))  # the first clip of the batch is rank 0's
    assert loop(folder / "poison", LeastSquares(), reader).run() == "failed"
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_train_as_one_and_fail_together(tmp_path):
    two_ranks(_rank, tmp_path)
    objective = LeastSquares()
    objective.dropout = nn.Identity()
    loop(tmp_path / "one", objective, Reader()).run()
    one, two = (load_weights(tmp_path / name / "stage" / WEIGHTS) for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-5, atol=1e-6)
    assert "3 of 24 clips" in (tmp_path / "refused" / "stage" / FAILURE).read_text()
    assert "not finite" in (tmp_path / "poison" / "stage" / FAILURE).read_text()


SEEN = {2: 0.5, 4: 0.75, 6: 0.75, 8: 0.25, 10: 0.5}
"""What a look at held-out clips would find after each of these steps."""


def choosing(seen: dict[int, dict] | None = None) -> dict:
    def probe(objective, step):
        if seen is not None:
            seen[step] = {name: value.clone() for name, value in objective.state_dict().items()}
        return {"valid/accuracy": SEEN[step]}

    return {"probe": probe, "probe_every": 2, "keep": "valid/accuracy"}


def test_the_best_weights_on_held_out_clips_are_left_and_of_equal_ones_the_later(tmp_path):
    seen: dict[int, dict] = {}
    assert run(tmp_path, **choosing(seen)) == "done"
    left = load_weights(tmp_path / "stage" / WEIGHTS)
    assert [step for step, state in seen.items() if all(torch.equal(left[n], state[n]) for n in left)] == [6]
    looks = {line["step"]: line["valid/accuracy"] for line in log_of(tmp_path) if "valid/accuracy" in line}
    assert looks == SEEN


@pytest.mark.parametrize("step", [3, 5, 7, 9])
def test_a_killed_run_leaves_the_same_best_weights(tmp_path, monkeypatch, step):
    assert run(tmp_path / "whole", **choosing()) == "done"
    train_step = Loop._train_step

    def killed(self, *args):
        if self.step == step:
            raise Killed
        return train_step(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Loop, "_train_step", killed)
        run(tmp_path / "killed", **choosing())
    assert run(tmp_path / "killed", **choosing()) == "done"
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
