"""Steps of consistency methods on batches that are prepared: with more passes, in fewer forwards, in a bare loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.consistency.teacher import momentum_of
from finepseudo.encoders.action_encoder import ActionEncoder, build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import AnyMethod, Setting, TrainAction
from finepseudo.methods.fixmatch import FIXMATCH
from finepseudo.methods.sefar import SEFAR
from finepseudo.training.config import CrossEntropyConfig, OptimConfig
from finepseudo.training.objectives import Objective
from finepseudo.training.optim import build_optimizer, clip_gradients
from jobs.config.training import TrainConfig
from jobs.workers.train_loop import Loop, LoopJob
from shards.read.config import AugmentConfig, SamplingConfig, ViewConfig
from shards.types import ClipBatch, View

CLASSES, STEPS = 6, 1_000_000
"""Steps are never so many: a schedule whose end is far, so that every step is like the one before."""
LOG_EVERY = 10
HALF_LIFE = 50.0
OPTIM = OptimConfig(lr=1e-4)
Batches = Mapping[str, ClipBatch]


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """Sizes of a batch: labelled clips, frames of a clip, pixels of its side."""

    clips: int = 12
    frames: int = 20
    side: int = 40

    def view(self) -> ViewConfig:
        """Describe what f_E sees of a clip."""
        sampling = SamplingConfig(policy="uniform", frames=self.frames)
        return ViewConfig(name="clip", sampling=sampling, augment=AugmentConfig.evaluation(size=self.side))


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedStreams:
    """Stands where the streams stand and gives the same batches at every step."""

    parts: Batches
    batches_per_epoch: int = LOG_EVERY
    fallbacks: int = 0

    @property
    def bad(self) -> dict[str, int]:
        """No clip fails."""
        return {}

    @property
    def decoded(self) -> dict[str, int]:
        """No clip is decoded."""
        return {}

    def seen(self, step: int) -> int:
        """Count the clips before a step."""
        return step * sum(len(batch.keys) for batch in self.parts.values())

    def batches(self, step: int) -> Any:  # noqa: ANN401 - a generator as the loop wants it
        """Give the batches for each step from `step` on."""
        del step
        while True:
            yield dict(self.parts)


def trained(method: AnyMethod, extent: Extent, **keys: Any) -> tuple[Objective, dict[str, ClipBatch]]:  # noqa: ANN401
    """Build a method's objective behind its ramp, and drawn batches of all that it reads. keys: of the method."""
    torch.manual_seed(0)
    request, cfg = TrainAction(number=1, start=0), method.config(**keys)
    make = partial(build_action_encoder, ActionEncoderConfig(variant="tiny", weights="random", dropout=0.1), CLASSES)
    setting = Setting(
        request=request,
        encoder=make(),
        fresh=make,
        loss=CrossEntropyConfig(),
        n_classes=CLASSES,
        steps=STEPS,
        seed=0,
    )
    if method.objective is None:
        raise ValueError(f"{method.name} has no objective of its own")
    objective = method.objective(cfg, setting)
    streams = method.trained_streams(cfg, request, extent.view())
    batches = {s.name: _drawn(s.views, round(s.share * extent.clips), extent.side) for s in streams}
    objective.after_step(STEPS - 1, STEPS)  # at the end of the ramp, where all losses count
    return objective.train(), batches


def _drawn(views: tuple[ViewConfig, ...], clips: int, side: int) -> ClipBatch:
    frames = {v.name: v.sampling.frames if v.group is None else v.sampling.groups[v.group] for v in views}
    return ClipBatch(
        keys=tuple(f"clip{i}" for i in range(clips)),
        views={
            name: View(torch.randn(clips, 1, t, 3, side, side), torch.zeros(clips, 1, t, dtype=torch.int64))
            for name, t in frames.items()
        },
        n_frames=torch.full((clips,), 64),
        labels=torch.arange(clips) % CLASSES,
        pseudo=torch.zeros(clips, dtype=torch.bool),
        valid=torch.ones(clips, dtype=torch.bool),
    )


def step_of(objective: Objective, batches: Batches) -> Callable[[], None]:
    """Return a training step: loss, gradients, optimiser, teacher."""
    optimiser = build_optimizer(objective, OPTIM)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        objective(batches).loss.backward()
        clip_gradients(objective.parameters(), OPTIM)
        optimiser.step()
        objective.after_step(STEPS - 1, STEPS)

    return step


def passes(extent: Extent) -> dict[str, Callable[[], None]]:
    """Build steps of SeFAR whose teacher's head runs once and ten times."""
    return {f"K = {k}": step_of(*trained(SEFAR, extent, passes=k)) for k in (1, 10)}


