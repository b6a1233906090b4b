"""Every encoder of the tables in the loop of the product, on the smallest clips that it takes, from drawn batches."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from finepseudo.alignment.config import AlignabilityConfig
from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.distributed import SyncBatchNorm
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.contract import Kind, imported
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.encoders.table import BACKBONES
from finepseudo.run_folder.files import json_lines
from finepseudo.run_folder.layout import LOG
from finepseudo.training.config import CrossEntropyConfig, OptimConfig
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective, Objective
from jobs.config.training import TrainConfig
from jobs.workers.train_loop import Loop, LoopJob, Outcome
from shards.types import ClipBatch, only_view

CLASSES, PATCHES = 2, 2
BRANCH = 0.1
"""What a residual branch of convolutions is weighted by where a start is `settled`; 1 at a random start."""
BAD_EVERY = 5
"""Steps between two batches whose first clip is not valid: the ranks then hold unequally many."""


@dataclass(frozen=True, slots=True)
class Size:
    """Clips of a global batch, their frames, and the side of one where the network takes any."""

    clips: int
    frames: int
    side: int


SMALLEST, LARGER = Size(4, 4, 32), Size(8, 4, 56)


class Cut(Exception):  # noqa: N818 - no error: what a killed process is to its loop
    """Ends a training as SIGKILL does, within a step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One encoder.

    chance: with dropout and stochastic depth, whose draws are a rank's own; settled: on larger clips, from random
    weights that pass less rounding on, see `settle`.
    """

    kind: Kind
    variant: str
    chance: bool = False
    settled: bool = False
    dtype: torch.dtype = torch.float32

    @property
    def name(self) -> str:
        """Name it as in the papers, and its variant."""
        return f"{'f_E' if self.kind == 'action' else 'f_A'} {self.variant}"

    @property
    def lacks(self) -> str:
        """Say which library it needs that is not there."""
        timm = "timm_image" in BACKBONES[self.kind][self.variant].builder
        return "timm is in the extra `encoders`" if timm and importlib.util.find_spec("timm") is None else ""

    @property
    def size(self) -> Size:
        """What it is trained on."""
        return LARGER if self.settled else SMALLEST

    @property
    def side(self) -> int:
        """Two patches, or that of `size` where there is none."""
        row = BACKBONES[self.kind][self.variant]
        patch = re.search(r"patch(\d+)", str(row.options.get("model", "patch16")))
        return PATCHES * int(patch[1]) if patch and "size" in row.options else self.size.side

    def options(self) -> dict[str, Any]:
        """Give the builder's arguments: depth, width and heads are the row's own."""
        row = BACKBONES[self.kind][self.variant]
        known = inspect.signature(imported(row.builder)).parameters
        told = {"size": self.side, "frames": self.size.frames, **({} if self.chance else {"drop_path": 0.0})}
        return {name: value for name, value in told.items() if name in known}

    def objective(self) -> Objective:
        """Make f_E in cross-entropy or f_A, all of it trained, in metric learning; equal in every process."""
        torch.manual_seed(0)
        weights = "random" if BACKBONES[self.kind][self.variant].published else None
        keys: dict[str, Any] = {"variant": self.variant, "weights": weights, "options": self.options()}
        if not self.chance:
            keys["dropout"] = 0.0
        made: Objective
        if self.kind == "action":
            f_e = build_action_encoder(ActionEncoderConfig(**keys), CLASSES)
            made = CrossEntropyObjective(f_e, CrossEntropyConfig())
        else:
            f_a = build_frame_encoder(FrameEncoderConfig(**keys))
            made = AlignabilityObjective(f_a, AlignabilityScorer(), AlignabilityConfig())
        if self.settled:
            settle(made)
        return made.to(self.dtype)

    def batch(self, step: int) -> ClipBatch:
        """Draw the global batch of a step."""
        generator = torch.Generator().manual_seed(step)
        clips, shape = self.size.clips, (1, self.size.frames, 3, self.side, self.side)
        frames = torch.randn(clips, *shape, generator=generator).to(self.dtype)
        valid = torch.ones(clips, dtype=torch.bool)
        valid[0] = (step + 1) % BAD_EVERY != 0
        return _batch(frames, torch.arange(clips) * CLASSES // clips, valid)


@torch.no_grad()
def settle(network: nn.Module) -> None:
    """Weigh residual branches that end in a batch norm less, and layer scales, 1e-5 at random weights, fully.

    The first make a gradient that grows from block to block, the second features that are alike but for rounding.
    """
    for module in network.modules():
        if hasattr(module, "downsample"):
            below = [norm for part in _but_shortcut(module) for norm in part.modules()]
            nn.init.constant_([norm for norm in below if isinstance(norm, SyncBatchNorm)][-1].weight, BRANCH)
    for name, parameter in network.named_parameters():
        if name.endswith(".gamma"):
            nn.init.ones_(parameter)


def _but_shortcut(block: nn.Module) -> list[nn.Module]:
    return [part for name, part in block.named_children() if name != "downsample"]


def _batch(frames: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor) -> ClipBatch:
    clips, length = len(frames), frames.shape[2]
    return ClipBatch(
        keys=tuple(map(str, range(clips))),
        views=only_view(frames, torch.zeros(clips, 1, length, dtype=torch.int64)),
        n_frames=torch.full((clips,), length),
        labels=labels,
        pseudo=torch.zeros(clips, dtype=torch.bool),
        valid=valid,
    )


def cases(names: list[str], **values: Any) -> list[Case]:  # noqa: ANN401
    """List the encoders of both tables, or those of the names."""
    rows = [(kind, name) for kind, known in BACKBONES.items() for name in known]
    return [Case(kind=kind, variant=name, **values) for kind, name in rows if not names or name in names]


@dataclass(kw_only=True, slots=True)
class Drawn:
    """Stands where a reader stands: this rank's part of the drawn batches, up to a step at which the run is cut off.

    turned: the clips of each batch in the opposite order.
    """

    case: Case
    turned: bool = False
    rank: int = 0
    world: int = 1
    cut: int | None = None
    bad: Mapping[str, int] = field(default_factory=dict)
    decoded: Mapping[str, int] = field(default_factory=dict)
    fallbacks: int = 0
    batches_per_epoch: int = BAD_EVERY

    def seen(self, step: int) -> int:
        """Count the clips before a step."""
        return self.case.size.clips * step

    def batches(self, step: int) -> Generator[dict[str, ClipBatch], None, None]:
        """Give this rank's clips of step `step` and of all later ones. Raises Cut."""
        clips = self.case.size.clips
        each = clips // self.world
        order = torch.arange(clips).flip(0) if self.turned else torch.arange(clips)
        mine = order[each * self.rank : each * (self.rank + 1)]
        while step != self.cut:
            whole = self.case.batch(step)
            yield {"labelled": _batch(whole.frames[mine], whole.labels[mine], whole.valid[mine])}
            step += 1
        raise Cut


def train(reader: Drawn, folder: Path, optim: OptimConfig, steps: int, checkpoint_every: int) -> Outcome:
    """Train in the product's loop, from the newest checkpoint of the folder; every step stands in the log."""
    (folder / "stage").mkdir(parents=True, exist_ok=True)
    told = TrainConfig(steps=steps, optim=optim, checkpoint_every=checkpoint_every, log_every=1)
    job = LoopJob(run=folder, folder=folder / "stage", stage="stage", train=told, seed=0, tags={})
    return Loop(job, reader.case.objective(), reader, device=torch.device("cpu")).run()


def losses(folder: Path) -> dict[int, float]:
    """Read the losses of a training by step."""
    lines, _ = json_lines((folder / "stage" / LOG).read_bytes())
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}
