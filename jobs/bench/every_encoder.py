"""Every encoder in the real training loop, on clips in memory: two workers against one, and trainings that are cut off.

Networks are those of the table, drawn smaller where their builders let them. Batches are a function of the step alone.
"""

from __future__ import annotations

import socket
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from finepseudo.alignment.config import AlignabilityConfig
from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.bench.race import Target, table_row
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.encoders.table import ACTION
from finepseudo.run_folder.files import json_lines
from finepseudo.run_folder.layout import LOG, WEIGHTS
from finepseudo.training.checkpoint import load_weights
from finepseudo.training.config import CrossEntropyConfig, OptimConfig
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective, Objective
from jobs.config.training import TrainConfig
from jobs.workers.train_loop import Loop, LoopJob
from shards.types import ClipBatch, only_view

CLIPS, FRAMES, SIDE, CLASSES = 8, 8, 32, 4
VIT: Mapping[str, Any] = {
    "width": 48,
    "depth": 4,
    "heads": 3,
    "patch": 8,
    "size": SIDE,
    "frames": FRAMES,
    "drop_path": 0.0,
}
SMALL: Mapping[str, Mapping[str, Any]] = {
    "slow_r50": {"channels": 16},
    **dict.fromkeys(("timesformer_s", "timesformer_b", "aim_b16", "videomae_b"), VIT),
}
"""What builders are told; the ResNets of torchvision's form come as they are."""
ENCODERS: Mapping[str, str] = {**dict.fromkeys(ACTION, "f_E"), "vtn": "f_A", "tiny f_A": "f_A"}
EQUAL = Target(must=-1e-5, aim=-1e-6)
"""Relative difference of losses and of weights, of which less is better."""


def objective(name: str) -> Objective:
    """Build an encoder in the objective that trains it, without dropout: its masks are each worker's own."""
    torch.manual_seed(0)
    if ENCODERS[name] == "f_E":
        cfg = ActionEncoderConfig(variant=name, weights="random", options=dict(SMALL.get(name, {})), dropout=0.0)
        return CrossEntropyObjective(build_action_encoder(cfg, CLASSES), CrossEntropyConfig())
    variant = name.removesuffix(" f_A")
    encoder = build_frame_encoder(
        FrameEncoderConfig(variant=variant, weights="random", dropout=0.0, train_length=FRAMES)
    )
    return AlignabilityObjective(encoder, AlignabilityScorer(), AlignabilityConfig(norm="T"))


class _CutOff(Exception):  # noqa: N818 - no error: what a kill does to a training
    """Stands for the end of a process."""


@dataclass(slots=True)
class _Clips:
    """This rank's part of batches of noise in which each class is a little brighter than the one before."""

    rank: int = 0
    world: int = 1
    cut: int | None = None
    bad: Counter[str] = field(default_factory=Counter)
    fallbacks: int = 0
    batches_per_epoch: int = 4

    def seen(self, step: int) -> int:
        return step * CLIPS

    def batches(self, step: int) -> Generator[dict[str, ClipBatch], None, None]:
        while True:
            if step == self.cut:
                raise _CutOff
            generator = torch.Generator().manual_seed(step)
            labels = torch.arange(CLIPS) % CLASSES
            frames = torch.randn(CLIPS, 1, FRAMES, 3, SIDE, SIDE, generator=generator)
            frames += 0.3 * labels.view(-1, 1, 1, 1, 1, 1)
            mine = slice(self.rank * CLIPS // self.world, (self.rank + 1) * CLIPS // self.world)
            yield {"labelled": _batch(frames[mine], labels[mine])}
            step += 1


def _batch(frames: Tensor, labels: Tensor) -> ClipBatch:
    count = len(labels)
    return ClipBatch(
        keys=tuple(map(str, range(count))),
        views=only_view(frames, torch.arange(FRAMES).expand(count, 1, -1)),
        n_frames=torch.full((count,), FRAMES),
        labels=labels,
        pseudo=torch.zeros(count, dtype=torch.bool),
        valid=torch.ones(count, dtype=torch.bool),
    )


def train(name: str, folder: Path, steps: int, clips: _Clips) -> None:
    """Train an encoder for so many steps in a folder, from the newest checkpoint that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    optim = OptimConfig(warmup_epochs=1)
    told = TrainConfig(steps=steps, optim=optim, checkpoint_every=3, log_every=1)
    job = LoopJob(run=folder, folder=folder, stage=name, train=told, seed=1, tags={"stage": name})
    Loop(job, objective(name), clips, device=torch.device("cpu")).run()


def _worker(rank: int, port: int, names: Sequence[str], folder: str, steps: int) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for name in names:
        train(name, Path(folder) / name / "two", steps, _Clips(rank, 2))
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compare(names: Sequence[str], steps: int) -> Iterator[tuple[str, float, float, list[int]]]:
    """Train each encoder by one worker, by two, and cut off at three steps.

    Gives its name, the largest relative difference of the losses of one and two workers, that of their weights (norm of
    the difference over the norm), and the steps at which a cut changed a bit of the weights.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            spawn(_worker, (_free_port(), names, text, steps), nprocs=2)  # type: ignore[no-untyped-call]
            for name in names:
                train(name, folder / name / "one", steps, _Clips())
                one, two = (load_weights(folder / name / who / WEIGHTS) for who in ("one", "two"))
                apart = _apart(one, two)
                losses = [_losses(folder / name / who) for who in ("one", "two")]
                worst = max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True))
                yield (
                    name,
                    worst,
                    apart,
                    [cut for cut in _cuts(steps) if _differs(name, folder / name, steps, cut, one)],
                )
    finally:
        torch.use_deterministic_algorithms(deterministic)


def _cuts(steps: int) -> list[int]:
    """Choose a first step, one between checkpoints and a last one."""
    return sorted({0, steps // 2, steps - 1})


def _differs(name: str, folder: Path, steps: int, cut: int, whole: Mapping[str, Tensor]) -> bool:
    place = folder / f"cut-{cut}"
    try:
        train(name, place, steps, _Clips(cut=cut))
    except _CutOff:
        train(name, place, steps, _Clips())
    found = load_weights(place / WEIGHTS)
    return found.keys() != whole.keys() or not all(torch.equal(found[key], value) for key, value in whole.items())


def _losses(folder: Path) -> list[float]:
    return [line["train/loss"] for line in json_lines((folder / LOG).read_bytes())[0]]


def _apart(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> float:
    names = [name for name, value in one.items() if value.is_floating_point()]
    difference = torch.stack([(one[name] - two[name]).double().norm() for name in names]).norm()
    return float(difference / torch.stack([one[name].double().norm() for name in names]).norm())


def race_encoders(names: Sequence[str], steps: int) -> None:
    """Write a line for each encoder."""
    for name, loss, weights, cuts in compare(names, steps):
        words = f"loss {loss:.1e}, weights {weights:.1e} {EQUAL.verdict(-max(loss, weights))}"
        table_row(f"{name}: 2 workers / 1, relative difference after {steps} steps", [words])
        told = "equal bits" if not cuts else f"MISSED: differs when cut at {', '.join(map(str, cuts))}"
        table_row(f"{name}: cut off at step {', '.join(map(str, _cuts(steps)))} and gone on", [told])