def forwards(extent: Extent, mu: int = 3, depth: int = 4) -> dict[str, Callable[[], None]]:
    """Build forward and backward of labelled, strong and mixed clips through TimeSformer ViT-S, at once and apart."""
    torch.manual_seed(0)
    options = {"size": extent.side, "frames": extent.frames, "depth": depth}
    cfg = ActionEncoderConfig(variant="timesformer_s", weights="random", options=options)
    student = build_action_encoder(cfg, CLASSES).train()
    sizes = [extent.clips, mu * extent.clips, mu * extent.clips]
    parts = [torch.randn(n, extent.frames, 3, extent.side, extent.side) for n in sizes]

    def together() -> None:
        _backward(student, torch.split(student(torch.cat(parts)), sizes))

    def apart() -> None:
        _backward(student, [student(part) for part in parts])

    return {"one forward": together, "three forwards": apart}


def _backward(student: nn.Module, logits: Sequence[Tensor]) -> None:
    student.zero_grad(set_to_none=True)
    torch.stack([part.logsumexp(1).mean() for part in logits]).sum().backward()  # type: ignore[no-untyped-call]


class SteppedLoop(Loop):
    """The loop of a run, some steps at a call."""

    def advance(self, steps: int) -> None:
        """Take steps as a run does, with the lines of its log."""
        batches = self.reader.batches(self.step)
        for _ in range(steps):
            batch, _problem = self._next(batches)
            self._train_step(batch, 0.0)
            self._after_step()


def loops(extent: Extent, folder: Path, steps: int) -> dict[str, Callable[[], None]]:
    """Build FixMatch with a teacher, `steps` steps a call: in the loop of a run, and in plain torch."""
    objective, batches = trained(FIXMATCH, extent, mu=2.0, half_life=HALF_LIFE)
    bare = BareFixMatch(copy.deepcopy(objective.encoder), batches)  # type: ignore[arg-type]
    train = TrainConfig(steps=STEPS, optim=OPTIM, log_every=LOG_EVERY, checkpoint_every=STEPS)
    job = LoopJob(run=folder, folder=folder, stage="bench", train=train, seed=1, tags={})
    loop = SteppedLoop(job, objective, FixedStreams(parts=batches), device=torch.device("cpu"))
    return {"our loop": lambda: loop.advance(steps), "bare torch": lambda: bare.advance(steps)}


class BareFixMatch:
    """FixMatch with a mean teacher as a plain torch loop: no log, no guard, no checkpoint, nothing but the step."""

    def __init__(self, student: ActionEncoder, batches: Batches, tau: float = 0.95) -> None:
        """Start the teacher as a copy."""
        self.student, self.tau = student.train(), tau
        self.teacher = copy.deepcopy(student).requires_grad_(False).eval()
        labelled, pool = batches.values()
        self.clips, self.labels = next(iter(labelled.views.values())).frames[:, 0], labelled.labels
        self.weak, self.strong = (view.frames[:, 0] for view in pool.views.values())
        self.optimiser = torch.optim.Adam(
            self.student.parameters(), lr=OPTIM.lr, weight_decay=OPTIM.weight_decay, fused=True
        )

    def loss(self) -> Tensor:
        """Cross-entropy on labels, and on the teacher's argmax where it is sure, over all unlabelled clips."""
        with torch.no_grad():
            sure, taught = self.teacher(self.weak).softmax(1).max(1)
        logits, strong = self.student(torch.cat([self.clips, self.strong])).split([len(self.clips), len(self.strong)])
        agreement = F.cross_entropy(strong, taught, reduction="none") * (sure >= self.tau)
        loss: Tensor = F.cross_entropy(logits, self.labels) + agreement.mean()
        return loss

    def advance(self, steps: int) -> None:
        """Take some steps."""
        momentum = momentum_of(HALF_LIFE)
        for _ in range(steps):
            self.optimiser.zero_grad(set_to_none=True)
            self.loss().backward()  # type: ignore[no-untyped-call]
            clip_gradients(self.student.parameters(), OPTIM)
            self.optimiser.step()
            with torch.no_grad():
                mine, theirs = (list(net.state_dict().values()) for net in (self.teacher, self.student))
                floats = [(own, new) for own, new in zip(mine, theirs, strict=True) if own.is_floating_point()]
                torch._foreach_lerp_([own for own, _ in floats], [new for _, new in floats], 1 - momentum)


SMALL = Extent(clips=2, frames=8, side=32)
"""What shows that everything works."""
