"""One video in: its most likely classes by f_E, and the labelled clips it aligns with best by f_A and f_S.

Nothing is read or decoded here: frames, trained encoders and the labelled embeddings come from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from finepseudo.soft_dtw import AlignmentBank, soft_alignment, soft_dtw_cdist
from shards.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Exemplars:
    """Labelled clips to compare with: keys [G], true labels [G] and embeddings [G, T, F] of the run's f_A."""

    keys: Sequence[str]
    labels: Sequence[int]
    embeddings: Tensor

    def __post_init__(self) -> None:
        """Refuse tables of different length and an empty one."""
        if not len(self.keys) == len(self.labels) == len(self.embeddings) or not self.keys:
            raise ValueError(
                f"exemplars: {len(self.keys)} keys, {len(self.labels)} labels, {len(self.embeddings)} embeddings; "
                "give as many of each and at least one"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """What finds the labelled clips that a video aligns with.

    frame_encoder: frames [1, T, C, H, W] -> embeddings [1, T, F]; scorer: soft-DTW distances D [...] as they are ->
    alignability S [...] in (0, 1).
    """

    frame_encoder: Callable[[Tensor], Tensor]
    scorer: Callable[[Tensor], Tensor]
    exemplars: Exemplars
    # paper, sec 4.2
    gamma: float = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """The trained parts of a run: action_encoder maps frames [V, T, C, H, W] to logits [V, C]; alignment needs f_A."""

    action_encoder: Callable[[Tensor], Tensor]
    alignment: Alignment | None
    classes: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassVote:
    """One of the most likely classes."""

    name: str
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A labelled clip that aligns well. cost and alignment [T, T'] are those of the report's figures."""

    key: str
    class_name: str
    score: float
    distance: float
    cost: Tensor
    alignment: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What the run says about one video, best first."""

    classes: tuple[ClassVote, ...]
    matches: tuple[Match, ...]

    def lines(self) -> list[str]:
        """Write it for a terminal."""
        width = max(len(name) for name in (*(c.name for c in self.classes), *(m.class_name for m in self.matches)))
        votes = [f"{c.name.ljust(width)}  {100 * c.probability:5.1f} %" for c in self.classes]
        found = [f"{m.class_name.ljust(width)}  S {m.score:.3f}  D {m.distance:.3f}  {m.key}" for m in self.matches]
        return ["most likely classes", *votes, *(["best-aligned labelled clips", *found] if found else [])]


@torch.inference_mode()
def predict(
    run: Predictor, action_frames: Tensor, frame_frames: Tensor | None, *, top: int = 5, matches: int = 3
) -> Prediction:
    """Predict one video.

    action_frames: [V, T, C, H, W], the views f_E is tested with, softmax averaged over them (paper, sec 4.2);
    frame_frames: [T, C, H, W], the one view f_A embeds, None without alignment. `top` classes and `matches` exemplars
    come back, fewer where there are fewer. UserError when frames have another rank, hold no frame or give numbers that
    are not finite.
    """
    _check("action_frames", action_frames, 5, "[V, T, C, H, W]")
    p = _finite(run.action_encoder(action_frames).double().softmax(-1).mean(0))
    found: tuple[Match, ...] = ()
    if run.alignment is not None and frame_frames is not None:
        _check("frame_frames", frame_frames, 4, "[T, C, H, W]")
        u = _finite(run.alignment.frame_encoder(frame_frames[None]).float()[0])
        found = best_aligned(run.alignment, run.classes, u, matches)
    best = torch.topk(p, min(top, len(p)))
    votes = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Prediction(
        classes=tuple(ClassVote(name=run.classes[i], probability=value) for i, value in votes), matches=found
    )


@torch.inference_mode()
def best_aligned(run: Alignment, classes: Sequence[str], u: Tensor, count: int) -> tuple[Match, ...]:
    """Choose the exemplars with the highest S for an embedding u [T, F]; equal scores go by the smaller distance."""
    gallery = run.exemplars
    distance = soft_dtw_cdist(u[None], AlignmentBank(gallery.embeddings), run.gamma)[0]
    score = run.scorer(distance)
    order = sorted(range(len(distance)), key=lambda i: (-float(score[i]), float(distance[i]), gallery.keys[i]))
    names = [classes[label] for label in gallery.labels]
    return tuple(_match(run, names[i], u, i, (float(score[i]), float(distance[i]))) for i in order[:count])


def _match(run: Alignment, class_name: str, u: Tensor, i: int, scored: tuple[float, float]) -> Match:
    cost, alignment = soft_alignment(u, run.exemplars.embeddings[i], run.gamma)
    return Match(
        key=run.exemplars.keys[i],
        class_name=class_name,
        score=scored[0],
        distance=scored[1],
        cost=cost,
        alignment=alignment,
    )


def _finite(values: Tensor) -> Tensor:
    if not torch.isfinite(values).all():
        raise UserError(
            "predict: an encoder returned numbers that are not finite; the weights are those of a failed run"
        )
    return values


def _check(name: str, frames: Tensor, rank: int, shape: str) -> None:
    if frames.dim() != rank or 0 in frames.shape:
        raise UserError(f"predict: {name} has shape {list(frames.shape)}; give {shape}, no axis empty")
